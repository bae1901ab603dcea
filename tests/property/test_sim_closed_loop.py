"""Requests that wait for others: when they are sent follows from when others end, and macro-steps change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sim import simulate
from tests.property.test_sim_clients import Case, cases
from tests.property.test_sim_market import make
from tests.property.test_sim_observe import assert_visits_are_where_requests_were, observe
from tests.strategies_sim import (
    MODEL,
    any_engine,
    any_stepping,
    closed_loops,
    crowded_traces,
    deployments,
    fleet_traces,
    horizon_after,
    horizons,
    in_loops,
    service_times,
    with_prefixes,
)
from traces import ClosedLoop, Sessions, Trace

looped = in_loops(fleet_traces()) | in_loops(with_prefixes(fleet_traces()))


def run(case: Case, trace: Trace, stepping: str, horizon_s: float | None) -> Any:
    deployment, _, settings, replanner = case
    settings["horizon_s"] = horizon_after(trace, horizon_s)
    return simulate(deployment, trace, stepping=stepping, replanner=make(replanner), **settings)  # type: ignore[arg-type]


@given(cases(), looped, horizons)
def test_macro_steps_change_nothing(case: Case, trace: Trace, horizon_s: float | None) -> None:
    """Also with drops, timeouts, retries, full queues, deployments that change, and several streams."""
    macro, iteration = (run(case, trace, stepping, horizon_s) for stepping in ("macro", "iteration"))
    assert_frame_equal(macro.requests, iteration.requests, check_exact=True)
    assert_frame_equal(macro.replicas, iteration.replicas, rel_tol=1e-9, abs_tol=1e-9)
    assert macro.manifest["end_s"] == iteration.manifest["end_s"]
    assert macro.manifest["replans"] == iteration.manifest["replans"]


@given(deployments(), in_loops(crowded_traces()), service_times(), any_engine)
def test_macro_steps_change_nothing_on_one_or_a_few_replicas(
    deployment: Any, trace: Trace, service_time: Any, engine: Any
) -> None:
    """A replica that is alone is ahead of the clock until somebody may send a request."""
    macro, iteration = (
        simulate(deployment, trace, service_time=service_time, stepping=stepping, engine=engine)  # type: ignore[arg-type]
        for stepping in ("macro", "iteration")
    )
    assert_frame_equal(macro.requests, iteration.requests, check_exact=True)
    assert_frame_equal(macro.replicas, iteration.replicas, rel_tol=1e-9, abs_tol=1e-9)


@given(cases(), looped, any_stepping, horizons)
def test_an_observer_knows_which_row_of_the_records_it_saw(
    case: Case, trace: Trace, stepping: str, horizon_s: float | None
) -> None:
    deployment, _, settings, replanner = case
    result, observer = observe((deployment, trace, settings, replanner), stepping, horizon_s)
    assert_visits_are_where_requests_were(result, observer)


@given(cases(), looped, any_stepping, horizons)
def test_each_request_is_sent_when_somebody_is_free(
    case: Case, trace: Trace, stepping: str, horizon_s: float | None
) -> None:
    """The requests of a loop are sent at the first of the times at which a user begins or has thought, in order."""
    result = run(case, trace, stepping, horizon_s)
    sent = result.requests
    assert sent["request_id"].is_in(trace.requests["request_id"].to_list()).all()
    assert sent.select("arrival_s", "request_id").rows() == sorted(sent.select("arrival_s", "request_id").rows())
    until_s = case[2]["horizon_s"] or np.inf
    think = trace.requests.select("request_id", *(["loop", "think_s"] if trace.loops else []))
    joined = sent.join(think, on="request_id", how="left")
    for index, loop in enumerate(trace.loops):
        mine = trace.requests.filter(pl.col("loop") == index)
        groups = [mine] if isinstance(loop, ClosedLoop) else mine.partition_by("session_id")
        for rows in groups:
            starts = loop.starts_s() if isinstance(loop, ClosedLoop) else [rows["arrival_s"][0]]
            of_loop = joined.filter(pl.col("request_id").is_in(rows["request_id"].to_list())).sort(
                "arrival_s", "request_id"
            )
            ready = np.sort([*starts, *(of_loop["ended_s"] + of_loop["think_s"]).drop_nulls()])
            due = [time_s for time_s in ready if time_s <= until_s][: rows.height]
            assert of_loop["arrival_s"].to_list() == due
            assert set(of_loop["request_id"]) == set(rows["request_id"][: len(due)])
    if not trace.loops:
        return
    opened = trace.requests.filter(pl.col("loop").is_null() & (pl.col("arrival_s") < until_s))
    assert set(opened["request_id"]) <= set(sent["request_id"])


@given(
    deployments(),
    crowded_traces(),
    closed_loops(),
    st.tuples(service_times(), any_engine, any_stepping),
    st.none() | st.floats(0.1, 8.0),
)
def test_users_are_waiting_or_thinking_or_have_nothing_to_do(
    deployment: Any, plain: Trace, loop: ClosedLoop, how: tuple[Any, Any, Any], horizon_s: float | None
) -> None:
    """At any moment each user has not begun, waits for an answer, thinks, or has nothing left to send.

    So over a run of T the users' time, users T, is the sum of all latencies and think times, and of the time before
    they begin and after the last request.
    """
    trace = plain.sent_by(loop, seed=1)
    service_time, engine, stepping = how
    result = simulate(
        deployment, trace, service_time=service_time, engine=engine, stepping=stepping, horizon_s=horizon_s
    )
    requests = result.requests.join(trace.requests.select("request_id", "think_s"), on="request_id")
    end_s = max(result.manifest["end_s"], loop.ramp_s) if horizon_s is None else horizon_s
    ended_s = requests["ended_s"].fill_null(end_s).to_numpy()
    latency_s = np.minimum(ended_s, end_s) - requests["arrival_s"].to_numpy()
    ready_s = ended_s + requests["think_s"].to_numpy()
    thinking_s = np.minimum(ready_s, end_s) - ended_s
    starts_s = np.minimum(loop.starts_s(), end_s)
    left_s = np.sort([*loop.starts_s(), *ready_s])[requests.height :]  # of those who find nothing more to send
    idle_s = (end_s - np.minimum(left_s, end_s)).sum()
    total_s = latency_s.sum() + thinking_s.sum() + starts_s.sum() + idle_s
    assert total_s == pytest.approx(loop.users * end_s, rel=1e-12)


@given(deployments(), crowded_traces(), service_times(), any_stepping)
def test_as_many_users_as_requests_are_all_at_once(
    deployment: Any, plain: Trace, service_time: Any, stepping: Any
) -> None:
    at_once = Trace(plain.requests.with_columns(arrival_s=pl.lit(0.0)), plain.source)
    looped = plain.sent_by(ClosedLoop(len(plain)))
    of_loop, opened = (
        simulate(deployment, trace, service_time=service_time, stepping=stepping).requests
        for trace in (looped, at_once)
    )
    assert_frame_equal(of_loop, opened, check_exact=True)


@given(deployments(), crowded_traces(), service_times(), any_stepping)
def test_one_user_is_a_session_without_end(deployment: Any, plain: Trace, service_time: Any, stepping: Any) -> None:
    of_one = plain.requests.with_columns(session_id=pl.lit(7, pl.Int64), arrival_s=pl.lit(0.0))
    user, session = (
        simulate(deployment, trace, service_time=service_time, stepping=stepping, prefix_caching=False).requests
        for trace in (Trace(of_one, "x").sent_by(ClosedLoop(1, 0.3)), Trace(of_one, "x").sent_by(Sessions(0.3)))
    )
    assert_frame_equal(user, session, check_exact=True)
    assert MODEL.name in plain.models
