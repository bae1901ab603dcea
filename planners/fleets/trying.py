"""Serving the requests of a trial with the fleet of a plan: what share of them is within the SLO."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from planners.problem.plan import Plan
    from planners.problem.trial import Trial
    from sim.deployment import Deployment
    from traces.trace import Trace

MOST_REQUESTS = 10_000
"""Most requests that are simulated to see whether a promise is kept."""


LEAST_REQUESTS = 100
"""Fewer say nothing of a share."""


def knows_arrivals(trial: Trial) -> bool:
    """Whether the requests of a trial tell when those to come will come, and are enough to tell a share."""
    requests = trial.requests
    comes_by_itself = trial.knows_arrivals and not requests.loops and requests.duration_s > 0
    return comes_by_itself and len(requests) >= LEAST_REQUESTS


def sent_at_promised_rate(plan: Plan, trace: Trace) -> Trace:
    """The requests that a plan means to serve, coming as fast as it promises to serve them, as `sent_at` has them.

    Args:
        plan: A plan for rates.
        trace: The requests, more than one, that do not all come at once.
    """
    return sent_at(math.fsum(plan.promised_rps.values()), plan, trace)


def sent_at(rate_rps: float, plan: Plan, trace: Trace, most_requests: int = MOST_REQUESTS) -> Trace:
    """The busiest stretch of the requests that a plan means to serve, sped up until all come at a mean rate.

    Requests that no replica can hold, for which nothing is promised, come on top.

    Args:
        rate_rps: Of those that the plan means to serve, on the whole trace.
        plan: A plan for rates.
        trace: The requests, more than one, that do not all come at once.
        most_requests: Most requests of the stretch.
    """
    served = without_shed(plan, trace)
    return _busiest(served, most_requests).scale_rate(rate_rps / (served.rate_rps * _held_share(plan, served)))


def _held_share(plan: Plan, trace: Trace) -> float:
    """Share of the requests that are not longer than a replica can hold."""
    import polars as pl

    held = {one.model: one.too_long.held_tokens for one in plan.problem.demands if one.too_long is not None}
    if not held:
        return 1.0
    most = pl.col("model").replace_strict(held, default=None, return_dtype=pl.Int64)
    is_held = (pl.col("prompt_tokens") + pl.col("output_tokens") <= most).fill_null(value=True)
    return float(trace.requests.select(is_held.mean()).item()) or 1.0


def serve(trial: Trial, deployment: Deployment, trace: Trace) -> pl.DataFrame:
    """The records of the requests, of a fleet that stays as it is."""
    from sim.engine import simulate

    result = simulate(
        deployment,
        trace,
        service_time=trial.service_time,
        router=trial.router,
        length_predictor=trial.length_predictor,
        prefix_caching=trial.prefix_caching,
        prefix_segment_tokens=trial.prefix_segment_tokens,
        engine=trial.engine,
        network=trial.network,
    )
    return result.requests


def share_within(trial: Trial, served: pl.DataFrame) -> float:
    """Share of requests within the SLO of the trial; 1 without one."""
    return 1.0 if trial.slo is None else float(served.select(trial.slo.is_met().mean()).item())


def without_shed(plan: Plan, trace: Trace) -> Trace:
    """The requests that the plan means to serve: of types that it sheds in part every so many-th is left out."""
    import numpy as np
    import polars as pl

    kept = np.ones(len(trace), bool)
    for demand, shed in zip(plan.problem.demands, plan.shed, strict=True):
        if demand.mix is None or not any(shed):
            continue
        rows = (trace.requests["model"] == demand.model).arg_true().to_numpy()
        kinds = demand.mix.grid.classify(trace, demand.model).to_numpy()
        for kind, share in enumerate(shed):
            mine = rows[kinds == kind]
            served = np.floor(np.arange(len(mine) + 1) * (1 - share) + 1e-9)
            kept[mine] = np.diff(served) > 0
    return trace if kept.all() else replace(trace, requests=trace.requests.filter(pl.Series(kept)))


def _busiest(trace: Trace, most: int) -> Trace:
    """The most requests in a row that came in the shortest time; all of them if there are no more."""
    import numpy as np

    n = len(trace)
    if n <= most:
        return trace
    arrival_s = trace.requests["arrival_s"].to_numpy()
    first = int(np.argmin(arrival_s[most - 1 :] - arrival_s[: n - most + 1]))
    return replace(trace, requests=trace.requests.slice(first, most))
