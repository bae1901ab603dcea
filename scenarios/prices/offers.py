"""From price lists to the offers of a scenario."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from scenarios.errors import Problem, ScenarioError
from scenarios.prices.gpu_names import gpu_named
from scenarios.prices.listed import Listed, price_of
from sim import GpuType
from sim.catalog.offers import Tenure

FORMS = {
    "skypilot": "scenarios.prices.skypilot",
    "vast": "scenarios.prices.vast",
    "runpod": "scenarios.prices.runpod",
    "aws-spot-history": "scenarios.prices.aws",
    "csv": "scenarios.prices.table",
}
"""Forms of price lists, and what reads them."""

_ONE_TENURE = ("aws-spot-history", "csv")  # of which each row has one tenure


class Imported(NamedTuple):
    """Offers of a price list.

    Attributes:
        offers: Fields by name, as under `cluster.offers`.
        n_left_out: How many rows have no price for the tenure asked for, or another GPU type than those asked for.
        oldest: Day of the oldest price; None where no day is known of some.
    """

    offers: dict[str, dict[str, Any]]
    n_left_out: int
    oldest: date | None


class Wanted(NamedTuple):
    """What to take of a price list, and what it does not say itself.

    Attributes:
        tenure: Of lists with more than one price: which.
        only: GPU types of the catalog; all, and none may be unknown, if it is empty.
        rename: GPU types of the catalog by what the list calls them.
        nodes: How many of each can be rented; None: the list says it.
        provider: Who rents them out; None: the list says it, or nobody does.
        as_of: Of which day the prices are; None: the list says it, or nobody does.
    """

    tenure: Tenure = "on_demand"
    only: Sequence[str] = ()
    rename: Mapping[str, str] = {}
    nodes: int | None = None
    provider: str | None = None
    as_of: date | None = None


def import_offers(path: str, form: str, gpus: Mapping[str, GpuType], wanted: Wanted) -> Imported:
    """Read a price list.

    Args:
        path: The file.
        form: A key of `FORMS`.
        gpus: The catalog's GPU types.
        wanted: What to take of it.

    Raises:
        ScenarioError: All that is wrong with its rows, or the first thing that keeps it from being read.
        TraceError: The file cannot be read.
    """
    read: Callable[[str], Iterator[Listed]] = import_module(FORMS[form]).read
    offers: dict[str, dict[str, Any]] = {}
    problems: list[Problem] = []
    days: list[date | None] = []
    n_left_out = 0
    for listed in read(path):
        tenure = next(iter(listed.usd_per_h)) if form in _ONE_TENURE else wanted.tenure
        try:
            gpu = _gpu(listed, gpus, wanted)
            usd_per_h = price_of(listed.usd_per_h.get(tenure))
        except ValueError as error:
            problems.append(Problem(listed.where, "", str(error)))
            continue
        if gpu is None or usd_per_h is None:
            n_left_out += 1
            continue
        nodes = wanted.nodes if listed.nodes is None else listed.nodes
        if nodes is None:
            problems.append(Problem(listed.where, "", "the list does not say how many there are: say it with --nodes"))
            continue
        fields = _fields(listed, wanted, gpu, nodes, usd_per_h, tenure, Path(path).name)
        days.append(fields.get("as_of"))
        name = listed.name if form in _ONE_TENURE or tenure == "on_demand" else f"{listed.name}-{tenure}"
        offers[_unique(name, offers)] = fields
    if problems:
        raise ScenarioError(problems)
    known = [day for day in days if day is not None]
    return Imported(offers, n_left_out, min(known) if known and len(known) == len(days) else None)


def _gpu(listed: Listed, gpus: Mapping[str, GpuType], wanted: Wanted) -> str | None:
    """The GPU type of a row; None if it is not asked for.

    Raises:
        ValueError: It is unknown, or may be several.
    """
    try:
        gpu = wanted.rename.get(listed.gpu) or gpu_named(listed.gpu, gpus, listed.memory_gib)
    except ValueError as error:
        may_be_asked = any(name in str(error) for name in wanted.only) and " may be " in str(error)
        if wanted.only and not may_be_asked:
            return None
        msg = f"{error}; say which it is with --rename {listed.gpu!r}=NAME, or leave it out with --only"
        raise ValueError(msg) from None
    return gpu if not wanted.only or gpu in wanted.only else None


def _fields(
    listed: Listed, wanted: Wanted, gpu: str, nodes: int, usd_per_h: float, tenure: Tenure, source: str
) -> dict[str, Any]:
    """An offer as it stands in a scenario; what is as by default is left out."""
    size = {} if listed.is_of_one else {"per_node": listed.n_gpus}
    price = {"usd_per_h" if listed.n_gpus == 1 else "usd_per_node_h": usd_per_h}
    fields: dict[str, Any] = {"gpu": gpu, "nodes": nodes, **size, **price}
    if tenure != "on_demand":
        fields["tenure"] = tenure
    places = {"provider": wanted.provider or listed.provider, "region": listed.region, "zone": listed.zone}
    fields |= {name: value for name, value in places.items() if value}
    fields["source"] = source
    as_of = listed.as_of or wanted.as_of
    return fields if as_of is None else fields | {"as_of": as_of}


def _unique(name: str, taken: Mapping[str, object]) -> str:
    """A name that no other offer has."""
    found, n = name, 1
    while found in taken:
        n += 1
        found = f"{name}-{n}"
    return found
