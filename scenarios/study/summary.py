"""Planners over many scenarios: how much one of them gains over each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import polars as pl

from scenarios.errors import RunError
from scenarios.runs.row import Row
from scenarios.study.compare import Comparison, Estimate
from scenarios.study.intervals import half_width

LATENCIES = ("e2e_s_p50", "e2e_s_p90", "e2e_s_p99")
FIGURES = (
    *LATENCIES,
    "throughput_rps",
    "steady_rps",
    "usd_per_good_request",
    "gpu_utilization",
    "budget_compliance",
)
"""The metrics that planners are compared by."""

BETTER = 1.005
"""What is better by less is as good."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What the baseline gains over another planner in one figure, in relative terms.

    Attributes:
        mean: Over the scenarios that both have a run of.
        half_width: Of the 95 % interval of that mean over seeds, by Student's t; None with one seed, or if all seeds
            gave the same runs.
        largest: In a scenario, mean over its seeds.
        smallest: Likewise; below 0 where the other planner is better.
    """

    mean: float
    half_width: float | None
    largest: float
    smallest: float


@dataclass(frozen=True, slots=True)
class Standing:
    """A planner beside the baseline.

    Attributes:
        planner: Its name.
        n_scenarios: Scenarios in which it has a run, for all seeds.
        n_met: Those in which as many requests meet the SLO as should, in the mean over seeds.
        n_better: Those in which its throughput is higher than the baseline's by more than 0.5 %.
        promised: Mean of what it promises / what the baseline promises, requests/s.
        kept: Mean of what its fleets deliver within the SLO / what it promised or, if that is less, was offered.
        throughput: By how much the baseline's throughput is higher.
        latency: By how much the baseline's end-to-end latency is lower, by quantile.
        solve_s: Mean time that planning took.
    """

    planner: str
    n_scenarios: int
    n_met: int
    n_better: int
    promised: float | None
    kept: float | None
    throughput: Gain | None
    latency: dict[str, Gain | None]
    solve_s: float | None


@dataclass(frozen=True, slots=True)
class Kept:
    """What is delivered / what was promised, over runs.

    Attributes:
        mean: Mean share.
        mean_error: Mean distance from 1.
        p95_error: The distance that 95 % of the runs keep below, interpolated linearly.
    """

    mean: float
    mean_error: float
    p95_error: float

    @classmethod
    def of(cls, shares: pl.Series) -> Self | None:
        """That of some shares; None without any."""
        known = pl.DataFrame({"share": shares.drop_nulls()})
        if known.is_empty():
            return None
        error = (pl.col("share") - 1).abs()
        p95 = error.quantile(0.95, interpolation="linear")
        return cls(*known.select(pl.col("share").mean(), mean=error.mean(), p95=p95).row(0))


@dataclass(frozen=True, slots=True)
class Promises:
    """What a planner's fleets deliver of its promises where all requests come at once.

    Attributes:
        planner: Its name.
        n_runs: Runs of all scenarios and seeds.
        kept: Requests / makespan of what was promised.
        steady: The pace under load of what was promised.
        pace: By how much the baseline's pace under load is higher.
        n_faster: Scenarios in which the planner's is higher by more than 0.5 %, in the mean over seeds.
    """

    planner: str
    n_runs: int
    kept: Kept | None
    steady: Kept | None
    pace: Gain | None
    n_faster: int


@dataclass(frozen=True, slots=True)
class Costs:
    """What a planner's fleets cost; means over scenarios and their interval over seeds.

    Attributes:
        planner: Its name.
        n_met: Scenarios in which as many requests meet the SLO as should, in the mean over seeds.
        usd_per_good_request: Price of a request within the SLO.
        saved: The share of that by which the baseline is cheaper.
        n_cheaper: Scenarios in which the planner is cheaper by more than 0.5 %, in the mean over seeds.
        gpu_utilization: Share of rented GPU time spent in iterations.
        budget_compliance: Share of the time in which what is paid is within the budget.
        n_within_budget: Scenarios in which it is all the time, with all seeds.
        n_scenarios: Scenarios in which that is known.
    """

    planner: str
    n_met: int
    usd_per_good_request: Estimate | None
    saved: Gain | None
    n_cheaper: int
    gpu_utilization: Estimate | None
    budget_compliance: Estimate | None
    n_within_budget: int
    n_scenarios: int


def standings(comparison: Comparison) -> list[Standing]:
    """All planners of a comparison beside its baseline, in the order of their first rows.

    Raises:
        RunError: A planner has two runs of one scenario with one seed.
    """
    frame, pairs = _pairs(comparison)
    baseline = frame.filter(pl.col("planner") == comparison.baseline)
    of_baseline = (
        baseline.drop_nulls("throughput_rps")
        .group_by("scenario")
        .agg(n_seeds_of_baseline=pl.col("throughput_rps").len())
    )
    found = []
    for planner in frame["planner"].unique(maintain_order=True):
        mine = pairs.filter(pl.col("planner") == planner)
        ran = mine.drop_nulls(["throughput_rps", "throughput_rps_baseline"])
        n_seeds = pl.col("throughput_rps").len()
        by_scenario = (
            ran.group_by("scenario")
            .agg(pl.col("throughput_rps", "throughput_rps_baseline").mean(), n_seeds=n_seeds)
            .join(of_baseline, on="scenario")
            .filter(pl.col("n_seeds") == pl.col("n_seeds_of_baseline"))
        )
        better = pl.col("throughput_rps") > BETTER * pl.col("throughput_rps_baseline")
        found.append(
            Standing(
                planner=planner,
                n_scenarios=by_scenario.height,
                n_met=_n_met(comparison, planner),
                n_better=by_scenario.filter(better).height,
                promised=_mean(mine, pl.col("promised_rps") / pl.col("promised_rps_baseline")),
                kept=_mean(mine, pl.col("kept")),
                throughput=_gain(ran, pl.col("throughput_rps_baseline") / pl.col("throughput_rps") - 1),
                latency={name: _gain(ran, 1 - pl.col(f"{name}_baseline") / pl.col(name)) for name in LATENCIES},
                solve_s=_mean(mine, pl.col("solve_s")),
            )
        )
    return found


def promises(comparison: Comparison) -> list[Promises]:
    """What all planners keep of their promises, in the order of their first rows; without those of no pace under load.

    Raises:
        RunError: A planner has two runs of one scenario with one seed.
    """
    frame, pairs = _pairs(comparison)
    found = []
    for planner in frame["planner"].unique(maintain_order=True):
        mine = pairs.filter(pl.col("planner") == planner).drop_nulls("steady_rps")
        if mine.is_empty():
            continue
        both = mine.drop_nulls("steady_rps_baseline")
        found.append(
            Promises(
                planner=planner,
                n_runs=mine.height,
                kept=Kept.of(mine["kept"]),
                steady=Kept.of(mine["kept_pace"]),
                pace=_gain(both, pl.col("steady_rps_baseline") / pl.col("steady_rps") - 1),
                n_faster=_n_ahead(both, pl.col("steady_rps") / pl.col("steady_rps_baseline")),
            )
        )
    return found


def costs(comparison: Comparison) -> list[Costs]:
    """What all planners cost, in the order of their first rows; without those of no run with a budget.

    Raises:
        RunError: A planner has two runs of one scenario with one seed.
    """
    frame, pairs = _pairs(comparison)
    usd, of_baseline = pl.col("usd_per_good_request"), pl.col("usd_per_good_request_baseline")
    found = []
    for planner in frame["planner"].unique(maintain_order=True):
        mine = pairs.filter(pl.col("planner") == planner).drop_nulls("budget_compliance")
        if mine.is_empty():
            continue
        least = mine.group_by("scenario").agg(pl.col("budget_compliance").min())
        found.append(
            Costs(
                planner=planner,
                n_met=_n_met(comparison, planner),
                usd_per_good_request=_over_seeds(mine, "usd_per_good_request"),
                saved=_gain(mine, 1 - of_baseline / usd),
                n_cheaper=_n_ahead(mine, of_baseline / usd),
                gpu_utilization=_over_seeds(mine, "gpu_utilization"),
                budget_compliance=_over_seeds(mine, "budget_compliance"),
                n_within_budget=least.filter(pl.col("budget_compliance") == 1).height,
                n_scenarios=least.height,
            )
        )
    return found


def _pairs(comparison: Comparison) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The figures of all runs, and the same beside those of the baseline's run of the scenario and seed."""
    check_unique(comparison.rows)
    frame = _frame_of(comparison.rows)
    baseline = frame.filter(pl.col("planner") == comparison.baseline)
    return frame, frame.join(baseline, on=["scenario", "seed"], suffix="_baseline", maintain_order="left")


def _n_met(comparison: Comparison, planner: str) -> int:
    """Scenarios in which as many requests meet the SLO as should."""
    mine = [group for group in comparison.groups() if group.planner == planner]
    return sum(group.metric("slo_attainment") is not None and not group.misses_goal for group in mine)


def _n_ahead(pairs: pl.DataFrame, ratio: pl.Expr) -> int:
    """Scenarios in which a figure is better than the baseline's by more than 0.5 %, in the mean over seeds."""
    by_scenario = pairs.select("scenario", ratio=ratio).drop_nulls().group_by("scenario").agg(pl.col("ratio").mean())
    return by_scenario.filter(pl.col("ratio") > BETTER).height


def _over_seeds(frame: pl.DataFrame, name: str) -> Estimate | None:
    """Mean of a figure over the scenarios, and its interval over seeds."""
    by_seed = frame.drop_nulls(name).group_by("seed", maintain_order=True).agg(pl.col(name).mean())
    return Estimate.of(by_seed[name].to_list())


def _frame_of(rows: Sequence[Row]) -> pl.DataFrame:
    """The figures of each run that a standing is made of."""
    lines = [
        {
            "scenario": row.scenario,
            "planner": row.planner,
            "seed": row.seed,
            **{name: row.metrics.get(name) for name in FIGURES},
            "kept_pace": row.kept_pace,
            "promised_rps": row.promised_rps,
            "kept": row.kept_promise,
            "solve_s": row.plan.get("solve_s"),
        }
        for row in rows
    ]
    return pl.DataFrame(lines, infer_schema_length=None)


def check_unique(rows: Sequence[Row]) -> None:
    """Make sure that there is one run of each scenario, planner and seed.

    Raises:
        RunError: There are two: where they are.
    """
    first: dict[tuple[str, str, int], Row] = {}
    for row in rows:
        other = first.setdefault(row.key, row)
        if other is not row:
            scenario, planner, seed = row.key
            msg = f"{scenario}, {planner}, seed {seed} is there twice: in {other.directory} and in {row.directory}"
            raise RunError(msg)


def _mean(frame: pl.DataFrame, value: pl.Expr) -> float | None:
    mean: float | None = frame.select(value.mean()).item()
    return mean


def _are_copies(values: pl.DataFrame) -> bool:
    """Whether the values of each scenario are the same with all seeds, to the last bit: nothing was drawn."""
    value = values.columns[-1]
    return bool((values.group_by("scenario").agg(pl.col(value).n_unique())[value] == 1).all())


def seeds_are_copies(rows: Sequence[Row]) -> bool:
    """Whether several seeds gave the same runs: all requests are recorded, and nothing else was drawn."""
    runs: dict[tuple[str, str], list[dict[str, float | None]]] = {}
    for row in rows:
        if row.metrics:
            runs.setdefault((row.scenario, row.planner), []).append(row.metrics)
    several = [metrics for metrics in runs.values() if len(metrics) > 1]
    return bool(several) and all(one == metrics[0] for metrics in several for one in metrics)


def _gain(frame: pl.DataFrame, value: pl.Expr) -> Gain | None:
    """A gain over (scenario, seed) pairs; None without any."""
    gains = frame.select("scenario", "seed", gain=value).drop_nulls()
    if gains.is_empty():
        return None
    by_scenario = gains.group_by("scenario").agg(pl.col("gain").mean())["gain"]
    by_seed = gains.group_by("seed", maintain_order=True).agg(pl.col("gain").mean())["gain"]
    mean, largest, smallest = (gains.select(pl.col("gain").mean()).item(), by_scenario.max(), by_scenario.min())
    has_interval = len(by_seed) > 1 and not _are_copies(gains)
    return Gain(
        mean,
        half_width(by_seed.to_list()) if has_interval else None,
        float(largest),  # type: ignore[arg-type]
        float(smallest),  # type: ignore[arg-type]
    )
