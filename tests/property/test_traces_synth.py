from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

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
    synthesize,
)

RATES = st.floats(0.001, 1000)
CVS = st.floats(0.1, 5)
SEEDS = st.integers(0, 2**64)


@st.composite
def piecewise(draw: st.DrawFn) -> PiecewiseArrivals:
    pieces = draw(st.lists(st.tuples(st.floats(0.1, 100), st.just(0.0) | RATES), max_size=5))
    times_s = (0.0, *np.cumsum([gap_s for gap_s, _ in pieces]).tolist())
    return PiecewiseArrivals(times_s, (*(rate for _, rate in pieces), draw(RATES)))


ARRIVALS: st.SearchStrategy[ArrivalProcess] = st.one_of(
    st.builds(PoissonArrivals, RATES),
    st.builds(GammaArrivals, RATES, CVS),
    st.builds(DiurnalArrivals, RATES, st.floats(1, 50), st.floats(0, 23.9), CVS),
    st.just(AllAtOnce()),
    piecewise(),
)
LENGTHS: st.SearchStrategy[LengthSampler] = st.one_of(
    st.just(FixedTypes(((2455, 18), (496, 510), (1, 1)), (0.25, 0.0, 0.75))),
    st.builds(LogNormalLengths, st.just(300), st.floats(300, 9000), st.just(20), st.floats(20, 900)),
    st.builds(
        HistogramLengths,
        st.just(((0, 1), (0.5, 100), (1, 4000))),
        st.just(((0, 5), (0.9, 5), (1, 300))),
        st.floats(-1, 1),
    ),
)


@given(ARRIVALS, LENGTHS, st.integers(1, 60), st.integers(0, 60), SEEDS)
def test_a_shorter_trace_begins_a_longer_one(
    arrivals: ArrivalProcess, lengths: LengthSampler, n: int, more: int, seed: int
) -> None:
    short = synthesize(arrivals, lengths, n, seed=seed)
    long = synthesize(arrivals, lengths, n + more, seed=seed)
    assert short.requests.equals(long.head(n).requests)


@given(ARRIVALS, LENGTHS, LENGTHS, SEEDS)
def test_lengths_do_not_move_arrivals(
    arrivals: ArrivalProcess, one: LengthSampler, other: LengthSampler, seed: int
) -> None:
    times = [synthesize(arrivals, lengths, 30, seed=seed).requests["arrival_s"] for lengths in (one, other)]
    assert times[0].equals(times[1])


@given(RATES, SEEDS)
def test_one_piece_is_poisson(rate_rps: float, seed: int) -> None:
    draws = [
        process.sample(50, np.random.default_rng(seed))
        for process in (PoissonArrivals(rate_rps), PiecewiseArrivals((0.0,), (rate_rps,)))
    ]
    assert draws[0] == pytest.approx(draws[1])


@example(PiecewiseArrivals((0.0, 64.0), (0.0, 480.5)), 53)
@given(piecewise(), SEEDS)
def test_piecewise_arrivals_are_unit_poisson_in_expected_time(process: PiecewiseArrivals, seed: int) -> None:
    arrival_s = process.sample(50, np.random.default_rng(seed))
    unit = np.random.default_rng(seed).standard_exponential(50).cumsum()
    expected = np.zeros(50)
    ends = (*process.times_s[1:], np.inf)
    for start_s, end_s, rate_rps in zip(process.times_s, ends, process.rates_rps, strict=True):
        if rate_rps > 0:
            expected += rate_rps * (np.clip(arrival_s, start_s, end_s) - start_s)
        else:
            assert not ((arrival_s > start_s) & (arrival_s < end_s)).any()
    rounding = np.spacing(arrival_s.max()) * max(process.rates_rps)  # of a time, after a long piece without arrivals
    assert expected == pytest.approx(unit, rel=1e-9, abs=rounding)


@given(RATES, st.floats(1, 20), st.floats(0, 23.9), CVS, SEEDS)
def test_diurnal_arrivals_are_gamma_in_operational_time(
    rate_rps: float, ratio: float, peak_hour: float, cv: float, seed: int
) -> None:
    arrival_s = DiurnalArrivals(rate_rps, ratio, peak_hour, cv).sample(50, np.random.default_rng(seed))
    even_s = GammaArrivals(rate_rps, cv).sample(50, np.random.default_rng(seed))
    turn, swing, peak_s = 2 * np.pi / 86_400, (ratio - 1) / (ratio + 1), 3600 * peak_hour
    operational_s = arrival_s + swing / turn * (np.sin(turn * (arrival_s - peak_s)) + np.sin(turn * peak_s))
    # The rate is constant within a minute: off by at most (60 s)^2 / 8 * turn in operational time.
    assert operational_s == pytest.approx(even_s, rel=1e-9, abs=60**2 / 8 * turn)


@given(LENGTHS, SEEDS)
def test_lengths_are_whole_tokens(lengths: LengthSampler, seed: int) -> None:
    for tokens in lengths.sample(50, np.random.default_rng(seed)):
        assert tokens.dtype == np.int64
        assert tokens.shape == (50,)
        assert tokens.min() >= 1
