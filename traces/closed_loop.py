"""Requests that are sent when others have ended: by users in a closed loop, or one after the other in sessions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from traces.errors import TraceError, nearest

THINK_STREAM = 104  # number of the random stream; 100 to 199 are this package's

LOOP_SCHEMA = {"loop": pl.Int32(), "think_s": pl.Float64()}
"""Columns of a request table some of whose requests wait for others: which of `Trace.loops` sends the request, null for
none; how long its user lets pass when it has ended."""

ThinkTime = Literal["constant", "exponential"]


def _check(owner: object, think_time_s: float, think_time: str) -> None:
    name = type(owner).__name__
    if not 0 <= think_time_s < math.inf:
        msg = f"{name}: think_time_s is {think_time_s!r}; allowed: >= 0"
        raise TraceError(msg)
    if think_time not in get_args(ThinkTime):
        msg = f"{name}: unknown think_time {think_time!r}: {nearest(think_time, get_args(ThinkTime))}"
        raise TraceError(msg)


def _after(think_time_s: float, think_time: str) -> str:
    if not think_time_s:
        return "when the last one has ended"
    mean = " on average" if think_time == "exponential" else ""
    return f"{think_time_s:g} s{mean} after the last one has ended"


def _draw(think_time_s: float, think_time: str, n: int, seed: int) -> pl.Series:
    if think_time == "constant":
        return pl.Series("think_s", [think_time_s], dtype=pl.Float64).new_from_index(0, n)
    seeds = np.random.SeedSequence(entropy=seed, spawn_key=(THINK_STREAM,))
    drawn = np.random.Generator(np.random.PCG64(seeds)).standard_exponential(n)
    return pl.Series("think_s", think_time_s * drawn)


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """Users of whom each sends a request, waits until it has ended, thinks, and sends the next one.

    The next one is the next of the trace, in its order, that nobody has sent yet. A request has ended when it is
    answered, rejected, or has failed for good, after all retries. Times of arrival in the trace count for nothing but
    the order.

    As an arrival process it gives no times: it is known when requests are sent only when they are served.

    Attributes:
        users: How many there are; as many requests at most are under way at once.
        think_time_s: Mean time from the end of a request to the next one of the same user.
        ramp_s: Time over which users begin, evenly: the i-th, from 0 on, at i `ramp_s` / `users`.
        think_time: Whether all think for the same time, or for exponentially distributed times.

    Raises:
        TraceError: A figure is out of its range.

    >>> ClosedLoop(users=4, ramp_s=2.0).starts_s()
    [0.0, 0.5, 1.0, 1.5]
    """

    users: int
    think_time_s: float = 0.0
    ramp_s: float = 0.0
    think_time: ThinkTime = "constant"

    def __post_init__(self) -> None:
        if self.users < 1 or self.users != int(self.users):
            msg = f"ClosedLoop: users is {self.users!r}; allowed: whole numbers >= 1"
            raise TraceError(msg)
        if not 0 <= self.ramp_s < math.inf:
            msg = f"ClosedLoop: ramp_s is {self.ramp_s!r}; allowed: >= 0"
            raise TraceError(msg)
        _check(self, self.think_time_s, self.think_time)

    def starts_s(self) -> list[float]:
        """When users begin, in order, shape (users,)."""
        return [i * self.ramp_s / self.users for i in range(self.users)]

    def sample(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """No times that could be known: `n` zeros."""
        return np.zeros(n)

    def words(self) -> str:
        """What it does, for notes.

        >>> ClosedLoop(8, 0.5).words()
        '8 users in a closed loop: each sends the next request 0.5 s after the last one has ended'
        """
        who = "1 user" if self.users == 1 else f"{self.users:,} users"
        return f"{who} in a closed loop: each sends the next request {_after(self.think_time_s, self.think_time)}"

    def mark(self, requests: pl.DataFrame, seed: int) -> pl.DataFrame:
        """Add the columns of `LOOP_SCHEMA`: all requests are its users'."""
        thinking = _draw(self.think_time_s, self.think_time, requests.height, seed)
        return requests.with_columns(pl.lit(0, pl.Int32).alias("loop"), thinking)


@dataclass(frozen=True, slots=True)
class Sessions:
    """Requests of one `session_id` follow one another: each is sent some time after the one before has ended.

    The first is sent at its time of arrival; of the others, times of arrival count for nothing but the order. Requests
    without a `session_id` are sent at theirs. The prompt of each begins with the prompt before and what was answered,
    if it is long enough for both: with prefix caching, their KV blocks are found again.

    Attributes:
        think_time_s: Mean time from the end of a request to the next one of the same session.
        think_time: Whether it is always the same, or exponentially distributed.

    Raises:
        TraceError: A figure is out of its range.
    """

    think_time_s: float = 0.0
    think_time: ThinkTime = "constant"

    def __post_init__(self) -> None:
        _check(self, self.think_time_s, self.think_time)

    def words(self) -> str:
        """What it does, for notes."""
        return f"in a session each request is sent {_after(self.think_time_s, self.think_time)}"

    def mark(self, requests: pl.DataFrame, seed: int) -> pl.DataFrame:
        """Add the columns of `LOOP_SCHEMA`: those with a `session_id` follow one another.

        Raises:
            TraceError: No request has one.
        """
        if "session_id" not in requests.columns or requests["session_id"].is_null().all():
            msg = "sessions: no request has a session_id"
            raise TraceError(msg)
        loop = pl.when(pl.col("session_id").is_not_null()).then(pl.lit(0, pl.Int32)).alias("loop")
        return requests.with_columns(loop, _draw(self.think_time_s, self.think_time, requests.height, seed))
