"""Nodes by hand: what is rented, lost and paid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sim import (
    ConstantServiceTime,
    Deployment,
    Market,
    ReplicaSpec,
    SimulationResult,
    Stage,
    compute_metrics,
    gpu_type,
    model_spec,
    simulate,
)
from sim.catalog.gpus import GpuType
from sim.catalog.offers import Offer
from traces import AvailabilityTimeline, Trace, constant_availability, scheduled_drops

MODEL = model_spec("Llama-3-8B")
TRACE = Trace.from_columns([0.0, 99.0], [16, 16], [1, 1], model=MODEL.name)
END_S = 100.0
HOURS = END_S / 3600


def offered(name: str = "nodes", *, usd_per_h: float = 36.0, **facts: Any) -> GpuType:
    """L40S at a cent a second, in nodes of four."""
    return replace(gpu_type("L40S"), usd_per_h=usd_per_h, offer=Offer(name, **{"gpus_per_node": 4} | facts))


def of(gpu: GpuType, tp: int = 1) -> ReplicaSpec:
    return ReplicaSpec.uniform(MODEL, gpu, tp)


def run(*replicas: tuple[ReplicaSpec, int], trace: Trace = TRACE, **rules: Any) -> SimulationResult:
    """100 s, or as long as the timeline, on which weights are loaded at once."""
    timeline = rules.pop("timeline", None)
    market = None if timeline is None else Market(timeline, **{"load_bandwidth_bytes_per_s": 1e30} | rules)
    return simulate(Deployment(replicas), trace, service_time=ConstantServiceTime(1.0), market=market, horizon_s=END_S)


def times(result: SimulationResult, what: str = "nodes") -> list[tuple[float, float | None, float | None]]:
    frame = getattr(result, what)
    return frame.select("rented_s", "notice_s", "released_s").rows()  # type: ignore[no-any-return]


def drop(to: int, at_s: float = 40.0, back_s: float = 80.0, **options: Any) -> AvailabilityTimeline:
    """Eight GPUs, and for a while fewer."""
    return scheduled_drops({"nodes": 8}, [(at_s, back_s, {"nodes": 1 - to / 8})], end_s=1000.0, **options)


def test_idle_gpus_of_nodes_are_paid() -> None:
    """Five GPUs need two nodes: three are idle."""
    result = run((of(offered(), 4), 1), (of(offered()), 1))
    assert result.nodes is not None
    assert result.nodes["replicas"].to_list() == [[{"replica_id": 0, "n": 4}], [{"replica_id": 1, "n": 1}]]
    assert result.replicas["usd"].to_list() == pytest.approx([4.0, 1.0])
    assert result.nodes["usd"].to_list() == pytest.approx([4.0, 4.0])
    metrics = compute_metrics(result)
    assert metrics["cost_usd"] == pytest.approx(8.0)
    assert metrics["idle_usd"] == pytest.approx(3.0)
    assert metrics["idle_gpu_h"] == pytest.approx(3 * HOURS)
    assert metrics["usd_per_h"] == metrics["usd_per_h_peak"] == pytest.approx(8 * 36.0)


def test_what_is_owned_costs_nothing() -> None:
    metrics = compute_metrics(run((of(offered(tenure="owned", usd_per_h=0.0)), 1)))
    assert (metrics["cost_usd"], metrics["idle_usd"]) == (0.0, 0.0)
    assert metrics["idle_gpu_h"] == pytest.approx(3 * HOURS)


def test_a_part_of_a_node_is_none() -> None:
    """Seven GPUs are one node: the second, and both replicas on it, get notice."""
    result = run((of(offered(), 2), 4), timeline=drop(7, notice_s=5.0))
    assert times(result) == [(0.0, None, None), (0.0, 40.0, 45.0), (80.0, None, None)]
    assert times(result, "replicas") == [(0.0, None, None)] * 2 + [(0.0, 40.0, 45.0)] * 2 + [(80.0, None, None)] * 2


def test_the_node_of_the_newest_replica_that_goes_last_goes_first() -> None:
    """The replica of four GPUs was rented first; the two small ones are on the other node."""
    result = run((of(offered(), 4), 1), (of(offered(), 1), 2), timeline=drop(4))
    assert times(result, "replicas")[:3] == [(0.0, None, None), (0.0, 40.0, 40.0), (0.0, 40.0, 40.0)]


def test_the_cheapest_replicas_go_first() -> None:
    """A node with a replica of two GPUs and one of one goes after a node with two of one."""
    replicas = ((of(offered(), 2), 1), (of(offered(), 1), 2), (of(offered(), 1), 2))
    result = run(*replicas, timeline=drop(4), victims="cheapest")
    assert times(result, "replicas")[:5] == [(0.0, None, None)] * 3 + [(0.0, 40.0, 40.0)] * 2


def test_a_pipeline_with_one_stage_on_a_lost_node_is_lost() -> None:
    """Its other node, of another offer, is given back."""
    stages = (Stage(offered(), 4, 16), Stage(offered("others"), 4, 16))
    result = run((ReplicaSpec(MODEL, stages), 1), timeline=drop(0, notice_s=5.0))
    assert times(result) == [(0.0, 40.0, 45.0), (0.0, None, 45.0), (80.0, None, None), (80.0, None, None)]


def test_a_node_that_has_booted_is_not_booted_again() -> None:
    """The second replica has to wait for its GPU of the small offer, which boots for 2 s, and shares the large node."""
    stages = (Stage(offered("small", gpus_per_node=1, boot_s=2.0), 1, 16), Stage(offered("large"), 2, 16))
    timeline = scheduled_drops({"small": 2}, [(0.0, 45.0, {"small": 0.5})], end_s=1000.0, boot_s=10.0)
    result = run((ReplicaSpec(MODEL, stages), 2), timeline=timeline)
    assert result.replicas["open_s"].to_list() == [0.0, 47.0]
    assert result.nodes is not None
    assert result.nodes["gpu_type"].to_list() == ["large", "small", "small"]


def test_reserved_nodes_are_paid_used_or_not() -> None:
    """Two nodes all the time, one of them idle; nobody needs the other offer at all, of one node."""
    gpu, unused = offered(tenure="reserved"), offered("unused", tenure="reserved")
    timeline = constant_availability({"nodes": 8})
    result = run((of(gpu, 4), 1), timeline=timeline, reserved=((gpu, 0), (unused, 4)))
    metrics = compute_metrics(result)
    assert metrics["cost_usd"] == pytest.approx(12.0)
    assert metrics["idle_usd"] == pytest.approx(8.0)


def test_reserved_nodes_are_there_when_a_replica_comes_again() -> None:
    """The second node is empty when the first has to go: the replica comes up on it again, which has booted."""
    gpu = offered(tenure="reserved")
    result = run((of(gpu, 4), 2), timeline=drop(4, boot_s=10.0), reserved=((gpu, 0),))
    assert times(result) == [(0.0, None, None), (0.0, 40.0, 40.0), (80.0, None, None)]
    assert result.replicas["open_s"].to_list() == [0.0, 0.0, 90.0]


def test_a_term_is_paid_to_its_end() -> None:
    """The replica is lost with its stage on the other offer at 40 s, and back at 80 s: the node is paid until 60 s."""
    stages = (Stage(offered(), 4, 16), Stage(offered("terms", min_term_s=60.0), 4, 16))
    result = run((ReplicaSpec(MODEL, stages), 1), timeline=drop(0))
    assert result.nodes is not None
    terms = result.nodes.filter(gpu_type="terms")
    assert terms.select("rented_s", "released_s", "usd", "idle_usd").rows() == [
        (0.0, 60.0, pytest.approx(2.4), pytest.approx(0.8)),
        (80.0, None, pytest.approx(0.8), 0.0),
    ]


def test_a_node_within_its_term_is_used_again() -> None:
    """It is there when the replica comes back, and has booted; the other boots for 5 s."""
    stages = (Stage(offered(boot_s=5.0), 4, 16), Stage(offered("terms", min_term_s=90.0, boot_s=50.0), 4, 16))
    result = run((ReplicaSpec(MODEL, stages), 1), timeline=drop(0))
    assert times(result) == [(0.0, 40.0, 40.0), (0.0, None, None), (80.0, None, None)]
    assert result.replicas["open_s"].to_list() == [0.0, 85.0]


def test_a_term_ends_when_the_market_takes_the_node_back() -> None:
    result = run((of(offered(min_term_s=1e6), 4), 2), timeline=drop(4))
    assert times(result) == [(0.0, None, None), (0.0, 40.0, 40.0), (80.0, None, None)]


def test_notice_and_boot_of_offers_count_instead_of_the_timelines() -> None:
    """Stages on two offers: the notice is that of the one that drops, the boot time the longer one."""
    stages = (
        Stage(offered(notice_s=7.0, boot_s=3.0), 4, 16),
        Stage(offered("others", notice_s=1.0, boot_s=6.0), 4, 16),
    )
    result = run((ReplicaSpec(MODEL, stages), 1), timeline=drop(0, notice_s=2.0, boot_s=30.0))
    assert times(result, "replicas") == [(0.0, 40.0, 47.0), (80.0, None, None)]
    assert result.replicas["open_s"].to_list() == [0.0, 86.0]


def test_nodes_are_reclaimed_at_their_rate_and_rented_anew() -> None:
    """Each lives 100 h in the mean, and 5 s of notice; the next one boots for 10 s."""
    gpu = offered(reclaims_per_h=36.0, notice_s=5.0, boot_s=10.0)
    late = Trace.from_columns([0.0, 1e5], [16, 16], [1, 1], model=MODEL.name)
    market = Market(constant_availability({"nodes": 4}), load_bandwidth_bytes_per_s=1e30, reclaims_seed=3)
    result = simulate(Deployment(((of(gpu), 1),)), late, service_time=ConstantServiceTime(1.0), market=market)
    assert result.nodes is not None
    whole = result.nodes.drop_nulls("released_s")
    lives_s = whole["notice_s"] - whole["rented_s"]
    assert lives_s.mean() == pytest.approx(100.0, rel=3 / len(lives_s) ** 0.5)
    assert (whole["released_s"] - whole["notice_s"]).to_list() == pytest.approx([5.0] * len(whole))
    assert result.nodes["rented_s"].to_list()[1:] == whole["released_s"].to_list()
    open_s = result.replicas["open_s"].drop_nulls().to_list()
    assert len(open_s) > 0.8 * len(whole)
    again = simulate(Deployment(((of(gpu), 1),)), late, service_time=ConstantServiceTime(1.0), market=market)
    assert again.nodes is not None
    assert again.nodes.equals(result.nodes)


def test_groups_larger_than_a_node_take_whole_ones() -> None:
    assert [Offer("four", gpus_per_node=4).taken_by(n) for n in (3, 5, 8, 9)] == [4, 8, 8, 12]
