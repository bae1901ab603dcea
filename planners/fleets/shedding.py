"""What is given up where not everything can be served, at the penalties that the demands state.

For all objectives but `cost` a type is served in full or not at all. Those are given up that no fleet within the limits
can serve together with the rest; if there is a choice, those of the least penalty. What is left is a problem without
penalties. For `cost` penalties are money: a part of a type is given up wherever that is cheaper than to serve
it, and the value of a fleet includes them (see `planners.fleets.assignment`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from planners.fleets.assignment import RATE_TOLERANCE, Assignment, best_assignment, evaluate, value_of
from planners.fleets.latency import latency_s
from planners.fleets.small_milp import Rows
from planners.problem.plan import shed_shares
from planners.problem.problem import Feature, Objective

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from planners.problem.candidate import Fractions
    from planners.problem.problem import PlanningProblem

_NOISE = 1e-9  # shares below this are rounding of the LP solver


def in_full(problem: PlanningProblem) -> PlanningProblem:
    """The problem in which nothing may be shed."""
    if Feature.SHEDDING not in problem.needs:
        return problem
    return replace(problem, demands=tuple(replace(demand, shed_usd_per_request=()) for demand in problem.demands))


def what_must_be_served(problem: PlanningProblem) -> PlanningProblem:
    """The problem without the types that may be shed."""
    if Feature.SHEDDING not in problem.needs:
        return problem
    demands = (
        replace(
            demand,
            amounts=tuple(0.0 if demand.can_shed(w) else amount for w, amount in enumerate(demand.amounts)),
            shed_usd_per_request=(),
        )
        for demand in problem.demands
    )
    return replace(problem, demands=tuple(demands))


def servable(problem: PlanningProblem) -> PlanningProblem:
    r"""For all objectives but `cost` the problem with only what a fleet can serve, and nothing more to give up.

    With u[w] = 1 for a type that is given up, and penalties p:

    .. math:: \min \sum_w p_w f_w u_w \quad \sum_{c: h_{c,w} > 0} y_c + u_w \ge 1, \quad \text{limits on } y

    Args:
        problem: The problem.

    Returns:
        The problem itself for the objective `cost`, or if nothing may be given up; and if there is no fleet even so.

    >>> from planners.problem.problem import PlanningProblem
    >>> from planners.problem.candidate import Candidate, Demand
    >>> demand = Demand("m", None, ("chat", "code"), (50.0, 50.0), shed_usd_per_request=(1.0, 0.1))
    >>> two = Candidate("a", "m", (("L4", 1),), 1.0, (2.0, 0.0)), Candidate("b", "m", (("L40", 1),), 1.0, (0.0, 2.0))
    >>> tight = PlanningProblem((demand,), two, (("L4", 1), ("L40", 1)), budget_usd_per_h=1.0)
    >>> servable(tight).demands[0].amounts
    (50.0, 0.0)
    """
    if Feature.SHEDDING not in problem.needs or problem.objective is Objective.COST:
        return problem
    index = {c: c for c in range(len(problem.candidates))}
    rows = Rows(len(index))
    fleet = rows.add_fleet(problem, index)
    penalties: dict[int, float] = {}
    given_up: dict[tuple[str, int], int] = {}
    for demand in problem.demands:
        for w, amount in enumerate(demand.amounts):
            if amount > 0:
                row = rows.present(problem, fleet, demand, w)
                if demand.can_shed(w):
                    column = given_up[demand.model, w] = rows.add_column(1.0, is_whole=True)
                    penalties[column] = demand.shed_usd_per_request[w] * amount
                    row[column] = 1.0
                rows.add(row, lower=1.0)
    # A type that costs nothing to give up is served if it can be. The solver's gap is 1e-6.
    unit = 1e3 / (math.fsum(penalties.values()) or 1.0)
    cost = {column: max(penalty * unit, 1e-3) for column, penalty in penalties.items()}
    solved = rows.solve(cost, [problem.max_count(c) for c in index], gap=0.0, time_limit_s=problem.time_limit_s)
    if solved.x is None:
        return problem
    lost = {key for key, column in given_up.items() if solved.x[column] > 0.5}
    demands = (
        replace(
            demand,
            amounts=tuple(0.0 if (demand.model, w) in lost else amount for w, amount in enumerate(demand.amounts)),
            shed_usd_per_request=(),
        )
        for demand in problem.demands
    )
    return replace(problem, demands=tuple(demands))


def best_shares(problem: PlanningProblem, counts: Sequence[int]) -> Assignment:
    r"""The best shares for a given fleet: those of the least makespan, or where it is too slow, of the least penalty.

    The latter is for the objective `cost` with penalties p in USD/h per request/s, and working replicas y:

    .. math::

        \min \sum_w p_w f_w u_w \quad \sum_c x_{c,w} + u_w = 1, \quad \sum_w x_{c,w} f_w / h_{c,w} \le y_c

    Returns:
        T and the shares; T is infinite if something that must be served cannot be.

    >>> from planners.problem.problem import PlanningProblem
    >>> from planners.problem.candidate import Candidate, Demand
    >>> demand = Demand("m", None, ("chat", "code"), (2.0, 2.0), shed_usd_per_request=(1.0, 0.1))
    >>> one = Candidate("a", "m", (("L4", 1),), 1.0, (3.0, 3.0))
    >>> problem = PlanningProblem((demand,), (one,), (("L4", 1),), 1.0, Objective.COST)
    >>> [[round(share, 3) for share in row] for row in best_shares(problem, (1,)).fractions]
    [[1.0, 0.5]]
    """
    found = best_assignment(problem, counts)
    is_enough = found.makespan <= 1 + RATE_TOLERANCE
    if is_enough or problem.objective is not Objective.COST or Feature.SHEDDING not in problem.needs:
        return found
    fractions = _least_penalty(problem, counts)
    return found if fractions is None else Assignment(evaluate(problem, counts, fractions, may_shed=True), fractions)


def fleet_value(problem: PlanningProblem, counts: Sequence[int] | None) -> float:
    """The value of a fleet with its best shares; infinite without a fleet."""
    return math.inf if counts is None else value_with(problem, counts, best_shares(problem, counts).fractions)


def value_with(problem: PlanningProblem, counts: Sequence[int], fractions: Fractions) -> float:
    """The value of a fleet with these shares, penalties included; infinite if something is missing that must be served.

    What a problem for the other objectives allows to be given up is missing, too: see `servable`.
    """
    if problem.objective is Objective.LATENCY:
        return latency_s(problem, counts, fractions)
    makespan = evaluate(problem, counts, fractions, may_shed=True)
    return value_of(problem, counts, makespan, penalty_usd_per_h(problem, fractions))


def penalty_usd_per_h(problem: PlanningProblem, fractions: Fractions) -> float:
    """For the objective `cost`, the penalty of what shares leave unserved; 0 for the others."""
    if problem.objective is not Objective.COST or Feature.SHEDDING not in problem.needs:
        return 0.0
    return math.fsum(
        demand.shed_usd_per_h(w) * shed
        for demand in problem.demands
        for w, shed in enumerate(shed_shares(problem, demand, fractions))
        if shed > 0 and demand.can_shed(w)
    )


def _least_penalty(problem: PlanningProblem, counts: Sequence[int]) -> Fractions | None:
    """Shares of the least penalty; None if something that must be served cannot be."""
    rows = Rows(0)
    busy: dict[int, dict[int, float]] = {}
    cost: dict[int, float] = {}
    columns: dict[tuple[int, int], int] = {}
    working = problem.working(counts)
    for c, w, amount in _parts(problem, working):
        column = columns[c, w] = rows.add_column()
        busy.setdefault(c, {})[column] = amount / problem.candidates[c].capacity_rps[w] / working[c]
    for demand in problem.demands:
        for w, amount in enumerate(demand.amounts):
            if amount > 0:
                row = {columns[c, w]: 1.0 for c in problem.candidates_of(demand.model) if (c, w) in columns}
                if demand.can_shed(w):
                    shed = rows.add_column()
                    row[shed] = 1.0
                    cost[shed] = demand.shed_usd_per_h(w)
                rows.add(row, lower=1.0, upper=1.0)
    for load in busy.values():
        rows.add(load, upper=1.0)
    dearest = max(cost.values(), default=0.0) or 1.0
    scaled = {column: usd_per_h / dearest for column, usd_per_h in cost.items()}
    solved = rows.solve(scaled, (), gap=0.0, time_limit_s=problem.time_limit_s)
    if solved.x is None:
        return None
    shares = [[0.0] * len(candidate.capacity_rps) for candidate in problem.candidates]
    for (c, w), column in columns.items():
        share = float(solved.x[column])
        shares[c][w] = share if share > _NOISE else 0.0
    return tuple(map(tuple, shares))


def _parts(problem: PlanningProblem, working: Sequence[float]) -> Iterator[tuple[int, int, float]]:
    """Each candidate that works and each type with a demand that it can serve, and the amount."""
    for demand in problem.demands:
        for c in problem.candidates_of(demand.model):
            for w, amount in enumerate(demand.amounts):
                if working[c] > 0 and amount > 0 and problem.candidates[c].capacity_rps[w] > 0:
                    yield c, w, amount
