"""The planner `milp`: formulation, solution, and the way back to a plan. The only user of PuLP."""

from planners.milp.formulation import FAMILIES, Formulation, formulate
from planners.milp.options import MilpOptions
from planners.milp.planner import MilpPlanner, write_lp
from planners.milp.refined import RefinedOptions, RefinedPlanner

__all__ = [
    "FAMILIES",
    "Formulation",
    "MilpOptions",
    "MilpPlanner",
    "RefinedOptions",
    "RefinedPlanner",
    "formulate",
    "write_lp",
]
