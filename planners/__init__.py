"""Planners: from a planning problem to a plan, that is a fleet of replicas and who serves what.

Importing this package imports no solver: names that need one are loaded when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from planners.errors import PlannerError, PlannerOptionsError, UnknownPlannerError
from planners.problem.candidate import Candidate, Demand
from planners.problem.plan import FleetRow, Plan, Planner, PlanStatus, Termination
from planners.problem.previous import Previous
from planners.problem.problem import Feature, Objective, PlanningProblem
from planners.problem.terms import Terms
from planners.registry import get_planner, planner_classes, planner_names

if TYPE_CHECKING:
    from planners.capacity.candidates import find_candidates
    from planners.capacity.measured import SimulatedCapacity
    from planners.capacity.rates import capacity_of_mix_rps, capacity_rps
    from planners.capacity.steady_state import Kind
    from planners.fleets.assignment import Assignment, best_assignment, evaluate
    from planners.fleets.check import Violation, check_plan
    from planners.fleets.exact import FleetSearch, best_fleet, cheapest_fleet
    from planners.milp import write_lp
    from planners.problem.cases import Case
    from planners.problem.trial import Trial
    from planners.questions.explain import explain_plan
    from planners.questions.explanation import Explanation
    from planners.questions.frontier import FrontierPoint, plan_frontier
    from planners.testing import check_planner

_LAZY = {
    "Assignment": "planners.fleets.assignment",
    "Case": "planners.problem.cases",
    "Explanation": "planners.questions.explanation",
    "FleetSearch": "planners.fleets.exact",
    "FrontierPoint": "planners.questions.frontier",
    "Kind": "planners.capacity.steady_state",
    "SimulatedCapacity": "planners.capacity.measured",
    "Trial": "planners.problem.trial",
    "Violation": "planners.fleets.check",
    "best_assignment": "planners.fleets.assignment",
    "best_fleet": "planners.fleets.exact",
    "find_candidates": "planners.capacity.candidates",
    "capacity_of_mix_rps": "planners.capacity.rates",
    "capacity_rps": "planners.capacity.rates",
    "cheapest_fleet": "planners.fleets.exact",
    "check_plan": "planners.fleets.check",
    "check_planner": "planners.testing",
    "evaluate": "planners.fleets.assignment",
    "explain_plan": "planners.questions.explain",
    "plan_frontier": "planners.questions.frontier",
    "write_lp": "planners.milp",
}

__all__ = [
    "Assignment",
    "Candidate",
    "Case",
    "Demand",
    "Explanation",
    "Feature",
    "FleetRow",
    "FleetSearch",
    "FrontierPoint",
    "Kind",
    "Objective",
    "Plan",
    "PlanStatus",
    "Planner",
    "PlannerError",
    "PlannerOptionsError",
    "PlanningProblem",
    "Previous",
    "SimulatedCapacity",
    "Termination",
    "Terms",
    "Trial",
    "UnknownPlannerError",
    "Violation",
    "best_assignment",
    "best_fleet",
    "capacity_of_mix_rps",
    "capacity_rps",
    "cheapest_fleet",
    "check_plan",
    "check_planner",
    "evaluate",
    "explain_plan",
    "find_candidates",
    "get_planner",
    "plan_frontier",
    "planner_classes",
    "planner_names",
    "write_lp",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_LAZY[name]), name)
