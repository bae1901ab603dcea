"""Mean times: those of the stages where all is whole, one replica or many, and no jumps between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import (
    CompactServiceTime,
    ConstantServiceTime,
    EngineServiceTime,
    ReplicaSpec,
    ServiceTimeModel,
    engine_profile,
    gpu_type,
    model_spec,
)
from sim.timing.means import Interpolated, mean_times, stacked
from sim.timing.service_time import Chunk
from sim.timing.worlds import Factors, World, WorldServiceTime

COMPACT = CompactServiceTime()
MODELS: tuple[ServiceTimeModel, ...] = (
    COMPACT,
    ConstantServiceTime(0.01, per_prompt_token_s=1e-4, per_decode_s=1e-4, per_context_token_s=1e-7),
    EngineServiceTime(COMPACT, engine_profile("vllm", "0.19")),
    WorldServiceTime(COMPACT, World((("H100-SXM", Factors(1.2, 0.9)),))),
)
LLAMA, GPT = model_spec("Llama-3-70B"), model_spec("gpt-oss-120b")
SPECS = (
    ReplicaSpec.uniform(LLAMA, gpu_type("H100-SXM"), 4),
    ReplicaSpec.uniform(LLAMA, gpu_type("L40"), 8),
    ReplicaSpec.uniform(GPT, gpu_type("H100-SXM"), 2),
    ReplicaSpec.uniform(GPT, gpu_type("H100-SXM"), 1, 1, dp=4, expert_parallel=True),
)
MODELS_AND_SPECS = [(times, spec) for times in MODELS for spec in SPECS]
DECODES, TOKENS, PAST, CHUNKS = st.integers(1, 400), st.integers(1, 4000), st.integers(0, 8000), st.integers(1, 4)


@given(st.sampled_from(MODELS_AND_SPECS), DECODES, TOKENS, PAST, CHUNKS)
def test_whole_means_are_iterations(of: Any, n: int, new: int, past: int, k: int) -> None:
    times, spec = of
    (stage,) = times.stage_times(spec)
    context = 500 * n
    base, slope = stage.decode(n)
    for means in (mean_times(stage), Interpolated(stage)):
        assert means.decode_s(float(n), context) == pytest.approx(base + slope * context, rel=1e-12)
        mixed_s = means.mixed_s(float(n), context, float(new), float(past), float(k))
        assert mixed_s == pytest.approx(stage.mixed(n, context, [Chunk(new, past)] * k), rel=1e-12)


@given(st.sampled_from(MODELS_AND_SPECS), st.floats(0, 400), st.floats(1, 4000), st.floats(0, 8000), st.floats(1, 4))
def test_means_do_not_jump(of: Any, n: float, new: float, past: float, k: float) -> None:
    times, spec = of
    means = mean_times(times.stage_times(spec)[0])
    assert means.decode_s(n * (1 + 1e-9), 500 * n) == pytest.approx(means.decode_s(n, 500 * n), rel=1e-6)
    here, there = ([x * by for x in (n, 500 * n, new, past, k)] for by in (1.0, 1 + 1e-9))
    assert means.mixed_s(*there) == pytest.approx(means.mixed_s(*here), rel=1e-6)


@pytest.mark.parametrize("times", MODELS)
@pytest.mark.parametrize("specs", [SPECS[:2], SPECS[2:]])
def test_many_are_as_each(times: ServiceTimeModel, specs: tuple[ReplicaSpec, ...]) -> None:
    stages = [times.stage_times(spec)[0] for spec in specs]
    n, new, past, k = np.random.default_rng(0).uniform(1, [[[300]], [[2000]], [[900]], [[3]]], (4, 2, 5))
    many = stacked(stages)
    mixed, decodes = many.mixed_s(n, 400 * n, new, past, k), many.decode_s(n, 400 * n)
    for row, stage in enumerate(stages):
        one = mean_times(stage)
        for j in range(5):
            at = [float(x[row, j]) for x in (n, 400 * n, new, past, k)]
            assert mixed[row, j] == pytest.approx(one.mixed_s(*at), rel=1e-12)
            assert decodes[row, j] == pytest.approx(one.decode_s(*at[:2]), rel=1e-12)
