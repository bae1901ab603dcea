"""Which fleets can be rented, as rows of the MILP: a function for each family of constraints."""

from __future__ import annotations

import math

import pulp

from planners.milp.formulated import Formulation, add, price, taken
from planners.milp.labels import labels_of
from planners.problem.candidate import Demand
from planners.problem.losses import losses, must_serve


def keep_within_budget(f: Formulation) -> None:
    r"""The fleet costs no more than the budget, with what it stops of the previous one.

    .. math:: \sum_c o_c \left(y_c + e \, (q_c - k_c)\right) \le B
    """
    budget = f.problem.budget_usd_per_h
    if budget < math.inf:
        unit = budget if budget > 0 else 1.0
        add(f, price(f, unit) <= (budget - f.fixed_usd_per_h) / unit, "budget")


def keep_within_availability(f: Formulation) -> None:
    r"""No more GPUs of a type are rented than there are.

    .. math:: \sum_c d_{n,c} y_c \le a_n \quad \forall n
    """
    rentable = f.problem.rentable
    gpu_labels = labels_of([gpu for gpu, _ in f.problem.available])
    for (gpu, available), label in zip(rentable.items(), gpu_labels, strict=True):
        add(f, taken(f, gpu) <= available, f"available_{label}")


def tell_uses(f: Formulation) -> None:
    r"""A candidate of which replicas are rented is used: b is 1. Y is the most that can be rented.

    .. math:: y_c \le Y_c b_c \quad \forall c
    """
    for c, used in f.uses.items():
        add(f, f.counts[c] <= f.problem.max_count(c) * used, f"use_{f.labels[c]}")


def limit_configurations(f: Formulation) -> None:
    r"""No more than K candidates are used.

    .. math:: \sum_c b_c \le K
    """
    if f.problem.max_configurations is not None:
        add(f, pulp.lpSum(f.uses.values()) <= f.problem.max_configurations, "configurations")


def limit_share_of_gpu_type(f: Formulation) -> None:
    r"""Of all GPUs in the fleet, a share of no more than p is of one type.

    .. math:: \sum_c d_{n,c} y_c \le p \sum_c \sum_{m} d_{m,c} y_c \quad \forall n
    """
    if f.problem.max_gpu_share < 1:
        total = pulp.lpSum(f.problem.candidates[c].n_gpus * count for c, count in f.counts.items())
        gpus = [gpu for gpu, _ in f.problem.available]
        for gpu, label in zip(gpus, labels_of(gpus), strict=True):
            add(f, taken(f, gpu) <= f.problem.max_gpu_share * total, f"share_{label}")


def keep_what_is_rented(f: Formulation) -> None:
    r"""Of the q replicas that run, those k are kept that are rented on; with a whole y, k is whole at the optimum.

    .. math:: k_c \le y_c, \quad k_c \le q_c \quad \forall c
    """
    for c, kept in f.kept.items():
        add(f, kept <= f.counts[c], f"keep_{f.labels[c]}")


def rent_whole_nodes(f: Formulation) -> None:
    r"""Where nodes are rented whole, as many are rented as the fleet's GPUs fill, g of an offer n in each.

    .. math:: \sum_c d_{n,c} y_c \le g_n N_n \quad \forall n: g_n > 1, \quad N_n \in \mathbb{N}

    Its price is on N, g times that of a GPU, and not on y. Groups take powers of two of GPUs, or a whole node
    (`sim.catalog.offers`), so that they always fill nodes without gaps.
    """
    if not f.nodes:
        return
    nodes = f.problem.nodes
    for node, label in zip(nodes, labels_of([node.name for node in nodes]), strict=True):
        add(f, taken(f, node.name) <= node.gpus_per_node * f.nodes[node.name], f"nodes_{label}")


def have_enough_replicas(f: Formulation) -> None:
    r"""Each model m of which something is demanded has at least R replicas.

    .. math:: \sum_{c \in m} y_c \ge R \quad \forall m
    """
    least = f.problem.min_replicas
    if least is not None:
        for label, demand in _asked(f):
            mine = f.problem.candidates_of(demand.model)
            add(f, pulp.lpSum(f.counts[c] for c in mine if c in f.counts) >= least, f"replicas_{label}")


def limit_share_on_spot(f: Formulation) -> None:
    r"""Of the capacity C of a model on the mix of its requests, a share of no more than s is on spot offers S.

    .. math:: \sum_{c \in m \cap S} C_c y_c \le s \sum_{c \in m} C_c y_c \quad \forall m

    Numbers are counted in the capacity of the largest replica.
    """
    if f.problem.max_spot_share == 1:
        return
    spot = {terms.name for terms in f.problem.offers if terms.is_spot}
    for label, demand in _asked(f):
        mine = [c for c in f.problem.candidates_of(demand.model) if c in f.counts]
        rps = {c: demand.mix_rps(f.problem.candidates[c].capacity_rps) for c in mine}
        unit = max(rps.values(), default=0.0) or 1.0
        on_spot = [c for c in mine if spot.intersection(gpu for gpu, _ in f.problem.candidates[c].gpus)]
        capacity = pulp.lpSum(rps[c] / unit * f.counts[c] for c in mine)
        most = f.problem.max_spot_share * capacity
        add(f, pulp.lpSum(rps[c] / unit * f.counts[c] for c in on_spot) <= most, f"spot_{label}")


def survive_losses(f: Formulation) -> None:
    r"""For each loss k, what is left of the fleet, e, carries all rates that must be carried, with shares v of its own.

    .. math::

        \sum_c v_{k,c,w} = 1, \quad \sum_w v_{k,c,w} f_w / h_{c,w} \le e_{k,c}, \quad
        e_{k,c} \le y_c - l_{k,c} b_{k,c}, \quad e_{k,c} \le Y_c b_{k,c}, \quad b_{k,c} \in \{0, 1\}

    A loss takes l replicas of c, or all that there are if these are fewer: then b is 0, and nothing is left. Y is the
    most that can be rented.
    """
    if f.problem.survive is None:
        return
    for k, loss in enumerate(losses(f.problem), start=1):
        left = {c: _left(f, k, c, loss.most[c]) for c in f.counts if loss.most[c] < f.problem.max_count(c)}
        for label, demand in _asked(f):
            mine = [c for c in f.problem.candidates_of(demand.model) if c in left]
            busy: dict[int, list[pulp.LpAffineExpression]] = {c: [] for c in mine}
            for w in must_serve(demand):
                served = []
                for c in mine:
                    rps = f.problem.candidates[c].capacity_rps[w]
                    if rps > 0:
                        type_label = f.type_labels[demand.model][w]
                        share = f.lp.add_variable(f"{f.prefix}v{k}_{f.labels[c]}_{type_label}", 0)
                        served.append(share)
                        busy[c].append(demand.amounts[w] / rps * share)
                add(f, pulp.lpSum(served) == 1, f"survive{k}_{label}_{f.type_labels[demand.model][w]}")
            for c in mine:
                add(f, pulp.lpSum(busy[c]) <= left[c], f"left{k}_{f.labels[c]}")


def _left(f: Formulation, k: int, c: int, lost: float) -> pulp.LpAffineExpression | pulp.LpVariable:
    """What is left of a candidate after a loss."""
    most = f.problem.max_count(c)
    if lost == 0:
        return f.counts[c]
    left = f.lp.add_variable(f"{f.prefix}e{k}_{f.labels[c]}", 0)
    is_some = f.lp.add_variable(f"{f.prefix}b{k}_{f.labels[c]}", 0, 1, pulp.LpInteger)
    add(f, left <= f.counts[c] - lost * is_some, f"lose{k}_{f.labels[c]}")
    add(f, left <= most * is_some, f"some{k}_{f.labels[c]}")
    return left


def _asked(f: Formulation) -> list[tuple[str, Demand]]:
    """The models of which something is demanded, with names fit for an LP file."""
    labels = labels_of([demand.model for demand in f.problem.demands])
    return [(label, demand) for label, demand in zip(labels, f.problem.demands, strict=True) if demand.total > 0]
