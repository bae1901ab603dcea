"""What is left of the planner if one of its three choices is taken away: the ablations of arXiv:2502.00722.

Composition of the fleet, deployment and assignment are chosen together by `milp`. Each of them can be fixed instead by
a rule that chooses nothing; the others are then the best that this allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from planners.base import Termination
from planners.blind import capacity_weighted
from planners.composition import given_fleet
from planners.milp.solve import Solved
from planners.shedding import fleet_value

if TYPE_CHECKING:
    from planners.assignment import Assignment
    from planners.base import Candidate, Fractions, PlanningProblem

Part = Literal["best", "uniform"]
AssignmentRule = Literal["best", "equal_share", "capacity_weighted"]

Solve = Callable[["PlanningProblem"], Solved]


def with_uniform_composition(problem: PlanningProblem, solve: Solve) -> Solved:
    """The best plan on GPUs that nobody chose: those that the planner `uniform` rents.

    That is as many of each type, in proportion to what is available, as the budget allows.
    """
    given = given_fleet(problem, "proportional")
    if given is None:
        return Solved(None, math.inf, Termination.INFEASIBLE)
    gpus = problem.gpus(given.counts)
    fixed = replace(problem, available=tuple((name, gpus.get(name, 0)) for name, _ in problem.available))
    solved = solve(fixed)
    return solved._replace(diagnostics=(*given.diagnostics, *solved.diagnostics))


def with_uniform_deployment(problem: PlanningProblem, solve: Solve) -> Solved:
    """The best plan in which all replicas have one configuration, the same tp and pp: the best of those there are.

    Where candidates have no `spec`, it is the number of their GPUs that is the same.
    """
    best = Solved(None, math.inf, Termination.INFEASIBLE)
    bound = math.inf
    for kept in _by_configuration(problem):
        candidates = tuple(problem.candidates[c] for c in kept)
        previous = None if problem.previous is None else problem.previous.among(candidates)
        alone = replace(problem, candidates=candidates, previous=previous)
        solved = solve(alone)
        bound = min(bound, solved.bound)
        if solved.counts is None:
            continue
        counts = [0] * len(problem.candidates)
        for c, count in zip(kept, solved.counts, strict=True):
            counts[c] = count
        if best.counts is None or fleet_value(problem, counts) < fleet_value(problem, best.counts):
            best = solved._replace(counts=tuple(counts))
    return best._replace(bound=bound)


def equal_share(problem: PlanningProblem, counts: Sequence[int]) -> Fractions:
    """Each replica gets as many requests of a type as any other that can serve it: a round robin.

    >>> from planners.base import Candidate, Demand, PlanningProblem
    >>> demand = Demand("m", None, ("chat", "code"), (50.0, 50.0))
    >>> a, b = (Candidate(f"c{n}", "m", (("L40", n),), n, (n, 3.0 * (n == 1))) for n in (1, 2))
    >>> equal_share(PlanningProblem((demand,), (a, b), (("L40", 8),), budget_usd_per_h=9.0), (1, 3))
    ((0.25, 1.0), (0.75, 0.0))
    """
    rows = [[0.0] * len(candidate.capacity_rps) for candidate in problem.candidates]
    for demand in problem.demands:
        for w in range(len(demand.amounts)):
            able = [c for c in problem.candidates_of(demand.model) if problem.candidates[c].capacity_rps[w] > 0]
            n_replicas = sum(counts[c] for c in able)
            for c in able if n_replicas else ():
                rows[c][w] = counts[c] / n_replicas
    return tuple(tuple(row) for row in rows)


def assign(problem: PlanningProblem, counts: Sequence[int], rule: AssignmentRule) -> Fractions | None:
    """The shares that a rule gives a fleet; None for the best ones."""
    if rule == "equal_share":
        return equal_share(problem, counts)
    weighted: Assignment | None = capacity_weighted(problem, counts) if rule == "capacity_weighted" else None
    return None if weighted is None else weighted.fractions


def _by_configuration(problem: PlanningProblem) -> Iterator[list[int]]:
    groups: dict[tuple[int, ...], list[int]] = {}
    for c, candidate in enumerate(problem.candidates):
        groups.setdefault(_configuration(candidate), []).append(c)
    for configuration in sorted(groups):
        yield groups[configuration]


def _configuration(candidate: Candidate) -> tuple[int, ...]:
    return (candidate.n_gpus,) if candidate.spec is None else tuple(stage.tp for stage in candidate.spec.stages)
