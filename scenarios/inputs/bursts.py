"""What is planned for instead of the mean rate where requests come in bursts."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from planners import Demand
from sim import SLO
from traces import ClosedLoop, Trace
from traces.bursts import Bursts, measure_bursts


def with_bursts(demands: Iterable[Demand], trace: Trace, slo: SLO) -> tuple[Demand, ...]:
    """Demands in requests/s, with the rates that have to be planned for to meet an SLO.

    Args:
        demands: One per model, at the mean rates.
        trace: The requests.
        slo: What they should meet; without goals the means stay.
    """
    if any(isinstance(loop, ClosedLoop) for loop in trace.loops):
        return tuple(demands)
    measured = ((demand, bursts_of(trace.requests, demand.model, slo)) for demand in demands)
    return tuple(demand if bursts is None else demand.with_bursts(bursts) for demand, bursts in measured)


def bursts_of(requests: pl.DataFrame, model: str, slo: SLO) -> Bursts | None:
    """How the requests of a model come; None without goals, or with too few requests.

    They may wait for the time of the TTFT goal, and run for that of the end-to-end goal or, with a TPOT goal, for the
    time in which it gives the mean number of output tokens.
    """
    own = slo.of_model(model)
    mine = requests.filter(pl.col("model") == model)
    output_tokens = mine["output_tokens"].mean()
    tokens_s = None if own.tpot_s is None or not isinstance(output_tokens, float) else own.tpot_s * output_tokens
    run_s = min((time_s for time_s in (tokens_s, own.e2e_s) if time_s is not None), default=None)
    arrival_s = mine["arrival_s"].to_numpy()
    return measure_bursts(arrival_s, own.attainment, wait_s=own.ttft_s, run_s=run_s)
