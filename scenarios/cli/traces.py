"""The commands `hetserve traces`: public traces, fetched when asked for."""

from __future__ import annotations

from pathlib import Path

import click

from scenarios.cli.options import progress_option
from scenarios.cli.printing import print_tables
from scenarios.report.progress import download_bar
from scenarios.report.tables import make_columns, make_table
from traces.download import PUBLIC_TRACES, get_trace


@click.group()
def traces() -> None:
    """Fetch public traces, and list those that there are."""


@traces.command("list")
def list_() -> None:
    """List the public traces: what reads them, and their licence."""
    table = make_table("Public traces")
    make_columns(table, [("name", "left"), ("reader", "left"), ("licence", "left")])
    for name, trace in PUBLIC_TRACES.items():
        table.add_row(name, trace.reader, trace.licence)
    print_tables(table)


@traces.command()
@click.argument("name", metavar="NAME")
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Where it is kept; by default hetserve's cache of this user.")  # fmt: skip
@click.option("--from", "url", metavar="URL", help="Another place to fetch it from, such as a mirror.")
@progress_option
def get(name: str, cache: Path | None, url: str | None, progress: bool | None) -> None:
    """Fetch a public trace, or find it in the cache; say its licence, and how its bytes were checked.

    Its path is printed to stdout alone, for scripts: hetserve run FILE --trace "$(hetserve traces get NAME)".
    """
    with download_bar(name, is_wanted=progress) as came:
        found = get_trace(name, folder=cache, url=url, progress=came)
    click.echo(f"Licence: {found.trace.licence}", err=True)
    click.echo(f"Checked: {found.checked}", err=True)
    click.echo(f"Reader:  {found.trace.reader}{' (it was in the cache)' if found.was_cached else ''}", err=True)
    click.echo(found.path)
