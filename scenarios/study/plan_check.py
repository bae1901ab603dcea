"""The closing check of a plan: a short simulation on its own requests, what was promised beside what was delivered.

The fleet serves as it was planned: it stays as it is, whatever the market does later, and clients wait. What is
simulated depends on what is promised.

- Under an SLO the requests come at the times of the trace, as many per second as the plan promises to serve (for `cost`
  those that are offered). The promise is kept if the share within the SLO is what was asked for, less the 95 % margin
  of a count of so many requests.
- Without an SLO, and for a makespan, all requests come at once. Delivered is the steady pace: requests/s that are
  completed while replicas have others waiting; short traces are repeated until there are enough. The configuration
  that keeps the slowest pace sets that of the fleet.
  What is left once replicas run empty does not count; of a makespan it is told as `drain`.

Where the two differ, further simulations say why: with Poisson arrivals instead of the trace's (`burst`), and with the
mean lengths of its workload type for each request (`mix`).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from planners import Objective, Plan, Trial
from planners.fleets.trying import MOST_REQUESTS, sent_at_promised_rate, serve, share_within, without_shed
from scenarios.runs.job import Job
from sim import Deployment
from sim.records import EXCEEDS_CONTEXT, NO_REPLICA, Status
from sim.slo import IS_COMPLETED
from traces import ClosedLoop, Trace
from traces.closed_loop import LOOP_SCHEMA

TOLERANCE = 0.05
"""Relative difference between promise and delivery from which on there is a warning."""

_POISSON_STREAM = 404

_SAME_PACE = 1e-3
_CHANCE = 1.96  # standard deviations of a count within which 95 % are


@dataclass(frozen=True, slots=True)
class PlanCheck:
    """What a plan promised, and what its fleet delivered in simulation.

    Attributes:
        simulated: Which requests were simulated, and how they came.
        n_requests: How many.
        promised_rps: Requests/s promised of all models, under an SLO within it.
        delivered_rps: Requests/s in simulation: within the SLO, or without one the steady pace.
        attainment_goal: Share of requests that should meet the SLO; None without one.
        attainment: Share that did.
        promised_s: Makespan promised for the requests that were simulated; None for other objectives.
        delivered_s: Makespan in simulation.
        reasons: Why they differ: pairs of `burst`, `drain`, `mix`, `rejected` or `unknown`, and how that shows.
        is_kept: Whether promise and delivery agree.
    """

    simulated: str
    n_requests: int
    promised_rps: float
    delivered_rps: float
    attainment_goal: float | None
    attainment: float | None
    promised_s: float | None
    delivered_s: float | None
    reasons: tuple[tuple[str, str], ...]
    is_kept: bool

    def to_dict(self) -> dict[str, Any]:
        """As `plan --json` prints it."""
        return asdict(self) | {"reasons": dict(self.reasons), "tolerance": TOLERANCE}


def check_delivery(job: Job, plan: Plan) -> PlanCheck | None:
    """Simulate a plan on the requests that it was made for.

    Args:
        job: The scenario and its requests.
        plan: Its plan.

    Returns:
        Promise and delivery; None where there is nothing to simulate: no plan, capacities that were given, or users of
        a closed loop, who have no rate of their own.
    """
    trial, trace, deployment = job.problem.trial, job.trace, plan.deployment()
    if trial is None or trace is None or deployment is None:
        return None
    if any(isinstance(loop, ClosedLoop) for loop in trace.loops):
        return None
    own = replace(trial, requests=_without_loops(trace), slo=job.slo)
    if job.slo.asks_for_nothing or plan.objective_name is Objective.MAKESPAN:
        return _at_once(own, plan, deployment)
    return _within_slo(own, plan, deployment, job.slo.attainment, job.seed)


# Under an SLO --------------------------------------------------------------------------------------------------------


def _within_slo(trial: Trial, plan: Plan, deployment: Deployment, goal: float, seed: int) -> PlanCheck:
    promised_rps = math.fsum(plan.promised_rps.values())
    sent = sent_at_promised_rate(plan, trial.requests)
    served = serve(trial, deployment, sent)
    share = share_within(trial, served)
    n = len(sent)
    is_kept = _is_met(share, goal, n)
    reasons = list(_rejected(served))
    held = served.filter(pl.col("status") != Status.REJECTED.value)
    if not is_kept and not (reasons and _is_met(share_within(trial, held), goal, held.height)):
        reasons += _why_late(trial, plan, deployment, sent, share, goal, seed)
    n_trace, factor = len(trial.requests), promised_rps / trial.requests.rate_rps
    part = f"all {n:,} requests" if n == n_trace else f"{n:,} of {n_trace:,} requests, the busiest in a row"
    pace = "at the times of the trace" if abs(factor - 1) < _SAME_PACE else f"{factor:.4g} x as fast as in the trace"
    return PlanCheck(
        simulated=f"{part}, {pace}",
        n_requests=n,
        promised_rps=promised_rps,
        delivered_rps=promised_rps * share,
        attainment_goal=goal,
        attainment=share,
        promised_s=None,
        delivered_s=None,
        reasons=tuple(reasons),
        is_kept=is_kept,
    )


def _margin(goal: float, n: int) -> float:
    """How far the share of so many requests may be from what was asked for by chance, in 95 % of cases."""
    return _CHANCE * math.sqrt(goal * (1 - goal) / n)


def _is_met(share: float, goal: float, n: int) -> bool:
    return share >= goal - _margin(goal, n)


def _why_late(
    trial: Trial, plan: Plan, deployment: Deployment, sent: Trace, share: float, goal: float, seed: int
) -> list[tuple[str, str]]:
    """What has to be changed until the goal is met: the arrivals, or the lengths, too."""
    n = len(sent)
    even = _with_poisson_arrivals(sent, seed)
    of_even = share_within(trial, serve(trial, deployment, even))
    burst = ("burst", f"with Poisson arrivals of the same rate {100 * of_even:.1f} % are within the SLO")
    if _is_met(of_even, goal, n):
        return [burst]
    of_types = share_within(trial, serve(trial, deployment, _with_mean_lengths(plan, even)))
    said = f"with Poisson arrivals and the mean lengths of each workload type {100 * of_types:.1f} % are within the SLO"
    rest = ("mix" if _is_met(of_types, goal, n) else "unknown", said)
    return [burst, rest] if of_even - share > _margin(goal, n) else [rest]


# All at once ---------------------------------------------------------------------------------------------------------


def _at_once(trial: Trial, plan: Plan, deployment: Deployment) -> PlanCheck:
    trace = without_shed(plan, trial.requests)
    n = min(len(trace), MOST_REQUESTS)
    n_times = MOST_REQUESTS // n
    sent = _repeated_at_once(trace.head(n), n_times)
    promised_rps = math.fsum(plan.promised_rps.values())
    served = serve(trial, deployment, sent)
    delivered_rps = _steady_rps(served, deployment)
    is_cost = plan.objective_name is Objective.COST
    is_kept = _agree(delivered_rps, promised_rps, at_least=is_cost)
    reasons = list(_rejected(served))
    if not is_kept:
        alike_rps = _steady_rps(serve(trial, deployment, _with_mean_lengths(plan, sent)), deployment)
        said = f"with the mean lengths of its workload type for each request {alike_rps:.4g} req/s"
        reasons.append(("mix" if _agree(alike_rps, promised_rps, at_least=is_cost) else "unknown", said))
    promised_s = delivered_s = None
    if plan.objective_name is Objective.MAKESPAN:
        once = serve(trial, deployment, _repeated_at_once(trace.head(n), 1))
        promised_s, delivered_s = n / promised_rps, float(once["finish_s"].max() or 0.0)  # type: ignore[arg-type]
        if is_kept and not _agree(delivered_s, promised_s):
            is_kept = False
            said = f"at the steady pace it would take {n / delivered_rps:.4g} s; the rest is replicas that run empty"
            reasons.append(("drain", said))
    part = f"all {n:,}" if n == len(trace) else f"the first {n:,} of {len(trace):,}"
    times = f", {n_times} times over" if n_times > 1 else ""
    return PlanCheck(
        simulated=f"{part} requests at once{times}",
        n_requests=n,
        promised_rps=promised_rps,
        delivered_rps=delivered_rps,
        attainment_goal=None,
        attainment=None,
        promised_s=promised_s,
        delivered_s=delivered_s,
        reasons=tuple(reasons),
        is_kept=is_kept,
    )


def _agree(delivered: float, promised: float, *, at_least: bool = False) -> bool:
    change = delivered / promised - 1
    return change >= -TOLERANCE and (at_least or change <= TOLERANCE)


def _steady_rps(served: pl.DataFrame, deployment: Deployment) -> float:
    """Requests/s completed while replicas have others waiting: by the slowest configuration, for its share of them."""
    done = served.filter(IS_COMPLETED)
    c_of_replica = [c for c, (_, count) in enumerate(deployment.replicas) for _ in range(count)]
    queued_s, last_s = pl.col("first_scheduled_s").max(), pl.col("finish_s").max()
    windows = done.group_by("replica_id").agg(queued_s.alias("queued_s"), last_s.alias("last_s"))
    is_loaded = pl.col("queued_s") > pl.col("last_s") / 2
    windows = windows.with_columns(
        start_s=pl.when(is_loaded).then(pl.col("queued_s") / 2).otherwise(0.0),
        end_s=pl.when(is_loaded).then("queued_s").otherwise("last_s"),
    )
    within = pl.col("finish_s").is_between("start_s", "end_s", closed="right")
    by_replica = (
        done.join(windows, on="replica_id")
        .group_by("replica_id")
        .agg(n=pl.len(), rps=within.sum() / (pl.col("end_s") - pl.col("start_s")).first())
        .with_columns(c=pl.col("replica_id").replace_strict(dict(enumerate(c_of_replica)), return_dtype=pl.Int64))
    )
    paces = by_replica.group_by("c").agg(pace=pl.col("rps").sum() / pl.col("n").sum())["pace"]
    return float(paces.min() or 0.0) * done.height  # type: ignore[arg-type]


# The requests --------------------------------------------------------------------------------------------------------


def _rejected(served: pl.DataFrame) -> list[tuple[str, str]]:
    reasons = served.filter(pl.col("status") == Status.REJECTED.value)["reason"].value_counts(sort=True)
    words = {EXCEEDS_CONTEXT: "that no replica of the fleet can hold", NO_REPLICA: "whose model nobody serves"}
    return [("rejected", f"{n:,} requests {words.get(str(name), str(name))}") for name, n in reasons.iter_rows()]


def _repeated_at_once(trace: Trace, n_times: int) -> Trace:
    """The requests so many times over, all at once."""
    repeated = pl.concat([trace.requests] * n_times)
    numbers = pl.int_range(pl.len(), dtype=pl.Int64)
    return replace(trace, requests=repeated.with_columns(request_id=numbers, arrival_s=pl.lit(0.0)))


def _without_loops(trace: Trace) -> Trace:
    """The same requests at the times of the trace, though some would wait for others."""
    return replace(trace, requests=trace.requests.drop(*LOOP_SCHEMA, strict=False), loops=()) if trace.loops else trace


def _with_poisson_arrivals(trace: Trace, seed: int) -> Trace:
    """The same requests in the same order and time, but as if they came independently of each other."""
    arrival_s = trace.requests["arrival_s"]
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_POISSON_STREAM,)))
    draws = rng.uniform(float(arrival_s[0]), float(arrival_s[-1]), len(trace))
    return replace(trace, requests=trace.requests.with_columns(arrival_s=pl.Series(np.sort(draws))))


def _with_mean_lengths(plan: Plan, trace: Trace) -> Trace:
    """The same requests, each with the mean lengths of its workload type."""
    prompts = trace.requests["prompt_tokens"].to_numpy().copy()
    outputs = trace.requests["output_tokens"].to_numpy().copy()
    for demand in plan.problem.demands:
        rows = (trace.requests["model"] == demand.model).arg_true().to_numpy()
        if demand.mix is None or not len(rows):
            continue
        kinds = demand.mix.grid.classify(trace, demand.model).to_numpy()
        prompts[rows] = np.rint(np.array(demand.mix.mean_prompt_tokens)[kinds])
        outputs[rows] = np.rint(np.array(demand.mix.mean_output_tokens)[kinds])
    columns = {"prompt_tokens": np.maximum(prompts, 1), "output_tokens": np.maximum(outputs, 1)}
    schema = trace.requests.schema
    series = [pl.Series(name, values, schema[name]) for name, values in columns.items()]
    return replace(trace, requests=trace.requests.with_columns(series))
