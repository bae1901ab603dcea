"""The tables of planners over several scenarios: one after the other, and all together."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from scenarios.report.tables import (
    NOTHING,
    attainment,
    estimate,
    load_of,
    make_columns,
    make_table,
    number,
    quantiles,
    seeds_of,
    share,
)
from scenarios.study.compare import Comparison, Group
from scenarios.study.summary import Costs, Gain, Kept, Promises, Standing

_MEANS = "means, ± 95 % interval over seeds, (largest)"
_MOST_IN_PER_CENT = 1.0  # of a latency, which may be any number of times as long


def scenario_tables(comparison: Comparison) -> list[Table]:
    """Of each scenario, what each planner rents and what that delivers, in the mean over seeds."""
    groups = comparison.groups()
    scenarios = dict.fromkeys(group.scenario for group in groups)
    return [_scenario_table([group for group in groups if group.scenario == scenario]) for scenario in scenarios]


def _scenario_table(groups: Sequence[Group]) -> Table:
    table = make_table(f"{groups[0].scenario}{load_of(groups)}{seeds_of(groups)}")
    goal = next((group.goal for group in groups if group.goal is not None), None)
    right = "right"
    make_columns(
        table,
        [
            ("planner", "left"),
            ("GPUs", "left"),
            ("$/h", right),
            ("promised\nreq/s", right),
            ("throughput\nreq/s", right),
            ("within SLO" if goal is None else f"within SLO\ngoal {100 * goal:g} %", right),
            ("TTFT s\np50 / p99", right),
            ("$ / 1k good\nrequests", right),
        ],
    )
    for group in groups:
        table.add_row(group.name, *_cells(group))
    return table


def _cells(group: Group) -> list[str]:
    ran = [row for row in group.rows if row.status == "ok"]
    if not ran:
        first = group.rows[0]
        reason = "; ".join(first.plan.get("diagnostics", ())) or "no reason given"
        return [f"{first.status}: {reason}", *[NOTHING] * 6]
    gpus = list(dict.fromkeys(", ".join(f"{n} {gpu}" for gpu, n in row.plan["gpus"].items()) for row in ran))
    others = f", or {len(gpus) - 1} other{'s' * (len(gpus) > 2)} by seed" if len(gpus) > 1 else ""
    n_missing = len(group.rows) - len(ran)
    missing = f" ({n_missing} of {len(group.rows)} seeds without a run)" if n_missing else ""
    return [
        gpus[0] + others + missing,
        estimate(group.mean(lambda row: row.plan.get("usd_per_h")), 2),
        estimate(group.mean(lambda row: row.promised_rps), 2),
        estimate(group.metric("throughput_rps"), 2),
        attainment(group),
        quantiles(group, "ttft_s", 2),
        estimate(group.metric("usd_per_good_request"), 3, 1e3),
    ]


def standings_table(standings: Sequence[Standing], baseline: str, n_scenarios: int) -> Table:
    """How much the baseline gains over each planner, over so many scenarios."""
    table = make_table(f"What {baseline} gains: mean and 95 % interval over seeds, (largest)")
    make_columns(
        table,
        [
            ("planner", "left"),
            ("scenarios\nwith a run", "right"),
            ("SLO\nmet in", "right"),
            (f"better than\n{baseline} in", "right"),
            (f"promise, of\n{baseline}'s", "right"),
            ("kept\nof promise", "right"),
            ("throughput", "right"),
            ("P50 latency", "right"),
            ("P90 latency", "right"),
            ("P99 latency", "right"),
            ("solve s", "right"),
        ],
    )
    for standing in standings:
        is_baseline = standing.planner == baseline
        gains = [standing.throughput, *standing.latency.values()]
        table.add_row(
            standing.planner,
            f"{standing.n_scenarios} of {n_scenarios}",
            str(standing.n_met),
            NOTHING if is_baseline else str(standing.n_better),
            share(standing.promised),
            share(standing.kept),
            *(NOTHING if is_baseline else _gain(gain, is_latency=i > 0) for i, gain in enumerate(gains)),
            number(standing.solve_s, 2),
        )
    return table


def promises_table(promises: Sequence[Promises], baseline: str) -> Table:
    """What fleets keep of what was promised where all requests come at once: to the end, and under load."""
    table = make_table(f"What is kept of promises, and the pace under load: {_MEANS}")
    make_columns(
        table,
        [
            ("planner", "left"),
            ("runs", "right"),
            ("kept\nof promise", "right"),
            ("off by\nmean / P95", "right"),
            ("kept\nunder load", "right"),
            ("off under load by\nmean / P95", "right"),
            (f"pace under load\n{baseline} gains", "right"),
            (f"faster than\n{baseline} in", "right"),
        ],
    )
    for of_planner in promises:
        is_baseline = of_planner.planner == baseline
        table.add_row(
            of_planner.planner,
            f"{of_planner.n_runs:,}",
            *_kept(of_planner.kept),
            *_kept(of_planner.steady),
            NOTHING if is_baseline else _gain(of_planner.pace, is_latency=False),
            NOTHING if is_baseline else str(of_planner.n_faster),
        )
    return table


def _kept(kept: Kept | None) -> tuple[str, str]:
    """The mean share, and by how much shares are off 1."""
    if kept is None:
        return NOTHING, NOTHING
    return share(kept.mean), f"{share(kept.mean_error)} / {share(kept.p95_error)}"


def costs_table(costs: Sequence[Costs], baseline: str) -> Table:
    """What serving costs with each planner, how busy its GPUs are, and whether it keeps to the budget."""
    table = make_table(f"What it costs: {_MEANS}")
    make_columns(
        table,
        [
            ("planner", "left"),
            ("SLO\nmet in", "right"),
            ("$ / 1k good\nrequests", "right"),
            (f"{baseline}\nsaves", "right"),
            (f"cheaper than\n{baseline} in", "right"),
            ("GPU\nutilization, %", "right"),
            ("within budget,\n% of time", "right"),
            ("within budget\nall the time in", "right"),
        ],
    )
    for of_planner in costs:
        is_baseline = of_planner.planner == baseline
        table.add_row(
            of_planner.planner,
            str(of_planner.n_met),
            estimate(of_planner.usd_per_good_request, 3, 1e3),
            NOTHING if is_baseline else _gain(of_planner.saved, is_latency=True),
            NOTHING if is_baseline else str(of_planner.n_cheaper),
            estimate(of_planner.gpu_utilization, 1, 100),
            estimate(of_planner.budget_compliance, 2, 100),
            f"{of_planner.n_within_budget} of {of_planner.n_scenarios}",
        )
    return table


def _gain(gain: Gain | None, *, is_latency: bool) -> str:
    """In per cent; what is more than twice as high or long is told as that."""
    if gain is None:
        return NOTHING
    if abs(gain.mean) > _MOST_IN_PER_CENT:
        times = 1 - gain.mean if is_latency else 1 + gain.mean
        return f"{times:,.{1 if times < 10 else 0}f} times as {'long' if is_latency else 'high'}"
    interval = "" if gain.half_width is None else f" ± {100 * gain.half_width:.1f}"
    return f"{100 * gain.mean:+.1f}{interval} % ({100 * gain.largest:+.0f} %)"
