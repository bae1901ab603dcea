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
NEAR = 1e-5
"""Relative, by how much less a rate is than the largest one."""
ROUGH = 1e-3
"""The same where many are compared."""
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
        self._known: dict[tuple[float, float, int], float] = {}

    def rps(self, near: float = NEAR) -> float:
        """The largest rate, nearly, at which the goals are met by each kind of the mix; 0 if they never are."""
        full = self._state.rps
        rps, low = full / (1 + self._margin), _LEAST_RATE * full
        worst = self.worst(rps)
        if self.log_late(rps, kinds=[worst]) <= 0:
            n_stages = self._state.n_stages  # even if all requests are in one batch of a pipeline
            return full if n_stages == 1 or self.log_late(full, 1 / n_stages) <= 0 else rps
        if self.log_late(low) > 0:
            return 0.0
        while self.log_late(rps, kinds=[worst]) > 0:
            rps = self._rps_of(worst, low, rps, near)
            worst = self.worst(rps, but=worst)
        return rps

    def _rps_of(self, kind: int, low: float, high: float, near: float) -> float:
        """The rate between two at which as many of a kind are late as may be, from below."""
        from scipy.optimize import brentq

        def log_late(rps: float) -> float:
            return self.log_late(rps, kinds=[kind])

        middle = high / 2
        while middle > low and log_late(middle) > 0:
            high, middle = middle, middle / 2
        low = max(low, middle)
        return float(brentq(log_late, low, high, xtol=near * low / 4, rtol=near / 4)) * (1 - near)

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
        kinds = range(len(self._state.kinds)) if kinds is None else kinds
        judged_rps = min((1 + self._margin) * rps, self._state.rps)
        late = max(self._late_share(judged_rps, share, kind) for kind in kinds)
        return math.log(max(late / self._most_late, _LEAST_LATE))

    def _late_share(self, judged_rps: float, share: float, kind: int) -> float:
        """Share of the requests of a kind that are late for any goal."""
        key = judged_rps, share, kind
        if key not in self._known:
            loaded = self._loaded(judged_rps)
            in_time = (1 - loaded.late_share(kind, metric, share * limit_s) for metric, limit_s in self._goals)
            self._known[key] = 1 - math.prod(in_time)
        return self._known[key]

    def _loaded(self, judged_rps: float) -> LoadedReplica:
        if self._last is None or self._last[0] != judged_rps:
            self._last = judged_rps, LoadedReplica(self._state, judged_rps, self._curve)
        return self._last[1]


def rps_within(slo: SLO, state: SteadyState, near: float = NEAR) -> float:
    """The largest rate, nearly, at which the goals are met by each kind of the mix; 0 if they never are."""
    return state.rps if slo.asks_for_nothing else WithinSlo(slo, state).rps(near)
