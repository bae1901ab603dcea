"""What drops of availability do to a run, and how it gets over them.

What a drop is, and its periods, is in `sim.results.drops`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sim.records import Status
from sim.results.drops import Drop, drops_of
from sim.results.metrics import Metric
from sim.results.rent import paid_phases, prices
from sim.results.timeline import slo_of
from sim.slo import SLO

if TYPE_CHECKING:
    from sim.results.result import SimulationResult

RECOVERY_WINDOW_S = 60.0
"""Length of the sliding window of attainment, and for how long it has to stay up."""

RECOVERY_MARGIN = 0.01
"""How far below the attainment before the drop a run has recovered."""

_GRID_S = 1.0  # steps at which the sliding window is looked at


# Metrics ----------------------------------------------------------------------------------------------------

_PERIODS = ("before", "during", "after")


def _attainment(period: str) -> Metric:
    description = f"Share of the requests {period} the drops that completed within the SLO."
    mean = pl.col("is_good").filter(pl.col(f"is_{period}")).mean()
    return Metric(f"attainment_{period}", "share", description, True, mean)


def _goodput(period: str) -> Metric:
    description = f"Requests that finished {period} the drops and met the SLO / length of these periods."
    rate = (pl.col("is_good") & pl.col(f"ends_{period}")).sum() / pl.col(f"{period}_s").first()
    return Metric(f"goodput_{period}_rps", "requests/s", description, True, rate)


_is_dropped = pl.col("is_counted") & (pl.col("status") == Status.DROPPED.value)

REQUEST_METRICS: tuple[Metric, ...] = (
    *map(_attainment, _PERIODS),
    *map(_goodput, _PERIODS),
    Metric(
        "requests_interrupted",
        "requests",
        "Requests whose replica was taken away after they had begun there.",
        False,
        (pl.col("is_counted") & (pl.col("n_interrupted") > 0)).sum(),
    ),
    Metric(
        "requests_retried",
        "requests",
        "Requests that their client sent again.",
        False,
        (pl.col("is_counted") & (pl.col("n_retries") > 0)).sum(),
    ),
    Metric("requests_dropped", "requests", "Requests that were given up.", False, _is_dropped.sum()),
    Metric(
        "tokens_recomputed",
        "tokens",
        "Tokens whose keys and values were lost to preemptions, interruptions and clients that gave up.",
        False,
        pl.col("recomputed_tokens").filter(pl.col("is_counted")).sum(),
    ),
)


def _longest(name: str, description: str, *, needs_all: bool = False) -> Metric:
    longest = pl.col(name).max()
    return Metric(
        name, "s", description, False, pl.when(pl.col(name).null_count() == 0).then(longest) if needs_all else longest
    )


DROP_METRICS: tuple[Metric, ...] = (
    Metric("n_drops", "drops", "Times at which less could be rented and replicas got notice.", None, pl.len()),
    _longest("time_to_detect_s", "From a drop until a replan that it caused was asked for, the longest."),
    _longest("time_to_replan_s", "From then until the new plan took effect, the longest."),
    _longest(
        "time_to_recover_s",
        "From a drop until attainment is back, the longest; null if it never is after one of them.",
        needs_all=True,
    ),
    Metric(
        "n_recovered",
        "drops",
        "Drops after which attainment came back.",
        True,
        pl.col("time_to_recover_s").is_not_null().sum(),
    ),
)

MONEY_METRICS: tuple[Metric, ...] = (
    Metric("usd", "$", "Price of what was rented.", False, (pl.col("usd_booting") + pl.col("usd_open")).sum()),
    Metric("usd_booting", "$", "Of the bill, for GPUs that were booting.", False, pl.col("usd_booting").sum()),
    Metric(
        "usd_idle",
        "$",
        "Of the bill, for GPUs that could serve, between iterations, and for those that no replica takes.",
        False,
        (pl.col("usd_open") * (1 - pl.col("busy_share"))).sum(),
    ),
    Metric(
        "usd_lost",
        "$",
        "Of the bill, for work that was lost: the share of lost tokens, of the price of iterations.",
        False,
        (pl.col("usd_open") * pl.col("busy_share") * pl.col("lost_share")).sum(),
    ),
)

STRESS_METRICS: dict[str, Metric] = {m.name: m for m in (*DROP_METRICS, *REQUEST_METRICS, *MONEY_METRICS)}
"""Metrics of a run on a market that moves, by name; `docs/reference/metrics.md` defines them."""


def compute_stress(
    result: SimulationResult, slo: SLO | None = None, drops: Sequence[Drop] | None = None
) -> dict[str, float | None]:
    """The `STRESS_METRICS` of a run: of all its drops together. Its bill is the metric `cost_usd`.

    Args:
        result: The run.
        slo: What good requests meet. None: the SLO of the manifest, or completion.
        drops: What to count as drops. None: what hit this run.
    """
    drops = drops_of(result) if drops is None else drops
    requests = _with_periods(_requests(result, slo), drops).with_columns(is_counted=pl.lit(value=True))
    row = _values(requests, REQUEST_METRICS)
    row |= _values(stress_by_drop(result, slo, drops), DROP_METRICS)
    row |= _values(_money(result, 0.0, inf, row["tokens_recomputed"]), MONEY_METRICS)
    return {name: row[name] for name in STRESS_METRICS if name != "usd"}


def stress_by_drop(
    result: SimulationResult, slo: SLO | None = None, drops: Sequence[Drop] | None = None
) -> pl.DataFrame:
    """The same for each drop: counts are of requests during it, `usd` and its parts what was spent then.

    Without `usd_idle`, because records do not say when a replica was busy; for `usd_lost` each counts as busy for the
    same share of its time throughout.

    Args:
        result: The run.
        slo: What good requests meet. None: the SLO of the manifest, or completion.
        drops: What to count as drops. None: what hit this run.

    Returns:
        Times of a `Drop`, its label as `drop`, its types, and columns of the metrics without `n_drops` and
        `n_recovered`.
    """
    drops = drops_of(result) if drops is None else drops
    requests = _requests(result, slo)
    names = [name for name in STRESS_METRICS if name not in ("n_drops", "n_recovered", "usd_idle")]
    rows: list[dict[str, float | str | None]] = []
    goal, recovered = None, True  # a run that has not got over a drop is still measured by what was before that
    for drop in drops:
        mine = _with_periods(requests, [drop]).with_columns(is_counted=pl.col("is_during"))
        row = _values(mine, REQUEST_METRICS)
        row |= _replanning(result, drop)
        goal = row["attainment_before"] if recovered else goal
        row["time_to_recover_s"] = _time_to_recover_s(requests, drop, goal)
        recovered = goal is None or row["time_to_recover_s"] is not None
        row |= _values(_money(result, drop.drop_s, drop.back_s, row["tokens_recomputed"]), MONEY_METRICS)
        periods = {name: getattr(drop, name) for name in ("before_s", "drop_s", "back_s", "end_s")}
        words = {"drop": drop.label, "gpu_types": "+".join(drop.gpu_types)}
        rows.append(periods | words | {name: row[name] for name in names})
    times = dict.fromkeys(("before_s", "drop_s", "back_s", "end_s"), pl.Float64)
    schema = times | {"drop": pl.String, "gpu_types": pl.String}
    return pl.DataFrame(rows, schema | dict.fromkeys(names, pl.Float64))


def _requests(result: SimulationResult, slo: SLO | None) -> pl.DataFrame:
    return result.requests.with_columns(is_good=(slo_of(result) if slo is None else slo).is_met())


def _with_periods(requests: pl.DataFrame, drops: Sequence[Drop]) -> pl.DataFrame:
    """Whether each request is before, during and after a drop, or finishes then, and how long these periods are.

    They end with the last arrival: how long a run goes on without load says nothing.
    """
    arrival_s, finish_s, ended_s = pl.col("arrival_s"), pl.col("finish_s"), pl.col("ended_s").fill_null(inf)
    last_s = float(requests["arrival_s"][-1])
    no = pl.lit(value=False)
    columns = {f"{what}_{period}": no for what in ("is", "ends") for period in _PERIODS}
    lengths_s = dict.fromkeys(_PERIODS, 0.0)
    # A request that a drop took is given up, or rejected where it was sent next.
    is_taken = (pl.col("status") != Status.COMPLETED.value) & (pl.col("n_interrupted") > 0)

    def is_over(t_s: float) -> pl.Expr:
        """Whether a request has ended when a drop comes, and not by it."""
        return (ended_s < t_s) | ((ended_s == t_s) & ~is_taken)

    for drop in drops:
        is_touched = (arrival_s < drop.drop_s) & ~is_over(drop.drop_s)
        starts = {"before": drop.before_s, "during": drop.drop_s, "after": drop.back_s}
        stops = {"before": drop.drop_s, "during": drop.back_s, "after": drop.end_s}
        is_in = {period: (arrival_s >= starts[period]) & (arrival_s < stops[period]) for period in _PERIODS}
        columns["is_before"] |= is_in["before"] & is_over(drop.drop_s)
        columns["is_during"] |= is_in["during"] | is_touched
        columns["is_after"] |= is_in["after"] & (is_over(drop.end_s) if drop.end_s < inf else ~no)
        for period in _PERIODS:
            stop_s = min(stops[period], last_s)
            lengths_s[period] += max(0.0, stop_s - starts[period])
            columns[f"ends_{period}"] |= ((finish_s >= starts[period]) & (finish_s < stop_s)).fill_null(value=False)
    return requests.with_columns(**columns, **{f"{name}_s": pl.lit(value) for name, value in lengths_s.items()})


def _replanning(result: SimulationResult, drop: Drop) -> dict[str, float | None]:
    """How long it took until a change of plan that the drop caused was asked for, and until it took effect."""
    for replan in result.manifest.get("replans") or ():
        if drop.drop_s <= replan["cause_s"] < drop.back_s:
            detected_s, applied_s = replan["t_s"], replan["applied_s"]
            return {"time_to_detect_s": detected_s - drop.drop_s, "time_to_replan_s": applied_s - detected_s}
    return {"time_to_detect_s": None, "time_to_replan_s": None}


def _time_to_recover_s(requests: pl.DataFrame, drop: Drop, before: float | None) -> float | None:
    """From the drop until attainment in a sliding window is back and stays; 0 if it never falls, None if it is not."""
    arrival_s = requests["arrival_s"].to_numpy()
    until_s = min(drop.end_s, float(arrival_s[-1]))
    if before is None or until_s < drop.drop_s:
        return None
    times = drop.drop_s + _GRID_S * np.arange(int((until_s - drop.drop_s) / _GRID_S) + 1)
    good = np.append(0, np.cumsum(requests["is_good"].to_numpy()))
    last, first = (np.searchsorted(arrival_s, t, side="right") for t in (times, times - RECOVERY_WINDOW_S))
    is_known = last > first
    attainment = (good[last] - good[first]) / np.maximum(last - first, 1)
    is_low = is_known & (attainment < before - RECOVERY_MARGIN)
    if not is_low.any():
        return 0.0
    stay = int(RECOVERY_WINDOW_S / _GRID_S)
    n_low = np.append(0, np.cumsum(is_low))
    n_known = np.append(0, np.cumsum(is_known))
    starts = np.arange(int(np.argmax(is_low)), len(times) - stay)
    is_up = (n_low[starts + stay + 1] == n_low[starts]) & (n_known[starts + stay + 1] > n_known[starts])
    return float(times[starts[np.argmax(is_up)]] - drop.drop_s) if is_up.any() else None


def _money(result: SimulationResult, from_s: float, until_s: float, lost_tokens: float | None) -> pl.DataFrame:
    """What each GPU type of each replica cost in a period, booting and open, and the share of it that was busy."""
    frame = paid_phases(result).join(
        result.replicas.select("replica_id", "busy_s"), on="replica_id", how="left", maintain_order="left"
    )
    usd = np.zeros((3, frame.height))  # until it is rented, until it is open, until it is gone
    for gpu in frame["gpu_type"].unique(maintain_order=True):
        knots, paid = prices(result, gpu)
        mine = (frame["gpu_type"] == gpu).to_numpy()
        for i, name in enumerate(("rented_s", "open_s", "gone_s")):
            usd[i, mine] = np.interp(frame[name].clip(from_s, until_s).to_numpy()[mine], knots, paid)
    usd *= frame["n"].to_numpy()
    computed = result.replicas.select(pl.col("prefill_tokens").sum() + pl.col("decode_tokens").sum()).item()
    open_s = pl.col("gone_s") - pl.col("open_s")
    return frame.with_columns(
        usd_booting=pl.Series(usd[1] - usd[0]),
        usd_open=pl.Series(usd[2] - usd[1]),
        busy_share=pl.when(open_s > 0).then((pl.col("busy_s").fill_null(0.0) / open_s).clip(0.0, 1.0)).otherwise(0.0),
        lost_share=pl.lit(min(1.0, lost_tokens / computed) if lost_tokens and computed else 0.0),
    )


def _values(frame: pl.DataFrame, metrics: Sequence[Metric]) -> dict[str, float | None]:
    row = frame.select(**{m.name: m.expr for m in metrics}).row(0, named=True)
    return {name: None if value is None or not np.isfinite(value) else value for name, value in row.items()}
