from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import polars as pl
import pytest

from sim import (
    ConstantServiceTime,
    Deployment,
    Market,
    ReplicaLimits,
    ReplicaSpec,
    SimulationResult,
    gpu_type,
    model_spec,
    simulate,
)
from sim.errors import SettingsError
from sim.failures import Failures
from tests.unit.sim.test_replanning import Given
from traces import AvailabilityTimeline, Trace, constant_availability, scheduled_drops

MODEL = model_spec("Llama-3-8B")
SPEC = ReplicaSpec.uniform(MODEL, gpu_type("L40S"), limits=ReplicaLimits(max_seqs=1))
LOAD_S = 2.0


@dataclass(frozen=True)
class Planned(Failures):
    """Failures that are given: by replica, (works, is repaired), and then it works on."""

    mtbf_s: float = 1.0
    mttr_s: float = 1.0
    times: dict[int, list[tuple[float, float]]] = field(default_factory=dict)

    def of_replica(self, replica_id: int) -> Iterator[tuple[float, float]]:
        yield from (*self.times.get(replica_id, []), (1e9, 1.0))


def serve(
    arrival_s: list[float],
    times: dict[int, list[tuple[float, float]]],
    n_replicas: int = 1,
    timeline: AvailabilityTimeline | None = None,
    **rules: Any,
) -> SimulationResult:
    """Requests of 16 prompt tokens take ten iterations of a second, one after the other; weights load in 2 s."""
    n = len(arrival_s)
    market = Market(
        constant_availability({"L40S": n_replicas}) if timeline is None else timeline,
        load_bandwidth_bytes_per_s=MODEL.weight_bytes / LOAD_S,
        failures=Planned(times=times),
        **rules,
    )
    return simulate(
        Deployment(((SPEC, n_replicas),)),
        Trace.from_columns(arrival_s, [16] * n, [10] * n, model=MODEL.name),
        service_time=ConstantServiceTime(1.0),
        router="round_robin",
        market=market,
    )


def n_failures(result: SimulationResult) -> list[int]:
    return result.replicas["failed_s"].list.len().to_list()


def down_s(result: SimulationResult) -> list[float]:
    return (result.replicas["back_s"].list.sum() - result.replicas["failed_s"].list.sum()).to_list()


@pytest.mark.parametrize(
    ("rule", "finish_s", "first_token_s", "end_s"),
    [
        ("restart", [10.0, 20.0], [1.0, 11.0], 20.0),
        ("resume", [10.0, 15.0], [1.0, 1.0], 15.0),
        ("drop", [10.0, None], [1.0, 1.0], 10.0),
    ],
)
def test_what_a_failed_replica_held_is_treated_as_after_a_reclaim(
    rule: str, finish_s: list[float | None], first_token_s: list[float], end_s: float
) -> None:
    """The second of two fails at 5 s and is back at 10.5 s, too late for its request, which waits for the first."""
    result = serve([0.0, 0.0], {1: [(5.0, 3.5)]}, 2, interrupted=rule)
    assert result.requests["finish_s"].to_list() == finish_s
    assert result.requests["first_token_s"].to_list() == first_token_s
    assert result.requests["recomputed_tokens"].to_list() == [0, 20]
    assert result.requests["n_interrupted"].to_list() == [0, 1]
    assert n_failures(result) == [0, 1]
    assert down_s(result) == pytest.approx([0.0, min(5.5, end_s - 5.0)])
    # It is paid for all the time.
    assert result.replicas["usd"].to_list() == pytest.approx([SPEC.usd_per_h * end_s / 3600] * 2)
    assert result.replicas["released_s"].to_list() == [None, None]


def test_a_replica_comes_back_and_fails_again() -> None:
    """It works to 5 s, is repaired to 8 s and loads to 10 s, works to 26 s, is repaired to 27 s and loads to 29 s."""
    result = serve([0.0, 6.0, 7.0], {0: [(5.0, 3.0), (16.0, 1.0)]})
    assert result.requests["finish_s"].to_list() == [20.0, 39.0, 49.0]
    assert result.requests["n_interrupted"].to_list() == [1, 1, 0]
    assert n_failures(result) == [2]
    assert down_s(result) == pytest.approx([8.0])
    # Iterations under way are cut off.
    assert result.replicas["busy_s"].to_list() == pytest.approx([49.0 - 8.0])


def test_a_failure_in_the_middle_of_an_iteration() -> None:
    result = serve([0.0], {0: [(5.5, 3.0)]})
    assert result.requests["recomputed_tokens"].to_list() == [20]
    assert result.requests["finish_s"].to_list() == [20.5]
    assert result.replicas["busy_s"].to_list() == pytest.approx([15.5])


def test_a_pipeline_begins_anew_after_a_failure() -> None:
    """Its stages are free, whatever was under way."""
    two_stages = ReplicaSpec.uniform(MODEL, gpu_type("L40S"), pp=2)
    failures = Planned(times={0: [(5.25, 0.125)]})
    market = Market(constant_availability({"L40S": 2}), load_bandwidth_bytes_per_s=1e30, failures=failures)
    alone, failing = (
        simulate(
            Deployment(((two_stages, 1),)),
            Trace.from_columns([0.0] * 3, [16] * 3, [10] * 3, model=MODEL.name),
            service_time=ConstantServiceTime(1.0),
            market=market,
        )
        for market in (None, market)
    )
    assert failing.requests["n_interrupted"].to_list() == [1] * 3
    expected = (alone.requests["finish_s"] + 5.375).to_list()
    assert failing.requests["finish_s"].to_list() == pytest.approx(expected)


def test_while_a_replica_is_down_others_are_sent_its_requests() -> None:
    """Round robin, after each change from the first: what comes at 6 and 7 s goes to the first, at 20 s to each."""
    result = serve([6.0, 7.0, 40.0, 40.0], {1: [(5.0, 3.0)]}, 2)
    assert result.requests["replica_id"].to_list() == [0, 0, 0, 1]


def test_a_replica_under_notice_may_fail_and_does_not_come_back() -> None:
    """Notice at 5 s, failure at 7 s, gone at 15 s, though it would have been back at 10 s."""
    timeline = scheduled_drops({"L40S": 2}, [(5.0, 100.0, {"L40S": 0.5})], end_s=1000.0, notice_s=10.0)
    result = serve([0.0, 0.0, 11.0], {1: [(7.0, 1.0)]}, 2, timeline)
    assert result.requests["finish_s"].to_list() == [10.0, 20.0, 30.0]
    assert result.requests["replica_id"].to_list() == [0, 0, 0]
    lease = result.replicas.row(1, named=True)
    assert (lease["notice_s"], lease["released_s"]) == (5.0, 15.0)
    assert (lease["failed_s"], lease["back_s"]) == ([7.0], pytest.approx([10.0]))


@pytest.mark.parametrize(("fails_after_s", "gone_s", "finish_s"), [(5.0, 5.0, 20.0), (50.0, 10.0, 10.0)])
def test_a_replica_that_drains_and_fails_is_gone(fails_after_s: float, gone_s: float, finish_s: float) -> None:
    """At 3 s one replica is enough, and the other drains."""
    market = Market(
        constant_availability({"L40S": 2}),
        load_bandwidth_bytes_per_s=1e30,
        failures=Planned(times={1: [(fails_after_s, 1.0)]}),
    )
    result = simulate(
        Deployment(((SPEC, 2),)),
        Trace.from_columns([0.0, 0.0], [16, 16], [10, 10], model=MODEL.name),
        service_time=ConstantServiceTime(1.0),
        router="round_robin",
        market=market,
        replanner=Given([Deployment(((SPEC, 1),))], check_s=3.0),
    )
    assert result.requests["finish_s"].to_list() == [10.0, finish_s]
    assert result.replicas["released_s"].to_list() == [None, gone_s]


def test_a_replica_under_repair_may_be_taken_back() -> None:
    timeline = scheduled_drops({"L40S": 1}, [(6.0, 50.0, {"L40S": 1.0})], end_s=1000.0)
    result = serve([0.0], {0: [(5.0, 3.0)]}, 1, timeline)
    assert result.replicas["released_s"].to_list() == [6.0, None]
    assert down_s(result) == pytest.approx([1.0, 0.0])
    assert result.requests["finish_s"].to_list() == [50.0 + LOAD_S + 10.0]


def test_a_run_ends_when_its_requests_have_ended() -> None:
    result = serve([0.0], {0: [(100.0, 5.0)]})
    assert result.manifest["end_s"] == 10.0
    assert n_failures(result) == [0]


def test_requests_that_nobody_will_serve_do_not_make_replicas_fail_for_ever() -> None:
    """The only GPU that could serve the second model is gone for good."""
    other = ReplicaSpec.uniform(model_spec("Mistral-7B"), gpu_type("A40"))
    rows = {"t_s": [0.0, 0.0, 1.0], "gpu_type": ["A40", "L40S", "A40"], "count": [1, 2, 0]}
    frame = pl.DataFrame(rows).with_columns(market=pl.lit("on_demand"))
    timeline = AvailabilityTimeline.from_frame(frame, "by hand", end_s=1000.0)
    market = Market(timeline, failures=Failures(mtbf_s=1.0, mttr_s=100.0), load_bandwidth_bytes_per_s=1e30)
    trace = Trace.from_columns([0.0, 5.0], [16, 16], [10, 10], model=[MODEL.name, "Mistral-7B"])
    result = simulate(Deployment(((SPEC, 2), (other, 1))), trace, service_time=ConstantServiceTime(0.01), market=market)
    assert result.requests["status"].to_list() == ["completed", "unfinished"]


def test_each_replica_has_times_of_its_own() -> None:
    failures = Failures(100.0, 10.0, seed=3)
    first, second = (list(islice(failures.of_replica(replica_id), 5)) for replica_id in (0, 1))
    assert first == list(islice(Failures(100.0, 10.0, seed=3).of_replica(0), 5))
    assert first != second
    assert first != list(islice(Failures(100.0, 10.0, seed=4).of_replica(0), 5))


@pytest.mark.parametrize(("mtbf_s", "mttr_s"), [(0.0, 1.0), (1.0, -1.0), (float("inf"), 1.0), (1.0, float("nan"))])
def test_times_out_of_range(mtbf_s: float, mttr_s: float) -> None:
    with pytest.raises(SettingsError, match=r"failures: mt(bf|tr)_s is .*; it must be more than 0, and finite"):
        Failures(mtbf_s, mttr_s)
