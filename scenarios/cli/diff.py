"""The command `hetserve diff`: a gate for changes of planners."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from scenarios.cli.printing import print_json, print_lines, print_tables
from scenarios.report import diff as report
from scenarios.study import diff as study
from scenarios.study.rules import Verdict, judge, read_rules
from scenarios.study.sides import OF_PLANS, OF_RUNS, read_sides

BROKEN = 4

_source = click.Path(exists=True, path_type=Path)


@click.command("diff")
@click.argument("base", type=_source)
@click.argument("new", type=_source)
@click.option("--fail-if", "texts", metavar="RULE", multiple=True,
              help='A change that is too much, such as "slo_attainment < -0.5pt"; may be repeated.')  # fmt: skip
@click.option("--rules", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="A YAML file with a list of such rules under `fail_if`.")  # fmt: skip
@click.option("--format", "style", type=click.Choice(["table", "md", "json"]), default="table", show_default=True)
@click.option("--all", "is_all", is_flag=True, help="Print all metrics that changed, not only the main ones.")
def diff(base: Path, new: Path, texts: Sequence[str], file: Path | None, style: str, is_all: bool) -> None:
    """Say what changed from BASE to NEW, and fail if it is too much.

    BASE and NEW are directories of finished runs, or files of plans: a plans.json, or what `hetserve plan --json`
    prints. Runs are paired by scenario, planner and seed.

    RULE is METRIC < VALUE or METRIC > VALUE, about NEW - BASE, with the unit %, pt (points of a share) or the metric's
    own. It is broken by a mean change over seeds, for a scenario and planner, that is beyond VALUE and whose 95 %
    interval does not hold 0: changes within the noise of the seeds break nothing. With one seed the change counts as it
    is. With a rule, a run that vanished or cannot be compared breaks the gate, too.

    Exit code 4 if the gate is broken.
    """
    if is_all and style != "table":
        msg = f"--all is for tables; --format {style} has all metrics"
        raise click.UsageError(msg)
    if file is not None or texts:
        # What is wrong with the rules is said before the runs are read, which takes longer.
        read_rules(texts, file, OF_RUNS if base.is_dir() else OF_PLANS)
    sides = read_sides(base, new)
    found = study.diff(*sides)
    verdict = judge(found, read_rules(texts, file, found.figures))
    if style == "json":
        print_json(found.to_dict() | verdict.to_dict() | {"is_broken": bool(verdict.breaks)})
    elif style == "md":
        click.echo(report.diff_markdown(found, verdict), nl=False)
    else:
        _print(found, verdict, is_all=is_all)
    if verdict.breaks:
        raise click.exceptions.Exit(BROKEN)


def _print(found: study.Diff, verdict: Verdict, *, is_all: bool) -> None:
    names = report.figures_to_print(found, verdict, is_all=is_all)
    tables = [report.changes_table(found, names)] if names else []
    if report.has_other_plans(found):
        tables.append(report.plans_table(found))
    if verdict.breaks:
        tables.append(report.gate_table(verdict))
    print_tables(*tables)
    print_lines([*report.remarks(found, verdict, names), report.summary_line(found, verdict)])
