"""A row of `nodes.parquet`: GPUs that were rented together, which replicas took them, and what the idle ones cost."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from math import fsum
from typing import TYPE_CHECKING, Any

import polars as pl

from sim.units import HOUR_S

if TYPE_CHECKING:
    from sim.market import Prices
    from sim.nodes import Node
    from sim.results.replicas import Bill

NODE_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "node_id": pl.Int32,
    "gpu_type": pl.String,
    "n_gpus": pl.Int32,
    "usd_per_h": pl.Float64,
    "rented_s": pl.Float64,
    "notice_s": pl.Float64,
    "released_s": pl.Float64,
    "replicas": pl.List(pl.Struct({"replica_id": pl.Int32, "n": pl.Int32})),
    "usd": pl.Float64,
    "idle_gpu_h": pl.Float64,
    "idle_usd": pl.Float64,
}
"""What a node is, when it was there and what it cost; `docs/reference/records.md` says what the columns mean."""


def node_frame(nodes: Iterable[Node], bills: Mapping[int, Bill], prices: Prices, end_s: float) -> pl.DataFrame | None:
    """One row per node of an offer that was rented before the end of a run; None if nothing was rented of offers.

    Args:
        nodes: All nodes, in the order of renting.
        bills: Those of the replicas, by number.
        prices: What GPUs cost.
        end_s: The end of the run: what comes later is left out.
    """
    in_run = [node for node in nodes if node.rented_s < end_s or node.rented_s == 0]
    rented = [node for node in in_run if node.gpu_type.offer is not None]
    rows = [{"node_id": i} | _row(node, bills, prices, end_s) for i, node in enumerate(rented)]
    return pl.DataFrame(rows, schema=NODE_SCHEMA) if rows else None


def _row(node: Node, bills: Mapping[int, Bill], prices: Prices, end_s: float) -> dict[str, Any]:
    replicas = [(replica_id, n) for replica_id, n in node.replicas if replica_id in bills]
    released_s = node.released_s if node.released_s is not None and node.released_s <= end_s else None
    gone_s = end_s if released_s is None else released_s
    stays = []
    for replica_id, n in replicas:
        left_s = bills[replica_id].released_s
        stays.append((bills[replica_id].rented_s, gone_s if left_s is None else left_s, n))
    times = sorted({node.rented_s, gone_s, *(time_s for since_s, until_s, _ in stays for time_s in (since_s, until_s))})
    idle_gpu_s, idle_usd = [], []
    for start_s, stop_s in itertools.pairwise(times):
        n_idle = node.n_gpus - sum(n for since_s, until_s, n in stays if since_s <= start_s < until_s)
        idle_gpu_s.append(n_idle * (stop_s - start_s))
        idle_usd.append(prices.gpu_usd(node.gpu_type, n_idle, start_s, stop_s))
    return {
        "gpu_type": node.gpu_type.pool,
        "n_gpus": node.n_gpus,
        "usd_per_h": node.gpu_type.usd_per_h,
        "rented_s": node.rented_s,
        "notice_s": node.notice_s if node.notice_s is not None and node.notice_s <= end_s else None,
        "released_s": released_s,
        "replicas": [{"replica_id": replica_id, "n": n} for replica_id, n in replicas],
        "usd": prices.gpu_usd(node.gpu_type, node.n_gpus, node.rented_s, gone_s),
        "idle_gpu_h": fsum(idle_gpu_s) / HOUR_S,
        "idle_usd": fsum(idle_usd),
    }
