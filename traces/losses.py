"""GPUs that are lost for a while, on top of what a timeline of the market says."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from traces.availability import AvailabilityTimeline


class Loss(NamedTuple):
    """GPUs of a type that are gone from a time on until another: a number, or a share of those that are there."""

    gpu_type: str
    start_s: float
    stop_s: float
    n_gpus: int = 0
    share: float = 0.0

    def of(self, n_there: int) -> int:
        """How many are gone, of so many."""
        return n_there - math.floor(n_there * (1 - self.share)) if self.share else self.n_gpus


def with_losses(
    timeline: AvailabilityTimeline, losses: Sequence[Loss], market: str, horizon_s: float = 0.0
) -> AvailabilityTimeline:
    """A timeline without GPUs that are lost; what several losses take adds up.

    Args:
        timeline: What could be rented without them.
        losses: What is gone; a share is of what the timeline has when it begins.
        market: Where.
        horizon_s: Until when it is to be known, if that is later than its end and all losses.

    >>> from traces.availability_synth import constant_availability
    >>> losses = [Loss("L40S", 10.0, 40.0, n_gpus=4), Loss("L40S", 20.0, 30.0, share=0.5)]
    >>> timeline = with_losses(constant_availability({"L40S": 8}), losses, "on_demand")
    >>> [timeline.at(t)["L40S", "on_demand"].n_gpus for t in (0.0, 10.0, 20.0, 30.0, 40.0)]
    [8, 4, 0, 4, 8]
    """
    times = [time_s for loss in losses for time_s in (loss.start_s, loss.stop_s) if time_s < math.inf]
    end_s = max([timeline.end_s, horizon_s, *times])
    changes = timeline.until(end_s)
    touched = {loss.gpu_type for loss in losses}
    is_touched = pl.col("gpu_type").is_in(sorted(touched)) & (pl.col("market") == market)
    rows = changes.filter(is_touched).to_dicts()
    lowered = [row for gpu in sorted(touched) for row in _lowered(gpu, rows, losses)]
    parts = [changes.filter(~is_touched), pl.DataFrame(lowered, changes.schema)]
    return AvailabilityTimeline.from_frame(
        pl.concat(parts).sort("t_s", "gpu_type", "market"),
        f"{timeline.source} with {len(losses)} losses",
        end_s=end_s,
        notice_s=timeline.notice_s,
        boot_s=timeline.boot_s,
    )


def _lowered(gpu: str, rows: Sequence[dict[str, Any]], losses: Sequence[Loss]) -> list[dict[str, Any]]:
    """The changes of a GPU type, of those that are known, less what is lost."""
    steps = [row for row in rows if row["gpu_type"] == gpu]
    times = [row["t_s"] for row in steps]
    mine = [loss for loss in losses if loss.gpu_type == gpu]

    def there(t_s: float) -> dict[str, Any]:
        return steps[bisect_right(times, t_s) - 1]

    gone = [(loss, loss.of(there(loss.start_s)["count"])) for loss in mine]
    borders = {time_s for loss in mine for time_s in (loss.start_s, loss.stop_s) if time_s < math.inf}
    lowered = []
    for t_s in sorted({*times, *borders}):
        row = there(t_s)
        lost = sum(n for loss, n in gone if loss.start_s <= t_s < loss.stop_s)
        lowered.append(row | {"t_s": t_s, "count": max(0, row["count"] - lost)})
    return lowered
