"""The package itself is the reference: what it says of a whole iteration is what our composition must give."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sim import (
    AiconfiguratorServiceTime,
    Chunk,
    Deployment,
    DeploymentError,
    GpuType,
    ModelSpec,
    ReplicaSpec,
    SettingsError,
    Stage,
    StageTime,
    gpu_type,
    model_spec,
    simulate,
)
from sim.catalog.gpus import AllReduce
from sim.timing.aiconfigurator import (
    BACKENDS,
    MAX_CONTEXT_TOKENS_TIMES_HEADS,
    MAX_DECODES,
    MAX_NEW_TOKENS,
    MAX_PROMPT_TOKENS,
)
from sim.timing.kernel_questions import MAX_KV_HEADS, SYSTEMS, Layout, Questions, engine_of
from traces import azure_conv_like

package = pytest.importorskip("aiconfigurator_core", reason="not run: aiconfigurator-core is not installed")

LLAMA_8B, LLAMA_70B = model_spec("Llama-3.1-8B"), model_spec("Llama-3.1-70B")
A100, H100, L40S = gpu_type("A100-SXM-80GB"), gpu_type("H100-SXM"), gpu_type("L40S")
SPEC = ReplicaSpec.uniform(LLAMA_8B, A100)
REPLICAS = [
    SPEC,
    ReplicaSpec.uniform(LLAMA_8B, L40S),
    ReplicaSpec.uniform(LLAMA_8B, L40S, tp=2),
    ReplicaSpec.uniform(LLAMA_8B, H100),
    ReplicaSpec.uniform(LLAMA_70B, A100, tp=8),
    ReplicaSpec.uniform(LLAMA_70B, H100, tp=4),
]
SPEC_L40S = REPLICAS[1]
TIMES = AiconfiguratorServiceTime()


def stage_of(spec: ReplicaSpec, times: AiconfiguratorServiceTime = TIMES) -> StageTime:
    (stage,) = times.stage_times(spec)
    return stage


def decode_s(stage: StageTime, n: int, context: int) -> float:
    base, slope = stage.decode(n)
    return base + slope * context


# Against the package ----------------------------------------------------------------------------------------------


def errors_of(ours: Callable[..., float], theirs: Callable[..., float], cells: list[tuple[int, ...]]) -> Any:
    return np.array([1e3 * ours(*cell) / theirs(*cell) - 1 for cell in cells])


@pytest.mark.parametrize("spec", REPLICAS, ids=lambda spec: f"{spec.model.name} {spec.name}")
def test_iterations_are_what_the_package_says(spec: ReplicaSpec) -> None:
    """Whole iterations, between the points that it was asked about, to some per cent of interpolation and levelling."""
    stage = stage_of(spec)
    gpu, tp = spec.stages[0].gpu_type, spec.stages[0].tp
    engine = engine_of(spec.model, SYSTEMS[gpu.name], Layout(tp), "vllm", "current")
    fitting_tokens = tp * gpu.memory_bytes / spec.model.kv_bytes_per_token

    decodes = [(n, c) for n in (1, 3, 24, 100, 300, 900) for c in (100, 700, 3000, 14_000) if n * c < fitting_tokens]
    errors = errors_of(
        lambda n, c: decode_s(stage, n, n * c), lambda n, c: engine.decode_step_latency(n, c - 1, 2), decodes
    )
    assert abs(errors.mean()) < 0.01
    assert np.abs(errors).mean() < 0.03
    assert np.abs(errors).max() < 0.12

    prompts = [(new, 0) for new in (1, 20, 100, 150, 333, 1111, 2500, 5000, 8000)]
    errors = errors_of(
        lambda new, past: stage.mixed(0, 0, [Chunk(new, past)]),
        lambda new, past: engine.predict_prefill_latency(1, new + past, past),
        prompts,
    )
    assert np.abs(errors).max() < 0.04
    # Where a past would make attention shorter than it is without one, it is levelled.
    prompts = [(new, past) for new in (100, 333, 1111, 5000) for past in (300, 1500, 9000)]
    errors = errors_of(
        lambda new, past: stage.mixed(0, 0, [Chunk(new, past)]),
        lambda new, past: engine.predict_prefill_latency(1, new + past, past),
        prompts,
    )
    assert np.abs(errors).max() < 0.1

    mixed = [(n, new) for n in (1, 24, 100) for new in (100, 333, 1111, 2500) if n * new < fitting_tokens]
    errors = errors_of(
        lambda n, new: stage.mixed(n, n * new, [Chunk(new, 0)]),
        lambda n, new: engine.mixed_step_latency(new, n, new, 2),
        mixed,
    )
    assert np.abs(errors).mean() < 0.02
    assert np.abs(errors).max() < 0.08


def test_several_prompts_are_one_kernel() -> None:
    """Their attention is not the sum of what each takes alone: a kernel takes some time whatever it does."""
    stage = stage_of(SPEC)
    engine = engine_of(LLAMA_8B, "a100_sxm", Layout(1), "vllm", "current")
    for n, new in ((4, 128), (16, 128), (4, 1024)):
        theirs = engine.run_static(batch_size=n, isl=new, osl=1, mode="static_ctx")[0]
        assert 1e3 * stage.mixed(0, 0, [Chunk(new, 0)] * n) == pytest.approx(theirs, rel=0.05)


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_differ(backend: str) -> None:
    stage = stage_of(SPEC, AiconfiguratorServiceTime(backend))
    engine = engine_of(LLAMA_8B, "a100_sxm", Layout(1), backend, "current")
    assert 1e3 * stage.mixed(0, 0, [Chunk(1000, 0)]) == pytest.approx(engine.predict_prefill_latency(1, 1000), rel=0.02)
    assert backend == "vllm" or stage.decode(8) != stage_of(SPEC).decode(8)


@pytest.mark.parametrize("gpu", [H100, A100, L40S])
@pytest.mark.parametrize("backend", ["sglang", "trtllm"])
def test_many_kv_heads_are_those_of_more_sequences(monkeypatch: Any, gpu: GpuType, backend: str) -> None:
    """Tables of other engines hold 32 KV heads: folded as in vLLM's, which end at 8, the times are the same."""
    model = model_spec("Llama-2-7B")
    cells = [(n, context) for n in (1, 8, 32, 128) for context in (512, 1024, 4096) if n * context <= 2**17]
    measured = Questions(model, gpu, Layout(1), backend, "current")
    monkeypatch.setattr("sim.timing.kernel_questions.MAX_KV_HEADS_OF_OTHERS", MAX_KV_HEADS)
    folded = Questions(model, gpu, Layout(1), backend, "current")
    errors = [folded.decode_attention_s(*cell) / measured.decode_attention_s(*cell) - 1 for cell in cells]
    assert 0 < np.abs(errors).mean() < 0.05
    assert np.abs(errors).max() < 0.13


def test_many_kv_heads_are_measured() -> None:
    times = AiconfiguratorServiceTime()
    stage = stage_of(ReplicaSpec.uniform(model_spec("Llama-2-7B"), H100), times)
    stage.decode(MAX_DECODES // 4)
    stage.mixed(8, 8 * 512, [Chunk(2048, 0)])
    assert times.n_extrapolated == 0
    stage.decode(MAX_DECODES // 4 + 1)
    assert times.n_extrapolated == 1


@pytest.mark.parametrize("tp", [2, 4])
def test_all_reduces_of_the_host_take_the_place_of_those_of_the_tables(tp: int) -> None:
    known = dict(L40S.coefficients.allreduce)[tp]  # type: ignore[union-attr]
    slower = AllReduce(known.latency_s + 10e-6, known.bandwidth_bytes_per_s)
    hosts = [replace(L40S, host_allreduce=((tp, cost),)) for cost in (known, slower)]
    bases = [stage_of(ReplicaSpec.uniform(LLAMA_8B, gpu, tp=tp)).decode(64)[0] for gpu in hosts]
    assert bases[1] - bases[0] == pytest.approx(65 * 10e-6, rel=0.01), "but for the levelling"
    assert bases[0] == pytest.approx(stage_of(ReplicaSpec.uniform(LLAMA_8B, L40S, tp=tp)).decode(64)[0], rel=0.1)
    without = replace(L40S, peer_to_peer=False)
    assert stage_of(ReplicaSpec.uniform(LLAMA_8B, without)).decode(64) == stage_of(SPEC_L40S).decode(64)


def test_more_than_two_gpus_over_pcie_reduce_with_nccl() -> None:
    """4.92 ms for 1,024 tokens of 8,192 x 2 bytes among four L40S, as measured with NCCL; 161 times an iteration."""
    stage = stage_of(ReplicaSpec.uniform(LLAMA_70B, L40S, tp=4))
    engine = engine_of(LLAMA_70B, "l40s", Layout(4), "vllm", "current")
    times = {name: time_ms for name, time_ms, *_ in engine.run_static_per_op(batch_size=1, isl=1024, osl=1)[0]}
    without_ms = sum(time_ms for name, time_ms in times.items() if "_ar" not in name)
    assert 1e3 * stage.mixed(0, 0, [Chunk(1024, 0)]) - without_ms == pytest.approx(161 * 4.92, rel=0.01)


@pytest.mark.data
def test_rows_of_the_same_package(data_dir: Path) -> None:
    """The rows of Llama; those of Qwen3 hold a norm of queries and keys besides."""
    rows = pl.read_csv(data_dir / "profiles/iteration_times_slim.csv", infer_schema_length=None).filter(
        pl.col("source") == "aiconfigurator-core 0.12.0 (vLLM tables)",
        pl.col("model").str.starts_with("llama-3.1"),
        pl.col("gpu").is_in(["A100-SXM-80GB", "H100-SXM", "L40S"]),
        pl.col("flag").is_null(),
    )
    models = {"llama-3.1-8b": LLAMA_8B, "llama-3.1-70b": LLAMA_70B}
    errors: dict[str, list[float]] = {"decode": [], "prefill": []}
    for row in rows.iter_rows(named=True):
        stage = stage_of(ReplicaSpec.uniform(models[row["model"]], gpu_type(row["gpu"]), tp=row["tp"]))
        n, context = row["batch"], row["context_tokens"]
        if row["phase"] == "decode":
            time_s = decode_s(stage, n, n * context)
        else:
            time_s = stage.mixed(0, 0, [Chunk(row["new_tokens"] // n, context)] * n)
        errors[row["phase"]].append(abs(1e3 * time_s / row["time_ms"] - 1))
    assert len(errors["decode"]) > 500
    assert np.mean(errors["decode"]) < 0.025
    assert np.mean(errors["prefill"]) < 0.02


# Pipelines and overheads ------------------------------------------------------------------------------------------


def test_stages_of_a_pipeline_share_the_layers() -> None:
    """The last has the output head besides, and the first sends what it has computed."""
    spec = ReplicaSpec(LLAMA_70B, (Stage(H100, 4, 60), Stage(H100, 4, 20)))
    first, last = TIMES.stage_times(spec)
    whole = stage_of(ReplicaSpec.uniform(LLAMA_70B, H100, tp=4))
    send_s = 2 * 8192 / 450e9
    chunks = [Chunk(500, 0), Chunk(100, 700)]
    times = [stage.mixed(30, 9_000, chunks) for stage in (first, last, whole)]
    assert times[0] + times[1] == pytest.approx(times[2] + 630 * send_s)
    assert decode_s(first, 30, 9_000) + decode_s(last, 30, 9_000) == pytest.approx(
        decode_s(whole, 30, 9_000) + 30 * send_s
    )
    head_s = times[1] - (times[0] - 630 * send_s) / 3
    assert head_s == pytest.approx(2 * 128_256 * 8_192 / 4 / 3.35e12, rel=0.25)  # its weights are read


def test_stages_may_be_of_different_types() -> None:
    spec = ReplicaSpec(LLAMA_8B, (Stage(H100, 1, 16), Stage(A100, 1, 16)))
    fast, slow = AiconfiguratorServiceTime(network_bandwidth_bytes_per_s=1e15).stage_times(spec)
    assert decode_s(fast, 8, 8_000) < decode_s(slow, 8, 8_000)


@pytest.mark.parametrize("spec", REPLICAS[:2], ids=lambda spec: spec.name)
def test_mixed_without_chunks_is_decode(spec: ReplicaSpec) -> None:
    stage = stage_of(spec)
    for n, context in ((1, 1), (7, 3_000), (700, 100_000)):
        assert stage.mixed(n, context, []) == pytest.approx(decode_s(stage, n, context), rel=1e-12)


# Domain -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", SYSTEMS.values())
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_domain_is_what_the_tables_cover(system: str, backend: str) -> None:
    from aiconfigurator_core.sdk.perf_database import get_version_slots

    slots = get_version_slots(system, backend)
    assert slots is not None
    folder = Path(package.__file__).parent / "systems/data" / system

    def read(family: str, name: str) -> pl.DataFrame:
        return pl.read_parquet(folder / family / backend / slots["current"] / f"{name}_perf.parquet")

    decodes = read("attention", "generation_attention").filter(
        pl.col("head_dim") == 128,
        pl.col("kv_cache_dtype") == "bfloat16",
        pl.struct("num_heads", "num_key_value_heads").is_in(
            [
                {"num_heads": heads, "num_key_value_heads": kv}
                for heads, kv in ((64, MAX_KV_HEADS), (32, MAX_KV_HEADS), (16, 2), (8, 1), (4, 1))
            ]
        ),
    )
    cells = pl.col("batch_size") * (pl.col("step") + pl.col("isl")) * pl.col("num_heads")
    covered = decodes.group_by("num_heads").agg(pl.col("batch_size").max(), cells=cells.max())
    assert covered.height == 5
    assert covered["batch_size"].min() == MAX_DECODES
    assert int(covered["cells"].min()) >= MAX_CONTEXT_TOKENS_TIMES_HEADS  # type: ignore[arg-type]
    assert read("attention", "context_attention")["isl"].max() == MAX_PROMPT_TOKENS
    gemms = read("gemm", "gemm").filter(pl.col("gemm_dtype") == "bfloat16")
    assert int(gemms["m"].max()) >= MAX_NEW_TOKENS  # type: ignore[arg-type]


def test_times_outside_are_counted() -> None:
    """Batch sizes once for each replica, iterations with chunks each time; by the first stage only."""
    times = AiconfiguratorServiceTime()
    most = MAX_CONTEXT_TOKENS_TIMES_HEADS // 32  # of Llama-3.1-8B
    for stage in times.stage_times(ReplicaSpec.uniform(LLAMA_8B, A100, pp=2)):
        stage.decode(2048)
        stage.mixed(0, 0, [Chunk(8192, 8192)])
        stage.mixed(9, most, [Chunk(4096, 0), Chunk(4096, 0)])
    assert times.n_extrapolated == 0
    for stage in times.stage_times(ReplicaSpec.uniform(LLAMA_8B, A100, pp=2)):
        stage.decode(2049)
        stage.decode(2049)
        stage.mixed(0, 0, [Chunk(8192, 8193)])
        stage.mixed(0, 0, [Chunk(4097, 0), Chunk(4096, 0)])
        stage.mixed(9, most + 1, [Chunk(1, 0)])
    assert times.n_extrapolated == 4


def test_more_kv_heads_than_measured_are_counted() -> None:
    """Tables end at eight on a GPU: 32 are those of four sequences, 24 of three, 12 are not measured at all."""
    times = AiconfiguratorServiceTime()
    for n_heads, n_counted in ((32, 0), (24, 0), (12, 2)):
        model = replace(model_spec("Llama-2-7B"), n_heads=n_heads, n_kv_heads=n_heads)
        stage = stage_of(ReplicaSpec.uniform(model, A100), times)
        stage.decode(8)
        stage.mixed(0, 0, [Chunk(8, 0)])
        assert times.n_extrapolated == n_counted


# Mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpu", "tp", "message"),
    [
        (gpu_type("L40"), 1, "no times of GPU type 'L40': did you mean 'L40S'\\? known: A100-SXM-80GB, B200-SXM"),
        (gpu_type("A40"), 1, "no times of GPU type 'A40'"),
        (A100, 16, r"no times of Llama-3.1-8B on A100-SXM-80GB tp16; known tp: 1, 2, 4, 8$"),
    ],
)
def test_replicas_that_it_does_not_have(gpu: GpuType, tp: int, message: str) -> None:
    with pytest.raises(DeploymentError, match=message):
        TIMES.stage_times(ReplicaSpec.uniform(LLAMA_8B, gpu, tp=tp))


def test_models_that_it_does_not_have() -> None:
    small = ModelSpec("Small", 2, 1280, 20, 20, 64, 5120, 32_000, 2048)
    with pytest.raises(DeploymentError, match=r"no times of Small on A100-SXM-80GB tp1: .*head_size: 64"):
        TIMES.stage_times(ReplicaSpec.uniform(small, A100))
    with pytest.raises(DeploymentError, match=r"Small on A100-SXM-80GB tp10; known tp: 1, 2, 4$"):
        TIMES.stage_times(ReplicaSpec.uniform(small, A100, tp=10))


def test_names_that_it_does_not_have() -> None:
    with pytest.raises(SettingsError, match="unknown backend 'vlm': did you mean 'vllm'"):
        AiconfiguratorServiceTime("vlm")
    with pytest.raises(DeploymentError, match=r"no vllm '0\.14' for A100-SXM-80GB: did you mean '0\.14\.0'"):
        AiconfiguratorServiceTime(version="0.14").stage_times(SPEC)
    assert stage_of(SPEC, AiconfiguratorServiceTime(version="0.14.0")).decode(8) == stage_of(SPEC).decode(8)


# In a simulation --------------------------------------------------------------------------------------------------


def test_it_goes_to_other_processes() -> None:
    times = pickle.loads(pickle.dumps(TIMES))
    assert stage_of(SPEC, times).decode(77) == stage_of(SPEC).decode(77)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_macro_steps_are_single_iterations(n_jobs: int) -> None:
    trace = azure_conv_like(150, seed=1, rate_rps=5, model="Llama-3.1-8B")
    deployment = Deployment(((SPEC, 1), (ReplicaSpec.uniform(LLAMA_8B, L40S, pp=2), 1)))
    fast = simulate(deployment, trace, service_time=TIMES, router="round_robin", n_jobs=n_jobs)
    slow = simulate(deployment, trace, service_time=TIMES, router="round_robin", stepping="iteration")
    assert fast.requests["finish_s"].to_numpy() == pytest.approx(slow.requests["finish_s"].to_numpy(), rel=1e-9)
    assert fast.requests["status"].to_list() == ["completed"] * 150
