"""The largest rates at which replicas meet an SLO.

Each kind of its mix is judged by itself: of its requests, the share that is late for the TTFT, the TPOT or the
end-to-end goal must not exceed 1 - attainment. The latencies are those of `planners.capacity.loaded`. Who is late for
one goal is more likely to be late for another too, so that at most 1 - (1 - a) (1 - b) (1 - c) of the requests are late
for any, with a, b and c late for each.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from planners.capacity.crowd import units
from planners.capacity.latencies import Latencies
from planners.capacity.load_curve import LoadCurves
from planners.capacity.loaded import LoadedReplicas
from planners.capacity.rows import take
from planners.capacity.search import largest

if TYPE_CHECKING:
    import numpy.typing as npt

    from planners.capacity.latencies import Metric
    from planners.capacity.rows import Places
    from planners.capacity.steady_states import Floats
    from sim.slo import SLO

    Bools = npt.NDArray[np.bool_]

_LEAST_RATE = 1e-4
_MARGIN = 0.03
"""By which the rate is higher at which goals are judged, as a share of it: calibrated on simulations, see the docs."""
_PIPELINE_MARGIN = 1.0
"""The same for pipelines, whose batches drift apart in size, by more than the closed form knows at partial load."""
_MOST_ATTAINMENT = 1 - 1e-6
NEAR = 1e-5
"""Relative, by how much less a rate is than the largest one."""
ROUGH = 1e-3
"""The same where many are compared."""
_LEAST_LATE = 1e-9  # of the share allowed: nobody
_MOST_NUMBERS = 100_000
"""Of rows times numbers of requests that run, looked at together: what fits the caches of a processor."""


class WithinSlo:
    """How much of what is allowed to be late is late on replicas, by their rates.

    Args:
        slo: The goals; an end-to-end goal is for requests of the mean lengths of their kind.
        curves: The replicas, each with its mix; [row].
    """

    def __init__(self, slo: SLO, curves: LoadCurves) -> None:
        limits_s: dict[Metric, float | None] = {"ttft": slo.ttft_s, "tpot": slo.tpot_s, "e2e": slo.e2e_s}
        self._goals = [(metric, limit_s) for metric, limit_s in limits_s.items() if limit_s is not None]
        self._most_late = 1 - min(slo.attainment, _MOST_ATTAINMENT)
        self._curves = curves
        self._is_served = curves.shares > 0
        self._margin = np.where(curves.n_stages == 1, _MARGIN, _PIPELINE_MARGIN)

    def rps(self, near: float = NEAR) -> Floats:
        """The largest rates, nearly, at which the goals are met by each kind of the mix; 0 where they never are."""
        full = self._curves.rps
        rps: Floats = full / (1 + self._margin)
        rows = np.arange(len(full))
        late = self.log_late(rows, rps)
        is_met = late.max(axis=1) <= 0
        # Even if all requests are in one batch of a pipeline.
        pipelines = rows[is_met & (self._curves.n_stages > 1)]
        late_in_one = self.log_late(pipelines, full[pipelines], limits=1 / self._curves.n_stages[pipelines])
        rps[is_met & (self._curves.n_stages == 1)] = full[is_met & (self._curves.n_stages == 1)]
        rps[pipelines] = np.where(late_in_one.max(axis=1) <= 0, full[pipelines], rps[pipelines])

        rows = rows[~is_met]
        least = _LEAST_RATE * full[rows]
        rps[rows] = largest(partial(self._log_late_of, rows), least, rps[rows], late[rows], near / 4) * (1 - near)
        return rps

    def _log_late_of(self, among: Places, rows: Places, rps: Floats, asked: Bools | None = None) -> Floats:
        """As `log_late`, of rows among others."""
        return self.log_late(among[rows], rps, asked)

    def log_late(self, rows: Places, rps: Floats, asked: Bools | None = None, limits: Floats | float = 1.0) -> Floats:
        """Logarithms of the share of requests of a kind that are late for any goal over that allowed.

        Args:
            rows: The replicas.
            rps: The rate of each.
            asked: The kinds to look at; [rows, kind]; None: all of the mix.
            limits: Shares of the limits that are looked at instead of them.

        Returns:
            [rows, kind]; minus infinity for kinds that are not looked at.
        """
        asked = self._is_served[rows] if asked is None else asked
        log_late = np.full(asked.shape, -np.inf)
        if len(rows) == 0:
            return log_late
        curves = take(self._curves, rows)
        judged = LoadedReplicas.at(curves, np.minimum((1 + self._margin[rows]) * rps, curves.rps))
        row, kind = np.nonzero(asked)
        latencies = Latencies(judged, row, kind)
        in_time = np.ones(len(row))
        for metric, limit_s in self._goals:
            in_time *= 1 - latencies.late_share(metric, np.broadcast_to(limits * limit_s, len(rows))[row])
        log_late[asked] = np.log(np.maximum((1 - in_time) / self._most_late, _LEAST_LATE))
        return log_late


def rps_within(slo: SLO, curves: LoadCurves, near: float = NEAR) -> Floats:
    """The largest rates, nearly, at which the goals are met by each kind of the mix; 0 where they never are; [row]."""
    if slo.asks_for_nothing:
        return curves.rps
    rps = np.zeros(len(curves.rps))
    for rows in _blocks(curves):
        rps[rows] = WithinSlo(slo, take(curves, rows)).rps(near)
    return rps


def _blocks(curves: LoadCurves) -> list[Places]:
    """The rows in blocks of which each looks at about as many numbers of requests."""
    n_numbers = units(curves)[1]
    order = np.argsort(-n_numbers, kind="stable")
    blocks, begin = [], 0
    while begin < len(order):
        end = begin + max(1, int(_MOST_NUMBERS / n_numbers[order[begin]]))
        blocks.append(order[begin:end])
        begin = end
    return blocks
