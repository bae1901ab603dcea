"""Bounds in closed form: no fleet works faster, or is cheaper, than this."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from planners.fleets.assignment import RATE_TOLERANCE
from planners.fleets.shedding import what_must_be_served
from planners.problem.problem import Objective

if TYPE_CHECKING:
    from planners.problem.candidate import Candidate, Demand
    from planners.problem.problem import PlanningProblem


def pace_bound(problem: PlanningProblem, allowed: Sequence[int]) -> float:
    """An upper bound of 1 / T over all fleets of the allowed candidates (T as in `planners.fleets.assignment`).

    Two things limit the pace z at which all demands f are served. All replicas that can be rented serve a type w
    at most at the sum of their capacities h; and a unit of type w costs at least o[c] / h[c,w] at the candidate c
    that is cheapest for it, so that serving at pace z costs at least z times the sum of f times that, beside what is
    paid in any case. GPUs of a node that are idle cost more, so that it is a bound with them, too.

    Args:
        problem: The problem.
        allowed: Positions of the candidates that may be rented.

    Returns:
        The bound in 1/s (a multiple of the offered rates if amounts are per second); 0 if some demand cannot be
        served at all, infinite if there is no demand.

    >>> from planners.problem.problem import PlanningProblem
    >>> from planners.problem.candidate import Candidate, Demand
    >>> demand = Demand("m", None, ("chat",), (100.0,))
    >>> one = Candidate("a", "m", (("L40", 1),), 1.0, (2.0,))
    >>> pace_bound(PlanningProblem((demand,), (one,), (("L40", 8),), budget_usd_per_h=4.5), [0])
    0.08
    """
    pace = math.inf
    usd_per_h = 0.0
    for _, w, amount, able in _demanded(problem, allowed):
        if not able:
            return 0.0
        pace = min(pace, math.fsum(n * candidate.capacity_rps[w] for candidate, n in able) / amount)
        usd_per_h += amount * _usd_per_rps(w, able)
    if usd_per_h > 0:
        left_usd_per_h = problem.budget_usd_per_h - problem.committed_usd_per_h
        pace = min(pace, max(0.0, left_usd_per_h) / usd_per_h)
    return pace


def value_bound(problem: PlanningProblem, allowed: Sequence[int], *, may_shed: bool = False) -> float:
    """A lower bound of the value of all fleets of the allowed candidates (see `planners.fleets.assignment`).

    Args:
        problem: The problem.
        allowed: Positions of the candidates that may be rented.
        may_shed: Whether they may shed what the problem allows, for `cost`; otherwise they serve everything.

    Returns:
        The bound of T, or for `cost` of the price in USD/h; infinite if there is no fleet, or no demand.

    >>> from planners.problem.problem import PlanningProblem
    >>> from planners.problem.candidate import Candidate, Demand
    >>> demand = Demand("m", None, ("chat",), (5.0,))
    >>> one = Candidate("a", "m", (("L40", 1),), 1.0, (2.0,))
    >>> value_bound(PlanningProblem((demand,), (one,), (("L40", 8),), 4.5, Objective.COST), [0])
    2.5
    """
    if problem.is_empty:
        return math.inf
    must = what_must_be_served(problem) if may_shed else problem
    if problem.objective is not Objective.COST:
        pace = pace_bound(problem, allowed)
        return 1.0 / pace if pace > 0 else math.inf
    if pace_bound(must, allowed) * (1 + RATE_TOLERANCE) < 1:
        return math.inf
    prices = []
    for demand, w, amount, able in _demanded(problem, allowed):
        served = amount * _usd_per_rps(w, able) if able else math.inf
        prices.append(min(served, demand.shed_usd_per_h(w)) if may_shed and demand.can_shed(w) else served)
    return math.fsum(prices) + problem.committed_usd_per_h


def _demanded(
    problem: PlanningProblem, allowed: Sequence[int]
) -> Iterable[tuple[Demand, int, float, list[tuple[Candidate, int]]]]:
    """Each type with a demand: its model's demand, its number, its amount, and who can serve it, as often as can be."""
    for demand in problem.demands:
        mine = [c for c in allowed if problem.candidates[c].model == demand.model]
        rentable = [(problem.candidates[c], problem.max_count(c)) for c in mine]
        for w, amount in enumerate(demand.amounts):
            if amount > 0:
                yield demand, w, amount, [(one, n) for one, n in rentable if n > 0 and one.capacity_rps[w] > 0]


def _usd_per_rps(w: int, able: list[tuple[Candidate, int]]) -> float:
    """The least price per unit of capacity for a type."""
    return min(candidate.usd_per_h / candidate.capacity_rps[w] for candidate, _ in able)
