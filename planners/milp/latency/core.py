r"""Which candidates matter for the least latency: those that a rough linear program rents.

A candidate c is looked at twice, idle and at its highest level u, beside all that it can serve of the demand. Between
them the latency of type w is taken as linear in the utilisation, so that a limit tau leaves it the rate

.. math:: h_{c,w}(\tau) = h_{c,w} \, u \, \min\left(1, \frac{\tau - idle_{c,w}}{full_{c,w} - idle_{c,w}}\right)

With these capacities the largest pace is a linear program, and tau is the least limit at which the rates are carried.
The core is what it rents, what it would rent if that were not there, and so on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from planners.fleets.mix import mix_capacity_rps
from planners.fleets.small_milp import Row, Rows
from planners.milp.latency.model import LatencyModel
from planners.milp.latency.options import MIN_UTILISATION, Options

if TYPE_CHECKING:
    from planners.problem.latency import LatencyGoal
    from planners.problem.problem import PlanningProblem

_N_LAYERS = 4
_SHORTEST_S, _LONGEST_S = 1e-3, 1e4
_PRECISION = 1.02
_TIME_LIMIT_S = 60.0
_ROUGH_LEVELS = (0.1, 0.5, 1.0)


def find_core(problem: PlanningProblem, goal: LatencyGoal, options: Options) -> set[int]:
    """The candidates that matter.

    Args:
        problem: The problem.
        goal: What to make least.
        options: Of the problem.
    """
    every = range(len(problem.candidates))
    rentable = [c for c in every if problem.max_count(c) > 0 and mix_capacity_rps(problem, c) > 0]
    if goal.late_share is None:
        return _core_of_mean(problem, goal, options, rentable)
    rough = _RoughTimes(problem, goal, options, rentable)
    low, high = _SHORTEST_S, _LONGEST_S
    while high > low * _PRECISION:
        middle = math.sqrt(low * high)
        pace, _ = rough.rent(middle, rentable)
        low, high = (low, middle) if pace >= 1 else (middle, high)
    core: set[int] = set()
    for _ in range(_N_LAYERS):
        _, rented = rough.rent(high, [c for c in rentable if c not in core])
        core |= rented
    return core


def _core_of_mean(problem: PlanningProblem, goal: LatencyGoal, options: Options, rentable: list[int]) -> set[int]:
    core: set[int] = set()
    for _ in range(_N_LAYERS):
        rough = [
            options.option(options.every(c), goal.most_utilisation * level)
            for c in rentable
            if c not in core
            for level in _ROUGH_LEVELS
        ]
        found = LatencyModel(problem, goal, rough).solve(
            None, is_least_mean=True, is_relaxed=True, time_limit_s=_TIME_LIMIT_S
        )
        if found is None:
            break
        core |= {c for c, shares in enumerate(found.fractions) if any(shares)}
    return core


class _RoughTimes:
    """Latencies of idle and of busy candidates: h, idle_s and full_s by candidate and type."""

    def __init__(self, problem: PlanningProblem, goal: LatencyGoal, options: Options, rentable: list[int]) -> None:
        self._problem, self._most = problem, goal.most_utilisation
        self._times: dict[int, dict[int, tuple[float, float, float]]] = {}
        for c in rentable:
            role = options.every(c)
            idle = options.option(role, MIN_UTILISATION).loaded
            full = options.option(role, self._most).loaded
            self._times[c] = {
                w: (h, idle.mean_s(w, goal.metric), full.mean_s(w, goal.metric))
                for w, h in enumerate(role.capacity_rps)
                if h > 0 and role.mix[w] > 0
            }

    def rent(self, limit_s: float, allowed: list[int]) -> tuple[float, set[int]]:
        """The largest pace within a limit, 2 at most, and what it takes."""
        problem = self._problem
        index = {c: i for i, c in enumerate(allowed)}
        rows = Rows(len(index))
        working = rows.add_fleet(problem, index).working
        pace = rows.add_column(2.0)
        served: dict[tuple[str, int], Row] = {
            (demand.model, w): {pace: -1.0}
            for demand in problem.demands
            for w, amount in enumerate(demand.amounts)
            if amount > 0
        }
        for c in index:
            model = problem.candidates[c].model
            amounts = problem.demand(model).amounts
            busy: Row = {i: -n for i, n in working[c].items()}
            for w, (h, idle_s, full_s) in self._times[c].items():
                if idle_s < limit_s:
                    level = min(1.0, (limit_s - idle_s) / max(full_s - idle_s, 1e-9)) * self._most
                    x = rows.add_column()
                    busy[x] = amounts[w] / (h * level)
                    served[model, w][x] = 1.0
            rows.add(busy, upper=0.0)
        for row in served.values():
            rows.add(row, lower=0.0, upper=0.0)
        most = [problem.max_count(c) for c in index]
        solved = rows.solve({pace: -1.0}, most, 0.0, _TIME_LIMIT_S, is_relaxed=True)
        if solved.x is None:
            return 0.0, set()
        return float(solved.x[pace]), {c for c, i in index.items() if solved.x[i] > 1e-6}
