"""The planner `random`: a fleet drawn by lot."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from planners.fleets.drafting import Drafting
from planners.fleets.mix import capacity_weighted
from planners.fleets.renting import Filling, fill
from planners.problem.plan import Plan, Termination
from planners.problem.problem import Feature, PlanningProblem
from planners.randomness import RANDOM_STREAM, generator


class RandomOptions(BaseModel):
    """The planner `random` has no options: it draws by the seed of the problem."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RandomPlanner:
    """Rents replicas drawn by lot until budget or GPUs are used up: the floor that planners should be above.

    Of the candidates that still fit, each is drawn with the same probability, for whichever model. Requests go to
    replicas in proportion to their capacities, whatever their type. A fleet that leaves something unserved is drawn
    again from the cheapest fleet that serves everything.
    """

    name = "random"
    features: frozenset[str] = frozenset({Feature.MAKESPAN, Feature.THROUGHPUT, Feature.SEVERAL_MODELS, Feature.NODES})
    Options: type[BaseModel] = RandomOptions

    def __init__(self, options: RandomOptions | None = None) -> None:
        self.options = options if options is not None else RandomOptions()

    def plan(self, problem: PlanningProblem) -> Plan:
        """Choose a fleet for the problem."""
        drafting = Drafting(problem, self.name, self.options)
        rng = generator(problem.seed, RANDOM_STREAM)

        def by_lot(filling: Filling) -> int | None:
            fitting = [c for c, rps in enumerate(filling.mix_rps) if rps > 0 and filling.fits(c)]
            return fitting[int(rng.integers(len(fitting)))] if fitting else None

        filled = fill(problem, by_lot)
        if filled is None:
            return drafting.none(Termination.INFEASIBLE)
        counts, diagnostics = filled
        shares = capacity_weighted(problem, counts).fractions
        return drafting.plan(counts, Termination.HEURISTIC, assignment=shares, diagnostics=diagnostics)
