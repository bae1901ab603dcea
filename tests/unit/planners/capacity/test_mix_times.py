"""Times of mixes: homogeneous, and exact at the mix at which they are linearised."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planners import Candidate, Demand, Kind
from planners.capacity.candidates import kinds_of
from planners.capacity.mix_times import ClosedFormMixTimes
from planners.capacity.rates import rps_of
from planners.capacity.steady_state import ReplicaFacts
from planners.capacity.tangents import alone_rps, mixes_rps, tangents_s
from sim import (
    SLO,
    CompactServiceTime,
    ConstantServiceTime,
    EngineServiceTime,
    ReplicaLimits,
    ReplicaSpec,
    ServiceTimeModel,
    Stage,
    engine_profile,
    gpu_type,
    model_spec,
)
from sim.timing.service_time import StageTime
from traces import PAPER_GRID, WorkloadMix

MIX = WorkloadMix.from_shares(PAPER_GRID, (0.33, 0.07, 0.08, 0.07, 0.27, 0.06, 0.06, 0.03, 0.03))
DEMAND = Demand.from_rate("Llama-3-70B", MIX, 1.0)
KINDS = kinds_of(DEMAND)
MODEL = model_spec("Llama-3-70B")
COMPACT = CompactServiceTime()
ENGINE = EngineServiceTime(COMPACT, engine_profile("vllm", "0.19"))
TIMES = ClosedFormMixTimes(ENGINE, [DEMAND])


def uniform(gpu: str, tp: int, pp: int = 1) -> ReplicaSpec:
    return ReplicaSpec.uniform(MODEL, gpu_type(gpu), tp, pp)


REPLICAS = (
    uniform("A100-SXM-80GB", 4),
    uniform("H100-SXM", 4),
    uniform("L40", 2, 4),
    uniform("RTX4090", 2, 7),
    ReplicaSpec(MODEL, (Stage(gpu_type("A40"), 2, 42), Stage(gpu_type("A100-SXM-80GB"), 1, 38)), ReplicaLimits()),
    ReplicaSpec(MODEL, (Stage(gpu_type("L40"), 1, 8), Stage(gpu_type("H100-SXM"), 2, 72)), ReplicaLimits()),
)
CANDIDATES = tuple(Candidate.from_spec(spec, (1.0,) * 9) for spec in REPLICAS)
candidates = st.sampled_from(CANDIDATES)
amounts = st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e6)), min_size=9, max_size=9).filter(any)


def added_s(mix: list[float], capacities: tuple[float, ...]) -> float:
    return math.fsum(f / h for f, h in zip(mix, capacities, strict=True) if f > 0)


@given(candidates, amounts)
def test_capacities_add_up_to_the_time_of_the_mix(one: Candidate, mix: list[float]) -> None:
    """Euler's law of homogeneous functions; no request takes less than no time, even one that is not there yet."""
    capacities = TIMES.capacity_rps(one, mix)
    assert all(0 < h < math.inf for h in capacities)
    assert added_s(mix, capacities) == pytest.approx(TIMES.time_s(one, mix), rel=1e-9)


@given(candidates, amounts, st.floats(1e-9, 1e9))
def test_k_times_the_amounts_take_k_times_the_time(one: Candidate, mix: list[float], k: float) -> None:
    more = [k * amount for amount in mix]
    assert TIMES.time_s(one, more) == pytest.approx(k * TIMES.time_s(one, mix), rel=1e-9)
    assert TIMES.capacity_rps(one, more) == pytest.approx(TIMES.capacity_rps(one, mix), rel=1e-6)


@given(candidates, st.integers(0, 8), st.sampled_from([5e-324, 1e-300, 1e-9, 1.0, 1e300]))
def test_one_type_takes_what_it_takes_alone(one: Candidate, w: int, amount: float) -> None:
    mix = [amount if k == w else 0.0 for k in range(9)]
    assert one.spec is not None
    alone = rps_of(ReplicaFacts.of(one.spec, ENGINE), [KINDS[w]._replace(share=1.0)])
    assert TIMES.capacity_rps(one, mix)[w] == pytest.approx(alone, rel=1e-9)
    if 1e-200 < amount < 1e200:
        assert TIMES.time_s(one, mix) == pytest.approx(amount / alone, rel=1e-9)


@given(candidates, amounts, st.integers(0, 8), st.floats(1e-3, 1.0))
def test_more_requests_take_no_less_time(one: Candidate, mix: list[float], w: int, share: float) -> None:
    """But for what they spare others: where blocks have just become short, requests of few tokens avert preemption."""
    more = [amount + (share * sum(mix) if k == w else 0.0) for k, amount in enumerate(mix)]
    assert TIMES.time_s(one, more) >= TIMES.time_s(one, mix) * (1 - SPARED)


SPARED = 0.05


@given(candidates, amounts, st.integers(0, 8))
def test_it_does_not_jump(one: Candidate, mix: list[float], w: int) -> None:
    step = 1e-7 * sum(mix)
    more = [amount + (step if k == w else 0.0) for k, amount in enumerate(mix)]
    assert TIMES.time_s(one, more) == pytest.approx(TIMES.time_s(one, mix), rel=1e-4)


def test_what_cannot_be_served_takes_for_ever() -> None:
    kinds = WorkloadMix.from_shares(PAPER_GRID, (1 / 9,) * 9)
    small = ReplicaSpec.uniform(MODEL, gpu_type("H100-SXM"), 4, limits=ReplicaLimits(max_context_tokens=2600))
    one = Candidate.from_spec(small, (1.0,) * 9)
    times = ClosedFormMixTimes(COMPACT, [Demand.from_rate("Llama-3-70B", kinds, 1.0)])
    assert times.time_s(one, [1.0] * 9) == math.inf
    assert times.capacity_rps(one, [1.0] * 9) == (0.0,) * 9
    fitting = [0.0, 0.0, 1.0, *[1.0] * 6]
    capacities = times.capacity_rps(one, fitting)
    assert [h > 0 for h in capacities] == [False, False, *[True] * 7]
    assert added_s(fitting, capacities) == pytest.approx(times.time_s(one, fitting), rel=1e-9)
    assert times.time_s(one, [0.0] * 9) == 0.0


@settings(max_examples=10)
@given(amounts)
def test_within_goals_they_add_up_too(mix: list[float]) -> None:
    one = CANDIDATES[1]
    times = ClosedFormMixTimes(ENGINE, [DEMAND], SLO(ttft_s=5.0, tpot_s=0.2))
    assert added_s(mix, times.capacity_rps(one, mix)) == pytest.approx(times.time_s(one, mix), rel=1e-9)


class _Plain:
    """A service-time model whose stages say nothing of their means."""

    def __init__(self, model: ServiceTimeModel) -> None:
        self._model = model

    def stage_times(self, spec: ReplicaSpec) -> tuple[StageTime, ...]:
        return tuple(map(_PlainStage, self._model.stage_times(spec)))


class _PlainStage:
    def __init__(self, stage: StageTime) -> None:
        self.decode, self.mixed = stage.decode, stage.mixed


MOE = ReplicaSpec.uniform(
    model_spec("gpt-oss-120b"), gpu_type("H100-SXM"), 2, 1, ReplicaLimits(), dp=2, expert_parallel=True
)


@pytest.mark.parametrize(
    "times", [COMPACT, ENGINE, ConstantServiceTime(0.02, per_prompt_token_s=1e-5), _Plain(COMPACT)]
)
def test_many_at_once_are_as_one_by_one(times: ServiceTimeModel) -> None:
    """The slow twin: a replica and a mix after the other."""
    specs = [*REPLICAS, MOE, ReplicaSpec.uniform(MOE.model, gpu_type("H100-SXM"), 4)]
    if isinstance(times, _Plain):
        specs = specs[2:4]
    facts = [ReplicaFacts.of(spec, times) for spec in specs]
    shares = np.random.default_rng(0).dirichlet([0.5] * 9, len(facts))
    mixes = [[kind._replace(share=x) for kind, x in zip(KINDS, row, strict=True)] for row in shares.tolist()]
    alone = [[rps_of(one, [kind._replace(share=1.0)]) for kind in KINDS] for one in facts]
    np.testing.assert_allclose(alone_rps(facts, KINDS), alone, rtol=1e-9)
    mixed = [rps_of(one, mix) for one, mix in zip(facts, mixes, strict=True)]
    np.testing.assert_allclose(mixes_rps(facts, KINDS, shares), mixed, rtol=1e-9)
    assert 1 / tangents_s(facts, KINDS, shares)[0] == pytest.approx(mixed, rel=1e-9)


def test_tangents_are_derivatives() -> None:
    """Against differences one kind after the other, where more of a kind takes more time, and no kink is near."""
    facts = [ReplicaFacts.of(spec, ENGINE) for spec in REPLICAS]
    shares = np.array([[kind.share for kind in KINDS]] * len(facts))
    request_s, times_s = tangents_s(facts, KINDS, shares)
    n_compared = 0
    for one, mix_s, row in zip(facts, request_s, times_s, strict=True):

        def time_s(w: int, by: float, one: ReplicaFacts = one) -> float:
            more = [kind.share + (by if k == w else 0.0) for k, kind in enumerate(KINDS)]
            return sum(more) / rps_of(
                one, [Kind(x / sum(more), *kind[1:]) for x, kind in zip(more, KINDS, strict=True)]
            )

        slopes = [[(time_s(w, by) - mix_s) / by for w in range(9)] for by in (1e-5, -1e-5)]
        if np.allclose(*slopes, rtol=1e-2) and np.min(slopes) > 0.05 * mix_s:
            n_compared += 1
            np.testing.assert_allclose(row, np.mean(slopes, axis=0), rtol=1e-5)
    assert n_compared >= 2


def test_a100_of_four_gpus() -> None:
    """What it serves of its mix: 2.286 requests/s in the simulator, without what an engine takes."""
    facts = ReplicaFacts.of(uniform("A100-SXM-80GB", 4), COMPACT)
    assert rps_of(facts, KINDS) == pytest.approx(2.286, rel=0.05)
