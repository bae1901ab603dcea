"""The planner `hexgen`: given GPUs, grouped into replicas by an evolutionary search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from planners.fleets.drafting import Drafting
from planners.fleets.given import Composition, given_fleet
from planners.fleets.mix import capacity_weighted, mix_capacity_rps
from planners.problem.plan import Plan, Termination
from planners.problem.problem import Feature, PlanningProblem
from planners.randomness import HEXGEN_STREAM, generator

if TYPE_CHECKING:
    import numpy as np


class HexGenOptions(BaseModel):
    """Options of the planner `hexgen`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    composition: Composition = "proportional"
    """Which GPUs it is given: in proportion to what is available, or those of the best fleet."""
    population: int = Field(default=32, ge=1)
    """Groupings that survive a generation; each has one offspring."""
    generations: int = Field(default=500, ge=0)
    """Generations."""


class HexGenPlanner:
    """Groups the GPUs that it is given into replicas, by an evolutionary search; it is blind to workload types.

    The scheduler of HexGen (Jiang et al., ICML 2024, arXiv:2311.11514). An individual divides the GPUs into groups, of
    any GPU types. A group is laid out as the best replica that fits into it: with tensor parallelism of its own in
    each pipeline stage where the problem has such candidates. Offspring move GPUs from one group to another, split a
    group or merge two; the best of parents and offspring survive. Requests go to replicas in proportion to their
    capacities, whatever their type.

    What differs here: a fixed budget rents GPUs first, and HexGen is given them (`composition`). Fitness is the fleet's
    capacity on the mix, from the same capacities as for all planners, instead of the paper's latency model; groups are
    laid out by looking through the candidates, where the paper uses a dynamic program. The search starts from one
    group of all GPUs and from the fleet that fixed the composition. With several models, groups can also change theirs.
    """

    name = "hexgen"
    features: frozenset[str] = frozenset({Feature.MAKESPAN, Feature.THROUGHPUT, Feature.SEVERAL_MODELS})
    Options: type[BaseModel] = HexGenOptions
    argument = "composition"

    def __init__(self, options: HexGenOptions | None = None) -> None:
        self.options = options if options is not None else HexGenOptions()
        if self.options.composition != "proportional":
            self.name = f"hexgen:{self.options.composition}"

    def plan(self, problem: PlanningProblem) -> Plan:
        """Choose a fleet for the problem."""
        drafting = Drafting(problem, self.name, self.options)
        given = given_fleet(problem, self.options.composition)
        if given is None:
            return drafting.none(Termination.INFEASIBLE)
        counts = self._evolve(problem, given.counts)
        shares = capacity_weighted(problem, counts).fractions
        return drafting.plan(counts, Termination.HEURISTIC, assignment=shares, diagnostics=given.diagnostics)

    def _evolve(self, problem: PlanningProblem, counts: Sequence[int]) -> tuple[int, ...]:
        """The best grouping of the GPUs of a fleet."""
        nursery = _Nursery(problem, counts)
        rng = generator(problem.seed, HEXGEN_STREAM)
        survivors = {individual: nursery.fitness(individual) for individual in nursery.founders(counts)}
        for _ in range(self.options.generations):
            parents = list(survivors)
            born = {}
            for number in range(self.options.population):
                child = nursery.mutate(parents[number % len(parents)], rng)
                born[child] = nursery.fitness(child)
            # Of equals the younger survive, so that the search drifts over groupings that make no difference.
            ranked = sorted((born | survivors).items(), key=lambda pair: pair[1], reverse=True)
            survivors = dict(ranked[: self.options.population])
        best = max(survivors, key=lambda individual: survivors[individual])
        is_feasible = survivors[best] > (0.0, 0.0)
        return nursery.fleet(best) if is_feasible else tuple(counts)


class _Group(NamedTuple):
    """GPUs that make a replica of a model: how many of each type, in a fixed order of the types."""

    model: int
    gpus: tuple[int, ...]


_Individual = tuple[_Group, ...]
"""A division of all GPUs into groups, sorted."""

_Fitness = tuple[float, float]
"""The pace of the model served worst, then the sum of all paces; less than 0 if the grouping is not feasible."""


class _Nursery:
    """What individuals are worth, and how they have offspring, for the GPUs that a fleet takes."""

    def __init__(self, problem: PlanningProblem, counts: Sequence[int]) -> None:
        self._problem = problem
        taken = problem.gpus(counts)
        self._gpus = list(taken)
        self._total = tuple(taken.values())
        self._demands = [demand for demand in problem.demands if demand.total > 0]
        self._layouts: dict[_Group, int | None] = {}
        self._mix_rps = [mix_capacity_rps(problem, c) for c in range(len(problem.candidates))]
        self._needs = [self._vector(c) for c in range(len(problem.candidates))]
        self._served = [self._types_served(c) for c in range(len(problem.candidates))]
        self._all_types = [sum(1 << w for w, f in enumerate(demand.amounts) if f > 0) for demand in self._demands]

    def _vector(self, c: int) -> tuple[int, ...] | None:
        """GPUs of a candidate as in groups; None if it needs others than are given."""
        needed = dict(self._problem.candidates[c].gpus)
        if not set(needed) <= set(self._gpus):
            return None
        return tuple(needed.get(gpu, 0) for gpu in self._gpus)

    def _types_served(self, c: int) -> int:
        """The types that a candidate can serve, one bit for each."""
        return sum(1 << w for w, capacity in enumerate(self._problem.candidates[c].capacity_rps) if capacity > 0)

    def founders(self, counts: Sequence[int]) -> list[_Individual]:
        """One group of everything, and the fleet itself."""
        models = [demand.model for demand in self._demands]
        groups = []
        for c, count in enumerate(counts):
            needs = self._needs[c]
            if count > 0 and needs is not None and self._problem.candidates[c].model in models:
                groups += [_Group(models.index(self._problem.candidates[c].model), needs)] * count
        return [(_Group(0, self._total),), tuple(sorted(groups))]

    def layout(self, group: _Group) -> int | None:
        """The candidate with the most capacity on the mix that fits into a group; the cheaper of equals."""
        if group not in self._layouts:
            model = self._demands[group.model].model
            fitting = [
                c
                for c in self._problem.candidates_of(model)
                if self._mix_rps[c] > 0 and _fits(self._needs[c], group.gpus)
            ]
            self._layouts[group] = max(
                fitting, key=lambda c: (self._mix_rps[c], -self._problem.candidates[c].usd_per_h), default=None
            )
        return self._layouts[group]

    def fleet(self, individual: _Individual) -> tuple[int, ...]:
        """Replicas of each candidate."""
        counts = [0] * len(self._problem.candidates)
        for group in individual:
            c = self.layout(group)
            if c is not None:
                counts[c] += 1
        return tuple(counts)

    def fitness(self, individual: _Individual) -> _Fitness:
        """What a grouping is worth: the larger the better."""
        rps = [0.0] * len(self._demands)
        served = [0] * len(self._demands)
        usd_per_h = 0.0
        for group in individual:
            c = self.layout(group)
            if c is not None:
                rps[group.model] += self._mix_rps[c]
                served[group.model] |= self._served[c]
                usd_per_h += self._problem.candidates[c].usd_per_h
        paces = [rate / demand.total for rate, demand in zip(rps, self._demands, strict=True)]
        n_missing = sum((every & ~some).bit_count() for every, some in zip(self._all_types, served, strict=True))
        if n_missing > 0:
            return (-float(n_missing), sum(paces))
        if not self._problem.is_affordable(usd_per_h):
            return (-1.0, -usd_per_h)  # prices of replicas that are not those of their GPUs
        return (min(paces), sum(paces))

    def mutate(self, parent: _Individual, rng: np.random.Generator) -> _Individual:
        """An offspring: GPUs moved, a group split, two merged, or a group with another model."""
        kinds: list[Callable[[list[_Group], np.random.Generator], None]] = [_split]
        if len(parent) > 1:
            kinds += [_move, _merge]
        if len(self._demands) > 1:
            kinds.append(self._convert)
        groups = list(parent)
        kinds[_draw(rng, len(kinds))](groups, rng)
        return tuple(sorted(group for group in groups if any(group.gpus)))

    def _convert(self, groups: list[_Group], rng: np.random.Generator) -> None:
        """Give a group another model."""
        i = _draw(rng, len(groups))
        groups[i] = groups[i]._replace(model=_draw(rng, len(self._demands)))


def _fits(needs: tuple[int, ...] | None, gpus: tuple[int, ...]) -> bool:
    return needs is not None and all(n <= m for n, m in zip(needs, gpus, strict=True))


def _draw(rng: np.random.Generator, n: int) -> int:
    """A whole number from 0 to n - 1."""
    return int(rng.integers(n))


def _split(groups: list[_Group], rng: np.random.Generator) -> None:
    """Divide a group: of each GPU type any number goes into a new one."""
    i = _draw(rng, len(groups))
    part = tuple(_draw(rng, n + 1) for n in groups[i].gpus)
    rest = tuple(n - m for n, m in zip(groups[i].gpus, part, strict=True))
    groups.append(groups[i]._replace(gpus=part))
    groups[i] = groups[i]._replace(gpus=rest)


def _merge(groups: list[_Group], rng: np.random.Generator) -> None:
    """Join a group to another, whose model it takes over."""
    joined = groups.pop(_draw(rng, len(groups)))
    i = _draw(rng, len(groups))
    groups[i] = groups[i]._replace(gpus=_sum(groups[i].gpus, joined.gpus))


def _move(groups: list[_Group], rng: np.random.Generator) -> None:
    """Move GPUs of one type, any number of them, from one group to another."""
    i = _draw(rng, len(groups))
    j = (i + 1 + _draw(rng, len(groups) - 1)) % len(groups)
    present = [k for k, n in enumerate(groups[i].gpus) if n > 0]
    k = present[_draw(rng, len(present))]
    moved = [0] * len(groups[i].gpus)
    moved[k] = 1 + _draw(rng, groups[i].gpus[k])
    groups[i] = groups[i]._replace(gpus=_sum(groups[i].gpus, [-n for n in moved]))
    groups[j] = groups[j]._replace(gpus=_sum(groups[j].gpus, moved))


def _sum(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(n + m for n, m in zip(one, other, strict=True))
