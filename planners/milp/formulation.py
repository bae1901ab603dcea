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
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import pulp

from planners.fleets.bounds import pace_bound, value_bound
from planners.milp import fleet_families
from planners.milp.formulated import Formulation, add, price, serving, working
from planners.milp.labels import labels_of
from planners.milp.scaling import NEGLIGIBLE, SMALL_LOAD, is_wide, negligible
from planners.problem.problem import Objective, PlanningProblem


def maximise_pace(f: Formulation) -> None:
    r"""The makespan is least where the pace is largest.

    .. math:: \max z
    """
    if f.problem.objective is not Objective.COST:
        add(f, 1.0 * f.pace, "pace")


def minimise_price(f: Formulation) -> None:
    r"""For the objective `cost` the fleet is as cheap as it can be, with what it stops of the previous one and sheds.

    .. math:: \min \sum_c o_c \left(y_c + e \, (q_c - k_c)\right) + \sum_w p_w f_w u_w

    Of q replicas that run k are kept, and a replica that is stopped is paid for e times as long as the fleet stays. A
    share u of a type is shed, at a penalty p. Where nodes are rented whole, these have the price of their GPUs
    (`rent_whole_nodes`), and o is what is left of it.
    """
    if f.problem.objective is Objective.COST:
        demands = {demand.model: demand for demand in f.problem.demands}
        penalties = [demands[m].shed_usd_per_h(w) / f.unit_usd_per_h * shed for (m, w), shed in f.shed.items()]
        add(f, price(f, f.unit_usd_per_h) + pulp.lpSum(penalties), "price")


def assign_in_full(f: Formulation) -> None:
    r"""Every type of every model that must be served is assigned in full.

    .. math:: \sum_c x'_{c,w} = z \quad \forall w: f_w > 0
    """
    for label, model, w, able in f.demanded():
        if (model, w) not in f.shed:
            add(f, pulp.lpSum(f.served(c, w) for c in able) == f.pace, f"assign_{label}")


def shed_the_rest(f: Formulation) -> None:
    r"""What is not assigned of a type that may be shed is shed.

    .. math:: \sum_c x'_{c,w} + u'_w = z \quad \forall w: f_w > 0,\ p_w < \infty
    """
    for label, model, w, able in f.demanded():
        if (model, w) in f.shed:
            add(f, pulp.lpSum(f.served(c, w) for c in able) + f.shed[model, w] == f.pace, f"shed_{label}")


def keep_within_capacity(f: Formulation) -> None:
    r"""The replicas of a candidate have time for what is assigned to them, the less of it if they must be started.

    .. math:: \sum_w x'_{c,w} f_w / h_{c,w} \le y_c - l_c (y_c - k_c) \quad \forall c

    Those that are started, all but the k that are kept, serve nothing for a share l of the time.
    """
    for c in f.counts:
        n_types = len(f.problem.candidates[c].capacity_rps)
        busy = [f.load(c, w) * f.served(c, w) for w in range(n_types) if (c, w) in f.shares]
        add(f, pulp.lpSum(busy) <= working(f, c), f"capacity_{f.labels[c]}")


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
            add(f, share <= most * serving(f, c), f"rent_{label}")


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
        add(f, pulp.lpSum(serving(f, c) for c in able) >= 1, f"cover_{label}")


FLEET_FAMILIES = (
    "budget",
    "availability",
    "use",
    "configurations",
    "share",
    "keep",
    "nodes",
    "replicas",
    "spot",
    "losses",
)
"""The families that say which fleets can be rented."""

FAMILIES: Mapping[str, Callable[[Formulation], None]] = {
    "pace": maximise_pace,
    "price": minimise_price,
    "assign": assign_in_full,
    "shed": shed_the_rest,
    "capacity": keep_within_capacity,
    "rent": rent_to_serve,
    "budget": fleet_families.keep_within_budget,
    "availability": fleet_families.keep_within_availability,
    "cover": cover_demand,
    "use": fleet_families.tell_uses,
    "configurations": fleet_families.limit_configurations,
    "share": fleet_families.limit_share_of_gpu_type,
    "keep": fleet_families.keep_what_is_rented,
    "nodes": fleet_families.rent_whole_nodes,
    "replicas": fleet_families.have_enough_replicas,
    "spot": fleet_families.limit_share_on_spot,
    "losses": fleet_families.survive_losses,
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
    most_pace = 1.0 if is_cost else min(most_pace, pace_bound(problem, range(len(problem.candidates))))
    if lp is None:
        lp = pulp.LpProblem("hetserve", pulp.LpMinimize if is_cost else pulp.LpMaximize)
    labels = labels_of([candidate.name for candidate in problem.candidates])
    type_labels = {demand.model: labels_of(demand.type_names) for demand in problem.demands}
    slack = NEGLIGIBLE if is_wide(problem, scale) else 0.0
    left_out = negligible(problem, scale) if slack > 0 else set()
    counts, shares = _fleet_variables(problem, lp, labels, type_labels, left_out, prefix)
    most = most_pace / scale if most_pace < math.inf else None
    least_pace = 1.0 - slack if is_cost else 0
    pace = lp.add_variable(f"{prefix}z", least_pace, most)
    uses, nodes = {}, {}
    shed = _shed_variables(problem, lp, type_labels, prefix) if is_cost else {}
    if problem.max_configurations is not None and "use" in families:
        uses = {c: lp.add_variable(f"{prefix}b_{labels[c]}", 0, 1, pulp.LpInteger) for c in counts}
    if "nodes" in families:
        nodes = _node_variables(problem, lp, prefix)
    kept = _kept_variables(problem, lp, counts, labels, prefix)
    formulation = Formulation(
        problem,
        scale,
        _unit_usd_per_h(problem),
        slack,
        lp,
        pace,
        shares,
        counts,
        uses,
        shed,
        nodes,
        kept,
        labels,
        type_labels,
        prefix,
    )
    for family in families:
        FAMILIES[family](formulation)
    return formulation


def _unit_usd_per_h(problem: PlanningProblem) -> float:
    """For `cost`, a price that no fleet is below, beside what is paid in any case."""
    if problem.objective is not Objective.COST:
        return 1.0
    bound = value_bound(problem, range(len(problem.candidates)), may_shed=True)
    least = bound - problem.committed_usd_per_h
    return least if 0 < least < math.inf else 1.0


def _fleet_variables(
    problem: PlanningProblem,
    lp: pulp.LpProblem,
    labels: Sequence[str],
    type_labels: Mapping[str, Sequence[str]],
    left_out: Collection[tuple[int, int]],
    prefix: str,
) -> tuple[dict[int, pulp.LpVariable], dict[tuple[int, int], pulp.LpVariable]]:
    """How many replicas are rented of each candidate, and what they serve of each type."""
    counts, shares = {}, {}
    for c, candidate in enumerate(problem.candidates):
        max_count = problem.max_count(c)
        if max_count == 0:
            continue
        counts[c] = lp.add_variable(f"{prefix}y_{labels[c]}", 0, max_count, pulp.LpInteger)
        demand = problem.demand(candidate.model)
        for w, (label, amount) in enumerate(zip(type_labels[candidate.model], demand.amounts, strict=True)):
            if amount > 0 and candidate.capacity_rps[w] > 0 and (c, w) not in left_out:
                shares[c, w] = lp.add_variable(f"{prefix}x_{labels[c]}_{label}", 0)
    return counts, shares


def _node_variables(problem: PlanningProblem, lp: pulp.LpProblem, prefix: str) -> dict[str, pulp.LpVariable]:
    """How many nodes are rented of each offer of whole nodes."""
    labels = labels_of([node.name for node in problem.nodes])
    rentable = problem.rentable
    return {
        node.name: lp.add_variable(f"{prefix}N_{label}", 0, rentable[node.name] // node.gpus_per_node, pulp.LpInteger)
        for node, label in zip(problem.nodes, labels, strict=True)
    }


def _kept_variables(
    problem: PlanningProblem, lp: pulp.LpProblem, counts: Iterable[int], labels: Sequence[str], prefix: str
) -> dict[int, pulp.LpVariable]:
    """How many replicas of what runs already are kept."""
    if problem.previous is None:
        return {}
    running = problem.previous.counts_of(problem.candidates)
    return {c: lp.add_variable(f"{prefix}kept_{labels[c]}", 0, running[c]) for c in counts if running[c] > 0}


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
