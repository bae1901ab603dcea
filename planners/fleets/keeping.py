"""Plans whose SLO is kept in simulation, by the requests of the trial at the times at which these come.

What a closed form promises of a share of requests rests on approximations, and on arrivals that are described by one
rate. So a plan is tried, and if fewer requests are within the SLO than should be, it is made again for higher rates,
in growing steps, until the share is reached; one for the largest multiple of the rates stays, and promises less of
them. Between the last rate that was too low and the first that was not, halving looks for a better plan. If the rates
cannot be raised far enough within budget and availability, the promise is withdrawn: there is no plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from planners.fleets.trying import MOST_REQUESTS, knows_arrivals, sent_at_promised_rate, serve, share_within
from planners.problem.plan import Plan, PlanStatus, Termination
from planners.problem.problem import Objective, PlanningProblem

if TYPE_CHECKING:
    from planners.problem.trial import Trial

_FACTORS = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
_NEAR = 1.05  # factors so near to each other are not told apart
_CHANCE = 1.96  # standard deviations of a count within which 95 % are


@dataclass(frozen=True, slots=True)
class _Try:
    """A plan for a multiple of the demand, and the share of requests within the SLO; without a plan none."""

    factor: float
    plan: Plan
    share: float


def keep_slo(problem: PlanningProblem, solve: Callable[[PlanningProblem], Plan]) -> Plan:
    """Plan for the offered rates, or for as much more as it takes for the SLO to be met in simulation.

    Args:
        problem: The problem.
        solve: Plans once.

    Returns:
        The plan, whose problem has the demands that were planned for in the end. That of the first time where nothing
        can be tried: without an SLO, a rate, or the times at which requests come.
    """
    plan, trial = solve(problem), problem.trial
    if trial is None or plan.status is not PlanStatus.OK or not _can_try(problem, plan, trial):
        return plan
    goal = 0.0 if trial.slo is None else trial.slo.attainment

    def try_for(factor: float) -> _Try:
        raised = _raised(problem, factor)
        again = _with_less_promised(plan, raised, factor) if _is_homogeneous(problem) else solve(raised)
        return _Try(factor, again, _share(again, trial))

    low = _Try(1.0, plan, _share(plan, trial))
    if low.share >= goal:
        return plan
    tries, high = [low], None
    for factor in _FACTORS:
        tries.append(try_for(factor))
        if tries[-1].share >= goal or tries[-1].plan.status is not PlanStatus.OK:
            high = tries[-1]
            break
        low = tries[-1]
    while high is not None and high.factor > _NEAR * low.factor and _may_differ(low.plan, high.plan):
        tries.append(try_for(math.sqrt(low.factor * high.factor)))
        is_enough = tries[-1].share >= goal or tries[-1].plan.status is not PlanStatus.OK
        low, high = (low, tries[-1]) if is_enough else (tries[-1], high)
    return _best_of(tries, goal, min(len(trial.requests), MOST_REQUESTS))


def _can_try(problem: PlanningProblem, plan: Plan, trial: Trial) -> bool:
    is_asked = trial.slo is not None and not trial.slo.asks_for_nothing
    has_rate = problem.objective in (Objective.COST, Objective.THROUGHPUT)
    return is_asked and has_rate and knows_arrivals(trial) and plan.deployment() is not None


def _raised(problem: PlanningProblem, factor: float) -> PlanningProblem:
    return replace(problem, demands=tuple(demand.raised(factor) for demand in problem.demands))


def _is_homogeneous(problem: PlanningProblem) -> bool:
    """Whether the best plan for so many times the rates is the same, and carries a smaller multiple of them."""
    return problem.objective is Objective.THROUGHPUT and not any(one.shed_usd_per_request for one in problem.demands)


def _with_less_promised(plan: Plan, raised: PlanningProblem, factor: float) -> Plan:
    """A plan for the largest multiple of some rates as the plan for so many times these rates."""
    objective, bound = (None if value is None else value / factor for value in (plan.objective, plan.bound))
    return replace(plan, problem=raised, objective=objective, bound=bound)


def _share(plan: Plan, trial: Trial) -> float:
    deployment = plan.deployment()
    if deployment is None:
        return 0.0
    return share_within(trial, serve(trial, deployment, sent_at_promised_rate(plan, trial.requests)))


def _may_differ(low: Plan, high: Plan) -> bool:
    """Whether a plan between two could be better than the one for more."""
    return high.objective_name is not Objective.COST or low.objective != high.objective


def _best_of(tries: list[_Try], goal: float, n_requests: int) -> Plan:
    """The plan for the least rates of those that meet the goal, as far as chance lets it be told; else none."""
    planned = [one for one in tries if one.plan.status is PlanStatus.OK]
    by_factor = sorted(planned, key=lambda one: one.factor)
    story = ", ".join(f"{100 * one.share:.1f} % for {one.factor:.3g} x the rates" for one in by_factor)
    said = f"within the SLO in simulation: {story}"
    met = [one for one in planned if one.share >= goal]
    if not met:
        nearly = goal - _CHANCE * math.sqrt(goal * (1 - goal) / n_requests)
        met = [max(planned, key=lambda one: one.share)]
        if met[0].share < nearly:
            return _withdrawn(met[0], goal, said)
    kept = min(met, key=lambda one: one.factor)
    return replace(kept.plan, diagnostics=(*kept.plan.diagnostics, said))


def _withdrawn(best: _Try, goal: float, said: str) -> Plan:
    """No plan, and why."""
    plan = best.plan
    reason = f"no plan within budget and availability keeps {100 * goal:.4g} % of the requests within the SLO"
    nobody = tuple(0 for _ in plan.counts)
    nothing = tuple(tuple(0.0 for _ in row) for row in plan.assignment)
    return replace(
        plan,
        status=PlanStatus.INFEASIBLE,
        termination=Termination.INFEASIBLE,
        objective=None,
        bound=None,
        gap=None,
        counts=nobody,
        assignment=nothing,
        diagnostics=(f"{reason}; {said}",),
        capacities=None,
    )
