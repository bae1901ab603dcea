from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from planners import Kind, SimulatedCapacity, capacity_of_mix_rps, capacity_rps
from planners.capacity.extremes import alone_of, largest_of
from planners.capacity.rates import capacities_rps, rps_of
from planners.capacity.steady_state import ReplicaFacts
from planners.capacity.tangents import tangents_s
from sim import (
    SLO,
    CompactServiceTime,
    ConstantServiceTime,
    Deployment,
    EngineProfile,
    EngineServiceTime,
    ReplicaLimits,
    ReplicaSpec,
    compute_metrics,
    gpu_type,
    kv_blocks,
    model_spec,
    simulate,
)
from traces import Trace

LLAMA = model_spec("Llama-3-8B")


def replica(pp: int = 1, **limits: Any) -> ReplicaSpec:
    given = {"max_seqs": 64, "kv_blocks": 100_000, "max_batched_tokens": 4096} | limits
    return ReplicaSpec.uniform(LLAMA, gpu_type("L40"), pp=pp, limits=ReplicaLimits(**given))


def test_sequence_slots_are_the_limit() -> None:
    """Little's law: 64 requests of O iterations (the first is the prompt) at 0.1 s each."""
    rate = capacity_rps(replica(), ConstantServiceTime(0.1), 100, 101)
    assert rate == pytest.approx(64 / (101 * 0.1))


def test_kv_blocks_are_the_limit() -> None:
    """A request holds (100 + 201 / 2) / 16 + 1/2 blocks while it decodes, 100 / 16 + 1/2 at its prompt."""
    rate = capacity_rps(replica(kv_blocks=500), ConstantServiceTime(0.1), 100, 201)
    blocks = 200 * ((100 + 100.5) / 16 + 0.5) + 1 * (100 / 16 + 0.5)
    assert rate == pytest.approx(500 / blocks / 0.1)


def test_token_budget_is_the_limit() -> None:
    """Each request takes P tokens for its prompt and O - 1 for decodes, of 256 an iteration."""
    rate = capacity_rps(replica(max_batched_tokens=256), ConstantServiceTime(0.1), 1000, 25)
    assert rate == pytest.approx(256 / (1000 + 24) / 0.1)


def test_only_prompts() -> None:
    """With one output token there is no decode: 4096 tokens an iteration, in prompts of 512."""
    rate = capacity_rps(replica(), ConstantServiceTime(0.1, per_prompt_token_s=1e-4), 512, 1)
    assert rate == pytest.approx(8 / (0.1 + 4096 * 1e-4))


def test_time_of_everything_in_the_batch_counts() -> None:
    service_time = ConstantServiceTime(0.02, per_prompt_token_s=1e-5, per_decode_s=1e-4, per_context_token_s=1e-7)
    starts = 64 / 101  # per iteration
    decodes = 100 * starts
    iteration_s = 0.02 + starts * 200 * 1e-5 + decodes * 1e-4 + decodes * (200 + 50.5) * 1e-7
    assert capacity_rps(replica(), service_time, 200, 101) == pytest.approx(starts / iteration_s, rel=1e-4)


def test_one_request_at_a_time() -> None:
    """A second one has no slot: it takes its prompt and 49 decodes."""
    rate = capacity_rps(replica(max_seqs=1), ConstantServiceTime(0.1), 100, 50)
    assert rate == pytest.approx(1 / (50 * 0.1))


def test_pipeline_of_equal_stages_is_as_fast_as_its_batches_go_round() -> None:
    """Each stage takes a quarter of the time, and four batches share the slots."""
    one = capacity_rps(replica(), ConstantServiceTime(0.1), 100, 101)
    four = capacity_rps(replica(pp=4), ConstantServiceTime(0.1), 100, 101)
    assert four == pytest.approx(one)


def test_pipeline_without_slots_for_all_its_batches() -> None:
    """Two requests in four stages: two batches of one request; a round takes all four stages."""
    rate = capacity_rps(replica(pp=4, max_seqs=2), ConstantServiceTime(0.1), 100, 50)
    assert rate == pytest.approx(2 / (50 * 0.1))


def test_slow_batches_hold_up_a_pipeline() -> None:
    """Prompts take as long as all else: a round is as long as the one of its four batches with most prompts, nearly."""
    rate = capacity_rps(replica(pp=4), ConstantServiceTime(0.1, per_prompt_token_s=1e-3), 100, 101)
    starts = 64 / 101 / 4
    share, prompts = largest_of(alone_of(4), starts, 16)  # 16 requests run in each batch
    assert rate == pytest.approx(4 * starts / (0.1 + share * prompts * 0.1))
    assert rate < 0.8 * 4 * starts / (0.1 + starts * 0.1)


def test_requests_that_do_not_fit_have_no_capacity() -> None:
    assert capacity_rps(replica(kv_blocks=10), ConstantServiceTime(0.1), 150, 20) == 0.0
    assert capacity_rps(replica(), ConstantServiceTime(0.1), 8000, 193) == 0.0
    assert capacity_rps(replica(kv_blocks=10), ConstantServiceTime(0.1), 140, 20) > 0.0


@pytest.mark.parametrize("n", [1, 2, 4, 2.5])
@pytest.mark.parametrize(("mean", "most"), [(0.01, 1), (0.5, 1), (0.5, 7), (3.3, 16.4), (40.0, 200), (900.0, 4000)])
def test_largest_of_binomials(n: float, mean: float, most: float) -> None:
    """Against the sum over the whole distribution, linear between whole numbers of trials."""

    def whole(trials: int) -> tuple[float, float]:
        p = mean / most
        logs = [
            math.lgamma(trials + 1)
            - math.lgamma(k + 1)
            - math.lgamma(trials - k + 1)
            + k * math.log(p)
            + (trials - k) * math.log1p(-p)
            for k in range(trials + 1)
        ]
        distribution = np.minimum(np.cumsum(np.exp(logs)), 1.0)
        return 1 - distribution[0] ** n, float(np.sum(1 - distribution[:-1] ** n))

    weight = most - math.floor(most)
    low, high = whole(math.floor(most)), whole(math.ceil(most))
    share, value = largest_of(n, mean, most)
    assert share == pytest.approx((1 - weight) * low[0] + weight * high[0], rel=1e-6)
    assert share * value == pytest.approx((1 - weight) * low[1] + weight * high[1], rel=1e-6)


def test_a_full_batch_does_not_vary() -> None:
    assert largest_of(4, mean=3.3, most=3.3) == (1.0, 3.3)


@pytest.mark.parametrize(
    ("gpu", "model", "tp", "pp", "tolerance"),
    [
        ("RTX4090", "Llama-3-8B", 1, 1, 0.07),
        ("A40", "Llama-3-8B", 1, 1, 0.07),
        ("H100-SXM", "Llama-3-70B", 4, 1, 0.07),
        ("L40", "Llama-3-70B", 4, 1, 0.07),
        ("RTX4090", "Llama-3-8B", 1, 2, 0.2),
        ("A40", "Llama-3-70B", 1, 4, 0.15),
    ],
)
@pytest.mark.parametrize(("prompt_tokens", "output_tokens"), [(2455, 253), (824, 253), (496, 510), (824, 18)])
def test_capacity_is_that_of_the_simulator(
    gpu: str, model: str, tp: int, pp: int, tolerance: float, prompt_tokens: int, output_tokens: int
) -> None:
    """Completions per second of a full replica, lengths within 30 % of the mean."""
    spec = ReplicaSpec.uniform(model_spec(model), gpu_type(gpu), tp=tp, pp=pp)
    n_running = min(spec.max_seqs, kv_blocks(spec) * 16 / (prompt_tokens + output_tokens / 2))
    n = max(400, round(5 * n_running))
    generator = np.random.default_rng(0)
    prompts, outputs = (
        np.round(mean * generator.uniform(0.7, 1.3, n)).astype(int).tolist() for mean in (prompt_tokens, output_tokens)
    )
    trace = Trace.from_columns([0.0] * n, prompts, outputs, model=model)
    service_time = CompactServiceTime()
    result = simulate(Deployment(((spec, 1),)), trace, service_time=service_time, router="round_robin")
    finish_s = result.requests["finish_s"].sort()
    first, last = round(0.2 * n), round(0.8 * n)
    simulated_rps = (last - first) / (finish_s[last] - finish_s[first])
    capacity = capacity_rps(spec, service_time, prompt_tokens, output_tokens)
    assert capacity == pytest.approx(simulated_rps, rel=tolerance)


def test_an_slo_bounds_the_capacity() -> None:
    """The tighter the TPOT goal, the smaller the rate; nothing is left below the time of a batch of one."""
    spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("RTX4090"))
    goals = (0.001, 0.017, 0.02, 0.03, 0.05, 0.1, 1.0)
    rates = [capacity_rps(spec, CompactServiceTime(), 824, 253, SLO(tpot_s=goal)) for goal in goals]
    assert rates == sorted(rates)
    assert rates[0] == 0.0
    assert 0 < rates[2] < rates[-1]
    assert rates[-1] == pytest.approx(capacity_rps(spec, CompactServiceTime(), 824, 253), rel=1e-9)


def test_a_prompt_that_takes_too_long_leaves_no_capacity() -> None:
    spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("RTX4090"))
    service_time = ConstantServiceTime(0.1, per_prompt_token_s=1e-3)
    assert capacity_rps(spec, service_time, 1000, 10, SLO(ttft_s=1.0)) == 0.0
    assert capacity_rps(spec, service_time, 1000, 10, SLO(ttft_s=1.2)) > 0.0


MIX = [Kind(0.4, 824, 253), Kind(0.3, 2455, 100), Kind(0.3, 496, 18)]


def test_a_mix_of_everything_in_the_batch() -> None:
    """With 64 slots: means over the requests of decodes, of their context and of prompt tokens."""
    service_time = ConstantServiceTime(0.02, per_prompt_token_s=1e-5, per_decode_s=1e-4, per_context_token_s=1e-7)
    kinds = [Kind(0.25, 200, 101), Kind(0.75, 400, 21)]
    starts = 64 / (0.25 * 101 + 0.75 * 21)  # per iteration
    decodes = starts * (0.25 * 100 + 0.75 * 20)
    context = starts * (0.25 * 100 * 250.5 + 0.75 * 20 * 410.5)
    iteration_s = 0.02 + starts * 350 * 1e-5 + decodes * 1e-4 + context * 1e-7
    assert capacity_of_mix_rps(replica(), service_time, kinds) == pytest.approx(starts / iteration_s, rel=1e-4)


def test_a_mix_with_a_kind_that_does_not_fit_has_no_capacity() -> None:
    small = replica(kv_blocks=60)
    service_time = ConstantServiceTime(0.1)
    assert capacity_of_mix_rps(small, service_time, [Kind(0.5, 100, 10), Kind(0.5, 900, 100)]) == 0.0
    assert capacity_of_mix_rps(small, service_time, [Kind(1.0, 100, 10), Kind(0.0, 900, 100)]) > 0.0


@pytest.mark.parametrize(
    ("gpu", "model", "tp", "pp", "tolerance"),
    [
        ("RTX4090", "Llama-3-8B", 1, 1, 0.03),
        ("H100-SXM", "Llama-3-70B", 4, 1, 0.03),
        ("L40", "Llama-3-70B", 2, 2, 0.1),
        ("A40", "Llama-3-70B", 1, 4, 0.1),
    ],
)
def test_capacity_of_a_mix_is_that_of_the_simulator(gpu: str, model: str, tp: int, pp: int, tolerance: float) -> None:
    spec = ReplicaSpec.uniform(model_spec(model), gpu_type(gpu), tp=tp, pp=pp)
    simulated_rps = SimulatedCapacity(CompactServiceTime()).rps(spec, MIX)
    assert capacity_of_mix_rps(spec, CompactServiceTime(), MIX) == pytest.approx(simulated_rps, rel=tolerance)


@pytest.mark.parametrize(("gpu", "tp", "pp"), [("H100-SXM", 4, 1), ("L40", 2, 2), ("A40", 1, 6)])
def test_planners_get_the_smaller_of_the_rates_alone_and_beside_the_mix(gpu: str, tp: int, pp: int) -> None:
    facts = ReplicaFacts.of(ReplicaSpec.uniform(model_spec("Llama-3-70B"), gpu_type(gpu), tp, pp), CompactServiceTime())
    kinds = [*MIX, Kind(0.0, 100, 100)]
    alone = [rps_of(facts, [kind._replace(share=1.0)]) for kind in kinds]
    mix_s, times_s = tangents_s([facts], kinds, np.array([[kind.share for kind in kinds]]))
    assert sum(kind.share * time_s for kind, time_s in zip(kinds, times_s[0], strict=True)) == pytest.approx(mix_s[0])
    assert mix_s[0] == pytest.approx(1 / rps_of(facts, kinds))
    assert capacities_rps(facts, kinds) == pytest.approx(np.minimum(alone, 1 / times_s[0]))
    assert capacities_rps(facts, kinds, beside_mix=False) == pytest.approx(alone)


def test_one_kind_has_nothing_beside_it() -> None:
    facts = ReplicaFacts.of(replica(pp=2), CompactServiceTime())
    assert capacities_rps(facts, [Kind(1.0, 824, 253)]) == pytest.approx([rps_of(facts, [Kind(1.0, 824, 253)])])


ONE_KIND = [[Kind(1.0, 824, 253)], [Kind(1.0, 2455, 18)]]


@pytest.mark.parametrize(
    ("slo", "kinds", "shortfall"),
    [
        *itertools.product([SLO(ttft_s=2.0), SLO(ttft_s=5.0, attainment=0.9)], [*ONE_KIND, MIX], [0.02]),
        *itertools.product([SLO(tpot_s=0.1), SLO(tpot_s=0.06), SLO(e2e_s=20.0)], ONE_KIND, [0.02]),
    ],
)
@pytest.mark.parametrize(("gpu", "model", "tp"), [("RTX4090", "Llama-3-8B", 1), ("H100-SXM", "Llama-3-70B", 4)])
def test_goals_are_met_at_the_rate_that_they_leave(
    gpu: str, model: str, tp: int, slo: SLO, kinds: list[Kind], shortfall: float
) -> None:
    """By the share of requests asked for, or nearly: Poisson arrivals, with an end-to-end goal of equal lengths."""
    spec = ReplicaSpec.uniform(model_spec(model), gpu_type(gpu), tp=tp)
    rate = capacity_of_mix_rps(spec, CompactServiceTime(), kinds, slo)
    assert 0.15 < rate / capacity_of_mix_rps(spec, CompactServiceTime(), kinds) <= 1
    n, spread = 4000, 0.3 if slo.e2e_s is None else 0.0
    generator = np.random.default_rng(0)
    kind = generator.choice(len(kinds), n, p=[kind.share for kind in kinds])
    prompts, outputs = (
        np.maximum(1, np.round(np.array(means)[kind] * generator.uniform(1 - spread, 1 + spread, n))).astype(int)
        for means in ([kind.prompt_tokens for kind in kinds], [kind.output_tokens for kind in kinds])
    )
    arrival_s = np.cumsum(generator.exponential(1 / rate, n))
    trace = Trace.from_columns(arrival_s, prompts, outputs, model=model)
    result = simulate(Deployment(((spec, 1),)), trace, service_time=CompactServiceTime(), router="round_robin")
    attained = compute_metrics(result, slo, warmup_s=0.1 * arrival_s[-1])["slo_attainment"]
    assert attained is not None
    assert attained >= slo.attainment - shortfall


def test_the_engine_takes_its_part_of_a_ttft_goal() -> None:
    """The front end shifts the goal; scheduling ahead takes one round of the requests that come while others run."""

    def rps(goal_s: float, **engine: Any) -> float:
        times = EngineServiceTime(ConstantServiceTime(0.1), EngineProfile(**engine))
        return capacity_of_mix_rps(replica(), times, [Kind(1.0, 100, 200)], SLO(ttft_s=goal_s))

    assert rps(0.35, frontend_s=0.1) == rps(0.25) > 0
    assert 0 < rps(0.24, schedules_ahead=True) < rps(0.24)
    assert rps(0.31, schedules_ahead=True) == pytest.approx(rps(0.21), rel=1e-3)


def test_what_is_not_asked_for_takes_nothing() -> None:
    for spec in (replica(), replica(pp=4, max_seqs=2)):
        full = capacity_of_mix_rps(spec, CompactServiceTime(), MIX)
        assert capacity_of_mix_rps(spec, CompactServiceTime(), MIX, SLO()) == full
        easy = SLO(tpot_s=1e3)
        assert capacity_of_mix_rps(spec, CompactServiceTime(), MIX, easy) == pytest.approx(full, rel=1e-9)
        assert capacity_of_mix_rps(spec, CompactServiceTime(), MIX, SLO(ttft_s=1e6)) == pytest.approx(full, rel=1e-3)
