"""Made-up timelines of what could be rented: constant, dropping, coming and going, falling together, diurnal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from traces.availability import AvailabilityTimeline
from traces.errors import TraceError, nearest
from traces.synth import DAY_S, generator

MARKOV_STREAM = 111  # numbers of the random streams; 100 to 199 are this package's
SHOCKS_STREAM = 112

Counts = Mapping[str, int]


def constant_availability(counts: Counts, *, end_s: float = DAY_S, **options: Any) -> AvailabilityTimeline:
    """So many GPUs of each type, always. Options: `outside`, `notice_s`, `boot_s`, and `market`, for all generators.

    >>> constant_availability({"L40S": 8}).at(1e6)["L40S", "on_demand"].n_gpus
    8
    """
    return _timeline({gpu: [(0.0, count)] for gpu, count in counts.items()}, "constant", end_s, options)


def scheduled_drops(
    counts: Counts, drops: Sequence[tuple[float, float, Mapping[str, float]]], *, end_s: float = DAY_S, **options: Any
) -> AvailabilityTimeline:
    """GPUs that go at known times and come back.

    Args:
        counts: GPUs of each type.
        drops: (start_s, stop_s, share that is gone of each type that drops), in order of time, apart from one another.
        end_s: Where the timeline ends.
        options: As for `constant_availability`.

    Raises:
        TraceError: Drops overlap, or name another GPU type, or a share is outside of 0 to 1.

    >>> timeline = scheduled_drops({"H100-SXM": 8}, [(600.0, 1200.0, {"H100-SXM": 0.5})])
    >>> [timeline.at(t)["H100-SXM", "on_demand"].n_gpus for t in (0.0, 600.0, 1199.0, 1200.0)]
    [8, 4, 4, 8]
    """
    reached_s = 0.0
    steps = {gpu: [(0.0, count)] for gpu, count in counts.items()}
    for start_s, stop_s, shares in drops:
        if not reached_s <= start_s < stop_s:
            msg = f"drop from {start_s} to {stop_s} s: drops must follow one another, and end after they start"
            raise TraceError(msg)
        reached_s = stop_s
        for gpu, share in shares.items():
            if gpu not in counts:
                msg = f"drop from {start_s} to {stop_s} s: unknown GPU type {gpu!r}: {nearest(gpu, counts)}"
                raise TraceError(msg)
            if not 0 <= share <= 1:
                msg = f"drop of {share} of {gpu!r}: the share must be from 0 to 1"
                raise TraceError(msg)
            steps[gpu] += [(start_s, math.floor(counts[gpu] * (1 - share))), (stop_s, counts[gpu])]
    return _timeline(steps, "scheduled drops", end_s, options)


def markov_availability(
    counts: Counts, *, mean_up_s: float, mean_down_s: float, seed: int, end_s: float = DAY_S, **options: Any
) -> AvailabilityTimeline:
    """Each type alone is there or not, for times that are exponentially distributed; it begins as in the long run.

    Raises:
        TraceError: A mean is not above 0.
    """
    _require_positive(mean_up_s=mean_up_s, mean_down_s=mean_down_s)
    steps: dict[str, list[tuple[float, int]]] = {}
    rng = generator(seed, MARKOV_STREAM)
    for gpu, count in counts.items():
        is_up = bool(rng.random() < mean_up_s / (mean_up_s + mean_down_s))
        t_s = 0.0
        steps[gpu] = []
        while t_s < end_s:
            steps[gpu].append((t_s, count if is_up else 0))
            t_s += float(rng.exponential(mean_up_s if is_up else mean_down_s))
            is_up = not is_up
    return _timeline(steps, f"on and off, seed {seed}", end_s, options)


def correlated_drops(
    counts: Counts,
    *,
    mean_gap_s: float,
    mean_down_s: float,
    share: float,
    correlation: float,
    seed: int,
    end_s: float = DAY_S,
    **options: Any,
) -> AvailabilityTimeline:
    """Shocks that hit several types at once, as reclaims of spot capacity do.

    Shocks are a Poisson process. Each hits each type with the probability `correlation`, at least one of them, and
    takes `share` of what there is of it at most, for a time that is exponentially distributed and the same for all.

    Args:
        counts: GPUs of each type.
        mean_gap_s: Mean time between shocks.
        mean_down_s: Mean time until what was taken is back.
        share: Part of a type that a shock takes.
        correlation: Probability that a shock hits a type; 1 hits all at once.
        seed: Of the random numbers.
        end_s: Where the timeline ends.
        options: As for `constant_availability`.

    Raises:
        TraceError: A number is out of range.
    """
    _require_positive(mean_gap_s=mean_gap_s, mean_down_s=mean_down_s)
    if not 0 <= share <= 1 or not 0 <= correlation <= 1:
        msg = f"share is {share}, correlation {correlation}; both must be from 0 to 1"
        raise TraceError(msg)
    rng = generator(seed, SHOCKS_STREAM)
    shocks: dict[str, list[tuple[float, float]]] = {gpu: [] for gpu in counts}
    t_s = float(rng.exponential(mean_gap_s))
    while t_s < end_s:
        until_s = t_s + float(rng.exponential(mean_down_s))
        is_hit = rng.random(len(counts)) < correlation
        is_hit[int(rng.integers(len(counts)))] = True
        for gpu, hit in zip(counts, is_hit, strict=True):
            if hit:
                shocks[gpu].append((t_s, until_s))
        t_s += float(rng.exponential(mean_gap_s))
    steps = {}
    for gpu, count in counts.items():
        times = sorted({0.0, *(t for shock in shocks[gpu] for t in shock if t < end_s)})
        left = math.floor(count * (1 - share))
        steps[gpu] = [(t, left if any(a <= t < b for a, b in shocks[gpu]) else count) for t in times]
    return _timeline(steps, f"correlated drops, seed {seed}", end_s, options)


def diurnal_availability(
    counts: Counts,
    *,
    trough_share: float,
    trough_hour: float = 15.0,
    step_s: float = 900.0,
    days: int = 1,
    **options: Any,
) -> AvailabilityTimeline:
    """More GPUs at night: a cosine between all of them and `trough_share` of them at `trough_hour`, in steps.

    Raises:
        TraceError: A number is out of range.
    """
    _require_positive(step_s=step_s, days=days)
    if not 0 <= trough_share <= 1:
        msg = f"trough_share is {trough_share}; it must be from 0 to 1"
        raise TraceError(msg)
    t_s = np.arange(0.0, days * DAY_S, step_s)
    phase: npt.NDArray[np.float64] = 2 * np.pi * (t_s / DAY_S - trough_hour / 24)
    share = 1 - (1 - trough_share) * (1 + np.cos(phase)) / 2
    steps = {
        gpu: list(zip(t_s.tolist(), np.floor(count * share + 1e-9).astype(int).tolist(), strict=True))
        for gpu, count in counts.items()
    }
    return _timeline(steps, "diurnal", days * DAY_S, options)


def _timeline(
    steps: Mapping[str, Sequence[tuple[float, int]]], source: str, end_s: float, options: dict[str, Any]
) -> AvailabilityTimeline:
    market = options.pop("market", "on_demand")
    rows = [(t_s, gpu, market, count) for gpu, of_gpu in steps.items() for t_s, count in dict(of_gpu).items()]
    schema = {"t_s": pl.Float64, "gpu_type": pl.String, "market": pl.String, "count": pl.Int64}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return AvailabilityTimeline.from_frame(frame, source, end_s=end_s, **options)


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            msg = f"{name} is {value}; it must be more than 0, and finite"
            raise TraceError(msg)
