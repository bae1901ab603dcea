"""A precision is read from the model: what its numbers weigh decides memory, KV blocks and times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim import CompactServiceTime, DeploymentError, ReplicaSpec, gpu_type, kv_blocks, model_spec
from sim.catalog.precision import FORMATS, PRECISIONS

LLAMA = model_spec("Llama-3-8B")
H100 = replace(gpu_type("H100-SXM"), formats=("bf16", "fp8", "nvfp4"), peak_fp8_flops_per_s=1978.9e12)
FP8 = replace(LLAMA, precision=PRECISIONS["fp8"])


def test_models_are_in_bf16_unless_they_say_otherwise() -> None:
    assert LLAMA.precision == PRECISIONS["bf16"]
    assert LLAMA.weight_bytes == 2 * LLAMA.n_params


def test_lighter_weights_leave_room_and_are_read_faster() -> None:
    assert FP8.weight_bytes == LLAMA.weight_bytes - LLAMA.weights_of(0, 32).attention - LLAMA.weights_of(0, 32).ffn
    assert FP8.kv_bytes_per_token == LLAMA.kv_bytes_per_token
    spec, light_spec = ReplicaSpec.uniform(LLAMA, H100), ReplicaSpec.uniform(FP8, H100)
    assert kv_blocks(light_spec) > kv_blocks(spec)
    (stage,), (light_stage,) = map(CompactServiceTime().stage_times, (spec, light_spec))
    assert light_stage.decode(1)[0] < stage.decode(1)[0]
    assert light_stage.decode(1)[1] == stage.decode(1)[1]


def test_lighter_kv_entries_leave_room_and_are_read_faster() -> None:
    light = replace(LLAMA, precision=PRECISIONS["bf16"].with_kv("fp8"))
    assert light.kv_bytes_per_token == LLAMA.kv_bytes_per_token // 2
    spec, light_spec = ReplicaSpec.uniform(LLAMA, H100), ReplicaSpec.uniform(light, H100)
    assert kv_blocks(light_spec) in (2 * kv_blocks(spec), 2 * kv_blocks(spec) + 1)
    (stage,), (light_stage,) = map(CompactServiceTime().stage_times, (spec, light_spec))
    assert light_stage.decode(1) == (stage.decode(1)[0], stage.decode(1)[1] / 2)


def test_the_name_of_a_replica_says_a_precision_that_is_not_bf16() -> None:
    assert ReplicaSpec.uniform(LLAMA, H100).name == "H100-SXM tp1"
    assert ReplicaSpec.uniform(FP8, H100).name == "H100-SXM tp1 fp8"


def test_a_gpu_computes_natively_or_in_bf16() -> None:
    assert H100.operations_of(FORMATS["fp8"]) == "fp8"
    assert H100.operations_of(FORMATS["nvfp4"]) == "bf16"
    assert H100.operations_of(FORMATS["int4"]) == "bf16"
    blackwell = replace(H100, peak_fp4_flops_per_s=1e16)
    assert blackwell.operations_of(FORMATS["nvfp4"]) == "fp4"
    assert blackwell.operations_of(FORMATS["mxfp4"]) == "fp8"


def test_a_gpu_without_the_kernels_is_refused() -> None:
    eight = replace(LLAMA, precision=PRECISIONS["int4"])
    with pytest.raises(DeploymentError, match="GPU type 'H100-SXM' has no kernels for int4; it has bf16, fp8, nvfp4"):
        ReplicaSpec.uniform(eight, H100)
