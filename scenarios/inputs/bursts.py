"""What is planned for instead of the mean rate where requests come in bursts."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from planners import Demand
from planners.problem.arrivals import bursts_within
from sim import SLO
from traces import ClosedLoop, Trace
from traces.bursts import Bursts


def with_bursts(demands: Iterable[Demand], trace: Trace, slo: SLO) -> tuple[Demand, ...]:
    """Demands in requests/s, with the rates that have to be planned for to meet an SLO.

    Args:
        demands: One per model, at the mean rates.
        trace: The requests.
        slo: What they should meet; without goals the means stay.
    """
    if any(isinstance(loop, ClosedLoop) for loop in trace.loops):
        return tuple(demands)
    measured = ((demand, _bursts_of(trace.requests, demand.model, slo)) for demand in demands)
    return tuple(demand if bursts is None else demand.with_bursts(bursts) for demand, bursts in measured)


def _bursts_of(requests: pl.DataFrame, model: str, slo: SLO) -> Bursts | None:
    mine = requests.filter(pl.col("model") == model)
    arrival_s, output_tokens = mine["arrival_s"].to_numpy(), mine["output_tokens"].to_numpy()
    return bursts_within(slo.of_model(model), arrival_s, float(output_tokens.mean()))
