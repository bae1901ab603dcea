"""The overheads of a serving engine: on the last stage, for every kind of service times, padded to CUDA graphs."""

from __future__ import annotations

import pytest

from sim import (
    Chunk,
    CompactServiceTime,
    ConstantServiceTime,
    EngineProfile,
    EngineServiceTime,
    ReplicaSpec,
    ServiceTimeModel,
    gpu_type,
    model_spec,
)

MODEL, H100 = model_spec("Llama-3-8B"), gpu_type("H100-SXM")
ENGINE = EngineProfile(step_overhead_s=1e-3, sequence_overhead_s=1e-5, request_overhead_s=1e-4)


@pytest.mark.parametrize("kernels", [CompactServiceTime(), ConstantServiceTime(0.01, per_decode_s=1e-4)])
def test_overheads_are_added_once_to_what_kernels_take(kernels: ServiceTimeModel) -> None:
    spec = ReplicaSpec.uniform(MODEL, H100, pp=2)
    plain, slow = kernels.stage_times(spec), EngineServiceTime(kernels, ENGINE).stage_times(spec)
    chunks = [Chunk(9, 0), Chunk(100, 0)]
    more = [b.mixed(3, 300, chunks) - a.mixed(3, 300, chunks) for a, b in zip(plain, slow, strict=True)]
    assert more == pytest.approx([0.0, 1e-3 + 5e-5 + 2e-4], abs=1e-12)
    more = [b.decode(3)[0] - a.decode(3)[0] for a, b in zip(plain, slow, strict=True)]
    assert more == pytest.approx([0.0, 1e-3 + 3e-5], abs=1e-12)
    assert [b.decode(3)[1] for b in slow] == [a.decode(3)[1] for a in plain]


def test_decodes_take_what_the_next_larger_graph_takes() -> None:
    kernels = ConstantServiceTime(0.01, per_decode_s=1e-3)
    engine = EngineProfile(sequence_overhead_s=1e-5, graph_sizes=(1, 4, 8))
    (stage,) = EngineServiceTime(kernels, engine).stage_times(ReplicaSpec.uniform(MODEL, H100))
    for n_decode, padded in ((1, 1), (2, 4), (4, 4), (5, 8), (8, 8), (9, 9), (100, 100)):
        assert stage.decode(n_decode)[0] == pytest.approx(0.01 + 1e-3 * padded + 1e-5 * n_decode, rel=1e-12)


def test_data_parallel_groups_wait_for_the_one_with_the_most() -> None:
    model = model_spec("DeepSeek-V3")
    spec = ReplicaSpec.uniform(model, gpu_type("H200-SXM"), tp=1, dp=8, expert_parallel=True)
    kernels = ConstantServiceTime(0.01, per_decode_s=1e-3)
    engine = EngineProfile(sequence_overhead_s=1e-5, graph_sizes=(1, 4))
    (stage,) = EngineServiceTime(kernels, engine).stage_times(spec)
    assert stage.decode(9)[0] == pytest.approx(0.01 + 1e-3 * 8 * 4 + 2 * 1e-5, rel=1e-12)
