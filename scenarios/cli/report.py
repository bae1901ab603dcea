"""The command `hetserve report`: finished runs as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from scenarios.cli.options import check_can_write, replace_option, writing
from scenarios.report.html.page import EXPLAIN_S, check_can_report, write_page
from scenarios.report.html.table import size_in_words


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("report.html"), show_default=True,
              metavar="FILE", help="Where the report goes.")  # fmt: skip
@click.option("--baseline", metavar="PLANNER",
              help="Whom to compare with, and whose plan to explain; by default the first.")  # fmt: skip
@click.option("--explain", "explain_s", type=click.FloatRange(min=0), default=EXPLAIN_S, show_default=True,
              metavar="SECONDS", help="How long to plan again, to explain the plan; 0: not at all.")  # fmt: skip
@replace_option
def report(directory: Path, out: Path, baseline: str | None, explain_s: float, force: bool) -> None:
    """Write one HTML file about the finished runs in DIR: to be sent, opened without a network, and printed.

    Runs of several scenarios, planners and seeds go into one file. Needs the optional extra `report`.
    """
    check_can_report()
    check_can_write(out, force=force)
    with writing(out):
        write_page(directory, out, baseline=baseline, explain_s=explain_s)
    click.echo(f"Written: {out}, {size_in_words(out.stat().st_size)}")
