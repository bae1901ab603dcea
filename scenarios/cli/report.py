"""The command `hetserve report`: finished runs as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from scenarios.cli.options import check_can_write, progress_option, replace_option, writing
from scenarios.report.html.page import EXPLAIN_S, check_can_report, make_page
from scenarios.report.progress import ProgressBar


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("report.html"), show_default=True,
              metavar="FILE", help="Where the report goes.")  # fmt: skip
@click.option("--baseline", metavar="PLANNER",
              help="Whom to compare with, and whose plan to explain; by default the first.")  # fmt: skip
@click.option("--explain", "explain_s", type=click.FloatRange(min=0), default=EXPLAIN_S, show_default=True,
              metavar="SECONDS", help="Time to explain a plan by planning again; 0: none is explained.")  # fmt: skip
@replace_option
@progress_option
def report(
    directory: Path, out: Path, baseline: str | None, explain_s: float, force: bool, progress: bool | None
) -> None:
    """Write one HTML file about the finished runs in DIR: to be sent, opened without a network, and printed.

    Runs of several scenarios, planners and seeds go into one file. Needs the optional extra `report`.
    """
    check_can_report()
    check_can_write(out, force=force)
    with ProgressBar(is_wanted=progress) as bar:
        page = make_page(directory, baseline=baseline, explain_s=explain_s, watcher=bar).encode()
    with writing(out):
        out.write_bytes(page)
    click.echo(f"Written: {out}, {len(page) / 1e6:.2f} MB")
