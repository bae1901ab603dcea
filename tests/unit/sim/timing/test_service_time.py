from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from sim import (
    Chunk,
    CompactServiceTime,
    ConstantServiceTime,
    DeploymentError,
    EngineProfile,
    EngineServiceTime,
    ReplicaSpec,
    Stage,
    StageTime,
    gpu_names,
    gpu_type,
    model_names,
    model_spec,
)
from tests.strategies_sim import DENSE_MODELS, FITTING_REPLICAS

LLAMA_70B = model_spec("Llama-3-70B")
H100, L40 = gpu_type("H100-SXM"), gpu_type("L40")


def stage_of(model: str, gpu: str, tp: int = 1) -> StageTime:
    (stage,) = CompactServiceTime().stage_times(ReplicaSpec.uniform(model_spec(model), gpu_type(gpu), tp=tp))
    return stage


def decode_s(stage: StageTime, n_decode: int, context_tokens: int) -> float:
    base, slope = stage.decode(n_decode)
    return base + slope * context_tokens


# The formula by hand --------------------------------------------------------------------------------------------


def exposed(read_s: float, flops_s: float) -> float:
    """Matrix products on an H100: what is longer, and a share of the other."""
    return max(read_s + 0.2798 * flops_s, flops_s + 0.1337 * read_s)


def llama_70b_on_four_h100(n_decode: int, context: int, chunks: list[tuple[int, int]]) -> float:
    """The compact model for one GPU of four, in plain numbers from the datasheet, the fit and config.json."""
    read, flops = 3.35e12, 989.4e12
    layer = (8192 * 64 * 128 * 2 + 8192 * 8 * 128 * 2 + 3 * 8192 * 28672) / 4
    head = 128256 * 8192 / 4
    tokens = n_decode + sum(new for new, _ in chunks)
    sequences = n_decode + len(chunks)
    kv_tokens = context + sum(past for _, past in chunks)
    pairs = sum(new * past + new * new / 2 for new, past in chunks)

    overhead = 80 * 39.7e-6 + (80 * 13.77e-6 if chunks else 0)
    load = (2 * layer * tokens / flops / 2.5e-3) ** 4
    slower = 1 + 0.06429 * load / (1 + load)
    linear = exposed(80 * 2 * layer / (read * 0.884), slower * 80 * 2 * layer * tokens / (flops * 0.8812))
    output = exposed(2 * head / (read * 0.884), 2 * head * sequences / (flops * 0.8812))
    kv = kv_tokens * 80 * 2 * 2 * 2 * 128 / (read * 0.9017)  # two of eight KV heads
    attention = 80 * 4 * 16 * 128 * pairs / (flops * 0.7294)  # sixteen of 64 heads
    elementwise = 80 * 2 * (8 * 8192 + 3 * 28672 / 4 + 2 * (64 + 8) * 128 / 4) * tokens / (read * 0.4637)
    allreduce = 2 * 80 * (3.988e-6 + 2 * 3 / 4 * tokens * 8192 * 2 / 291.1e9)
    return overhead + linear + output + kv + attention + elementwise + allreduce


@pytest.mark.parametrize(("n_decode", "context"), [(1, 1), (16, 16_000), (256, 100_000)])
def test_decode_is_the_formula(n_decode: int, context: int) -> None:
    stage = stage_of("Llama-3-70B", "H100-SXM", 4)
    expected = llama_70b_on_four_h100(n_decode, context, [])
    assert decode_s(stage, n_decode, context) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("n_decode", "context", "chunks"),
    [(0, 0, [(1, 0)]), (0, 0, [(2048, 0)]), (32, 40_000, [(512, 100)]), (3, 900, [(700, 0), (1, 5_000), (64, 64)])],
)
def test_mixed_is_the_formula(n_decode: int, context: int, chunks: list[tuple[int, int]]) -> None:
    stage = stage_of("Llama-3-70B", "H100-SXM", 4)
    expected = llama_70b_on_four_h100(n_decode, context, chunks)
    assert stage.mixed(n_decode, context, [Chunk(*chunk) for chunk in chunks]) == pytest.approx(expected, rel=1e-12)


def test_the_order_of_magnitude() -> None:
    """A decode of one request reads all weights once: 141 GB over four times 3.35 TB/s are 10.5 ms."""
    assert 0.0105 < decode_s(stage_of("Llama-3-70B", "H100-SXM", 4), 1, 1) < 0.018


def test_pipeline_stages_share_layers_head_and_links() -> None:
    """Two stages do what one does, but for the hand-over: the head is on the last, overheads are paid once."""
    engine = EngineProfile(step_overhead_s=1e-3, sequence_overhead_s=1e-5)
    service_time = EngineServiceTime(CompactServiceTime(), engine)
    (whole,) = service_time.stage_times(ReplicaSpec.uniform(LLAMA_70B, H100, tp=4))
    first, last = service_time.stage_times(ReplicaSpec.uniform(LLAMA_70B, H100, tp=4, pp=2))
    chunks = [Chunk(500, 300)]
    n_tokens = 32 + 500
    hand_over_s = n_tokens * 2 * 8192 / 450e9  # eight GPUs: within a node
    together = first.mixed(32, 40_000, chunks) + last.mixed(32, 40_000, chunks)
    assert together - hand_over_s == pytest.approx(whole.mixed(32, 40_000, chunks), rel=1e-12)
    head_s = 2 * 128256 * 8192 / 4 / (3.35e12 * 0.884)
    difference = decode_s(last, 1, 0) - decode_s(first, 1, 0)
    assert difference == pytest.approx(head_s + 1e-3 + 1e-5 - 2 * 8192 / 450e9, rel=1e-3)


@pytest.mark.parametrize(
    ("stages", "bandwidth"),
    [
        ((Stage(H100, 4, 40), Stage(H100, 4, 40)), 450e9),  # eight GPUs: one node
        ((Stage(H100, 8, 40), Stage(H100, 8, 40)), 5e9 / 8),  # sixteen: two nodes
        ((Stage(H100, 4, 40), Stage(L40, 4, 40)), 5e9 / 8),  # of different types: two nodes
    ],
)
def test_the_link_between_stages(stages: tuple[Stage, ...], bandwidth: float) -> None:
    spec = ReplicaSpec(LLAMA_70B, stages)
    first, _ = CompactServiceTime().stage_times(spec)
    without, _ = CompactServiceTime(network_bandwidth_bytes_per_s=float("inf")).stage_times(spec)
    fast = replace(H100, link_bandwidth_bytes_per_s=float("inf"))
    if bandwidth == 450e9:
        without, _ = CompactServiceTime().stage_times(ReplicaSpec(LLAMA_70B, (replace(stages[0], gpu_type=fast),) * 2))
    chunks = [Chunk(1_000, 0)]
    assert first.mixed(0, 0, chunks) - without.mixed(0, 0, chunks) == pytest.approx(
        1_000 * 2 * 8192 / bandwidth, rel=1e-6
    )


@pytest.mark.parametrize(("model", "efficiency"), [("Llama-3-8B", 0.88 / 4**0.6), ("Llama-3-70B", 0.88 / 8**0.6)])
def test_decodes_beside_a_chunk_read_kv_slower_without_flash_attention_3(model: str, efficiency: float) -> None:
    chunks = [Chunk(64, 0)]
    for gpu, share in (("L40", efficiency), ("A100-SXM-80GB", efficiency), ("H100-SXM", 0.9017)):
        stage = stage_of(model, gpu, 8)
        slope = (stage.mixed(8, 20_000, chunks) - stage.mixed(8, 10_000, chunks)) / 10_000
        kv_bytes = model_spec(model).kv_bytes_per_token / 8
        bandwidth = gpu_type(gpu).memory_bandwidth_bytes_per_s
        assert slope == pytest.approx(kv_bytes / bandwidth / share, rel=1e-9), gpu


def test_without_grouped_queries_mixed_is_no_faster_than_decode() -> None:
    """0.88 of bandwidth for a group of 1 exceeds what decodes reach alone: the lower one holds."""
    stage = stage_of("Llama-2-7B", "L40")
    slope = stage.mixed(8, 20_000, [Chunk(1, 0)]) - stage.mixed(8, 10_000, [Chunk(1, 0)])
    assert slope == pytest.approx(10_000 * stage.decode(8)[1], rel=1e-9)


# Laws -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gpu", gpu_names())
def test_times_are_positive_and_never_fall(gpu: str) -> None:
    """For every dense model and every tp and pp that fit on this GPU, along each argument from several bases."""
    specs = [spec for spec in FITTING_REPLICAS if spec.stages[0].gpu_type.name == gpu]
    assert {spec.model.name for spec in specs} == {model.name for model in DENSE_MODELS}
    for spec in specs:
        for stage in CompactServiceTime().stage_times(spec):
            bases, slopes = zip(*(stage.decode(n) for n in (1, 2, 3, 8, 64, 256, 1024)), strict=True)
            assert bases[0] > 0
            assert all(a <= b for a, b in pairwise(bases))
            assert 0 < slopes[0] <= min(slopes)
            assert_grows(lambda n, stage=stage: stage.mixed(n, 50_000, [Chunk(64, 32)]), (0, 1, 2, 64, 1024))
            assert_grows(lambda c, stage=stage: stage.mixed(8, c, [Chunk(64, 32)]), (8, 9, 1000, 10**6))
            assert_grows(lambda n, stage=stage: stage.mixed(8, 9_000, [Chunk(n, 32)]), (1, 2, 16, 17, 512, 8192))
            assert_grows(lambda p, stage=stage: stage.mixed(8, 9_000, [Chunk(64, p)]), (0, 1, 16, 4096, 10**5))
            assert_grows(lambda k, stage=stage: stage.mixed(8, 9_000, [Chunk(64, 32)] * k), (1, 2, 3, 16))


def assert_grows(time_of: Callable[[int], float], values: tuple[int, ...]) -> None:
    times = [time_of(value) for value in values]
    assert all(a < b for a, b in pairwise(times)), times


@pytest.mark.parametrize("service_time", [CompactServiceTime(), ConstantServiceTime(0.1)])
def test_mixed_without_chunks_is_decode(service_time: CompactServiceTime | ConstantServiceTime) -> None:
    """On a GPU that reads the KV of decodes no slower beside chunks."""
    spec = ReplicaSpec.uniform(LLAMA_70B, H100, tp=4, pp=2)
    for stage in service_time.stage_times(spec):
        for n_decode, context in ((1, 1), (7, 3_000), (512, 10**6)):
            assert stage.mixed(n_decode, context, []) == pytest.approx(decode_s(stage, n_decode, context), rel=1e-12)


def test_more_gpus_make_an_iteration_shorter() -> None:
    times = [decode_s(stage_of("Llama-3-70B", "H100-SXM", tp), 64, 64_000) for tp in (2, 4, 8)]
    assert times[0] > times[1] > times[2]


def test_times_outside_of_what_was_fitted_are_counted() -> None:
    """Batch sizes once for each replica, iterations with chunks each time; by the first stage only."""
    service_time = CompactServiceTime()
    first, last = service_time.stage_times(ReplicaSpec.uniform(LLAMA_70B, H100, tp=4, pp=2))
    for stage in (first, last):
        stage.decode(256)
        stage.mixed(0, 0, [Chunk(8_192, 0)])
        stage.mixed(2, 2 * 16_384, [Chunk(4_096, 0), Chunk(4_096, 0)])
    assert service_time.n_extrapolated == 0
    for stage in (first, last):
        stage.decode(257)
        stage.decode(257)
        stage.mixed(0, 0, [Chunk(4_096, 0), Chunk(4_097, 0)])
        stage.mixed(2, 2 * 16_384 + 1, [Chunk(1, 0)])
    assert service_time.n_extrapolated == 3
    (unfitted,) = service_time.stage_times(ReplicaSpec.uniform(LLAMA_70B, L40, tp=4))
    unfitted.decode(1_000)
    assert service_time.n_extrapolated == 3


# Mistakes -------------------------------------------------------------------------------------------------------


def test_a_gpu_without_coefficients_is_refused() -> None:
    spec = ReplicaSpec.uniform(LLAMA_70B, replace(H100, name="H1000", coefficients=None), tp=4)
    with pytest.raises(DeploymentError, match="GPU type 'H1000' has no service-time coefficients"):
        CompactServiceTime().stage_times(spec)


def test_a_tp_without_allreduce_is_refused() -> None:
    with pytest.raises(DeploymentError, match="'L40' has no all-reduce time for tp 16; known: 1, 2, 4, 8"):
        CompactServiceTime().stage_times(ReplicaSpec.uniform(LLAMA_70B, L40, tp=16))


# Constants ------------------------------------------------------------------------------------------------------


def test_constant_times() -> None:
    service_time = ConstantServiceTime(1.0, per_prompt_token_s=0.01, per_decode_s=0.1, per_context_token_s=1e-4)
    (stage,) = service_time.stage_times(ReplicaSpec.uniform(LLAMA_70B, H100, tp=4))
    assert decode_s(stage, 3, 1_000) == pytest.approx(1.0 + 0.3 + 0.1)
    assert stage.mixed(3, 1_000, [Chunk(50, 7), Chunk(10, 0)]) == pytest.approx(1.0 + 0.3 + 0.1 + 0.6)
    stages = service_time.stage_times(ReplicaSpec.uniform(LLAMA_70B, H100, tp=4, pp=5))
    assert sum(decode_s(stage, 3, 1_000) for stage in stages) == pytest.approx(1.4)
    assert len({decode_s(stage, 3, 1_000) for stage in stages}) == 1


# Measurements ---------------------------------------------------------------------------------------------------

FITTED = ("A100-SXM-80GB", "H100-SXM", "H200-SXM", "L40S", "RTX4090")


def measured(data_dir: Path) -> pl.DataFrame:
    """Measured forward passes of our models and GPUs beside what the compact model says of them."""
    names = {name.lower(): name for name in model_names()}
    table = pl.read_csv(data_dir / "profiles/iteration_times_slim.csv", infer_schema_length=None).filter(
        pl.col("flag").is_null(),
        pl.col("gpu").is_in(FITTED),
        pl.col("model").is_in(list(names)),
        (pl.col("gpu") != "L40S") | (pl.col("tp") <= 2),
    )
    table = table.with_columns(chunk_past_tokens=pl.col("note").str.extract(r"past=(\d+)").cast(pl.Int64))
    modelled_ms = []
    for row in table.iter_rows(named=True):
        stage = stage_of(names[row["model"]], row["gpu"], row["tp"])
        batch, new, context = row["batch"], row["new_tokens"], row["context_tokens"]
        if row["phase"] == "prefill":
            time_s = stage.mixed(0, 0, [Chunk(new, context)] * batch)
        elif row["phase"] == "decode":
            time_s = decode_s(stage, batch, batch * context)
        else:  # decodes, and one chunk whose past is in the note
            time_s = stage.mixed(batch, batch * context, [Chunk(new, row["chunk_past_tokens"])])
        modelled_ms.append(1e3 * time_s)
    error = pl.Series("modelled_ms", modelled_ms) / table["time_ms"] - 1
    return table.with_columns(error_pct=100 * error)


@pytest.mark.data
def test_measured_iterations_are_reproduced(data_dir: Path) -> None:
    errors = (
        measured(data_dir)
        .group_by("gpu", "phase")
        .agg(
            n=pl.len(),
            mape=pl.col("error_pct").abs().mean(),
            bias=pl.col("error_pct").mean(),
            worst=pl.col("error_pct").abs().max(),
        )
        .sort("phase", "gpu")
    )
    assert errors.height == 2 * len(FITTED) + 1
    assert errors["n"].min() >= 28
    most = {"prefill": 8.0, "decode": 5.0, "mixed": 7.0}  # of mixed iterations there are those of the RTX 4090 only
    is_off = (pl.col("mape") > pl.col("phase").replace_strict(most)) | (pl.col("worst") > 32)
    is_biased = (pl.col("bias").abs() > 3) & (pl.col("phase") != "mixed")
    with pl.Config(tbl_rows=-1, float_precision=2):
        table = f"errors in per cent:\n{errors}"
    n_off = errors.filter(is_off | is_biased).height
    assert n_off == 0, table
