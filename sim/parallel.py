"""Runs split by replica over processes: replicas are independent where routers do not look at the load."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import polars as pl

from sim.result import SimulationResult

if TYPE_CHECKING:
    from sim.deployment import Deployment
    from traces.trace import Trace

_SUMS = ("n_events", "n_steps", "n_extrapolated")


def simulate_in_processes(
    deployment: Deployment, trace: Trace, n_processes: int, settings: dict[str, Any]
) -> SimulationResult:
    """Simulate in several processes; the records are those of one.

    Each process routes all requests, which takes a small part of the time, and serves those of its replicas.

    Args:
        deployment: The fleet.
        trace: The requests.
        n_processes: How many processes; replica i is served by process i modulo this number.
        settings: Other arguments of `sim.simulate`.
    """
    arguments = [(deployment, trace, settings, part, n_processes) for part in range(n_processes)]
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(_simulate_part, arguments))
    requests = pl.concat([part.requests for part in parts]).sort("row").drop("row")
    replicas = pl.concat([part.replicas for part in parts]).sort("replica_id")
    manifest = parts[0].manifest | {name: sum(part.manifest[name] for part in parts) for name in _SUMS}
    manifest["end_s"] = max(part.manifest["end_s"] for part in parts)
    return SimulationResult(requests, replicas, manifest)


def _simulate_part(arguments: tuple[Deployment, Trace, dict[str, Any], int, int]) -> SimulationResult:
    """The records of one process's replicas, and a column `row`; the first process has the rejected requests, too."""
    from sim.engine import simulate_part

    deployment, trace, settings, part, n_processes = arguments
    result = simulate_part(deployment, trace, part, n_processes, **settings)
    is_mine = pl.col("replica_id") % n_processes == part
    requests = result.requests.with_row_index("row").filter(is_mine.fill_null(value=part == 0))
    return SimulationResult(requests, result.replicas.filter(is_mine), result.manifest)
