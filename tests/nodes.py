"""Deployments on offers whose nodes are rented whole, and markets that take nodes back."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl
from hypothesis import strategies as st

from sim import Deployment, Failures, ReplicaSpec, SimulationResult
from sim.catalog.offers import Offer
from sim.market import Market
from sim.units import HOUR_S
from tests.strategies_sim import fleets
from traces import AvailabilityTimeline


def on_offer(spec: ReplicaSpec, offers: Mapping[str, Offer]) -> ReplicaSpec:
    """The same replica on GPUs that are offered so, by GPU type."""
    stages = (replace(s, gpu_type=replace(s.gpu_type, offer=offers[s.gpu_type.name])) for s in spec.stages)
    return replace(spec, stages=tuple(stages))


@st.composite
def offers(draw: st.DrawFn, gpu_type: str) -> Offer:
    """Nodes of one to six GPUs, perhaps with times of their own, a term, or reclaims."""
    return Offer(
        f"{gpu_type} nodes",
        gpus_per_node=draw(st.sampled_from([1, 2, 4, 6])),
        tenure=draw(st.sampled_from(["on_demand", "spot", "reserved"])),
        min_term_s=draw(st.sampled_from([0.0, 0.0, 4.0, 1e6])),
        notice_s=draw(st.sampled_from([None, 0.0, 0.4])),
        boot_s=draw(st.sampled_from([None, 0.0, 0.5])),
        reclaims_per_h=draw(st.sampled_from([0.0, 0.0, 600.0])),
    )


@st.composite
def deployments(draw: st.DrawFn) -> Deployment:
    """Two models on replicas of any kind, all of whose GPUs are offered in nodes."""
    plain = draw(fleets())
    types = sorted({stage.gpu_type.name for spec, _ in plain.replicas for stage in spec.stages})
    drawn = {name: draw(offers(name)) for name in types}
    return Deployment(tuple((on_offer(spec, drawn), n) for spec, n in plain.replicas), plain.routing)


@st.composite
def markets(draw: st.DrawFn, deployment: Deployment) -> Market:
    """Steps of each offer between nothing and more than the deployment wants, with failures or without."""
    gpu_types = {stage.gpu_type.pool: stage.gpu_type for spec, _ in deployment.replicas for stage in spec.stages}
    rows: list[tuple[float, str, str, int, float | None]] = []
    for pool, wanted in deployment.gpus.items():
        times = sorted(draw(st.sets(st.integers(1, 80), max_size=4)))
        for tick in (0, *times):
            price = draw(st.none() | st.floats(0.5, 5.0))
            rows.append((0.1 * tick, pool, "on_demand", draw(st.integers(0, wanted + 6)), price))
    schema = {"t_s": pl.Float64, "gpu_type": pl.String, "market": pl.String, "count": pl.Int64, "usd_per_h": pl.Float64}
    frame = pl.DataFrame(rows, schema=schema, orient="row").sort("t_s", "gpu_type")
    notice_s, boot_s = draw(st.sampled_from([0.0, 0.1, 1.0])), draw(st.sampled_from([0.0, 0.3]))
    timeline = AvailabilityTimeline.from_frame(frame, "drawn", end_s=9.0, notice_s=notice_s, boot_s=boot_s)
    rules: dict[str, Any] = {
        "victims": draw(st.sampled_from(["newest", "cheapest", "random"])),
        "interrupted": draw(st.sampled_from(["restart", "resume", "drop"])),
        "load_bandwidth_bytes_per_s": draw(st.sampled_from([1e10, 1e13])),
        "failures": draw(st.none() | st.just(Failures(3.0, 0.5))),
        "reserved": tuple((gpu, 0) for gpu in gpu_types.values() if gpu.offer and gpu.offer.tenure == "reserved"),
        "reclaims_seed": draw(st.integers(0, 3)),
    }
    return Market(timeline, **rules)


def nodes_of(result: SimulationResult) -> list[dict[str, Any]]:
    """Rows of nodes; none is gone before the end of the run that has no `released_s`."""
    if result.nodes is None:
        return []
    return [row | {"gone_s": row["released_s"] or result.manifest["end_s"]} for row in result.nodes.rows(named=True)]


def bill_of_nodes_usd(result: SimulationResult, usd_per_h: Mapping[str, float]) -> float:
    """What nodes cost, summed over all moments at which something changes, from who is there and the prices then."""
    nodes, end_s = nodes_of(result), result.manifest["end_s"]
    changes = [] if result.availability is None else result.availability.rows(named=True)
    times = {0.0, end_s, *(change["t_s"] for change in changes)}
    times |= {node[name] for node in nodes for name in ("rented_s", "gone_s")}
    moments = sorted(time_s for time_s in times if time_s <= end_s)
    usd = 0.0
    for now_s, next_s in itertools.pairwise(moments):
        prices = dict(usd_per_h)
        for change in changes:
            if change["t_s"] <= now_s:
                stated = change["usd_per_h"]
                prices[change["gpu_type"]] = usd_per_h[change["gpu_type"]] if stated is None else stated
        for node in nodes:
            if node["rented_s"] <= now_s < node["gone_s"]:
                usd += node["n_gpus"] * prices[node["gpu_type"]] * (next_s - now_s) / HOUR_S
    return usd
