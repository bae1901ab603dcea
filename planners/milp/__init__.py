"""The planner `milp`, and those that rest on it: formulation, solution, way back to a plan. The only user of PuLP."""

from planners.milp.formulated import Formulation
from planners.milp.formulation import FAMILIES, formulate
from planners.milp.options import MilpOptions
from planners.milp.planner import MilpPlanner, write_lp
from planners.milp.refined import RefinedOptions, RefinedPlanner
from planners.milp.robust import RobustOptions, RobustPlanner
from planners.milp.robust_formulation import ROBUST_FAMILIES, formulate_robust

__all__ = [
    "FAMILIES",
    "ROBUST_FAMILIES",
    "Formulation",
    "MilpOptions",
    "MilpPlanner",
    "RefinedOptions",
    "RefinedPlanner",
    "RobustOptions",
    "RobustPlanner",
    "formulate",
    "formulate_robust",
    "write_lp",
]
