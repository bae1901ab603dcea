"""What happened to each request: one column per fact, filled in while the simulation runs."""

from __future__ import annotations

from array import array
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import polars as pl

from traces.closed_loop import LOOP_SCHEMA

NAN = float("nan")

INTERRUPTED = "interrupted"
"""The reason of requests that were dropped because their replica was taken away."""


TIMED_OUT = "timed_out"
"""The reason of requests that were dropped because their client waited no longer."""

QUEUE_FULL = "queue_full"
"""The reason of requests that were rejected because too many were waiting."""

EXCEEDS_CONTEXT = "exceeds_context"
"""The reason of requests that were rejected because no replica can hold their prompt and output."""

NO_REPLICA = "no_replica_of_model"
"""The reason of requests that were rejected because no replica serves their model."""


class Status(StrEnum):
    """How a request ended."""

    COMPLETED = "completed"
    REJECTED = "rejected"
    DROPPED = "dropped"
    UNFINISHED = "unfinished"


_TIMES = ("first_scheduled_s", "first_token_s", "finish_s", "itl_max_s")

_OF_REPLICAS = (
    "cached_prompt_tokens",
    "finish_s",
    "first_scheduled_s",
    "first_token_s",
    "generated_tokens",
    "itl_max_s",
    "n_interrupted",
    "n_preempted",
    "recomputed_tokens",
)


class RequestLog:
    """Columns with one entry per request of the trace, in its order.

    `generated_tokens` is noted of requests that do not finish; the others have generated their output. `reason` and
    `failed_s` say, by row, why a request was rejected or dropped and when, if not at its arrival. `sent_s` is empty
    unless requests wait for others: then it says when they were sent, nan where they were not.
    """

    __slots__ = (
        "cached_prompt_tokens",
        "failed_s",
        "finish_s",
        "first_scheduled_s",
        "first_token_s",
        "generated_tokens",
        "itl_max_s",
        "n_interrupted",
        "n_preempted",
        "n_retries",
        "n_timeouts",
        "reason",
        "recomputed_tokens",
        "replica_id",
        "sent_s",
    )

    def __init__(self, n_requests: int) -> None:
        self.first_scheduled_s = array("d", [NAN]) * n_requests
        self.first_token_s = array("d", [NAN]) * n_requests
        self.finish_s = array("d", [NAN]) * n_requests
        self.itl_max_s = np.full(n_requests, NAN)
        self.replica_id = array("i", [-1]) * n_requests
        self.generated_tokens = array("i", [0]) * n_requests
        self.n_preempted = array("i", [0]) * n_requests
        self.n_interrupted = array("i", [0]) * n_requests
        self.n_retries = array("i", [0]) * n_requests
        self.n_timeouts = array("i", [0]) * n_requests
        self.recomputed_tokens = array("q", [0]) * n_requests
        self.cached_prompt_tokens = array("i", [0]) * n_requests
        self.sent_s = np.empty(0)
        self.reason: dict[int, str] = {}
        self.failed_s: dict[int, float] = {}

    def wait_for(self, requests: pl.DataFrame, coming: npt.NDArray[np.int64]) -> None:
        """Be told when requests are sent, but for those of these rows, which come at their times of arrival."""
        self.sent_s = np.full(requests.height, NAN)
        self.sent_s[coming] = requests["arrival_s"].to_numpy()[coming]

    def add_gaps(self, rows: npt.NDArray[np.int64], gaps_s: npt.NDArray[np.float64]) -> None:
        """Note times between two tokens of requests, where they are the longest."""
        np.fmax.at(self.itl_max_s, rows, gaps_s)  # nan before the first

    def delay(
        self, times_s: npt.NDArray[np.float64], horizon_s: float | None, output_tokens: npt.NDArray[np.int64]
    ) -> None:
        """Let tokens be with their clients so much later; not those that would come after the horizon, or a failure.

        Args:
            times_s: How much later, of each request.
            horizon_s: The horizon; None: there is none.
            output_tokens: Of each request.
        """
        until_s = np.full(len(times_s), np.inf if horizon_s is None else horizon_s)
        failed = list(self.failed_s)
        until_s[failed] = [self.failed_s[row] for row in failed]
        first_token_s, finish_s = np.asarray(self.first_token_s), np.asarray(self.finish_s)
        first_token_s += times_s
        finish_s += times_s
        is_late = finish_s > until_s
        np.asarray(self.generated_tokens)[is_late] = output_tokens[is_late]
        first_token_s[first_token_s > until_s] = NAN
        finish_s[is_late] = NAN

    def replace(self, rows: npt.NDArray[np.int64], log: RequestLog) -> None:
        """Put in what another log has of these rows; what routers note is the same in both."""
        for name in _OF_REPLICAS:
            np.asarray(getattr(self, name))[rows] = np.asarray(getattr(log, name))

    def to_frame(self, requests: pl.DataFrame) -> pl.DataFrame:
        """The request frame of the trace with these columns, once: it lets go of each as it is copied.

        Times that never came are null. Where requests waited for others, `arrival_s` is when they were sent; those that
        never were are left out, and the others are in the order of that time, then of `request_id`.
        """
        if len(self.sent_s):
            requests = requests.with_columns(arrival_s=pl.Series(self.sent_s)).drop(LOOP_SCHEMA, strict=False)
        n = requests.height
        times = {name: self._pop(name, pl.Float64).fill_nan(None) for name in _TIMES}
        reason = pl.Series("reason", [None], dtype=pl.String).new_from_index(0, n)
        ended_s = times["finish_s"]
        if self.reason:
            rows = sorted(self.reason)
            reason = reason.scatter(rows, [self.reason[row] for row in rows])
            arrival_s = requests["arrival_s"]
            ended_s = ended_s.clone().scatter(rows, [self.failed_s.get(row, arrival_s[row]) for row in rows])
        status = (
            pl.when(pl.col("finish_s").is_not_null())
            .then(pl.lit(Status.COMPLETED.value))
            .when(pl.col("reason").is_in([INTERRUPTED, TIMED_OUT]))
            .then(pl.lit(Status.DROPPED.value))
            .when(pl.col("reason").is_not_null())
            .then(pl.lit(Status.REJECTED.value))
            .otherwise(pl.lit(Status.UNFINISHED.value))
        )
        is_finished = times["finish_s"].is_not_null()
        generated_tokens = self._pop("generated_tokens", pl.Int32)
        replica_id = self._pop("replica_id", pl.Int32)
        frame = requests.with_columns(
            **times,
            generated_tokens=pl.when(is_finished).then(pl.col("output_tokens")).otherwise(generated_tokens),
            replica_id=replica_id.set(replica_id < 0, None),
            n_preempted=self._pop("n_preempted", pl.Int32),
            n_interrupted=self._pop("n_interrupted", pl.Int32),
            n_retries=self._pop("n_retries", pl.Int32),
            n_timeouts=self._pop("n_timeouts", pl.Int32),
            recomputed_tokens=self._pop("recomputed_tokens", pl.Int64),
            cached_prompt_tokens=self._pop("cached_prompt_tokens", pl.Int32),
            reason=reason,
            ended_s=ended_s,
        ).with_columns(status=status)
        return (
            frame.filter(pl.col("arrival_s").is_not_nan()).sort("arrival_s", "request_id")
            if self.sent_s.size
            else frame
        )

    def _pop(self, name: str, dtype: type[pl.DataType]) -> pl.Series:
        column = pl.Series(name, getattr(self, name), dtype=dtype)
        delattr(self, name)
        return column
