"""A planning problem of several models as arrays, and its linear relaxation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from planners.fleets.bounds import pace_bound
from planners.milp.parts.arrays import ArrayMilp

if TYPE_CHECKING:
    from planners.milp.parts.arrays import Floats, Ints
    from planners.milp.work import Work
    from planners.problem.problem import PlanningProblem


@dataclass(frozen=True, slots=True)
class Table:
    """A problem for `makespan` or `throughput` as arrays.

    Attributes:
        problem: The problem.
        pace: The pace Z that loads are for, in 1/s (a multiple of the offered rates if amounts are per second).
        candidate: Of each pair of a candidate and a type that it can serve, the candidate.
        kind: Of each pair the type, numbered over all models.
        load: Of each pair, Z f / h.
        price: Of each candidate as a share of the budget.
        taken: GPUs by type and candidate.
        available: GPUs by type.
        most: Replicas of each candidate at most.
    """

    problem: PlanningProblem
    pace: float
    candidate: Ints
    kind: Ints
    load: Floats
    price: Floats
    taken: Floats
    available: Floats
    most: Floats

    @property
    def n_kinds(self) -> int:
        """Types of all models with a demand."""
        return int(self.kind.max()) + 1


def tabulate(problem: PlanningProblem) -> Table:
    """The arrays of a problem that has a plan."""
    every = range(len(problem.candidates))
    pace = pace_bound(problem, every)
    most = [problem.max_count(c) for c in every]
    kinds, pairs = 0, []
    for demand in problem.demands:
        mine = [c for c in problem.candidates_of(demand.model) if most[c] > 0]
        for w, amount in enumerate(demand.amounts):
            if amount > 0:
                rates = [(c, problem.candidates[c].capacity_rps[w]) for c in mine]
                pairs += [(c, kinds, pace * amount / rps) for c, rps in rates if rps > 0]
                kinds += 1
    taken = np.zeros((len(problem.available), len(every)))
    row = {gpu: i for i, (gpu, _) in enumerate(problem.available)}
    for c, one in enumerate(problem.candidates):
        for gpu, n in one.gpus:
            taken[row[gpu], c] = n
    candidate, kind, load = (np.array(column) for column in zip(*pairs, strict=True))
    return Table(
        problem,
        pace,
        candidate,
        kind,
        load,
        np.array([one.usd_per_h for one in problem.candidates]) / (problem.budget_usd_per_h or 1.0),
        taken,
        np.array([float(count) for _, count in problem.available]),
        np.array(most, float),
    )


@dataclass(frozen=True, slots=True)
class Relaxed:
    """The linear relaxation: the largest pace over Z, and what a replica of each candidate takes of it.

    With duals p of the budget and q of the GPUs, no fleet of price o and GPUs d reaches a pace z unless
    p o + sum_n q[n] d[n] <= p + sum_n q[n] a[n]. Prices are given as shares of the right side.
    """

    pace: float
    price: Floats


def relax(table: Table, work: Work) -> Relaxed | None:
    r"""Solve the linear relaxation, in which counts are what is busy of them; None if the solver fails.

    .. math::

        \max z \quad \sum_c x_{c,w} = z, \quad \sum_{c,w} o_c L_{c,w} x_{c,w} \le 1, \quad
        \sum_{c,w} d_{n,c} L_{c,w} x_{c,w} \le a_n
    """
    lp = ArrayMilp()
    x = lp.add_columns(len(table.load))
    z = lp.add_columns(1, cost=[-1.0])
    n_kinds = table.n_kinds
    served = lp.add_rows(n_kinds, lower=np.zeros(n_kinds), upper=np.zeros(n_kinds))
    lp.add_entries(served[table.kind], x, np.ones(len(x)))
    lp.add_entries(served, np.repeat(z, n_kinds), np.full(n_kinds, -1.0))
    budget = lp.add_rows(1, upper=[1.0])
    lp.add_entries(np.repeat(budget, len(x)), x, table.price[table.candidate] * table.load)
    stock = lp.add_rows(len(table.available), upper=table.available)
    gpu, pair = np.nonzero(table.taken[:, table.candidate])
    lp.add_entries(stock[gpu], x[pair], table.taken[gpu, table.candidate[pair]] * table.load[pair])
    ran = lp.run(0.0, work)
    if ran.x is None or not ran.is_decided:
        return None
    duals = np.maximum(0.0, -ran.row_duals[n_kinds:])
    value = duals[0] + duals[1:] @ table.available
    price = (duals[0] * table.price + duals[1:] @ table.taken) / value
    # The bound is that of the duals themselves, whatever the solver's tolerance.
    needed = np.full(n_kinds, np.inf)
    np.minimum.at(needed, table.kind, price[table.candidate] * table.load)
    return Relaxed(1.0 / float(needed.sum()), price)
