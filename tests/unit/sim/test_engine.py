from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import sim.progress
from sim import (
    ROUTERS,
    CompactServiceTime,
    ConstantServiceTime,
    Deployment,
    DeploymentError,
    ReplicaLimits,
    ReplicaSpec,
    SettingsError,
    SimulationResult,
    Stage,
    StageTime,
    compute_metrics,
    gpu_type,
    model_spec,
    simulate,
)
from tests.strategies_sim import MODEL
from traces import Trace, azure_conv_like

A40 = ReplicaSpec.uniform(MODEL, gpu_type("A40"))
SECOND = ConstantServiceTime(1.0)


def trace_of(arrivals: list[float], prompts: list[int], outputs: list[int], model: Any = MODEL.name) -> Trace:
    return Trace.from_columns(arrivals, prompts, outputs, model=model, source="by hand")


def test_the_records_keep_the_trace() -> None:
    trace = Trace.from_columns(
        [0.0, 1.0], [10, 20], [3, 4], model=MODEL.name, slo_class=["chat", "batch"], session_id=[7, None]
    )
    requests = simulate(Deployment(((A40, 1),)), trace, service_time=SECOND).requests
    assert requests.select(trace.requests.columns).equals(trace.requests)


def test_columns_and_types() -> None:
    trace = trace_of([0.0, 0.0], [10, 10**6], [3, 3])
    result = simulate(Deployment(((A40, 1),)), trace, service_time=SECOND)
    found = dict(result.requests.drop(trace.requests.columns).schema)
    assert found == {
        "first_scheduled_s": pl.Float64(),
        "first_token_s": pl.Float64(),
        "finish_s": pl.Float64(),
        "itl_max_s": pl.Float64(),
        "generated_tokens": pl.Int32(),
        "replica_id": pl.Int32(),
        "n_preempted": pl.Int32(),
        "n_interrupted": pl.Int32(),
        "n_retries": pl.Int32(),
        "n_timeouts": pl.Int32(),
        "recomputed_tokens": pl.Int64(),
        "cached_prompt_tokens": pl.Int32(),
        "reason": pl.String(),
        "ended_s": pl.Float64(),
        "status": pl.String(),
    }
    rejected = result.requests.row(1, named=True)
    assert rejected["status"] == "rejected"
    assert rejected["generated_tokens"] == 0
    assert rejected["ended_s"] == rejected["arrival_s"]
    for name in ("first_scheduled_s", "first_token_s", "finish_s", "replica_id"):
        assert rejected[name] is None


def test_the_manifest_says_how_the_run_came_about() -> None:
    result = simulate(Deployment(((A40, 2),)), trace_of([0.5], [10], [3]), service_time=SECOND, router="round_robin")
    expected = {
        "router": "round_robin",
        "length_predictor": "oracle",
        "stepping": "macro",
        "trace": "by hand",
        "n_requests": 1,
        "horizon_s": None,
        "end_s": 3.5,
        "usd_per_h": 1.1,
        "gpus": {"A40": 2},
    }
    assert {name: result.manifest[name] for name in expected} == expected


def test_the_replica_frame_says_what_each_one_is() -> None:
    mixed = ReplicaSpec(MODEL, (Stage(gpu_type("L40"), 2, 20), Stage(gpu_type("A40"), 1, 12)))
    result = simulate(Deployment(((A40, 1), (mixed, 2))), trace_of([0.0], [10], [3]), service_time=SECOND)
    columns = ["replica_id", "model", "name", "gpu_types", "n_gpus", "usd_per_h", "block_tokens"]
    assert result.replicas.select(columns).rows() == [
        (0, "Llama-3-8B", "A40 tp1", "A40", 1, 0.55, 16),
        (1, "Llama-3-8B", "L40 tp2 (20 layers) + A40 tp1 (12 layers)", "A40+L40", 3, 2.35, 16),
        (2, "Llama-3-8B", "L40 tp2 (20 layers) + A40 tp1 (12 layers)", "A40+L40", 3, 2.35, 16),
    ]
    assert result.replicas["n_iterations"].to_list() == [3, 0, 0]
    assert result.replicas["busy_s"].to_list() == [3.0, 0.0, 0.0]


def test_a_deployment_without_replicas_rejects_all() -> None:
    result = simulate(Deployment(()), trace_of([0.0, 4.0], [10, 10], [3, 3]), service_time=SECOND)
    assert result.requests["status"].to_list() == ["rejected", "rejected"]
    assert result.replicas.is_empty()
    assert result.manifest["end_s"] == 4.0


def test_a_service_time_that_does_not_know_the_gpu() -> None:
    unknown = replace(gpu_type("A40"), name="A41", coefficients=None)
    deployment = Deployment(((ReplicaSpec.uniform(MODEL, unknown), 1),))
    with pytest.raises(DeploymentError, match="A41"):
        simulate(deployment, trace_of([0.0], [10], [3]), service_time=CompactServiceTime())


def test_a_replica_whose_weights_do_not_fit_is_refused() -> None:
    spec = ReplicaSpec.uniform(model_spec("Llama-3-70B"), gpu_type("RTX4090"))
    trace = trace_of([0.0], [10], [3], "Llama-3-70B")
    with pytest.raises(DeploymentError):
        simulate(Deployment(((spec, 1),)), trace, service_time=CompactServiceTime())


def test_an_unknown_stepping_is_an_error() -> None:
    settings: dict[str, Any] = {"stepping": "makro"}
    with pytest.raises(ValueError, match="makro"):
        simulate(Deployment(((A40, 1),)), trace_of([0.0], [10], [3]), service_time=SECOND, **settings)


# The horizon ----------------------------------------------------------------------------------------------------


def test_requests_at_the_horizon_or_later_are_left_out() -> None:
    trace = trace_of([0.0, 4.5, 5.0, 6.0], [10] * 4, [3] * 4)
    result = simulate(Deployment(((A40, 1),)), trace, service_time=SECOND, horizon_s=5.0)
    assert result.requests["arrival_s"].to_list() == [0.0, 4.5]
    assert result.requests["status"].to_list() == ["completed", "unfinished"]
    assert result.manifest["horizon_s"] == result.manifest["end_s"] == 5.0


def test_a_horizon_before_the_first_arrival() -> None:
    for horizon_s in (5.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(SettingsError, match="it must be finite and after the first arrival"):
            simulate(Deployment(((A40, 1),)), trace_of([5.0], [10], [3]), service_time=SECOND, horizon_s=horizon_s)


@pytest.mark.parametrize(
    "times", [{"iteration_s": 0.0}, {"iteration_s": -1.0}, {"iteration_s": 1.0, "per_decode_s": -1}]
)
def test_times_that_make_no_sense_are_refused(times: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        ConstantServiceTime(**times)


@pytest.mark.parametrize("router", sorted(ROUTERS))
def test_a_horizon_after_the_last_finish_changes_only_the_end(router: str) -> None:
    trace = trace_of([0.0, 0.5], [10, 10], [3, 7])
    runs = [
        simulate(Deployment(((A40, 1),)), trace, service_time=SECOND, router=router, horizon_s=horizon_s)
        for horizon_s in (None, 1_000.0)
    ]
    assert runs[0].requests.equals(runs[1].requests)
    assert runs[0].replicas.drop("usd").equals(runs[1].replicas.drop("usd"))
    assert [run.manifest["end_s"] for run in runs] == [8.0, 1_000.0]


def test_the_end_is_not_before_the_last_arrival() -> None:
    result = simulate(Deployment(((A40, 1),)), trace_of([0.0, 10.0], [10, 10**6], [1, 1]), service_time=SECOND)
    assert result.requests["status"].to_list() == ["completed", "rejected"]
    assert result.manifest["end_s"] == 10.0


# Progress -------------------------------------------------------------------------------------------------------


def progress_of(router: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """Calls of a run on two replicas, with a rejected request in the middle."""
    monkeypatch.setattr(sim.progress, "_PROGRESS_EVERY", 1)
    calls: list[tuple[float, int]] = []
    trace = trace_of([0.5 * i for i in range(9)], [10] * 4 + [10**6] + [10] * 4, [3] * 9)
    simulate(
        Deployment(((A40, 2),)),
        trace,
        service_time=SECOND,
        router=router,
        progress=lambda time_s, n: calls.append((time_s, n)),
    )
    return calls


def test_progress_with_a_common_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    assert progress_of("least_loaded", monkeypatch) == [(0.5 * i, i + 1) for i in range(9)]


def test_progress_is_the_same_under_any_router(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is rejected has been counted before."""
    assert progress_of("round_robin", monkeypatch) == progress_of("least_loaded", monkeypatch)[1:]


def test_progress_is_called_every_4096_requests() -> None:
    calls: list[int] = []
    trace = trace_of([0.0] * 10_000, [1] * 10_000, [1] * 10_000)
    simulate(
        Deployment(((A40, 1),)),
        trace,
        service_time=ConstantServiceTime(1e-3),
        progress=lambda _, n: calls.append(n),
    )
    assert calls == [4_096, 8_192]


# Same input, same bytes -----------------------------------------------------------------------------------------

SAVE_ALL = """
import sys
from pathlib import Path
from tests.unit.sim.test_engine import save_all
save_all(Path(sys.argv[1]))
"""


def busy_fleet(router: str) -> SimulationResult:
    """A run in which everything happens: two models, pipelines, preemptions, rejections, a horizon."""
    tight = ReplicaLimits(kv_blocks=150, max_batched_tokens=512, max_seqs=64)
    pipeline = ReplicaSpec.uniform(MODEL, gpu_type("A40"), pp=2, limits=tight)
    mistral = ReplicaSpec.uniform(model_spec("Mistral-7B"), gpu_type("L40"), limits=tight)
    fleet = Deployment(
        ((ReplicaSpec.uniform(MODEL, gpu_type("H100-SXM"), limits=tight), 2), (pipeline, 1), (mistral, 1))
    )
    chats = [azure_conv_like(n_requests=150, rate_rps=8.0, seed=seed) for seed in range(2)]
    trace = chats[0].with_model(MODEL.name).merge(chats[1].with_model("Mistral-7B"), chats[1].with_model("Nobody"))
    return simulate(fleet, trace, service_time=CompactServiceTime(), router=router, horizon_s=40.0)


def save_all(directory: Path) -> list[SimulationResult]:
    results = [busy_fleet(router) for router in sorted(ROUTERS)]
    for router, result in zip(sorted(ROUTERS), results, strict=True):
        result.save(directory / router)
    return results


def test_same_input_same_bytes(tmp_path: Path) -> None:
    """Twice in this process, and in two others with other hash seeds."""
    root = Path(__file__).parents[3]
    others = [
        subprocess.Popen(
            [sys.executable, "-c", SAVE_ALL, str(tmp_path / seed)], env={**os.environ, "PYTHONHASHSEED": seed}, cwd=root
        )
        for seed in ("1", "2")
    ]
    for result in save_all(tmp_path / "here"):
        assert set(result.requests["status"]) == {"completed", "rejected", "unfinished"}
        assert set(result.requests["reason"].drop_nulls()) == {"exceeds_context", "no_replica_of_model"}
        assert result.requests["n_preempted"].sum() > 0
    save_all(tmp_path / "again")
    assert [other.wait(timeout=60) for other in others] == [0, 0]
    for router in ROUTERS:
        for name in ("requests.parquet", "replicas.parquet", "manifest.json"):
            here, *elsewhere = [(tmp_path / run / router / name).read_bytes() for run in ("here", "again", "1", "2")]
            assert elsewhere == [here] * 3, (router, name)


# Queues ---------------------------------------------------------------------------------------------------------


def test_a_saturated_replica_works_at_the_rate_of_its_slots() -> None:
    """Four slots, 100 requests of five 1 s iterations each: they go in 25 fours, 5 s each."""
    spec = ReplicaSpec.uniform(MODEL, gpu_type("A40"), limits=ReplicaLimits(max_seqs=4))
    result = simulate(Deployment(((spec, 1),)), trace_of([0.0] * 100, [10] * 100, [5] * 100), service_time=SECOND)
    assert result.requests["finish_s"].to_list() == [5.0 * (1 + i // 4) for i in range(100)]
    assert compute_metrics(result)["gpu_utilization"] == 1.0


class Extrapolating(ConstantServiceTime):
    """Counts replicas, as if each were outside of what was measured."""

    n_extrapolated = 0

    def stage_times(self, spec: ReplicaSpec) -> tuple[StageTime, ...]:
        self.n_extrapolated += 1
        return super().stage_times(spec)


def test_the_manifest_counts_extrapolations_of_its_own_run() -> None:
    service_time = Extrapolating(1.0)
    trace = trace_of([0.0], [10], [3])
    for _ in range(2):
        manifest = simulate(Deployment(((A40, 3),)), trace, service_time=service_time).manifest
        assert manifest["n_extrapolated"] == 3
    assert simulate(Deployment(((A40, 3),)), trace, service_time=SECOND).manifest["n_extrapolated"] == 0
