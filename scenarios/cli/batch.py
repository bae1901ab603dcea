"""The command `hetserve batch`: all scenarios of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from scenarios.cli.options import check_can_write, force_option, out_option, progress_option, seed_option
from scenarios.errors import RunError
from scenarios.file.library import members
from scenarios.file.load import all_names, load
from scenarios.report.progress import ProgressBar
from scenarios.runs.batch import Task, run_batch
from scenarios.runs.row import Row
from scenarios.runs.series import run_rows

sets_option = click.option("--set", "sets", metavar="PATH=VALUE", multiple=True, help="Change a field of the scenario.")


scenarios_option = click.option(
    "--scenario", "scenarios", metavar="NAME", multiple=True,
    help="Scenarios of the file, instead of all in its matrix; may be repeated.",
)  # fmt: skip


resume_option = click.option("--resume", is_flag=True, help="Keep the runs that are there and make the others.")


jobs_option = click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True,
                            help="Processes: for scenarios and seeds, or for replicas.")  # fmt: skip


@click.command()
@click.argument("file", metavar="FILE")
@scenarios_option
@sets_option
@seed_option
@out_option
@force_option
@resume_option
@jobs_option
@progress_option
def batch(
    file: str, scenarios: Sequence[str], sets: Sequence[str], seed: int | None, out: Path, jobs: int, force: bool,
    resume: bool, progress: bool | None,
) -> None:  # fmt: skip
    """Run all scenarios of a file with all planners and seeds, and say what became of them.

    FILE may also be a suite of the library, such as `stress`.

    Exit code 5 if a run failed. To see the results: hetserve compare DIR.
    """
    rows = [
        row
        for member in members(file)
        for row in run_all(
            member,
            scenarios or all_names(member),
            sets,
            seed,
            out,
            force=force,
            resume=resume,
            jobs=jobs,
            progress=progress,
        )
    ]
    statuses = [row.status for row in rows]
    click.echo(", ".join(f"{statuses.count(status):,} {status}" for status in sorted(set(statuses))) + f": {out}")
    failed = [row for row in rows if row.status == "failed"]
    for row in failed:
        click.echo(f"{row.scenario}, {row.planner}, seed {row.seed}: {'; '.join(row.plan['diagnostics'])}", err=True)
    if failed:
        raise click.exceptions.Exit(5)


def run_all(
    source: str, names: Sequence[str | None], sets: Sequence[str], seed: int | None, out: Path,
    *, force: bool, resume: bool, jobs: int, progress: bool | None,
) -> list[Row]:  # fmt: skip
    """Run some scenarios of a file, spread over processes if there are several.

    Raises:
        RunError: A run is there already; nothing has been run then.
    """
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
