"""A bound in closed form: no fleet works faster than this."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planners.base import PlanningProblem


def pace_bound(problem: PlanningProblem, allowed: Sequence[int]) -> float:
    """An upper bound of 1 / T over all fleets of the allowed candidates (T as in `planners.assignment`).

    Two things limit the pace z at which all demands f are served. All replicas that can be rented serve a type w
    at most at the sum of their capacities h; and a unit of type w costs at least o[c] / h[c,w] at the candidate c
    that is cheapest for it, so that serving at pace z costs at least z times the sum of f times that.

    Args:
        problem: The problem.
        allowed: Positions of the candidates that may be rented.

    Returns:
        The bound in 1/s (a multiple of the offered rates if amounts are per second); 0 if some demand cannot be
        served at all, infinite if there is no demand.

    >>> from planners.base import Candidate, Demand, PlanningProblem
    >>> demand = Demand("m", None, ("chat",), (100.0,))
    >>> one = Candidate("a", "m", (("L40", 1),), 1.0, (2.0,))
    >>> pace_bound(PlanningProblem((demand,), (one,), (("L40", 8),), budget_usd_per_h=4.5), [0])
    0.08
    """
    pace = math.inf
    usd_per_h = 0.0
    for demand in problem.demands:
        mine = [c for c in allowed if problem.candidates[c].model == demand.model]
        for w, amount in enumerate(demand.amounts):
            if amount == 0:
                continue
            able = [(problem.candidates[c], problem.max_count(c)) for c in mine]
            able = [(candidate, n) for candidate, n in able if n > 0 and candidate.capacity_rps[w] > 0]
            if not able:
                return 0.0
            pace = min(pace, math.fsum(n * candidate.capacity_rps[w] for candidate, n in able) / amount)
            usd_per_h += amount * min(candidate.usd_per_h / candidate.capacity_rps[w] for candidate, _ in able)
    if usd_per_h > 0:
        pace = min(pace, problem.budget_usd_per_h / usd_per_h)
    return pace
