"""Planners: from a planning problem to a plan, that is a fleet of replicas and who serves what.

Importing this package imports no solver: names that need one are loaded when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from planners.base import Feature, Objective, PlanningProblem
from planners.candidate import Candidate, Demand
from planners.errors import PlannerError, PlannerOptionsError, UnknownPlannerError
from planners.plan import FleetRow, Plan, Planner, PlanStatus, Termination
from planners.previous import Previous
from planners.registry import get_planner, planner_classes, planner_names

if TYPE_CHECKING:
    from planners.assignment import Assignment, best_assignment, evaluate
    from planners.candidates import find_candidates
    from planners.capacity import capacity_of_mix_rps, capacity_rps
    from planners.cases import Case
    from planners.check import Violation, check_plan
    from planners.explain import explain_plan
    from planners.explanation import Explanation
    from planners.fleet import FleetSearch, best_fleet, cheapest_fleet
    from planners.frontier import FrontierPoint, plan_frontier
    from planners.milp import write_lp
    from planners.simulated import SimulatedCapacity
    from planners.steady_state import Kind
    from planners.testing import check_planner
    from planners.trial import Trial

_LAZY = {
    "Assignment": "planners.assignment",
    "Case": "planners.cases",
    "Explanation": "planners.explanation",
    "FleetSearch": "planners.fleet",
    "FrontierPoint": "planners.frontier",
    "Kind": "planners.steady_state",
    "SimulatedCapacity": "planners.simulated",
    "Trial": "planners.trial",
    "Violation": "planners.check",
    "best_assignment": "planners.assignment",
    "best_fleet": "planners.fleet",
    "find_candidates": "planners.candidates",
    "capacity_of_mix_rps": "planners.capacity",
    "capacity_rps": "planners.capacity",
    "cheapest_fleet": "planners.fleet",
    "check_plan": "planners.check",
    "check_planner": "planners.testing",
    "evaluate": "planners.assignment",
    "explain_plan": "planners.explain",
    "plan_frontier": "planners.frontier",
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
