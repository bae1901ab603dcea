"""A MILP as arrays, handed to HiGHS at once: with many thousands of columns, row by row takes longer than solving."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import highspy
import numpy as np

from planners.quiet import no_output

if TYPE_CHECKING:
    import numpy.typing as npt

    from planners.milp.work import Work

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

_TOLERANCE = 1e-9
_HAS_BOUND = {
    highspy.HighsModelStatus.kOptimal,
    highspy.HighsModelStatus.kInterrupt,
    highspy.HighsModelStatus.kSolutionLimit,
    highspy.HighsModelStatus.kTimeLimit,
}


class Ran(NamedTuple):
    """What HiGHS found of a problem that it minimises.

    Attributes:
        x: The solution; None if none was found.
        bound: No solution is less; -inf if nothing is proved.
        is_decided: Whether the search came to its end.
        column_duals: Reduced costs, of a linear program.
        row_duals: Prices of the rows, of a linear program.
    """

    x: Floats | None
    bound: float
    is_decided: bool
    column_duals: Floats
    row_duals: Floats


class ArrayMilp:
    """A MILP under construction; rows and columns are numbered as they are added.

    >>> from planners.milp.work import Work
    >>> milp = ArrayMilp()
    >>> y = milp.add_columns(1, upper=[9.0], cost=[-3.0], is_whole=True)
    >>> x = milp.add_columns(1, cost=[-1.0])
    >>> row = milp.add_rows(1, upper=[5.0])
    >>> milp.add_entries(row, y, [2.0])
    >>> milp.add_entries(row, x, [1.0])
    >>> milp.run(0.0, Work(9.0)).x.tolist()
    [2.0, 1.0]
    """

    def __init__(self) -> None:
        self._cost: list[Floats] = []
        self._column_upper: list[Floats] = []
        self._is_whole: list[bool] = []
        self._row_lower: list[Floats] = []
        self._row_upper: list[Floats] = []
        self._entries: list[tuple[Ints, Ints, Floats]] = []
        self._n_rows = 0

    def add_columns(
        self,
        n: int,
        *,
        upper: Sequence[float] | Floats | None = None,
        cost: Sequence[float] | Floats | None = None,
        is_whole: bool = False,
    ) -> Ints:
        """New variables of 0 or more; their numbers."""
        first = len(self._is_whole)
        self._column_upper.append(np.full(n, math.inf) if upper is None else np.asarray(upper, float))
        self._cost.append(np.zeros(n) if cost is None else np.asarray(cost, float))
        self._is_whole += [is_whole] * n
        return np.arange(first, first + n)

    def add_rows(
        self, n: int, *, lower: Sequence[float] | Floats | None = None, upper: Sequence[float] | Floats | None = None
    ) -> Ints:
        """New constraints, without entries; their numbers."""
        self._row_lower.append(np.full(n, -math.inf) if lower is None else np.asarray(lower, float))
        self._row_upper.append(np.full(n, math.inf) if upper is None else np.asarray(upper, float))
        self._n_rows += n
        return np.arange(self._n_rows - n, self._n_rows)

    def add_entries(self, rows: Ints, columns: Ints, values: Sequence[float] | Floats) -> None:
        """Numbers of the matrix; those at the same place are added."""
        self._entries.append((rows, columns, np.asarray(values, float)))

    def run(
        self,
        gap: float,
        work: Work,
        *,
        node_limit: int | None = None,
        cutoff: float = math.inf,
        seed: int = 0,
    ) -> Ran:
        """Minimise with HiGHS, on one thread.

        Args:
            gap: Relative gap at which to stop.
            work: What it may do; what it does is taken from it.
            node_limit: How many nodes of the search tree to look at.
            cutoff: Only solutions below are looked for.
            seed: For random numbers.
        """
        highs = highspy.Highs()  # type: ignore[no-untyped-call]
        options = {
            "output_flag": False,
            "threads": 1,
            "random_seed": seed % 2**31,
            "mip_rel_gap": gap,
            "objective_bound": cutoff,
            "primal_feasibility_tolerance": _TOLERANCE,
            "mip_feasibility_tolerance": _TOLERANCE,
            "time_limit": work.clock_limit_s,
        }
        if node_limit is not None:
            options["mip_max_nodes"] = node_limit
        with no_output():
            for name, value in options.items():
                highs.setOptionValue(name, value)
            highspy.Highs.resetGlobalScheduler(True)
            highs.passModel(self._model())
            highs.setCallback(*work.meter(highs.getNumNz()))
            highs.startCallback(highspy.cb.HighsCallbackType.kCallbackMipInterrupt)
            highs.run()
        work.ended(highs)
        status, info, solution = highs.getModelStatus(), highs.getInfo(), highs.getSolution()
        is_found = info.primal_solution_status == highspy.kSolutionStatusFeasible
        is_infeasible = status == highspy.HighsModelStatus.kInfeasible
        bound = info.mip_dual_bound if any(self._is_whole) else info.objective_function_value
        if is_infeasible:
            bound = cutoff
        elif status not in _HAS_BOUND:
            bound = -math.inf
        return Ran(
            np.array(solution.col_value) if is_found else None,
            bound,
            is_infeasible or status == highspy.HighsModelStatus.kOptimal,
            np.array(solution.col_dual),
            np.array(solution.row_dual),
        )

    def _model(self) -> highspy.HighsLp:
        from scipy.sparse import coo_matrix

        n_columns = len(self._is_whole)
        rows, columns, values = (np.concatenate(parts) for parts in zip(*self._entries, strict=True))
        matrix = coo_matrix((values, (rows, columns)), shape=(self._n_rows, n_columns)).tocsc()
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = n_columns, self._n_rows
        model.col_cost_ = np.concatenate(self._cost)
        model.col_lower_, model.col_upper_ = np.zeros(n_columns), np.concatenate(self._column_upper)
        model.row_lower_, model.row_upper_ = np.concatenate(self._row_lower), np.concatenate(self._row_upper)
        model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        model.a_matrix_.start_, model.a_matrix_.index_ = matrix.indptr, matrix.indices
        model.a_matrix_.value_ = matrix.data
        if any(self._is_whole):
            kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
            model.integrality_ = [kinds[is_whole] for is_whole in self._is_whole]
        return model
