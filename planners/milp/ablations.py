"""What is left of the planner if one of its three choices is taken away: the ablations of arXiv:2502.00722.

Composition of the fleet, deployment and assignment are chosen together by `milp`. Each of them can be fixed instead by
a rule that chooses nothing; the others are then the best that this allows. The exception is `equal_share`, a straw man:
it assigns requests to the fleet that is best for the best assignment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from planners.fleets.bounds import value_bound
from planners.fleets.given import given_fleet
from planners.fleets.mix import best_mix_fleet, capacity_weighted
from planners.fleets.shedding import fleet_value, value_with
from planners.milp.solve import Counts, Solved
from planners.problem.plan import Termination
from planners.problem.problem import Objective

if TYPE_CHECKING:
    from planners.fleets.assignment import Assignment
    from planners.problem.candidate import Candidate, Fractions
    from planners.problem.problem import PlanningProblem

Part = Literal["best", "uniform"]
AssignmentRule = Literal["best", "equal_share", "capacity_weighted"]

Solve = Callable[["PlanningProblem", Counts | None], Solved]
"""Solves a problem of which a fleet may be known."""

_FROM_STRONGEST = (
    Termination.INFEASIBLE,
    Termination.OPTIMAL,
    Termination.GAP_REACHED,
    Termination.ERROR,
    Termination.HEURISTIC,
    Termination.TIME_LIMIT,
)


def with_uniform_composition(problem: PlanningProblem, known: Counts | None, solve: Solve) -> Solved:
    """The best plan on GPUs that nobody chose: those that the planner `uniform` rents.

    That is as many of each type, in proportion to what is available, as the budget allows.
    """
    given = given_fleet(problem, "proportional")
    if given is None:
        return Solved(None, math.inf, Termination.INFEASIBLE)
    gpus = problem.gpus(given.counts)
    fixed = replace(problem, available=tuple((name, gpus.get(name, 0)) for name, _ in problem.available))
    solved = solve(fixed, given.counts)
    return solved._replace(diagnostics=(*given.diagnostics, *solved.diagnostics))


def with_uniform_deployment(
    problem: PlanningProblem, known: Counts | None, solve: Solve, rule: AssignmentRule
) -> Solved:
    """The best plan in which all replicas have one configuration, the same tp and pp: the best of those there are.

    Where candidates have no `spec`, it is the number of their GPUs that is the same. Each has as much of the time.
    """
    groups = list(_by_configuration(problem))
    best = Solved(None, math.inf, Termination.INFEASIBLE)
    least = math.inf
    found = [best]
    for kept in groups:
        candidates = tuple(problem.candidates[c] for c in kept)
        previous = None if problem.previous is None else problem.previous.among(candidates)
        limit_s = problem.time_limit_s / len(groups)
        alone = replace(problem, candidates=candidates, previous=previous, time_limit_s=limit_s)
        solved = solve(alone, None if known is None else tuple(known[c] for c in kept))
        found.append(solved)
        if solved.counts is None:
            continue
        counts = [0] * len(problem.candidates)
        for c, count in zip(kept, solved.counts, strict=True):
            counts[c] = count
        value = value_under(problem, counts, rule)
        if value < least:
            best, least = solved._replace(counts=tuple(counts)), value
    weakest = max(found, key=lambda solved: _FROM_STRONGEST.index(solved.termination))
    return best._replace(
        bound=min(solved.bound for solved in found),
        termination=weakest.termination,
        diagnostics=best.diagnostics if best.counts is not None else weakest.diagnostics,
    )


def for_capacity_weighted(problem: PlanningProblem, known: Counts | None, gap: float) -> Solved:
    """The fleet with the most capacity on the mix, or the cheapest with enough: the best for `capacity_weighted`.

    That is exact where all replicas can serve all types. The bound is that of any assignment, in closed form.
    """
    every = range(len(problem.candidates))
    found = best_mix_fleet(problem, every, pace=1.0 if problem.objective is Objective.COST else None, gap=gap)
    if found.is_cut_short:
        termination = Termination.TIME_LIMIT
    else:
        termination = Termination.INFEASIBLE if found.counts is None else Termination.HEURISTIC
    return Solved(found.counts, value_bound(problem, every, may_shed=True), termination)


def equal_share(problem: PlanningProblem, counts: Sequence[int]) -> Fractions:
    """Each replica gets as many requests of a type as any other that can serve it: a round robin.

    >>> from planners.problem.problem import PlanningProblem
    >>> from planners.problem.candidate import Candidate, Demand
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


def value_under(problem: PlanningProblem, counts: Sequence[int], rule: AssignmentRule) -> float:
    """The value of a fleet with the shares that a rule gives it (see `planners.fleets.assignment`)."""
    fractions = assign(problem, counts, rule)
    return fleet_value(problem, counts) if fractions is None else value_with(problem, counts, fractions)


def _by_configuration(problem: PlanningProblem) -> Iterator[list[int]]:
    groups: dict[tuple[int, ...], list[int]] = {}
    for c, candidate in enumerate(problem.candidates):
        groups.setdefault(_configuration(candidate), []).append(c)
    for configuration in sorted(groups):
        yield groups[configuration]


def _configuration(candidate: Candidate) -> tuple[int, ...]:
    return (candidate.n_gpus,) if candidate.spec is None else tuple(stage.n_gpus for stage in candidate.spec.stages)
