"""How commands print: tables, JSON, and rows side by side."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scenarios.cli.errors import NoPlan
from scenarios.report.extrapolated import extrapolation_line
from scenarios.report.stress import stress_table
from scenarios.report.summary import scenario_tables, tables_over_scenarios
from scenarios.report.tables import fit, fleet_table, results_table, to_markdown
from scenarios.report.uncertainty import weighing_lines, weighing_tables
from scenarios.runs.row import Row
from scenarios.study.compare import Comparison
from scenarios.study.stress import StressRow, read_stress
from scenarios.study.summary import seeds_are_copies
from scenarios.study.uncertainty import Weighing
from sim import METRICS

_MOST_REASONS = 10
_MOST_GROUPS = 100
_MOST_ON_MARKETS = 400


def print_tables(*tables: Table) -> None:
    """Print tables to standard output, each under its title."""
    console = _console()
    for table in tables:
        if table.title:
            console.print(Text(str(table.title), style="bold"))
        for part in fit(table, console.width):
            console.print(part)


def print_lines(lines: Iterable[str]) -> None:
    """Print sentences to standard output: broken between words as wide as tables are told to be, else as they are."""
    console = _console()
    for line in lines:
        console.print(Text(line), soft_wrap=not _is_width_told())


def _is_width_told() -> bool:
    return sys.stdout.isatty() or "COLUMNS" in os.environ


def _console() -> Console:
    """As wide as the terminal or COLUMNS says; 160 in a pipe. What users call things is no markup."""
    return Console(width=None if _is_width_told() else 160, markup=False, emoji=False, highlight=False)


def print_json(data: Any) -> None:
    """Print JSON to standard output."""
    click.echo(json.dumps(data, indent=2, allow_nan=False))


def reasons_of(row: Row) -> list[str]:
    """Why requests of a run were rejected or dropped, and how many."""
    metrics = [METRICS[name] for name in row.metrics if name.startswith(("n_rejected_", "n_dropped_"))]
    counts = [(row.metrics[metric.name], metric.description) for metric in metrics]
    return [f"{count:,d} {meaning.removeprefix('Requests ').rstrip('.')}" for count, meaning in counts if count]


def _refused(rows: Sequence[Row]) -> list[str]:
    """Why requests were rejected or dropped, once for all planners that share a reason and its count."""
    planners: dict[tuple[str, int, str], list[str]] = {}
    for row in rows:
        for reason in reasons_of(row):
            planners.setdefault((row.scenario, row.seed, reason), []).append(row.planner)
    return [
        f"{scenario}, seed {seed}, {', '.join(of_reason)}: {reason}"
        for (scenario, seed, reason), of_reason in planners.items()
    ]


def to_csv(rows: Sequence[Row]) -> str:
    """A line for each run: what it is, its plan's price and promise, and all metrics."""
    lines = [
        {
            "scenario": row.scenario,
            "planner": row.planner,
            "seed": row.seed,
            "status": row.status,
            "plan_usd_per_h": row.plan.get("usd_per_h"),
            "promised_rps": row.promised_rps,
            "offered_rps": row.offered_rps,
            **{name: row.metrics.get(name) for name in METRICS},
        }
        for row in rows
    ]
    return pl.DataFrame(lines, infer_schema_length=None).write_csv()


def print_scenario(rows: Sequence[Row]) -> None:
    """Print what became of one scenario of several."""
    print_tables(*scenario_tables(Comparison.of(rows)))


def _by_scenario(comparison: Comparison) -> list[Table]:
    """Scenario by scenario, if that is not too long to be read."""
    n_groups = len(comparison.groups())
    return scenario_tables(comparison) if n_groups <= _MOST_GROUPS else []


def _is_too_long(stress: Sequence[StressRow], n_scenarios: int) -> bool:
    """Whether the table of runs on a market that moves would have too many lines beside those over scenarios."""
    return n_scenarios > 1 and len(stress) > _MOST_ON_MARKETS


def report(
    rows: Sequence[Row],
    baseline: str | None,
    style: str,
    directories: Sequence[Path] = (),
    *,
    is_told: bool = False,
    weighings: Sequence[Weighing] = (),
) -> None:
    """Print rows side by side, as `table`, `md`, `json` or `csv`; of several scenarios, what the baseline gains.

    Args:
        rows: The rows.
        baseline: Whom to compare with; the first if None.
        style: How to print.
        directories: Where the runs are kept: of those on a market that moves, there is more to say.
        is_told: Whether each scenario has been printed already.
        weighings: What the plans deliver where service times are off.

    Raises:
        NoPlan: No row has a run.
    """
    comparison = Comparison.of(rows, baseline)
    stress = read_stress(directories)
    if style == "csv":
        click.echo(to_csv(rows), nl=False)
    elif style == "json":
        data = comparison.to_dict()
        data |= {"stress": [row.to_dict() for row in stress]} if stress else {}
        data |= {"uncertainty": [weighing.to_dict() for weighing in weighings]} if weighings else {}
        print_json(data)
    else:
        n_scenarios = len({row.scenario for row in rows})
        if n_scenarios > 1:
            tables = [] if is_told else _by_scenario(comparison)
            tables += tables_over_scenarios(comparison, n_scenarios)
        else:
            tables = [fleet_table(comparison)]
            if any(row.metrics for row in rows):
                tables.append(results_table(comparison))
        if any(row.is_eventful for row in stress) and not _is_too_long(stress, n_scenarios):
            tables.append(stress_table(stress))
        tables += [table for weighing in weighings for table in weighing_tables(weighing)]
        if style == "md":
            click.echo(to_markdown(tables), nl=False)
        else:
            print_tables(*tables)
        _print_lines_below(rows, weighings)
        if _is_too_long(stress, n_scenarios):
            click.echo(f"{len(stress):,} runs on a market that moves: --format json has what became of each")
    if not any(row.status == "ok" for row in rows):
        raise NoPlan([f"{row.planner}: {reason}" for row in rows for reason in row.plan.get("diagnostics", ())])


def _print_lines_below(rows: Sequence[Row], weighings: Sequence[Weighing]) -> None:
    """What there is to say below the tables."""
    for weighing in weighings:
        print_lines(weighing_lines(weighing))
    beyond = extrapolation_line(rows)
    if beyond is not None:
        print_lines([beyond])
    refused = _refused(rows) if len(rows) > 1 else []
    for line in refused[:_MOST_REASONS]:
        click.echo(line)
    if len(refused) > _MOST_REASONS:
        click.echo(f"... and {len(refused) - _MOST_REASONS} more such lines: hetserve show")
    if seeds_are_copies(rows):
        click.echo("All seeds gave the same runs: nothing was drawn. They are copies, and say nothing of chance.")
        click.echo("Recorded traces are drawn anew for each seed with workload.NAME.resample.")
