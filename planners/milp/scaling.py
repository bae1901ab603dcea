"""Which numbers of a planning problem matter to a solver, whose tolerances are absolute, and which are too small to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planners.problem.problem import PlanningProblem

NEGLIGIBLE = 1e-8
"""What the pairs that are left out serve of a type at most, as a share of the pace Z."""

SMALL_LOAD = 1e-3
"""A count that is wrong by the solver's tolerance of 1e-9 serves a share of 1e-6 of a type with such a load."""

LARGE_LOAD = 1e3
"""A row with a larger number is weak in the others: solvers scale it down."""

_WIDE = 10.0  # Z stays that near to the best pace, so that a negligible share is 1e-7 of it


def scale_between(least_pace: float, most_pace: float) -> float:
    """The pace Z to scale a MILP by, if the best pace is known to be between these two.

    >>> scale_between(0.5, 2.0), scale_between(1e-9, 2.0)
    (0.5, 0.2)
    """
    return max(least_pace, most_pace / _WIDE) if most_pace < math.inf else least_pace


def is_wide(problem: PlanningProblem, scale: float) -> bool:
    """Whether some loads at the pace Z are so small or so large that a solver's tolerance matters."""
    for demand in problem.demands:
        for c in problem.candidates_of(demand.model):
            for amount, rps in zip(demand.amounts, problem.candidates[c].capacity_rps, strict=True):
                if amount > 0 and rps > 0 and not SMALL_LOAD <= amount * scale / rps <= LARGE_LOAD:
                    return True
    return False


def negligible(problem: PlanningProblem, scale: float) -> set[tuple[int, int]]:
    """Candidates and types that can be left out of a MILP: together they serve next to nothing of any type.

    Args:
        problem: The problem.
        scale: The pace Z in 1/s (a multiple of the offered rates if amounts are per second).
    """
    left_out = set()
    for demand in problem.demands:
        most = [(c, problem.max_count(c)) for c in problem.candidates_of(demand.model)]
        for w, amount in enumerate(demand.amounts):
            left_rps = NEGLIGIBLE * amount * scale
            served = [(n * problem.candidates[c].capacity_rps[w], c) for c, n in most]
            for rps, c in sorted(pair for pair in served if 0 < pair[0] <= left_rps):
                left_rps -= rps
                if left_rps < 0:
                    break
                left_out.add((c, w))
    return left_out
