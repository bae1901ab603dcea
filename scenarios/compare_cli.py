"""The commands that run many scenarios and planners: `hetserve compare` and `hetserve batch`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scenarios.cli_options import check_can_write, force_option, out_option, progress_option, report, seed_option
from scenarios.errors import RunError

if TYPE_CHECKING:
    from scenarios.runs.row import Row

_sets_option = click.option(
    "--set", "sets", metavar="PATH=VALUE", multiple=True, help="Change a field of the scenario."
)
_scenarios_option = click.option(
    "--scenario", "scenarios", metavar="NAME", multiple=True,
    help="Scenarios of the file, instead of all in its matrix; may be repeated.",
)  # fmt: skip
_resume_option = click.option("--resume", is_flag=True, help="Keep the runs that are there and make the others.")
_jobs_option = click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True,
                            help="Processes: for scenarios and seeds, or for replicas.")  # fmt: skip


@click.command()
@click.argument("sources", metavar="FILE|DIR...", nargs=-1, required=True)
@_scenarios_option
@_sets_option
@click.option("--baseline", metavar="PLANNER", help="Whom to compare with; by default the first.")
@click.option("--format", "style", type=click.Choice(["table", "md", "json"]), default="table", show_default=True)
@seed_option
@out_option
@force_option
@_resume_option
@_jobs_option
@progress_option
def compare(
    sources: Sequence[str], scenarios: Sequence[str], sets: Sequence[str], baseline: str | None, style: str,
    seed: int | None, out: Path, jobs: int, force: bool, resume: bool, progress: bool | None,
) -> None:  # fmt: skip
    """Compare planners: run a scenario with all of them, or read finished runs from directories.

    A file with a `matrix` is run with all its combinations; then the table says what the baseline gains. `stress` runs
    all scenarios of the library whose market or requests change; a table says what became of service and money.
    """
    from scenarios.file.library import members
    from scenarios.file.load import matrix_names
    from scenarios.runs.directory import run_directories, run_directory
    from scenarios.runs.series import read_rows

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
            made = _run(source, names, sets, seed, out, force=force, resume=resume, jobs=jobs, progress=progress)
            directories += [run_directory(out, r.scenario, r.planner, r.seed) for r in made if r.status == "ok"]
            rows += made
    report(rows, baseline, style, directories)


def _check_baseline(baseline: str, sources: Sequence[str], scenarios: Sequence[str], sets: Sequence[str]) -> None:
    """Make sure, before the work, that the scenarios name the baseline.

    Raises:
        RunError: None of them does.
    """
    from scenarios.file.load import load, matrix_names
    from traces import nearest

    planners = {
        choice.label
        for source in sources
        for name in scenarios or matrix_names(source) or (None,)
        for choice in load(source, name, sets).scenario.planners
    }
    if baseline not in planners:
        msg = f"unknown baseline {baseline!r}: {nearest(baseline, planners)}"
        raise RunError(msg)


@click.command()
@click.argument("file", metavar="FILE")
@_scenarios_option
@_sets_option
@seed_option
@out_option
@force_option
@_resume_option
@_jobs_option
@progress_option
def batch(
    file: str, scenarios: Sequence[str], sets: Sequence[str], seed: int | None, out: Path, jobs: int, force: bool,
    resume: bool, progress: bool | None,
) -> None:  # fmt: skip
    """Run all scenarios of a file with all planners and seeds, and say what became of them.

    Exit code 5 if a run failed. To see the results: hetserve compare DIR.
    """
    from scenarios.file.load import all_names

    rows = _run(
        file, scenarios or all_names(file), sets, seed, out, force=force, resume=resume, jobs=jobs, progress=progress
    )
    statuses = [row.status for row in rows]
    click.echo(", ".join(f"{statuses.count(status):,} {status}" for status in sorted(set(statuses))) + f": {out}")
    failed = [row for row in rows if row.status == "failed"]
    for row in failed:
        click.echo(f"{row.scenario}, {row.planner}, seed {row.seed}: {'; '.join(row.plan['diagnostics'])}", err=True)
    if failed:
        raise click.exceptions.Exit(5)


def _run(
    source: str, names: Sequence[str | None], sets: Sequence[str], seed: int | None, out: Path,
    *, force: bool, resume: bool, jobs: int, progress: bool | None,
) -> list[Row]:  # fmt: skip
    from scenarios.file.load import load
    from scenarios.report.progress import ProgressBar
    from scenarios.runs.batch import Task, run_batch
    from scenarios.runs.series import run_rows

    loaded = [load(source, name, sets) for name in names]
    if len(loaded) > 1 and not force and not resume:
        taken = [out / f"scenario={one.label}" for one in loaded if (out / f"scenario={one.label}").exists()]
        if taken:
            msg = f"{taken[0]} exists already; choose another directory with --out, or use --resume or --force"
            raise RunError(msg)
    check_can_write(out)
    with ProgressBar(is_wanted=progress) as bar:
        if len(loaded) == 1:
            seeds = None if seed is None else [seed]
            return run_rows(loaded[0], out, seeds=seeds, force=force, resume=resume, n_jobs=jobs, watcher=bar)
        tasks = [
            Task(source, one.name, one_seed, tuple(sets), out, force=force, resume=resume)
            for one in loaded
            for one_seed in (one.scenario.seeds if seed is None else (seed,))
        ]
        return run_batch(tasks, jobs, bar)
