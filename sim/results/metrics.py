"""Every metric, once: what it is called, what it means, and the polars expression that computes it.

`docs/reference/metrics.md` has a heading for each; a test insists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from sim.records import EXCEEDS_CONTEXT, INTERRUPTED, NO_REPLICA, QUEUE_FULL, TIMED_OUT, Status
from sim.replica.itl import middle_s
from sim.results.rent import budget_compliance, peak_usd_per_h
from sim.results.steady import steady_rps
from sim.results.window import Window, served_in
from sim.slo import E2E_S, IS_COMPLETED, QUEUE_S, SLO, TPOT_S, TTFT_S
from sim.units import HOUR_S

if TYPE_CHECKING:
    from sim.results.result import SimulationResult

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Metric:
    """A named figure of a run: unit, meaning, whether more is better (None: neither), and its expression.

    Request metrics see the requests that arrived in the window, with columns `is_good` and `is_undecided`; rate metrics
    a row with what was done and spent in it; run metrics all requests, and replica metrics the replica frame, with a
    column `end_s`; ITL metrics a row for each length of gaps, in ascending order.
    """

    name: str
    unit: str
    description: str
    more_is_better: bool | None
    expr: pl.Expr


def _latency_metrics() -> list[Metric]:
    latencies = (
        ("ttft_s", "time to first token, queueing included", TTFT_S),
        ("tpot_s", "time per output token after the first", TPOT_S),
        ("e2e_s", "time from arrival to last token", E2E_S),
        ("queue_s", "time from arrival to first being scheduled", QUEUE_S),
    )
    metrics = []
    for name, description, value in latencies:
        completed = value.filter(IS_COMPLETED)
        metrics.append(Metric(f"{name}_mean", "s", f"Mean {description}.", False, completed.mean()))
        for label, q in _QUANTILES.items():
            quantile = completed.quantile(q, interpolation="linear")
            metrics.append(Metric(f"{name}_{label}", "s", f"{100 * q:g} % quantile of {description}.", False, quantile))
    return metrics


def _count(status: Status) -> Metric:
    is_status = pl.col("status") == status.value
    return Metric(f"n_{status}", "requests", f"Requests that ended {status}.", None, is_status.sum())


def _count_reason(status: Status, reason: str, because: str) -> Metric:
    has_reason = (pl.col("reason") == reason).fill_null(value=False)
    return Metric(f"n_{status}_{reason}", "requests", f"Requests {status} because {because}.", None, has_reason.sum())


REQUEST_METRICS: tuple[Metric, ...] = (
    Metric("n_requests", "requests", "Requests that arrived in the window.", None, pl.len()),
    *(_count(status) for status in Status),
    _count_reason(Status.REJECTED, QUEUE_FULL, "too many were waiting at their replica"),
    _count_reason(Status.REJECTED, EXCEEDS_CONTEXT, "no replica can hold their prompt and output"),
    _count_reason(Status.REJECTED, NO_REPLICA, "no replica serves their model"),
    _count_reason(Status.DROPPED, INTERRUPTED, "their replica was taken away or failed"),
    _count_reason(Status.DROPPED, TIMED_OUT, "their client gave up"),
    Metric(
        "slo_attainment",
        "share",
        "Share of the requests that arrived in the window and are not undecided that completed within the SLO.",
        True,
        pl.col("is_good").filter(~pl.col("is_undecided")).mean(),
    ),
    Metric(
        "n_undecided",
        "requests",
        "Requests unfinished at the horizon that had missed no limit of the SLO by then.",
        None,
        pl.col("is_undecided").sum(),
    ),
    *_latency_metrics(),
    Metric(
        "n_preemptions",
        "preemptions",
        "Preemptions of the requests.",
        False,
        pl.col("n_preempted").cast(pl.Int64).sum(),
    ),
    Metric(
        "n_interruptions",
        "interruptions",
        "Times that the replica of a request was taken away, or failed, while it had begun.",
        False,
        pl.col("n_interrupted").cast(pl.Int64).sum(),
    ),
    Metric(
        "n_timeouts",
        "timeouts",
        "Times that the client of a request gave up, to try again or not.",
        False,
        pl.col("n_timeouts").cast(pl.Int64).sum(),
    ),
    Metric(
        "n_retries",
        "retries",
        "Times that a request was sent again.",
        False,
        pl.col("n_retries").cast(pl.Int64).sum(),
    ),
    Metric(
        "recomputed_tokens",
        "tokens",
        "Tokens whose keys and values were lost to preemptions, interruptions and clients that gave up.",
        False,
        pl.col("recomputed_tokens").sum(),
    ),
    Metric(
        "prefix_hit_rate",
        "share",
        "Share of the prompt tokens of requests that were scheduled that were in the prefix cache.",
        None,
        pl.col("cached_prompt_tokens").cast(pl.Int64).sum()
        / pl.col("prompt_tokens").cast(pl.Int64).filter(pl.col("first_scheduled_s").is_not_null()).sum(),
    ),
)

RATE_METRICS: tuple[Metric, ...] = (
    Metric(
        "throughput_rps",
        "requests/s",
        "Requests served in the window, each by the share of its tokens computed there / its length.",
        True,
        pl.col("n_served") / pl.col("window_s"),
    ),
    Metric(
        "output_tokens_per_s",
        "tokens/s",
        "Output tokens generated in the window / its length.",
        True,
        pl.col("generated_tokens") / pl.col("window_s"),
    ),
    Metric(
        "goodput_rps",
        "requests/s",
        "The same as throughput, of requests that met the SLO.",
        True,
        pl.col("n_good") / pl.col("window_s"),
    ),
    Metric(
        "usd_per_h",
        "$/h",
        "Price of what is rented, mean over the window.",
        False,
        pl.col("usd") / pl.col("window_s") * HOUR_S,
    ),
    Metric(
        "usd_per_1k_requests",
        "$",
        "Price of what is rented in the window / 1,000 requests served in it.",
        False,
        pl.col("usd") / pl.col("n_served") * 1e3,
    ),
    Metric(
        "usd_per_million_output_tokens",
        "$",
        "Price of what is rented in the window / 1,000,000 output tokens generated in it.",
        False,
        pl.col("usd") / pl.col("generated_tokens") * 1e6,
    ),
    Metric(
        "usd_per_good_request",
        "$",
        "Price of what is rented in the window / requests served in it that met the SLO.",
        False,
        pl.col("usd") / pl.col("n_good"),
    ),
)

_PEAK = "Highest price of all that was rented at one time, over the whole run."

_COMPLIANCE = "Share of the time in which anything is rented in which all of it together is within the budget."

_STEADY = "Requests that all come at once / time they take at the pace that the slowest replicas keep under load."

_IDLE_USD = "Of that, for GPUs of nodes that no replica took."

_IDLE_GPU_H = "Time for which GPUs of nodes were paid that no replica took."

_first_s, _last_s = pl.col("arrival_s").min(), pl.col("arrival_s").max()

RUN_METRICS: tuple[Metric, ...] = (
    Metric("usd_per_h_peak", "$/h", _PEAK, False, pl.col("usd_per_h_peak").first()),
    Metric("budget_compliance", "share", _COMPLIANCE, True, pl.col("budget_compliance").first()),
    Metric(
        "drain_s",
        "s",
        "Last finish - last arrival: how long the fleet went on after that.",
        False,
        (pl.col("finish_s").max() - _last_s).clip(0.0),
    ),
    Metric(
        "makespan_s",
        "s",
        "Last finish - first arrival; what a fleet can do only where all requests arrive at once.",
        False,
        pl.col("finish_s").max() - _first_s,
    ),
    Metric("steady_rps", "requests/s", _STEADY, True, pl.col("steady_rps").first()),
    Metric("cost_usd", "$", "Price of all that was rented, over the whole run.", False, pl.col("cost_usd").first()),
    Metric("idle_usd", "$", _IDLE_USD, False, pl.col("idle_usd").first()),
    Metric("idle_gpu_h", "GPU h", _IDLE_GPU_H, False, pl.col("idle_gpu_h").first()),
)

_rented_s = pl.col("released_s").fill_null(pl.col("end_s")) - pl.col("rented_s")

REPLICA_METRICS: tuple[Metric, ...] = (
    Metric(
        "gpu_utilization",
        "share",
        "Share of rented GPU time spent in iterations, over the whole run.",
        None,
        (pl.col("busy_s") * pl.col("n_gpus")).sum() / (_rented_s * pl.col("n_gpus")).sum(),
    ),
    Metric(
        "kv_occupancy",
        "share",
        "Tokens in KV blocks of running requests / token capacity, mean over time and over the whole run.",
        None,
        pl.col("kv_token_s").sum() / (_rented_s * pl.col("kv_blocks") * pl.col("block_tokens")).sum(),
    ),
    Metric(
        "kv_occupancy_peak",
        "share",
        "Most KV blocks ever in use on a replica / its blocks, the largest of all.",
        None,
        (pl.col("peak_kv_blocks") / pl.col("kv_blocks")).max(),
    ),
    Metric(
        "n_failures",
        "failures",
        "Times that replicas failed, over the whole run.",
        None,
        pl.col("failed_s").list.len().cast(pl.Int64).sum(),
    ),
    Metric(
        "down_share",
        "share",
        "Share of rented time in which replicas were repaired and loaded weights again, over the whole run.",
        False,
        (pl.col("back_s").list.sum() - pl.col("failed_s").list.sum()).sum() / _rented_s.sum(),
    ),
)


def _itl_quantile(label: str, q: float) -> Metric:
    reached = pl.col("n_gaps").cum_sum() >= q * pl.col("n_gaps").sum()
    description = f"{100 * q:g} % quantile of the times between tokens, of all tokens of the run."
    return Metric(f"itl_s_{label}", "s", description, False, pl.col("gap_s").filter(reached).first())


ITL_METRICS: tuple[Metric, ...] = (
    *(_itl_quantile(label, q) for label, q in (_QUANTILES | {"p999": 0.999}).items()),
    Metric("itl_s_max", "s", "Longest time between two tokens of a request.", False, pl.col("itl_max_s").max()),
)

METRICS: dict[str, Metric] = {
    m.name: m for m in (*REQUEST_METRICS, *ITL_METRICS, *RATE_METRICS, *RUN_METRICS, *REPLICA_METRICS)
}


def compute_metrics(
    result: SimulationResult, slo: SLO | None = None, warmup_s: float = 0.0, cooldown_s: float = 0.0
) -> dict[str, float | None]:
    """All metrics of a run; None where nothing defines one (a latency when nothing completed).

    Args:
        result: The run.
        slo: What `goodput_rps`, `slo_attainment` and `usd_per_good_request` ask for; completion alone if None.
        warmup_s: From the first arrival to the begin of the window.
        cooldown_s: From the end of the window to the last arrival.
    """
    slo = SLO() if slo is None else slo
    end_s = float(result.manifest["end_s"])
    window = Window.of(result, warmup_s, cooldown_s)
    requests = result.requests.with_columns(is_good=slo.is_met(), is_undecided=slo.is_undecided(end_s))
    row: dict[str, float | None] = {}
    for frame, metrics in (
        (requests.filter(window.contains(pl.col("arrival_s"))), REQUEST_METRICS),
        (_gaps(result.replicas), ITL_METRICS),
        (served_in(window, requests, result), RATE_METRICS),
        (requests.with_columns(**_of_run(result)), RUN_METRICS),
        (result.replicas.with_columns(end_s=pl.lit(end_s)), REPLICA_METRICS),
    ):
        row |= frame.select(**{m.name: m.expr for m in metrics}).row(0, named=True)
    return {name: _finite(value) for name, value in row.items()}


def _of_run(result: SimulationResult) -> dict[str, pl.Expr]:
    """What run metrics need beside the requests, as columns of a single value."""
    figures = {"usd_per_h_peak": peak_usd_per_h(result), "budget_compliance": budget_compliance(result)}
    figures |= {"steady_rps": steady_rps(result), "cost_usd": result.usd}
    for name in ("idle_usd", "idle_gpu_h"):
        figures[name] = 0.0 if result.nodes is None else float(result.nodes[name].sum())
    return {name: pl.lit(value, pl.Float64) for name, value in figures.items()}


def itl_by_replica(result: SimulationResult) -> pl.DataFrame:
    """The ITL metrics of each replica: `replica_id` and one column per metric; null for one that decoded nothing."""
    rows = [
        {"replica_id": replica_id} | _gaps(replica).select(**{m.name: m.expr for m in ITL_METRICS}).row(0, named=True)
        for (replica_id,), replica in result.replicas.group_by("replica_id", maintain_order=True)
    ]
    schema: dict[str, type[pl.DataType]] = {"replica_id": pl.Int32} | {m.name: pl.Float64 for m in ITL_METRICS}
    return pl.DataFrame(rows, schema=schema)


def _gaps(replicas: pl.DataFrame) -> pl.DataFrame:
    """How many gaps of each length (`gap_s`, `n_gaps`) some replicas had, and the longest of each (`itl_max_s`)."""
    bins = replicas.select("itl_bin", "itl_count").explode("itl_bin", "itl_count").drop_nulls()
    counts = bins.group_by("itl_bin").agg(n_gaps=pl.col("itl_count").sum()).sort("itl_bin")
    gap_s = pl.Series("gap_s", [middle_s(index) for index in counts["itl_bin"]], dtype=pl.Float64)
    longest_s = replicas["itl_max_s"].max()
    return counts.with_columns(gap_s, itl_max_s=pl.lit(longest_s, pl.Float64))


def _finite(value: float | None) -> float | None:
    """Counts stay whole; a division by nothing is no figure."""
    if value is None or value != value or value in (float("inf"), float("-inf")):
        return None
    return value
