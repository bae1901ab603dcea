"""Every metric, once: what it is called, what it means, and the polars expression that computes it.

`docs/reference/metrics.md` has a heading for each; a test insists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from sim.records import Status
from sim.units import HOUR_S

if TYPE_CHECKING:
    from sim.result import SimulationResult

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}

TTFT_S = pl.col("first_token_s") - pl.col("arrival_s")
E2E_S = pl.col("finish_s") - pl.col("arrival_s")
QUEUE_S = pl.col("first_scheduled_s") - pl.col("arrival_s")
TPOT_S = pl.when(pl.col("output_tokens") > 1).then(
    (pl.col("finish_s") - pl.col("first_token_s")) / (pl.col("output_tokens") - 1)
)
IS_COMPLETED = pl.col("status") == Status.COMPLETED.value


@dataclass(frozen=True, slots=True)
class SLO:
    """Service-level objective of a request, and the share of requests that should meet it; None is no limit."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None
    attainment: float = 0.99

    def is_met(self) -> pl.Expr:
        """Whether a request completed within all limits; one with a single output token has no TPOT to miss."""
        met = IS_COMPLETED
        for limit, value in ((self.ttft_s, TTFT_S), (self.tpot_s, TPOT_S), (self.e2e_s, E2E_S)):
            if limit is not None:
                met = met & (value <= limit).fill_null(value=True)
        return met


@dataclass(frozen=True, slots=True)
class Metric:
    """A named figure of a run: unit, meaning, whether more is better (None: neither), and its expression.

    Request metrics see the request frame in the window, with the columns `window_s`, `is_good` and those of
    `_RUN_COLUMNS` beside each row; replica metrics see the replica frame with `end_s`.
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


_window_s = pl.col("window_s").first()
_finished_tokens = pl.col("output_tokens").filter(IS_COMPLETED).sum()

REQUEST_METRICS: tuple[Metric, ...] = (
    Metric("n_requests", "requests", "Requests that arrived in the window.", None, pl.len()),
    *(_count(status) for status in Status),
    Metric("throughput_rps", "requests/s", "Completed requests / window.", True, IS_COMPLETED.sum() / _window_s),
    Metric(
        "output_tokens_per_s",
        "tokens/s",
        "Output tokens of completed requests / window.",
        True,
        _finished_tokens / _window_s,
    ),
    Metric(
        "goodput_rps",
        "requests/s",
        "Requests that met the SLO / window.",
        True,
        pl.col("is_good").sum() / _window_s,
    ),
    Metric(
        "slo_attainment",
        "share",
        "Share of arrived requests that completed within the SLO.",
        True,
        pl.col("is_good").mean(),
    ),
    *_latency_metrics(),
    Metric(
        "makespan_s",
        "s",
        "Last finish - first arrival.",
        False,
        pl.col("finish_s").max() - pl.col("arrival_s").min(),
    ),
    Metric("n_preemptions", "preemptions", "Preemptions of the requests.", False, pl.col("n_preempted").sum()),
    Metric(
        "recomputed_tokens",
        "tokens",
        "Tokens whose keys and values were lost to preemptions.",
        False,
        pl.col("recomputed_tokens").sum(),
    ),
    Metric("usd_per_h", "$/h", "Price of the fleet.", False, pl.col("usd_per_h").first()),
    Metric(
        "cost_usd",
        "$",
        "Price of the fleet x window.",
        False,
        pl.col("usd_per_h").first() * _window_s / HOUR_S,
    ),
    Metric(
        "usd_per_1k_requests",
        "$",
        "Cost / 1,000 completed requests.",
        False,
        pl.col("usd_per_h").first() * _window_s / HOUR_S / IS_COMPLETED.sum() * 1e3,
    ),
    Metric(
        "usd_per_million_output_tokens",
        "$",
        "Cost / 1,000,000 output tokens of completed requests.",
        False,
        pl.col("usd_per_h").first() * _window_s / HOUR_S / _finished_tokens * 1e6,
    ),
    Metric(
        "usd_per_good_request",
        "$",
        "Cost / requests that met the SLO.",
        False,
        pl.col("usd_per_h").first() * _window_s / HOUR_S / pl.col("is_good").sum(),
    ),
)

REPLICA_METRICS: tuple[Metric, ...] = (
    Metric(
        "gpu_utilization",
        "share",
        "Share of rented GPU time spent in iterations, over the whole run.",
        None,
        (pl.col("busy_s") * pl.col("n_gpus")).sum() / (pl.col("end_s").first() * pl.col("n_gpus").sum()),
    ),
    Metric(
        "kv_occupancy",
        "share",
        "Tokens in KV blocks of running requests / token capacity, mean over time and over the whole run.",
        None,
        pl.col("kv_token_s").sum() / (pl.col("end_s").first() * (pl.col("kv_blocks") * pl.col("block_tokens")).sum()),
    ),
    Metric(
        "kv_occupancy_peak",
        "share",
        "Most KV blocks ever in use on a replica / its blocks, the largest of all.",
        None,
        (pl.col("peak_kv_blocks") / pl.col("kv_blocks")).max(),
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in (*REQUEST_METRICS, *REPLICA_METRICS)}


def compute_metrics(result: SimulationResult, slo: SLO | None = None, warmup_s: float = 0.0) -> dict[str, float | None]:
    """All metrics of a run; None where nothing defines one (a latency when nothing completed).

    Args:
        result: The run.
        slo: What `goodput_rps`, `slo_attainment` and `usd_per_good_request` ask for; completion alone if None.
        warmup_s: Requests that arrive earlier are left out, and the window starts here.
    """
    end_s = float(result.manifest["end_s"])
    requests = result.requests.filter(pl.col("arrival_s") >= warmup_s).with_columns(
        is_good=(slo if slo is not None else SLO()).is_met(),
        window_s=pl.lit(max(end_s - warmup_s, 0.0)),
        usd_per_h=pl.lit(float(result.manifest["usd_per_h"])),
    )
    replicas = result.replicas.with_columns(end_s=pl.lit(end_s))
    row = requests.select(**{m.name: m.expr for m in REQUEST_METRICS}).row(0, named=True)
    row |= replicas.select(**{m.name: m.expr for m in REPLICA_METRICS}).row(0, named=True)
    return {name: _finite(value) for name, value in row.items()}


def _finite(value: float | None) -> float | None:
    """Counts stay whole; a division by nothing is no figure."""
    if value is None or value != value or value in (float("inf"), float("-inf")):
        return None
    return value
