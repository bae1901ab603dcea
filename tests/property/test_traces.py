from __future__ import annotations

import math
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.strategies import traces
from traces import Trace, TraceError, validate_requests

TWO_MODELS = traces(models=("a", "b"), n_sessions=3)
FACTORS = st.floats(0.01, 100)


def total_tokens(trace: Trace) -> tuple[int, ...]:
    return trace.requests.select(pl.col("prompt_tokens", "output_tokens").cast(pl.Int64).sum()).row(0)


@given(TWO_MODELS)
def test_validation_changes_nothing_in_a_valid_table(trace: Trace) -> None:
    assert_frame_equal(validate_requests(trace.requests, "again"), trace.requests)


@given(TWO_MODELS, st.randoms(use_true_random=False))
def test_sort_restores_any_order(trace: Trace, random: Random) -> None:
    rows = list(range(len(trace)))
    random.shuffle(rows)
    assert Trace.from_frame(trace.requests[rows], "drawn", sort=True) == trace


@given(
    traces(),
    st.data(),
    st.sampled_from(
        [
            ("arrival_s", math.nan),
            ("arrival_s", -1.0),
            ("prompt_tokens", 0),
            ("output_tokens", -7),
            ("model", None),
        ]
    ),
)
def test_a_bad_cell_is_named_with_its_row_and_value(
    trace: Trace, data: st.DataObject, bad: tuple[str, float | None]
) -> None:
    column, value = bad
    row = data.draw(st.integers(0, len(trace) - 1))
    cells = trace.requests[column].to_list()
    cells[row] = value
    frame = trace.requests.with_columns(pl.Series(column, cells, strict=False))
    shown = "an empty cell" if value is None else value
    with pytest.raises(TraceError, match=rf"(?s)f\.csv.*{column}: row {row}: {shown} is not"):
        validate_requests(frame, "f.csv", sort=True)


@given(TWO_MODELS, st.floats(0, 400))
def test_slices_partition_the_trace(trace: Trace, border_s: float) -> None:
    ids: list[int] = []
    for start_s, end_s in ((0.0, border_s), (border_s, math.inf)):
        try:
            part = trace.slice(start_s, end_s)
        except TraceError:
            continue
        assert part.requests["arrival_s"].is_between(0, end_s - start_s).all()
        ids += part.requests["request_id"].to_list()
    assert ids == trace.requests["request_id"].to_list()


@given(TWO_MODELS, FACTORS)
def test_scaling_the_rate_scales_times_only(trace: Trace, factor: float) -> None:
    scaled = trace.scale_rate(factor)
    assert total_tokens(scaled) == total_tokens(trace)
    assert scaled.duration_s == pytest.approx(trace.duration_s / factor)
    assert scaled.rate_rps == pytest.approx(trace.rate_rps * factor)
    times = trace.requests["arrival_s"].to_numpy() / factor
    assert scaled.requests["arrival_s"].to_list() == times.tolist()


@given(TWO_MODELS, traces(models=("b", "c")))
def test_merge_keeps_every_request(left: Trace, right: Trace) -> None:
    merged = left.merge(right)
    assert len(merged) == len(left) + len(right)
    assert total_tokens(merged) == tuple(np.add(total_tokens(left), total_tokens(right)))
    assert merged.requests["request_id"].to_list() == list(range(len(merged)))
    assert merged.requests["arrival_s"].is_sorted()
    assert set(merged.models) == {*left.models, *right.models}


@given(traces(), traces(), traces())
def test_merge_is_associative(a: Trace, b: Trace, c: Trace) -> None:
    assert a.merge(b, c) == a.merge(b).merge(c) == a.merge(b.merge(c))


@given(TWO_MODELS, st.integers(1, 50))
def test_head_is_the_beginning(trace: Trace, n: int) -> None:
    assert_frame_equal(trace.head(n).requests, trace.requests[: min(n, len(trace))])


@given(TWO_MODELS)
def test_stats_agree_with_numpy(trace: Trace) -> None:
    for row in trace.stats().iter_rows(named=True):
        requests = trace.requests
        if row["model"] != "all":
            requests = requests.filter(pl.col("model") == row["model"])
        assert row["n_requests"] == requests.height
        for column in ("prompt_tokens", "output_tokens"):
            tokens = requests[column].to_numpy()
            assert row[f"{column}_mean"] == pytest.approx(tokens.mean())
            assert row[f"{column}_max"] == tokens.max()
            for percent in (50, 90, 99):
                assert row[f"{column}_p{percent}"] == pytest.approx(np.percentile(tokens, percent))
        gaps = np.diff(requests["arrival_s"].to_numpy())
        if gaps.size > 1 and gaps.mean() > 0:
            assert row["arrival_cv"] == pytest.approx(gaps.std(ddof=1) / gaps.mean())
        else:
            assert row["arrival_cv"] is None


@given(TWO_MODELS, FACTORS)
def test_methods_leave_the_trace_alone(trace: Trace, factor: float) -> None:
    before = trace.requests.clone()
    trace.scale_rate(factor).merge(trace).with_model("x").head(1).stats()
    assert_frame_equal(trace.requests, before)
