"""The command `hetserve plot`: runs over time, as pictures."""

from __future__ import annotations

from pathlib import Path

import click

from scenarios.cli.options import check_can_write, force_option, writing
from scenarios.report.plotting import check_can_plot, save
from scenarios.report.timeline import draw
from scenarios.runs.directory import run_directories

ENDINGS = (".png", ".svg")


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Draw to FILE, an .svg or a .png; by default to both, in DIR.")  # fmt: skip
@force_option
def plot(directory: Path, out: Path | None, force: bool) -> None:
    """Draw a run over time: GPUs, requests, SLO attainment and money, with the drops of what can be rented.

    If DIR holds several runs of a scenario, they are drawn side by side. Needs the optional extra `report`.
    """
    directories = run_directories(directory)
    name = "timeline" if len(directories) == 1 else "comparison"
    place = directories[0] if len(directories) == 1 else directory
    files = [place / f"{name}{ending}" for ending in ENDINGS] if out is None else [out]
    for file in files:
        check_can_plot(file)
        check_can_write(file, force=force)
    chart = draw(directory, directories)
    for file in files:
        with writing(file):
            save(chart, file)
        click.echo(f"Written: {file}")
