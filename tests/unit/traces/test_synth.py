from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pytest

from traces import (
    AllAtOnce,
    ArrivalProcess,
    DiurnalArrivals,
    FixedTypes,
    GammaArrivals,
    HistogramLengths,
    LengthSampler,
    LogNormalLengths,
    PiecewiseArrivals,
    PoissonArrivals,
    TraceError,
    azure_conv_like,
    synthesize,
)
from traces.synth import AZURE_CONV_LENGTHS

ONE_TYPE = FixedTypes(((100, 10),), (1.0,))
N = 40_000


def gaps(arrivals: ArrivalProcess, seed: int = 1) -> np.ndarray:
    return np.diff(arrivals.sample(N, np.random.default_rng(seed)), prepend=0)


@pytest.mark.parametrize("cv", [0.2, 1.0, 3.0])
def test_gamma_gaps_have_the_rate_and_cv_asked_for(cv: float) -> None:
    gap_s = gaps(GammaArrivals(rate_rps=4.0, cv=cv))
    assert gap_s.mean() == pytest.approx(0.25, abs=5 * 0.25 * cv / math.sqrt(N))
    assert gap_s.std() / gap_s.mean() == pytest.approx(cv, rel=0.05)


def test_poisson_gaps_are_exponential() -> None:
    gap_s = gaps(PoissonArrivals(rate_rps=4.0))
    for probability in (0.1, 0.5, 0.9):
        quantile = -math.log(1 - probability) / 4.0
        share = (gap_s < quantile).mean()
        assert share == pytest.approx(probability, abs=5 * math.sqrt(0.25 / N))


def test_diurnal_rates_at_peak_and_trough() -> None:
    arrival_s = DiurnalArrivals(1.0, peak_to_trough=3.0, peak_hour=6.0).sample(864_000, np.random.default_rng(1))
    hour = (arrival_s / 3600 % 24).astype(int)
    per_hour = np.bincount(hour, minlength=24) / 10 / 3600
    assert arrival_s[-1] / 86_400 == pytest.approx(10, rel=0.01)
    assert per_hour[[5, 6]].mean() == pytest.approx(1.5, rel=0.02)
    assert per_hour[[17, 18]].mean() == pytest.approx(0.5, rel=0.02)


def test_all_at_once() -> None:
    assert synthesize(AllAtOnce(), ONE_TYPE, 5, seed=0).duration_s == 0


def test_lengths_of_a_type_vary_around_those_of_the_type() -> None:
    types = ((1000, 100), (10, 1))
    spread = FixedTypes(types, (0.5, 0.5), spread=0.3)
    prompt, output = spread.sample(N, np.random.default_rng(1))
    for (nominal_prompt, nominal_output), is_one in zip(types, (prompt > 100, prompt < 100), strict=True):
        assert np.isin(prompt[is_one], range(round(0.7 * nominal_prompt), round(1.3 * nominal_prompt) + 1)).all()
        assert prompt[is_one].mean() == pytest.approx(nominal_prompt, rel=0.01)
        assert output[is_one].mean() == pytest.approx(nominal_output, rel=0.01)
    assert output.min() == 1
    first = spread.sample(100, np.random.default_rng(1))
    assert np.array_equal(first, (prompt[:100], output[:100]))


def test_fixed_types_have_the_shares_asked_for() -> None:
    types = ((1, 2), (3, 4), (5, 6))
    prompt, output = FixedTypes(types, (0.2, 0.0, 0.8)).sample(N, np.random.default_rng(1))
    assert (output == prompt + 1).all()
    shares = np.bincount(prompt, minlength=6)[[1, 3, 5]] / N
    assert shares == pytest.approx([0.2, 0.0, 0.8], abs=0.01)


def test_log_normal_quantiles_and_clipping() -> None:
    lengths = LogNormalLengths(1000, 4000, 100, 100, prompt_tokens_range=(200, 6000))
    prompt, output = lengths.sample(N, np.random.default_rng(1))
    assert np.quantile(prompt, [0.5, 0.9]) == pytest.approx([1000, 4000], rel=0.05)
    assert (prompt.min(), prompt.max()) == (200, 6000)
    assert set(output) == {100}


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])


@pytest.mark.parametrize("correlation", [-1.0, -0.4, 0.0, 0.7, 1.0])
def test_histogram_quantiles_and_rank_correlation(correlation: float) -> None:
    knots = ((0.0, 1.0), (0.5, 500_000.0), (0.9, 10**7), (1.0, 10**9))
    prompt, output = HistogramLengths(knots, knots, correlation).sample(N, np.random.default_rng(1))
    assert (prompt <= 500_000).mean() == pytest.approx(0.5, abs=0.015)
    assert (output <= 10**7).mean() == pytest.approx(0.9, abs=0.01)
    assert rank_correlation(prompt, output) == pytest.approx(correlation, abs=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_azure_look_alike_has_the_published_figures(seed: int) -> None:
    figures = azure_conv_like(seed=seed).stats().row(0, named=True)
    published = {
        "n_requests": 19_366,
        "rate_rps": 5.53,
        "arrival_cv": 1.09,
        "prompt_tokens_mean": 1155,
        "prompt_tokens_p50": 1020,
        "prompt_tokens_p90": 2735,
        "prompt_tokens_p99": 4142,
        "prompt_tokens_max": 14_050,
        "output_tokens_mean": 211,
        "output_tokens_p50": 129,
        "output_tokens_p90": 424,
        "output_tokens_p99": 601,
        "output_tokens_max": 1000,
    }
    assert {name: figures[name] for name in published} == pytest.approx(published, rel=0.1)


def test_azure_look_alike_correlates_prompt_and_output() -> None:
    requests = azure_conv_like(100_000).requests
    prompt, output = requests["prompt_tokens"].rank(), requests["output_tokens"].rank()
    assert np.corrcoef(prompt, output)[0, 1] == pytest.approx(0.073, abs=0.015)


def test_same_seed_same_trace_and_other_seed_another() -> None:
    assert azure_conv_like(50, seed=3) == azure_conv_like(50, seed=3)
    assert not azure_conv_like(50, seed=3).requests.equals(azure_conv_like(50, seed=4).requests)


def test_a_trace_says_how_it_was_made() -> None:
    trace = synthesize(PoissonArrivals(2.0), ONE_TYPE, 3, seed=7, model="llama", slo_class="chat")
    assert trace.source == (
        "synthesize(PoissonArrivals(rate_rps=2.0), FixedTypes(types=((100, 10),), shares=(1.0,)), 3, seed=7)"
    )
    assert trace.requests.select("model", "slo_class").unique().rows() == [("llama", "chat")]


KNOTS = ((0.0, 1.0), (1.0, 9.0))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PoissonArrivals(0.0), "PoissonArrivals: rate_rps is 0.0; allowed: > 0"),
        (lambda: PoissonArrivals(math.nan), "rate_rps is nan"),
        (lambda: GammaArrivals(math.inf, 1.0), "rate_rps is inf"),
        (lambda: GammaArrivals(1.0, 0.0), "cv is 0.0; allowed: 0.01 to 100"),
        (lambda: PiecewiseArrivals((0.0, 1.0), (1.0,)), "2 times_s for 1 rates_rps"),
        (lambda: PiecewiseArrivals((), ()), "times_s must rise from 0"),
        (lambda: PiecewiseArrivals((1.0,), (1.0,)), "times_s must rise from 0"),
        (lambda: PiecewiseArrivals((0.0, 2.0, 2.0), (1.0, 1.0, 1.0)), "times_s must rise from 0"),
        (lambda: PiecewiseArrivals((0.0, 2.0), (-1.0, 1.0)), "rates_rps must be >= 0, the last > 0"),
        (lambda: PiecewiseArrivals((0.0, 2.0), (1.0, 0.0)), "rates_rps must be >= 0, the last > 0"),
        (lambda: DiurnalArrivals(0.0, 2.0, 1.0), "mean_rate_rps is 0.0"),
        (lambda: DiurnalArrivals(1.0, 0.5, 1.0), "peak_to_trough is 0.5; allowed: >= 1"),
        (lambda: DiurnalArrivals(1.0, 2.0, 24.0), "peak_hour is 24.0"),
        (lambda: DiurnalArrivals(1.0, 2.0, 1.0, cv=-1.0), "cv is -1.0"),
        (lambda: FixedTypes((), ()), "0 types for 0 shares"),
        (lambda: FixedTypes(((1, 1),), (1.0,), 1.0), "spread is 1.0; allowed: 0 <= spread < 1"),
        (lambda: FixedTypes(((1, 1),), (0.5, 0.5)), "1 types for 2 shares"),
        (lambda: FixedTypes(((0, 1),), (1.0,)), "tokens must be whole numbers >= 1"),
        (lambda: FixedTypes(((1, 1), (2, 2)), (0.5, 0.6)), "must be >= 0 and sum to 1"),
        (lambda: FixedTypes(((1, 1), (2, 2)), (-0.5, 1.5)), "must be >= 0 and sum to 1"),
        (lambda: LogNormalLengths(100, 90, 1, 1), "prompt_tokens: p50 100, p90 90"),
        (lambda: LogNormalLengths(1, 1, 1, 1, output_tokens_range=(0, 5)), "output_tokens_range is (0, 5)"),
        (lambda: HistogramLengths(((0.0, 1.0),), KNOTS), "prompt_knots: probabilities must rise from 0 to 1"),
        (lambda: HistogramLengths(KNOTS, ((0.0, 9.0), (1.0, 1.0))), "output_knots: probabilities must rise"),
        (lambda: HistogramLengths(KNOTS, ((0.0, 0.0), (1.0, 1.0))), "output_knots: tokens must be >= 1"),
        (lambda: HistogramLengths(KNOTS, KNOTS, 1.5), "rank_correlation is 1.5; allowed: -1 to 1"),
        (lambda: azure_conv_like(0), "synthesize: n_requests is 0; allowed: >= 1"),
        (lambda: azure_conv_like(1, seed=-1), "synthesize: seed is -1; allowed: >= 0"),
    ],
)
def test_arguments_out_of_range_are_described(make: Callable[[], object], said: str) -> None:
    with pytest.raises(TraceError) as raised:
        make()
    assert said in str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [AZURE_CONV_LENGTHS, LogNormalLengths(300, 900, 20, 90), ONE_TYPE])
@pytest.mark.parametrize("arrivals", [GammaArrivals(5.0, 2.0), DiurnalArrivals(5.0, 3.0, 12.0), PoissonArrivals(5.0)])
def test_a_million_requests_take_less_than_a_second(arrivals: ArrivalProcess, lengths: LengthSampler) -> None:
    rng = np.random.default_rng(1)
    start_s = time.process_time()
    arrivals.sample(1_000_000, rng)
    lengths.sample(1_000_000, rng)
    assert time.process_time() - start_s < 1
