"""The planner `greedy`: cheapest capacity first."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from planners.fleets.drafting import Drafting
from planners.fleets.renting import by_value, fill
from planners.problem.plan import Plan, Termination
from planners.problem.problem import Feature, PlanningProblem


class GreedyOptions(BaseModel):
    """The planner `greedy` has no options."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GreedyPlanner:
    """Rents again and again, for the model that is least served, the replica with the most capacity per dollar.

    Capacity is that on the whole mix, the harmonic mean over its types. When budget or GPUs are used up, or for the
    objective `cost` as soon as the rates are carried, requests are assigned to the fleet as well as possible. A fleet
    that leaves something unserved is avoided where it can be: then the rule starts again from the cheapest fleet that
    serves everything.
    """

    name = "greedy"
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
    Options: type[BaseModel] = GreedyOptions

    def __init__(self, options: GreedyOptions | None = None) -> None:
        self.options = options if options is not None else GreedyOptions()

    def plan(self, problem: PlanningProblem) -> Plan:
        """Choose a fleet for the problem."""
        drafting = Drafting(problem, self.name, self.options)
        filled = fill(problem, by_value)
        if filled is None:
            return drafting.none(Termination.INFEASIBLE)
        counts, diagnostics = filled
        return drafting.plan(counts, Termination.HEURISTIC, diagnostics=diagnostics)
