"""The planner `greedy_lp`: the fleet with the most capacity on the average request, then the best assignment."""

from __future__ import annotations

import math
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from planners.fleets.assignment import best_assignment
from planners.fleets.drafting import Drafting
from planners.fleets.linearise import alone, assigned_again, capacities_of
from planners.fleets.mix import best_mix_fleet
from planners.problem.plan import Plan, Termination
from planners.problem.problem import Feature, Objective, PlanningProblem


class GreedyLpOptions(BaseModel):
    """Options of the planner `greedy_lp`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    gap: float = Field(default=1e-4, ge=0, lt=1)
    """Relative gap at which the search for the fleet stops."""
    linearise: bool = False
    """Whether requests are assigned again with capacities at the mixes that replicas get, where the problem knows what
    mixes take; the fleet stays."""


class GreedyLpPlanner:
    """Rents the most capacity on the average request, by an exact search, and assigns by type only then.

    It is a baseline in two steps, of which each is optimal. The first is a knapsack: replicas have one capacity, that
    on the mix, and the model served worst gets the most (`planners.fleets.mix`); for the objective `cost` the fleet is
    the cheapest with enough of it. The second is the linear program of `planners.fleets.assignment`. What it cannot see
    is that a replica that is poor on average may be the best for one type.
    """

    name = "greedy_lp"
    features: frozenset[str] = frozenset({Feature.MAKESPAN, Feature.THROUGHPUT, Feature.COST, Feature.SEVERAL_MODELS})
    Options: type[BaseModel] = GreedyLpOptions

    def __init__(self, options: GreedyLpOptions | None = None) -> None:
        self.options = options if options is not None else GreedyLpOptions()

    def plan(self, problem: PlanningProblem) -> Plan:
        """Choose a fleet for the problem."""
        drafting = Drafting(problem, self.name, self.options)
        pace = 1.0 if problem.objective is Objective.COST else None
        found = best_mix_fleet(problem, range(len(problem.candidates)), pace=pace, gap=self.options.gap)
        if found.counts is None and found.is_cut_short:
            return drafting.none(Termination.TIME_LIMIT, ("no fleet was found in time",))
        if found.counts is None:
            return drafting.none(Termination.INFEASIBLE)
        termination = Termination.TIME_LIMIT if found.is_cut_short else Termination.HEURISTIC
        if not self.options.linearise or problem.mixes is None:
            return drafting.plan(found.counts, termination)
        shares = best_assignment(problem, found.counts).fractions
        again = assigned_again(alone(problem), found.counts, shares)
        if again.value == math.inf:
            said = "at the mixes of its own replicas it does not carry the rates"
            return drafting.plan(found.counts, termination, diagnostics=(said,))
        plan = drafting.for_problem(again.problem).plan(again.counts, termination, assignment=again.fractions)
        return replace(plan, problem=problem, capacities=capacities_of(again.problem))
