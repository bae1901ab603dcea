"""The largest rate at which a replica meets an SLO.

Each kind of its mix is judged by itself: of its requests, the share that is late for the TTFT, the TPOT or the
end-to-end goal must not exceed 1 - attainment. The latencies are those of `planners.capacity.loaded`. Who is late for
one goal is more likely to be late for another too, so that at most 1 - (1 - a) (1 - b) (1 - c) of the requests are late
for any, with a, b and c late for each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from planners.capacity.load_curve import LoadCurve
from planners.capacity.loaded import LoadedReplica

if TYPE_CHECKING:
    from planners.capacity.loaded import Metric
    from planners.capacity.steady_state import SteadyState
    from sim.slo import SLO

_LEAST_RATE = 1e-4
_MARGIN = 0.03
"""By which the rate is higher at which goals are judged, as a share of it: calibrated on simulations, see the docs."""
_PIPELINE_MARGIN = 1.0
"""The same for pipelines, whose batches drift apart in size, by more than the closed form knows at partial load."""
_MOST_ATTAINMENT = 1 - 1e-6
_NEAR = 1e-6  # relative, of a rate
_LEAST_LATE = 1e-9  # of the share allowed: nobody


class WithinSlo:
    """How much of what is allowed to be late is late on a replica, by its rate.

    Args:
        slo: The goals; an end-to-end goal is for requests of the mean lengths of their kind.
        state: The replica at full load.
    """

    def __init__(self, slo: SLO, state: SteadyState) -> None:
        limits_s: dict[Metric, float | None] = {"ttft": slo.ttft_s, "tpot": slo.tpot_s, "e2e": slo.e2e_s}
        self._goals = [(metric, limit_s) for metric, limit_s in limits_s.items() if limit_s is not None]
        self._most_late = 1 - min(slo.attainment, _MOST_ATTAINMENT)
        self._state = state
        self._curve = LoadCurve(state)
        self._margin = _MARGIN if state.n_stages == 1 else _PIPELINE_MARGIN
        self._last: tuple[float, LoadedReplica] | None = None

    def rps(self) -> float:
        """The largest rate at which the goals are met by each kind of the mix; 0 if they never are."""
        full, n_stages = self._state.rps, self._state.n_stages
        if self.log_late(full, 1 / n_stages) <= 0:  # even if all requests are in one batch of a pipeline
            return full
        low, most = _LEAST_RATE * full, full / (1 + self._margin)
        if self.log_late(low) > 0:
            return 0.0
        rps, worst = most, self.worst(most)
        while self.log_late(rps, kinds=[worst]) > 0:
            rps = self._rps_of(worst, low, rps)
            worst = self.worst(rps, but=worst)
        return rps

    def _rps_of(self, kind: int, low: float, high: float) -> float:
        """The rate between two at which as many of a kind are late as may be, from below."""
        from scipy.optimize import brentq

        root = brentq(lambda rps: self.log_late(rps, kinds=[kind]), low, high, xtol=_NEAR * low, rtol=_NEAR)
        return float(root) * (1 - 2 * _NEAR)

    def worst(self, rps: float, but: int = -1) -> int:
        """The kind of which most are late at a rate, perhaps one kind left out."""
        others = [kind for kind in range(len(self._state.kinds)) if kind != but]
        return max(others, key=lambda kind: self.log_late(rps, kinds=[kind]), default=but)

    def log_late(self, rps: float, share: float = 1.0, kinds: Iterable[int] | None = None) -> float:
        """Logarithm of the share that is late over that allowed, of the kind of which it is largest.

        Args:
            rps: The rate.
            share: Of each limit that is looked at instead of it.
            kinds: Positions of the kinds to look at; all if None.
        """
        loaded = self._loaded(rps)
        limits_s = [(metric, share * limit_s) for metric, limit_s in self._goals]
        kinds = range(len(self._state.kinds)) if kinds is None else kinds
        late = max(_late_share(loaded, kind, limits_s) for kind in kinds)
        return math.log(max(late / self._most_late, _LEAST_LATE))

    def _loaded(self, rps: float) -> LoadedReplica:
        judged_rps = min((1 + self._margin) * rps, self._state.rps)
        if self._last is None or self._last[0] != judged_rps:
            self._last = judged_rps, LoadedReplica(self._state, judged_rps, self._curve)
        return self._last[1]


def rps_within(slo: SLO, state: SteadyState) -> float:
    """The largest rate at which the goals are met by each kind of the mix; 0 if they never are."""
    return state.rps if slo.asks_for_nothing else WithinSlo(slo, state).rps()


def _late_share(loaded: LoadedReplica, kind: int, goals: list[tuple[Metric, float]]) -> float:
    """Share of the requests of a kind that are late for any goal."""
    return 1 - math.prod(1 - loaded.late_share(kind, metric, limit_s) for metric, limit_s in goals)
