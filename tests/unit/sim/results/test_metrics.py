from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from sim import (
    METRICS,
    SLO,
    SimulationResult,
    Status,
    compute_metrics,
    itl_by_replica,
)
from sim.replica.itl import middle_s

# Five requests: completed, completed with one token, rejected, unfinished, completed after a preemption.
REQUESTS = pl.DataFrame(
    {
        "model": ["m"] * 5,
        "replica_id": [0, 0, None, 0, 1],
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
        "ended_s": [5.0, 3.0, 2.0, None, 12.0],
        "prompt_tokens": [10, 20, 30, 40, 50],
        "cached_prompt_tokens": [0, 16, 0, 32, 0],
        "status": ["completed", "completed", "rejected", "unfinished", "completed"],
        "reason": [None, None, "queue_full", None, None],
    },
    schema_overrides={"output_tokens": pl.Int32, "generated_tokens": pl.Int32, "n_preempted": pl.Int32},
)
REPLICAS = pl.DataFrame(
    {
        "name": ["A", "4 B"],
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
        "open_s": [0.0, 0.0],
        "notice_s": pl.Series([None, None], dtype=pl.Float64),
        "usd": [0.5, 1.5],
        "gpus": [[{"gpu_type": "A", "n": 1, "usd_per_h": 90.0}], [{"gpu_type": "B", "n": 4, "usd_per_h": 67.5}]],
        "failed_s": [[], [1.0, 9.0]],
        "back_s": [[], [3.0, 12.0]],
    }
)
RESULT = SimulationResult(REQUESTS, REPLICAS, {"end_s": 20.0, "budget_usd_per_h": 360.0})  # 0.1 $/s

# The window is [0, 4]. The first request has all 10 tokens of its prompt computed there and 3 of the 4 that follow its
# first output token; the second all 4 that were not cached; the others none.
SERVED = 13 / 14 + 1

BY_HAND = {
    "n_requests": 5,
    "n_completed": 3,
    "n_rejected": 1,
    "n_dropped": 0,
    "n_unfinished": 1,
    "n_rejected_queue_full": 1,
    "n_rejected_exceeds_context": 0,
    "n_rejected_no_replica_of_model": 0,
    "n_dropped_interrupted": 0,
    "n_dropped_timed_out": 0,
    "slo_attainment": 3 / 4,  # the unfinished one has missed nothing yet
    "n_undecided": 1,
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
    "drain_s": 8.0,
    "makespan_s": 12.0,
    "steady_rps": None,  # they come one after the other
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
    "throughput_rps": SERVED / 4,
    "output_tokens_per_s": (4 + 1) / 4,
    "goodput_rps": SERVED / 4,
    "usd_per_h": 360.0,
    "usd_per_h_peak": 360.0,
    "budget_compliance": 1.0,
    "cost_usd": 2.0,
    "idle_usd": 0.0,
    "idle_gpu_h": 0.0,
    "usd_per_1k_requests": 0.4 / SERVED * 1_000,
    "usd_per_million_output_tokens": 0.4 / 5 * 1e6,
    "usd_per_good_request": 0.4 / SERVED,
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
    assert metrics == pytest.approx(BY_HAND)


def test_counts_stay_whole() -> None:
    metrics = compute_metrics(RESULT)
    for name in ("n_requests", *(f"n_{status}" for status in Status), "n_preemptions", "recomputed_tokens"):
        assert isinstance(metrics[name], int), name


FIRST, SECOND = 13 / 14, 1.0  # by how much they count in the window; the others finish after it


@pytest.mark.parametrize(
    ("slo", "n_good", "n_undecided", "served"),
    [
        (SLO(), 3, 1, FIRST + SECOND),
        (SLO(ttft_s=1.0), 1, 0, FIRST),  # the unfinished one had its first token after 3 s
        (SLO(ttft_s=0.99), 0, 0, 0),
        (SLO(ttft_s=2.0), 2, 0, FIRST + SECOND),
        (SLO(ttft_s=4.0), 3, 1, FIRST + SECOND),
        (SLO(tpot_s=1.0), 2, 0, FIRST + SECOND),  # a single token has no TPOT; 14 s for 8 tokens are too long already
        (SLO(tpot_s=0.5), 1, 0, SECOND),
        (SLO(tpot_s=2.0), 3, 1, FIRST + SECOND),
        (SLO(e2e_s=5.0), 2, 0, FIRST + SECOND),
        (SLO(e2e_s=4.9), 1, 0, SECOND),
        (SLO(ttft_s=1.0, tpot_s=1.0), 1, 0, FIRST),
        (SLO(ttft_s=2.0, tpot_s=0.5), 1, 0, SECOND),
        (SLO(ttft_s=1.0, e2e_s=2.0), 0, 0, 0),
        (SLO(ttft_s=1e9, tpot_s=1e9, e2e_s=1e9), 3, 1, FIRST + SECOND),  # a rejected one never meets it
    ],
)
def test_the_slo_counts_against_all_that_are_decided(slo: SLO, n_good: int, n_undecided: int, served: float) -> None:
    metrics = compute_metrics(RESULT, slo)
    assert metrics["n_undecided"] == n_undecided
    assert metrics["slo_attainment"] == n_good / (5 - n_undecided)
    assert metrics["goodput_rps"] == pytest.approx(served / 4)
    assert metrics["usd_per_good_request"] == (pytest.approx(0.4 / served) if served else None)
    unmoved = set(METRICS) - {"slo_attainment", "n_undecided", "goodput_rps", "usd_per_good_request"}
    assert {name: metrics[name] for name in unmoved} == pytest.approx({name: BY_HAND[name] for name in unmoved})


def test_requests_count_within_the_limits_of_their_own_model() -> None:
    """Of small, the first has its token in time and the second is late; of large, the last takes 2 s per token."""
    models = pl.Series("model", ["small", "small", "small", "large", "large"])
    result = replace(RESULT, requests=RESULT.requests.with_columns(models))
    for tpot_s, n_good in ((2.0, 2), (1.9, 1)):
        metrics = compute_metrics(result, SLO(ttft_s=1.0, by_model=(("large", SLO(tpot_s=tpot_s)),)))
        assert (metrics["slo_attainment"], metrics["n_undecided"]) == (
            n_good / 4,
            1,
        )  # at 1.75 s per token
        assert metrics["goodput_rps"] == pytest.approx(FIRST / 4)


def test_the_goal_of_the_slo_decides_nothing_here() -> None:
    assert compute_metrics(RESULT, SLO(attainment=0.5)) == compute_metrics(RESULT, SLO(attainment=1.0))


def test_warm_up_and_cool_down() -> None:
    """The window is [2, 3]: of those that arrived then one was rejected and one is unfinished.

    The first request has one token of its output computed there, of 14 tokens in all; the second half of its 4. The
    replica metrics are of the whole run.
    """
    metrics = compute_metrics(RESULT, SLO(e2e_s=4.0), warmup_s=2.0, cooldown_s=1.0)
    expected = {
        "n_requests": 2,
        "n_completed": 0,
        "n_rejected": 1,
        "n_unfinished": 1,
        "n_undecided": 0,
        "slo_attainment": 0.0,
        "ttft_s_mean": None,
        "throughput_rps": 1 / 14 + 1 / 2,
        "output_tokens_per_s": 1 + 1,
        "goodput_rps": 1 / 2,
        "usd_per_h": 360.0,
        "cost_usd": 2.0,
        "usd_per_1k_requests": 100 / (1 / 14 + 1 / 2),
        "usd_per_million_output_tokens": 0.1 / 2 * 1e6,
        "usd_per_good_request": 0.2,
        "drain_s": 8.0,
        "gpu_utilization": BY_HAND["gpu_utilization"],
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("warmup_s", "cooldown_s", "n_requests"), [(0, 0, 5), (1, 0, 4), (3, 0, 2), (3.5, 0, 1), (0, 1, 4), (0, 1.5, 3)]
)
def test_the_ends_of_the_window_belong_to_it(warmup_s: float, cooldown_s: float, n_requests: int) -> None:
    assert compute_metrics(RESULT, warmup_s=warmup_s, cooldown_s=cooldown_s)["n_requests"] == n_requests


def test_a_long_last_request_changes_no_rate() -> None:
    """Whether the last request finishes a second or an hour after the last arrival."""
    rates = [name for name in METRICS if name.endswith(("_rps", "_per_s")) or name.startswith("usd_per")]
    late = with_requests(finish_s=pl.when(pl.col("arrival_s") == 4).then(3600.0).otherwise(pl.col("finish_s")))
    metrics = compute_metrics(late)
    assert {name: metrics[name] for name in rates} == pytest.approx({name: BY_HAND[name] for name in rates})
    assert metrics["drain_s"] == 3596.0


def test_the_highest_price_is_that_of_two_fleets_side_by_side() -> None:
    """The first replica leaves at 5 s, when the second, dearer one has been rented for 2 s."""
    leases = REPLICAS.with_columns(rented_s=pl.Series([0.0, 3.0]), released_s=pl.Series([5.0, None]))
    metrics = compute_metrics(replace(RESULT, replicas=leases))
    assert metrics["usd_per_h_peak"] == 360.0
    apart = leases.with_columns(rented_s=pl.Series([0.0, 5.0]))
    assert compute_metrics(replace(RESULT, replicas=apart))["usd_per_h_peak"] == 270.0


def test_requests_that_come_at_once_count_until_the_end_of_the_run() -> None:
    metrics = compute_metrics(with_requests(arrival_s=pl.lit(0.0)))
    assert metrics["makespan_s"] == metrics["drain_s"] == 12.0
    unfinished = (8 + 2) / (8 + 8)  # of 8 tokens of its prompt and 8 after its first, by the horizon
    assert metrics["throughput_rps"] == pytest.approx((3 + unfinished) / 20)
    assert metrics["output_tokens_per_s"] == pytest.approx((5 + 1 + 3 + 3) / 20)
    assert metrics["usd_per_million_output_tokens"] == pytest.approx(2 / 12 * 1e6)


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
    undefined = {"makespan_s", "drain_s", "prefix_hit_rate", "usd_per_1k_requests", "usd_per_million_output_tokens"}
    undefined |= {"usd_per_good_request", "steady_rps"}
    assert {name for name, value in metrics.items() if value is None} == undefined | set(latencies)
    assert metrics["cost_usd"] == pytest.approx(2.0)


def test_single_tokens_have_no_tpot() -> None:
    metrics = compute_metrics(with_requests(output_tokens=pl.lit(1, pl.Int32)), SLO(tpot_s=1e-9))
    assert [metrics[f"tpot_s_{part}"] for part in ("mean", "p50", "p90", "p95", "p99")] == [None] * 5
    assert metrics["slo_attainment"] == 3 / 4


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


@pytest.mark.parametrize(("warmup_s", "cooldown_s"), [(6.0, 0.0), (0.0, 6.0), (2.5, 2.5), (30.0, 0.0)])
def test_a_window_without_length_has_no_rates(warmup_s: float, cooldown_s: float) -> None:
    metrics = compute_metrics(RESULT, warmup_s=warmup_s, cooldown_s=cooldown_s)
    assert metrics["n_requests"] == metrics["recomputed_tokens"] == 0
    rates = [name for name in METRICS if name.endswith(("_rps", "_per_s")) or name.startswith("usd_per")]
    rates.remove("usd_per_h_peak")  # it is of the whole run
    for name in ("slo_attainment", "ttft_s_mean", "ttft_s_p99", *rates):
        assert metrics[name] is None
    assert metrics["cost_usd"] == pytest.approx(2.0)
    assert metrics["drain_s"] == 8.0


def test_more_than_two_thousand_million_tokens() -> None:
    many = with_requests(
        arrival_s=pl.lit(0.0),
        output_tokens=pl.lit(1_000_000_000, pl.Int32),
        generated_tokens=pl.lit(1_000_000_000, pl.Int32),
    )
    assert compute_metrics(many)["output_tokens_per_s"] == pytest.approx((4e9 - 1) / 20)  # of one nothing but the first


def test_no_replicas() -> None:
    metrics = compute_metrics(replace(RESULT, replicas=REPLICAS.clear()))
    assert metrics["gpu_utilization"] is None
    assert metrics["kv_occupancy"] is None
    assert metrics["kv_occupancy_peak"] is None
    assert metrics["throughput_rps"] == BY_HAND["throughput_rps"]


def test_every_metric_says_what_it_is() -> None:
    better = {name for name, metric in METRICS.items() if metric.more_is_better}
    rates = {"throughput_rps", "output_tokens_per_s", "goodput_rps"}
    assert better == rates | {"steady_rps", "slo_attainment", "budget_compliance"}
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
