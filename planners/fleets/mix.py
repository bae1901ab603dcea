"""Planning that does not tell workload types apart: a replica has one capacity, that on the mix demanded.

Several planners look at a fleet so. For them a fleet serves the sum of its replicas' capacities on the mix, and
requests go to replicas in proportion to those, whatever their type.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from planners.fleets.assignment import Assignment, evaluate
from planners.fleets.small_milp import FleetColumns, Rows

if TYPE_CHECKING:
    from planners.problem.problem import PlanningProblem


def mix_capacity_rps(problem: PlanningProblem, c: int) -> float:
    """Requests/s of the mix demanded of its model that one replica of a candidate serves (`Demand.mix_rps`).

    >>> from planners.problem.problem import PlanningProblem
    >>> from planners.problem.candidate import Candidate, Demand
    >>> demand = Demand("m", None, ("chat", "code"), (50.0, 50.0))
    >>> one = Candidate("a", "m", (("L40", 1),), 1.0, (1.0, 3.0))
    >>> mix_capacity_rps(PlanningProblem((demand,), (one,), (("L40", 8),), budget_usd_per_h=4.5), 0)
    1.5
    """
    candidate = problem.candidates[c]
    return problem.demand(candidate.model).mix_rps(candidate.capacity_rps)


def mix_pace(problem: PlanningProblem, counts: Sequence[int]) -> float:
    """The pace at which a fleet serves the model that it serves worst: its capacity on the mix over the amount.

    >>> from planners.problem.problem import PlanningProblem
    >>> from planners.problem.candidate import Candidate, Demand
    >>> demand = Demand("m", None, ("chat",), (50.0,))
    >>> one = Candidate("a", "m", (("L40", 1),), 1.0, (2.0,))
    >>> mix_pace(PlanningProblem((demand,), (one,), (("L40", 8),), budget_usd_per_h=4.5), (3,))
    0.12
    """
    working = problem.working(counts)
    paces = [
        math.fsum(working[c] * mix_capacity_rps(problem, c) for c in problem.candidates_of(demand.model)) / demand.total
        for demand in problem.demands
        if demand.total > 0
    ]
    return min(paces, default=0.0)


def capacity_weighted(problem: PlanningProblem, counts: Sequence[int]) -> Assignment:
    """Requests go to replicas in proportion to their capacities on the mix: a weighted round robin.

    Only replicas that cannot serve a type at all are spared it. Where all can, each gets the same mix and works
    equally long, so that the fleet's pace is the sum of its capacities on the mix, over the amount demanded.

    Args:
        problem: The problem.
        counts: Replicas of each candidate.

    Returns:
        T (see `planners.fleets.assignment`) and the shares; T is infinite if some demand has nobody.

    >>> from planners.problem.problem import PlanningProblem
    >>> from planners.problem.candidate import Candidate, Demand
    >>> demand = Demand("m", None, ("chat", "code"), (50.0, 50.0))
    >>> candidates = [Candidate(f"c{n}", "m", (("L40", n),), n, (n, 3.0 * n)) for n in (1, 2)]
    >>> problem = PlanningProblem((demand,), tuple(candidates), (("L40", 8),), budget_usd_per_h=9.0)
    >>> capacity_weighted(problem, (1, 1)).fractions == ((1 / 3, 1 / 3), (2 / 3, 2 / 3))
    True
    """
    weights = [working * mix_capacity_rps(problem, c) for c, working in enumerate(problem.working(counts))]
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


def _price_with_starts(problem: PlanningProblem, index: Mapping[int, int], fleet: FleetColumns) -> dict[int, float]:
    """The price of a fleet by column; replicas cost it twice as long as they are started and do not serve."""
    cost: dict[int, float] = {}
    for c, i in index.items():
        usd_per_h = problem.candidates[c].usd_per_h
        idle = {column: -working for column, working in fleet.working[c].items()}
        idle[i] += 1.0
        cost |= {column: usd_per_h * n for column, n in idle.items()}
        cost[i] += usd_per_h
    return cost


class MixFleet(NamedTuple):
    """The fleet found, None if there is none; and whether the search was cut short by its time limit."""

    counts: tuple[int, ...] | None
    is_cut_short: bool


def best_mix_fleet(
    problem: PlanningProblem,
    allowed: Sequence[int],
    *,
    pace: float | None = None,
    within_budget: bool = True,
    gap: float = 1e-4,
    time_limit_s: float | None = None,
) -> MixFleet:
    r"""The fleet with the most capacity on the mix, or the cheapest with enough.

    With C the capacity of a replica on the mix of its model m, and F the amount demanded of m:

    .. math::

        \max z \quad \sum_{c \in m} C_c y_c \ge F_m z, \quad \sum_c o_c y_c \le B, \quad
        \sum_c d_{n,c} y_c \le a_n, \quad \sum_{c: h_{c,w} > 0} y_c \ge 1

    The last row rents somebody for each type that is demanded. If a pace is given, z is that, and the price is
    minimised instead; replicas that must be started cost their price twice as long as they do not serve.

    Args:
        problem: The problem.
        allowed: Positions of the candidates that may be rented.
        pace: The pace to reach, in 1/s (a multiple of the rates if amounts are per second).
        within_budget: Whether the fleet must keep to the budget.
        gap: Relative gap at which to stop.
        time_limit_s: When to stop; the problem's limit if None.
    """
    index = {c: i for i, c in enumerate(allowed)}
    mix_rps = {c: mix_capacity_rps(problem, c) for c in index}
    most_rps = max(mix_rps.values(), default=0.0)
    if problem.is_empty or most_rps == 0:
        return MixFleet(None, is_cut_short=False)
    rows = Rows(len(index))
    fleet = rows.add_fleet(problem, index, within_budget=within_budget)
    rows.add_cover(problem, fleet)
    column_of_z = rows.add_column()
    # z is counted in the pace of one of the largest replicas, so that numbers are near 1.
    total = math.fsum(demand.total for demand in problem.demands)
    unit = most_rps / total
    for demand in problem.demands:
        served = {column_of_z: -demand.total / total}
        for c in problem.candidates_of(demand.model):
            for column, working in fleet.working.get(c, {}).items():
                served[column] = working * mix_rps[c] / most_rps
        if demand.total > 0:
            rows.add(served, lower=0.0)
    cost = {column_of_z: -1.0}
    if pace is not None:
        rows.add({column_of_z: 1.0}, lower=pace / unit)
        cost = _price_with_starts(problem, index, fleet)
    available = problem.rentable
    most = [min(available[gpu] // n for gpu, n in problem.candidates[c].gpus) for c in index]
    limit_s = problem.time_limit_s if time_limit_s is None else time_limit_s
    solved = rows.solve(cost, most, gap, limit_s)
    if solved.x is None:
        return MixFleet(None, is_cut_short=solved.status != 2)
    counts = tuple(round(solved.x[index[c]]) if c in index else 0 for c in range(len(problem.candidates)))
    return MixFleet(counts, is_cut_short=solved.status != 0)
