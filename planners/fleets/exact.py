"""Exact searches over fleets with SciPy's MILP solver: the best one of some candidates, and the smallest.

Written apart from `planners.milp`, in other variables: u[c,w] is the number of replicas of c that type w keeps
busy, where `planners.milp` has shares. Each is a check of the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from planners.fleets.assignment import best_assignment, value_of
from planners.fleets.bounds import value_bound
from planners.fleets.small_milp import Rows
from planners.problem.candidate import Fractions
from planners.problem.plan import Termination
from planners.problem.problem import Objective

if TYPE_CHECKING:
    from planners.problem.problem import PlanningProblem

PROVED_GAP = 1e-6
"""Gap up to which a plan counts as optimal: about the tolerance of the solvers."""


def termination_at(value: float, bound: float) -> Termination:
    """What a solver that stopped at its gap has shown: that the value is optimal, or near its bound."""
    return Termination.OPTIMAL if value - bound <= PROVED_GAP * value else Termination.GAP_REACHED


_WIDE = 100.0  # numbers are counted again if the best pace is that much below the bound
_SMALL_LOAD, _LARGE_LOAD = 1e-2, 1e3
_NOISE = 1e-8  # of the solver with other loads, in the pace that numbers are counted in


class FleetSearch(NamedTuple):
    """The fleet found, its value (`planners.fleets.assignment`) and a proved lower bound; infinite if there is none."""

    counts: tuple[int, ...]
    value: float
    fractions: Fractions
    bound: float
    termination: Termination


def best_fleet(
    problem: PlanningProblem, allowed: Sequence[int], *, gap: float = 1e-4, time_limit_s: float | None = None
) -> FleetSearch:
    r"""The fleet of the allowed candidates with the least value: the fastest, or for `cost` the cheapest.

    .. math::

        \max z \quad \sum_c h_{c,w} u_{c,w} = f_w z, \quad \sum_w u_{c,w} \le y_c, \quad
        \sum_c o_c y_c \le B, \quad \sum_c d_{n,c} y_c \le a_n, \quad \sum_{c: h_{c,w} > 0} y_c \ge 1

    with T = 1 / z. The last row holds wherever z > 0; it makes the MILP infeasible where there is no plan. For `cost`
    z is 1, and the price is minimised instead. Further limits are those of `planners.fleets.small_milp`; with a
    previous fleet not y counts as capacity but those that serve (`planners.problem.previous`).

    Solvers take what is small for nothing. So z is counted in a pace that it cannot exceed, and again in the one proved
    if it turns out to be far below. Where one replica can serve all of a type at that pace, the variable is not u but
    the share of the type; where it can do so a hundred times, it is rented if it has a share.

    Args:
        problem: The problem.
        allowed: Positions of the candidates that may be rented.
        gap: Relative gap at which to stop.
        time_limit_s: When to stop; the problem's limit if None.
    """
    least = value_bound(problem, allowed)
    if least == math.inf:
        return _none(problem, Termination.INFEASIBLE)
    limit_s = problem.time_limit_s if time_limit_s is None else time_limit_s
    is_cost = problem.objective is Objective.COST
    found = _best_fleet_at(problem, allowed, 1.0 if is_cost else 1.0 / least, least, gap, limit_s)
    while not is_cost and found.value > _WIDE * least and found.bound > 2 * least:
        least = found.bound
        again = _best_fleet_at(problem, allowed, 1.0 / least, least, gap, limit_s)
        found = min(again, found, key=lambda one: one.value)
        bound = min(found.value, again.bound)
        is_cut_short = again.termination is Termination.TIME_LIMIT
        termination = again.termination if is_cut_short else termination_at(found.value, bound)
        found = found._replace(bound=bound, termination=termination)
    return found


def _best_fleet_at(
    problem: PlanningProblem, allowed: Sequence[int], pace: float, least: float, gap: float, limit_s: float
) -> FleetSearch:
    """The best fleet, with numbers counted in a pace that is not exceeded; no value is below `least`."""
    is_cost = problem.objective is Objective.COST
    index = {c: i for i, c in enumerate(allowed)}
    demands = [(d.model, w, f) for d in problem.demands for w, f in enumerate(d.amounts) if f > 0]
    rows = Rows(len(allowed))
    fleet = rows.add_fleet(problem, index)
    rows.add_cover(problem, fleet)
    column_of_z = rows.add_column()
    rows.add({column_of_z: 1.0}, lower=1.0 if is_cost else 0.0, upper=1.0)
    busy = {c: {i: -n for i, n in fleet.working[c].items()} for c in allowed}
    noise = 0.0
    for model, w, amount in demands:
        served = {column_of_z: -1.0}
        for c in allowed:
            rps = problem.candidates[c].capacity_rps[w] if problem.candidates[c].model == model else 0.0
            if rps == 0:
                continue
            u = rows.add_column()
            load = amount * pace / rps
            served[u] = min(1.0, 1.0 / load)
            busy[c][u] = min(1.0, load)
            noise = noise if _SMALL_LOAD <= load <= _LARGE_LOAD else _NOISE
            if load < _SMALL_LOAD:
                rows.add({u: 1.0} | {i: -n for i, n in fleet.present[c].items()}, upper=0.0)
        rows.add(served, lower=0.0, upper=0.0)
    for row in busy.values():
        rows.add(row, upper=0.0)
    cost = fleet.usd_per_h if is_cost else {column_of_z: -1.0}
    solved = rows.solve(cost, [problem.max_count(c) for c in allowed], gap, limit_s)
    if solved.x is None:
        return _none(problem, Termination.INFEASIBLE if solved.status == 2 else Termination.TIME_LIMIT, least)
    counts = _counts(problem, index, solved.x)
    found = best_assignment(problem, counts)
    value = value_of(problem, counts, found.makespan)
    proved = solved.mip_dual_bound
    proved = proved + fleet.fixed_usd_per_h if is_cost else 1.0 / (min(1.0, noise - proved) * pace)
    bound = min(value, max(least, proved))
    termination = Termination.TIME_LIMIT if solved.status != 0 else termination_at(value, bound)
    return FleetSearch(counts, value, found.fractions, bound, termination)


def cheapest_fleet(problem: PlanningProblem, *, within_budget: bool = True) -> tuple[int, ...] | None:
    """Replicas of each candidate in the cheapest fleet that can serve every type that is demanded, however slowly.

    It says whether there is a plan for `makespan` and `throughput`; `cost` asks for more, see `best_fleet`.

    Args:
        problem: The problem.
        within_budget: Whether the fleet must keep to the budget.

    Returns:
        None if there is no such fleet.
    """
    if not problem.candidates:
        return None
    index = {c: c for c in range(len(problem.candidates))}
    rows = Rows(len(index))
    fleet = rows.add_fleet(problem, index, within_budget=within_budget)
    rows.add_cover(problem, fleet)
    # The fleet is small: this takes milliseconds.
    most = [problem.max_count(c, within_budget=False) for c in index]
    solved = rows.solve(fleet.usd_per_h, most, gap=0.0, time_limit_s=problem.time_limit_s)
    return None if solved.x is None else _counts(problem, index, solved.x)


def _counts(problem: PlanningProblem, index: Mapping[int, int], x: Sequence[float]) -> tuple[int, ...]:
    return tuple(round(x[index[c]]) if c in index else 0 for c in range(len(problem.candidates)))


def _none(problem: PlanningProblem, termination: Termination, bound: float = math.inf) -> FleetSearch:
    counts = (0,) * len(problem.candidates)
    fractions = tuple((0.0,) * len(candidate.capacity_rps) for candidate in problem.candidates)
    return FleetSearch(counts, math.inf, fractions, bound, termination)
