from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces import FixedTypes, PoissonArrivals, Trace, TraceError, synthesize
from traces.traffic import Surge, with_traffic


def every_second(n: int, model: str = "m") -> Trace:
    return Trace.from_columns(np.arange(n, dtype=float), range(1, n + 1), [1] * n, model=model)


def times(trace: Trace) -> list[float]:
    return trace.requests["arrival_s"].to_list()


def test_a_factor_of_one_changes_nothing() -> None:
    trace = every_second(10)
    assert with_traffic(trace, [Surge(2.0, 5.0, 1.0)]).requests.equals(trace.requests)


def test_twice_the_requests_come_and_the_rest_keeps_its_times() -> None:
    found = with_traffic(every_second(10), [Surge(2.0, 5.0, 2.0)])
    assert times(found) == [0, 1, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9]
    assert found.requests["prompt_tokens"].to_list() == [1, 2, 3, 4, 5, 6, 7, 8, 6, 7, 8, 9, 10]
    assert found.requests["request_id"].to_list() == list(range(13))


def test_half_of_them_and_none() -> None:
    assert times(with_traffic(every_second(10), [Surge(2.0, 6.0, 0.5)])) == [0, 1, 2, 4, 6, 7, 8, 9]
    assert times(with_traffic(every_second(10), [Surge(2.0, 6.0, 0.0)])) == [0, 1, 6, 7, 8, 9]


def test_factors_multiply_where_surges_overlap() -> None:
    found = with_traffic(every_second(20), [Surge(0.0, 10.0, 2.0), Surge(5.0, 10.0, 2.0)])
    arrival_s = np.array(times(found))
    counts = [int(((arrival_s >= a) & (arrival_s < b)).sum()) for a, b in ((0, 5), (5, 10), (10, 20))]
    assert counts == [10, 20, 10]


def test_a_trace_that_is_too_short_begins_anew() -> None:
    found = with_traffic(every_second(10), [Surge(6.0, math.inf, 3.0)])
    assert len(found) == 6 + 12
    assert found.requests["prompt_tokens"].to_list()[6:] == [7, 8, 9, 10, *range(1, 9)]


def test_only_a_model_or_after_the_end() -> None:
    both = every_second(10, "a").merge(every_second(10, "b"))
    found = with_traffic(both, [Surge(2.0, 5.0, 2.0, "a")])
    assert found.requests.filter(pl.col("model") == "b")["arrival_s"].to_list() == list(range(10))
    assert found.requests.filter(pl.col("model") == "a").height == 13
    late = with_traffic(both, [Surge(20.0, 25.0, 2.0)])
    assert times(late) == times(both)
    assert "after the last request" in late.notes[-1]


def test_a_session_that_is_sent_twice_is_two() -> None:
    trace = Trace.from_columns([0.0, 1.0, 2.0, 3.0], [1] * 4, [1] * 4, session_id=[0, 0, 1, 1])
    found = with_traffic(trace, [Surge(0.0, 2.0, 2.0)])
    assert times(found) == [0.0, 0.5, 1.0, 1.5, 2.0, 3.0]
    ids = found.requests["session_id"].to_list()
    assert ids[:2] != ids[2:4]
    assert not set(ids[:4]) & set(ids[4:])


def test_nothing_left_is_said() -> None:
    with pytest.raises(TraceError, match="no request is left"):
        with_traffic(every_second(5), [Surge(0.0, math.inf, 0.0)])


@given(st.floats(0, 300), st.floats(1, 300), st.floats(0, 4))
def test_poisson_arrivals_have_so_many_times_the_rate(start_s: float, lasts_s: float, factor: float) -> None:
    trace = synthesize(PoissonArrivals(5.0), FixedTypes(((10, 10),), (1.0,)), 4000, seed=1)
    stop_s = start_s + lasts_s
    found = with_traffic(trace, [Surge(start_s, stop_s, factor)])
    before, after = (np.array(times(one)) for one in (trace, found))
    within = int(((after >= start_s) & (after < stop_s)).sum())
    expected = 5.0 * factor * lasts_s
    assert abs(within - expected) <= 5 * math.sqrt(expected) + 1
    for one, other in ((0.0, start_s), (stop_s, math.inf)):
        kept = [times[(times >= one) & (times < other)] for times in (before, after)]
        assert np.array_equal(*kept)
