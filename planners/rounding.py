"""Whole nodes for planners that rent GPUs one by one: what they plan is rounded up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from planners.problem.plan import Plan, PlanStatus, Termination
from planners.problem.problem import Feature, Objective

if TYPE_CHECKING:
    from pydantic import BaseModel

    from planners.problem.plan import Planner
    from planners.problem.problem import PlanningProblem

MOST_ROUNDS = 12


class WholeNodes:
    """A planner that rents GPUs one by one, and the nodes that these fill are paid for whole.

    Where the GPUs that stay idle cost more than the budget allows, it plans again with less, by as much as is too much.

    Args:
        planner: The planner.
    """

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self.name = planner.name
        self.features: frozenset[str] = (planner.features - {Feature.EXACT}) | {Feature.NODES}
        self.Options: type[BaseModel] = planner.Options

    def plan(self, problem: PlanningProblem) -> Plan:
        """Choose a fleet for the problem."""
        if not problem.nodes:
            return self._planner.plan(problem)
        by_gpu = replace(
            problem,
            available=tuple(problem.rentable.items()),
            offers=tuple(terms.by_gpu for terms in problem.offers),
        )
        first = plan = self._planner.plan(by_gpu)
        for _ in range(MOST_ROUNDS):
            if plan.status is not PlanStatus.OK:
                break
            usd_per_h = problem.spent_usd_per_h(plan.counts)
            if problem.is_affordable(usd_per_h):
                return _in_whole_nodes(problem, plan, first)
            excess_usd_per_h = usd_per_h - problem.budget_usd_per_h
            less_usd_per_h = max(0.0, by_gpu.spent_usd_per_h(plan.counts) - excess_usd_per_h)
            plan = self._planner.plan(replace(by_gpu, budget_usd_per_h=less_usd_per_h))
        return _none(problem, plan, is_due_to_nodes=first.status is PlanStatus.OK)


def _in_whole_nodes(problem: PlanningProblem, plan: Plan, first: Plan) -> Plan:
    """The plan with the nodes that its GPUs fill; the bound is the first plan's, for GPUs one by one cost no more."""
    from planners.fleets.drafting import judged

    idle = problem.idle(plan.counts)
    objective = plan.objective or 0.0
    if problem.objective is Objective.COST:
        objective += problem.spent_usd_per_h(plan.counts) - plan.problem.spent_usd_per_h(plan.counts)
    bound = first.bound
    off = 0.0 if bound is None else abs(objective - bound)
    n_idle = sum(idle.values())
    usd_per_h = problem.usd_per_h(plan.counts) - plan.problem.usd_per_h(plan.counts)
    said = f"planned by GPU, and rounded up to whole nodes: {n_idle} GPUs are paid for and idle, {usd_per_h:.2f} $/h"
    rounded = replace(
        plan,
        problem=problem,
        termination=plan.termination if plan.termination is Termination.TIME_LIMIT else Termination.HEURISTIC,
        objective=objective,
        bound=bound,
        gap=None if bound is None else off / objective if off > 0 else 0.0,
        diagnostics=(*plan.diagnostics, said),
    )
    # Which replicas a node takes with it was not known by GPU.
    return judged(rounded)


def _none(problem: PlanningProblem, plan: Plan, *, is_due_to_nodes: bool) -> Plan:
    """The plan that rents nothing, with the reasons."""
    reasons = plan.diagnostics if plan.status is not PlanStatus.OK else ()
    if is_due_to_nodes:
        said = f"planned by GPU, and rounded up to whole nodes, no fleet is within {problem.budget_usd_per_h:g} $/h"
        reasons = (said, *reasons)
    is_ok = plan.status is PlanStatus.OK
    return replace(
        plan,
        problem=problem,
        status=PlanStatus.INFEASIBLE if is_ok else plan.status,
        termination=Termination.INFEASIBLE if is_ok else plan.termination,
        objective=None,
        bound=None,
        gap=None,
        counts=(0,) * len(plan.counts),
        assignment=tuple((0.0,) * len(row) for row in plan.assignment),
        diagnostics=reasons,
        capacities=None,
    )
