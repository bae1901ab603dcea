from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from sim import (
    METRICS,
    SLO,
    ConstantServiceTime,
    Deployment,
    ReplicaSpec,
    SimulationResult,
    Status,
    compute_metrics,
    gpu_type,
    itl_by_replica,
    simulate,
)
from sim.replica.itl import middle_s
from tests.strategies_sim import MODEL
from traces import Trace

# Five requests: completed, completed with one token, rejected, unfinished, completed after a preemption.
REQUESTS = pl.DataFrame(
    {
        "arrival_s": [0.0, 1.0, 2.0, 3.0, 4.0],
        "first_scheduled_s": [0.5, 1.0, None, 4.0, 7.0],
        "first_token_s": [1.0, 3.0, None, 6.0, 8.0],
        "finish_s": [5.0, 3.0, None, None, 12.0],
        "output_tokens": [5, 1, 9, 9, 3],
        "generated_tokens": [5, 1, 0, 3, 3],
        "n_preempted": [0, 0, 0, 0, 1],
        "n_interrupted": [0, 0, 0, 1, 1],
        "n_retries": [0, 0, 3, 1, 0],
        "n_timeouts": [0, 0, 0, 1, 0],
        "recomputed_tokens": [0, 0, 0, 0, 7],
        "prompt_tokens": [10, 20, 30, 40, 50],
        "cached_prompt_tokens": [0, 16, 0, 32, 0],
        "status": ["completed", "completed", "rejected", "unfinished", "completed"],
        "reason": [None, None, "queue_full", None, None],
    },
    schema_overrides={"output_tokens": pl.Int32, "generated_tokens": pl.Int32, "n_preempted": pl.Int32},
)
REPLICAS = pl.DataFrame(
    {
        "n_gpus": [1, 4],
        "busy_s": [10.0, 5.0],
        "kv_token_s": [160.0, 480.0],
        "kv_blocks": [10, 5],
        "block_tokens": [16, 16],
        "peak_kv_blocks": [2, 4],
        "replica_id": [0, 1],
        "itl_max_s": [0.5, None],
        "itl_bin": [[600, 700], []],
        "itl_count": [[9, 1], []],
        "rented_s": [0.0, 0.0],
        "released_s": pl.Series([None, None], dtype=pl.Float64),
        "usd": [0.5, 1.5],
        "failed_s": [[], [1.0, 9.0]],
        "back_s": [[], [3.0, 12.0]],
    }
)
RESULT = SimulationResult(REQUESTS, REPLICAS, {"end_s": 20.0, "usd_per_h": 360.0})  # 0.1 $/s

BY_HAND = {
    "n_requests": 5,
    "n_completed": 3,
    "n_rejected": 1,
    "n_dropped": 0,
    "n_unfinished": 1,
    "n_rejected_queue_full": 1,
    "n_dropped_interrupted": 0,
    "n_dropped_timed_out": 0,
    "slo_attainment": 3 / 5,
    "ttft_s_mean": (1 + 2 + 4) / 3,  # that of the unfinished one, 3 s, does not count
    "ttft_s_p50": 2.0,
    "ttft_s_p90": 2 + 0.8 * 2,  # 0.9 x 2 intervals: 0.8 of the way from 2 to 4
    "ttft_s_p95": 2 + 0.9 * 2,
    "ttft_s_p99": 2 + 0.98 * 2,
    "tpot_s_mean": (1 + 2) / 2,  # 4 s / 4 tokens, 4 s / 2; none for the one with a single token
    "tpot_s_p50": 1.5,
    "tpot_s_p90": 1.9,
    "tpot_s_p95": 1.95,
    "tpot_s_p99": 1.99,
    "e2e_s_mean": (5 + 2 + 8) / 3,
    "e2e_s_p50": 5.0,
    "e2e_s_p90": 5 + 0.8 * 3,
    "e2e_s_p95": 5 + 0.9 * 3,
    "e2e_s_p99": 5 + 0.98 * 3,
    "queue_s_mean": (0.5 + 0 + 3) / 3,
    "queue_s_p50": 0.5,
    "queue_s_p90": 0.5 + 0.8 * 2.5,
    "queue_s_p95": 0.5 + 0.9 * 2.5,
    "queue_s_p99": 0.5 + 0.98 * 2.5,
    "makespan_s": 12.0,
    "n_preemptions": 1,
    "n_interruptions": 2,
    "n_timeouts": 1,
    "n_retries": 4,
    "recomputed_tokens": 7,
    "prefix_hit_rate": 48 / 120,  # the rejected one was never scheduled
    "itl_s_p50": middle_s(600),
    "itl_s_p90": middle_s(600),
    "itl_s_p95": middle_s(700),
    "itl_s_p99": middle_s(700),
    "itl_s_p999": middle_s(700),
    "itl_s_max": 0.5,
    "throughput_rps": 3 / 20,
    "output_tokens_per_s": 9 / 20,
    "goodput_rps": 3 / 20,
    "usd_per_h": 360.0,
    "cost_usd": 2.0,
    "usd_per_1k_requests": 2 / 3 * 1_000,
    "usd_per_million_output_tokens": 2 / 9 * 1e6,
    "usd_per_good_request": 2 / 3,
    "gpu_utilization": (10 + 4 * 5) / (5 * 20),
    "kv_occupancy": 640 / (20 * 15 * 16),
    "kv_occupancy_peak": 0.8,
    "n_failures": 2,
    "down_share": 5 / 40,
}


def with_requests(**columns: pl.Expr) -> SimulationResult:
    return replace(RESULT, requests=REQUESTS.with_columns(**columns))


def test_every_metric_by_hand() -> None:
    metrics = compute_metrics(RESULT)
    assert list(metrics) == list(METRICS)
    assert set(metrics) == set(BY_HAND)
    assert metrics == pytest.approx(BY_HAND)


def test_counts_stay_whole() -> None:
    metrics = compute_metrics(RESULT)
    for name in ("n_requests", *(f"n_{status}" for status in Status), "n_preemptions", "recomputed_tokens"):
        assert isinstance(metrics[name], int), name


@pytest.mark.parametrize(
    ("slo", "n_good"),
    [
        (SLO(), 3),
        (SLO(ttft_s=1.0), 1),
        (SLO(ttft_s=0.99), 0),
        (SLO(ttft_s=2.0), 2),
        (SLO(ttft_s=4.0), 3),
        (SLO(tpot_s=1.0), 2),  # the request with a single token has no TPOT to miss
        (SLO(tpot_s=0.5), 1),
        (SLO(tpot_s=2.0), 3),
        (SLO(e2e_s=5.0), 2),
        (SLO(e2e_s=4.9), 1),
        (SLO(ttft_s=1.0, tpot_s=1.0), 1),
        (SLO(ttft_s=2.0, tpot_s=0.5), 1),
        (SLO(ttft_s=1.0, e2e_s=2.0), 0),
        (SLO(ttft_s=1e9, tpot_s=1e9, e2e_s=1e9), 3),  # rejected and unfinished ones never meet it
    ],
)
def test_the_slo_counts_against_all_that_arrived(slo: SLO, n_good: int) -> None:
    metrics = compute_metrics(RESULT, slo)
    assert metrics["slo_attainment"] == n_good / 5
    assert metrics["goodput_rps"] == n_good / 20
    assert metrics["usd_per_good_request"] == (pytest.approx(2 / n_good) if n_good else None)
    unmoved = set(METRICS) - {"slo_attainment", "goodput_rps", "usd_per_good_request"}
    assert {name: metrics[name] for name in unmoved} == pytest.approx({name: BY_HAND[name] for name in unmoved})


def test_requests_count_within_the_limits_of_their_own_model() -> None:
    """Of small, the first has its token in time and the second is late; of large, the last takes 2 s per token."""
    models = pl.Series("model", ["small", "small", "small", "large", "large"])
    result = replace(RESULT, requests=RESULT.requests.with_columns(models))
    for tpot_s, n_good in ((2.0, 2), (1.9, 1)):
        metrics = compute_metrics(result, SLO(ttft_s=1.0, by_model=(("large", SLO(tpot_s=tpot_s)),)))
        assert metrics["slo_attainment"] == n_good / 5
        assert metrics["goodput_rps"] == n_good / 20
        assert metrics["usd_per_good_request"] == pytest.approx(2 / n_good)


def test_the_goal_of_the_slo_decides_nothing_here() -> None:
    assert compute_metrics(RESULT, SLO(attainment=0.5)) == compute_metrics(RESULT, SLO(attainment=1.0))


def test_warm_up_and_cool_down() -> None:
    """The window is [2, 10]: of those that arrived then one was rejected, one is unfinished, one completed later.

    Two finished then, with 5 tokens and with 1: they arrived before. The replica metrics are of the whole run.
    """
    metrics = compute_metrics(RESULT, SLO(e2e_s=4.0), warmup_s=2.0, cooldown_s=10.0)
    expected = {
        "n_requests": 3,
        "n_completed": 1,
        "n_rejected": 1,
        "n_dropped": 0,
        "n_unfinished": 1,
        "slo_attainment": 0.0,  # the one that completed took 8 s
        "ttft_s_mean": 4.0,
        "ttft_s_p99": 4.0,
        "tpot_s_mean": 2.0,
        "e2e_s_mean": 8.0,
        "queue_s_mean": 3.0,
        "makespan_s": 10.0,
        "n_preemptions": 1,
        "recomputed_tokens": 7,
        "throughput_rps": 2 / 8,
        "output_tokens_per_s": 6 / 8,
        "goodput_rps": 1 / 8,
        "usd_per_h": 360.0,
        "cost_usd": 0.8,
        "usd_per_1k_requests": 400.0,
        "usd_per_million_output_tokens": 0.8 / 6 * 1e6,
        "usd_per_good_request": 0.8,
        "gpu_utilization": BY_HAND["gpu_utilization"],
        "kv_occupancy": BY_HAND["kv_occupancy"],
        "kv_occupancy_peak": BY_HAND["kv_occupancy_peak"],
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("warmup_s", "cooldown_s", "n_requests", "n_finished"),
    [(0, 0, 5, 3), (1, 0, 4, 3), (3, 0, 2, 3), (3.5, 0, 1, 2), (0, 8, 5, 3), (0, 8.5, 5, 2), (0, 17, 4, 1)],
)
def test_the_ends_of_the_window_belong_to_it(
    warmup_s: float, cooldown_s: float, n_requests: int, n_finished: int
) -> None:
    metrics = compute_metrics(RESULT, warmup_s=warmup_s, cooldown_s=cooldown_s)
    assert metrics["n_requests"] == n_requests
    assert metrics["throughput_rps"] == pytest.approx(n_finished / (20 - warmup_s - cooldown_s))


def test_nothing_completed() -> None:
    nothing = with_requests(
        first_scheduled_s=pl.lit(None, pl.Float64),
        first_token_s=pl.lit(None, pl.Float64),
        finish_s=pl.lit(None, pl.Float64),
        status=pl.lit("rejected"),
    )
    metrics = compute_metrics(nothing, SLO(ttft_s=1.0))
    assert metrics["n_rejected"] == 5
    zero = ("n_completed", "throughput_rps", "output_tokens_per_s", "goodput_rps", "slo_attainment")
    assert [metrics[name] for name in zero] == [0] * 5
    latencies = [name for name in METRICS if name.startswith(("ttft", "tpot", "e2e", "queue"))]
    assert len(latencies) == 20
    undefined = {"makespan_s", "prefix_hit_rate", "usd_per_1k_requests", "usd_per_million_output_tokens"}
    undefined.add("usd_per_good_request")
    assert {name for name, value in metrics.items() if value is None} == undefined | set(latencies)
    assert metrics["cost_usd"] == pytest.approx(2.0)


def test_single_tokens_have_no_tpot() -> None:
    metrics = compute_metrics(with_requests(output_tokens=pl.lit(1, pl.Int32)), SLO(tpot_s=1e-9))
    assert [metrics[f"tpot_s_{part}"] for part in ("mean", "p50", "p90", "p95", "p99")] == [None] * 5
    assert metrics["slo_attainment"] == 3 / 5


def test_dropped_requests_count_against_the_slo() -> None:
    dropped = with_requests(status=pl.col("status").replace("unfinished", "dropped"))
    metrics = compute_metrics(dropped)
    assert (metrics["n_dropped"], metrics["n_unfinished"]) == (1, 0)
    assert metrics["slo_attainment"] == 3 / 5


@pytest.mark.parametrize("reason", ["interrupted", "timed_out"])
def test_dropped_requests_are_counted_by_their_reason(reason: str) -> None:
    is_dropped = pl.col("status") == "unfinished"
    metrics = compute_metrics(with_requests(reason=pl.when(is_dropped).then(pl.lit(reason)).otherwise(None)))
    names = ("n_rejected_queue_full", "n_dropped_interrupted", "n_dropped_timed_out")
    assert [metrics[name] for name in names] == [0, reason == "interrupted", reason == "timed_out"]


def test_nobody_arrives_in_the_window() -> None:
    metrics = compute_metrics(RESULT, warmup_s=6.0)
    assert [metrics[f"n_{status}"] for status in Status] == [0] * 4
    assert metrics["n_requests"] == metrics["recomputed_tokens"] == 0
    for name in ("slo_attainment", "ttft_s_mean", "ttft_s_p99", "makespan_s"):
        assert metrics[name] is None
    assert metrics["throughput_rps"] == pytest.approx(1 / 14)
    assert metrics["usd_per_h"] == 360.0
    assert metrics["cost_usd"] == pytest.approx(1.4)


@pytest.mark.parametrize(("warmup_s", "cooldown_s"), [(20.0, 0.0), (0.0, 20.0), (15.0, 15.0), (30.0, 0.0)])
def test_a_window_without_length_has_no_rates(warmup_s: float, cooldown_s: float) -> None:
    metrics = compute_metrics(RESULT, warmup_s=warmup_s, cooldown_s=cooldown_s)
    for name in ("throughput_rps", "output_tokens_per_s", "goodput_rps", "usd_per_good_request"):
        assert metrics[name] is None
    assert metrics["cost_usd"] == 0
    assert metrics["usd_per_h"] == 360.0


def test_more_than_two_thousand_million_tokens() -> None:
    many = with_requests(output_tokens=pl.lit(1_000_000_000, pl.Int32))
    assert compute_metrics(many)["output_tokens_per_s"] == 3e9 / 20


def test_no_replicas() -> None:
    metrics = compute_metrics(replace(RESULT, replicas=REPLICAS.clear()))
    assert metrics["gpu_utilization"] is None
    assert metrics["kv_occupancy"] is None
    assert metrics["kv_occupancy_peak"] is None
    assert metrics["throughput_rps"] == BY_HAND["throughput_rps"]


def test_metrics_of_a_run() -> None:
    """The window ends with the last finish, or at the horizon."""
    spec = ReplicaSpec.uniform(MODEL, gpu_type("A40"))
    trace = Trace.from_columns([0.0, 0.0, 3.0], [10, 10, 10], [2, 4, 10], model=MODEL.name)
    deployment = Deployment(((spec, 2),))
    whole, cut = (
        compute_metrics(
            simulate(
                deployment, trace, service_time=ConstantServiceTime(1.0), router="round_robin", horizon_s=horizon_s
            )
        )
        for horizon_s in (None, 5.0)
    )
    assert whole["throughput_rps"] == 3 / 13
    assert whole["makespan_s"] == 13.0
    assert whole["cost_usd"] == pytest.approx(2 * 0.55 * 13 / 3600)
    assert whole["gpu_utilization"] == pytest.approx((2 + 4 + 10) / (2 * 13))
    assert cut["throughput_rps"] == 2 / 5
    assert cut["n_unfinished"] == 1
    assert cut["makespan_s"] == 4.0
    assert cut["cost_usd"] == pytest.approx(2 * 0.55 * 5 / 3600)
    assert cut["gpu_utilization"] == pytest.approx((2 + 4 + 2) / (2 * 5))


def test_every_metric_says_what_it_is() -> None:
    better = {name for name, metric in METRICS.items() if metric.more_is_better}
    assert better == {"throughput_rps", "output_tokens_per_s", "goodput_rps", "slo_attainment"}
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.description.endswith(".")
        assert metric.description[0].isupper() or metric.description[0].isdigit()
        if metric.unit == "s":
            assert "_s" in name
            assert metric.more_is_better is False
        if "usd" in name:
            assert metric.unit in ("$", "$/h")


def test_inter_token_latencies_of_each_replica() -> None:
    """The first replica had 9 gaps of one length and 1 of another; the second decoded nothing."""
    first, second = itl_by_replica(RESULT).rows(named=True)
    assert (first["itl_s_p50"], first["itl_s_p99"], first["itl_s_max"]) == (middle_s(600), middle_s(700), 0.5)
    assert second == {"replica_id": 1} | dict.fromkeys([name for name in METRICS if name.startswith("itl_s_")], None)


def test_models_may_have_limits_of_their_own() -> None:
    frame = pl.DataFrame(
        {
            "model": ["small", "small", "large", "large"],
            "arrival_s": [0.0] * 4,
            "first_token_s": [1.0, 3.0, 3.0, 6.0],
            "finish_s": [2.0, 4.0, 4.0, 7.0],
            "output_tokens": [2] * 4,
            "status": ["completed"] * 4,
        }
    )
    slo = SLO(ttft_s=2.0, by_model=(("large", SLO(ttft_s=5.0)),))
    assert frame.select(slo.is_met()).to_series().to_list() == [True, False, True, False]
    assert slo.of_model("large") == SLO(ttft_s=5.0)
    assert slo.of_model("small") == SLO(ttft_s=2.0)
    free = SLO(ttft_s=2.0, by_model=(("large", SLO()),))
    assert frame.select(free.is_met()).to_series().to_list() == [True, False, True, True]
    assert SLO(by_model=(("large", SLO()),)).asks_for_nothing
    assert not free.asks_for_nothing
