"""Points of a measured sweep as a target of a fit: every second one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from scenarios.errors import RunError
from scenarios.measurements.measurement import TIMES, Aggregate
from scenarios.measurements.run import STATISTICS, statistic_of
from scenarios.study.calibration.estimate import Floats, Target
from scenarios.study.calibration.knobs import Server
from scenarios.study.calibration.runs import METRICS
from scenarios.study.validate_run import name_of

POINTS_PER_PARAMETER = 2
_FIGURES = tuple(f"{name}_{what}" for name in TIMES for what in STATISTICS)


@dataclass(frozen=True, slots=True)
class FitSweep:
    """A sweep of which every second point is fitted to.

    Attributes:
        source: Where it comes from.
        points: All points, in order of load.
        target: Logarithms of the mean TTFT and TPOT (of the median where there is no mean) of the fitted ones.
    """

    source: str
    points: tuple[Aggregate, ...]
    target: Target

    @classmethod
    def of(cls, source: str, points: Sequence[Aggregate]) -> FitSweep:
        """Every second point of a sweep, from the first on."""
        found = tuple(sorted(points, key=lambda point: (point.concurrency or 0, point.rate_rps or 0.0)))
        rows = [
            (np.log(point.figures[figure]), METRICS.index(figure.rsplit("_", 1)[0]), block)
            for block, point in enumerate(found[::2])
            for figure in _fitted(point)
        ]
        if not rows:
            msg = f"{source}: no point has a mean or median of TTFT or TPOT"
            raise RunError(msg)
        observed, metric, block = zip(*rows, strict=True)
        return cls(source, found, Target(np.array(observed), np.array(metric), np.eye(len(rows)), np.array(block)))

    @property
    def worth(self) -> float:
        """How many parameters can be fitted to it at most."""
        return len(self.points[::2]) / POINTS_PER_PARAMETER

    @property
    def split(self) -> str:
        """Which part is fitted to."""
        n_fitted, n = len(self.points[::2]), len(self.points)
        return f"{self.source}: fitted to {n_fitted} of {n} points, every second one; errors are those of the others"

    def predict(self, server: Server, n_draws: int) -> Floats:
        """Logarithms of the figures, in the order of the target; means over many requests need no further draws."""
        return np.array([
            np.log(value) for point in self.points[::2] for value in _figures(server, point, _fitted(point))
        ])  # fmt: skip

    def held_out(self, server: Server) -> pl.DataFrame:
        """Of the points that are not fitted to: `part`, `figure`, `simulated`, `real`."""
        rows: list[tuple[str, str, float, float]] = []
        for point in self.points[1::2]:
            names = [name for name in _FIGURES if point.figures.get(name)]
            values = _figures(server, point, names)
            rows += [
                (name_of(point), name, ours, point.figures[name]) for name, ours in zip(names, values, strict=True)
            ]
        schema = {"part": pl.String, "figure": pl.String, "simulated": pl.Float64, "real": pl.Float64}
        return pl.DataFrame(rows, schema=schema, orient="row")


def _fitted(point: Aggregate) -> list[str]:
    names = ([f"{name}_{what}" for what in ("mean", "p50") if point.figures.get(f"{name}_{what}")] for name in METRICS)
    return [found[0] for found in names if found]


def _figures(server: Server, point: Aggregate, names: Sequence[str]) -> list[float]:
    served = server.replayer.replay_point(point).requests
    parts = (name.rsplit("_", 1) for name in names)
    return [statistic_of(served[time].drop_nulls(), what) for time, what in parts]
