"""Options that several commands have, and files that they write."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from scenarios.errors import RunError
from scenarios.file.loaded import LoadedScenario

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
                              help="Instead of milp or the scenario's deployment; see list planners.")  # fmt: skip


def _only_one_seed(ctx: click.Context, param: click.Parameter, seeds: Sequence[int]) -> int | None:
    if len(seeds) > 1:
        msg = f"one run is made here, not {len(seeds)}; for several seeds: hetserve compare"
        raise click.BadParameter(msg, ctx, param)
    return next(iter(seeds), None)


seed_option = click.option("--seed", type=click.IntRange(min=0), multiple=True, callback=_only_one_seed,
                           help="Instead of the file's seeds.")  # fmt: skip


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


jobs_option = click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True,
                            help="Processes to split a simulation over.")  # fmt: skip


progress_option = click.option(
    "--progress/--quiet", " /-q", default=None, help="Say on stderr how far it is; by default on a terminal.",
)  # fmt: skip


uncertainty_option = click.option(
    "--uncertainty", "n_worlds", type=click.IntRange(min=2), metavar="N",
    help="What comes of the plans in N worlds where service times are as far off as they may be.",
)  # fmt: skip


force_option = click.option("--force", is_flag=True, help="Replace results that exist.")


replace_option = click.option("--force", is_flag=True, help="Replace FILE.")


def _is_a_folder(ctx: click.Context, param: click.Parameter, path: Path) -> Path:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
        msg = f"{path} is an address, perhaps of an object store; results are kept in a folder, perhaps of one mounted"
        raise click.BadParameter(msg, ctx, param)
    return path


out_option = click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default="runs", show_default=True, metavar="DIR",
    help="Where results are kept.", callback=_is_a_folder,
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


def seeds_of(loaded: LoadedScenario, seed: int | None) -> tuple[int, ...]:
    """The seeds of a scenario, or the one that was asked for instead."""
    return loaded.scenario.seeds if seed is None else (seed,)
