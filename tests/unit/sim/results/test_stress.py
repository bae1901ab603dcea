from __future__ import annotations

from dataclasses import replace
from math import inf

import polars as pl
import pytest

from sim import (
    SLO,
    Clients,
    ConstantServiceTime,
    Deployment,
    SettingsError,
    compute_metrics,
    compute_stress,
    compute_timeline,
    stress_by_drop,
)
from sim import simulate as simulate_alone
from sim.results.drops import Drop, Fall, make_drops
from tests.unit.sim.test_cluster import SPEC, drop, simulate, trace

USD_PER_S = SPEC.usd_per_h / 3600


def test_a_drop_by_hand() -> None:
    """A request takes ten seconds alone, and a replica has room for one. The second request is lost at 5 s and begins
    again at 10 s, the third waits for it; the replica that is back at 30 s boots for 4 s and serves the last."""
    result = simulate(trace([0.0, 0.0, 6.0, 50.0]), drop(0.5, stop_s=30.0, boot_s=4.0))
    assert result.requests["finish_s"].to_list() == [10.0, 20.0, 30.0, 60.0]
    stress = compute_stress(result, SLO(e2e_s=10.0))
    assert stress["n_drops"] == 1
    assert stress["attainment_before"] is None  # nobody had ended before the drop
    assert stress["attainment_during"] == pytest.approx(1 / 3)
    assert stress["attainment_after"] == 1.0
    assert stress["goodput_before_rps"] == 0.0
    assert stress["goodput_during_rps"] == pytest.approx(1 / 25)
    assert stress["goodput_after_rps"] == 0.0  # the last arrival is the end of the load
    assert (stress["requests_interrupted"], stress["requests_retried"], stress["requests_dropped"]) == (1, 0, 0)
    assert stress["tokens_recomputed"] == 20
    assert compute_metrics(result)["cost_usd"] == pytest.approx((60 + 5 + 30) * USD_PER_S)
    assert stress["usd_booting"] == pytest.approx(4 * USD_PER_S)
    busy_s = result.replicas["busy_s"].sum()
    assert busy_s == 45.0
    assert stress["usd_idle"] == pytest.approx((60 + 5 + 26 - 45) * USD_PER_S)
    computed_tokens = 4 * (16 + 10 - 1) + 20
    assert stress["usd_lost"] == pytest.approx(45 * USD_PER_S * 20 / computed_tokens)
    (one,) = stress_by_drop(result, SLO(e2e_s=10.0)).to_dicts()
    assert (one["before_s"], one["drop_s"], one["back_s"], one["end_s"]) == (0.0, 5.0, 30.0, inf)
    assert one["gpu_types"] == "L40S"
    assert one["usd"] == pytest.approx(25 * USD_PER_S)
    assert one["usd_booting"] == 0.0
    assert one["requests_interrupted"] == 1


def test_what_was_computed_for_dropped_requests_is_lost() -> None:
    stress = compute_stress(simulate(trace([0.0, 0.0]), drop(0.5), interrupted="drop"))
    assert stress["requests_dropped"] == 1
    assert stress["tokens_recomputed"] == 16 + 4  # the last of 5 tokens was never read


def test_who_is_dropped_by_a_drop_was_hit_by_it() -> None:
    """It ends at the very time, as does one that was done just then, which was not."""
    result = simulate(trace([0.0, 0.0]), drop(0.5), interrupted="drop")
    assert result.requests["ended_s"].to_list() == [10.0, 5.0]
    (one,) = stress_by_drop(result).to_dicts()
    assert (one["drop_s"], one["requests_dropped"], one["requests_interrupted"]) == (5.0, 1, 1)
    assert one["attainment_before"] is None
    done = stress_by_drop(simulate(trace([0.0, 0.0]), drop(0.5, start_s=10.0), interrupted="drop"))
    assert done["requests_interrupted"].to_list() == [0]
    assert done["attainment_before"].to_list() == [1.0]


def test_recovery() -> None:
    """Requests every 8 s, in turns on two replicas that take 10 s for each; with one of them they wait."""
    arrivals = trace([8.0 * i for i in range(120)])
    slo = SLO(e2e_s=10.0)
    stress = compute_stress(simulate(arrivals, drop(0.5, start_s=602.0, stop_s=702.0)), slo)
    assert stress["attainment_before"] == 1.0
    recover_s = stress["time_to_recover_s"]
    assert recover_s is not None
    assert 100.0 + 60.0 < recover_s < 400.0  # a minute after the last that had to wait
    assert stress["n_recovered"] == 1
    never = compute_stress(simulate(arrivals, drop(0.5, start_s=602.0, stop_s=999.0)), slo)
    assert (never["n_recovered"], never["n_drops"], never["time_to_recover_s"]) == (0, 1, None)
    unhurt = compute_stress(simulate(arrivals, drop(0.5, start_s=602.0, stop_s=999.0)), SLO())
    assert unhurt["time_to_recover_s"] == 0.0


def test_replans_that_the_drop_caused() -> None:
    result = simulate(trace([0.0, 0.0, 60.0]), drop(0.5, stop_s=30.0))
    assert compute_stress(result)["time_to_detect_s"] is None
    early = {"trigger": "period", "cause_s": 1.0, "t_s": 6.0, "applied_s": 7.0}
    mine = {"trigger": "change", "cause_s": 5.0, "t_s": 8.0, "applied_s": 11.5}
    with_replans = replace(result, manifest=result.manifest | {"replans": [early, mine]})
    stress = compute_stress(with_replans)
    assert (stress["time_to_detect_s"], stress["time_to_replan_s"]) == (3.0, 3.5)


def test_retries_are_counted_where_they_are_recorded() -> None:
    result = simulate(trace([0.0, 0.0, 60.0]), drop(0.5, stop_s=30.0))
    requests = result.requests.with_columns(n_retries=pl.Series([0, 2, 1]))
    stress = compute_stress(replace(result, requests=requests))
    assert stress["requests_retried"] == 2
    assert stress_by_drop(replace(result, requests=requests))["requests_retried"].to_list() == [1.0]


def test_without_a_market_there_are_no_drops() -> None:
    result = replace(simulate(trace([0.0]), drop(0.0)), availability=None)
    stress = compute_stress(result)
    assert (stress["n_drops"], stress["time_to_recover_s"], stress["attainment_during"]) == (0, None, None)
    assert compute_metrics(result)["cost_usd"] == pytest.approx(result.replicas["usd"].sum())


def test_periods_of_drops() -> None:
    """They follow one another: before does not reach into the drop before, during ends with the next drop."""
    falls = [
        Fall(1000.0, 5000.0, ("L40S",)),
        Fall(100.0, 200.0, ("A40",)),
        Fall(1000.0, 1300.0, ("A40",)),
        Fall(1100.0, 1200.0, ("A40",)),
    ]
    assert make_drops(falls, warmup_s=30.0) == [
        Drop(30.0, 100.0, 200.0, 1000.0, ("A40",)),
        Drop(400.0, 1000.0, 1100.0, 1100.0, ("A40", "L40S"), name="drop 2"),
        Drop(1100.0, 1100.0, 5000.0, inf, ("A40",), name="drop 3"),  # what went at 1000 s is not back before
    ]


def test_drops_of_others_can_be_asked_about() -> None:
    """A run that no drop hits is measured over the same periods as one that was hit."""
    spared = simulate(trace([0.0, 1.0, 20.0, 40.0]), drop(0.0))
    assert compute_stress(spared)["n_drops"] == 0
    stress = compute_stress(spared, SLO(e2e_s=10.0), make_drops([Fall(5.0, 30.0, ("L40S",))]))
    assert (stress["n_drops"], stress["attainment_during"], stress["attainment_after"]) == (1, 1.0, 1.0)
    assert stress["time_to_recover_s"] is None  # nobody had ended before


def test_a_timeline_needs_intervals() -> None:
    result = simulate(trace([0.0]), drop(0.0))
    with pytest.raises(SettingsError, match="0 intervals"):
        compute_timeline(result, n_intervals=0)
    with pytest.raises(SettingsError, match="steps of -1"):
        compute_timeline(result, step_s=-1.0)


def test_rounding_makes_no_slivers_of_intervals() -> None:
    result = simulate(trace([0.0, 0.1 * 3]), drop(0.0))
    end_s = result.manifest["end_s"]
    for n in range(1, 400, 9):
        for series in (compute_timeline(result, n_intervals=n), compute_timeline(result, step_s=end_s / n)):
            assert series.filter(gpu_type="L40S")["width_s"].min() == pytest.approx(end_s / n)


def test_requests_leave_the_timeline_when_their_client_gives_up() -> None:
    """One replica, with room for one: the second request waits until its client has had enough at 4 s."""
    fleet = Deployment(((SPEC, 1),))
    clients = Clients(ttft_timeout_s=4.0, max_retries=0)
    result = simulate_alone(fleet, trace([0.0, 0.0]), service_time=ConstantServiceTime(1.0), clients=clients)
    assert result.requests["ended_s"].to_list() == [10.0, 4.0]
    series = compute_timeline(result, step_s=5.0).filter(gpu_type="L40S")
    whole = compute_timeline(result, step_s=5.0).filter(pl.col("gpu_type").is_null())
    assert whole["waiting"].to_list() == [4 / 5, 0.0]
    assert whole["running"].to_list() == [1.0, 1.0]
    assert series["available"].null_count() == 2
