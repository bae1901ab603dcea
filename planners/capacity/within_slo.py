"""The largest rate at which a replica meets an SLO.

Each kind of its mix is judged by itself: of its requests, the share that is late for the TTFT, the TPOT or the
end-to-end goal must not exceed 1 - attainment. The latencies are those of `planners.capacity.loaded`. Who is late for
one goal is more likely to be late for another too, so that at most 1 - (1 - a) (1 - b) (1 - c) of the requests are late
for any, with a, b and c late for each.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from planners.capacity.load_curve import LoadCurve
from planners.capacity.loaded import LoadedReplica

if TYPE_CHECKING:
    from planners.capacity.loaded import Metric
    from planners.capacity.steady_state import SteadyState
    from sim.slo import SLO

_N_HALVINGS = 10  # to 0.1 % of the rate without goals
_LEAST_RATE = 1e-4
_MARGIN = 0.03
"""By which the rate is higher at which goals are judged, as a share of it: calibrated on simulations, see the docs."""
_PIPELINE_MARGIN = 1.0
"""The same for pipelines, whose batches drift apart in size, by more than the closed form knows at partial load."""
_MOST_ATTAINMENT = 1 - 1e-6


def rps_within(slo: SLO, state: SteadyState) -> float:
    """The largest rate at which the goals are met by each kind of the mix; 0 if they never are.

    Args:
        slo: The goals; an end-to-end goal is for requests of the mean lengths of their kind.
        state: The replica at full load.
    """
    limits_s: dict[Metric, float | None] = {"ttft": slo.ttft_s, "tpot": slo.tpot_s, "e2e": slo.e2e_s}
    goals = [(metric, limit_s) for metric, limit_s in limits_s.items() if limit_s is not None]
    if not goals:
        return state.rps
    curve = LoadCurve(state)
    most_late = 1 - min(slo.attainment, _MOST_ATTAINMENT)

    n_stages = state.n_stages
    margin = _MARGIN if n_stages == 1 else _PIPELINE_MARGIN

    def is_met(rps: float, share: float = 1.0) -> bool:
        loaded = LoadedReplica(state, min((1 + margin) * rps, state.rps), curve)
        shares = [(metric, share * limit_s) for metric, limit_s in goals]
        return all(_late_share(loaded, kind, shares) <= most_late for kind in range(len(state.kinds)))

    if is_met(state.rps, 1 / n_stages):  # even if all requests are in one batch of a pipeline
        return state.rps
    if not is_met(_LEAST_RATE * state.rps):
        return 0.0
    low, high = _LEAST_RATE * state.rps, state.rps if n_stages == 1 else state.rps / (1 + margin)
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_met(middle) else (low, middle)
    return low


def _late_share(loaded: LoadedReplica, kind: int, goals: list[tuple[Metric, float]]) -> float:
    """Share of the requests of a kind that are late for any goal."""
    return 1 - math.prod(1 - loaded.late_share(kind, metric, limit_s) for metric, limit_s in goals)
