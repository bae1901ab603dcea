"""The cheapest fleets of one of several models, at prices that stand for the budget and for scarce GPUs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from planners.fleets.assignment import best_assignment
from planners.milp.parts.arrays import ArrayMilp

if TYPE_CHECKING:
    from planners.milp.parts.arrays import Floats, Ints
    from planners.milp.parts.table import Table
    from planners.milp.work import Work

CORE_SIZE = 30
"""Candidates that are looked at first."""

_NODES = 3000


@dataclass(frozen=True, slots=True)
class PartFleet:
    """A fleet of one model: pairs of a candidate and a count, its price, and its pace over the table's."""

    counts: tuple[tuple[int, int], ...]
    price: float
    pace: float


@dataclass(slots=True)
class Part:
    """One model, at given prices of its candidates.

    Attributes:
        table: The whole problem.
        candidates: The candidates of the model.
        price: Of each candidate of the problem.
        fleets: All that were found.
        proved: Pairs of a pace, and a price below which no fleet reaches it.
    """

    table: Table
    candidates: Ints
    price: Floats
    fleets: list[PartFleet] = field(default_factory=list)
    proved: list[tuple[float, float]] = field(default_factory=list)
    _pairs: Ints = field(init=False)
    _needed: float = field(init=False)
    excess: Floats = field(init=False)

    def __post_init__(self) -> None:
        table = self.table
        self._pairs = np.nonzero(np.isin(table.candidate, self.candidates))[0]
        candidate, kind, load = table.candidate[self._pairs], table.kind[self._pairs], table.load[self._pairs]
        least = np.full(table.n_kinds, np.inf)
        np.minimum.at(least, kind, self.price[candidate] * load)
        self._needed = float(least[np.isfinite(least)].sum())
        # What a replica costs beyond the best use of its time.
        self.excess = np.full(len(self.price), np.inf)
        np.minimum.at(self.excess, candidate, self.price[candidate] - least[kind] / load)

    def least_price(self, pace: float) -> float:
        """No fleet that reaches a pace is cheaper."""
        proved = (price for reached, price in self.proved if reached <= pace)
        return max(self._needed * pace, *proved, 0.0)

    def cheapest(self, pace: float) -> PartFleet | None:
        """The cheapest fleet known that reaches a pace."""
        return min((fleet for fleet in self.fleets if fleet.pace >= pace), key=lambda fleet: fleet.price, default=None)

    def known_price(self, pace: float) -> float:
        """The price of the cheapest fleet known that reaches a pace; infinite without one."""
        fleet = self.cheapest(pace)
        return math.inf if fleet is None else fleet.price

    def look(self, pace: float, gap: float, work: Work) -> None:
        """Look for the cheapest fleet that reaches a pace, first of the core, then of all that could be cheaper."""
        if self.known_price(pace) * (1 - gap) <= self.least_price(pace):
            return
        order = self.candidates[np.argsort(self.excess[self.candidates], kind="stable")]
        core = order[:CORE_SIZE]
        least = self._search(pace, core, (), gap, work)
        room = self.known_price(pace) * (1 - gap) - self._needed * pace
        rest = order[CORE_SIZE:]
        others = rest[self.excess[rest] < room]
        if len(others):
            least = min(least, self._search(pace, np.concatenate([core, others]), others, gap, work))
        left_out = rest[self.excess[rest] >= room]
        if len(left_out):
            least = min(least, self._needed * pace + float(self.excess[left_out].min()))
        self.proved.append((pace, least))

    def _search(self, pace: float, allowed: Ints, one_of: Ints | tuple[()], gap: float, work: Work) -> float:
        r"""Solve the MILP of some candidates; the price that none of their fleets is below.

        .. math::

            \min \sum_c p_c y_c \quad \sum_c x_{c,w} = 1, \quad \sum_w x_{c,w} L_{c,w} z \le y_c, \quad
            \sum_c d_{n,c} y_c \le a_n
        """
        table, unit = self.table, self._needed * pace or 1.0
        milp = ArrayMilp()
        counts = milp.add_columns(
            len(allowed), upper=table.most[allowed], cost=self.price[allowed] / unit, is_whole=True
        )
        column_of = np.full(len(self.price), -1)
        column_of[allowed] = counts
        pairs = self._pairs[column_of[table.candidate[self._pairs]] >= 0]
        x = milp.add_columns(len(pairs))
        kinds, row_of_pair = np.unique(table.kind[pairs], return_inverse=True)
        served = milp.add_rows(len(kinds), lower=np.ones(len(kinds)), upper=np.ones(len(kinds)))
        milp.add_entries(served[row_of_pair], x, np.ones(len(x)))
        busy = milp.add_rows(len(allowed), upper=np.zeros(len(allowed)))
        milp.add_entries(busy[column_of[table.candidate[pairs]]], x, table.load[pairs] * pace)
        milp.add_entries(busy, counts, np.full(len(allowed), -1.0))
        add_stock(milp, table, allowed, counts, table.available)
        if len(one_of):
            row = milp.add_rows(1, lower=[1.0])
            milp.add_entries(np.repeat(row, len(one_of)), column_of[one_of], np.ones(len(one_of)))
        cutoff = self.known_price(pace) * (1 - gap) / unit
        ran = milp.run(gap, work, node_limit=_NODES, cutoff=cutoff)
        if ran.x is not None:
            self.add({int(c): round(n) for c, n in zip(allowed, ran.x[counts], strict=True)})
        return min(ran.bound, cutoff) * unit

    def add(self, counts: dict[int, int]) -> None:
        """Keep a fleet in mind."""
        rented = tuple((c, n) for c, n in sorted(counts.items()) if n > 0)
        problem = self.table.problem
        candidates = tuple(problem.candidates[c] for c, _ in rented)
        model = problem.candidates[self.candidates[0]].model
        alone = replace(problem, demands=(problem.demand(model),), candidates=candidates, cases=())
        pace = 1.0 / (best_assignment(alone, [n for _, n in rented]).makespan * self.table.pace)
        self.fleets.append(PartFleet(rented, float(sum(self.price[c] * n for c, n in rented)), pace))


def add_stock(milp: ArrayMilp, table: Table, allowed: Ints, counts: Ints, available: Floats) -> None:
    """Rows that rent no more GPUs of a type than there are."""
    stock = milp.add_rows(len(available), upper=available)
    gpu, position = np.nonzero(table.taken[:, allowed])
    milp.add_entries(stock[gpu], counts[position], table.taken[gpu, allowed[position]])
