"""The command `hetserve export`: a run in the format of another tool."""

from __future__ import annotations

from datetime import datetime
from math import inf
from pathlib import Path

import click

from scenarios.cli.options import check_can_write, progress_option, replace_option, writing
from scenarios.errors import RunError
from scenarios.export.part import Part, Sample, seconds_of
from scenarios.export.perfetto import write_perfetto
from scenarios.export.trace_file import check_can_export
from scenarios.report.progress import ProgressBar
from scenarios.runs.again import see_again
from scenarios.runs.directory import read_result, run_directories


def _to_sample(ctx: click.Context, param: click.Parameter, text: str) -> Sample:
    try:
        return Sample.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="RUN")
@click.option("--to", "tool", type=click.Choice(["perfetto"]), required=True, help="The tool.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", required=True,
              help="Where to, e.g. run.pftrace.")  # fmt: skip
@click.option("--sample", callback=_to_sample, default="100", show_default=True, metavar="N|SHARE",
              help="How many requests to follow, or which share (0.1 or 10%).")  # fmt: skip
@click.option(
    "--from", "from_", metavar="S", help="Seconds since the start, or a clock time: leave out what is before."
)
@click.option("--until", metavar="S", help="Leave out what is after.")
@replace_option
@progress_option
def export(
    directory: Path,
    tool: str,
    out: Path,
    sample: Sample,
    from_: str | None,
    until: str | None,
    force: bool,
    progress: bool | None,
) -> None:
    """Write the finished run in RUN as a trace that the viewer ui.perfetto.dev opens.

    The run is simulated again, step by step, and must come out as it was. Needs the optional extra `perfetto`.
    """
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
