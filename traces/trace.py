"""A trace: a validated request table and where it came from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

import numpy.typing as npt
import polars as pl

from traces.closed_loop import LOOP_SCHEMA, ClosedLoop, Sessions
from traces.errors import TraceError
from traces.schema import REQUEST_SCHEMA, validate_requests, with_defaults

Numbers = Sequence[float] | npt.NDArray[Any] | pl.Series


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Trace:
    """Requests in order of arrival, and their provenance.

    Build one with `from_frame`, `from_columns`, a reader or `synthesize`: these validate. Methods
    return new traces and change nothing.

    Attributes:
        requests: The columns of `REQUEST_SCHEMA`, sorted by `arrival_s`, then `request_id`.
        source: Where the requests came from and what was done to them since.
        notes: What a reader left out, sorted or took for granted: sentences for whoever uses the trace.
        start: When the first request of the file arrived, if the file says it: aware where its zone is known.
        prefix_segment_tokens: Prompt tokens for which each of the `prefix_hashes` stands, if that is known.
        loops: Who sends requests that wait for others (`sent_by`); then `requests` has the columns of
            `traces.closed_loop.LOOP_SCHEMA`, too.
    """

    requests: pl.DataFrame
    source: str
    notes: tuple[str, ...] = ()
    start: datetime | None = None
    prefix_segment_tokens: int | None = None
    loops: tuple[ClosedLoop | Sessions, ...] = ()

    def __post_init__(self) -> None:
        known = {column.name: column.dtype for column in REQUEST_SCHEMA} | (LOOP_SCHEMA if self.loops else {})
        required = {column.name for column in REQUEST_SCHEMA if column.required}
        schema = dict(self.requests.schema)
        if self.requests.is_empty() or not required <= set(schema) or not schema.items() <= known.items():
            msg = f"{self.source}: not a validated request table; build traces with Trace.from_frame"
            raise TraceError(msg)

    @classmethod
    def from_frame(
        cls,
        frame: pl.DataFrame,
        source: str,
        *,
        model: str | None = None,
        slo_class: str = "default",
        sort: bool = False,
    ) -> Trace:
        """Validate a frame and make it a trace.

        Args:
            frame: Requests, one a row; see `REQUEST_SCHEMA`.
            source: Where they come from; appears in messages and results.
            model: Used where the frame has no `model` column; "default" if not given.
            slo_class: Used where the frame has no `slo_class` column.
            sort: Accept arrivals in any order.

        Returns:
            The trace. Without a `request_id` column, ids are the row numbers from 0.

        Raises:
            TraceError: All problems of the frame, with column, row and value.
        """
        filled = with_defaults(frame, "default" if model is None else model, slo_class)
        return cls(validate_requests(filled, source, sort=sort), source)

    @classmethod
    def from_columns(
        cls,
        arrival_s: Numbers,
        prompt_tokens: Numbers,
        output_tokens: Numbers,
        *,
        model: str | Sequence[str] = "default",
        source: str = "columns",
        slo_class: str | Sequence[str] = "default",
        session_id: Sequence[int | None] | None = None,
    ) -> Trace:
        """Make a trace of columns of equal length; `model` and `slo_class` may be one name for all.

        Raises:
            TraceError: Lengths that differ, or any problem that `from_frame` reports.

        Examples:
            >>> Trace.from_columns([0.0, 1.0, 4.0], [100, 20, 30], [5, 6, 7], model="llama")
            Trace('columns', 3 requests in 4 s)
        """
        given = {"model": model, "slo_class": slo_class, "session_id": session_id}
        columns = {
            "arrival_s": arrival_s,
            "prompt_tokens": prompt_tokens,
            "output_tokens": output_tokens,
            **{name: value for name, value in given.items() if not isinstance(value, str | None)},
        }
        try:
            frame = pl.DataFrame(columns)
        except (pl.exceptions.PolarsError, TypeError) as error:
            msg = f"{source}: the columns do not form a table: {str(error).splitlines()[0]}"
            raise TraceError(msg) from None
        one_model = model if isinstance(model, str) else None
        one_class = slo_class if isinstance(slo_class, str) else "default"
        return cls.from_frame(frame, source, model=one_model, slo_class=one_class)

    def __len__(self) -> int:
        return self.requests.height

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trace):
            return NotImplemented
        return self.source == other.source and self.requests.equals(other.requests)

    def __repr__(self) -> str:
        return f"Trace({self.source!r}, {len(self)} requests in {self.duration_s:g} s)"

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models asked for, sorted."""
        return tuple(self.requests["model"].unique().sort())

    @property
    def duration_s(self) -> float:
        """Time from the first arrival to the last, in seconds."""
        arrival_s = self.requests["arrival_s"]
        return float(arrival_s[-1] - arrival_s[0])

    @property
    def rate_rps(self) -> float:
        """Mean arrival rate in requests/s: gaps between arrivals / duration; inf if all come at once."""
        return (len(self) - 1) / self.duration_s if self.duration_s > 0 else math.inf

    def stats(self) -> pl.DataFrame:
        """Summarise the trace.

        Returns:
            One row for all requests (`model` is "all"), then one per model in alphabetical order. Columns:
            `model`, `n_requests`, `duration_s`, `rate_rps`, `arrival_cv` (standard deviation / mean of
            the gaps between arrivals; null if there is none), and `_mean _p50 _p90 _p99 _max` of
            `prompt_tokens` and `output_tokens` (quantiles interpolated linearly).

        Examples:
            >>> trace = Trace.from_columns([0.0, 1.0, 4.0], [100, 20, 30], [5, 6, 7], model="llama")
            >>> trace.stats().select("model", "n_requests", "rate_rps", "prompt_tokens_p50").rows()
            [('all', 3, 0.5, 30.0), ('llama', 3, 0.5, 30.0)]
        """
        grouped = self.requests.group_by("model", maintain_order=True).agg(_STATISTICS).sort("model")
        overall = self.requests.select(pl.lit("all").alias("model"), *_STATISTICS)
        return pl.concat([overall, grouped])

    def slice(self, start_s: float, end_s: float) -> Trace:
        """Requests that arrive in [start_s, end_s); `start_s` becomes time 0.

        Raises:
            TraceError: If no request arrives then, or `start_s` is negative.
        """
        arrival_s = pl.col("arrival_s")
        window = self.requests.filter((arrival_s >= start_s) & (arrival_s < end_s))
        if window.is_empty() or start_s < 0:
            msg = f"{self.source}: no request arrives in [{start_s}, {end_s}) s"
            raise TraceError(msg)
        later = self._derive(window.with_columns(arrival_s - start_s), f"slice({start_s!r}, {end_s!r})")
        return later if self.start is None else replace(later, start=self.start + timedelta(seconds=start_s))

    def head(self, n: int) -> Trace:
        """The first `n` requests, or all if there are fewer; times stay.

        Raises:
            TraceError: If `n` is below 1.
        """
        if n < 1:
            msg = f"{self.source}: head needs at least 1 request, not {n}"
            raise TraceError(msg)
        return self._derive(self.requests.head(n), f"head({n})")

    def scale_rate(self, factor: float) -> Trace:
        """The same requests, arriving `factor` times as fast: arrival times are divided by it.

        Raises:
            TraceError: If `factor` is not a positive number, or too small for finite times.
        """
        if not 0 < factor < math.inf or not math.isfinite(self.requests["arrival_s"][-1] / factor):
            msg = f"{self.source}: cannot scale the arrival rate by {factor!r}; allowed: a positive number"
            raise TraceError(msg)
        return self._derive(divide_arrivals(self.requests, factor), f"scale_rate({factor!r})")

    def with_model(self, name: str) -> Trace:
        """The same requests, all for the model `name`.

        Raises:
            TraceError: If the name is empty.
        """
        if not name:
            msg = f"{self.source}: the name of a model cannot be empty"
            raise TraceError(msg)
        return self._derive(self.requests.with_columns(model=pl.lit(name)), f"with_model({name!r})")

    def sent_by(self, loop: ClosedLoop | Sessions, seed: int = 0) -> Trace:
        """The same requests, in the same order, but sent when others have ended.

        Args:
            loop: Users in a closed loop, or sessions.
            seed: For think times that are drawn.

        Raises:
            TraceError: They are sent like that already, or there are no sessions.

        Examples:
            >>> Trace.from_columns([0.0, 1.0, 4.0], [100, 20, 30], [5, 6, 7]).sent_by(ClosedLoop(users=2)).loops
            (ClosedLoop(users=2, think_time_s=0.0, ramp_s=0.0, think_time='constant'),)
        """
        if self.loops:
            msg = f"{self.source}: its requests are sent by {self.loops[0]!r} already"
            raise TraceError(msg)
        try:
            requests = loop.mark(self.requests, seed)
        except TraceError as error:
            msg = f"{self.source}: {error}"
            raise TraceError(msg) from None
        source = f"{self.source} | {loop!r}"
        return replace(self, requests=requests, loops=(loop,), source=source, notes=(*self.notes, loop.words()))

    def merge(self, *others: Trace) -> Trace:
        """All requests of this trace and of `others`, on one time axis.

        Requests are renumbered from 0 in order of arrival; at equal times, this trace's come first, then
        the others' in order. `session_id` and `prefix_hashes` are kept: traces that number theirs
        independently share values afterwards, which matters only if they also share a model.

        Raises:
            TraceError: The `prefix_hashes` of two traces stand for different numbers of tokens.
        """
        traces = (self, *others)
        segments = {trace.prefix_segment_tokens for trace in traces if trace.prefix_segment_tokens is not None}
        if len(segments) > 1:
            sizes = ", ".join(f"{trace.prefix_segment_tokens} in {trace.source}" for trace in traces)
            msg = f"prefix hashes of different traces must stand for equally many tokens: {sizes}"
            raise TraceError(msg)
        n_loops = accumulate((len(trace.loops) for trace in traces), initial=0)
        parts = [
            trace.requests.drop("request_id").with_columns(pl.col("^loop$") + n_before)
            for trace, n_before in zip(traces, n_loops, strict=False)
        ]
        merged = pl.concat(parts, how="diagonal").sort("arrival_s", maintain_order=True)
        known = (*(column.name for column in REQUEST_SCHEMA), *LOOP_SCHEMA)
        names = [name for name in known if name in ("request_id", *merged.columns)]
        numbered = merged.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("request_id"))
        return Trace(
            numbered.select(names),
            " + ".join(trace.source for trace in traces),
            notes=tuple(f"{trace.source}: {note}" for trace in traces for note in trace.notes),
            start=self.start if len({trace.start for trace in traces}) == 1 else None,
            prefix_segment_tokens=min(segments, default=None),
            loops=tuple(loop for trace in traces for loop in trace.loops),
        )

    def _derive(self, requests: pl.DataFrame, step: str) -> Trace:
        """A trace of changed requests; rounding may have made times equal, so they are sorted again."""
        return replace(self, requests=requests.sort("arrival_s", "request_id"), source=f"{self.source} | {step}")


def divide_arrivals(requests: pl.DataFrame, divisor: float) -> pl.DataFrame:
    """Divide `arrival_s`, correctly rounded: polars multiplies by the reciprocal, often one ulp off."""
    arrival_s = requests["arrival_s"].to_numpy() / divisor
    return requests.with_columns(pl.Series("arrival_s", arrival_s))


def _statistics() -> list[pl.Expr]:
    arrival_s = pl.col("arrival_s")
    duration_s, gap_s = arrival_s.max() - arrival_s.min(), arrival_s.diff()
    rate = pl.when(duration_s > 0).then((pl.len() - 1) / duration_s).otherwise(math.inf)
    cv = pl.when(gap_s.mean() > 0).then(gap_s.std() / gap_s.mean())
    expressions = [
        pl.len().cast(pl.Int64).alias("n_requests"),
        duration_s.alias("duration_s"),
        rate.alias("rate_rps"),
        cv.alias("arrival_cv"),
    ]
    for name in ("prompt_tokens", "output_tokens"):
        tokens = pl.col(name)
        expressions.append(tokens.mean().alias(f"{name}_mean"))
        expressions += [
            tokens.quantile(percent / 100, interpolation="linear").alias(f"{name}_p{percent}")
            for percent in (50, 90, 99)
        ]
        expressions.append(tokens.max().alias(f"{name}_max"))
    return expressions


_STATISTICS = _statistics()
