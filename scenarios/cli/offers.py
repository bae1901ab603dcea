"""The commands `hetserve offers`: price lists that people have, as offers of a scenario."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from scenarios.file.catalog import user_catalog
from scenarios.file.yaml_lines import dump
from scenarios.prices.offers import FORMS, Imported, Wanted, import_offers
from sim.catalog.offers import Tenure
from traces.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_DAY = click.DateTime(["%Y-%m-%d"])
_TENURES = [tenure for tenure in get_args(Tenure) if tenure != "owned"]


@click.group()
def offers() -> None:
    """Read price lists as what a market offers."""


@offers.command("import")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--from", "form", type=click.Choice(list(FORMS)), required=True, help="The form of the list.")
@click.option("--tenure", type=click.Choice(_TENURES), default="on_demand", show_default=True,
              help="Which of a row's prices to take, where it has several.")  # fmt: skip
@click.option("--only", metavar="GPU,...", help="GPU types to take; without, none may be unknown.")
@click.option("--rename", "renames", metavar="THEIRS=OURS", multiple=True,
              help="What the list calls a GPU type, and what it is here; may be repeated.")  # fmt: skip
@click.option("--nodes", type=click.IntRange(min=0), metavar="N",
              help="How many of each can be rented, where the list does not say.")  # fmt: skip
@click.option("--provider", metavar="NAME", help="Who rents them out, where the list does not say.")
@click.option("--as-of", type=_DAY, metavar="DAY", help="Of which day the prices are, where the list does not say.")
@click.option("--max-age", type=click.IntRange(min=0), default=30, show_default=True, metavar="DAYS",
              help="Warn about prices that are older.")  # fmt: skip
def import_(
    file: Path,
    form: str,
    tenure: Tenure,
    only: str | None,
    renames: tuple[str, ...],
    nodes: int | None,
    provider: str | None,
    as_of: datetime | None,
    max_age: int,
) -> None:
    """Print a price list as `cluster.offers`, to be put into a scenario.

    Each offer keeps its source and the day of its price.
    """
    gpus = user_catalog().gpus
    wanted_gpus = [] if only is None else only.split(",")
    renamed = dict(_pair(text) for text in renames)
    for name in (*wanted_gpus, *renamed.values()):
        if name not in gpus:
            msg = f"unknown GPU type {name!r}: {nearest(name, gpus)}"
            raise click.UsageError(msg)
    day = None if as_of is None else as_of.date()
    wanted = Wanted(tenure, wanted_gpus, renamed, nodes, provider, day)
    imported = import_offers(str(file), form, gpus, wanted)
    _warn(imported, max_age)
    click.echo(_as_yaml(imported.offers), nl=False)


def _pair(text: str) -> tuple[str, str]:
    theirs, separator, ours = text.partition("=")
    if not separator or not theirs or not ours:
        msg = f"--rename {text!r}: write it as THEIRS=OURS"
        raise click.UsageError(msg)
    return theirs, ours


def _warn(imported: Imported, max_age: int) -> None:
    """Say what was left out, and how old prices are."""
    said: Iterable[str] = ()
    if not imported.offers:
        said = ("there is no offer in it",)
    elif imported.oldest is None:
        said = ("of which day the prices are is not known: say it with --as-of",)
    elif (age := (date.today() - imported.oldest).days) > max_age:
        said = (f"the oldest price is of {imported.oldest}, {age} days ago",)
    for line in said:
        click.echo(f"Warning: {line}", err=True)
    if imported.n_left_out:
        click.echo(f"{imported.n_left_out} rows left out: no such price, or GPU types not asked for", err=True)


def _as_yaml(offers: Mapping[str, Mapping[str, object]]) -> str:
    """Offers as a part of a scenario file, each on a line of its own."""
    if not offers:
        return dump({"cluster": {"offers": {}}})
    lines = [f"    {dump({name: fields}, width=4096, flow=True).strip()[1:-1]}" for name, fields in offers.items()]
    return "\n".join(["cluster:", "  offers:", *lines, ""])
