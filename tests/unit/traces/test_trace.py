from __future__ import annotations

import math
import pickle

import numpy as np
import polars as pl
import pytest

from traces import Trace, TraceError


@pytest.fixture
def trace() -> Trace:
    return Trace.from_columns(
        [0.0, 1.0, 1.0, 4.0],
        [100, 200, 300, 400],
        [10, 20, 30, 40],
        model=["b", "a", "b", "b"],
        source="four",
        session_id=[1, None, 1, 2],
    )


def test_summary_properties(trace: Trace) -> None:
    assert len(trace) == 4
    assert trace.models == ("a", "b")
    assert trace.duration_s == 4.0
    assert trace.rate_rps == 0.75
    assert repr(trace) == "Trace('four', 4 requests in 4 s)"


def test_requests_that_come_at_once_have_an_infinite_rate(trace: Trace) -> None:
    assert trace.head(1).rate_rps == math.inf
    assert trace.head(1).stats().select("duration_s", "rate_rps", "arrival_cv").row(0) == (0.0, math.inf, None)


def test_stats_have_a_row_for_all_and_one_per_model(trace: Trace) -> None:
    stats = trace.stats()
    assert stats["model"].to_list() == ["all", "a", "b"]
    assert stats["n_requests"].to_list() == [4, 1, 3]
    assert stats["prompt_tokens_mean"].to_list() == pytest.approx([250, 200, 800 / 3])
    assert stats["output_tokens_p90"].to_list() == pytest.approx([37, 20, 38])
    assert stats["arrival_cv"][0] == pytest.approx(np.std([1, 0, 3], ddof=1) / np.mean([1, 0, 3]))


def test_a_slice_is_half_open_and_starts_at_0(trace: Trace) -> None:
    part = trace.slice(1.0, 4.0)
    assert part.requests.select("request_id", "arrival_s").rows() == [(1, 0.0), (2, 0.0)]
    assert part.source == "four | slice(1.0, 4.0)"


@pytest.mark.parametrize("window", [(2.0, 3.0), (3.0, 2.0), (9.0, 10.0), (-math.inf, 9.0), (math.nan, 9.0)])
def test_a_slice_without_requests_is_an_error(trace: Trace, window: tuple[float, float]) -> None:
    with pytest.raises(TraceError, match="four: no request arrives in"):
        trace.slice(*window)


@pytest.mark.parametrize("factor", [0.0, -1.0, math.nan, math.inf, 1e-320])
def test_a_rate_factor_must_be_positive(trace: Trace, factor: float) -> None:
    with pytest.raises(TraceError, match="cannot scale the arrival rate"):
        trace.scale_rate(factor)


def test_times_that_become_equal_are_sorted_by_id() -> None:
    late, later = 1.0, math.nextafter(1.0, 2.0)
    frame = pl.DataFrame({"request_id": [5, 3], "arrival_s": [late, later], "prompt_tokens": 1, "output_tokens": 1})
    scaled = Trace.from_frame(frame, "two").scale_rate(3.0).scale_rate(1 / 3)
    assert scaled.requests.equals(scaled.requests.sort("arrival_s", "request_id"))


def test_head_needs_a_request(trace: Trace) -> None:
    with pytest.raises(TraceError, match="head needs at least 1 request, not 0"):
        trace.head(0)


def test_with_model_renames_all_requests(trace: Trace) -> None:
    assert trace.with_model("c").models == ("c",)
    with pytest.raises(TraceError, match="name of a model cannot be empty"):
        trace.with_model("")


def test_merge_puts_the_first_trace_first_at_equal_times(trace: Trace) -> None:
    other = Trace.from_columns([1.0], [7], [7], model="c", source="one")
    merged = trace.merge(other)
    assert merged.requests["model"].to_list() == ["b", "a", "b", "c", "b"]
    assert merged.requests["session_id"].to_list() == [1, None, 1, None, 2]
    assert merged.source == "four + one"


def test_defaults_fill_only_missing_columns(trace: Trace) -> None:
    plain = Trace.from_frame(trace.requests.drop("model", "slo_class"), "x", model="m", slo_class="batch")
    assert plain.models == ("m",)
    assert plain.requests["slo_class"].unique().to_list() == ["batch"]
    assert Trace.from_frame(trace.requests, "x", model="m").models == ("a", "b")


def test_numpy_columns_are_accepted() -> None:
    made = Trace.from_columns(np.array([0.0, 1.0]), np.array([1, 2], np.uint16), np.array([3, 4]))
    assert made.requests["prompt_tokens"].to_list() == [1, 2]


@pytest.mark.parametrize("prompts", [[1], ["a", 2], [1, object()]])
def test_columns_that_form_no_table_are_an_error(prompts: list[object]) -> None:
    with pytest.raises(TraceError, match="columns"):
        Trace.from_columns([0.0, 1.0], prompts, [1, 1])  # type: ignore[arg-type]


def test_equality_compares_requests_and_source(trace: Trace) -> None:
    assert trace == pickle.loads(pickle.dumps(trace))
    assert trace != trace.head(3)
    assert trace != "four"
