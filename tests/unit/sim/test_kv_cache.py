from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from sim import (
    DeploymentError,
    GpuType,
    ModelSpec,
    ReplicaLimits,
    ReplicaSpec,
    Stage,
    gpu_type,
    kv_blocks,
    max_context_tokens,
    model_names,
    model_spec,
)
from sim.kv_cache import blocks_for, stage_kv_bytes_per_token, stage_weight_bytes

# 576 weights a layer, 800 in the embedding and 800 in the head; 16 bytes of KV per token and layer, 8 per KV head.
TINY = ModelSpec(
    "tiny", n_layers=4, hidden_size=8, n_heads=4, n_kv_heads=2, head_dim=2, ffn_size=16, vocab_size=100,
    max_context_tokens=10_000,
)  # fmt: skip
CARD = GpuType("card", memory_bytes=100_000, usd_per_h=1.0)
HALF = ReplicaLimits(gpu_memory_utilization=0.5, reserve_bytes=2_000)  # 48,000 bytes for weights and blocks


@pytest.mark.parametrize(("tokens", "blocks"), [(0, 0), (1, 1), (15, 1), (16, 1), (17, 2), (160, 10), (161, 11)])
def test_blocks_for_rounds_up(tokens: int, blocks: int) -> None:
    assert blocks_for(tokens, 16) == blocks


@pytest.mark.parametrize(
    ("tp", "weight_bytes", "kv_bytes", "blocks"),
    [
        (1, 7_808, 64, 39),  # (48,000 - 7,808) / (16 x 64) = 39.25
        (2, 3_904, 32, 86),  # (48,000 - 3,904) / (16 x 32) = 86.1
        (4, 1_952, 32, 89),  # twice as many GPUs as KV heads: each holds a copy of one
    ],
)
def test_tensor_parallelism_divides_weights_and_kv_heads(
    tp: int, weight_bytes: int, kv_bytes: int, blocks: int
) -> None:
    spec = ReplicaSpec.uniform(TINY, CARD, tp=tp, limits=HALF)
    assert stage_weight_bytes(spec, 0) == weight_bytes
    assert stage_kv_bytes_per_token(spec, spec.stages[0]) == kv_bytes
    assert kv_blocks(spec) == blocks


def test_pipeline_stages_hold_their_layers_and_the_scarcest_decides() -> None:
    spec = ReplicaSpec(TINY, (Stage(CARD, 1, 3), Stage(CARD, 1, 1)), HALF)
    assert [stage_weight_bytes(spec, i) for i in range(2)] == [5_056, 2_752]  # 2 x (1,728 + 800), 2 x (576 + 800)
    assert [stage_kv_bytes_per_token(spec, stage) for stage in spec.stages] == [48, 16]
    assert kv_blocks(spec) == 55  # (48,000 - 5,056) / 768 = 55.9; the other stage has room for 176
    assert kv_blocks(ReplicaSpec(TINY, spec.stages[::-1], HALF)) == 55

    small = replace(CARD, name="small", memory_bytes=20_000)  # 8,000 bytes: (8,000 - 2,752) / 256 = 20.5
    assert kv_blocks(ReplicaSpec(TINY, (Stage(CARD, 1, 3), Stage(small, 1, 1)), HALF)) == 20


def test_middle_stages_hold_neither_embedding_nor_head() -> None:
    spec = ReplicaSpec.uniform(TINY, CARD, pp=4, limits=HALF)
    assert [stage_weight_bytes(spec, i) for i in range(4)] == [2_752, 1_152, 1_152, 2_752]


def test_stages_may_differ_in_tp() -> None:
    spec = ReplicaSpec(TINY, (Stage(CARD, 2, 3), Stage(CARD, 1, 1)), HALF)
    assert kv_blocks(spec) == 118  # (48,000 - 2,528) / (16 x 24) = 118.4; the other 176


def test_no_block_where_the_weights_do_not_fit() -> None:
    assert kv_blocks(ReplicaSpec.uniform(model_spec("Llama-3-70B"), gpu_type("RTX4090"))) == 0
    assert kv_blocks(ReplicaSpec.uniform(TINY, replace(CARD, memory_bytes=19_616), limits=HALF)) == 0  # 0 bytes left
    assert kv_blocks(ReplicaSpec.uniform(TINY, replace(CARD, memory_bytes=21_664), limits=HALF)) == 1  # 1,024


def test_a_given_number_of_blocks_overrides_memory() -> None:
    assert kv_blocks(ReplicaSpec.uniform(TINY, CARD, limits=replace(HALF, kv_blocks=7))) == 7


def test_blocks_of_another_size() -> None:
    assert kv_blocks(ReplicaSpec.uniform(TINY, CARD, limits=replace(HALF, block_tokens=32))) == 19


def test_llama_3_70b_on_four_h100() -> None:
    spec = ReplicaSpec.uniform(model_spec("Llama-3-70B"), gpu_type("H100-SXM"), tp=4)
    layer = (2 * 64 + 2 * 8) * 128 * 8192 + 3 * 8192 * 28672
    weight_bytes = 2 * (80 * layer + 2 * 128256 * 8192) // 4
    block_bytes = 16 * 80 * 2 * 2 * (8 // 4) * 128
    free_bytes = int(0.9 * int(79.65 * 2**30)) - int(1.578 * 2**30) - weight_bytes
    assert kv_blocks(spec) == free_bytes // block_bytes == 30_518


@pytest.mark.parametrize(
    ("model_limit", "limit", "blocks", "expected"),
    [(10_000, None, 39, 624), (100, None, 39, 100), (10_000, 500, 39, 500), (100, 500, 39, 500), (100, 5_000, 39, 624)],
)
def test_the_tightest_of_model_user_and_cache_limits_context(
    model_limit: int, limit: int | None, blocks: int, expected: int
) -> None:
    model = replace(TINY, max_context_tokens=model_limit)
    limits = replace(HALF, max_context_tokens=limit, kv_blocks=blocks)
    assert max_context_tokens(ReplicaSpec.uniform(model, CARD, limits=limits)) == expected


def test_context_is_limited_in_blocks_of_any_size() -> None:
    spec = ReplicaSpec.uniform(TINY, CARD, limits=replace(HALF, kv_blocks=9, block_tokens=32))
    assert max_context_tokens(spec) == 288


def test_a_replica_without_stages_is_refused() -> None:
    with pytest.raises(DeploymentError, match="0 layers"):
        ReplicaSpec(TINY, ())


def test_a_stage_without_layers_is_refused() -> None:
    with pytest.raises(DeploymentError):
        kv_blocks(ReplicaSpec.uniform(TINY, CARD, pp=5))


@pytest.mark.data
def test_kv_bytes_of_the_published_table(data_dir: Path) -> None:
    table = pl.read_csv(data_dir / "profiles/kv_bytes_per_token.csv")
    published = {model: (token, block) for model, _, _, _, token, block in table.iter_rows()}
    compared = 0
    for name in model_names():
        if name.lower() in published:
            spec = ReplicaSpec.uniform(model_spec(name), gpu_type("H100-SXM"))
            per_token = stage_kv_bytes_per_token(spec, spec.stages[0])
            assert (per_token, 16 * per_token) == published[name.lower()], name
            assert spec.model.kv_bytes_per_token == per_token
            compared += 1
    assert compared == 10
