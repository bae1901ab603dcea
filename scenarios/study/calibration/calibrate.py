"""Fit a few physical parameters of a server to a part of what was measured, and say how far off the rest is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import polars as pl

from scenarios.errors import RunError
from scenarios.measurements.measurement import Measurement
from scenarios.study.calibration.estimate import Estimate, Floats, Target, estimate
from scenarios.study.calibration.knobs import DEFAULT, Server
from scenarios.study.calibration.runs import REQUESTS_PER_PARAMETER, FitRun
from scenarios.study.calibration.sweeps import POINTS_PER_PARAMETER, FitSweep

_DIGITS = 4
_FEWEST_REQUESTS = 4


class Part(Protocol):
    """Measurements of which a part is fitted to."""

    @property
    def source(self) -> str:
        """Where they come from."""

    @property
    def target(self) -> Target:
        """What is fitted to."""

    @property
    def worth(self) -> float:
        """How many parameters can be fitted to it at most."""

    @property
    def split(self) -> str:
        """Which part is fitted to."""

    def predict(self, server: Server, n_draws: int) -> Floats:
        """What the simulation says of the target: the mean over some simulations."""

    def held_out(self, server: Server) -> pl.DataFrame:
        """Of what is not fitted to: `part`, `figure`, `simulated`, `real`."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What came of a fit.

    Attributes:
        estimates: Of each parameter.
        splits: Which part of each run was fitted to.
        errors: Of what was not fitted to: `run`, `part`, `figure`, `real`, `before`, `after`, `error_before` and
            `error_after` (relative).
        server: The server with the fitted values.
    """

    estimates: tuple[Estimate, ...]
    splits: tuple[str, ...]
    errors: pl.DataFrame
    server: Server

    @property
    def values(self) -> dict[str, float]:
        """The fitted values."""
        return {one.name: one.value for one in self.estimates if one.is_fitted}


def calibrate(server: Server, measurements: Sequence[Measurement], names: Sequence[str] = DEFAULT) -> Calibration:
    """Fit parameters to half of the requests of each run, the first ones, and to every second point of each sweep.

    Args:
        server: What was measured, as a scenario describes it.
        measurements: Runs and sweeps.
        names: Parameters to fit, of `KNOBS`.

    Raises:
        RunError: There is too little to fit to, or the simulation does not serve all requests.
        UnknownNameError: No such parameter.
    """
    parameters = server.parameters(names)
    parts = _parts(server, measurements)
    _check_is_enough(parts, len(parameters))
    by_name = [p.name for p in parameters]

    def predict(values: Floats, n_draws: int) -> Floats:
        changed = server.with_values(dict(zip(by_name, values.tolist(), strict=True)))
        return np.concatenate([part.predict(changed, n_draws) for part in parts])

    estimates = tuple(_rounded(one) for one in estimate(predict, _joined([part.target for part in parts]), parameters))
    fitted = server.with_values({one.name: one.value for one in estimates if one.is_fitted})
    errors = pl.concat([_errors(part, server, fitted) for part in parts])
    return Calibration(estimates, tuple(part.split for part in parts), errors, fitted)


def _parts(server: Server, measurements: Sequence[Measurement]) -> list[Part]:
    """Each run with requests, and one sweep of all points, of whichever files."""
    parts: list[Part] = []
    for measured in measurements:
        if measured.trace is None or measured.real is None:
            continue
        if len(measured.trace) < _FEWEST_REQUESTS:
            msg = f"{measured.source}: too few requests: {len(measured.trace)}; a half is fitted to, the other scored"
            raise RunError(msg)
        parts.append(FitRun.of(server, measured))
    sweeps = [measured for measured in measurements if measured.trace is None and measured.aggregates]
    if sweeps:
        points = [point for measured in sweeps for point in measured.aggregates]
        parts.append(FitSweep.of(", ".join(measured.source for measured in sweeps), points))
    return parts


def _check_is_enough(parts: Sequence[Part], n_parameters: int) -> None:
    """Make sure that there is something to fit so many parameters to.

    Raises:
        RunError: There is not.
    """
    if sum(part.worth for part in parts) < n_parameters:
        has = "; ".join(part.split for part in parts) or "there are no measurements"
        msg = f"too little is measured to fit {n_parameters} parameters ({has}): each needs {REQUESTS_PER_PARAMETER} "
        msg += f"requests or {POINTS_PER_PARAMETER} points of a sweep in the part that is fitted to; measure more, or "
        msg += "choose fewer with --fit"
        raise RunError(msg)


def _joined(targets: Sequence[Target]) -> Target:
    """One target of several: each has metrics and blocks of its own."""
    from scipy.linalg import block_diag

    metrics = np.cumsum([0, *(int(target.metric.max()) + 1 for target in targets)])
    blocks = np.cumsum([0, *(int(target.block.max()) + 1 for target in targets)])
    return Target(
        np.concatenate([target.observed for target in targets]),
        np.concatenate([target.metric + first for target, first in zip(targets, metrics[:-1], strict=True)]),
        np.asarray(block_diag(*(target.features for target in targets)), dtype=np.float64),
        np.concatenate([target.block + first for target, first in zip(targets, blocks[:-1], strict=True)]),
    )


def _rounded(one: Estimate) -> Estimate:
    """As the file has it."""
    if not one.is_fitted:
        return one
    low, high = (None if bound is None else _round(bound) for bound in (one.low, one.high))
    return replace(one, value=_round(one.value), low=low, high=high)


def _round(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _errors(part: Part, before: Server, after: Server) -> pl.DataFrame:
    keys = ["part", "figure", "real"]
    first = part.held_out(before).rename({"simulated": "before"})
    second = part.held_out(after).select("simulated").to_series()
    frame = first.with_columns(after=second).select(pl.lit(part.source).alias("run"), *keys, "before", "after")
    relative = [(pl.col(name) / pl.col("real") - 1).alias(f"error_{name}") for name in ("before", "after")]
    return frame.with_columns(relative)
