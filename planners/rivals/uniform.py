"""The planner `uniform`: some of every GPU type, as much as there is of it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from planners.fleets.drafting import Drafting
from planners.fleets.renting import fill, in_proportion
from planners.problem.plan import Plan, Termination
from planners.problem.problem import Feature, PlanningProblem


class UniformOptions(BaseModel):
    """The planner `uniform` has no options."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class UniformPlanner:
    """Rents GPU types in proportion to their availability, up to the budget: a baseline that chooses nothing.

    The next replica is always on the GPU type of which the smallest part is rented, for the model that is least
    served, in the configuration with the most capacity per dollar. Requests are then assigned as well as possible.
    Replicas that mix GPU types are left aside. For the objective `cost` it stops as soon as the rates are carried.
    """

    name = "uniform"
    features: frozenset[str] = frozenset(
        {
            Feature.MAKESPAN,
            Feature.THROUGHPUT,
            Feature.COST,
            Feature.SEVERAL_MODELS,
            Feature.LIMITS,
            Feature.SWITCHING,
            Feature.NODES,
        }
    )
    Options: type[BaseModel] = UniformOptions

    def __init__(self, options: UniformOptions | None = None) -> None:
        self.options = options if options is not None else UniformOptions()

    def plan(self, problem: PlanningProblem) -> Plan:
        """Choose a fleet for the problem."""
        drafting = Drafting(problem, self.name, self.options)
        filled = fill(problem, in_proportion)
        if filled is None:
            return drafting.none(Termination.INFEASIBLE)
        counts, diagnostics = filled
        return drafting.plan(counts, Termination.HEURISTIC, diagnostics=diagnostics)
