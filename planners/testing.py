"""For authors of planners: run `check_planner` in your own tests."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import replace
from io import StringIO

from planners.fleets.assignment import objective_of
from planners.fleets.check import check_plan
from planners.fleets.exact import PROVED_GAP
from planners.problem.plan import Plan, Planner, PlanStatus, Termination
from planners.problem.problem import Feature, Objective, PlanningProblem

TOLERANCE = 1e-6
"""By which a plan may seem better than it can be: solvers round."""


def check_planner(planner: Planner, problems: Iterable[PlanningProblem]) -> list[Plan]:
    """Check that a planner keeps its promises on some problems.

    It returns a `Plan` for the problem's objective and under its own name, whatever happens; the plan passes
    `check_plan`, or rents nothing and says why; its gap is that of its bound, and it is optimal only without one. The
    planner is pure: it changes nothing of the problem, prints nothing, and the same problem gives the same plan, the
    time it took apart. If `features` lists `bound`, a plan has one, and its objective is not better; if they list
    `exact`, neither is that of a plan for the same problem with a GPU less of some type, or with half the budget
    (unless that may shed types, and serve the others faster); a heuristic may be led astray by what it could have.
    Problems that need what the planner does not list in `features` are left out (`PlanningProblem.needs`).

    Args:
        planner: The planner.
        problems: Problems of all sorts: with a plan, without one, of all objectives, of several models, with limits.

    Returns:
        The plans.

    Raises:
        AssertionError: The planner breaks a promise, and the message says which; or all problems were left out.
    """
    plans = []
    for number, problem in enumerate(problems):
        where = f"{planner.name}, problem {number}"
        if not problem.needs <= planner.features:
            continue
        plan = _checked_plan(planner, problem, where)
        again = replace(planner.plan(problem), solve_s=plan.solve_s)
        _require(again == plan, f"{where}: a second run gave another plan")
        has_bound = Feature.BOUND in planner.features and problem.objective is not Objective.LATENCY
        if has_bound and plan.objective is not None:
            _require(plan.bound is not None, f"{where}: it lists {Feature.BOUND.value!r}, but the plan has no bound")
            _require(_value(plan) >= _least_value(plan), f"{where}: {plan.objective} is better than {plan.bound}")
        if has_bound and Feature.EXACT in planner.features and not _gives_up_first(problem):
            ended_with = problem if plan.capacities is None else problem.with_capacities(plan.capacities)
            _check_restrictions(planner, replace(ended_with, mixes=None), plan, where)
        plans.append(plan)
    _require(len(plans) > 0, f"{planner.name}: no problem asks only for what its features list, so nothing was checked")
    return plans


def _checked_plan(planner: Planner, problem: PlanningProblem, where: str) -> Plan:
    before = deepcopy(replace(problem, trial=None, mixes=None))
    with redirect_stdout(StringIO()) as printed, redirect_stderr(printed):
        plan = planner.plan(problem)
    _require(isinstance(plan, Plan), f"{where}: plan() returned {type(plan).__name__}, not a Plan")
    _require(not printed.getvalue(), f"{where}: it prints {printed.getvalue()!r}")
    _require(replace(problem, trial=None, mixes=None) == before, f"{where}: it changed the problem")
    _require(
        replace(plan.problem, trial=None, mixes=None) == before, f"{where}: the plan is said to be for another problem"
    )
    _require(plan.planner == planner.name, f"{where}: the plan is said to be by {plan.planner!r}")
    _require(plan.objective_name is problem.objective, f"{where}: the plan has {plan.objective_name}")
    wrong = "; ".join(f"{v.rule}: {v.message}" for v in check_plan(problem, plan))
    _require(not wrong, f"{where}: {wrong}")
    _require(plan.status is not PlanStatus.FAILED, f"{where}: failed: {'; '.join(plan.diagnostics)}")
    if plan.status is PlanStatus.OK:
        _check_gap(plan, where)
    else:
        _require(plan.objective is None and not any(plan.counts), f"{where}: {plan.status}, yet it rents something")
    return plan


def _check_gap(plan: Plan, where: str) -> None:
    if plan.bound is None or plan.objective is None:
        _require(plan.gap is None, f"{where}: a gap of {plan.gap} without a bound")
        return
    off = abs(plan.objective - plan.bound)
    gap = off / plan.objective if off > 0 else 0.0
    is_right = plan.gap is not None and math.isclose(plan.gap, gap, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    _require(is_right, f"{where}: the gap is said to be {plan.gap}, but {plan.objective} is {gap:g} from {plan.bound}")
    is_optimal = plan.termination is Termination.OPTIMAL
    _require(not is_optimal or gap <= 2 * PROVED_GAP, f"{where}: it is said to be optimal with a gap of {gap:g}")


def _check_restrictions(planner: Planner, problem: PlanningProblem, plan: Plan, where: str) -> None:
    for what, restricted in _restrictions(problem):
        other = _checked_plan(planner, restricted, f"{where}, {what}")
        message = f"{where}: {what} it finds {other.objective}, though nothing should beat {plan.bound}"
        _require(_value(other) >= _least_value(plan), message)


def _gives_up_first(problem: PlanningProblem) -> bool:
    """Whether plans for less to rent may serve less and that faster (`planners.fleets.shedding`)."""
    return Feature.SHEDDING in problem.needs and problem.objective is not Objective.COST


def _value(plan: Plan) -> float:
    """What planners minimise; infinite without a plan."""
    return math.inf if plan.objective is None else objective_of(plan.objective_name, plan.objective)


def _least_value(plan: Plan) -> float:
    """The value that nothing should beat, but for rounding; infinite if there should be no plan at all."""
    if plan.objective is None:
        return math.inf
    return 0.0 if not plan.bound else objective_of(plan.objective_name, plan.bound) * (1 - TOLERANCE)


def _restrictions(problem: PlanningProblem) -> Iterable[tuple[str, PlanningProblem]]:
    """The problem with less of one thing."""
    for gpu, count in problem.available:
        if count > 0:
            fewer = tuple((name, n - (name == gpu)) for name, n in problem.available)
            yield f"with a {gpu} less", replace(problem, available=fewer)
    if 0 < problem.budget_usd_per_h < math.inf:
        yield "with half the budget", replace(problem, budget_usd_per_h=problem.budget_usd_per_h / 2)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
