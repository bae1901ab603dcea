"""A precision is read from the model: what its numbers weigh decides memory, KV blocks and times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim import CompactServiceTime, DeploymentError, ReplicaSpec, gpu_type, kv_blocks, model_spec
from sim.catalog.precision import BF16

LLAMA = model_spec("Llama-3-8B")
H100 = gpu_type("H100-SXM")
HALF_WEIGHTS = replace(BF16, name="w8", weight_bytes=1)
HALF_KV = replace(BF16, name="kv8", kv_bytes=1)


def test_models_are_in_bf16_unless_they_say_otherwise() -> None:
    assert LLAMA.precision == BF16
    assert LLAMA.weight_bytes == 2 * LLAMA.n_params


def test_lighter_weights_leave_room_and_are_read_faster() -> None:
    light = replace(LLAMA, precision=HALF_WEIGHTS)
    assert light.weight_bytes == LLAMA.n_params
    assert light.kv_bytes_per_token == LLAMA.kv_bytes_per_token
    spec, light_spec = ReplicaSpec.uniform(LLAMA, H100), ReplicaSpec.uniform(light, H100)
    assert kv_blocks(light_spec) > kv_blocks(spec)
    (stage,), (light_stage,) = map(CompactServiceTime().stage_times, (spec, light_spec))
    assert light_stage.decode(1)[0] < stage.decode(1)[0]
    assert light_stage.decode(1)[1] == stage.decode(1)[1]


def test_lighter_kv_entries_leave_room_and_are_read_faster() -> None:
    light = replace(LLAMA, precision=HALF_KV)
    assert light.kv_bytes_per_token == LLAMA.kv_bytes_per_token // 2
    spec, light_spec = ReplicaSpec.uniform(LLAMA, H100), ReplicaSpec.uniform(light, H100)
    assert kv_blocks(light_spec) in (2 * kv_blocks(spec), 2 * kv_blocks(spec) + 1)
    (stage,), (light_stage,) = map(CompactServiceTime().stage_times, (spec, light_spec))
    assert light_stage.decode(1) == (stage.decode(1)[0], stage.decode(1)[1] / 2)


def test_bytes_of_part_of_a_byte_are_rounded_up() -> None:
    assert replace(LLAMA, precision=replace(BF16, weight_bytes=0.5)).weight_bytes_of(3) == 2


def test_a_peak_rate_that_is_not_known_is_an_error() -> None:
    eight = replace(LLAMA, precision=replace(BF16, name="fp8", operations="fp8"))
    with pytest.raises(DeploymentError, match="GPU type 'H100-SXM' has no peak rate of operations in 'fp8'"):
        CompactServiceTime().stage_times(ReplicaSpec.uniform(eight, H100))
