"""For authors of planners: run `check_planner` in your own tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from planners.base import Plan, Planner, PlanningProblem, PlanStatus
from planners.check import check_plan


def check_planner(planner: Planner, problems: Iterable[PlanningProblem]) -> list[Plan]:
    """Check that a planner keeps its promises on some problems.

    It returns a `Plan` for the problem's objective, whatever happens; the plan passes `check_plan`, or says why
    there is none; and the planner is pure: the same problem gives the same plan, the time it took apart.
    Problems with an objective, or with several models, that the planner does not list in `features` are left out.

    Args:
        planner: The planner.
        problems: Problems of all sorts: with a plan, without one, of both objectives, of several models.

    Returns:
        The plans.

    Raises:
        AssertionError: The planner breaks a promise; the message says which.
    """
    plans = []
    for number, problem in enumerate(problems):
        where = f"{planner.name}, problem {number}"
        needed = {problem.objective.value} | ({"several_models"} if len(problem.demands) > 1 else set())
        if not needed <= planner.features:
            continue
        plan = planner.plan(problem)
        _require(isinstance(plan, Plan), f"{where}: plan() returned {type(plan).__name__}, not a Plan")
        _require(plan.objective_name is problem.objective, f"{where}: the plan has {plan.objective_name}")
        wrong = "; ".join(f"{v.rule}: {v.message}" for v in check_plan(problem, plan))
        _require(not wrong, f"{where}: {wrong}")
        _require(plan.status is not PlanStatus.FAILED, f"{where}: failed: {'; '.join(plan.diagnostics)}")
        again = replace(planner.plan(problem), solve_s=plan.solve_s)
        _require(again == plan, f"{where}: a second run gave another plan")
        plans.append(plan)
    return plans


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
