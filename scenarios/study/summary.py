"""Planners over many scenarios: how much one of them gains over each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from scenarios.errors import RunError
from scenarios.runs.row import Row
from scenarios.study.compare import Comparison
from scenarios.study.intervals import half_width

LATENCIES = ("e2e_s_p50", "e2e_s_p90", "e2e_s_p99")


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


def standings(comparison: Comparison) -> list[Standing]:
    """All planners of a comparison beside its baseline, in the order of their first rows.

    Raises:
        RunError: A planner has two runs of one scenario with one seed.
    """
    check_unique(comparison.rows)
    frame = _frame_of(comparison.rows)
    baseline = frame.filter(pl.col("planner") == comparison.baseline)
    pairs = frame.join(baseline, on=["scenario", "seed"], suffix="_baseline", maintain_order="left")
    of_baseline = (
        baseline.drop_nulls("throughput_rps")
        .group_by("scenario")
        .agg(n_seeds_of_baseline=pl.col("throughput_rps").len())
    )
    groups = comparison.groups()
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
        better = pl.col("throughput_rps") > 1.005 * pl.col("throughput_rps_baseline")
        found.append(
            Standing(
                planner=planner,
                n_scenarios=by_scenario.height,
                n_met=sum(
                    group.metric("slo_attainment") is not None and not group.misses_goal
                    for group in groups
                    if group.planner == planner
                ),
                n_better=by_scenario.filter(better).height,
                promised=_mean(mine, pl.col("promised_rps") / pl.col("promised_rps_baseline")),
                kept=_mean(mine, pl.col("kept")),
                throughput=_gain(ran, pl.col("throughput_rps_baseline") / pl.col("throughput_rps") - 1),
                latency={name: _gain(ran, 1 - pl.col(f"{name}_baseline") / pl.col(name)) for name in LATENCIES},
                solve_s=_mean(mine, pl.col("solve_s")),
            )
        )
    return found


def _frame_of(rows: Sequence[Row]) -> pl.DataFrame:
    """The figures of each run that a standing is made of."""
    lines = [
        {
            "scenario": row.scenario,
            "planner": row.planner,
            "seed": row.seed,
            "throughput_rps": row.metrics.get("throughput_rps"),
            "promised_rps": row.promised_rps,
            "kept": row.kept_promise,
            "solve_s": row.plan.get("solve_s"),
            **{name: row.metrics.get(name) for name in LATENCIES},
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
