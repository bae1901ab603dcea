"""What several commands have in common: options, and how they print."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from scenarios.errors import RunError

if TYPE_CHECKING:
    from rich.table import Table

    from scenarios.file.loaded import LoadedScenario
    from scenarios.file.schema import PlannerChoice
    from scenarios.runs.row import Row


class NoPlan(click.ClickException):
    """No planner found a fleet: the reasons."""

    exit_code = 3

    def __init__(self, reasons: Iterable[str]) -> None:
        super().__init__("\n  ".join(["no feasible plan", *reasons]))


Command = Callable[..., None]


def scenario_options(command: Command) -> Command:
    """Which scenario: FILE, --scenario and --set."""
    for option in (
        click.argument("file", metavar="FILE"),
        click.option("--scenario", metavar="NAME", help="One of the file's scenarios (lists of overrides)."),
        click.option(
            "--set", "sets", metavar="PATH=VALUE", multiple=True, help="Change a field, e.g. sim.horizon_s=600."
        ),
    ):
        command = option(command)
    return command


def _only_one(ctx: click.Context, param: click.Parameter, names: Sequence[str]) -> str | None:
    if len(names) > 1:
        msg = f"one planner plans here, not {', '.join(names)}; to compare several: hetserve compare"
        raise click.BadParameter(msg, ctx, param)
    return next(iter(names), None)


planner_option = click.option("--planner", metavar="NAME", multiple=True, callback=_only_one,
                              help="Instead of milp; see: hetserve list planners.")  # fmt: skip
seed_option = click.option("--seed", type=click.IntRange(min=0), help="Instead of the file's seeds.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
jobs_option = click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True,
                            help="Processes to split a simulation over.")  # fmt: skip
progress_option = click.option(
    "--progress/--quiet", " /-q", default=None, help="Say on stderr how far it is; by default on a terminal.",
)  # fmt: skip
force_option = click.option("--force", is_flag=True, help="Replace results that exist.")
replace_option = click.option("--force", is_flag=True, help="Replace FILE.")
out_option = click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs"), show_default=True, metavar="DIR",
    help="Where results are kept.",
)  # fmt: skip


def check_can_write(path: Path, *, force: bool = False) -> None:
    """Make sure, before the work, that its results can be written to a file, or below a directory.

    Raises:
        RunError: A file stands there and is not to be replaced, or nothing can be written there.
    """
    if path.is_file() and not force:
        msg = f"{path} exists already; use --force to replace it"
        raise RunError(msg)
    whole = path.absolute()
    place = next(one for one in (whole, *whole.parents) if one.exists() and not (one == whole and one.is_file()))
    try:
        with TemporaryDirectory(dir=place):
            pass
    except OSError as error:
        raise _cannot_write(path, error) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write a file, in a directory that is made for it.

    Raises:
        RunError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> RunError:
    return RunError(f"cannot write {path}: {error.strerror or error}")


def print_tables(*tables: Table) -> None:
    """Print tables to standard output, each under its title."""
    from rich.console import Console
    from rich.text import Text

    from scenarios.report.tables import fit

    console = Console()
    # In a pipe there is no terminal to fit into.
    console = console if console.is_terminal else Console(width=max(console.width, 160))
    for table in tables:
        if table.title:
            console.print(Text(str(table.title), style="bold"))
        for part in fit(table, console.width):
            console.print(part)


def print_json(data: Any) -> None:
    """Print JSON to standard output."""
    click.echo(json.dumps(data, indent=2, allow_nan=False))


def planner_choice(loaded: LoadedScenario, planner: str) -> PlannerChoice:
    """The planner with the options that the scenario gives it, if it does."""
    from scenarios.file.schema import PlannerChoice

    named = {choice.label: choice for choice in loaded.scenario.planners}
    return named.get(planner, PlannerChoice(name=planner))


def report(rows: Sequence[Row], baseline: str | None, style: str, directories: Sequence[Path] = ()) -> None:
    """Print rows side by side, as `table`, `md` or `json`; of several scenarios, what the baseline gains.

    Args:
        rows: The rows.
        baseline: Whom to compare with; the first if None.
        style: How to print.
        directories: Where the runs are kept: of those on a market that moves, there is more to say.

    Raises:
        NoPlan: No row has a run.
    """
    from scenarios.report.stress import stress_table
    from scenarios.report.summary import standings_table
    from scenarios.report.tables import fleet_table, results_table, to_markdown
    from scenarios.study.compare import Comparison
    from scenarios.study.stress import read_stress
    from scenarios.study.summary import standings

    comparison = Comparison.of(rows, baseline)
    stress = read_stress(directories)
    if style == "json":
        data = comparison.to_dict()
        print_json(data | {"stress": [row.to_dict() for row in stress]} if stress else data)
    else:
        n_scenarios = len({row.scenario for row in rows})
        if n_scenarios > 1:
            tables = [standings_table(standings(comparison), comparison.baseline, n_scenarios)]
        else:
            tables = [fleet_table(comparison)]
            if any(row.metrics for row in rows):
                tables.append(results_table(comparison))
        if any(row.is_eventful for row in stress):
            tables.append(stress_table(stress))
        if style == "md":
            click.echo(to_markdown(tables), nl=False)
        else:
            print_tables(*tables)
    if not any(row.status == "ok" for row in rows):
        raise NoPlan([f"{row.planner}: {reason}" for row in rows for reason in row.plan.get("diagnostics", ())])
