"""The planner `melange`: the cheapest instances for a histogram of request sizes, whatever the market has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from planners.fleets.bounds import pace_bound, value_bound
from planners.fleets.drafting import Drafting
from planners.fleets.exact import FleetSearch, best_fleet, cheapest_fleet, termination_at
from planners.fleets.renting import Filling
from planners.problem.plan import Plan, Termination
from planners.problem.problem import Feature, Objective, PlanningProblem


class MelangeOptions(BaseModel):
    """Options of the planner `melange`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    gap: float = Field(default=1e-4, ge=0, lt=1)
    """Relative gap at which the search stops."""


class MelangePlanner:
    """Rents the cheapest mix of GPU types for a histogram of request sizes; budget and availability are unknown to it.

    The allocator of Mélange (Griggs et al., arXiv:2404.14527). Its buckets of request sizes are the workload types, its
    instances the candidates, and its loads the shares of time f / h, with capacities within the SLO if there is one. It
    cuts buckets into slices, each of which goes to one GPU type as a whole. Slices are an artefact of binary variables:
    finer ones are better, and here shares are continuous, the limit of infinitely many slices.

    Limits that it does not know are met by its user, who here

    - for the objective `cost` asks it for the rates demanded, and has no plan if what it wants is not to be had;
    - for the others turns the rates down to what the budget pays for, and rents of what it wants as much as there is:
      the same part of each kind of replica as far as that goes. Requests are assigned to those as well as possible.

    Since limits only shut fleets out, its bound holds for all fleets.
    """

    name = "melange"
    features: frozenset[str] = frozenset(
        {Feature.MAKESPAN, Feature.THROUGHPUT, Feature.COST, Feature.SEVERAL_MODELS, Feature.BOUND}
    )
    Options: type[BaseModel] = MelangeOptions

    def __init__(self, options: MelangeOptions | None = None) -> None:
        self.options = options if options is not None else MelangeOptions()

    def plan(self, problem: PlanningProblem) -> Plan:
        """Choose a fleet for the problem."""
        drafting = Drafting(problem, self.name, self.options)
        if value_bound(problem, range(len(problem.candidates))) == math.inf or cheapest_fleet(problem) is None:
            return drafting.none(Termination.INFEASIBLE)
        wanted = self._wanted(problem)
        if wanted.value == math.inf:
            return drafting.none(Termination.TIME_LIMIT, ("no fleet was found in time",))
        missing = _missing(problem, wanted.counts)
        if problem.objective is not Objective.COST:
            counts = _rentable_part(problem, wanted.counts) if missing else wanted.counts
            return drafting.plan(counts, Termination.HEURISTIC, bound=wanted.bound, diagnostics=missing)
        if missing:
            return drafting.none(Termination.INFEASIBLE, missing)
        is_open = wanted.termination is Termination.TIME_LIMIT
        termination = wanted.termination if is_open else termination_at(wanted.value, wanted.bound)
        return drafting.plan(wanted.counts, termination, bound=wanted.bound)

    def _wanted(self, problem: PlanningProblem) -> FleetSearch:
        """The fleet that it asks for, and the value that no fleet beats."""
        if problem.objective is Objective.COST:
            return self._cheapest(problem, 1.0)
        most_pace = pace_bound(problem, range(len(problem.candidates)))
        enough = self._cheapest(problem, most_pace)
        if problem.is_affordable(enough.value):
            return enough._replace(bound=1 / most_pace)
        return self._search(replace(problem, available=_plenty(problem, most_pace)))

    def _cheapest(self, problem: PlanningProblem, pace: float) -> FleetSearch:
        """The cheapest fleet that serves everything at a pace, if there are no limits."""
        demands = tuple(
            replace(demand, amounts=tuple(pace * amount for amount in demand.amounts)) for demand in problem.demands
        )
        unlimited = replace(
            problem,
            demands=demands,
            available=_plenty(problem, pace),
            budget_usd_per_h=math.inf,
            objective=Objective.COST,
        )
        return self._search(unlimited)

    def _search(self, problem: PlanningProblem) -> FleetSearch:
        everybody = range(len(problem.candidates))
        return best_fleet(problem, everybody, gap=self.options.gap, time_limit_s=problem.time_limit_s / 2)


def _plenty(problem: PlanningProblem, pace: float) -> tuple[tuple[str, int], ...]:
    """GPUs with which each candidate could serve all that it can at a pace."""
    counts = []
    for candidate in problem.candidates:
        amounts = problem.demand(candidate.model).amounts
        pairs = zip(amounts, candidate.capacity_rps, strict=True)
        counts.append(math.ceil(pace * math.fsum(f / h for f, h in pairs if h > 0)) + 1)
    taken = problem.gpus(counts)
    return tuple((gpu, taken.get(gpu, 0)) for gpu, _ in problem.available)


def _missing(problem: PlanningProblem, wanted: Sequence[int]) -> tuple[str, ...]:
    """What the market or the budget has too little of, in words."""
    available = dict(problem.available)
    reasons = [
        f"it wants {n} GPUs of type {gpu}, {available[gpu]} are available"
        for gpu, n in problem.gpus(wanted).items()
        if n > available[gpu]
    ]
    usd_per_h = problem.usd_per_h(wanted)
    if not problem.is_affordable(usd_per_h):
        reasons.append(f"it wants to spend {usd_per_h:g} $/h, the budget is {problem.budget_usd_per_h:g}")
    return tuple(reasons)


def _rentable_part(problem: PlanningProblem, wanted: Sequence[int]) -> tuple[int, ...]:
    """As much of a fleet as there is, next a replica of the candidate of which the smallest part has been rented."""
    filling = Filling(problem, (0,) * len(wanted))
    while True:
        short = [c for c, count in enumerate(wanted) if filling.counts[c] < count and filling.fits(c)]
        if not short:
            return tuple(filling.counts)
        filling.rent(min(short, key=lambda c: filling.counts[c] / wanted[c]))
