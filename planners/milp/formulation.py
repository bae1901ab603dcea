r"""The planning problem of arXiv:2502.00722, eqs. 1-7, as one linear MILP.

Sets: candidates c (of the model of each), workload types w of each model, GPU types n. Data: amounts f, capacities
h, prices o, GPUs taken d, GPUs available a, budget B. The paper minimises the makespan T over shares x and counts y:

.. math::

    \min T \quad \sum_c x_{c,w} = 1, \quad \sum_w x_{c,w} f_w / h_{c,w} \le T y_c, \quad
    \sum_c o_c y_c \le B, \quad \sum_c d_{n,c} y_c \le a_n, \quad y_c \in \mathbb{N}

T y is a product of variables. Dividing by T, that is with the pace z = 1 / T and x' = z x, everything is linear. For
the objective `cost` z is 1, that is all rates are carried, and the price is minimised.

Numbers are scaled by the pace Z of a fleet that is known: the variables hold z / Z and x' / Z, which are about 1, and
Z f / h is the number of replicas of c that type w keeps busy at the pace Z. For `cost` Z is 1.

The paper's x <= y is left out: a share without a replica already breaks the capacity row.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pulp

from planners.base import Objective, PlanningProblem
from planners.bounds import pace_bound

_LABEL_LENGTH = 40  # two of them and a prefix stay below the 100 characters that PuLP allows


@dataclass(frozen=True, slots=True)
class Formulation:
    """A MILP and its variables, which hold z / Z, x' / Z and y.

    Attributes:
        problem: What it formulates.
        scale: Z, the pace of a known fleet in 1/s (a multiple of the offered rates if amounts are per second).
        lp: The MILP.
        pace: z / Z.
        shares: x' / Z by candidate and type; absent where nothing is demanded or the candidate has no capacity.
        counts: y by candidate; absent where no replica can be rented.
        labels: Names of the candidates, fit for an LP file.
        type_labels: Names of the workload types by model, fit for an LP file.
        prefix: What the names of variables and rows begin with.
    """

    problem: PlanningProblem
    scale: float
    lp: pulp.LpProblem
    pace: pulp.LpVariable
    shares: dict[tuple[int, int], pulp.LpVariable]
    counts: dict[int, pulp.LpVariable]
    labels: tuple[str, ...]
    type_labels: dict[str, tuple[str, ...]]
    prefix: str = ""

    def load(self, c: int, w: int) -> float:
        """Z f / h: how many replicas of candidate c the whole of type w keeps busy at the pace Z."""
        candidate = self.problem.candidates[c]
        return self.scale * self.problem.demand(candidate.model).amounts[w] / candidate.capacity_rps[w]

    def loss(self, value: float) -> float:
        """What HiGHS minimises, for a value (see `planners.assignment`): -z / Z, or for `cost` the price."""
        if self.problem.objective is Objective.COST:
            return value
        return -1.0 / (value * self.scale) if value > 0 else -math.inf

    def value(self, loss: float) -> float:
        """The value for what HiGHS minimises; never less than 0."""
        if self.problem.objective is Objective.COST:
            return max(0.0, loss)
        return -1.0 / (loss * self.scale) if loss < 0 else math.inf

    def demanded(self) -> Iterable[tuple[str, int, list[int]]]:
        """Each type with a demand: a name fit for an LP file, its number, and the candidates that can serve it."""
        model_labels = _labels([demand.model for demand in self.problem.demands])
        for demand, model_label in zip(self.problem.demands, model_labels, strict=True):
            mine = self.problem.candidates_of(demand.model)
            prefix = f"{model_label}_" if len(model_labels) > 1 else ""
            for w, (label, amount) in enumerate(zip(self.type_labels[demand.model], demand.amounts, strict=True)):
                if amount > 0:
                    yield prefix + label, w, [c for c in mine if (c, w) in self.shares]


def maximise_pace(f: Formulation) -> None:
    r"""The makespan is least where the pace is largest.

    .. math:: \max z
    """
    if f.problem.objective is not Objective.COST:
        _add(f, 1.0 * f.pace, "pace")


def minimise_price(f: Formulation) -> None:
    r"""For the objective `cost` the fleet is as cheap as it can be.

    .. math:: \min \sum_c o_c y_c
    """
    if f.problem.objective is Objective.COST:
        _add(f, _price(f), "price")


def assign_in_full(f: Formulation) -> None:
    r"""Every type of every model is assigned in full.

    .. math:: \sum_c x'_{c,w} = z \quad \forall w: f_w > 0
    """
    for label, w, able in f.demanded():
        _add(f, pulp.lpSum(f.shares[c, w] for c in able) == f.pace, f"assign_{label}")


def keep_within_capacity(f: Formulation) -> None:
    r"""The replicas of a candidate have time for what is assigned to them.

    .. math:: \sum_w x'_{c,w} f_w / h_{c,w} \le y_c \quad \forall c
    """
    for c, count in f.counts.items():
        n_types = len(f.problem.candidates[c].capacity_rps)
        busy = [f.load(c, w) * f.shares[c, w] for w in range(n_types) if (c, w) in f.shares]
        _add(f, pulp.lpSum(busy) <= count, f"capacity_{f.labels[c]}")


def keep_within_budget(f: Formulation) -> None:
    r"""The fleet costs no more than the budget.

    .. math:: \sum_c o_c y_c \le B
    """
    if f.problem.budget_usd_per_h < math.inf:
        _add(f, _price(f) <= f.problem.budget_usd_per_h, "budget")


def keep_within_availability(f: Formulation) -> None:
    r"""No more GPUs of a type are rented than there are.

    .. math:: \sum_c d_{n,c} y_c \le a_n \quad \forall n
    """
    gpu_labels = _labels([gpu for gpu, _ in f.problem.available])
    for (gpu, available), label in zip(f.problem.available, gpu_labels, strict=True):
        taken = [n * count for c, count in f.counts.items() for name, n in f.problem.candidates[c].gpus if name == gpu]
        _add(f, pulp.lpSum(taken) <= available, f"available_{label}")


def cover_demand(f: Formulation) -> None:
    r"""Somebody can serve each type.

    .. math:: \sum_{c:\, h_{c,w} > 0} y_c \ge 1 \quad \forall w: f_w > 0

    It follows from the other rows wherever z > 0. It tightens the relaxation, and makes the MILP infeasible where
    z = 0 would be the optimum.
    """
    for label, _, able in f.demanded():
        _add(f, pulp.lpSum(f.counts[c] for c in able) >= 1, f"cover_{label}")


FAMILIES: Mapping[str, Callable[[Formulation], None]] = {
    "pace": maximise_pace,
    "price": minimise_price,
    "assign": assign_in_full,
    "capacity": keep_within_capacity,
    "budget": keep_within_budget,
    "availability": keep_within_availability,
    "cover": cover_demand,
}
"""The objectives and the families of constraints; `tests/golden/lp` has a file for each."""


def formulate(
    problem: PlanningProblem,
    scale: float = 1.0,
    families: Iterable[str] = tuple(FAMILIES),
    *,
    lp: pulp.LpProblem | None = None,
    prefix: str = "",
) -> Formulation:
    """Formulate a problem.

    Args:
        problem: The problem.
        scale: Z, about the pace that can be reached; 1 for a problem of numbers near 1.
        families: Which keys of `FAMILIES` to take.
        lp: The MILP to add it to; a new one if None.
        prefix: What the names of variables and rows begin with.
    """
    is_cost = problem.objective is Objective.COST
    most_pace = 1.0 if is_cost else pace_bound(problem, range(len(problem.candidates)))
    if lp is None:
        lp = pulp.LpProblem("hetserve", pulp.LpMinimize if is_cost else pulp.LpMaximize)
    labels = _labels([candidate.name for candidate in problem.candidates])
    type_labels = {demand.model: _labels(demand.type_names) for demand in problem.demands}
    counts = {}
    shares = {}
    for c, candidate in enumerate(problem.candidates):
        max_count = problem.max_count(c)
        if max_count == 0:
            continue
        counts[c] = lp.add_variable(f"{prefix}y_{labels[c]}", 0, max_count, pulp.LpInteger)
        demand = problem.demand(candidate.model)
        for w, (label, amount) in enumerate(zip(type_labels[candidate.model], demand.amounts, strict=True)):
            if amount > 0 and candidate.capacity_rps[w] > 0:
                shares[c, w] = lp.add_variable(f"{prefix}x_{labels[c]}_{label}", 0)
    most = most_pace / scale if most_pace < math.inf else None
    pace = lp.add_variable(f"{prefix}z", 1.0 / scale if is_cost else 0, most)
    formulation = Formulation(problem, scale, lp, pace, shares, counts, labels, type_labels, prefix)
    for family in families:
        FAMILIES[family](formulation)
    return formulation


def _price(f: Formulation) -> pulp.LpAffineExpression:
    return pulp.lpSum(f.problem.candidates[c].usd_per_h * count for c, count in f.counts.items())


def _add(f: Formulation, row: pulp.LpAffineExpression | pulp.LpConstraint, name: str) -> None:
    """Add a named constraint, or the objective if the row compares nothing."""
    lp = f.lp
    lp += (row, f.prefix + name)


def _labels(names: Sequence[str]) -> tuple[str, ...]:
    """The names as an LP file takes them: short, of letters, digits and underscores, numbered if two are alike."""
    labels = [re.sub(r"\W+", "_", name, flags=re.ASCII)[:_LABEL_LENGTH] for name in names]
    return tuple(
        label if labels.count(label) == 1 else f"{label}_no{number}" for number, label in enumerate(labels, start=1)
    )
