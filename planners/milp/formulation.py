r"""The planning problem of arXiv:2502.00722, eqs. 1-7, as one linear MILP.

Sets: candidates c (of the model of each), workload types w of each model, GPU types n. Data: amounts f, capacities
h, prices o, GPUs taken d, GPUs available a, budget B. The paper minimises the makespan T over shares x and counts y:

.. math::

    \min T \quad \sum_c x_{c,w} = 1, \quad \sum_w x_{c,w} f_w / h_{c,w} \le T y_c, \quad
    \sum_c o_c y_c \le B, \quad \sum_c d_{n,c} y_c \le a_n, \quad y_c \in \mathbb{N}

T y is a product of variables. Dividing by T, that is with the pace z = 1 / T and x' = z x, everything is linear. For
the objective `cost` z is 1, that is all rates are carried, and the price is minimised.

Numbers are scaled by a pace Z near the best: the variables hold z / Z and x' / Z, which are about 1, and the load
L = Z f / h is the number of replicas of c that type w keeps busy at the pace Z. For `cost` Z is 1, and the price is
counted in a price U that no fleet is below. The budget is 1.

Capacities may span many orders of magnitude, and solvers take numbers below 1e-9 for 0. Where L is small, a count that
is 0 to the solver would serve much of a type, so that the paper's x <= y is stated; elsewhere the capacity row says
more. Where L is large, the variable holds the number of busy replicas L x' / Z instead, and all replicas of c that can
be rented, Y, serve at most a share Y / L: the pairs of least share are left out while these sum to 1e-8 of Z for a type
at most. A fleet loses no more than that of its pace, for which `loss` and `value` allow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pulp

from planners.fleets.bounds import pace_bound, value_bound
from planners.milp.labels import labels_of
from planners.milp.scaling import LARGE_LOAD, NEGLIGIBLE, SMALL_LOAD, is_wide, negligible
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
    kept: dict[int, pulp.LpVariable]
    labels: tuple[str, ...]
    type_labels: dict[str, tuple[str, ...]]
    prefix: str = ""

    @property
    def fixed_usd_per_h(self) -> float:
        """What it would cost to stop all replicas that run already; the price takes off what is kept."""
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


def maximise_pace(f: Formulation) -> None:
    r"""The makespan is least where the pace is largest.

    .. math:: \max z
    """
    if f.problem.objective is not Objective.COST:
        _add(f, 1.0 * f.pace, "pace")


def minimise_price(f: Formulation) -> None:
    r"""For the objective `cost` the fleet is as cheap as it can be, with what it stops of the previous one and sheds.

    .. math:: \min \sum_c o_c \left(y_c + e \, (q_c - k_c)\right) + \sum_w p_w f_w u_w

    Of q replicas that run k are kept, and a replica that is stopped is paid for e times as long as the fleet stays. A
    share u of a type is shed, at a penalty p.
    """
    if f.problem.objective is Objective.COST:
        demands = {demand.model: demand for demand in f.problem.demands}
        penalties = [demands[m].shed_usd_per_h(w) / f.unit_usd_per_h * shed for (m, w), shed in f.shed.items()]
        _add(f, _price(f, f.unit_usd_per_h) + pulp.lpSum(penalties), "price")


def assign_in_full(f: Formulation) -> None:
    r"""Every type of every model that must be served is assigned in full.

    .. math:: \sum_c x'_{c,w} = z \quad \forall w: f_w > 0
    """
    for label, model, w, able in f.demanded():
        if (model, w) not in f.shed:
            _add(f, pulp.lpSum(f.served(c, w) for c in able) == f.pace, f"assign_{label}")


def shed_the_rest(f: Formulation) -> None:
    r"""What is not assigned of a type that may be shed is shed.

    .. math:: \sum_c x'_{c,w} + u'_w = z \quad \forall w: f_w > 0,\ p_w < \infty
    """
    for label, model, w, able in f.demanded():
        if (model, w) in f.shed:
            _add(f, pulp.lpSum(f.served(c, w) for c in able) + f.shed[model, w] == f.pace, f"shed_{label}")


def keep_within_capacity(f: Formulation) -> None:
    r"""The replicas of a candidate have time for what is assigned to them, the less of it if they must be started.

    .. math:: \sum_w x'_{c,w} f_w / h_{c,w} \le y_c - l_c (y_c - k_c) \quad \forall c

    Those that are started, all but the k that are kept, serve nothing for a share l of the time.
    """
    for c in f.counts:
        n_types = len(f.problem.candidates[c].capacity_rps)
        busy = [f.load(c, w) * f.served(c, w) for w in range(n_types) if (c, w) in f.shares]
        _add(f, pulp.lpSum(busy) <= _working(f, c), f"capacity_{f.labels[c]}")


def rent_to_serve(f: Formulation) -> None:
    r"""Who serves something of a type is rented. Z' is the largest pace that there can be.

    .. math:: x'_{c,w} \le Z' y_c \quad \forall c, w: Z f_w / h_{c,w} < 10^{-3}

    Where replicas that are started do not serve before the fleet is changed again, k stands for y. It follows from the
    capacity row if counts are whole to the last digit.
    """
    most = f.pace.upBound
    for (c, w), share in f.shares.items():
        if f.load(c, w) < SMALL_LOAD and most is not None:
            label = f"{f.labels[c]}_{f.type_labels[f.problem.candidates[c].model][w]}"
            _add(f, share <= most * _serving(f, c), f"rent_{label}")


def keep_within_budget(f: Formulation) -> None:
    r"""The fleet costs no more than the budget, with what it stops of the previous one.

    .. math:: \sum_c o_c \left(y_c + e \, (q_c - k_c)\right) \le B
    """
    budget = f.problem.budget_usd_per_h
    if budget < math.inf:
        unit = budget if budget > 0 else 1.0
        _add(f, _price(f, unit) <= (budget - f.fixed_usd_per_h) / unit, "budget")


def keep_within_availability(f: Formulation) -> None:
    r"""No more GPUs of a type are rented than there are.

    .. math:: \sum_c d_{n,c} y_c \le a_n \quad \forall n
    """
    gpu_labels = labels_of([gpu for gpu, _ in f.problem.available])
    for (gpu, available), label in zip(f.problem.available, gpu_labels, strict=True):
        _add(f, _taken(f, gpu) <= available, f"available_{label}")


def cover_demand(f: Formulation) -> None:
    r"""Somebody can serve each type that must be served.

    .. math:: \sum_{c:\, h_{c,w} > 0} y_c \ge 1 \quad \forall w: f_w > 0

    Where replicas that are started do not serve before the fleet is changed again, l = 1, k stands for y. It follows
    from the other rows wherever z > 0. It tightens the relaxation, and makes the MILP infeasible where z = 0 would be
    the optimum.
    """
    for label, model, w, able in f.demanded():
        if (model, w) in f.shed:
            continue
        _add(f, pulp.lpSum(_serving(f, c) for c in able) >= 1, f"cover_{label}")


def tell_uses(f: Formulation) -> None:
    r"""A candidate of which replicas are rented is used: b is 1. Y is the most that can be rented.

    .. math:: y_c \le Y_c b_c \quad \forall c
    """
    for c, used in f.uses.items():
        _add(f, f.counts[c] <= f.problem.max_count(c) * used, f"use_{f.labels[c]}")


def limit_configurations(f: Formulation) -> None:
    r"""No more than K candidates are used.

    .. math:: \sum_c b_c \le K
    """
    if f.problem.max_configurations is not None:
        _add(f, pulp.lpSum(f.uses.values()) <= f.problem.max_configurations, "configurations")


def limit_share_of_gpu_type(f: Formulation) -> None:
    r"""Of all GPUs in the fleet, a share of no more than p is of one type.

    .. math:: \sum_c d_{n,c} y_c \le p \sum_c \sum_{m} d_{m,c} y_c \quad \forall n
    """
    if f.problem.max_gpu_share < 1:
        total = pulp.lpSum(f.problem.candidates[c].n_gpus * count for c, count in f.counts.items())
        gpus = [gpu for gpu, _ in f.problem.available]
        for gpu, label in zip(gpus, labels_of(gpus), strict=True):
            _add(f, _taken(f, gpu) <= f.problem.max_gpu_share * total, f"share_{label}")


def keep_what_is_rented(f: Formulation) -> None:
    r"""Of the q replicas that run, those k are kept that are rented on; with a whole y, k is whole at the optimum.

    .. math:: k_c \le y_c, \quad k_c \le q_c \quad \forall c
    """
    for c, kept in f.kept.items():
        _add(f, kept <= f.counts[c], f"keep_{f.labels[c]}")


FLEET_FAMILIES = ("budget", "availability", "use", "configurations", "share", "keep")
"""The families that say which fleets can be rented."""

FAMILIES: Mapping[str, Callable[[Formulation], None]] = {
    "pace": maximise_pace,
    "price": minimise_price,
    "assign": assign_in_full,
    "shed": shed_the_rest,
    "capacity": keep_within_capacity,
    "rent": rent_to_serve,
    "budget": keep_within_budget,
    "availability": keep_within_availability,
    "cover": cover_demand,
    "use": tell_uses,
    "configurations": limit_configurations,
    "share": limit_share_of_gpu_type,
    "keep": keep_what_is_rented,
}
"""The objectives and the families of constraints; `tests/golden/lp` has a file for each."""


def formulate(
    problem: PlanningProblem,
    scale: float = 1.0,
    families: Iterable[str] = tuple(FAMILIES),
    *,
    most_pace: float = math.inf,
    lp: pulp.LpProblem | None = None,
    prefix: str = "",
) -> Formulation:
    """Formulate a problem.

    Args:
        problem: The problem.
        scale: Z, about the pace that can be reached; 1 for a problem of numbers near 1.
        families: Which keys of `FAMILIES` to take.
        most_pace: A pace that no fleet exceeds, if one is known.
        lp: The MILP to add it to; a new one if None.
        prefix: What the names of variables and rows begin with.
    """
    families = tuple(families)
    is_cost = problem.objective is Objective.COST
    least = value_bound(problem, range(len(problem.candidates)), may_shed=True) if is_cost else 1.0
    unit_usd_per_h = least if 0 < least < math.inf else 1.0
    most_pace = 1.0 if is_cost else min(most_pace, pace_bound(problem, range(len(problem.candidates))))
    if lp is None:
        lp = pulp.LpProblem("hetserve", pulp.LpMinimize if is_cost else pulp.LpMaximize)
    labels = labels_of([candidate.name for candidate in problem.candidates])
    type_labels = {demand.model: labels_of(demand.type_names) for demand in problem.demands}
    counts = {}
    shares = {}
    slack = NEGLIGIBLE if is_wide(problem, scale) else 0.0
    left_out = negligible(problem, scale) if slack > 0 else set()
    for c, candidate in enumerate(problem.candidates):
        max_count = problem.max_count(c)
        if max_count == 0:
            continue
        counts[c] = lp.add_variable(f"{prefix}y_{labels[c]}", 0, max_count, pulp.LpInteger)
        demand = problem.demand(candidate.model)
        for w, (label, amount) in enumerate(zip(type_labels[candidate.model], demand.amounts, strict=True)):
            if amount > 0 and candidate.capacity_rps[w] > 0 and (c, w) not in left_out:
                shares[c, w] = lp.add_variable(f"{prefix}x_{labels[c]}_{label}", 0)
    most = most_pace / scale if most_pace < math.inf else None
    least_pace = 1.0 - slack if is_cost else 0
    pace = lp.add_variable(f"{prefix}z", least_pace, most)
    uses, kept = {}, {}
    shed = _shed_variables(problem, lp, type_labels, prefix) if is_cost else {}
    if problem.max_configurations is not None and "use" in families:
        uses = {c: lp.add_variable(f"{prefix}b_{labels[c]}", 0, 1, pulp.LpInteger) for c in counts}
    if problem.previous is not None:
        running = problem.previous.counts_of(problem.candidates)
        kept = {c: lp.add_variable(f"{prefix}kept_{labels[c]}", 0, running[c]) for c in counts if running[c] > 0}
    formulation = Formulation(
        problem, scale, unit_usd_per_h, slack, lp, pace, shares, counts, uses, shed, kept, labels, type_labels, prefix
    )
    for family in families:
        FAMILIES[family](formulation)
    return formulation


def _shed_variables(
    problem: PlanningProblem, lp: pulp.LpProblem, type_labels: Mapping[str, Sequence[str]], prefix: str
) -> dict[tuple[str, int], pulp.LpVariable]:
    """What is shed of each type that may be."""
    shed = {}
    for demand in problem.demands:
        model_label = f"{labels_of([demand.model])[0]}_" if len(problem.demands) > 1 else ""
        for w, label in enumerate(type_labels[demand.model]):
            if demand.amounts[w] > 0 and demand.can_shed(w):
                shed[demand.model, w] = lp.add_variable(f"{prefix}u_{model_label}{label}", 0)
    return shed


def _price(f: Formulation, unit_usd_per_h: float) -> pulp.LpAffineExpression:
    """What the fleet costs in this unit, without what must be paid in any case."""
    usd_per_h = [candidate.usd_per_h / unit_usd_per_h for candidate in f.problem.candidates]
    paid = [usd_per_h[c] * count for c, count in f.counts.items()]
    if f.problem.previous is not None:
        drain_share = f.problem.previous.drain_share
        paid += [-drain_share * usd_per_h[c] * kept for c, kept in f.kept.items()]
    return pulp.lpSum(paid)


def _working(f: Formulation, c: int) -> pulp.LpAffineExpression:
    """How many replicas of a candidate serve, on average."""
    lost = f.start_share(c)
    working = (1.0 - lost) * f.counts[c]
    return working + lost * f.kept[c] if c in f.kept else working


def _serving(f: Formulation, c: int) -> pulp.LpAffineExpression:
    """Something that is at least 1 if any replica of a candidate serves, and 0 if none does."""
    if f.start_share(c) < 1:
        return 1.0 * f.counts[c]
    return 1.0 * f.kept[c] if c in f.kept else pulp.lpSum([])


def _taken(f: Formulation, gpu: str) -> pulp.LpAffineExpression:
    """GPUs of a type in the fleet."""
    candidates = f.problem.candidates
    return pulp.lpSum(n * count for c, count in f.counts.items() for name, n in candidates[c].gpus if name == gpu)


def _add(f: Formulation, row: pulp.LpAffineExpression | pulp.LpConstraint, name: str) -> None:
    """Add a named constraint, or the objective if the row compares nothing."""
    lp = f.lp
    lp += (row, f.prefix + name)
