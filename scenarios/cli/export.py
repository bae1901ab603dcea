"""The command `hetserve export`: a plan, or a run, in the format of another tool."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import inf
from pathlib import Path

import click
from click.core import ParameterSource

from scenarios.cli.options import check_can_write, progress_option, writing
from scenarios.errors import RunError
from scenarios.export.deploy.fleet import fleet_of
from scenarios.export.deploy.planned import read_planned
from scenarios.export.deploy.readme import README
from scenarios.export.deploy.write import TARGETS, check_is_free, exported_files, write_folder
from scenarios.export.part import Part, Sample, seconds_of
from scenarios.export.perfetto import write_perfetto
from scenarios.export.trace_file import check_can_export
from scenarios.report.progress import ProgressBar
from scenarios.runs.again import see_again
from scenarios.runs.directory import read_result, run_directories

_PERFETTO = "perfetto"
_OPTIONS_OF_PLANS = ("checkpoints", "image")
_OPTIONS_OF_RUNS = ("sample", "from_", "until", "progress")


def _to_sample(ctx: click.Context, param: click.Parameter, text: str) -> Sample:
    try:
        return Sample.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _to_checkpoints(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
    checkpoints = {}
    for text in texts:
        model, _, repository = text.partition("=")
        if not model or not repository:
            msg = f"{text!r} must be MODEL=ORGANISATION/NAME or MODEL:FORMAT=ORGANISATION/NAME"
            raise click.BadParameter(msg, ctx, param)
        checkpoints[model] = repository
    return checkpoints


@click.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="PLAN|RUN")
@click.option("--to", "tool", type=click.Choice([*TARGETS, _PERFETTO]), required=True, help="The tool.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR|FILE", required=True,
              help="Where to: a new folder, or for perfetto a file, e.g. run.pftrace.")  # fmt: skip
@click.option("--checkpoint", "checkpoints", metavar="MODEL=REPOSITORY", multiple=True, callback=_to_checkpoints,
              help="Weights of a model on Hugging Face, or where they lie; MODEL:FORMAT of one format.")  # fmt: skip
@click.option("--image", metavar="IMAGE", help="Container with vLLM, instead of the published one.")
@click.option("--sample", callback=_to_sample, default="100", show_default=True, metavar="N|SHARE",
              help="For perfetto: how many requests to follow, or which share (0.1 or 10%).")  # fmt: skip
@click.option("--from", "from_", metavar="S",
              help="For perfetto: seconds since the start, or a clock time: leave out what is before.")  # fmt: skip
@click.option("--until", metavar="S", help="For perfetto: leave out what is after.")
@click.option("--force", is_flag=True, help="Replace the folder, if it is an exported plan, or the file.")
@progress_option
@click.pass_context
def export(
    ctx: click.Context,
    source: Path,
    tool: str,
    out: Path,
    checkpoints: dict[str, str],
    image: str | None,
    sample: Sample,
    from_: str | None,
    until: str | None,
    force: bool,
    progress: bool | None,
) -> None:
    """Write a plan as what a tool that serves models reads, or a run as a trace.

    PLAN is what `hetserve plan FILE --json` wrote, or the directory of a finished run. The folder has the servers with
    the limits that were simulated, the weights of the router, and a README.md that says what to run.

    With `--to perfetto`, RUN is the directory of a finished run; it is simulated again, step by step, must come out as
    it was, and is written as a trace that the viewer ui.perfetto.dev opens. Needs the optional extra `perfetto`.
    """
    _check_options(ctx, tool)
    if tool == _PERFETTO:
        _export_run(source, out, sample, from_, until, force=force, progress=progress)
    else:
        _export_plan(source, tool, out, checkpoints, image, force=force)


def _check_options(ctx: click.Context, tool: str) -> None:
    """Make sure that no option is given that the tool does not have.

    Raises:
        click.UsageError: One is.
    """
    others = _OPTIONS_OF_PLANS if tool == _PERFETTO else _OPTIONS_OF_RUNS
    others = (*others, "image") if tool == "vllm" else others
    for param in ctx.command.params:
        if param.name in others and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE:
            msg = f"{param.opts[0]} is no option of --to {tool}"
            raise click.UsageError(msg)


def _export_plan(
    source: Path, tool: str, out: Path, checkpoints: dict[str, str], image: str | None, *, force: bool
) -> None:
    check_is_free(out, force=force)
    fleet = fleet_of(read_planned(source), checkpoints, image)
    files = exported_files(fleet, tool)
    write_folder(out, files, force=force)
    n_replicas = sum(group.replica.count for group in fleet.groups)
    click.echo(f"Written: {out}, {len(files)} files: {n_replicas} replicas of {len(fleet.groups)} kinds")
    target = TARGETS[tool]
    for note in (*fleet.notes, *target.notes(fleet)):
        click.echo(f"note: {note}")
    click.echo(f"not validated: {target.not_checked}")
    click.echo(f"Next: {out / README}")


def _export_run(
    directory: Path,
    out: Path,
    sample: Sample,
    from_: str | None,
    until: str | None,
    *,
    force: bool,
    progress: bool | None,
) -> None:
    check_can_export()
    check_can_write(out, force=force)
    run = _only_run(directory)
    part = _part(run, sample, from_, until)
    with ProgressBar(is_wanted=progress) as bar:
        seen = see_again(run, bar)
        bar.stage("writing")
        with writing(out):
            exported = write_perfetto(out, seen, part)
    size_mb = out.stat().st_size / 1e6
    click.echo(f"Written: {out}, {size_mb:.1f} MB: {exported.n_slices:,} slices of {exported.n_replicas} replicas")


def _only_run(directory: Path) -> Path:
    directories = run_directories(directory)
    if len(directories) > 1:
        msg = f"{directory} holds {len(directories)} runs; name one of them, such as {directories[0]}"
        raise RunError(msg)
    return directories[0]


def _part(run: Path, sample: Sample, from_: str | None, until: str | None) -> Part:
    """What of the run is asked for.

    Raises:
        click.BadParameter: It is no part of it.
    """
    manifest = read_result(run).manifest
    start = None if manifest["start"] is None else datetime.fromisoformat(manifest["start"])
    end_s = manifest["end_s"]

    def seconds(text: str | None, default_s: float, option: str) -> float:
        try:
            return default_s if text is None else seconds_of(text, start)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=option) from None

    from_s, until_s = seconds(from_, 0.0, "--from"), seconds(until, inf, "--until")
    if from_s > end_s:
        msg = f"{from_s} s is after the end of the run, {end_s} s"
        raise click.BadParameter(msg, param_hint="--from")
    if until_s <= from_s:
        msg = f"{until_s} s is not after --from, {from_s} s"
        raise click.BadParameter(msg, param_hint="--until")
    return Part(from_s, until_s, sample)
