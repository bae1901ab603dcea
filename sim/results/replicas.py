"""A row of `replicas.parquet`: what a replica is, what it did over the whole run, and its bill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from sim.units import HOUR_S

if TYPE_CHECKING:
    from sim.deployment import ReplicaSpec
    from sim.leases import Lease
    from sim.market import Prices
    from sim.replica.replica import Replica
    from sim.replica.step_log import Work

_GPU = pl.Struct({"gpu_type": pl.String, "n": pl.Int32, "usd_per_h": pl.Float64})

FACTS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "replica_id": pl.Int32,
    "model": pl.String,
    "name": pl.String,
    "gpu_types": pl.String,
    "n_gpus": pl.Int32,
    "gpus": pl.List(_GPU),
    "usd_per_h": pl.Float64,
    "kv_blocks": pl.Int64,
    "block_tokens": pl.Int32,
    "n_iterations": pl.Int64,
    "busy_s": pl.Float64,
    "kv_token_s": pl.Float64,
    "peak_kv_blocks": pl.Int64,
    "kv_blocks_at_end": pl.Int64,
    "n_preemptions": pl.Int64,
    "prefill_tokens": pl.Int64,
    "decode_tokens": pl.Int64,
    "itl_max_s": pl.Float64,
    "itl_bin": pl.List(pl.Int32),
    "itl_count": pl.List(pl.Int64),
    "cached_tokens": pl.Int64,
}
"""What a replica is and did (`facts_of`)."""

BILL_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "rented_s": pl.Float64,
    "open_s": pl.Float64,
    "notice_s": pl.Float64,
    "released_s": pl.Float64,
    "usd": pl.Float64,
    "failed_s": pl.List(pl.Float64),
    "back_s": pl.List(pl.Float64),
}
"""When it was there and what it cost (`Bill`)."""

REPLICA_SCHEMA = FACTS_SCHEMA | BILL_SCHEMA


class Bill(NamedTuple):
    """When a replica was rented and took requests, and what it cost until the end of the run.

    What happened after the end, while the clock ran on, is left out.

    Attributes:
        rented_s: Since when it costs.
        open_s: From when on it takes requests; None if it never did.
        notice_s: Since when it takes no more; None if it still does.
        released_s: When it was gone; None if it is still there.
        usd: Price of its GPUs over all that time.
        failed_s: When it failed.
        back_s: When it took requests again, or was gone, after each failure.
    """

    rented_s: float
    open_s: float | None
    notice_s: float | None
    released_s: float | None
    usd: float
    failed_s: list[float]
    back_s: list[float]

    @classmethod
    def of_whole_run(cls, usd_per_h: float, end_s: float) -> Bill:
        """The bill of a replica that is there all the time, without a market."""
        return cls(0.0, 0.0, None, None, usd_per_h * end_s / HOUR_S, [], [])

    @classmethod
    def of_lease(cls, lease: Lease, prices: Prices, end_s: float) -> Bill:
        """The bill of a replica that was rented on a market, before the end of the run."""

        def by_then(time_s: float | None) -> float | None:
            return None if time_s is None or time_s > end_s else time_s

        released_s = by_then(lease.released_s)
        gone_s = end_s if released_s is None else released_s
        outages = [(failed_s, min(back_s, gone_s)) for failed_s, back_s in lease.outages if failed_s <= gone_s]
        return cls(
            rented_s=lease.rented_s,
            open_s=by_then(lease.open_s),
            notice_s=by_then(lease.notice_s),
            released_s=released_s,
            usd=prices.usd(lease.replica.spec, lease.rented_s, gone_s),
            failed_s=[failed_s for failed_s, _ in outages],
            back_s=[back_s for _, back_s in outages],
        )


def facts_of(replica: Replica, work: Work) -> dict[str, Any]:
    """What a replica is and did: the columns of `FACTS_SCHEMA`.

    Args:
        replica: The replica.
        work: What it did, summed up (`Replica.work`).
    """
    spec = replica.spec
    logs = [batch.log for batch in replica.batches]
    itl_counts = np.sum([log.counts for log in logs], axis=0)
    return {
        "replica_id": replica.replica_id,
        "model": spec.model.name,
        "name": spec.name,
        "gpu_types": "+".join(spec.gpus),
        "n_gpus": spec.n_gpus,
        "gpus": _gpus(spec),
        "usd_per_h": spec.usd_per_h,
        "kv_blocks": replica.kv_blocks,
        "block_tokens": spec.limits.block_tokens,
        "n_iterations": work.n_iterations,
        "busy_s": work.busy_s,
        "kv_token_s": work.kv_token_s,
        "peak_kv_blocks": replica.peak_kv_blocks,
        "kv_blocks_at_end": replica.used_kv_blocks,
        "n_preemptions": replica.n_preemptions,
        "prefill_tokens": replica.prefill_tokens,
        "decode_tokens": work.decode_tokens,
        "itl_max_s": max(log.longest_s for log in logs) or None,
        "itl_bin": np.flatnonzero(itl_counts).tolist(),
        "itl_count": itl_counts[itl_counts > 0].tolist(),
        "cached_tokens": replica.cached_tokens,
    }


def replica_frame(facts: Mapping[int, dict[str, Any]], bills: Mapping[int, Bill]) -> pl.DataFrame:
    """One row per replica that has a bill, by its number.

    Args:
        facts: What each replica is and did, by its number.
        bills: The bill of each, by its number.
    """
    rows = [facts[replica_id] | bills[replica_id]._asdict() for replica_id in sorted(bills)]
    return pl.DataFrame(rows, schema=REPLICA_SCHEMA)


def _gpus(spec: ReplicaSpec) -> list[dict[str, Any]]:
    usd_per_h = {stage.gpu_type.pool: stage.gpu_type.usd_per_h for stage in spec.stages}
    return [{"gpu_type": name, "n": n, "usd_per_h": usd_per_h[name]} for name, n in spec.gpus.items()]
