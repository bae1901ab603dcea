"""The planner `coral`: a library of replica templates, and the cheapest choice from it for each model's rate."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from planners.fleets.drafting import Drafting
from planners.fleets.mix import MixFleet, best_mix_fleet, capacity_weighted, mix_pace
from planners.problem.candidate import Candidate
from planners.problem.plan import Plan, Termination
from planners.problem.problem import Feature, Objective, PlanningProblem


class CoralOptions(BaseModel):
    """Options of the planner `coral`; the defaults are the paper's (section 6.1)."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    max_nodes: int = Field(default=6, ge=1)
    """Most nodes of a template: its pipeline stages, each of which is in one node."""
    max_memory_ratio: float = Field(default=12.0, gt=0)
    """Most memory of a template's GPUs, as a multiple of the model's weights."""
    gap: float = Field(default=1e-4, ge=0, lt=1)
    """Relative gap at which the choice from the library stops."""


class CoralPlanner:
    """Rents the cheapest set of replica templates that serves each model's rate; it is blind to workload types.

    Coral (Mei et al., arXiv:2605.04357). Off line it makes a library of templates for each model: sets of nodes, with
    the best placement of layers on them within the SLO. Here the candidates are the library, with their capacities on
    the mix, up to the paper's limits on nodes and memory; candidates without stages are all in it. On line it solves an
    integer program: the least price of templates whose throughputs add up to each model's rate, within availability.
    Requests go to replicas in proportion to their throughputs, by weighted round robin.

    It knows no budget. For the objective `cost` there is no plan if it wants more. For the others the rates are turned
    down, all alike, until there is a solution, as in the paper's section 6.4. Here the budget decides that, too; the
    fleet is then the cheapest for those rates. The paper adds a penalty for initialising new replicas: here it is what
    they cost until they serve, beside the previous fleet if there is one.
    """

    name = "coral"
    features: frozenset[str] = frozenset(
        {Feature.MAKESPAN, Feature.THROUGHPUT, Feature.COST, Feature.SEVERAL_MODELS, Feature.SWITCHING}
    )
    Options: type[BaseModel] = CoralOptions

    def __init__(self, options: CoralOptions | None = None) -> None:
        self.options = options if options is not None else CoralOptions()

    def plan(self, problem: PlanningProblem) -> Plan:
        """Choose a fleet for the problem."""
        drafting = Drafting(problem, self.name, self.options)
        library = [c for c, candidate in enumerate(problem.candidates) if self._is_template(candidate)]
        chosen = self._choose(problem, library)
        if chosen.counts is None and chosen.is_cut_short:
            return drafting.none(Termination.TIME_LIMIT, ("no fleet was found in time",))
        if chosen.counts is None:
            return drafting.none(Termination.INFEASIBLE)
        usd_per_h = problem.spent_usd_per_h(chosen.counts)
        if not problem.is_affordable(usd_per_h):
            reason = f"it wants to spend {usd_per_h:g} $/h, the budget is {problem.budget_usd_per_h:g}"
            return drafting.none(Termination.INFEASIBLE, (reason,))
        termination = Termination.TIME_LIMIT if chosen.is_cut_short else Termination.HEURISTIC
        shares = capacity_weighted(problem, chosen.counts).fractions
        return drafting.plan(chosen.counts, termination, assignment=shares)

    def _choose(self, problem: PlanningProblem, library: Sequence[int]) -> MixFleet:
        """The cheapest fleet for the rates demanded, or for the largest rates that budget and availability allow."""
        gap = self.options.gap
        if problem.objective is Objective.COST:
            return best_mix_fleet(problem, library, pace=1.0, within_budget=False, gap=gap)
        fastest = best_mix_fleet(problem, library, gap=gap)
        if fastest.counts is None:
            return fastest
        pace = mix_pace(problem, fastest.counts)
        cheapest = best_mix_fleet(problem, library, pace=pace, gap=gap)
        return fastest if cheapest.counts is None else cheapest

    def _is_template(self, candidate: Candidate) -> bool:
        """Whether a candidate is within the limits of the library."""
        spec = candidate.spec
        if spec is None:
            return True
        memory_bytes = sum(stage.n_gpus * stage.gpu_type.memory_bytes for stage in spec.stages)
        max_bytes = self.options.max_memory_ratio * spec.model.weight_bytes
        return len(spec.stages) <= self.options.max_nodes and memory_bytes <= max_bytes
