"""Replicas that fail, clients that give up and try again, queues that are full: nothing is lost or counted twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sim import Clients, Deployment, Failures, Market, ServiceTimeModel, SimulationResult, compute_metrics, simulate
from sim.results.rent import spent_usd
from tests.property.test_sim_market import InTurn, assert_bill_is_the_integral, make, markets, replanners
from tests.strategies_sim import (
    SEGMENT_TOKENS,
    any_engine,
    any_router,
    any_stepping,
    fleet_traces,
    fleets,
    horizon_after,
    horizons,
    service_times,
    with_prefixes,
)
from traces import Trace, constant_availability

Case = tuple[Deployment, Trace, dict[str, Any], InTurn | None]
RULES = ("restart", "resume", "drop")

timeouts = st.none() | st.floats(0.05, 5.0) | st.integers(1, 50).map(lambda tick: 0.1 * tick)
waits = st.sampled_from([0.0, 0.1, 0.5])


@st.composite
def some_clients(draw: st.DrawFn, ends: st.SearchStrategy[float | None] = timeouts) -> Clients:
    return Clients(
        ttft_timeout_s=draw(timeouts),
        e2e_timeout_s=draw(ends),
        max_retries=draw(st.integers(0, 3)),
        backoff_s=draw(waits),
        backoff_factor=draw(st.sampled_from([1.0, 2.0])),
        jitter=draw(st.sampled_from([0.0, 0.25, 1.0])),
        seed=draw(st.integers(0, 3)),
    )


@st.composite
def some_failures(draw: st.DrawFn) -> Failures:
    return Failures(draw(st.sampled_from([0.5, 3.0, 20.0])), draw(st.sampled_from([0.1, 1.0])), draw(st.integers(0, 9)))


@st.composite
def cases(draw: st.DrawFn, *, is_enough_in_the_end: bool = False) -> Case:
    """Any of: a market or a constant one, deployments that change, failures, clients, queue limits.

    Where replicas fail, clients give up some time: else a request may begin again a hundred times.
    """
    deployment = draw(fleets())
    clients = draw(st.none() | some_clients())
    market = draw(st.none() | markets(deployment, RULES, is_enough_in_the_end=is_enough_in_the_end))
    if draw(st.booleans()):
        if market is None:
            rule = draw(st.sampled_from(RULES))
            timeline = constant_availability(deployment.gpus)
            market = Market(timeline, interrupted=rule, load_bandwidth_bytes_per_s=1e11)  # type: ignore[arg-type]
        market = replace(market, failures=draw(some_failures()))
        clients = draw(some_clients(st.floats(0.5, 10.0)))
    settings = {
        "service_time": draw(service_times()),
        "router": draw(any_router),
        "market": market,
        "clients": clients,
        "max_queued_requests": draw(st.none() | st.integers(1, 6)),
        "prefix_segment_tokens": SEGMENT_TOKENS,
        "engine": draw(any_engine),
    }
    replanner = None if market is None else draw(st.none() | replanners(deployment))
    return deployment, draw(fleet_traces() | with_prefixes(fleet_traces())), settings, replanner


@given(cases(), horizons)
def test_macro_steps_change_nothing(case: Case, horizon_s: float | None) -> None:
    deployment, trace, settings, replanner = case
    settings["horizon_s"] = horizon_after(trace, horizon_s)
    macro, iteration = (
        simulate(deployment, trace, stepping=stepping, replanner=make(replanner), **settings)
        for stepping in ("macro", "iteration")
    )
    assert_frame_equal(macro.requests, iteration.requests, check_exact=True)
    assert_frame_equal(macro.replicas, iteration.replicas, rel_tol=1e-9, abs_tol=1e-9)
    assert macro.manifest["end_s"] == iteration.manifest["end_s"]


@given(cases(is_enough_in_the_end=True), any_stepping)
def test_all_requests_end_once_and_all_work_is_accounted_for(case: Case, stepping: Any) -> None:
    deployment, trace, settings, replanner = case
    result = simulate(deployment, trace, stepping=stepping, replanner=make(replanner), **settings)
    requests, replicas = result.requests, result.replicas
    assert requests["request_id"].to_list() == trace.requests["request_id"].to_list()
    by_status = {status: requests.filter(pl.col("status") == status) for status in requests["status"].unique()}
    assert set(by_status) <= {"completed", "rejected", "dropped"}
    check_ends(requests, settings, can_change=replanner is not None)

    # Every token but the last of each answer is computed once, and what was lost in vain, or hit.
    completed = requests.filter(pl.col("status") == "completed")
    needed = (completed["prompt_tokens"] + completed["output_tokens"] - 1).sum()
    computed = replicas["prefill_tokens"].sum() + replicas["decode_tokens"].sum()
    assert computed == needed + requests["recomputed_tokens"].sum() - replicas["cached_tokens"].sum()
    assert replicas["n_preemptions"].sum() == requests["n_preempted"].sum()
    assert (replicas["kv_blocks_at_end"] == 0).all()
    assert (replicas["peak_kv_blocks"] <= replicas["kv_blocks"]).all()
    market = settings["market"]
    if market is None:
        end_h = result.manifest["end_s"] / 3600
        assert replicas["usd"].to_list() == pytest.approx([price * end_h for price in replicas["usd_per_h"]])
    else:
        assert_bill_is_the_integral(result, market, deployment)
        for lease in replicas.iter_rows(named=True):
            gone_s = result.manifest["end_s"] if lease["released_s"] is None else lease["released_s"]
            times = [t for outage in zip(lease["failed_s"], lease["back_s"], strict=True) for t in outage]
            assert times == sorted(times)
            assert all(lease["open_s"] <= t <= gone_s for t in times)


@given(cases(), any_stepping, horizons)
def test_all_work_and_all_money_are_inside_the_run(case: Case, stepping: Any, horizon_s: float | None) -> None:
    """Also where interrupted requests wait for ever, on a market that never offers enough again."""
    deployment, trace, settings, replanner = case
    settings["horizon_s"] = horizon_after(trace, horizon_s)
    result = simulate(deployment, trace, stepping=stepping, replanner=make(replanner), **settings)
    requests, replicas, end_s = result.requests, result.replicas, result.manifest["end_s"]
    latest_s = end_s * (1 + 1e-12)
    for times in ("arrival_s", "first_scheduled_s", "first_token_s", "finish_s", "ended_s"):
        assert (requests[times].drop_nulls() <= latest_s).all(), times
    for lease in replicas.iter_rows(named=True):
        gone_s = end_s if lease["released_s"] is None else lease["released_s"]
        assert 0 <= lease["rented_s"] <= gone_s <= latest_s
        assert lease["busy_s"] <= (gone_s - lease["rented_s"]) * (1 + 1e-9) + 1e-9
    metrics = compute_metrics(result)
    assert (metrics["gpu_utilization"] or 0.0) <= 1 + 1e-9
    assert metrics["cost_usd"] == pytest.approx(spent_usd(result, 0.0, end_s), rel=1e-9, abs=1e-12)
    if settings["market"] is not None:
        assert_bill_is_the_integral(result, settings["market"], deployment)
    if settings["horizon_s"] is None:  # nothing is under way in the end
        completed = requests.filter(pl.col("status") == "completed")
        needed = (completed["prompt_tokens"] + completed["output_tokens"] - 1).sum()
        computed = replicas["prefill_tokens"].sum() + replicas["decode_tokens"].sum()
        assert computed == needed + requests["recomputed_tokens"].sum() - replicas["cached_tokens"].sum()


def check_ends(requests: pl.DataFrame, settings: dict[str, Any], *, can_change: bool) -> None:
    """How each request ended agrees with what else is known of it."""
    clients = settings["clients"]
    has_drops = settings["market"] is not None and settings["market"].interrupted == "drop"
    max_retries = 0 if clients is None else clients.max_retries
    for row in requests.iter_rows(named=True):
        assert 0 <= row["n_retries"] <= max_retries
        assert 0 <= row["n_timeouts"] <= row["n_retries"] + 1
        assert row["ended_s"] == (row["finish_s"] if row["status"] == "completed" else row["ended_s"])
        assert row["ended_s"] >= row["arrival_s"]
        assert (row["status"] == "completed") == (row["finish_s"] is not None) == (row["reason"] is None)
        match row["status"], row["reason"]:
            case "completed", None:
                assert row["generated_tokens"] == row["output_tokens"]
                assert row["arrival_s"] <= row["first_scheduled_s"] < row["first_token_s"] <= row["finish_s"]
                if clients is not None and clients.e2e_timeout_s is not None:
                    waits_s = [clients.backoff_s * clients.backoff_factor**n for n in range(row["n_retries"])]
                    longest_s = (row["n_retries"] + 1) * clients.e2e_timeout_s + sum(waits_s)
                    assert row["finish_s"] - row["arrival_s"] <= longest_s + 1e-9
            case "dropped", "timed_out":
                assert row["n_retries"] == max_retries
                assert row["n_timeouts"] > 0
            case "dropped", "interrupted":
                assert has_drops
                assert row["n_retries"] == max_retries
                assert row["n_interrupted"] > 0
            case "rejected", "queue_full":
                assert settings["max_queued_requests"] is not None
                assert row["n_retries"] == max_retries
            case "rejected", "exceeds_context" | "no_replica_of_model":
                # Where deployments change, what was served at first may fit nowhere later.
                assert can_change or row["n_retries"] == row["n_timeouts"] == 0
                assert can_change or row["replica_id"] is None
            case _:
                pytest.fail(f"{row}")


@given(fleets(), fleet_traces(), service_times(), any_router, horizons)
def test_patient_clients_long_queues_and_rare_failures_change_nothing(
    deployment: Deployment, trace: Trace, service_time: ServiceTimeModel, router: str, horizon_s: float | None
) -> None:
    def run(**settings: Any) -> SimulationResult:
        horizon = horizon_after(trace, horizon_s)
        return simulate(deployment, trace, service_time=service_time, router=router, horizon_s=horizon, **settings)

    without = run()
    market = Market(constant_availability(deployment.gpus), failures=Failures(1e15, 1.0))
    for settings in (
        {"clients": Clients(ttft_timeout_s=1e6, e2e_timeout_s=1e7)},
        {"max_queued_requests": len(trace)},
        {"market": market},
        {"clients": Clients(e2e_timeout_s=1e7), "max_queued_requests": len(trace), "market": market},
    ):
        with_them = run(**settings)
        assert_frame_equal(with_them.requests, without.requests, check_exact=True)
        if without.manifest["end_s"] > 0:  # else it is over before a market has rented anything
            assert_frame_equal(with_them.replicas, without.replicas, rel_tol=1e-9, abs_tol=1e-9)
