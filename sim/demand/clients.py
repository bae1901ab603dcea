"""Clients that do not wait for ever, and try again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from sim.clock import Clock, Order
from sim.errors import SettingsError
from sim.records import NAN
from sim.replica.batch import NEVER, NOT_YET, Sequence

if TYPE_CHECKING:
    from sim.records import RequestLog

_STREAM = 203  # number of the random stream; 200 to 299 are this package's


@dataclass(frozen=True, slots=True)
class Clients:
    """How long clients wait for an answer, and what they do when they do not get it.

    An attempt fails when it takes too long, when its replica's queue is full, or when its replica is gone and requests
    are dropped then. The client waits a while and sends the request anew, until it has done so `max_retries` times.
    Requests that no replica could hold fail for good.

    The defaults are those of OpenAI's Python client (openai-python, src/openai/_constants.py and _base_client.py: 2
    retries, after 0.5 s and 1 s, each less up to a quarter), which sets no limit below ten minutes to the time.

    Attributes:
        ttft_timeout_s: Longest time from sending a request, for the first time or again, to its first token.
        e2e_timeout_s: Longest time from then to its last token.
        max_retries: How often a request is sent again at most.
        backoff_s: Wait before the first retry.
        backoff_factor: By which each further wait is longer.
        jitter: Largest share that is taken off a wait, at random: 0, all waits are full; 1, anything up to them.
        seed: For that. Each wait has a random stream of its own, by request and retry.

    Raises:
        SettingsError: A figure is out of its range.
    """

    ttft_timeout_s: float | None = None
    e2e_timeout_s: float | None = None
    max_retries: int = 2
    backoff_s: float = 0.5
    backoff_factor: float = 2.0
    jitter: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("ttft_timeout_s", "e2e_timeout_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < inf:
                msg = f"clients: {name} is {value}; it must be more than 0, and finite"
                raise SettingsError(msg)
        for name, low, high in (
            ("max_retries", 0, inf),
            ("backoff_s", 0, inf),
            ("backoff_factor", 1, inf),
            ("jitter", 0, 1),
        ):
            value = getattr(self, name)
            if not low <= value <= high or value == inf:
                allowed = f"at least {low}, and finite" if high == inf else f"from {low} to {high}"
                msg = f"clients: {name} is {value}; it must be {allowed}"
                raise SettingsError(msg)

    def wait_s(self, index: int, n_retries: int) -> float:
        """How long the client of a request waits after its first failure, or after so many retries.

        >>> [Clients(jitter=0).wait_s(7, n) for n in range(3)]
        [0.5, 1.0, 2.0]
        """
        full_s = self.backoff_s * self.backoff_factor**n_retries
        if not self.jitter or not full_s:
            return full_s
        seed = np.random.SeedSequence(entropy=self.seed, spawn_key=(_STREAM, index, n_retries))
        return full_s * (1.0 - self.jitter * float(np.random.Generator(np.random.PCG64(seed)).random()))


class Attempts:
    """Sends requests for clients, looks at the time for them, and sends requests again.

    Args:
        clients: What clients do.
        clock: The simulation's clock.
        log: What is known of the requests.
        send: Sends a request to where it is served.
        withdraw: Takes back a request that has not ended.
        fail: Called when an attempt has taken too long.

    Attributes:
        n_to_come: Requests that will be sent again.
    """

    def __init__(
        self,
        clients: Clients,
        clock: Clock,
        log: RequestLog,
        *,
        send: Callable[[Sequence, float], None],
        withdraw: Callable[[Sequence, float], None],
        fail: Callable[[Sequence, float], None],
    ) -> None:
        self._clients = clients
        self._clock = clock
        self._log = log
        self._send = send
        self._withdraw = withdraw
        self._fail = fail
        self._under_way: dict[int, Sequence] = {}
        self.n_to_come = 0

    def begin(self, seq: Sequence, now_s: float) -> None:
        """Send a request, for the first time or again."""
        first_token_s, last_token_s = self._clients.ttft_timeout_s, self._clients.e2e_timeout_s
        if first_token_s is not None or last_token_s is not None:
            self._under_way[seq.index] = seq
        if first_token_s is not None and (last_token_s is None or first_token_s < last_token_s):
            self._clock.at(now_s + first_token_s, Order.ARRIVAL, lambda _: self._expect_first_token(seq, now_s))
        else:
            self._expect_last_token(seq, now_s)
        self._send(seq, now_s)

    def try_again(self, seq: Sequence, now_s: float) -> bool:
        """An attempt has failed; returns whether there will be another one."""
        row, log, clients = seq.index, self._log, self._clients
        self._under_way.pop(row, None)
        n_retries = log.n_retries[row]
        if n_retries >= clients.max_retries:
            return False
        again = Sequence(row, seq.prompt_tokens, seq.output_tokens)
        again.admission = NEVER if seq.admission == NEVER else NOT_YET
        log.first_token_s[row] = NAN
        self.n_to_come += 1

        def send(_: object) -> None:
            self.n_to_come -= 1
            log.n_retries[row] += 1
            self.begin(again, self._clock.now)

        self._clock.at(now_s + clients.wait_s(row, n_retries), Order.ARRIVAL, send)
        return True

    def _expect_first_token(self, seq: Sequence, sent_s: float) -> None:
        if self._is_under_way(seq):
            if self._log.first_token_s[seq.index] > 0.0:  # else it is nan
                self._expect_last_token(seq, sent_s)
            else:
                self._give_up(seq)

    def _expect_last_token(self, seq: Sequence, sent_s: float) -> None:
        timeout_s = self._clients.e2e_timeout_s
        if timeout_s is not None:
            self._clock.at(sent_s + timeout_s, Order.ARRIVAL, lambda _: self._expect_nothing_more(seq))

    def _expect_nothing_more(self, seq: Sequence) -> None:
        if self._is_under_way(seq):
            self._give_up(seq)

    def _is_under_way(self, seq: Sequence) -> bool:
        """Whether an attempt neither succeeded nor failed."""
        row = seq.index
        if self._under_way.get(row) is not seq:
            return False
        if self._log.finish_s[row] > 0.0 or row in self._log.reason:
            del self._under_way[row]
            return False
        return True

    def _give_up(self, seq: Sequence) -> None:
        now_s = self._clock.now
        self._log.n_timeouts[seq.index] += 1
        self._withdraw(seq, now_s)
        self._fail(seq, now_s)
