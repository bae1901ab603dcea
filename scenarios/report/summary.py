"""The tables of planners over several scenarios: one after the other, and all together."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from scenarios.report.tables import (
    NOTHING,
    attainment,
    estimate,
    load_of,
    number,
    quantiles,
    seeds_of,
    share,
    table_of,
)
from scenarios.study.compare import Comparison, Group
from scenarios.study.summary import Costs, Gain, Kept, Promises, Standing, costs, promises, standings

_MEANS = "means, ± 95 % interval over seeds, (largest)"
_MOST_IN_PER_CENT = 1.0  # of a latency, which may be any number of times as long


def scenario_tables(comparison: Comparison) -> list[Table]:
    """Of each scenario, what each planner rents and what that delivers, in the mean over seeds."""
    groups = comparison.groups()
    scenarios = dict.fromkeys(group.scenario for group in groups)
    return [_scenario_table([group for group in groups if group.scenario == scenario]) for scenario in scenarios]


def _scenario_table(groups: Sequence[Group]) -> Table:
    goal = next((group.goal for group in groups if group.goal is not None), None)
    headers = (
        "planner",
        "GPUs",
        "$/h",
        "promised\nreq/s",
        "throughput\nreq/s",
        "within SLO" if goal is None else f"within SLO\ngoal {100 * goal:g} %",
        "TTFT s\np50 / p99",
        "$ / 1k good\nrequests",
    )
    rows = ([group.name, *_cells(group)] for group in groups)
    return table_of(f"{groups[0].scenario}{load_of(groups)}{seeds_of(groups)}", headers, rows, n_left=2)


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


def tables_over_scenarios(comparison: Comparison, n_scenarios: int) -> list[Table]:
    """What the baseline gains, what promises are worth and what it costs, as far as the runs tell."""
    baseline = comparison.baseline
    tables = [standings_table(standings(comparison), baseline, n_scenarios)]
    if kept := promises(comparison):
        tables.append(promises_table(kept, baseline))
    if spent := costs(comparison):
        tables.append(costs_table(spent, baseline))
    return tables


def standings_table(of_planners: Sequence[Standing], baseline: str, n_scenarios: int) -> Table:
    """How much the baseline gains over each planner, over so many scenarios."""
    headers = (
        "planner",
        "scenarios\nwith a run",
        "SLO\nmet in",
        f"better than\n{baseline} in",
        f"promise, of\n{baseline}'s",
        "kept\nof promise",
        "throughput",
        "P50 latency",
        "P90 latency",
        "P99 latency",
        "solve s",
    )
    rows = (
        [
            one.planner,
            f"{one.n_scenarios} of {n_scenarios}",
            str(one.n_met),
            _beside(baseline, one.planner, str(one.n_better)),
            share(one.promised),
            share(one.kept),
            _beside(baseline, one.planner, _gain(one.throughput, is_latency=False)),
            *(_beside(baseline, one.planner, _gain(gain, is_latency=True)) for gain in one.latency.values()),
            number(one.solve_s, 2),
        ]
        for one in of_planners
    )
    return table_of(f"What {baseline} gains: mean and 95 % interval over seeds, (largest)", headers, rows)


def promises_table(of_planners: Sequence[Promises], baseline: str) -> Table:
    """What fleets keep of what was promised where all requests come at once: to the end, and under load."""
    headers = (
        "planner",
        "runs",
        "kept\nof promise",
        "off by\nmean / P95",
        "kept\nunder load",
        "off under load by\nmean / P95",
        f"pace under load\n{baseline} gains",
        f"faster than\n{baseline} in",
    )
    rows = (
        [
            one.planner,
            f"{one.n_runs:,}",
            *_kept(one.kept),
            *_kept(one.steady),
            _beside(baseline, one.planner, _gain(one.pace, is_latency=False)),
            _beside(baseline, one.planner, str(one.n_faster)),
        ]
        for one in of_planners
    )
    return table_of(f"What is kept of promises, and the pace under load: {_MEANS}", headers, rows)


def _kept(kept: Kept | None) -> tuple[str, str]:
    """The mean share, and by how much shares are off 1."""
    if kept is None:
        return NOTHING, NOTHING
    return share(kept.mean), f"{share(kept.mean_error)} / {share(kept.p95_error)}"


def costs_table(of_planners: Sequence[Costs], baseline: str) -> Table:
    """What serving costs with each planner, how busy its GPUs are, and whether it keeps to the budget."""
    headers = (
        "planner",
        "SLO\nmet in",
        "$ / 1k good\nrequests",
        f"{baseline}\nsaves",
        f"cheaper than\n{baseline} in",
        "GPU\nutilization, %",
        "within budget,\n% of time",
        "within budget\nall the time in",
    )
    rows = (
        [
            one.planner,
            str(one.n_met),
            estimate(one.usd_per_good_request, 3, 1e3),
            _beside(baseline, one.planner, _gain(one.saved, is_latency=True)),
            _beside(baseline, one.planner, str(one.n_cheaper)),
            estimate(one.gpu_utilization, 1, 100),
            estimate(one.budget_compliance, 2, 100),
            f"{one.n_within_budget} of {one.n_scenarios}",
        ]
        for one in of_planners
    )
    return table_of(f"What it costs: {_MEANS}", headers, rows)


def _beside(baseline: str, planner: str, text: str) -> str:
    """What is said of a planner beside the baseline; nothing of the baseline itself."""
    return NOTHING if planner == baseline else text


def _gain(gain: Gain | None, *, is_latency: bool) -> str:
    """In per cent; what is more than twice as high or long is told as that."""
    if gain is None:
        return NOTHING
    if abs(gain.mean) > _MOST_IN_PER_CENT:
        times = 1 - gain.mean if is_latency else 1 + gain.mean
        return f"{times:,.{1 if times < 10 else 0}f} times as {'long' if is_latency else 'high'}"
    interval = "" if gain.half_width is None else f" ± {100 * gain.half_width:.1f}"
    return f"{100 * gain.mean:+.1f}{interval} % ({100 * gain.largest:+.0f} %)"
