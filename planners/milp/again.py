"""Solving again with capacities at the mixes that the plan gives its replicas, until they promise what T says.

Each round solves the problem with the tangents (`planners.fleets.linearise`) of the best plan known, and with the last
ones of other candidates that were tried. Candidates that no round rented keep the capacities of the problem. It ends
when the solver's fleet promises no more than the best plan known, to `AGREED`, or is one that was tried. The problem
of the last round is the one that the plan is for: its bound is proved for that.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from planners.fleets.exact import termination_at
from planners.fleets.linearise import AGREED, Linearised, assigned_again, with_tangents
from planners.fleets.shedding import fleet_value
from planners.problem.plan import Termination
from planners.problem.problem import Objective, PlanningProblem

if TYPE_CHECKING:
    from planners.milp.ablations import Solve
    from planners.milp.solve import Solved

MOST_ROUNDS = 10


class SolvedAgain(NamedTuple):
    """What solving again led to.

    Attributes:
        solved: The fleet, with what was proved for the problem.
        best: The fleet with its shares.
        problem: The problem that it ended with; its capacities are those of the plan.
    """

    solved: Solved
    best: Linearised
    problem: PlanningProblem


def solve_again(problem: PlanningProblem, first: Solved, solve: Solve) -> SolvedAgain | None:
    """Linearise at the mixes of the fleet found, and solve again.

    Args:
        problem: A problem that knows what mixes take.
        first: What solving it found, with a fleet.
        solve: Solves a problem of which a fleet is known.

    Returns:
        What it led to; None for the objective `cost`, if no fleet tried carries the rates by the closed form.
    """
    if first.counts is None:
        msg = "there is no fleet to linearise at"
        raise ValueError(msg)
    is_cost = problem.objective is Objective.COST
    best = assigned_again(problem, first.counts)
    tangents = _learnt(best, is_cost=is_cost)
    tried = {first.counts}
    worth = 0.0 if is_cost else AGREED
    each = replace(problem, time_limit_s=problem.time_limit_s / MOST_ROUNDS)
    for n in range(1, MOST_ROUNDS + 1):
        there = with_tangents(each, tangents | (best.tangents if best.value < math.inf else {}))
        solved = solve(there, best.counts)
        promised = fleet_value(there, solved.counts)
        is_better = promised < best.value * (1 - worth)
        if solved.counts is None or not is_better or n == MOST_ROUNDS:
            break
        found = assigned_again(there, solved.counts)
        if solved.counts in tried and not found.value < best.value: break
        tried.add(solved.counts)
        tangents |= _learnt(found, is_cost=is_cost)
        if found.value < best.value:
            best = found
    if best.value == math.inf:
        return None
    termination = solved.termination
    if termination in {Termination.OPTIMAL, Termination.GAP_REACHED}:
        termination = termination_at(best.value, min(solved.bound, best.value))
    line = _story(n, best, first_value=fleet_value(problem, first.counts))
    return SolvedAgain(
        solved._replace(counts=best.counts, termination=termination, diagnostics=(*solved.diagnostics, line)),
        best,
        there,
    )


def _learnt(found: Linearised, *, is_cost: bool) -> dict[int, tuple[float, ...]]:
    """The tangents of a fleet; a bit less for one that does not carry the rates, so that it does not seem to."""
    if not is_cost or found.value < math.inf:
        return found.tangents
    return {c: tuple(h / (1 + AGREED) for h in row) for c, row in found.tangents.items()}


def _story(n_rounds: int, best: Linearised, first_value: float) -> str:
    return f"linearised again {n_rounds}x: {first_value:.6g} -> {best.value:.6g}"
