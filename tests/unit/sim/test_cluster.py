from __future__ import annotations

from typing import Any

import pytest

from sim import ConstantServiceTime, Deployment, ReplicaLimits, ReplicaSpec, SimulationResult, gpu_type, model_spec
from sim import simulate as sim_simulate
from sim.errors import SettingsError, UnknownNameError
from sim.market import Market, Prices
from traces import AvailabilityTimeline, Trace, constant_availability, scheduled_drops

MODEL = model_spec("Llama-3-8B")
SPEC = ReplicaSpec.uniform(MODEL, gpu_type("L40S"), limits=ReplicaLimits(max_seqs=1))


def trace(arrival_s: list[float], output_tokens: int = 10) -> Trace:
    n = len(arrival_s)
    return Trace.from_columns(arrival_s, [16] * n, [output_tokens] * n, model=MODEL.name)


def simulate(arrivals: Trace, timeline: AvailabilityTimeline, n_replicas: int = 2, **rules: Any) -> SimulationResult:
    """An iteration takes a second, a request ten; weights are loaded at once."""
    horizon_s = rules.pop("horizon_s", None)
    rules = {"load_bandwidth_bytes_per_s": 1e30} | rules
    market = Market(timeline, **rules)
    deployment = Deployment(((SPEC, n_replicas),))
    return sim_simulate(
        deployment, arrivals, service_time=ConstantServiceTime(1.0), router="round_robin", market=market,
        horizon_s=horizon_s,
    )  # fmt: skip


def drop(share: float, start_s: float = 5.0, stop_s: float = 100.0, **options: Any) -> AvailabilityTimeline:
    return scheduled_drops({"L40S": 2}, [(start_s, stop_s, {"L40S": share})], end_s=1000.0, **options)


@pytest.mark.parametrize(
    ("rule", "finish_s", "first_token_s", "recomputed"),
    [
        # The second request is interrupted at 5 s, with 5 tokens of which 4 have keys and values, and waits for the
        # first to end at 10 s. It begins again, or computes 21 tokens again, which gives it the sixth.
        ("restart", [10.0, 20.0], [1.0, 11.0], 20),
        ("resume", [10.0, 15.0], [1.0, 1.0], 20),
        ("drop", [10.0, None], [1.0, 1.0], 20),
    ],
)
def test_interrupted_requests(rule: str, finish_s: list[float], first_token_s: list[float], recomputed: int) -> None:
    result = simulate(trace([0.0, 0.0]), drop(0.5), interrupted=rule)
    assert result.requests["finish_s"].to_list() == finish_s
    assert result.requests["first_token_s"].to_list() == first_token_s
    assert result.requests["n_interrupted"].to_list() == [0, 1]
    assert result.requests["recomputed_tokens"].to_list() == [0, recomputed]
    assert result.requests["status"].to_list() == ["completed", "dropped" if rule == "drop" else "completed"]
    assert result.requests["generated_tokens"].to_list() == [10, 5 if rule == "drop" else 10]
    assert result.replicas["busy_s"].to_list()[1] == 5.0


def test_notice_lets_requests_end() -> None:
    """Noticed at 5 s, the second replica ends what it has by 10 s; what comes at 6 s goes to the first."""
    result = simulate(trace([0.0, 0.0, 6.0]), drop(0.5, notice_s=5.0))
    assert result.requests["finish_s"].to_list() == [10.0, 10.0, 20.0]
    assert result.requests["n_interrupted"].sum() == 0
    assert result.replicas["released_s"].to_list() == [None, 10.0]


def test_without_any_replica_requests_wait_until_there_is_one() -> None:
    result = simulate(trace([0.0, 7.0, 8.0]), drop(1.0, stop_s=30.0, boot_s=4.0))
    assert result.requests["finish_s"].to_list() == [44.0, 44.0, 54.0]
    assert result.requests["replica_id"].to_list() == [2, 3, 2]
    assert result.replicas["rented_s"].to_list() == [0.0, 0.0, 30.0, 30.0]
    assert result.replicas["open_s"].to_list() == [0.0, 0.0, 34.0, 34.0]
    assert result.replicas["released_s"].to_list() == [5.0, 5.0, None, None]


def test_requests_that_no_replica_could_hold_are_rejected_all_the_same() -> None:
    long = Trace.from_columns([7.0], [9000], [1], model=MODEL.name)
    result = simulate(long, drop(1.0, stop_s=30.0))
    assert result.requests["reason"].to_list() == ["exceeds_context"]


def test_loading_takes_the_time_of_the_weights() -> None:
    market = Market(constant_availability({"L40S": 1}, boot_s=5.0), load_bandwidth_bytes_per_s=1e9)
    assert market.boot_s(SPEC) == pytest.approx(5 + MODEL.weight_bytes / 1e9)


def test_the_bill_is_the_integral_of_the_price() -> None:
    """Two for 5 s, one until 100 s, two again until the end."""
    result = simulate(trace([0.0, 120.0]), drop(0.5))
    price = SPEC.usd_per_h / 3600
    assert result.manifest["end_s"] == 130.0
    assert result.replicas["usd"].to_list() == pytest.approx([130 * price, 5 * price, 30 * price])


def test_prices_move() -> None:
    import polars as pl

    rows = {"t_s": [0.0, 10.0, 30.0], "gpu_type": ["L40S"] * 3, "market": ["spot"] * 3, "count": [2] * 3}
    frame = pl.DataFrame(rows | {"usd_per_h": [3600.0, 7200.0, None]})
    market = Market(AvailabilityTimeline.from_frame(frame, "by hand", end_s=50.0), kind="spot")
    prices = Prices(market, 100.0)
    own = SPEC.usd_per_h / 3600
    assert prices.usd(SPEC, 5.0, 40.0) == pytest.approx(5 + 2 * 20 + 10 * own)
    assert prices.usd(SPEC, 20.0, 25.0) == pytest.approx(10)
    assert prices.usd(SPEC, 60.0, 70.0) == pytest.approx(10 * own)


def test_who_gets_notice_first() -> None:
    cheap, dear = SPEC, ReplicaSpec.uniform(MODEL, gpu_type("L40S"), tp=2, limits=ReplicaLimits(max_seqs=1))
    timeline = scheduled_drops({"L40S": 3}, [(5.0, 100.0, {"L40S": 0.33})], end_s=1000.0)
    gone = {}
    for victims in ("newest", "cheapest"):
        market = Market(timeline, victims=victims)  # type: ignore[arg-type]
        deployment = Deployment(((cheap, 1), (dear, 1)))
        result = sim_simulate(
            deployment, trace([0.0]), service_time=ConstantServiceTime(1.0), router="round_robin", market=market
        )
        gone[victims] = result.replicas.filter(result.replicas["released_s"] == 5.0)["name"].to_list()
    assert gone == {"newest": ["L40S tp2"], "cheapest": ["L40S tp1"]}


def test_what_is_not_offered_at_the_start_is_rented_when_it_is() -> None:
    timeline = scheduled_drops({"L40S": 2}, [(0.0, 50.0, {"L40S": 0.5})], end_s=1000.0)
    result = simulate(trace([0.0, 0.0, 60.0]), timeline)
    assert result.replicas["rented_s"].to_list() == [0.0, 50.0]


def test_a_timeline_that_repeats_needs_a_horizon() -> None:
    with pytest.raises(SettingsError, match="give a horizon_s"):
        simulate(trace([0.0]), drop(0.5, outside="wrap"))
    result = simulate(trace([0.0]), drop(1.0, start_s=990.0, stop_s=999.0, outside="wrap"), horizon_s=2500.0)
    assert result.replicas["released_s"].to_list() == [990.0, 990.0, 1990.0, 1990.0, None, None]


def test_a_market_that_does_not_change_changes_nothing() -> None:
    arrivals = trace([0.0, 0.5, 3.0, 4.0, 40.0])
    result = simulate(arrivals, constant_availability({"L40S": 2}))
    deployment = Deployment(((SPEC, 2),))
    without = sim_simulate(deployment, arrivals, service_time=ConstantServiceTime(1.0), router="round_robin")
    assert result.requests.equals(without.requests)


@pytest.mark.parametrize("rule", ["victims", "interrupted"])
def test_unknown_rules_are_named(rule: str) -> None:
    with pytest.raises(UnknownNameError, match="'oldest': known: "):
        simulate(trace([0.0]), drop(0.5), **{rule: "oldest"})
