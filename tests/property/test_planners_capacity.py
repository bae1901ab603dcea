"""Laws of the capacity of a replica."""

from __future__ import annotations

import dataclasses
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from planners import Kind, capacity_of_mix_rps, capacity_rps
from planners.capacity.rates import capacities_rps, rps_of
from planners.capacity.steady_state import ReplicaFacts
from sim import SLO, CompactServiceTime, ConstantServiceTime, ReplicaLimits, ReplicaSpec, gpu_type, model_spec

LLAMA = model_spec("Llama-3-8B")
PROMPTS = st.integers(1, 4000)
OUTPUTS = st.integers(1, 1000)
ROUNDING = 0.03  # the number of chunks that fit into an iteration is whole: it jumps
LAST_DIGITS = 1e-12


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


@st.composite
def mixes(draw: st.DrawFn) -> list[Kind]:
    weights = draw(st.lists(st.integers(1, 20), min_size=1, max_size=4))
    return [Kind(weight / sum(weights), draw(PROMPTS), draw(OUTPUTS)) for weight in weights]


@given(replicas(), mixes(), st.randoms(use_true_random=False), st.floats(0.1, 0.9))
def test_a_mix_is_the_same_in_any_order_and_with_any_kind_in_two_parts(
    spec: ReplicaSpec, kinds: list[Kind], random: Random, part: float
) -> None:
    rate = capacity_of_mix_rps(spec, constants(), kinds)
    first, *others = kinds
    parts = [first._replace(share=part * first.share), *others, first._replace(share=(1 - part) * first.share)]
    random.shuffle(parts)
    assert capacity_of_mix_rps(spec, constants(), parts) == pytest.approx(rate, rel=ROUNDING)


@given(replicas(), PROMPTS, OUTPUTS)
def test_a_mix_of_one_type_is_that_type(spec: ReplicaSpec, prompt: int, output: int) -> None:
    alone = capacity_rps(spec, constants(), prompt, output)
    two = [Kind(0.3, prompt, output), Kind(0.7, prompt, output), Kind(0.0, 4 * prompt, output)]
    assert capacity_of_mix_rps(spec, constants(), two) == pytest.approx(alone, rel=ROUNDING)


@given(replicas(), mixes(), st.sampled_from([0.01, 3.0, 100.0]))
def test_k_times_slower_iterations_serve_a_kth_of_a_mix_within_k_times_the_goals(
    spec: ReplicaSpec, kinds: list[Kind], k: float
) -> None:
    slo = SLO(ttft_s=5.0, tpot_s=0.1)
    slow = SLO(ttft_s=k * 5.0, tpot_s=k * 0.1)
    rate = capacity_of_mix_rps(spec, constants(), kinds, slo)
    assert capacity_of_mix_rps(spec, constants(k * 1e-3), kinds, slow) == pytest.approx(rate / k, rel=ROUNDING)


@given(replicas(), mixes(), st.floats(0.05, 20.0), st.floats(0.01, 1.0), st.floats(1.0, 5.0))
def test_goals_only_lower_it_and_looser_ones_less(
    spec: ReplicaSpec, kinds: list[Kind], ttft_s: float, tpot_s: float, looser: float
) -> None:
    tight, loose, without = (
        capacity_of_mix_rps(spec, CompactServiceTime(), kinds, slo)
        for slo in (SLO(ttft_s=ttft_s, tpot_s=tpot_s), SLO(ttft_s=looser * ttft_s, tpot_s=looser * tpot_s), None)
    )
    assert tight <= loose
    # The one is computed by arrays, the other by itself: they may differ in the last digits.
    assert loose <= without * (1 + LAST_DIGITS)


@given(replicas(), mixes(), st.floats(0.05, 20.0), st.floats(0.01, 1.0))
def test_only_the_goals_of_its_model_lower_it(
    spec: ReplicaSpec, kinds: list[Kind], ttft_s: float, tpot_s: float
) -> None:
    goals, impossible = SLO(ttft_s=ttft_s, tpot_s=tpot_s), SLO(ttft_s=1e-9)
    own = dataclasses.replace(impossible, by_model=((LLAMA.name, goals),))
    others = dataclasses.replace(goals, by_model=(("another", impossible),))
    rates = {capacity_of_mix_rps(spec, CompactServiceTime(), kinds, slo) for slo in (goals, own, others)}
    assert len(rates) == 1


@given(replicas(), mixes())
def test_planners_never_get_more_than_a_type_alone(spec: ReplicaSpec, kinds: list[Kind]) -> None:
    facts = ReplicaFacts.of(spec, CompactServiceTime())
    alone = capacities_rps(facts, kinds, beside_mix=False)
    assert alone == pytest.approx([rps_of(facts, [kind._replace(share=1.0)]) for kind in kinds], rel=1e-9)
    assert all(beside <= most for beside, most in zip(capacities_rps(facts, kinds), alone, strict=True))
