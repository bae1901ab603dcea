"""Planning that does not tell workload types apart: a replica has one capacity, that on the mix demanded.

Several planners look at a fleet so. For them a fleet serves the sum of its replicas' capacities on the mix, and
requests go to replicas in proportion to those, whatever their type.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from planners.assignment import Assignment, evaluate

if TYPE_CHECKING:
    from planners.base import PlanningProblem


def mix_capacity_rps(problem: PlanningProblem, c: int) -> float:
    """Requests/s of the mix demanded of its model that one replica of a candidate serves.

    The replica divides its time over the types, so that its rate is the harmonic mean 1 / sum_w share_w / h_w. If
    it cannot serve some types, it is the rate at which it serves the rest, times their share.

    >>> from planners.base import Candidate, Demand, PlanningProblem
    >>> demand = Demand("m", None, ("chat", "code"), (50.0, 50.0))
    >>> one = Candidate("a", "m", (("L40", 1),), 1.0, (1.0, 3.0))
    >>> mix_capacity_rps(PlanningProblem((demand,), (one,), (("L40", 8),), budget_usd_per_h=4.5), 0)
    1.5
    """
    candidate = problem.candidates[c]
    demand = problem.demand(candidate.model)
    able = [(f, h) for f, h in zip(demand.amounts, candidate.capacity_rps, strict=True) if f > 0 and h > 0]
    if not able:
        return 0.0
    served = math.fsum(f for f, _ in able)
    return served / math.fsum(f / h for f, h in able) * served / demand.total


def capacity_weighted(problem: PlanningProblem, counts: Sequence[int]) -> Assignment:
    """Requests go to replicas in proportion to their capacities on the mix: a weighted round robin.

    Only replicas that cannot serve a type at all are spared it. Where all can, each gets the same mix and works
    equally long, so that the fleet's pace is the sum of its capacities on the mix, over the amount demanded.

    Args:
        problem: The problem.
        counts: Replicas of each candidate.

    Returns:
        T (see `planners.assignment`) and the shares; T is infinite if some demand has nobody.

    >>> from planners.base import Candidate, Demand, PlanningProblem
    >>> demand = Demand("m", None, ("chat", "code"), (50.0, 50.0))
    >>> candidates = [Candidate(f"c{n}", "m", (("L40", n),), n, (n, 3.0 * n)) for n in (1, 2)]
    >>> problem = PlanningProblem((demand,), tuple(candidates), (("L40", 8),), budget_usd_per_h=9.0)
    >>> capacity_weighted(problem, (1, 1)).fractions == ((1 / 3, 1 / 3), (2 / 3, 2 / 3))
    True
    """
    weights = [count * mix_capacity_rps(problem, c) for c, count in enumerate(counts)]
    rows = [[0.0] * len(candidate.capacity_rps) for candidate in problem.candidates]
    for demand in problem.demands:
        for w in range(len(demand.amounts)):
            able = [c for c in problem.candidates_of(demand.model) if problem.candidates[c].capacity_rps[w] > 0]
            total = math.fsum(weights[c] for c in able)
            if total > 0:
                for c in able:
                    rows[c][w] = weights[c] / total
    fractions = tuple(tuple(row) for row in rows)
    return Assignment(evaluate(problem, counts, fractions), fractions)
