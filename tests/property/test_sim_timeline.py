"""A run over time and its stress metrics add up to what its records say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import (
    SLO,
    Deployment,
    SimulationResult,
    compute_metrics,
    compute_stress,
    compute_timeline,
    simulate,
    stress_by_drop,
)
from sim.records import Status
from sim.results.drops import find_falls, make_drops
from sim.results.stress import _time_to_recover_s
from tests.property.test_sim_clients import cases
from tests.property.test_sim_market import make
from tests.strategies_sim import horizon_after, horizons
from traces import Trace

Case = tuple[Deployment, Trace, dict[str, Any]]

SLOW = SLO(ttft_s=0.3, e2e_s=2.0)
NUMBERS = ("rented", "booting", "serving", "down", "leaving", "usd_per_h", "usd")


@st.composite
def runs(draw: st.DrawFn, *, can_fail: bool = True) -> SimulationResult:
    """With failures, or with no change but those of the market."""
    deployment, trace, settings, replanner = draw(cases())
    market = settings["market"]
    if not can_fail and market is not None:
        replanner, settings["market"] = None, replace(market, failures=None)
    horizon_s = horizon_after(trace, draw(horizons))
    return simulate(deployment, trace, horizon_s=horizon_s, replanner=make(replanner), **settings)


grids = st.fixed_dictionaries({"n_intervals": st.integers(1, 50)}) | st.fixed_dictionaries(
    {"step_s": st.sampled_from([0.1, 0.3, 1.0, 7.7, 100.0])}
)


limits = st.none() | st.sampled_from([0.0, 0.1, 0.5, 2.0, 10.0])
slos = st.builds(SLO, ttft_s=limits, tpot_s=limits, e2e_s=limits)


def total(frame: pl.DataFrame, name: str) -> float:
    return float((frame[name] * frame["width_s"]).sum())


def close(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-9)


@given(runs(), slos, slos, st.data())
def test_limits_of_models_are_those_of_one_slo_for_each(
    result: SimulationResult, slo: SLO, other: SLO, data: st.DataObject
) -> None:
    requests = result.requests
    models = requests["model"].unique().sort().to_list()
    same = replace(other, by_model=tuple((model, slo) for model in models))
    assert requests.select(same.is_met()).equals(requests.select(slo.is_met()))
    own = replace(slo, by_model=tuple((model, data.draw(slos)) for model in models if data.draw(st.booleans())))
    for model in models:
        mine = requests.filter(pl.col("model") == model)
        assert mine.select(own.is_met()).equals(mine.select(own.of_model(model).is_met()))


@given(runs(), grids)
def test_sums_over_a_timeline_are_the_totals_of_the_records(result: SimulationResult, grid: dict[str, Any]) -> None:
    end_s = result.manifest["end_s"]
    requests, replicas = result.requests, result.replicas
    series = compute_timeline(result, SLOW, **grid)
    run = series.filter(pl.col("gpu_type").is_null())
    if end_s == 0:  # nobody came later, and nothing was done
        assert series.is_empty()
        return
    assert run["width_s"].sum() == close(end_s)
    assert run["n_arrived"].sum() == requests.height
    assert run["n_finished"].sum() == requests["finish_s"].count()
    assert total(run, "throughput_rps") == close(requests["finish_s"].count())
    assert run["n_good"].sum() == requests.select(SLOW.is_met().sum()).item()
    waiting_s = running_s = 0.0
    for request in requests.iter_rows(named=True):
        ended_s = end_s if request["ended_s"] is None else request["ended_s"]
        assert (request["ended_s"] is None) == (request["status"] == Status.UNFINISHED)
        begun_s = ended_s if request["first_scheduled_s"] is None else request["first_scheduled_s"]
        waiting_s += begun_s - request["arrival_s"]
        running_s += ended_s - begun_s
    assert total(run, "waiting") == close(waiting_s)
    assert total(run, "running") == close(running_s)
    held_s = replicas["released_s"].fill_null(end_s) - replicas["rented_s"]
    assert total(run, "rented") == close(float((held_s * replicas["n_gpus"]).sum()))
    assert run["usd"][-1] == close(replicas["usd"].sum())
    assert total(run, "usd_per_h") / 3600 == close(replicas["usd"].sum())
    by_type = series.filter(pl.col("gpu_type").is_not_null()).group_by("t_s").agg(pl.col(*NUMBERS).sum()).sort("t_s")
    for name in NUMBERS:
        np.testing.assert_allclose(by_type[name], run[name], atol=1e-9)
    phases = run["booting"] + run["serving"] + run["down"] + run["leaving"]
    np.testing.assert_allclose(phases, run["rented"], atol=1e-9)
    if replicas["notice_s"].null_count() == replicas.height:
        down_s = replicas["back_s"].list.sum() - replicas["failed_s"].list.sum()
        assert total(run, "down") == close(float((down_s * replicas["n_gpus"]).sum()))
    assert all((series[name] >= -1e-9).all() for name in (*NUMBERS,))


@given(runs(), grids)
def test_no_more_is_rented_beyond_notice_than_there_is(result: SimulationResult, grid: dict[str, Any]) -> None:
    series = compute_timeline(result, **grid).filter(pl.col("gpu_type").is_not_null())
    if result.availability is None:
        assert series["available"].null_count() == series.height
        return
    assert (series["booting"] + series["serving"] + series["down"] <= series["available"] + 1e-9).all()
    end_s = result.manifest["end_s"]
    if end_s == 0:
        return
    for (gpu,), changes in result.availability.group_by("gpu_type"):
        until = [*changes["t_s"].to_list()[1:], end_s]
        expected = sum(
            n * (stop - start) for n, start, stop in zip(changes["count"], changes["t_s"], until, strict=True)
        )
        assert total(series.filter(gpu_type=gpu), "available") == close(expected)


@given(runs(can_fail=False))
def test_stress_metrics_add_up(result: SimulationResult) -> None:
    stress, drops = compute_stress(result, SLOW), stress_by_drop(result, SLOW)
    requests, replicas = result.requests, result.replicas
    end_s = result.manifest["end_s"]
    idle, booting, lost = (stress[name] for name in ("usd_idle", "usd_booting", "usd_lost"))
    usd = compute_metrics(result)["cost_usd"]
    assert usd is not None
    assert idle is not None
    assert booting is not None
    assert lost is not None
    assert usd == close(replicas["usd"].sum())
    assert min(idle, booting, lost) >= -1e-9
    assert idle + booting + lost <= usd + 1e-9
    never_open = replicas.filter(pl.col("open_s").is_null(), pl.col("notice_s").is_null())
    always_open = replicas.filter(pl.col("open_s") == pl.col("rented_s"))
    assert never_open["usd"].sum() - 1e-9 <= booting <= usd - always_open["usd"].sum() + 1e-9
    assert stress["requests_interrupted"] == requests.filter(pl.col("n_interrupted") > 0).height
    assert stress["requests_dropped"] == requests.filter(pl.col("status") == Status.DROPPED).height
    assert stress["tokens_recomputed"] == requests["recomputed_tokens"].sum()
    assert stress["n_drops"] == drops.height
    assert (drops["drop_s"] <= drops["back_s"]).all()
    assert (drops["back_s"] <= drops["end_s"]).all()
    assert drops["drop_s"].to_list()[1:] == drops["end_s"].to_list()[:-1]
    assert sum(drops["usd"]) <= usd + 1e-9
    if result.availability is None:
        assert drops.is_empty()
    else:
        # Nobody plans anew here: only the market gives notice. What had notice may be gone just when the market falls.
        noticed, gone = (set(replicas[name].drop_nulls()) for name in ("notice_s", "released_s"))
        assert noticed <= set(drops["drop_s"]) <= noticed | gone
    assert not drops.filter(pl.col("drop_s") > end_s).height
    # Every interruption is of a request that was under way at a drop, or came during one that has had notice.
    if drops.height:
        assert drops["requests_interrupted"].sum() >= stress["requests_interrupted"]


@given(
    st.lists(st.tuples(st.integers(0, 400), st.booleans()), min_size=1, max_size=60),
    st.integers(0, 300),
    st.sampled_from([0.5, 0.9, 1.0]),
)
def test_time_to_recover_is_the_first_second_from_which_attainment_stays(
    arrivals: list[tuple[int, bool]], drop_s: int, before: float
) -> None:
    arrivals = sorted(arrivals)
    requests = pl.DataFrame({"arrival_s": [float(t) for t, _ in arrivals], "is_good": [good for _, good in arrivals]})
    last_s = arrivals[-1][0]

    def attainment(t: int) -> float | None:
        inside = [good for at, good in arrivals if t - 60 < at <= t]
        return sum(inside) / len(inside) if inside else None

    def is_low(t: int) -> bool:
        value = attainment(t)
        return value is not None and value < before - 0.01

    expected: float | None = 0.0
    low = [t for t in range(drop_s, last_s + 1) if is_low(t)]
    if low:
        expected = None
        for t in range(low[0], last_s - 59):
            minute = range(t, t + 61)
            if not any(map(is_low, minute)) and any(attainment(u) is not None for u in minute):
                expected = float(t - drop_s)
                break
    drop = make_drops([type_fall(float(drop_s))])[0]
    found = _time_to_recover_s(requests, drop, before)
    assert found == (expected if last_s >= drop_s else None)


def type_fall(t_s: float) -> Any:
    from sim.results.drops import Fall

    return Fall(t_s, float("inf"), ("L40S",))


@given(runs())
def test_drops_of_a_run_are_those_at_which_it_got_notice(result: SimulationResult) -> None:
    for fall in find_falls(result):
        assert fall.back_s > fall.t_s
        assert result.availability is not None
        for gpu in fall.gpu_types:
            changes = result.availability.filter(gpu_type=gpu)
            count = dict(zip(changes["t_s"], changes["count"], strict=True))
            assert count[fall.t_s] < max(n for t, n in count.items() if t < fall.t_s)
