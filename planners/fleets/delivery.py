"""Trying a plan: what its fleet delivers in simulation, on requests like those to come.

What is measured is the pace that the replicas of each candidate keep: 1 / T of the planning problem, where T is a time
in seconds (`makespan`) or a utilisation (`throughput`, `cost`). The slowest candidate sets the pace of the fleet.

- `makespan`, and `throughput` and `cost` without an SLO: all requests come at once, as many as keep a replica busy for
  some time. The pace is that of the work done in the middle half of the time in which a replica has requests waiting.
  How long the last requests take, when replicas run empty, is no part of it: that depends on how many there are. Where
  requests are routed by the plan, replicas do not touch each other, and one of each candidate is simulated.
- `throughput` and `cost` with an SLO: the requests come as they are known to come (`planners.fleets.trying`), faster or
  slower. Where that is not known, as many as there are to draw from come as a Poisson process. The pace is the largest,
  in steps of 2.2 %, at which enough of the candidate's requests meet the SLO.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from planners.fleets.assignment import evaluate
from planners.fleets.trying import knows_arrivals, sent_at, serve, share_within
from planners.problem.problem import Objective
from planners.randomness import TRIAL_ARRIVALS_STREAM, TRIAL_ORDER_STREAM, generator
from sim.kv_cache import block_rule, kv_blocks
from sim.slo import E2E_S, TPOT_S, TTFT_S
from traces.trace import Trace

if TYPE_CHECKING:
    import numpy.typing as npt

    from planners.problem.candidate import Demand
    from planners.problem.latency import LatencyGoal
    from planners.problem.plan import Plan
    from planners.problem.problem import PlanningProblem
    from planners.problem.trial import Trial
    from sim.slo import SLO
    from traces.workload import WorkloadMix

    Floats = npt.NDArray[np.float64]

_N_ORDERS = 3
"""Orders of the requests over which makespans are averaged."""
_FILLS = 16
_AND_MORE = 500
"""Requests that a replica gets to be measured under load: so many times what it runs at once, and so many more."""
_BY_PLAN = "plan_weighted"
"""The router with which what a replica gets depends on the plan alone."""
_LOADS = tuple(2 ** (k / 32) for k in range(-32, 17))
"""Loads to try with an SLO, relative to the pace of the plan."""
_METRICS = {"e2e": E2E_S, "ttft": TTFT_S, "tpot": TPOT_S}
_WARM_UP = 0.25
"""Share of the requests of a Poisson process that do not count, since the fleet was empty when they came."""


def delivered_paces(problem: PlanningProblem, plan: Plan, trial: Trial, most_requests: int) -> dict[int, float]:
    """The pace that the replicas of each rented candidate keep in simulation, as the module says.

    Args:
        problem: A problem whose candidates have a `spec` and whose demands have a mix.
        plan: A plan for it.
        trial: What to simulate with.
        most_requests: Most requests to simulate at a time; the makespan of more is scaled up.

    Returns:
        The paces by candidate, without candidates that served no request.
    """
    slo = trial.slo
    if problem.objective is Objective.MAKESPAN or slo is None or slo.asks_for_nothing:
        return _under_load(problem, plan, trial, most_requests)
    return _within(slo, problem, plan, trial, most_requests)


def delivered_makespan_s(problem: PlanningProblem, plan: Plan, trial: Trial, most_requests: int) -> float:
    """The time until the last request is done if all come at once, the mean of three orders of the requests.

    The arguments are those of `delivered_paces`. It is more than 1 / pace, since replicas run empty at the end; how
    much more depends on how many requests there are.
    """
    order = generator(problem.seed, TRIAL_ORDER_STREAM)
    times_s = []
    for _ in range(_N_ORDERS):
        sample = _sample(problem, trial, min(_total(problem), most_requests), order)
        served = _serve(plan, trial, _as_trace(sample, np.zeros(sample.height)))
        last_s = float(served["finish_s"].to_numpy().max())
        times_s.append(last_s * _total(problem) / sample.height)
    return math.fsum(times_s) / len(times_s)


def delivered_latency(
    problem: PlanningProblem, plan: Plan, trial: Trial, goal: LatencyGoal, most_requests: int
) -> tuple[float, float]:
    """What a latency is at the offered rates, in seconds, and the share of requests within the SLO.

    The arguments are those of `delivered_paces`; the requests come as with an SLO. Only those that were served count.
    """
    served = _served_at(1.0, problem, plan, trial, most_requests)
    values_s = served.select(_METRICS[goal.metric]).to_series().drop_nulls()
    late = goal.late_share
    latency_s = values_s.mean() if late is None else values_s.quantile(1 - late, interpolation="linear")
    return math.inf if latency_s is None else float(latency_s), share_within(trial, served)  # type: ignore[arg-type]


def _under_load(problem: PlanningProblem, plan: Plan, trial: Trial, most_requests: int) -> dict[int, float]:
    busy = [c for c in _rented(plan) if any(_amounts(problem, plan, c))]
    if trial.router != _BY_PLAN:
        fills = {c: _n_loaded(problem, plan, c) for c in busy}
        return _paces_under_load(problem, plan, trial, _enough(problem, plan, fills, most_requests))
    paces: dict[int, float] = {}
    for c in busy:
        alone, one = _alone(problem, plan, c)
        paces |= _paces_under_load(alone, one, trial, min(_n_loaded(problem, plan, c), most_requests))
    return paces


def _paces_under_load(problem: PlanningProblem, plan: Plan, trial: Trial, n_requests: float) -> dict[int, float]:
    sample = _sample(problem, trial, n_requests, generator(problem.seed, TRIAL_ORDER_STREAM))
    served = _with_work(problem, plan, _serve(plan, trial, _as_trace(sample, np.zeros(sample.height))), sample["kind"])
    queued_s = pl.col("first_scheduled_s").max().over("replica_id")
    last_s = pl.col("finish_s").max().over("replica_id")
    is_loaded = queued_s > last_s / 2  # a replica that soon had no queue is measured from beginning to end
    windows = served.with_columns(
        start_s=pl.when(is_loaded).then(queued_s / 4).otherwise(0.0),
        end_s=pl.when(is_loaded).then(queued_s * 3 / 4).otherwise(last_s),
    )
    # Requests of one length finish in waves: to count them as they finish would be off by a wave. They are taken to be
    # worked on evenly from when they are scheduled until they finish. That is not so of the last ones, beside which
    # replicas run empty, nor of the first.
    begun_s = pl.max_horizontal("first_scheduled_s", "start_s")
    until_s = pl.min_horizontal("finish_s", "end_s")
    share = (until_s - begun_s).clip(lower_bound=0.0) / (pl.col("finish_s") - pl.col("first_scheduled_s"))
    done = pl.col("work") * share / (pl.col("end_s") - pl.col("start_s"))
    done_per_s = windows.group_by("c", maintain_order=True).agg(done.sum() / pl.col("work").sum())
    return {c: share * sample.height / _total(problem) for c, share in done_per_s.iter_rows() if share > 0}


def _alone(problem: PlanningProblem, plan: Plan, c: int) -> tuple[PlanningProblem, Plan]:
    """One replica of a candidate with all that the plan gives it: requests go by the plan, whatever the others do."""
    model = problem.candidates[c].model
    served = tuple(amount / plan.counts[c] for amount in _amounts(problem, plan, c))
    demands = tuple(
        replace(demand, amounts=served if demand.model == model else (0.0,) * len(demand.amounts))
        for demand in problem.demands
    )
    alone = replace(problem, demands=demands, cases=(), previous=None)
    counts = tuple(int(i == c) for i in range(len(plan.counts)))
    shares = tuple(
        tuple(float(f > 0) for f in served) if i == c else (0.0,) * len(row) for i, row in enumerate(plan.assignment)
    )
    return alone, replace(plan, problem=alone, counts=counts, assignment=shares)


def _n_loaded(problem: PlanningProblem, plan: Plan, c: int) -> float:
    """Requests that a replica gets to be measured under load."""
    return _FILLS * _most_running(problem, plan, c) + _AND_MORE


def _within(slo: SLO, problem: PlanningProblem, plan: Plan, trial: Trial, most_requests: int) -> dict[int, float]:
    pace = 1.0 / evaluate(problem, plan.counts, plan.assignment)

    @cache
    def attainments(step: int) -> dict[int, float]:
        served = _served_at(_LOADS[step] * pace, problem, plan, trial, most_requests)
        return dict(served.group_by("c", maintain_order=True).agg(slo.is_met().mean()).iter_rows())

    def most(c: int) -> float:
        steps = range(len(_LOADS))
        n_met = bisect_left(steps, True, key=lambda step: attainments(step).get(c, 0.0) < slo.attainment)
        return _LOADS[max(0, n_met - 1)]

    return {c: pace * most(c) for c in attainments(0)}


def _served_at(load: float, problem: PlanningProblem, plan: Plan, trial: Trial, most_requests: int) -> pl.DataFrame:
    """The records of requests that come so many times as fast as they are demanded, of those that count."""
    if knows_arrivals(trial):
        mean_rps = math.fsum(demand.total / demand.margin for demand in problem.demands)
        return _serve(plan, trial, sent_at(load * mean_rps, plan, trial.requests, most_requests))
    n_requests = min(len(trial.requests), most_requests)
    sample = _sample(problem, trial, n_requests, generator(problem.seed, TRIAL_ORDER_STREAM))
    gaps = generator(problem.seed, TRIAL_ARRIVALS_STREAM).standard_exponential(sample.height)
    trace = _as_trace(sample, gaps.cumsum() / (load * _total(problem)))
    return _serve(plan, trial, trace).slice(int(_WARM_UP * sample.height))


# The simulation ------------------------------------------------------------------------------------------------------


def _serve(plan: Plan, trial: Trial, trace: Trace) -> pl.DataFrame:
    """The records of the requests that the fleet of a plan served, by arrival, with the candidate `c` of each."""
    deployment = plan.deployment()
    if deployment is None:
        msg = "only a plan with a deployment can be tried"
        raise ValueError(msg)
    c_of_replica = [c for c in _rented(plan) for _ in range(plan.counts[c])]
    of_replica = pl.col("replica_id").replace_strict(dict(enumerate(c_of_replica)), return_dtype=pl.Int64)
    return serve(trial, deployment, trace).filter(pl.col("finish_s").is_not_null()).with_columns(c=of_replica)


def _as_trace(sample: pl.DataFrame, arrival_s: Floats) -> Trace:
    """The requests of a sample, arriving at these times; they have nothing in common that a cache could keep."""
    return Trace.from_columns(
        arrival_s, sample["prompt_tokens"], sample["output_tokens"], model=sample["model"].to_list()
    )


def _with_work(problem: PlanningProblem, plan: Plan, served: pl.DataFrame, kinds: pl.Series) -> pl.DataFrame:
    """Records with the `work` that each request was: the time that the planning problem gives a replica for it."""
    works = [
        (c, kind, 1.0 / capacity if capacity > 0 else 0.0)
        for c in _rented(plan)
        for kind, capacity in enumerate(problem.candidates[c].capacity_rps)
    ]
    of_kind = pl.DataFrame(works, ["c", "kind", "work"], orient="row")
    own = kinds.gather(served["request_id"])
    return served.with_columns(own).join(of_kind, on=["c", "kind"], maintain_order="left")


def _sample(problem: PlanningProblem, trial: Trial, n_requests: float, order: np.random.Generator) -> pl.DataFrame:
    """About so many requests of the mix that is demanded, in a random order: `model`, `kind` and lengths.

    Those of each type are taken in order, and again from the first on if there are too few. If there are none, they are
    given the mean lengths of the type.
    """
    parts = []
    for demand in problem.demands:
        mix = _mix(demand)
        lengths = trial.requests.requests.filter(pl.col("model") == demand.model).select(
            "prompt_tokens", "output_tokens"
        )
        kinds = mix.grid.classify(trial.requests, demand.model) if lengths.height else pl.Series(dtype=pl.Int32)
        means = zip(mix.mean_prompt_tokens, mix.mean_output_tokens, strict=True)
        for kind, (amount, (prompt, output)) in enumerate(zip(demand.amounts, means, strict=True)):
            if amount == 0:
                continue
            mine = lengths.filter(kinds == kind)
            if mine.is_empty():
                mine = pl.DataFrame([(round(prompt), round(output))], lengths.schema, orient="row")
            n = max(1, round(amount * n_requests / _total(problem)))
            chosen = mine[np.resize(np.arange(mine.height), n)]
            parts.append(chosen.with_columns(model=pl.lit(demand.model), kind=pl.lit(kind, pl.Int64)))
    sample = pl.concat(parts)
    return sample[order.permutation(sample.height)]


# What the plan says --------------------------------------------------------------------------------------------------


def _rented(plan: Plan) -> list[int]:
    return [c for c, count in enumerate(plan.counts) if count > 0]


def _total(problem: PlanningProblem) -> float:
    return math.fsum(demand.total for demand in problem.demands)


def _amounts(problem: PlanningProblem, plan: Plan, c: int) -> list[float]:
    """Amount of each type that the replicas of a candidate serve together."""
    demand = problem.demand(problem.candidates[c].model)
    return [x * amount for x, amount in zip(plan.assignment[c], demand.amounts, strict=True)]


def _enough(problem: PlanningProblem, plan: Plan, per_replica: dict[int, float], most_requests: int) -> float:
    """How many requests give each replica of each candidate so many, or `most_requests` if these are fewer."""
    needed = (n * plan.counts[c] / math.fsum(_amounts(problem, plan, c)) for c, n in per_replica.items())
    return min(most_requests, _total(problem) * max(needed))


def _most_running(problem: PlanningProblem, plan: Plan, c: int) -> float:
    """About how many requests a replica runs at once: as many as slots and KV blocks allow."""
    candidate = problem.candidates[c]
    mix, spec = _mix(problem.demand(candidate.model)), candidate.spec
    if spec is None:
        msg = f"{candidate.name} has no spec to simulate"
        raise ValueError(msg)
    amounts = _amounts(problem, plan, c)
    tokens = map(lambda prompt, output: prompt + output / 2, mix.mean_prompt_tokens, mix.mean_output_tokens)
    mean_tokens = math.fsum(amount * n for amount, n in zip(amounts, tokens, strict=True)) / math.fsum(amounts)
    kept_tokens = block_rule(spec).kept_tokens(mean_tokens)
    return min(spec.max_seqs, kv_blocks(spec) * spec.limits.block_tokens / kept_tokens)


def _mix(demand: Demand) -> WorkloadMix:
    if demand.mix is None:
        msg = f"the demand for {demand.model} has no mix to draw requests from"
        raise ValueError(msg)
    return demand.mix
