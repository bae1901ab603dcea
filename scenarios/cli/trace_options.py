"""Options that serve a trace instead of a scenario's requests: `--trace`, `--reader`, `--columns` and `--head`."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from scenarios.cli.options import Command
from scenarios.errors import RunError
from scenarios.file.load import load
from scenarios.file.loaded import LoadedScenario
from scenarios.file.schema import Sim
from traces.errors import Remedy, TraceError

PERIODS = ("horizon_s", "warmup_s", "cooldown_s")
"""Fields of `sim` that were chosen for a scenario's own requests: those of a trace take other times."""


_OPTIONS = (
    click.option("--trace", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                 help="Serve these requests, all of them, instead of the scenario's: sim.horizon_s, warmup_s and "
                 "cooldown_s are not kept, unless --set gives them."),
    click.option("--reader", metavar="NAME",
                 help="How to read --trace, by default found from the file; see: hetserve list readers."),
    click.option("--columns", metavar="OURS=THEIRS,...",
                 help="Columns of --trace, e.g. prompt_tokens=n_in; nothing behind = leaves one out."),
    click.option("--head", type=click.IntRange(min=1), metavar="N", help="Only the first N requests of --trace."),
)  # fmt: skip


def trace_parameters(command: Command) -> Command:
    """Add the four options: `trace`, `reader`, `columns` and `head`, as `sets_with_trace` takes them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def trace_options(command: Command) -> Command:
    """Add the four options to a command about one scenario; it gets what they mean as changes in `sets`."""

    @functools.wraps(command)
    def with_trace(
        *args: Any, file: str, scenario: str | None, sets: Sequence[str], trace: Path | None, reader: str | None,
        columns: str | None, head: int | None, **others: Any,
    ) -> None:  # fmt: skip
        changes = sets_with_trace(file, scenario, sets, trace, reader, columns, head)
        with remedies_as_typed(file, scenario, sets, trace, columns):
            command(*args, file=file, scenario=scenario, sets=changes, **others)

    return trace_parameters(with_trace)


def sets_with_trace(
    file: str,
    scenario: str | None,
    sets: Sequence[str],
    trace: Path | None,
    reader: str | None = None,
    columns: str | None = None,
    head: int | None = None,
) -> list[str]:
    """What `--set` says, after the changes that put a trace in the place of a scenario's only stream.

    Periods of the simulation that were chosen for the scenario's own requests get their defaults, and stderr tells.

    Raises:
        UsageError: How the trace is read is said, but not which; or the file is a kept plan.
        RunError: The scenario has several streams, or none.
        ScenarioError: The scenario cannot be loaded.
    """
    if trace is None:
        if reader is not None or columns is not None or head is not None:
            msg = "--reader, --columns and --head say how --trace is read"
            raise click.UsageError(msg)
        return list(sets)
    if file.endswith(".json"):
        msg = f"{file} is a plan, with its own requests; --trace goes with a scenario"
        raise click.UsageError(msg)
    loaded = _without_trace(file, scenario, sets)
    name = _only_stream(loaded)
    stream: dict[str, object] = {"kind": "trace", "path": str(trace.resolve()), "reader": reader or "auto"}
    stream["model"] = loaded.scenario.workload[name].model
    if head is not None:
        stream["head"] = head
    if columns is not None:
        stream["options"] = {"columns": _columns(columns)}
    return [*_default_periods(loaded, sets), f"workload.{name}={json.dumps(stream)}", *sets]


@contextmanager
def remedies_as_typed(
    file: str, scenario: str | None, sets: Sequence[str], trace: Path | None, columns: str | None = None
) -> Iterator[None]:
    """Let messages about a trace that was named on the command line say what can be typed there.

    The arguments are those that `sets_with_trace` got.

    Raises:
        TraceError: As it was raised, in these words.
    """
    try:
        yield
    except TraceError as error:
        if trace is None or not error.remedies:
            raise
        stream = _only_stream(_without_trace(file, scenario, sets))
        raise TraceError(error.said(lambda remedy: _typed(remedy, stream, columns))) from error


def _typed(remedy: Remedy, stream: str, columns: str | None) -> str:
    """A remedy as options of the command line; columns are joined to those that are named there already."""
    if remedy.option in ("column", "columns"):
        pairs = [f"{ours}={theirs}" for ours, theirs in remedy.columns.items()]
        if remedy.option == "column":
            return pairs[0]
        said = ",".join(pairs if columns is None else [columns, *pairs])
        return f"--columns '{said}'" if " " in said else f"--columns {said}"
    place = "arrivals" if remedy.option == "arrivals" else f"options.{remedy.option}"
    given = f"workload.{stream}.{place}={remedy.value}"
    return f"--set '{given}'" if set(given) & set(" []{}") else f"--set {given}"


def _without_trace(file: str, scenario: str | None, sets: Sequence[str]) -> LoadedScenario:
    """The scenario without changes of its stream, which may be meant for the trace."""
    return load(file, scenario, [change for change in sets if not change.startswith("workload.")])


def _only_stream(loaded: LoadedScenario) -> str:
    streams = loaded.scenario.workload
    if len(streams) != 1:
        msg = f"--trace replaces the only stream of a scenario; {loaded.label} has {len(streams)}: use --set"
        raise RunError(msg)
    return next(iter(streams))


def _default_periods(loaded: LoadedScenario, sets: Sequence[str]) -> list[str]:
    """Changes that give `sim`'s periods their defaults, where the scenario has others and `--set` does not say."""
    given = {change.partition("=")[0] for change in sets}
    changes, said = [], []
    for field in PERIODS:
        value, default = getattr(loaded.scenario.sim, field), Sim.model_fields[field].default
        if value != default and not given & {"sim", f"sim.{field}"}:
            changes.append(f"sim.{field}={json.dumps(default)}")
            said.append(f"sim.{field} {value:g}")
    if said:
        hint = "the whole trace is served; --set keeps them"
        click.echo(f"Not kept, being for {loaded.label}'s own requests: {', '.join(said)}: {hint}", err=True)
    return changes


def _columns(text: str) -> dict[str, str | None]:
    """Our name of a column -> the file's, or None to leave it out."""
    columns: dict[str, str | None] = {}
    for part in text.split(","):
        ours, is_given, theirs = part.partition("=")
        if not is_given or not ours.strip():
            msg = f"{part!r} is not OURS=THEIRS, as prompt_tokens=n_in"
            raise click.BadParameter(msg, param_hint="--columns")
        columns[ours.strip()] = theirs.strip() or None
    return columns
