from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.bursts import _rate_by_count, _rate_by_wait, measure_bursts

Floats = npt.NDArray[np.float64]


def poisson(rate_rps: float, n: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).exponential(1 / rate_rps, n).cumsum()


def in_bursts(n_each: int = 60, every_s: float = 30.0, long_s: float = 2.0, n_bursts: int = 50) -> Floats:
    """Nothing between bursts."""
    rng = np.random.default_rng(1)
    return np.concatenate([every_s * i + np.sort(rng.uniform(0, long_s, n_each)) for i in range(n_bursts)])


@pytest.mark.parametrize("rate_rps", [0.3, 3.0, 30.0])
@pytest.mark.parametrize("goals", [{"wait_s": 2.0}, {"run_s": 20.0}, {"wait_s": 5.0, "run_s": 1.0}])
def test_poisson_arrivals_are_planned_for_at_their_mean(rate_rps: float, goals: dict[str, float]) -> None:
    measured = measure_bursts(poisson(rate_rps, 5000), 0.95, **goals)
    assert measured is not None
    assert measured.factor == 1.0
    assert measured.dispersion < 1.5
    assert measured.mean_rps == pytest.approx(rate_rps, rel=0.05)


@pytest.mark.parametrize("share", [0.9, 0.95, 0.99])
def test_what_poisson_arrivals_ask_is_their_rate(share: float) -> None:
    """Without the question whether there are bursts: both rates are those of the process that is measured."""
    arrival_s = poisson(20.0, 40_000)
    assert _rate_by_wait(arrival_s, share, 1.0) == pytest.approx(20, rel=0.05)
    assert _rate_by_count(arrival_s, share, 5.0) == pytest.approx(20, rel=0.05)


def test_bursts_are_planned_for() -> None:
    """60 requests in 2 s, with 28 s of nothing: whoever may wait 2 s needs half of their rate, at 2 req/s mean."""
    measured = measure_bursts(in_bursts(), 0.95, wait_s=2.0)
    assert measured is not None
    assert measured.mean_rps == pytest.approx(2, rel=0.03)
    assert measured.planned_rps == pytest.approx(15, rel=0.15)
    assert measured.busiest_rps == pytest.approx(30, rel=0.05)
    assert measured.dispersion > 30
    assert measured.trend == pytest.approx(1, rel=0.03)


def test_the_longer_the_time_the_less_is_asked() -> None:
    rates = [measure_bursts(in_bursts(), 0.95, wait_s=wait_s) for wait_s in (0.5, 2.0, 8.0)]
    planned = [one.planned_rps for one in rates if one is not None]
    assert planned == sorted(planned, reverse=True)
    assert len(planned) == 3


def test_what_grows_is_planned_for_at_its_height() -> None:
    """5 req/s, then 20 for the same time: nearly all requests come at 20."""
    slow, fast = poisson(5, 3000), poisson(20, 12_000, seed=1)
    arrival_s = np.concatenate([slow, slow[-1] + fast])
    measured = measure_bursts(arrival_s, 0.95, wait_s=2.0)
    assert measured is not None
    assert measured.planned_rps == pytest.approx(20, rel=0.06)
    assert measured.trend == pytest.approx(4, rel=0.1)


def test_without_goals_or_requests_there_is_nothing_to_measure() -> None:
    assert measure_bursts(poisson(1, 100), 0.95) is None
    assert measure_bursts(np.zeros(0), 0.95, wait_s=1.0) is None
    assert measure_bursts(np.zeros(5), 0.95, wait_s=1.0) is None
    assert measure_bursts(np.array([0.0, 1.0]), 0.95, wait_s=1.0) is None


@given(factor=st.floats(0.01, 100), seed=st.integers(0, 20))
def test_time_has_no_scale(factor: float, seed: int) -> None:
    """All faster, and less time: the same bursts."""
    rng = np.random.default_rng(seed)
    arrival_s = rng.pareto(1.5, 500).cumsum()
    slow = measure_bursts(arrival_s, 0.9, wait_s=3.0, run_s=5.0)
    fast = measure_bursts(arrival_s / factor, 0.9, wait_s=3.0 / factor, run_s=5.0 / factor)
    assert slow is not None
    assert fast is not None
    assert fast.factor == pytest.approx(slow.factor, rel=0.05)
    assert fast.mean_rps == pytest.approx(slow.mean_rps * factor)
