"""The MILP under construction: its variables, what its numbers are counted in, and sums that several rows need."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pulp

from planners.milp.labels import labels_of
from planners.milp.scaling import LARGE_LOAD
from planners.problem.problem import Objective, PlanningProblem


@dataclass(frozen=True, slots=True)
class Formulation:
    """A MILP and its variables, which hold z / Z, x' / Z and y.

    Attributes:
        problem: What it formulates.
        scale: Z, a pace near the best in 1/s (a multiple of the offered rates if amounts are per second).
        unit_usd_per_h: U.
        slack: By how much z / Z is better than the solver can tell: 1e-8 if loads are large or small, otherwise 0.
        lp: The MILP.
        pace: z / Z.
        shares: x' / Z by candidate and type, times `unit`; absent where nothing is demanded, where the candidate has no
            capacity, or where it is negligible.
        counts: y by candidate; absent where no replica can be rented.
        uses: Whether any replica of a candidate is rented; empty unless configurations are limited.
        shed: u' / Z by model and type, what is shed of it; absent where all must be served. For `cost` only.
        nodes: N by offer, of those that are rented in whole nodes.
        kept: How many replicas of a candidate that run already are kept; absent where none runs.
        labels: Names of the candidates, fit for an LP file.
        type_labels: Names of the workload types by model, fit for an LP file.
        prefix: What the names of variables and rows begin with.
    """

    problem: PlanningProblem
    scale: float
    unit_usd_per_h: float
    slack: float
    lp: pulp.LpProblem
    pace: pulp.LpVariable
    shares: dict[tuple[int, int], pulp.LpVariable]
    counts: dict[int, pulp.LpVariable]
    uses: dict[int, pulp.LpVariable]
    shed: dict[tuple[str, int], pulp.LpVariable]
    nodes: dict[str, pulp.LpVariable]
    kept: dict[int, pulp.LpVariable]
    labels: tuple[str, ...]
    type_labels: dict[str, tuple[str, ...]]
    prefix: str = ""

    @property
    def fixed_usd_per_h(self) -> float:
        """What is paid in any case, and to stop all replicas that run already; the price takes off what is kept."""
        return self.problem.spent_usd_per_h((0,) * len(self.problem.candidates))

    def start_share(self, c: int) -> float:
        """The share of the time in which a replica of candidate c that must be started serves nothing."""
        previous = self.problem.previous
        return 0.0 if previous is None else previous.start_share(self.problem.candidates[c])

    def load(self, c: int, w: int) -> float:
        """Z f / h: how many replicas of candidate c the whole of type w keeps busy at the pace Z."""
        candidate = self.problem.candidates[c]
        return self.scale * self.problem.demand(candidate.model).amounts[w] / candidate.capacity_rps[w]

    def unit(self, c: int, w: int) -> float:
        """What the variable of a share holds where it is all of the type at the pace Z: 1, or a large load."""
        load = self.load(c, w)
        return load if load > LARGE_LOAD else 1.0

    def served(self, c: int, w: int) -> pulp.LpAffineExpression:
        """The share x' / Z."""
        return (1.0 / self.unit(c, w)) * self.shares[c, w]

    def loss(self, value: float) -> float:
        """What HiGHS minimises, for a value (see `planners.fleets.assignment`): -z / Z, or for `cost` the price over U.

        What must be paid in any case is no part of it. From the pace is taken what the pairs that are left out serve.
        """
        if self.problem.objective is Objective.COST:
            return (value - self.fixed_usd_per_h) / self.unit_usd_per_h
        return self.slack - 1.0 / (value * self.scale) if value > 0 else -math.inf

    def value(self, loss: float) -> float:
        """The value for what HiGHS minimises; never less than 0."""
        if self.problem.objective is Objective.COST:
            return max(0.0, loss * self.unit_usd_per_h + self.fixed_usd_per_h)
        return 1.0 / ((self.slack - loss) * self.scale) if loss < self.slack else math.inf

    def demanded(self) -> Iterable[tuple[str, str, int, list[int]]]:
        """Each type with a demand: a name fit for an LP file, its model, its number, and who can serve it."""
        model_labels = labels_of([demand.model for demand in self.problem.demands])
        for demand, model_label in zip(self.problem.demands, model_labels, strict=True):
            mine = self.problem.candidates_of(demand.model)
            prefix = f"{model_label}_" if len(model_labels) > 1 else ""
            for w, (label, amount) in enumerate(zip(self.type_labels[demand.model], demand.amounts, strict=True)):
                if amount > 0:
                    yield prefix + label, demand.model, w, [c for c in mine if (c, w) in self.shares]


def price(f: Formulation, unit_usd_per_h: float) -> pulp.LpAffineExpression:
    """What the fleet costs in this unit, without what must be paid in any case."""
    usd_per_h = [candidate.usd_per_h / unit_usd_per_h for candidate in f.problem.candidates]
    beside_nodes = usd_per_h
    if f.nodes:
        beside_nodes = [f.problem.usd_per_h_beside_nodes(c) / unit_usd_per_h for c in range(len(usd_per_h))]
    paid = [beside_nodes[c] * count for c, count in f.counts.items()]
    if f.nodes:
        nodes = f.problem.nodes
        paid += [node.gpus_per_node * node.usd_per_h / unit_usd_per_h * f.nodes[node.name] for node in nodes]
    if f.problem.previous is not None:
        drain_share = f.problem.previous.drain_share
        paid += [-drain_share * usd_per_h[c] * kept for c, kept in f.kept.items()]
    return pulp.lpSum(paid)


def working(f: Formulation, c: int) -> pulp.LpAffineExpression:
    """How many replicas of a candidate serve, on average."""
    lost = f.start_share(c)
    working = (1.0 - lost) * f.counts[c]
    return working + lost * f.kept[c] if c in f.kept else working


def serving(f: Formulation, c: int) -> pulp.LpAffineExpression:
    """Something that is at least 1 if any replica of a candidate serves, and 0 if none does."""
    if f.start_share(c) < 1:
        return 1.0 * f.counts[c]
    return 1.0 * f.kept[c] if c in f.kept else pulp.lpSum([])


def taken(f: Formulation, gpu: str) -> pulp.LpAffineExpression:
    """GPUs of a type in the fleet."""
    candidates = f.problem.candidates
    return pulp.lpSum(n * count for c, count in f.counts.items() for name, n in candidates[c].gpus if name == gpu)


def add(f: Formulation, row: pulp.LpAffineExpression | pulp.LpConstraint, name: str) -> None:
    """Add a named constraint, or the objective if the row compares nothing."""
    lp = f.lp
    lp += (row, f.prefix + name)
