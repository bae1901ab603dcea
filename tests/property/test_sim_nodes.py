"""Nodes are rented, lost and billed whole."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sim import (
    ConstantServiceTime,
    Deployment,
    Market,
    Network,
    ReplicaSpec,
    SimulationResult,
    compute_metrics,
    compute_stress,
    compute_timeline,
    gpu_type,
    model_spec,
    simulate,
)
from sim.catalog.offers import Offer
from sim.results.rent import price_over_time, spent_usd
from sim.units import HOUR_S
from tests.nodes import bill_of_nodes_usd, deployments, markets, nodes_of, on_offer
from tests.strategies_sim import any_router, fleet_traces, horizon_after
from traces import AvailabilityTimeline, Trace, scheduled_drops

Case = tuple[Deployment, Trace, dict[str, Any]]


@st.composite
def cases(draw: st.DrawFn, *, on_market: bool | None = None) -> Case:
    deployment, trace = draw(deployments()), draw(fleet_traces())
    is_on_market = draw(st.booleans()) if on_market is None else on_market
    settings = {
        "service_time": ConstantServiceTime(draw(st.sampled_from([0.1, 0.013]))),
        "router": draw(any_router),
        "market": draw(markets(deployment)) if is_on_market else None,
        "horizon_s": horizon_after(trace, draw(st.sampled_from([0.5, 3.0, 12.0]))),
    }
    return deployment, trace, settings


def close(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-9)


@given(cases())
def test_the_bill_is_the_integral_of_the_price_over_the_nodes_rented(case: Case) -> None:
    deployment, trace, settings = case
    result = simulate(deployment, trace, **settings)
    end_s = result.manifest["end_s"]
    stages = [stage for spec, _ in deployment.replicas for stage in spec.stages]
    expected = bill_of_nodes_usd(result, {stage.gpu_type.pool: stage.gpu_type.usd_per_h for stage in stages})
    assert result.usd == close(expected)
    assert spent_usd(result, 0.0, end_s) == close(expected)
    assert sum(node["usd"] for node in nodes_of(result)) == close(expected)
    times_s, usd_per_h, _ = price_over_time(result)
    assert math.fsum(np.diff(times_s) * usd_per_h[:-1]) / HOUR_S == close(expected)
    metrics, series = compute_metrics(result), compute_timeline(result, n_intervals=7)
    assert metrics["cost_usd"] == close(expected)
    assert series.filter(pl.col("gpu_type").is_null())["usd"][-1] == close(expected)
    stress = compute_stress(result)
    assert min(stress["usd_idle"], stress["usd_booting"], stress["usd_lost"]) >= -1e-9  # type: ignore[type-var]
    assert stress["usd_idle"] >= metrics["idle_usd"] - 1e-9  # type: ignore[operator]
    assert stress["usd_idle"] + stress["usd_booting"] + stress["usd_lost"] <= expected + 1e-9  # type: ignore[operator]


def assert_replicas_lie_on_nodes(result: SimulationResult, deployment: Deployment) -> None:
    """Each replica takes of nodes that are there what it says, a group within one; no node has more than its GPUs."""
    end_s = result.manifest["end_s"]
    replicas = {row["replica_id"]: row for row in result.replicas.rows(named=True)}
    specs = {(spec.model.name, spec.name): spec for spec, _ in deployment.replicas}
    taken: dict[int, Counter[str]] = {replica_id: Counter() for replica_id in replicas}
    largest: dict[int, int] = {}
    for node in nodes_of(result):
        steps = []
        for on_it in node["replicas"]:
            replica = replicas[on_it["replica_id"]]
            gone_s = end_s if replica["released_s"] is None else replica["released_s"]
            assert node["rented_s"] <= replica["rented_s"] <= gone_s <= node["gone_s"]
            steps += [(replica["rented_s"], on_it["n"]), (gone_s, -on_it["n"])]
            taken[on_it["replica_id"]][node["gpu_type"]] += on_it["n"]
            largest[on_it["replica_id"]] = max(largest.get(on_it["replica_id"], 0), on_it["n"])
        for now_s, _ in steps:
            assert sum(n for time_s, n in steps if time_s <= now_s) <= node["n_gpus"]
    for replica_id, row in replicas.items():
        assert taken[replica_id] == {gpu["gpu_type"]: gpu["n"] for gpu in row["gpus"]}
        stages = specs[row["model"], row["name"]].stages
        assert largest[replica_id] >= max(min(stage.n_taken, stage.gpu_type.rented_together) for stage in stages)


@given(cases())
def test_no_node_holds_more_than_its_gpus(case: Case) -> None:
    deployment, trace, settings = case
    result = simulate(deployment, trace, **settings)
    assert_replicas_lie_on_nodes(result, deployment)


@given(cases(on_market=True))
def test_no_more_nodes_are_rented_beyond_notice_than_there_are(case: Case) -> None:
    deployment, trace, settings = case
    result = simulate(deployment, trace, **settings)
    assert result.availability is not None
    nodes = nodes_of(result)
    for pool, changes in result.availability.group_by("gpu_type"):
        mine = [node for node in nodes if node["gpu_type"] == pool[0]]
        for now_s in {*changes["t_s"], *(node["rented_s"] for node in mine)}:
            count = changes.filter(pl.col("t_s") <= now_s)["count"][-1]
            there = [
                node["n_gpus"]
                for node in mine
                if node["rented_s"] <= now_s < node["gone_s"] and (node["notice_s"] is None or node["notice_s"] > now_s)
            ]
            assert sum(there) <= count


@given(cases(on_market=True))
def test_macro_steps_change_nothing_on_nodes(case: Case) -> None:
    deployment, trace, settings = case
    macro, iteration = (simulate(deployment, trace, stepping=s, **settings) for s in ("macro", "iteration"))  # type: ignore[arg-type]
    assert_frame_equal(macro.requests, iteration.requests, check_exact=True)
    assert_frame_equal(macro.replicas, iteration.replicas, rel_tol=1e-9, abs_tol=1e-9)
    assert (macro.nodes is None) == (iteration.nodes is None)
    if macro.nodes is not None and iteration.nodes is not None:
        assert_frame_equal(macro.nodes, iteration.nodes, rel_tol=1e-9, abs_tol=1e-9)


MODEL = model_spec("Llama-3-8B")
SIZES = {"L40S": 4, "A100-SXM-80GB": 8}


@st.composite
def two_offers(draw: st.DrawFn, **facts: Any) -> Deployment:
    """Replicas of one to four GPUs, each on one of two offers."""
    drawn = {name: Offer(f"{name} nodes", gpus_per_node=size, **facts) for name, size in SIZES.items()}
    kinds = draw(
        st.lists(st.tuples(st.sampled_from(sorted(SIZES)), st.sampled_from([1, 2, 4])), min_size=1, max_size=5)
    )
    specs = (on_offer(ReplicaSpec.uniform(MODEL, gpu_type(name), tp), drawn) for name, tp in kinds)
    return Deployment(tuple((spec, draw(st.integers(1, 4))) for spec in specs))


TRACE = Trace.from_columns([0.0, 3.0, 6.0], [100] * 3, [30] * 3, model=MODEL.name)


@given(two_offers(notice_s=1.0), st.sampled_from(["newest", "cheapest"]), st.floats(0.1, 1.0))
def test_a_drop_of_one_offer_leaves_the_others_untouched(deployment: Deployment, victims: Any, share: float) -> None:
    counts = {f"{name} nodes": 64 for name in SIZES}
    both = {f"{name} nodes": [(4.0, 9.0, {f"{name} nodes": share})] for name in SIZES}
    second = both["L40S nodes"]
    first = [(2.0, 3.5, {"A100-SXM-80GB nodes": 1.0})]
    calm, stormy = (
        simulate(
            deployment,
            TRACE,
            service_time=ConstantServiceTime(0.1),
            horizon_s=12.0,
            market=Market(scheduled_drops(counts, drops, end_s=20.0, boot_s=0.5), victims=victims),
        )
        for drops in (second, [*first, *second])
    )
    others = [
        result.nodes.filter(gpu_type="L40S nodes").select("rented_s", "notice_s", "released_s", "usd", "idle_usd")
        for result in (calm, stormy)
        if result.nodes is not None
    ]
    assert_frame_equal(*others)


@given(two_offers())
def test_groups_fill_nodes_without_gaps(deployment: Deployment) -> None:
    """In whatever order they come, as their sizes divide one another; so on a market that offers all."""
    result = simulate(deployment, TRACE, service_time=ConstantServiceTime(0.1))
    assert result.nodes is not None
    n_nodes = dict(result.nodes.group_by("gpu_type").len().iter_rows())
    sizes = {f"{name} nodes": size for name, size in SIZES.items()}
    assert n_nodes == {pool: math.ceil(n / sizes[pool]) for pool, n in deployment.gpus.items()}
    offered = AvailabilityTimeline.from_frame(
        pl.DataFrame({"t_s": 0.0, "gpu_type": pool, "market": "on_demand", "count": 64} for pool in sizes),
        "all",
        end_s=1.0,
    )
    market = Market(offered)
    on_market = simulate(deployment, TRACE, service_time=ConstantServiceTime(0.1), market=market)
    assert on_market.nodes is not None
    assert_frame_equal(on_market.nodes, result.nodes)
    assert replace(on_market, availability=None).usd == result.usd


@given(cases(), st.floats(0.0, 2.0), st.floats(0.0, 2.0))
def test_a_round_trip_is_added_to_the_times_of_those_that_go_there(case: Case, near_s: float, far_s: float) -> None:
    """Of clients of one model, to one of the offers; no one else notices."""
    deployment, trace, settings = case
    far, near = deployment.models[0], deployment.models[-1]
    trips_s = {far: far_s, near: near_s}
    network = Network(tuple((model, "here", time_s) for model, time_s in trips_s.items()), "model")
    specs = [(spec, n) for spec, n in deployment.replicas]
    pools = sorted(deployment.gpus)
    offers = {stage.gpu_type.name: stage.gpu_type.offer for spec, _ in specs for stage in spec.stages}
    placed = {
        name: replace(offer, region="here" if offer.name == pools[0] else "there")
        for name, offer in offers.items()
        if offer is not None
    }
    there = Deployment(tuple((on_offer(spec, placed), n) for spec, n in specs), deployment.routing)
    plain, distant = (simulate(there, trace, network=net, **settings) for net in (None, network))
    regions = [spec.region for spec, n in there.replicas for _ in range(n)]
    if settings["market"] is None:
        at = plain.requests.select(
            trip_s=pl.when(pl.col("replica_id").is_in([i for i, region in enumerate(regions) if region == "here"]))
            .then(pl.col("model").replace_strict(trips_s, default=0.0))
            .otherwise(0.0)
        )["trip_s"]
        for name in ("first_token_s", "finish_s"):
            expected = plain.requests[name] + at
            kept = expected.set(expected > settings["horizon_s"], None)
            assert distant.requests[name].to_list() == pytest.approx(kept.to_list(), nan_ok=True)
    assert_frame_equal(plain.replicas, distant.replicas)
    ended = distant.requests.drop_nulls("ended_s")
    assert (ended["ended_s"] <= settings["horizon_s"]).all()
    assert (ended["first_token_s"].fill_null(0.0) <= ended["ended_s"]).all()
    same = ("arrival_s", "first_scheduled_s", "replica_id", "generated_tokens")
    assert_frame_equal(plain.requests.select(same), distant.requests.select(same))
