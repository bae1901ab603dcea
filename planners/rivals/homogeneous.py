"""The planner `homogeneous`: the best fleet of a single GPU type."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field

from planners.fleets.drafting import Drafting
from planners.fleets.exact import FleetSearch, best_fleet, cheapest_fleet, termination_at
from planners.problem.limits import limits_in_words
from planners.problem.plan import Plan, Termination
from planners.problem.problem import Feature, PlanningProblem


class HomogeneousOptions(BaseModel):
    """Options of the planner `homogeneous`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    gpu: str | None = None
    """The only GPU type to rent; None tries each and takes the best."""
    gap: float = Field(default=1e-4, ge=0, lt=1)
    """Relative gap at which the search in one GPU type stops."""


class HomogeneousPlanner:
    """Rents one GPU type only, in the best configurations, by an exact search.

    Its bound and gap concern fleets of one GPU type; other fleets may be better. With `gpu` given, as in
    `homogeneous:L40`, only that type is tried. The time limit is divided evenly over the types that are tried.
    """

    name = "homogeneous"
    features: frozenset[str] = frozenset(
        {
            Feature.MAKESPAN,
            Feature.THROUGHPUT,
            Feature.COST,
            Feature.SEVERAL_MODELS,
            Feature.BOUND,
            Feature.EXACT,
            Feature.LIMITS,
            Feature.SWITCHING,
            Feature.NODES,
        }
    )
    Options: type[BaseModel] = HomogeneousOptions
    argument = "gpu"

    def __init__(self, options: HomogeneousOptions | None = None) -> None:
        self.options = options if options is not None else HomogeneousOptions()
        if self.options.gpu is not None:
            self.name = f"homogeneous:{self.options.gpu}"

    def plan(self, problem: PlanningProblem) -> Plan:
        """Choose a fleet for the problem."""
        drafting = Drafting(problem, self.name, self.options)
        gpus = [gpu for gpu, count in problem.available if count > 0 and self.options.gpu in {None, gpu}]
        searches = {gpu: self._search(problem, gpu, problem.time_limit_s / len(gpus)) for gpu in gpus}
        best = min(searches.values(), key=lambda search: search.value, default=None)
        if best is None or best.value == math.inf:
            return self._no_plan(drafting, problem, searches)
        bound = min(search.bound for search in searches.values())
        is_open = any(s.bound == bound for s in searches.values() if s.termination is Termination.TIME_LIMIT)
        termination = Termination.TIME_LIMIT if is_open else termination_at(best.value, bound)
        return drafting.plan(best.counts, termination, bound=bound)

    def _search(self, problem: PlanningProblem, gpu: str, time_limit_s: float) -> FleetSearch:
        allowed = [c for c, candidate in enumerate(problem.candidates) if [n for n, _ in candidate.gpus] == [gpu]]
        return best_fleet(problem, allowed, gap=self.options.gap, time_limit_s=time_limit_s)

    def _no_plan(self, drafting: Drafting, problem: PlanningProblem, searches: dict[str, FleetSearch]) -> Plan:
        timed_out = [gpu for gpu, search in searches.items() if search.termination is Termination.TIME_LIMIT]
        if timed_out:
            return drafting.none(Termination.TIME_LIMIT, (f"no fleet was found in time of {', '.join(timed_out)}",))
        if problem.is_empty or cheapest_fleet(problem) is None:
            return drafting.none(Termination.INFEASIBLE)
        gpu = self.options.gpu
        further = limits_in_words(problem)
        limits = f"within {problem.budget_usd_per_h:g} $/h and the GPUs available"
        limits += f", and keep to {further}" if further else ""
        if gpu is None:
            reason = f"no single GPU type can serve everything {limits}"
        elif searches:
            reason = f"{gpu} alone cannot serve everything {limits}"
        else:
            reason = f"there is no {gpu!r} to rent: {_nearest_gpu(problem, gpu)}"
        return drafting.none(Termination.INFEASIBLE, (reason,))


def _nearest_gpu(problem: PlanningProblem, gpu: str) -> str:
    from traces.errors import nearest

    return nearest(gpu, [name for name, count in problem.available if count > 0])
