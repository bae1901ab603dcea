"""The command `hetserve compare`."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import click

from scenarios.cli.options import uncertainty_option
from scenarios.cli.printing import print_scenario, report
from scenarios.cli.trace_options import remedies_as_typed, sets_with_trace, trace_parameters
from scenarios.cli.weighing import weighed
from scenarios.cli.work import Work, say_failures, say_missing, scenarios_option, sets_option, work_options
from scenarios.errors import RunError
from scenarios.file.library import library_names, members, suite_minutes, suite_names
from scenarios.file.load import load, matrix_names
from scenarios.runs.directory import run_directories, run_directory
from scenarios.runs.row import Row
from scenarios.runs.series import read_rows
from scenarios.runs.store import copy_of, is_address
from traces import nearest


@click.command()
@click.argument("sources", metavar="FILE|DIR...", nargs=-1, required=True)
@scenarios_option
@sets_option
@click.option("--baseline", metavar="PLANNER", help="Whom to compare with; by default the first.")
@click.option(
    "--format", "style", type=click.Choice(["table", "md", "json", "csv"]), default="table", show_default=True,
    help="How to print; csv has a line for each run with all metrics.",
)  # fmt: skip
@uncertainty_option
@trace_parameters
@work_options
def compare(
    sources: Sequence[str], scenarios: Sequence[str], sets: Sequence[str], baseline: str | None, style: str,
    n_worlds: int | None, trace: Path | None, reader: str | None, columns: str | None, head: int | None, work: Work,
) -> None:  # fmt: skip
    """Compare planners: run a scenario with all of them, or read finished runs from directories.

    A file with a `matrix` is run with all its combinations; then the table says what the baseline gains. `stress` runs
    all scenarios of the library whose market or requests change; a table says what became of service and money. With
    --uncertainty, each plan is simulated in N worlds where service times are off, the same for all plans.
    """
    context = click.get_current_context()
    if n_worlds is not None and style == "csv":
        msg = "--uncertainty compares plans, and csv has a line for each run: use --format json"
        raise click.UsageError(msg)
    sources = [str(context.with_resource(copy_of(one))) if is_address(one) else one for one in sources]
    _check_sources(sources)
    _say_how_long(sources, work)
    sources = [member for given in sources for member in members(given)]
    _check_sources(sources)
    if all(Path(source).is_dir() for source in sources):
        _check_unused(context, {"jobs"} if n_worlds is not None else set())
    chosen = _chosen(sources, scenarios)
    asked = list(sets)
    if trace is not None or reader is not None or columns is not None or head is not None:
        source, name = _only_one(chosen, sources)
        sets = sets_with_trace(source, name, asked, trace, reader, columns, head)
    if baseline is not None and not any(Path(source).is_dir() for source in sources):
        _check_baseline(baseline, sources, scenarios, sets)
    folders = [Path(source) for source in sources if Path(source).is_dir()]
    rows = read_rows(folders)
    directories = [directory for folder in folders for directory in run_directories(folder)]
    for folder in folders:
        say_missing(folder)
    is_told = style == "table" and len(chosen) > 1 and not folders
    if chosen:
        with remedies_as_typed(*chosen[0], asked, trace, columns):
            made = _made(work, chosen, sets, is_told=is_told)
        directories += [run_directory(work.out, r.scenario, r.planner, r.seed) for r in made if r.status == "ok"]
        rows += made
    _check_runs(directories)
    weighings = () if n_worlds is None else weighed(rows, n_worlds, work.jobs, progress=work.progress)
    report(rows, baseline, style, directories, is_told=is_told, weighings=weighings)
    say_failures(rows)


def _say_how_long(sources: Sequence[str], work: Work) -> None:
    """Say of suites how long they take."""
    for source in sources:
        minutes = suite_minutes(source)
        if minutes is not None and work.progress is not False:
            jobs = "" if work.jobs > 1 else ", less with --jobs"
            click.echo(f"{source}: {len(members(source))} scenarios, about {minutes:g} minutes of work{jobs}", err=True)


def _chosen(sources: Sequence[str], scenarios: Sequence[str]) -> list[tuple[str, str | None]]:
    """The scenarios to run, by file and name."""
    return [
        (source, name)
        for source in sources
        if not Path(source).is_dir()
        for name in scenarios or matrix_names(source) or (None,)
    ]


def _only_one(chosen: Sequence[tuple[str, str | None]], sources: Sequence[str]) -> tuple[str, str | None]:
    """The scenario whose requests a trace replaces.

    Raises:
        UsageError: There are several, or none.
    """
    if len(chosen) != 1 or len(sources) != 1:
        msg = f"--trace replaces the requests of one scenario, not of {len(chosen)}: name one, perhaps with --scenario"
        raise click.UsageError(msg)
    return chosen[0]


def _made(work: Work, chosen: Sequence[tuple[str, str | None]], sets: Sequence[str], *, is_told: bool) -> list[Row]:
    """Make runs, and print each scenario of several as soon as it is done."""
    rows: list[Row] = []
    for n_done, (label, of_scenario) in enumerate(work.by_scenario(chosen, sets), start=1):
        if len(chosen) > 1 and work.progress is not False:
            click.echo(f"{n_done} of {len(chosen)}: {label}", err=True)
        if is_told:
            print_scenario(of_scenario)
        rows += of_scenario
    return rows


def _check_sources(sources: Sequence[str]) -> None:
    """Make sure that no source counts twice, and that it is clear what each one is.

    Raises:
        UsageError: One does, or it is not.
    """
    seen: dict[Path | str, str] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir() and source in (*library_names(), *suite_names()):
            msg = f"{source} is a directory here and a scenario of the library: write ./{source} for the directory"
            msg += ", or run the scenario from another folder"
            raise click.UsageError(msg)
        key = path.resolve() if path.exists() else source
        if key in seen:
            msg = f"{source} is given twice" + (f", as {seen[key]} too" if seen[key] != source else "")
            raise click.UsageError(msg)
        seen[key] = source


def _check_runs(directories: Sequence[Path]) -> None:
    """Make sure that no run counts twice, as one of a directory in another would.

    Raises:
        UsageError: One does.
    """
    seen: set[Path] = set()
    for directory in directories:
        if directory.resolve() in seen:
            msg = f"{directory} is in two of the directories"
            raise click.UsageError(msg)
        seen.add(directory.resolve())


_OF_RUNS = ("scenarios", "sets", "seeds", "out", "force", "resume", "jobs", "executor", "n_retries", "timeout_s")


def _check_unused(context: click.Context, used: AbstractSet[str]) -> None:
    """Refuse options that only runs to be made can use, but for some that are used otherwise.

    Raises:
        UsageError: There is one.
    """
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in _OF_RUNS
        and parameter.name not in used
        and context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        msg = f"{', '.join(given)}: finished runs are only read; name a scenario to make runs"
        raise click.UsageError(msg)


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
