r"""Several models: the fleet of each by itself, at prices for what they compete for.

The models share nothing but the budget, the GPUs and the pace z. With the duals of the linear relaxation as prices
(`planners.milp.parts.table`), a fleet of all models that keeps to budget and availability costs no more than 1. So
no pace is reached at which the cheapest fleets of the models, each found by a MILP of its own, cost more than 1
together: a Lagrangian bound (Geoffrion, Mathematical Programming Study 2, 1974), that is far closer than that of the
joint relaxation. The fleets found on the way are put together by a small MILP that chooses one for each model:

.. math::

    \max z \quad \sum_k s_{m,k} = 1, \quad z \le \sum_k z_{m,k} s_{m,k}, \quad
    \sum_{m,k} o_{m,k} s_{m,k} \le B, \quad \sum_{m,k} d_{n,m,k} s_{m,k} \le a_n

Where GPUs are scarce, pairs of models are then planned again with what the others leave them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from planners.milp.parts.arrays import ArrayMilp
from planners.milp.parts.part import Part, add_stock
from planners.milp.parts.table import relax, tabulate
from planners.problem.problem import Feature, Objective

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planners.milp.parts.arrays import Floats, Ints
    from planners.milp.parts.part import PartFleet
    from planners.milp.parts.table import Table
    from planners.milp.work import Work
    from planners.problem.problem import PlanningProblem

LARGE = 200
"""Problems of several models with more candidates are decomposed."""

_LOADS = 1e-5, 1e5  # beyond, the solver's tolerance would matter: see `planners.milp.formulation`
_ROUNDS = 10
_COARSE = 0.02  # the gap of the first look, which says where to look closer
_PAIR_CORE = 40
_PAIR_NODES = 300


class Together(NamedTuple):
    """The best fleet that was put together, if any, and a lower bound of the makespan T of all."""

    counts: tuple[int, ...] | None
    bound: float


def can_decompose(problem: PlanningProblem) -> bool:
    """Whether a problem is large, and its models compete for nothing but money and GPUs."""
    beside = {Feature.LIMITS, Feature.SWITCHING, Feature.SHEDDING, Feature.NODES}
    asked = [demand for demand in problem.demands if demand.total > 0]
    return (
        len(asked) > 1
        and len(problem.candidates) > LARGE
        and problem.objective is not Objective.COST
        and problem.budget_usd_per_h < math.inf
        and not problem.needs & beside
    )


def solve_in_parts(problem: PlanningProblem, start: Sequence[int], gap: float, work: Work) -> Together:
    """Plan for each model by itself, until bound and fleet agree to the gap or nothing more comes of it.

    Args:
        problem: One that `can_decompose`.
        start: A fleet that can serve everything.
        gap: Relative gap at which to stop.
        work: What the solver may do; what it does is taken from it.
    """
    table = tabulate(problem)
    is_near = _LOADS[0] <= table.load.min() and table.load.max() <= _LOADS[1]
    relaxed = relax(table, work) if is_near else None
    if relaxed is None:
        return Together(None, 0.0)
    search = _Search(table, relaxed.price, start, gap, work)
    high = search.close(relaxed.pace)
    return Together(search.counts(), 1.0 / (high * table.pace))


class _Search:
    """The parts, and the best choice of their fleets."""

    def __init__(self, table: Table, price: Floats, start: Sequence[int], gap: float, work: Work) -> None:
        self._table = table
        self._gap = gap
        self._work = work
        models = [demand.model for demand in table.problem.demands if demand.total > 0]
        self.parts = [Part(table, np.array(table.problem.candidates_of(model)), price) for model in models]
        for part in self.parts:
            part.add({int(c): start[c] for c in part.candidates})
        self.chosen: list[PartFleet] = [part.fleets[0] for part in self.parts]

    @property
    def low(self) -> float:
        """The pace of the best choice."""
        return min(fleet.pace for fleet in self.chosen)

    def counts(self) -> tuple[int, ...]:
        """The best choice, as replicas of each candidate."""
        counts = [0] * len(self._table.problem.candidates)
        for fleet in self.chosen:
            for c, n in fleet.counts:
                counts[c] = n
        return tuple(counts)

    def close(self, high: float) -> float:
        """Bring the best choice and the bound together, as far as they go.

        Args:
            high: A pace that no fleet exceeds.

        Returns:
            The least such pace that was found.
        """
        gap = self._gap
        if self.low < high * (1 - gap):
            pace = high * (1 - _COARSE)
            self._look(pace, max(gap, _COARSE) / 3)
            guess = pace / self._known_price(pace) * (1 - gap / 2)
            high = self._bound(high, max(self.low, min(high, guess)))
            self._improve(high)
        return high

    def _look(self, pace: float, gap: float) -> None:
        """Look for the cheapest fleets that reach a pace, and choose among all that are known."""
        for part in self.parts:
            part.look(pace, gap, self._work)
        self.choose()

    def _bound(self, high: float, pace: float) -> float:
        """Search the largest pace at which the parts are affordable, beginning at one; the least that is not."""
        gap = self._gap
        # A third of the gap is for the parts, the rest for the pace.
        each = gap / 3
        affordable = 0.0
        for _ in range(_ROUNDS):
            self._look(pace, each)
            known, is_beyond = self._known_price(pace), self._least_price(pace) > 1
            if is_beyond:
                high = min(high, pace)
            if known <= 1:
                affordable = max(affordable, pace)
            low = max(affordable, self.low)
            if high * (1 - gap) <= low or self._work.is_done:
                break
            proof = low * (1 + 0.95 * gap)
            # The price of a pace is about in proportion to it.
            guess = pace / known * (1 - gap / 3)
            if known <= 1:
                pace = max(proof, guess)
            elif is_beyond or pace > proof:
                pace = max(proof, min(guess, pace * (1 - gap / 3)))
            else:
                each /= 3
            pace = min(pace, high)
        return high

    def _least_price(self, pace: float) -> float:
        return math.fsum(part.least_price(pace) for part in self.parts)

    def _known_price(self, pace: float) -> float:
        return math.fsum(part.known_price(pace) for part in self.parts)

    def choose(self) -> None:
        """Choose one fleet for each model, so that the slowest is as fast as can be."""
        table = self._table
        milp = ArrayMilp()
        z = milp.add_columns(1, cost=[-1.0])
        budget = milp.add_rows(1, upper=[1.0])
        stock = milp.add_rows(len(table.available), upper=table.available)
        columns = []
        for part in self.parts:
            n = len(part.fleets)
            chosen = milp.add_columns(n, upper=np.ones(n), is_whole=True)
            milp.add_entries(np.repeat(milp.add_rows(1, lower=[1.0], upper=[1.0]), n), chosen, np.ones(n))
            reach = milp.add_rows(1, upper=[0.0])
            milp.add_entries(reach, z, [1.0])
            milp.add_entries(np.repeat(reach, n), chosen, [-fleet.pace for fleet in part.fleets])
            for column, fleet in zip(chosen, part.fleets, strict=True):
                price, taken = self._needs(fleet)
                milp.add_entries(budget, np.array([column]), [price])
                milp.add_entries(stock, np.repeat(column, len(stock)), taken)
            columns.append(chosen)
        ran = milp.run(1e-6, self._work, cutoff=-self.low)
        if ran.x is not None:
            chosen_fleets = [
                part.fleets[int(np.argmax(ran.x[chosen]))] for part, chosen in zip(self.parts, columns, strict=True)
            ]
            if min(fleet.pace for fleet in chosen_fleets) > self.low:
                self.chosen = chosen_fleets

    def _needs(self, fleet: PartFleet) -> tuple[float, Floats]:
        """The share of the budget and the GPUs that a fleet takes."""
        counts = np.array([n for _, n in fleet.counts], float)
        columns = [c for c, _ in fleet.counts]
        return float(self._table.price[columns] @ counts), self._table.taken[:, columns] @ counts

    def _improve(self, high: float) -> None:
        """Plan the slowest model again together with another one, while that helps."""
        is_better = True
        while is_better and not self._work.is_done and self.low < high * (1 - self._gap):
            slowest = min(range(len(self.parts)), key=lambda i: self.chosen[i].pace)
            others = sorted(set(range(len(self.parts))) - {slowest}, key=lambda i: -self.chosen[i].pace)
            is_better = any(self._replan((slowest, other), high) for other in others)

    def _replan(self, positions: tuple[int, ...], high: float) -> bool:
        """Plan some models with what the others leave them; whether the slowest of them got faster."""
        table, before = self._table, min(self.chosen[i].pace for i in positions)
        kept = [self._needs(fleet) for i, fleet in enumerate(self.chosen) if i not in positions]
        money = 1.0 - math.fsum(price for price, _ in kept)
        available = table.available - sum(taken for _, taken in kept)
        milp = ArrayMilp()
        z = milp.add_columns(1, cost=[-1.0], upper=[high])
        allowed = np.concatenate([self._near(i) for i in positions])
        counts = milp.add_columns(len(allowed), upper=table.most[allowed], is_whole=True)
        column_of = np.full(len(table.most), -1)
        column_of[allowed] = counts
        pairs = np.nonzero(column_of[table.candidate] >= 0)[0]
        x = milp.add_columns(len(pairs))
        kinds, row_of_pair = np.unique(table.kind[pairs], return_inverse=True)
        served = milp.add_rows(len(kinds), lower=np.zeros(len(kinds)), upper=np.zeros(len(kinds)))
        milp.add_entries(served[row_of_pair], x, np.ones(len(x)))
        milp.add_entries(served, np.repeat(z, len(kinds)), np.full(len(kinds), -1.0))
        busy = milp.add_rows(len(allowed), upper=np.zeros(len(allowed)))
        milp.add_entries(busy[column_of[table.candidate[pairs]] - 1], x, table.load[pairs])
        milp.add_entries(busy, counts, np.full(len(allowed), -1.0))
        budget = milp.add_rows(1, upper=[money])
        milp.add_entries(np.repeat(budget, len(allowed)), counts, table.price[allowed])
        add_stock(milp, table, allowed, counts, available)
        ran = milp.run(self._gap, self._work, node_limit=_PAIR_NODES, cutoff=-before * (1 + self._gap))
        if ran.x is None:
            return False
        found = []
        for i in positions:
            mine = np.isin(allowed, self.parts[i].candidates)
            self.parts[i].add({int(c): round(n) for c, n in zip(allowed[mine], ran.x[counts[mine]], strict=True)})
            found.append(self.parts[i].fleets[-1])
        if min(fleet.pace for fleet in found) <= before:
            return False
        for i, fleet in zip(positions, found, strict=True):
            self.chosen[i] = fleet
        return True

    def _near(self, i: int) -> Ints:
        """The candidates of a model that cost least beyond their best use, and those that are rented."""
        part = self.parts[i]
        order = part.candidates[np.argsort(part.excess[part.candidates], kind="stable")]
        rented = np.array([c for c, _ in self.chosen[i].counts], dtype=order.dtype)
        return np.union1d(order[:_PAIR_CORE], rented)
