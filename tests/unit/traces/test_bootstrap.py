from __future__ import annotations

import math

import numpy as np
import pytest

from traces import FixedTypes, GammaArrivals, PoissonArrivals, Trace, TraceError, block_bootstrap, synthesize

ONE_TYPE = FixedTypes(types=((100, 10),), shares=(1.0,))
N_SEEDS = 400


def counts(trace: Trace, block_s: float) -> np.ndarray:
    return np.array([len(block_bootstrap(trace, block_s, seed)) for seed in range(N_SEEDS)])


@pytest.mark.parametrize("block_s", [7.0, 60.0])
def test_as_many_requests_as_recorded_are_expected(block_s: float) -> None:
    """Bursts, also at the ends: the mean over seeds is within four of its standard errors."""
    trace = synthesize(GammaArrivals(rate_rps=5.0, cv=4.0), ONE_TYPE, 2000, seed=3)
    found = counts(trace, block_s)
    assert abs(found.mean() - len(trace)) < 4 * found.std(ddof=1) / math.sqrt(N_SEEDS)
    assert len(set(found)) > N_SEEDS / 4


def test_the_spread_of_the_rate_is_that_of_a_poisson_process() -> None:
    """Theory: sqrt(rate / duration). 1000 blocks know it within 4 %, 400 seeds within 4 %: within 20 %, safely."""
    trace = synthesize(PoissonArrivals(rate_rps=5.0), ONE_TYPE, 20_000, seed=1)
    rates_rps = counts(trace, trace.duration_s / 1000) / trace.duration_s
    assert rates_rps.std(ddof=1) == pytest.approx(math.sqrt(5.0 / trace.duration_s), rel=0.2)


def test_short_blocks_lose_what_long_ones_keep() -> None:
    """Half of the time nothing comes: whole periods vary little between seeds, pieces of them much."""
    seconds = np.arange(0, 4000.5, 0.5)
    busy_s = seconds[seconds // 100 % 2 == 0]
    trace = Trace.from_columns(busy_s, [10] * len(busy_s), [10] * len(busy_s))
    assert counts(trace, 20.0).std() > 5 * counts(trace, 200.0).std()


def test_a_conversation_ends_with_its_block() -> None:
    """Blocks of 2 s cut one conversation of 10 s; each has conversations of its own, even where one is drawn twice."""
    trace = Trace.from_columns(range(11), range(1, 12), [1] * 11, session_id=[7] * 11)
    again = block_bootstrap(trace, 2.0, seed=5).requests
    block = (again["arrival_s"] // 2.0).to_list()
    assert len(set(block)) == 5
    assert len(again["prompt_tokens"].unique()) < len(again)
    assert again["session_id"].to_list() == block


def test_seeds_differ_and_one_seed_does_not() -> None:
    trace = synthesize(PoissonArrivals(rate_rps=5.0), ONE_TYPE, 200, seed=1)
    first, again, other = (block_bootstrap(trace, 5.0, seed) for seed in (1, 1, 2))
    assert first == again
    assert not first.requests["arrival_s"].equals(other.requests["arrival_s"])
    assert first.source.endswith(" | block_bootstrap(5.0, seed=1)")


def test_the_time_axis_stays_where_it_is() -> None:
    trace = Trace.from_columns([100.0, 101.0, 103.0, 110.0], [1, 2, 3, 4], [1] * 4)
    for seed in range(20):
        arrival_s = block_bootstrap(trace, 5.0, seed).requests["arrival_s"]
        assert 100 <= arrival_s[0] <= arrival_s[-1] <= 110


@pytest.mark.parametrize(
    ("block_s", "seed", "problem"),
    [
        (0.0, 0, "block_s is 0.0; allowed: above 0, up to 10.0, the time from the first arrival to the last"),
        (-1.0, 0, "block_s is -1.0; allowed: above 0, up to 10.0"),
        (math.nan, 0, "block_s is nan; allowed: above 0, up to 10.0"),
        (10.5, 0, "block_s is 10.5; allowed: above 0, up to 10.0"),
        (1e-9, 0, "block_s is 1e-09; allowed: from 1e-06, for 10000000 blocks, to 10.0"),
        (1.0, -1, "seed is -1; allowed: >= 0"),
        (0.1, 2, "columns: no request arrives in the 100 blocks of 0.1 s drawn with seed 2; take longer blocks"),
    ],
)
def test_what_cannot_be_cut_is_refused(block_s: float, seed: int, problem: str) -> None:
    trace = Trace.from_columns([0.0, 10.0], [1, 1], [1, 1])
    with pytest.raises(TraceError) as error:
        block_bootstrap(trace, block_s, seed)
    assert problem in str(error.value)


def test_a_trace_without_time_is_refused() -> None:
    with pytest.raises(TraceError, match="all requests arrive at one time: there is no time to cut into blocks"):
        block_bootstrap(Trace.from_columns([1.0, 1.0], [1, 1], [1, 1]), 1.0, 0)
