"""More or fewer requests for a while."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl

from traces.errors import TraceError
from traces.trace import Trace


class Surge(NamedTuple):
    """So many times the requests from a time on until another, perhaps only of a model; at once, factors multiply."""

    start_s: float
    stop_s: float
    factor: float
    model: str | None = None


class _Stretch(NamedTuple):
    """A time for which one factor holds; `until_s` is where what it sends ends in the trace as it was."""

    start_s: float
    stop_s: float
    factor: float

    @property
    def until_s(self) -> float:
        return self.start_s + self.factor * (self.stop_s - self.start_s)


def with_traffic(trace: Trace, surges: Sequence[Surge]) -> Trace:
    """A trace with so many times the requests while surges last.

    In a time of length d with the factor f, what the trace sends within f d from its beginning on comes f times as
    fast. After it the trace goes on as if nothing had been: requests of which some came earlier come again, and those
    that were not sent in time are left out. So the rate is f times what it was, bursts are f times as dense, and
    everything else keeps its time. A trace that has not enough requests begins anew. Nothing is drawn.

    Args:
        trace: The requests, at times that are known.
        surges: Times and factors.

    Raises:
        TraceError: No request is left.

    >>> trace = Trace.from_columns([0.0, 10.0, 20.0, 30.0], [8] * 4, [8] * 4)
    >>> with_traffic(trace, [Surge(10.0, 20.0, 2.0)]).requests["arrival_s"].to_list()
    [0.0, 10.0, 15.0, 20.0, 30.0]
    """
    parts = []
    for model in trace.models:
        mine = [surge for surge in surges if surge.model in {None, model}]
        parts += _stretched(trace.requests.filter(pl.col("model") == model), mine)
    requests = pl.concat(parts).sort("arrival_s", maintain_order=True)
    said = ", ".join(f"x {one.factor:g} from {one.start_s:g} to {one.stop_s:g} s" for one in surges)
    if requests.is_empty():
        msg = f"{trace.source}: no request is left of it with traffic {said}"
        raise TraceError(msg)
    numbered = requests.with_columns(request_id=pl.int_range(pl.len(), dtype=pl.Int64))
    late = tuple(
        f"traffic changes at {one.start_s:g} s, after the last request" for one in surges if _is_late(trace, one)
    )
    return replace(trace, requests=numbered, source=f"{trace.source} | traffic {said}", notes=(*trace.notes, *late))


def _is_late(trace: Trace, surge: Surge) -> bool:
    return surge.start_s > float(trace.requests["arrival_s"][-1])


def _stretched(requests: pl.DataFrame, surges: Sequence[Surge]) -> list[pl.DataFrame]:
    """The requests of each stretch of time."""
    arrival_s = requests["arrival_s"].to_numpy()
    mean_gap_s = (arrival_s[-1] - arrival_s[0]) / max(len(arrival_s) - 1, 1)
    end_s = float(arrival_s[-1] + mean_gap_s)
    return [
        _sent(requests, arrival_s, stretch, end_s, number) for number, stretch in enumerate(_stretches(surges, end_s))
    ]


def _stretches(surges: Sequence[Surge], end_s: float) -> list[_Stretch]:
    """From 0 to the end, and then what is left as it is."""
    times = (time_s for surge in surges for time_s in (surge.start_s, surge.stop_s))
    borders = sorted({0.0, end_s, *(time_s for time_s in times if 0 < time_s < end_s)})
    stretches = []
    for start_s, stop_s in pairwise(borders):
        factors = [surge.factor for surge in surges if surge.start_s <= start_s < surge.stop_s]
        stretches.append(_Stretch(start_s, stop_s, math.prod(factors)))
    return stretches


def _sent(requests: pl.DataFrame, arrival_s: np.ndarray, stretch: _Stretch, end_s: float, number: int) -> pl.DataFrame:
    """What is sent in a stretch of time."""
    if stretch.factor == 1:
        return requests.filter((arrival_s >= stretch.start_s) & (arrival_s < stretch.stop_s))
    rows: list[np.ndarray] = []
    times: list[np.ndarray] = []
    for n_times in range(math.floor(stretch.start_s / end_s), math.ceil(stretch.until_s / end_s)):
        again_s = arrival_s + n_times * end_s
        taken = np.flatnonzero((again_s >= stretch.start_s) & (again_s < stretch.until_s))
        rows.append(taken)
        times.append(stretch.start_s + (again_s[taken] - stretch.start_s) / stretch.factor)
    if not rows:
        return requests.clear()
    copies = requests[np.concatenate(rows)].with_columns(arrival_s=pl.Series(np.concatenate(times)))
    if "session_id" in copies.columns:  # a session that is sent twice is two
        n_ids = (requests["session_id"].max() or 0) + 1  # type: ignore[operator]
        copies = copies.with_columns(pl.col("session_id") + n_ids * (number + 1))
    return copies
