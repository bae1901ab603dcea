r"""The objective `latency` as a MILP over candidates at levels of utilisation, with closed-form latencies.

An option o is a candidate c at a level u[o], busy for that share of its time (`planners.milp.latency.options`). On it,
requests of type w take d[o,w] in the mean, and a share late[o,w](tau) of them takes longer than tau. With n[o] replicas
of each option, the mean is least in

.. math::

    \min \sum_{o,w} f_w x_{o,w} d_{o,w} \quad \sum_o x_{o,w} = 1, \quad
    \sum_w x_{o,w} f_w / h_{o,w} \le u_o n_o, \quad \sum_{o \in c} n_o \le y_c, \quad \text{limits on } y

and no more requests than may be take longer than tau if

.. math:: \sum_{o,w} f_w x_{o,w} \mathit{late}_{o,w}(\tau) \le (1 - q) \sum_w f_w

An SLO, if there is one, is kept by one more row like this: with the shares that miss it, and that may.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from planners.fleets.latency import slo_of
from planners.fleets.small_milp import Row, Rows

if TYPE_CHECKING:
    from planners.milp.latency.options import Option
    from planners.problem.candidate import Fractions
    from planners.problem.latency import LatencyGoal
    from planners.problem.problem import PlanningProblem

_NOISE = 1e-7  # shares below this are rounding of the solver
_HOPELESS = 20.0
"""Times the share that may be late: where more of a type is late, it is not served, unless all of it may be late."""


class Solution(NamedTuple):
    """A fleet and its shares."""

    counts: tuple[int, ...]
    fractions: Fractions


class LatencyModel:
    """The MILP of some options.

    Args:
        problem: The problem.
        goal: What to make least.
        options: What replicas may be.
        counts: The fleet, if it is given; None to choose it.
    """

    def __init__(
        self,
        problem: PlanningProblem,
        goal: LatencyGoal,
        options: Sequence[Option],
        counts: Sequence[int] | None = None,
    ) -> None:
        self._problem, self._goal, self._counts = problem, goal, counts
        self._options = [one for one in options if self._most(one.c) > 0]
        slo = slo_of(problem)
        self._may_miss = 1.0 if slo is None else 1.0 - slo.attainment
        total = math.fsum(demand.total for demand in problem.demands)
        self._shares = {demand.model: [amount / total for amount in demand.amounts] for demand in problem.demands}

    def solve(
        self,
        limit_s: float | None,
        *,
        is_least_mean: bool,
        gap: float = 0.0,
        time_limit_s: float,
        is_relaxed: bool = False,
    ) -> Solution | None:
        """Some solution, or that of least mean; None if there is none, or in time.

        Args:
            limit_s: What no more requests than may be exceed; None for no limit.
            is_least_mean: Whether the mean matters.
            gap: Relative gap of the mean at which to stop.
            time_limit_s: When to stop.
            is_relaxed: Whether replicas may be divided.
        """
        problem = self._problem
        allowed = sorted({one.c for one in self._options})
        index = {c: i for i, c in enumerate(allowed)}
        rows = Rows(len(allowed))
        if self._counts is None:
            working = rows.add_fleet(problem, index).working
        else:
            working = {c: {i: 1.0} for c, i in index.items()}
        replicas: dict[int, Row] = {c: {i: -n for i, n in working[c].items()} for c in allowed}
        served: dict[tuple[str, int], Row] = {}
        late_row: Row = {}
        missed_row: Row = {}
        cost: Row = {}
        columns: dict[tuple[int, int], int] = {}
        for o, one in enumerate(self._options):
            n = rows.add_column(self._most(one.c))
            replicas[one.c][n] = 1.0
            busy: Row = {n: -one.utilisation}
            model = problem.candidates[one.c].model
            for w, late in self._types(one, limit_s):
                x = columns[o, w] = rows.add_column()
                busy[x] = problem.demand(model).amounts[w] / one.capacity_rps[w]
                served.setdefault((model, w), {})[x] = 1.0
                if late > 0:
                    late_row[x] = late
                if one.missed[w] > 0:
                    missed_row[x] = one.missed[w] * self._shares[model][w]
                if is_least_mean:
                    cost[x] = self._shares[model][w] * one.loaded.mean_s(w, self._goal.metric)
            rows.add(busy, upper=0.0)
        for row in replicas.values():
            rows.add(row, upper=0.0)
        if not all((model, w) in served for model, shares in self._shares.items() for w, f in enumerate(shares) if f):
            return None
        for row in served.values():
            rows.add(row, lower=1.0, upper=1.0)
        if limit_s is not None:
            rows.add(late_row, upper=1.0)
        if missed_row:
            rows.add(missed_row, upper=self._may_miss)
        solved = rows.solve(cost, [self._most(c) for c in allowed], gap, time_limit_s, is_relaxed=is_relaxed)
        return None if solved.x is None else self._read(solved.x, index, columns)

    def _most(self, c: int) -> int:
        return self._problem.max_count(c) if self._counts is None else self._counts[c]

    def _types(self, one: Option, limit_s: float | None) -> list[tuple[int, float]]:
        """The types that an option may serve, and how much of what may be late all of each is there."""
        shares = self._shares[self._problem.candidates[one.c].model]
        able = [w for w, share in enumerate(shares) if share > 0 and one.capacity_rps[w] > 0]
        if limit_s is None:
            return [(w, 0.0) for w in able]
        most_late = self._goal.late_share or 0.0
        late = {w: one.loaded.rough_late_share(w, self._goal.metric, limit_s) for w in able}
        return [
            (w, late[w] * shares[w] / most_late)
            for w in able
            if late[w] <= _HOPELESS * most_late or late[w] * shares[w] <= most_late
        ]

    def _read(self, x: Sequence[float], index: dict[int, int], columns: dict[tuple[int, int], int]) -> Solution:
        problem = self._problem
        shares = [[0.0] * len(candidate.capacity_rps) for candidate in problem.candidates]
        for (o, w), column in columns.items():
            if x[column] > _NOISE:
                shares[self._options[o].c][w] += float(x[column])
        for demand in problem.demands:
            mine = problem.candidates_of(demand.model)
            for w in range(len(demand.amounts)):
                total = math.fsum(shares[c][w] for c in mine)
                for c in mine if total > 0 else ():
                    shares[c][w] /= total
        if self._counts is not None:
            return Solution(tuple(self._counts), tuple(map(tuple, shares)))
        counts = tuple(round(x[index[c]]) if c in index else 0 for c in range(len(problem.candidates)))
        return Solution(counts, tuple(map(tuple, shares)))
