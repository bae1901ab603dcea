"""The planner `milp_refined` for the objective `latency`: of several plans the one of least latency in simulation.

The closed form is off by some per cent, most where replicas are busy. So plans are made for several headrooms, and one
for the least mean, all of which keep the headroom that was asked for, and simulated on requests like those to come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from planners.fleets.latency import asked, latency_s, slo_of
from planners.problem.plan import Plan, PlanStatus
from planners.problem.problem import PlanningProblem

if TYPE_CHECKING:
    from planners.problem.latency import LatencyGoal
    from planners.problem.trial import Trial

_MORE_HEADROOM = (0.1, 0.25, 0.5, 1.0)
"""What is added to the headroom asked for, one after the other, as long as there is a plan."""


class _Try(NamedTuple):
    """A plan, and in simulation whether it misses the SLO and its latency in seconds."""

    is_missed: bool
    delivered_s: float
    plan: Plan

    @property
    def in_words(self) -> str:
        """Promise and delivery."""
        missed = ", but the SLO is missed" if self.is_missed else ""
        return f"promised {self.plan.objective:.4g} s, delivered {self.delivered_s:.4g} s in simulation{missed}"


def least_in_simulation(
    problem: PlanningProblem,
    first: Plan,
    trial: Trial,
    solve: Callable[[PlanningProblem], Plan],
    *,
    max_plans: int,
    most_requests: int,
    worth: float,
) -> Plan:
    """The plan of least latency in simulation.

    Args:
        problem: A problem of this objective.
        first: A plan for it.
        trial: What to simulate with.
        solve: Plans once.
        max_plans: Most plans to simulate.
        most_requests: Most requests to simulate at a time.
        worth: By which share another plan's latency must be shorter to be taken instead of the first.

    Returns:
        The plan; it promises what the closed form does, and its diagnostics tell what was delivered.
    """
    plans = [first]
    for plan in islice(_others(problem, solve), max_plans - 1):
        if all((plan.counts, plan.assignment) != (other.counts, other.assignment) for other in plans):
            plans.append(plan)
    tries = [_tried(problem, plan, trial, most_requests) for plan in plans]
    kept = min(tries, key=lambda one: (one.is_missed, one.delivered_s))
    if kept.is_missed == tries[0].is_missed and kept.delivered_s > tries[0].delivered_s * (1 - worth):
        kept = tries[0]
    story = [f"plan {number}: {one.in_words}" for number, one in enumerate(tries, start=1)]
    story.append(f"plan {tries.index(kept) + 1} is the best in simulation")
    return replace(kept.plan, diagnostics=(*kept.plan.diagnostics, *story))


def _others(problem: PlanningProblem, solve: Callable[[PlanningProblem], Plan]) -> Iterator[Plan]:
    """Plans for other goals, as plans for the one that was asked for."""
    goal, _ = asked(problem)
    if goal.late_share is not None:
        yield from _for_goal(problem, replace(goal, statistic="mean"), solve)
    for more in _MORE_HEADROOM:
        found = list(_for_goal(problem, replace(goal, headroom=goal.headroom + more), solve))
        if not found:
            return
        yield from found


def _for_goal(problem: PlanningProblem, goal: LatencyGoal, solve: Callable[[PlanningProblem], Plan]) -> Iterator[Plan]:
    plan = solve(replace(problem, latency=goal))
    if plan.status is PlanStatus.OK:
        objective = latency_s(problem, plan.counts, plan.assignment)
        yield replace(plan, problem=problem, objective=objective)


def _tried(problem: PlanningProblem, plan: Plan, trial: Trial, most_requests: int) -> _Try:
    from planners.fleets.delivery import delivered_latency

    goal, _ = asked(problem)
    slo = slo_of(problem)
    delivered_s, share = delivered_latency(problem, plan, trial, goal, most_requests)
    return _Try(slo is not None and share < slo.attainment, delivered_s, plan)
