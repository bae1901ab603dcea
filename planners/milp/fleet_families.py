"""Which fleets can be rented, as rows of the MILP: a function for each family of constraints."""

from __future__ import annotations

import math

import pulp

from planners.milp.formulated import Formulation, add, price, taken
from planners.milp.labels import labels_of


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
