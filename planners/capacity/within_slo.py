"""The largest rate at which a replica meets an SLO.

Each kind of its mix is judged by itself: of its requests, the share that is late for the TTFT, the TPOT or the
end-to-end goal must not exceed 1 - attainment. The latencies are those of `planners.capacity.loaded`. Who is late for
one goal is more likely to be late for another too, so that at most 1 - (1 - a) (1 - b) (1 - c) of the requests are late
for any, with a, b and c late for each.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from planners.capacity.loaded import LoadCurve, LoadedReplica

if TYPE_CHECKING:
    from planners.capacity.loaded import Metric
    from planners.capacity.steady_state import SteadyState
    from sim.slo import SLO

_N_HALVINGS = 13  # to 0.01 % of the rate without goals
_MOST_ATTAINMENT = 1 - 1e-6


def rps_within(slo: SLO, state: SteadyState) -> float:
    """The largest rate at which the goals are met by each kind of the mix; 0 if they never are.

    Args:
        slo: The goals; an end-to-end goal is for requests of the mean lengths of their kind.
        state: The replica at full load.
    """
    limits_s: dict[Metric, float | None] = {"ttft": slo.ttft_s, "tpot": slo.tpot_s, "e2e": slo.e2e_s}
    goals = [(metric, limit_s) for metric, limit_s in limits_s.items() if limit_s is not None]
    has_deadline = slo.ttft_s is not None or slo.e2e_s is not None
    if not has_deadline and (slo.tpot_s is None or not state.has_decodes or state.round_s(state.batch) <= slo.tpot_s):
        return state.rps
    curve = LoadCurve(state)
    most_late = 1 - min(slo.attainment, _MOST_ATTAINMENT)

    def is_met(rps: float) -> bool:
        loaded = LoadedReplica(state, rps, curve)
        return all(_late_share(loaded, kind, goals) <= most_late for kind in range(len(state.kinds)))

    best, low, high = 0.0, 0.0, state.rps
    if not is_met(state.rps / 2**_N_HALVINGS):
        return 0.0
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2
        if is_met(middle):
            best = low = middle
        else:
            high = middle
    return best


def _late_share(loaded: LoadedReplica, kind: int, goals: list[tuple[Metric, float]]) -> float:
    """Share of the requests of a kind that are late for any goal."""
    return 1 - math.prod(1 - loaded.late_share(kind, metric, limit_s) for metric, limit_s in goals)
