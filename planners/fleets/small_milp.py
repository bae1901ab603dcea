"""A small MILP, row by row, for SciPy's solver."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from planners.problem.limits import limits_of
from planners.quiet import no_output

if TYPE_CHECKING:
    from scipy.optimize import LinearConstraint

    from planners.problem.candidate import Demand
    from planners.problem.problem import PlanningProblem


_NODES_PER_S = 100

Row = dict[int, float]
"""The number of each column in a sum; 0 if absent."""


class FleetColumns(NamedTuple):
    """A fleet in a MILP.

    Attributes:
        working: How many replicas of a candidate serve (see `planners.problem.previous`).
        present: Something that is at least 1 if and only if any replica of a candidate serves.
        usd_per_h: What the fleet costs, without what must be paid in any case.
        fixed_usd_per_h: What must be paid in any case: what is reserved, and the price of stopping all that runs
            already; `usd_per_h` takes off what is kept.
    """

    working: dict[int, Row]
    present: dict[int, Row]
    usd_per_h: Row
    fixed_usd_per_h: float


class Rows:
    """A MILP under construction; its first columns are whole numbers, all are 0 or more.

    >>> rows = Rows(1)
    >>> weight = rows.add_column()
    >>> rows.add({0: 2.0, weight: 1.0}, upper=5.0)
    >>> rows.solve({0: -3.0, weight: -1.0}, most=[9], gap=0.0, time_limit_s=9.0).x.tolist()
    [2.0, 1.0]
    """

    def __init__(self, n_counts: int) -> None:
        self._n_counts = n_counts
        self._upper_of: list[float] = [math.inf] * n_counts
        self._is_whole = [True] * n_counts
        self._rows: list[Row] = []
        self._lower: list[float] = []
        self._upper: list[float] = []

    def add_column(self, upper: float = math.inf, *, is_whole: bool = False) -> int:
        """A new variable of 0 or more, and its upper bound."""
        self._upper_of.append(upper)
        self._is_whole.append(is_whole)
        return len(self._upper_of) - 1

    def add(self, row: Row, lower: float = -math.inf, upper: float = math.inf) -> None:
        """A new constraint: lower <= row <= upper."""
        self._rows.append(row)
        self._lower.append(lower)
        self._upper.append(upper)

    def add_fleet(
        self, problem: PlanningProblem, index: Mapping[int, int], *, within_budget: bool = True
    ) -> FleetColumns:
        """Keep a fleet to budget, availability and all other limits.

        Args:
            problem: The problem.
            index: The column of each candidate's count; candidates without one are not rented.
            within_budget: Whether there is a budget.

        Returns:
            What it is made of.
        """
        budget = problem.budget_usd_per_h
        fleet = self._add_columns(problem, index)
        self._add_nodes(problem, index, fleet.usd_per_h)
        if within_budget and budget < math.inf:
            unit = budget if budget > 0 else 1.0
            price = {i: usd / unit for i, usd in fleet.usd_per_h.items()}
            self.add(price, upper=(budget - fleet.fixed_usd_per_h) / unit)
        for gpu, count in problem.rentable.items():
            self.add({index[c]: float(n) for c, n in _takers(problem, gpu) if c in index}, upper=count)
        for limit in limits_of(problem):
            limit.add_rows(self, problem, index)
        return fleet

    def _add_columns(self, problem: PlanningProblem, index: Mapping[int, int]) -> FleetColumns:
        prices = {i: problem.candidates[c].usd_per_h for c, i in index.items()}
        working = {c: {i: 1.0} for c, i in index.items()}
        if problem.previous is None:
            return FleetColumns(working, working, prices, problem.committed_usd_per_h)
        previous, present = problem.previous, dict(working)
        for c, running in enumerate(previous.counts_of(problem.candidates)):
            if c not in index:
                continue
            candidate = problem.candidates[c]
            lost = previous.start_share(candidate)
            working[c] = {index[c]: 1.0 - lost}
            if running > 0:
                kept = self.add_column(running)
                self.add({kept: 1.0, index[c]: -1.0}, upper=0.0)
                working[c][kept] = lost
                prices[kept] = -previous.drain_share * candidate.usd_per_h
            if lost == 1:
                present[c] = working[c]
        nothing = (0,) * len(problem.candidates)
        return FleetColumns(working, present, prices, problem.spent_usd_per_h(nothing))

    def _add_nodes(self, problem: PlanningProblem, index: Mapping[int, int], usd_per_h: Row) -> None:
        """Have replicas in whole nodes; the price of those that they fill takes the place of that of their GPUs."""
        rentable = problem.rentable
        for c, i in index.items():
            usd_per_h[i] = problem.usd_per_h_beside_nodes(c) if problem.nodes else usd_per_h[i]
        for node in problem.nodes:
            size = node.gpus_per_node
            column = self.add_column(rentable[node.name] // size, is_whole=True)
            filled = {index[c]: float(n) for c, n in _takers(problem, node.name) if c in index}
            self.add(filled | {column: -float(size)}, upper=0.0)
            usd_per_h[column] = size * node.usd_per_h

    def add_cover(self, problem: PlanningProblem, fleet: FleetColumns) -> None:
        """Have somebody for each type that is demanded."""
        for demand in problem.demands:
            for w, amount in enumerate(demand.amounts):
                if amount > 0:
                    self.add(self.present(problem, fleet, demand, w), lower=1.0)

    def present(self, problem: PlanningProblem, fleet: FleetColumns, demand: Demand, w: int) -> Row:
        """At least 1 if and only if a replica of the fleet can serve a type of a model, and does not start too late."""
        row: Row = {}
        for c in problem.candidates_of(demand.model):
            if c in fleet.present and problem.candidates[c].capacity_rps[w] > 0:
                row |= fleet.present[c]
        return row

    def solve(
        self,
        cost: Mapping[int, float],
        most: Sequence[float],
        gap: float,
        time_limit_s: float,
        node_limit: int | None = None,
        *,
        is_relaxed: bool = False,
    ) -> Any:
        """Minimise with SciPy.

        Args:
            cost: Of each column; 0 if absent.
            most: Upper bounds of the whole numbers.
            gap: Relative gap at which to stop.
            time_limit_s: How much work it may do: 100 nodes of the search tree in a second, whatever the
                machine. By the clock it stops after ten times that and a minute.
            node_limit: How many nodes to look at, if that is less.
            is_relaxed: Whether no number need be whole.

        Returns:
            SciPy's result. Its `x` is None if no solution was found; `status` is 0 at the gap, 2 if there is none.
        """
        import numpy as np
        from scipy.optimize import Bounds, milp

        n_columns = len(self._upper_of)
        c = np.zeros(n_columns)
        for column, value in cost.items():
            c[column] = value
        upper = np.array(self._upper_of)
        upper[: self._n_counts] = most
        n_nodes = math.floor(min(time_limit_s * _NODES_PER_S, 2**31 - 1))
        options: Any = {
            "mip_rel_gap": gap,
            "time_limit": 60.0 + 10.0 * time_limit_s,
            "node_limit": n_nodes if node_limit is None else min(n_nodes, node_limit),
        }
        with no_output():
            return milp(
                c,
                integrality=np.array(self._is_whole, dtype=np.int64) * (not is_relaxed),
                bounds=Bounds(np.zeros(n_columns), upper),
                constraints=self._constraint(),
                options=options,
            )

    def _constraint(self) -> LinearConstraint:
        from scipy.optimize import LinearConstraint
        from scipy.sparse import csr_array

        entries = [(r, column, value) for r, row in enumerate(self._rows) for column, value in sorted(row.items())]
        values = [value for _, _, value in entries]
        places = ([r for r, _, _ in entries], [column for _, column, _ in entries])
        matrix = csr_array((values, places), shape=(len(self._rows), len(self._upper_of)))
        return LinearConstraint(matrix, self._lower, self._upper)


def _takers(problem: PlanningProblem, gpu: str) -> list[tuple[int, int]]:
    """Candidates on a GPU type, and how many of it a replica takes."""
    return [(c, n) for c, one in enumerate(problem.candidates) for name, n in one.gpus if name == gpu]
