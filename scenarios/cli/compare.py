"""The command `hetserve compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from scenarios.cli.batch import jobs_option, resume_option, run_all, scenarios_option, sets_option
from scenarios.cli.options import force_option, out_option, progress_option, seed_option
from scenarios.cli.printing import report
from scenarios.errors import RunError
from scenarios.file.library import members
from scenarios.file.load import load, matrix_names
from scenarios.runs.directory import run_directories, run_directory
from scenarios.runs.row import Row
from scenarios.runs.series import read_rows
from traces import nearest


@click.command()
@click.argument("sources", metavar="FILE|DIR...", nargs=-1, required=True)
@scenarios_option
@sets_option
@click.option("--baseline", metavar="PLANNER", help="Whom to compare with; by default the first.")
@click.option("--format", "style", type=click.Choice(["table", "md", "json"]), default="table", show_default=True)
@seed_option
@out_option
@force_option
@resume_option
@jobs_option
@progress_option
def compare(
    sources: Sequence[str], scenarios: Sequence[str], sets: Sequence[str], baseline: str | None, style: str,
    seed: int | None, out: Path, jobs: int, force: bool, resume: bool, progress: bool | None,
) -> None:  # fmt: skip
    """Compare planners: run a scenario with all of them, or read finished runs from directories.

    A file with a `matrix` is run with all its combinations; then the table says what the baseline gains. `stress` runs
    all scenarios of the library whose market or requests change; a table says what became of service and money.
    """
    sources = [member for given in sources for member in members(given)]
    if baseline is not None and not any(Path(source).is_dir() for source in sources):
        _check_baseline(baseline, sources, scenarios, sets)
    rows: list[Row] = []
    directories: list[Path] = []
    for source in sources:
        if Path(source).is_dir():
            rows += read_rows([Path(source)])
            directories += run_directories(Path(source))
        else:
            names = scenarios or matrix_names(source) or (None,)
            made = run_all(source, names, sets, seed, out, force=force, resume=resume, jobs=jobs, progress=progress)
            directories += [run_directory(out, r.scenario, r.planner, r.seed) for r in made if r.status == "ok"]
            rows += made
    report(rows, baseline, style, directories)


def _check_baseline(baseline: str, sources: Sequence[str], scenarios: Sequence[str], sets: Sequence[str]) -> None:
    """Make sure, before the work, that the scenarios name the baseline.

    Raises:
        RunError: None of them does.
    """
    planners = {
        choice.label
        for source in sources
        for name in scenarios or matrix_names(source) or (None,)
        for choice in load(source, name, sets).scenario.planners
    }
    if baseline not in planners:
        msg = f"unknown baseline {baseline!r}: {nearest(baseline, planners)}"
        raise RunError(msg)
