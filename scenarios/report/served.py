"""What a run served, in words: of all requests of the trace, which count and how they ended; what came between."""

from __future__ import annotations

from datetime import datetime
from math import inf

import polars as pl

from scenarios.file.schema.moment import clock_time
from scenarios.runs.row import Row
from sim import SimulationResult, stress_by_drop
from sim.results.drops import drops_of
from sim.units import HOUR_S

ENDINGS = ("completed", "rejected", "dropped", "unfinished")


def requests_line(row: Row, result: SimulationResult) -> str:
    """How many requests the trace has, arrived before the horizon and count; only where these differ."""
    manifest = result.manifest
    n_counted = int(row.metrics["n_requests"] or 0)
    n_arrived = int(manifest["n_requests"])
    n_in_trace = int(manifest.get("n_trace_requests", n_arrived))
    if not n_counted:
        return "none arrived between sim.warmup_s after the first arrival and sim.cooldown_s before the last"
    parts = []
    if n_in_trace != n_counted:
        parts.append(f"{n_in_trace:,} in the trace")
    if n_arrived != n_in_trace and manifest["horizon_s"] is None:
        parts.append(f"{n_arrived:,} are sent; the others wait for the end of one that never ends")
    elif n_arrived != n_in_trace:
        parts.append(f"{n_arrived:,} arrive before sim.horizon_s ({manifest['horizon_s']:g} s)")
    if n_counted != n_arrived:
        parts.append(f"{n_counted:,} count, between warm-up and cool-down")
    counts = {ending: int(row.metrics[f"n_{ending}"] or 0) for ending in ENDINGS}
    endings = ", ".join(f"{n:,} {ending}" for ending, n in counts.items() if n)
    if parts:
        return f"{'; '.join(parts)}: {endings}"
    return f"{n_counted:,} {'request' if n_counted == 1 else 'requests'}, {endings}"


def events_of(result: SimulationResult) -> list[str]:
    """What is to be said of a run's failures, drops and nodes: nothing where there were none."""
    said = (_failures, _losses_of_nothing, _drops_without_end, _taken_back, _idle)
    return [line for lines in said for line in lines(result)]


def _taken_back(result: SimulationResult) -> list[str]:
    """Nodes that the market took back, by offer."""
    if result.nodes is None:
        return []
    of_offers = result.nodes.group_by("gpu_type", maintain_order=True).agg(pl.col("notice_s").count(), pl.len())
    taken = [f"{n_taken} of {n} of {offer}" for offer, n_taken, n in of_offers.iter_rows() if n_taken > 0]
    return [f"nodes taken back, of those rented: {', '.join(taken)}"] if taken else []


def _idle(result: SimulationResult) -> list[str]:
    """GPUs of nodes that no replica took, by offer."""
    if result.nodes is None:
        return []
    gone_s = pl.col("released_s").fill_null(float(result.manifest["end_s"]))
    gpu_s = (gone_s - pl.col("rented_s")) * pl.col("n_gpus")
    of_offers = result.nodes.group_by("gpu_type", maintain_order=True).agg(
        pl.col("idle_gpu_h").sum(), gpu_s.sum() / HOUR_S, pl.col("idle_usd").sum()
    )
    return [
        f"no replica took {idle_gpu_h:,.2f} of {gpu_h:,.2f} GPU hours of {offer}, which cost {usd:,.2f} $"
        for offer, idle_gpu_h, gpu_h, usd in of_offers.iter_rows()
        if idle_gpu_h > 0
    ]


def _failures(result: SimulationResult) -> list[str]:
    outages = result.replicas.select("replica_id", "failed_s", "back_s").explode("failed_s", "back_s").drop_nulls()
    if outages.is_empty():
        return []
    n_replicas = outages["replica_id"].n_unique()
    away_s = (outages["back_s"] - outages["failed_s"]).sum()
    n_hit = result.requests.filter(pl.col("n_interrupted") > 0).height
    times = f"{outages.height} times" if outages.height > 1 else "once"
    who = f"{n_replicas} of {result.replicas.height} replicas failed {times} in all, and were away for {away_s:,.0f} s"
    return [f"{who}; {n_hit:,} requests were interrupted in the run"]


def _drops_without_end(result: SimulationResult) -> list[str]:
    """Drops after which nobody recovers because the requests end before them."""
    if result.availability is None:
        return []
    last_s = float(result.requests["arrival_s"].max())  # type: ignore[arg-type]
    lines = []
    for drop in stress_by_drop(result).iter_rows(named=True):
        if drop["time_to_recover_s"] is None and last_s < drop["back_s"] < inf:
            what = f"{drop['drop']} at {_at(result, drop['drop_s'])}"
            end, back = _at(result, last_s), _at(result, drop["back_s"])
            lines.append(f"the requests end at {end}, before {what} ends ({back})")
    return lines


def _losses_of_nothing(result: SimulationResult) -> list[str]:
    """What the scenario says is lost, and nobody had rented."""
    end_s = float(result.manifest["end_s"])
    hit = {(drop.drop_s, gpu) for drop in drops_of(result) for gpu in (None, *drop.gpu_types)}
    lines = []
    for event in result.manifest.get("events", ()):
        at_s, gpu = event["at_s"], event["of"]
        if event["traffic"] is not None or (at_s, gpu) in hit or at_s == 0:
            continue
        why = "the run ends before" if at_s >= end_s else "the market has enough left"
        what = event["name"] or ("what is lost" if gpu is None else f"what is lost of {gpu}")
        lines.append(f"{what} at {_at(result, at_s)} takes nothing that is rented: {why}")
    return lines


def _at(result: SimulationResult, t_s: float) -> str:
    """A time of a run, by the clock if the scenario knows its start."""
    said = result.manifest.get("start")
    return f"{t_s:,.0f} s" if said is None else clock_time(datetime.fromisoformat(said), t_s)
