"""Tables of runs on a market that moves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite

from rich.table import Table

from scenarios.file.schema.moment import clock_time
from scenarios.report.tables import NOTHING, make_columns, make_table, number
from scenarios.study.stress import StressRow, regret
from sim import STRESS_METRICS


def stress_table(rows: Sequence[StressRow]) -> Table:
    """Policies and planners side by side, scenario by scenario; without those in which nothing happened to any."""
    table = make_table("On a market that moves")
    eventful = {row.case for row in rows if row.is_eventful}
    rows = [row for row in rows if row.case in eventful]
    regrets = [regret(row, rows) for row in rows]
    has_regret = any(one is not None for one in regrets)
    right = "right"
    make_columns(
        table,
        [
            ("planner", "left"),
            ("within SLO, %\nbefore/during/after", right),
            ("s until seen/\nplanned/recovered", right),
            ("interrupted/\nretried/dropped", right),
            ("tokens\nrecomputed", right),
            ("\n$", right),
            ("$/h\npeak", right),
            ("within budget,\n% of time", right),
            ("$ idle/\nbooting/lost", right),
            ("goodput\nreq/s", right),
            *([("regret: SLO\npoints/$ %", right)] if has_regret else []),
        ],
    )
    last = None
    cases = list(dict.fromkeys(row.case for row in rows))
    pairs = sorted(zip(rows, regrets, strict=True), key=lambda pair: cases.index(pair[0].case))
    for row, its_regret in pairs:
        s = row.stress
        if row.case != last:
            table.add_section()
            table.add_row(_case(row), style="bold")
        cells = [
            f"  {row.run.planner}",
            _joined(number(s[f"attainment_{period}"], 1, 100) for period in ("before", "during", "after")),
            _joined([number(s["time_to_detect_s"], 0), number(s["time_to_replan_s"], 0), recovery(row)]),
            _joined(number(s[f"requests_{what}"], 0) for what in ("interrupted", "retried", "dropped")),
            number(s["tokens_recomputed"], 0),
            number(row.run.metrics["cost_usd"], 2),
            number(row.run.metrics["usd_per_h_peak"], 2),
            number(row.run.metrics["budget_compliance"], 1, 100),
            _joined(number(s[f"usd_{what}"], 2) for what in ("idle", "booting", "lost")),
            number(row.run.metrics["goodput_rps"], 2),
        ]
        if has_regret:
            attainment = None if its_regret is None else its_regret.attainment
            usd = None if its_regret is None else its_regret.usd_per_good_request
            points = NOTHING if attainment is None else f"{100 * attainment:.1f}"
            per_cent = NOTHING if usd is None else f"{100 * usd:+.1f}"
            cells.append(f"{points}/{per_cent}")
        table.add_row(*cells)
        last = row.case
    return table


def _case(row: StressRow) -> str:
    scenario, seed = row.case
    n_drops = len(row.drops)
    seeds = f", seed {seed}" if seed else ""
    return f"{scenario}{seeds}: {n_drops} drop{'' if n_drops == 1 else 's'}"


def recovery(row: StressRow) -> str:
    """The longest time, or how many drops a run has not got over."""
    n_lost = sum(drop["time_to_recover_s"] is None and drop["attainment_before"] is not None for drop in row.drops)
    if n_lost:
        return "never" if len(row.drops) == 1 else f"never ({n_lost} of {len(row.drops)})"
    times = [drop["time_to_recover_s"] for drop in row.drops if drop["time_to_recover_s"] is not None]
    return number(max(times, default=None), 0)


def run_tables(row: StressRow) -> list[Table]:
    """All stress metrics of one run, and what happened at each drop; nothing if nothing happened."""
    if not row.is_eventful:
        return []
    table = make_table(f"{row.run.scenario}, {row.run.planner}, seed {row.run.seed}: drops of what can be rented")
    make_columns(table, [("metric", "left"), ("value", "right"), ("unit", "left"), ("meaning", "left")])
    for key, value in row.stress.items():
        metric = STRESS_METRICS[key]
        shown = NOTHING if value is None else f"{value:,d}" if isinstance(value, int) else f"{value:,.4g}"
        table.add_row(key, shown, metric.unit, metric.description)
    return [table, drops_table(row)] if row.drops else [table]


def drops_table(row: StressRow, title: str = "Drop by drop") -> Table:
    """What happened at each drop of one run."""
    table = make_table(title)
    right = "right"
    make_columns(
        table,
        [
            ("drop", "left"),
            ("at s" if row.start is None else "at", right),
            ("back at s" if row.start is None else "back at", right),
            ("within SLO, %\nbefore/during/after", right),
            ("goodput, req/s\nbefore/during/after", right),
            ("s until seen/\nplanned/recovered", right),
            ("interrupted/\nretried/dropped", right),
            ("tokens\nrecomputed", right),
            ("$ during", right),
            ("$ booting/\nlost", right),
        ],
    )
    periods = ("before", "during", "after")
    for drop in row.drops:
        times = [drop[f"time_to_{what}_s"] for what in ("detect", "replan", "recover")]
        table.add_row(
            drop["drop"],
            _time(row, drop["drop_s"]),
            _time(row, drop["back_s"]) if isfinite(drop["back_s"]) else "never",
            _joined(number(drop[f"attainment_{period}"], 1, 100) for period in periods),
            _joined(number(drop[f"goodput_{period}_rps"], 2) for period in periods),
            _joined([number(times[0], 0), number(times[1], 0), "never" if times[2] is None else number(times[2], 0)]),
            _joined(number(drop[f"requests_{what}"], 0) for what in ("interrupted", "retried", "dropped")),
            number(drop["tokens_recomputed"], 0),
            number(drop["usd"], 2),
            _joined(number(drop[f"usd_{what}"], 2) for what in ("booting", "lost")),
        )
    return table


def _time(row: StressRow, t_s: float) -> str:
    """A time of a run: what the clock shows, if that is known, or seconds since its start."""
    return number(t_s, 0) if row.start is None else clock_time(row.start, t_s)


def _joined(cells: Iterable[str]) -> str:
    return "/".join(cells)
