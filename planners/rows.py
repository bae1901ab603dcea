"""A small MILP, row by row, for SciPy's solver."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from planners.quiet import no_output

if TYPE_CHECKING:
    from scipy.optimize import LinearConstraint

    from planners.base import PlanningProblem


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
        self._n_columns = n_counts
        self._rows: list[dict[int, float]] = []
        self._lower: list[float] = []
        self._upper: list[float] = []

    def add_column(self) -> int:
        """A new continuous variable."""
        self._n_columns += 1
        return self._n_columns - 1

    def add(self, row: dict[int, float], lower: float = -math.inf, upper: float = math.inf) -> None:
        """A new constraint: lower <= row <= upper."""
        self._rows.append(row)
        self._lower.append(lower)
        self._upper.append(upper)

    def add_limits(self, problem: PlanningProblem, index: Mapping[int, int], *, within_budget: bool = True) -> None:
        """Keep a fleet to availability and budget; `index` gives the column of each candidate's count."""
        budget = problem.budget_usd_per_h
        if within_budget and 0 < budget < math.inf:
            self.add({i: problem.candidates[c].usd_per_h / budget for c, i in index.items()}, upper=1.0)
        elif within_budget and budget == 0:
            self.add({i: 1.0 for c, i in index.items() if problem.candidates[c].usd_per_h > 0}, upper=0.0)
        for gpu, count in problem.available:
            taken = {i: float(dict(problem.candidates[c].gpus).get(gpu, 0)) for c, i in index.items()}
            self.add(taken, upper=count)

    def add_cover(self, problem: PlanningProblem, index: Mapping[int, int]) -> None:
        """Rent somebody for each type that is demanded; `index` gives the column of each candidate's count."""
        for demand in problem.demands:
            for w, amount in enumerate(demand.amounts):
                if amount > 0:
                    mine = problem.candidates_of(demand.model)
                    able = [c for c in mine if c in index and problem.candidates[c].capacity_rps[w] > 0]
                    self.add({index[c]: 1.0 for c in able}, lower=1.0)

    def solve(
        self,
        cost: Mapping[int, float],
        most: Sequence[float],
        gap: float,
        time_limit_s: float,
        node_limit: int | None = None,
    ) -> Any:
        """Minimise with SciPy.

        Args:
            cost: Of each column; 0 if absent.
            most: Upper bounds of the whole numbers.
            gap: Relative gap at which to stop.
            time_limit_s: When to stop at the latest.
            node_limit: How many nodes of the search tree to look at; no limit if None.

        Returns:
            SciPy's result. Its `x` is None if no solution was found; `status` is 0 at the gap, 2 if there is none.
        """
        import numpy as np
        from scipy.optimize import Bounds, milp

        c = np.zeros(self._n_columns)
        for column, value in cost.items():
            c[column] = value
        upper = np.full(self._n_columns, np.inf)
        upper[: self._n_counts] = most
        integrality = np.zeros(self._n_columns, dtype=np.int64)
        integrality[: self._n_counts] = 1
        options: Any = {"mip_rel_gap": gap, "time_limit": time_limit_s}
        if node_limit is not None:
            options["node_limit"] = node_limit
        with no_output():
            return milp(
                c,
                integrality=integrality,
                bounds=Bounds(np.zeros(self._n_columns), upper),
                constraints=self._constraint(),
                options=options,
            )

    def _constraint(self) -> LinearConstraint:
        from scipy.optimize import LinearConstraint
        from scipy.sparse import csr_array

        entries = [(r, column, value) for r, row in enumerate(self._rows) for column, value in sorted(row.items())]
        values = [value for _, _, value in entries]
        places = ([r for r, _, _ in entries], [column for _, column, _ in entries])
        matrix = csr_array((values, places), shape=(len(self._rows), self._n_columns))
        return LinearConstraint(matrix, self._lower, self._upper)
