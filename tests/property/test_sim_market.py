"""Replicas that come and go: nothing is lost or counted twice, and macro-steps change nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sim import Deployment, ServiceTimeModel, SimulationResult, simulate
from sim.market import Market
from sim.protocols import Decision, Situation
from tests.strategies_sim import (
    SEGMENT_TOKENS,
    any_engine,
    any_router,
    assert_conserved,
    fleet_traces,
    fleets,
    horizon_after,
    horizons,
    service_times,
    with_prefixes,
)
from traces import AvailabilityTimeline, Trace

HOUR_S = 3600.0


@dataclass
class InTurn:
    """Runs some deployments in turn, and from 10 s on the last of them."""

    deployments: list[Deployment]
    delay_s: float
    check_s: float
    index: int = field(default=0, init=False)
    n_asked: int = field(default=0, init=False)

    def next_check_s(self, now_s: float) -> float | None:
        return now_s + self.check_s

    def replan(self, situation: Situation) -> Decision | None:
        self.n_asked += 1
        last = len(self.deployments) - 1
        index = last if situation.now_s > 10 else self.n_asked % (last + 1)
        if index == self.index:
            return None
        self.index = index
        return Decision(self.deployments[index], situation.cause, situation.now_s)


def make(replanner: InTurn | None) -> InTurn | None:
    """One that has not been asked yet."""
    return None if replanner is None else replace(replanner)


@st.composite
def replanners(draw: st.DrawFn, deployment: Deployment) -> InTurn:
    """Other numbers of the same replicas, in another order, without routing tables; in the end the deployment again."""
    others = []
    for _ in range(draw(st.integers(0, 3))):
        wanted = [(spec, draw(st.integers(0, 3))) for spec, _ in draw(st.permutations(deployment.replicas))]
        others.append(Deployment(tuple((spec, n) for spec, n in wanted if n > 0)))
    return InTurn([*others, deployment], draw(st.sampled_from([0.0, 0.2])), draw(st.sampled_from([0.5, 3.0])))


Case = tuple[Deployment, Trace, dict[str, Any], InTurn | None]


@st.composite
def markets(
    draw: st.DrawFn, deployment: Deployment, interrupted: tuple[str, ...], *, is_enough_in_the_end: bool
) -> Market:
    """Steps of each GPU type between nothing and all that the deployment wants, at times on a lattice of 0.1 s."""
    rows: list[tuple[float, str, str, int, float | None]] = []
    for gpu, wanted in deployment.gpus.items():
        gaps = draw(st.lists(st.integers(1, 30), max_size=4))
        times = [0.1 * sum(gaps[: i + 1]) for i in range(len(gaps))]
        counts = [draw(st.integers(0, wanted)) for _ in [0, *times]]
        prices = [draw(st.none() | st.floats(0.5, 5.0)) for _ in [0, *times]]
        if is_enough_in_the_end:
            times, counts, prices = [*times, 12.5], [*counts, wanted], [*prices, 1.0]
        rows += [(t, gpu, "spot", n, usd) for t, n, usd in zip([0.0, *times], counts, prices, strict=True)]
    schema = {"t_s": pl.Float64, "gpu_type": pl.String, "market": pl.String, "count": pl.Int64, "usd_per_h": pl.Float64}
    timeline = AvailabilityTimeline.from_frame(
        pl.DataFrame(rows, schema=schema, orient="row"),
        "drawn",
        end_s=13.0,
        notice_s=draw(st.sampled_from([0.0, 0.1, 1.0])),
        boot_s=draw(st.sampled_from([0.0, 0.3])),
    )
    return Market(
        timeline,
        kind="spot",
        victims=draw(st.sampled_from(["newest", "cheapest", "random"])),
        interrupted=draw(st.sampled_from(interrupted)),  # type: ignore[arg-type]
        load_bandwidth_bytes_per_s=draw(st.sampled_from([1e9, 1e12])),
    )


@st.composite
def cases(draw: st.DrawFn, interrupted: tuple[str, ...], *, is_enough_in_the_end: bool) -> Case:
    deployment = draw(fleets())
    trace = draw(fleet_traces() | with_prefixes(fleet_traces()))
    settings: dict[str, Any] = {
        "service_time": draw(service_times()),
        "router": draw(any_router),
        "market": draw(markets(deployment, interrupted, is_enough_in_the_end=is_enough_in_the_end)),
        "prefix_segment_tokens": SEGMENT_TOKENS,
        "engine": draw(any_engine),
    }
    return deployment, trace, settings, draw(st.none() | replanners(deployment))


def assert_bill_is_the_integral(result: SimulationResult, market: Market, deployment: Deployment) -> None:
    """Summed step by step of the market, from the leases."""
    end_s = result.manifest["end_s"]
    specs = {spec.name: spec for spec, _ in deployment.replicas}
    changes = market.timeline.changes
    for lease in result.replicas.iter_rows(named=True):
        gone_s = end_s if lease["released_s"] is None else min(end_s, lease["released_s"])
        expected = 0.0
        for stage in specs[lease["name"]].stages:
            steps = changes.filter(pl.col("gpu_type") == stage.gpu_type.name).sort("t_s")
            starts = steps["t_s"].to_list()
            for start_s, stop_s, usd in zip(starts, [*starts[1:], float("inf")], steps["usd_per_h"], strict=True):
                held_s = max(0.0, min(gone_s, stop_s) - max(lease["rented_s"], start_s))
                expected += stage.n_gpus * (stage.gpu_type.usd_per_h if usd is None else usd) * held_s / HOUR_S
        assert lease["usd"] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(cases(("restart", "resume"), is_enough_in_the_end=True), st.sampled_from(["macro", "iteration"]))
def test_all_requests_end_once_and_all_tokens_are_accounted_for(case: Case, stepping: Any) -> None:
    deployment, trace, settings, replanner = case
    result = simulate(deployment, trace, stepping=stepping, replanner=make(replanner), **settings)
    assert_conserved(result, trace)
    assert_bill_is_the_integral(result, settings["market"], deployment)
    gpus = {gpu: [] for gpu in deployment.gpus}  # type: dict[str, list[tuple[float, int]]]
    for lease in result.replicas.iter_rows(named=True):
        for spec, _ in deployment.replicas:
            if spec.name == lease["name"] and spec.model.name == lease["model"]:
                for gpu, n in spec.gpus.items():
                    released_s = float("inf") if lease["released_s"] is None else lease["released_s"]
                    gpus[gpu] += [(lease["rented_s"], n), (released_s, -n)]
                break
    timeline = settings["market"].timeline
    for gpu, steps in gpus.items():
        for t in {t for t, n in steps if n > 0}:  # at no time is more rented than the market had within the notice
            rented = sum(n for at, n in steps if at <= t)
            assert rented <= timeline.at(t)[gpu, "spot"].n_gpus


@given(
    cases(("restart", "resume", "drop"), is_enough_in_the_end=False),
    horizons,
)
def test_macro_steps_change_nothing_on_a_market(case: Case, horizon_s: float | None) -> None:
    deployment, trace, settings, replanner = case
    horizon_s = horizon_after(trace, horizon_s)
    macro, iteration = (
        simulate(deployment, trace, stepping=stepping, horizon_s=horizon_s, replanner=make(replanner), **settings)
        for stepping in ("macro", "iteration")
    )
    assert_frame_equal(macro.requests, iteration.requests, check_exact=True)
    assert_frame_equal(macro.replicas, iteration.replicas, rel_tol=1e-9, abs_tol=1e-9)
    assert macro.manifest["replans"] == iteration.manifest["replans"]
    known = {"completed", "rejected", "dropped", "unfinished"}
    assert set(macro.requests["status"]) <= known
    dropped = macro.requests.filter(pl.col("status") == "dropped")
    assert (dropped["n_interrupted"] == 1).all()
    assert (dropped["recomputed_tokens"] >= dropped["generated_tokens"]).all()
    assert dropped.height == 0 or settings["market"].interrupted == "drop"


@given(fleets(), fleet_traces(), service_times(), any_router, horizons)
def test_a_market_that_offers_all_changes_nothing(
    deployment: Deployment, trace: Trace, service_time: ServiceTimeModel, router: str, horizon_s: float | None
) -> None:
    rows = [(0.0, gpu, "on_demand", n) for gpu, n in deployment.gpus.items()]
    schema = {"t_s": pl.Float64, "gpu_type": pl.String, "market": pl.String, "count": pl.Int64}
    offered = AvailabilityTimeline.from_frame(pl.DataFrame(rows, schema=schema, orient="row"), "all", end_s=1.0)
    with_market, without = (
        simulate(
            deployment,
            trace,
            service_time=service_time,
            router=router,
            horizon_s=horizon_after(trace, horizon_s),
            market=market,
        )
        for market in (Market(offered), None)
    )
    assert_frame_equal(with_market.requests, without.requests, check_exact=True)
    assert_frame_equal(with_market.replicas, without.replicas, rel_tol=1e-9, abs_tol=1e-9)
