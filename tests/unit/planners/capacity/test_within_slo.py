"""Rates within an SLO, of many replicas at once, and what they are made of."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import gamma

from planners import Kind
from planners.capacity.latencies import Latencies, Metric
from planners.capacity.load_curve import LoadCurves
from planners.capacity.loaded import LoadedReplicas
from planners.capacity.random_time import Jumps, RandomTime, Smooth
from planners.capacity.rates import all_alone_rps, rps_of
from planners.capacity.rows import take
from planners.capacity.search import largest
from planners.capacity.steady_state import ReplicaFacts
from planners.capacity.within_slo import NEAR, ROUGH, rps_within
from sim import (
    SLO,
    CompactServiceTime,
    ConstantServiceTime,
    EngineServiceTime,
    ReplicaLimits,
    ReplicaSpec,
    engine_profile,
    gpu_type,
    model_spec,
)
from sim.timing.service_time import StageTime

MODEL = model_spec("Llama-3-70B")
ENGINE = EngineServiceTime(CompactServiceTime(), engine_profile("vllm", None))
REPLICAS = [("A100-SXM-80GB", 4, 1), ("H100-SXM", 4, 1), ("A40", 4, 1), ("L40", 2, 2), ("RTX4090", 2, 7)]
FACTS = [ReplicaFacts.of(ReplicaSpec.uniform(MODEL, gpu_type(gpu), tp, pp), ENGINE) for gpu, tp, pp in REPLICAS]
KINDS = [Kind(1 / 9, prompt, output) for prompt in (496.0, 824.0, 2455.0) for output in (1.0, 253.0, 510.0)]
GOALS = [
    SLO(ttft_s=5.0, tpot_s=0.2, attainment=0.9),
    SLO(ttft_s=1.0),
    SLO(e2e_s=40.0, attainment=0.95),
    SLO(tpot_s=0.05),
]


@pytest.mark.parametrize("slo", GOALS)
def test_many_alone_are_as_one_by_one(slo: SLO) -> None:
    one_by_one = [[rps_of(one, [kind._replace(share=1.0)], slo, ROUGH) for kind in KINDS] for one in FACTS]
    rates = all_alone_rps(FACTS, KINDS, slo)
    np.testing.assert_allclose(rates, one_by_one, rtol=1e-9)
    assert (rates > 0).any()


def test_stages_that_know_only_whole_numbers() -> None:
    """One after the other; as fast as the means of the same stages, nearly."""
    facts = [one._replace(stages=tuple(map(WholeStage, one.stages))) for one in FACTS[1:4:2]]
    kinds = KINDS[1:2]
    rates = all_alone_rps(facts, kinds, GOALS[0])
    one_by_one = [[rps_of(one, [kinds[0]._replace(share=1.0)], GOALS[0], ROUGH)] for one in facts]
    np.testing.assert_allclose(rates, one_by_one, rtol=1e-9)
    np.testing.assert_allclose(rates, all_alone_rps(FACTS[1:4:2], kinds, GOALS[0]), rtol=0.02)


class WholeStage:
    """A stage that says nothing of its means."""

    def __init__(self, stage: StageTime) -> None:
        self.decode, self.mixed = stage.decode, stage.mixed


@pytest.mark.parametrize("slo", GOALS)
def test_many_mixes_are_as_one_by_one(slo: SLO) -> None:
    """A kind that is no part of a mix makes no difference."""
    shares = np.random.default_rng(1).dirichlet([0.5] * 9, len(FACTS))
    shares[:, ::2] = 0.0
    shares /= shares.sum(axis=1, keepdims=True)
    mixes = [[kind._replace(share=x) for kind, x in zip(KINDS, row, strict=True)] for row in shares.tolist()]
    one_by_one = [rps_of(one, mix, slo) for one, mix in zip(FACTS, mixes, strict=True)]
    np.testing.assert_allclose(rps_within(slo, LoadCurves.of_mixes(FACTS, KINDS, shares)), one_by_one, rtol=1e-9)


@pytest.mark.parametrize("metric", ["ttft", "tpot", "e2e"])
def test_latencies_of_kinds_are_those_of_each(metric: Metric) -> None:
    shares = np.full((len(FACTS), 9), 1 / 9)
    curves = LoadCurves.of_mixes(FACTS, KINDS, shares)
    rows, kinds = (places.ravel() for places in np.indices(shares.shape))
    together = Latencies(LoadedReplicas.at(curves, 0.6 * curves.rps), rows, kinds)
    means_s = together.mean_s(metric)
    late = together.late_share(metric, 1.2 * means_s)
    assert ((late >= 0) & (late <= 1)).all()
    for row, kind, mean_s, share in zip(rows, kinds, means_s, late, strict=True):
        own = take(curves, np.array([row]))
        one = Latencies(LoadedReplicas.at(own, 0.6 * own.rps), np.zeros(1, np.intp), np.array([kind]))
        assert one.mean_s(metric) == pytest.approx(mean_s, rel=1e-9)
        assert one.late_share(metric, 1.2 * one.mean_s(metric)) == pytest.approx(share, rel=1e-6, abs=1e-9)
        moments = one.by_moments(metric)
        n = max(KINDS[kind].output_tokens - 1, 1) if metric == "tpot" else 1
        stalled = sum(float(weight[0] * time.mean_s[0]) for weight, time in moments) / n
        assert stalled >= mean_s * (1 - 1e-9)  # those who are preempted come on top


def test_prompts_that_take_nothing_make_no_jumps() -> None:
    limits = ReplicaLimits(max_seqs=64, kv_blocks=100_000)
    spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("L40"), limits=limits)
    facts = ReplicaFacts.of(spec, ConstantServiceTime(0.1))
    full_rps = rps_of(facts, [Kind(1.0, 100, 101)])
    assert rps_of(facts, [Kind(1.0, 100, 101)], SLO(e2e_s=10.3)) == pytest.approx(0.73 * full_rps, rel=0.02)
    assert rps_of(facts, [Kind(1.0, 100, 101)], SLO(e2e_s=10.0)) == 0.0


def test_smooth_times_and_jumps_are_summed() -> None:
    """A gamma time and two sizes of jumps, against the sum over how many of each there are."""
    sizes_s, numbers = np.array([[0.25, 1.0]]), np.array([[2.0, 0.5]])
    time = RandomTime(Smooth(*np.array([[1.0], [0.5], [0.5]])), (Jumps(sizes_s, numbers, np.ones(1)),))
    limits_s = np.array([0.5, 1.0, 3.0, 8.0])
    found = time.longer_than(np.zeros(4, np.intp), limits_s)

    def poisson(mean: float, n: int) -> float:
        return math.exp(-mean) * mean**n / math.factorial(n)

    for limit_s, chance in zip(limits_s, found, strict=True):
        exact = sum(
            poisson(2.0, i) * poisson(0.5, j) * float(gamma(2, scale=0.5).sf(limit_s - 0.25 * i - j))
            for i in range(30)
            for j in range(20)
        )
        assert chance == pytest.approx(exact, rel=0.03, abs=1e-6)
    assert time.mean_s == pytest.approx([2.0])
    whole = time.by_moments()
    assert whole.mean_s[0] == pytest.approx(2.0)
    area = quad(lambda t: float(whole.gamma().longer_than(np.zeros(1, np.intp), np.array([t]))[0]), 0, 40)[0]
    assert area == pytest.approx(2.0, rel=0.05)


def test_search_finds_the_first_kind_that_is_late() -> None:
    """Straight lines, steps and curves, with zeros at 3, at 1 and at none that is allowed."""
    asked_at = []

    def late(rows: np.ndarray, x: np.ndarray, asked: np.ndarray | None = None) -> np.ndarray:
        asked_at.append(len(rows))
        lines = np.array([[x - 5, x**3 - 27], [np.where(x > 1, 2.0, -0.5), x - 9], [x + 1, x - 1]])
        of_rows = lines[rows, :, np.arange(len(rows))]
        return of_rows if asked is None else np.where(asked, of_rows, -np.inf)

    least, most, rows = np.full(3, 1e-3), np.full(3, 16.0), np.arange(3)
    found = largest(late, least, most, late(rows, most), NEAR)
    assert found == pytest.approx([3.0, 1.0, 0.0], rel=2 * NEAR)
    assert found[1] <= 1.0
    assert len(asked_at) < 30
