"""How the requests of a model come, and what is planned for because of that."""

from __future__ import annotations

from dataclasses import replace

from planners import Demand
from planners.problem.arrivals import bursts_within
from sim import SLO
from traces import ClosedLoop, Trace


def with_bursts(demand: Demand, served: Trace, slo: SLO) -> Demand:
    """A demand in requests/s, raised to the rate that has to be planned for to meet an SLO.

    Args:
        demand: At the mean rate.
        served: The requests for its model that can be served.
        slo: What requests should meet; without goals the mean stays, as it does for users of a closed loop.
    """
    if any(isinstance(loop, ClosedLoop) for loop in served.loops):
        return demand
    arrival_s, output_tokens = (served.requests[name].to_numpy() for name in ("arrival_s", "output_tokens"))
    own = slo.of_model(demand.model)
    goal = own.attainment if demand.too_long is None else demand.too_long.goal_of_rest
    bursts = bursts_within(replace(own, attainment=max(goal, own.attainment)), arrival_s, float(output_tokens.mean()))
    return demand if bursts is None else demand.with_bursts(bursts)
