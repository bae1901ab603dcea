"""What an observer notes adds up to the records, and observing changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from polars.testing import assert_frame_equal

from sim import Observer, SimulationResult, simulate
from tests.property.test_sim_clients import Case, cases
from tests.property.test_sim_market import make
from tests.strategies_sim import any_stepping, horizon_after, horizons

SUMS = ("n_iterations", "busy_s", "prefill_tokens", "decode_tokens")
ROUNDING_S = 1e-9


def observe(case: Case, stepping: Any, horizon_s: float | None) -> tuple[SimulationResult, Observer]:
    deployment, trace, settings, replanner = case
    horizon_s = horizon_after(trace, horizon_s)
    observer = Observer()
    result = simulate(
        deployment,
        trace,
        stepping=stepping,
        horizon_s=horizon_s,
        replanner=make(replanner),
        observer=observer,
        **settings,
    )
    return result, observer


def assert_steps_add_up(replicas: pl.DataFrame, steps: pl.DataFrame) -> None:
    """To the sums of the records; and those of a batch follow one another."""
    sums = steps.group_by("replica_id").agg(pl.sum(*SUMS))
    joined = replicas.select("replica_id").join(sums, on="replica_id", how="left", maintain_order="left").fill_null(0)
    assert_frame_equal(joined.select(SUMS), replicas.select(SUMS), rel_tol=1e-9, abs_tol=1e-9)
    for _, batch in steps.group_by("replica_id", "batch"):
        start_s, end_s = batch["start_s"].to_numpy(), batch["end_s"].to_numpy()
        assert (start_s <= end_s).all()
        assert (end_s[:-1] <= start_s[1:] + ROUNDING_S).all()


def assert_counters_agree(replicas: pl.DataFrame, counters: pl.DataFrame) -> None:
    """With the peak and the end of the records; nothing is ever negative, and time goes on."""
    assert counters["value"].min() is None or (counters["value"] >= 0).all()
    blocks = counters.filter(counter="kv_blocks").group_by("replica_id")
    ends = blocks.agg(peak=pl.col("value").max(), last=pl.col("value").last())
    joined = replicas.join(ends, on="replica_id", how="left").fill_null(0)
    assert (joined["peak"] == joined["peak_kv_blocks"]).all()
    assert (joined["last"] == joined["kv_blocks_at_end"]).all()
    for _, of_one in counters.group_by("replica_id", "counter"):
        assert of_one["t_s"].is_sorted()


def assert_queues_end_with_what_is_left(result: SimulationResult, counters: pl.DataFrame) -> None:
    left = counters.filter(pl.col("counter") != "kv_blocks").group_by("replica_id", "counter").last()
    n_left = left["value"].sum()
    assert n_left <= result.requests.filter(pl.col("status") == "unfinished").height


def assert_visits_are_where_requests_were(result: SimulationResult, observer: Observer) -> None:
    visits = observer.visits().join(observer.steps(), on=["replica_id", "batch", "step"], how="left")
    assert visits["start_s"].null_count() == 0
    requests = result.requests.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    at = visits.join(requests.rename({"replica_id": "last_replica"}), on="row")
    is_first = (at["start_s"] - at["first_scheduled_s"]).abs() <= ROUNDING_S
    is_last = ((at["end_s"] - at["finish_s"]).abs() <= ROUNDING_S) & (at["replica_id"] == at["last_replica"])
    first, last = set(at.filter(is_first)["row"]), set(at.filter(is_last)["row"])
    assert set(requests.filter(pl.col("status") == "completed")["row"]) <= first & last


@given(cases(), any_stepping, horizons)
def test_what_is_noted_adds_up_to_the_records(case: Case, stepping: Any, horizon_s: float | None) -> None:
    deployment, trace, settings, replanner = case
    result, observer = observe(case, stepping, horizon_s)
    plain = simulate(
        deployment,
        trace,
        stepping=stepping,
        horizon_s=horizon_after(trace, horizon_s),
        replanner=make(replanner),
        **settings,
    )
    assert_frame_equal(result.requests, plain.requests, check_exact=True)
    assert_frame_equal(result.replicas, plain.replicas, check_exact=True)
    assert result.manifest == plain.manifest
    steps, counters = observer.steps(), observer.counters()
    assert_steps_add_up(result.replicas, steps)
    assert_counters_agree(result.replicas, counters)
    assert_queues_end_with_what_is_left(result, counters)
    assert_visits_are_where_requests_were(result, observer)


def spans(steps: pl.DataFrame) -> list[tuple[float, float]]:
    """When a batch had an iteration under way: steps that follow at once are one."""
    merged: list[tuple[float, float]] = []
    for start_s, end_s in steps.select("start_s", "end_s").iter_rows():
        if merged and start_s <= merged[-1][1] + ROUNDING_S:
            merged[-1] = (merged[-1][0], end_s)
        else:
            merged.append((start_s, end_s))
    return merged


@given(cases(), horizons)
def test_macro_steps_cover_the_same_time(case: Case, horizon_s: float | None) -> None:
    macro, iteration = (observe(case, stepping, horizon_s)[1] for stepping in ("macro", "iteration"))
    alike = [dict(iter(observer.steps().group_by("replica_id"))) for observer in (macro, iteration)]
    assert alike[0].keys() == alike[1].keys()
    for replica_id, steps in alike[0].items():
        others = alike[1][replica_id]
        assert steps.height <= others.height
        if steps["batch"].n_unique() == 1:
            np.testing.assert_allclose(spans(steps), spans(others), rtol=0, atol=ROUNDING_S)
        assert steps["n_iterations"].sum() == others["n_iterations"].sum()
    queues = [observer.counters().filter(pl.col("counter") != "kv_blocks") for observer in (macro, iteration)]
    assert_frame_equal(*queues, check_exact=True)
