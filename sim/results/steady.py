"""The pace that a fleet keeps while it has work to do, apart from how it fills and how it runs empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sim.slo import IS_COMPLETED

if TYPE_CHECKING:
    from sim.results.result import SimulationResult

TURNOVERS = 5.0
"""After so many times the longest request of a replica its batch is in balance."""


def steady_rps(result: SimulationResult) -> float | None:
    """Requests/s that a fleet serves of the mix of a run whose requests come all at once, however many they are.

    Each replica is measured from when its batch is in balance, `TURNOVERS` times its longest request once begun, until
    its last request begins; if that is less than as long again, from beginning to end, which is no more than its pace.
    The work of a request is its tokens that are computed. Replicas of a kind are taken together, and the kind that does
    the smallest share of its work in a second sets the pace of the fleet.

    None where requests come one after the other, on a market, and if nothing completed.
    """
    arrival_s = result.requests["arrival_s"]
    served = result.requests.filter(IS_COMPLETED)
    if result.availability is not None or served.is_empty() or arrival_s.min() != arrival_s.max():
        return None
    begin_s, queued_s, last_s = pl.col("arrival_s"), pl.max("first_scheduled_s"), pl.max("finish_s")
    waited_s = queued_s.over("replica_id") - begin_s
    longest_s = (pl.col("finish_s") - pl.col("first_scheduled_s")).max().over("replica_id")
    filling_s = TURNOVERS * longest_s
    is_loaded = waited_s >= 2 * filling_s
    measured = served.join(result.replicas.select("replica_id", "name"), on="replica_id", maintain_order="left")
    measured = measured.with_columns(
        from_s=pl.when(is_loaded).then(begin_s + filling_s).otherwise(begin_s),
        until_s=pl.when(is_loaded).then(begin_s + waited_s).otherwise(last_s.over("replica_id")),
        prompt=pl.col("prompt_tokens") - pl.col("cached_prompt_tokens"),
        later=pl.col("output_tokens") - 1,  # the first comes with the prompt
    )
    prefilled = _share_within("first_scheduled_s", "first_token_s") * pl.col("prompt")
    decoded = _share_within("first_token_s", "finish_s") * pl.col("later")
    done_per_s = (prefilled + decoded) / (pl.col("until_s") - pl.col("from_s"))
    shares_per_s = measured.group_by("model", "name", maintain_order=True).agg(
        done_per_s.sum() / (pl.col("prompt") + pl.col("later")).sum()
    )
    slowest: float = shares_per_s.to_series(-1).min()  # type: ignore[assignment]
    return served.height * slowest


def _share_within(start: str, stop: str) -> pl.Expr:
    """The share of a stretch of a request's time that lies in what is measured of its replica."""
    since_s, stop_s = pl.max_horizontal(start, "from_s"), pl.min_horizontal(stop, "until_s")
    whole_s = pl.col(stop) - pl.col(start)
    is_within = pl.col(stop).is_between("from_s", "until_s", closed="right").cast(pl.Float64)
    return pl.when(whole_s > 0).then((stop_s - since_s).clip(0.0) / whole_s).otherwise(is_within)
