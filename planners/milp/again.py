"""Solving again with capacities at the mixes that the plan gives its replicas, until they promise what T says.

Candidates have what each type takes alone, or, once they were tried, capacities that are right for the mix that they
were given last (`planners.fleets.linearise.adjusted`). Each round solves the problem with these and shares the requests
out again for the fleet found. It ends when the solver's fleet promises no more than the best plan known, to `AGREED`,
or is the one of this plan. The problem of the last round is the one that the plan is for: its bound is proved for that.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from planners.fleets.assignment import objective_of
from planners.fleets.exact import termination_at
from planners.fleets.linearise import AGREED, Linearised, adjusted, alone, assigned_again, linearised, with_rates
from planners.fleets.shedding import best_shares, value_with
from planners.problem.plan import Termination
from planners.problem.problem import Objective, PlanningProblem

if TYPE_CHECKING:
    from planners.milp.ablations import Solve
    from planners.milp.solve import Solved

MOST_ROUNDS = 10
MOST_OLD = 2
"""So often a fleet that was tried may come up again, and be no better."""


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
    hopeful = alone(replace(problem, time_limit_s=problem.time_limit_s / MOST_ROUNDS))
    begun = linearised(hopeful, first.counts, best_shares(problem, first.counts).fractions)
    best = assigned_again(hopeful, first.counts, begun.fractions)
    learnt = _learnt(hopeful, best, is_cost=is_cost)
    tried, n_old = {first.counts}, 0
    worth = 0.0 if is_cost else AGREED
    for n in range(1, MOST_ROUNDS + 1):
        there = with_rates(hopeful, learnt | (adjusted(hopeful, best) if best.value < math.inf else {}))
        solved = solve(there, best.counts)
        if solved.counts is None or n == MOST_ROUNDS:
            break
        shares = best_shares(there, solved.counts).fractions
        if value_with(there, solved.counts, shares) >= best.value * (1 - worth):
            break
        found = assigned_again(hopeful, solved.counts, shares)
        is_old = solved.counts in tried and found.value >= best.value * (1 - worth)
        if is_old and (n_old == MOST_OLD or solved.counts == best.counts):
            break
        n_old += is_old
        tried.add(solved.counts)
        # What made a fleet look better again that is not was said of the shares that the solver had in mind.
        seen = linearised(hopeful, solved.counts, shares) if is_old else found
        learnt |= _learnt(hopeful, seen, is_cost=is_cost)
        if found.value < best.value:
            best = found
    if best.value == math.inf:
        return None
    termination = solved.termination
    if termination in {Termination.OPTIMAL, Termination.GAP_REACHED}:
        termination = termination_at(best.value, min(solved.bound, best.value))
    line = _story(problem, n, begun.value, best.value)
    diagnostics = (*solved.diagnostics, line)
    proved = solved._replace(counts=best.counts, termination=termination, diagnostics=diagnostics)
    return SolvedAgain(proved, best, there)


def _learnt(problem: PlanningProblem, found: Linearised, *, is_cost: bool) -> dict[int, tuple[float, ...]]:
    """What was seen of candidates; a bit less in a fleet that does not carry the rates, so that it does not seem to."""
    rates = adjusted(problem, found)
    if not is_cost or found.value < math.inf:
        return rates
    return {c: tuple(h / (1 + AGREED) for h in row) for c, row in rates.items()}


def _story(problem: PlanningProblem, n_rounds: int, begun: float, best: float) -> str:
    """What solving again made of the first plan, at its own mixes."""
    unit = {Objective.MAKESPAN: " s", Objective.THROUGHPUT: " x the offered requests", Objective.COST: " $/h"}
    said = [
        "too slow" if value == math.inf else f"{objective_of(problem.objective, value):.4g}{unit[problem.objective]}"
        for value in (begun, best)
    ]
    rounds = "1 round" if n_rounds == 1 else f"{n_rounds} rounds"
    return f"linearised at its own mixes in {rounds}: {said[0]} as solved first, {said[1]} now"
