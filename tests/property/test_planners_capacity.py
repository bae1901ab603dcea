"""Laws of the capacity of a replica."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from planners import capacity_rps
from sim import CompactServiceTime, ConstantServiceTime, ReplicaLimits, ReplicaSpec, gpu_type, model_spec

LLAMA = model_spec("Llama-3-8B")
PROMPTS = st.integers(1, 4000)
OUTPUTS = st.integers(1, 1000)
ROUNDING = 0.03  # the number of chunks that fit into an iteration is whole: it jumps


@st.composite
def replicas(draw: st.DrawFn) -> ReplicaSpec:
    limits = ReplicaLimits(
        max_seqs=draw(st.integers(1, 256)),
        max_batched_tokens=draw(st.integers(256, 8192)),
        kv_blocks=draw(st.integers(320, 20_000)),
    )
    return ReplicaSpec.uniform(LLAMA, gpu_type("H100-SXM"), pp=draw(st.sampled_from([1, 2, 4])), limits=limits)


def constants(unit_s: float = 1e-3) -> ConstantServiceTime:
    return ConstantServiceTime(
        10 * unit_s, per_prompt_token_s=0.05 * unit_s, per_decode_s=0.1 * unit_s, per_context_token_s=1e-4 * unit_s
    )


@given(replicas(), PROMPTS, OUTPUTS, st.sampled_from([0.01, 3.0, 100.0]))
def test_k_times_slower_iterations_serve_a_kth(spec: ReplicaSpec, prompt: int, output: int, k: float) -> None:
    rate = capacity_rps(spec, constants(), prompt, output)
    assert capacity_rps(spec, constants(k * 1e-3), prompt, output) == pytest.approx(rate / k)


@given(replicas(), PROMPTS, OUTPUTS, st.integers(1, 5000))
def test_more_kv_blocks_never_lower_it(spec: ReplicaSpec, prompt: int, output: int, more: int) -> None:
    assert spec.limits.kv_blocks is not None
    larger = dataclasses.replace(spec, limits=dataclasses.replace(spec.limits, kv_blocks=spec.limits.kv_blocks + more))
    for service_time in (constants(), CompactServiceTime()):
        before = capacity_rps(spec, service_time, prompt, output)
        assert capacity_rps(larger, service_time, prompt, output) >= before * (1 - ROUNDING)


@given(replicas(), PROMPTS, OUTPUTS, st.integers(1, 4000))
def test_it_falls_with_the_prompt(spec: ReplicaSpec, prompt: int, output: int, more: int) -> None:
    for service_time in (constants(), CompactServiceTime()):
        before = capacity_rps(spec, service_time, prompt, output)
        assert capacity_rps(spec, service_time, prompt + more, output) <= before * (1 + ROUNDING)


@given(replicas(), PROMPTS, OUTPUTS, st.integers(1, 1000))
def test_it_falls_with_the_output(spec: ReplicaSpec, prompt: int, output: int, more: int) -> None:
    for service_time in (constants(), CompactServiceTime()):
        before = capacity_rps(spec, service_time, prompt, output)
        assert capacity_rps(spec, service_time, prompt, output + more) <= before * (1 + ROUNDING)


@given(replicas(), PROMPTS, OUTPUTS)
def test_no_rate_beats_the_limits(spec: ReplicaSpec, prompt: int, output: int) -> None:
    """Little's law: a request stays O iterations at least, and an iteration takes 10 ms at least over all stages."""
    rate = capacity_rps(spec, constants(), prompt, output)
    assume(rate > 0)
    assert rate <= spec.max_seqs / (output * 0.010) * (1 + 1e-9)
    assert rate <= spec.pp * spec.max_batched_tokens / (prompt + output - 1) / 0.010 * (1 + 1e-9)
