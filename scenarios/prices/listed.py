"""What a price list says of one thing that can be rented, before it is an offer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, NamedTuple

from scenarios.errors import Problem, ScenarioError
from sim.catalog.offers import Tenure

CURRENCY = "USD"


class Listed(NamedTuple):
    """One row of a price list.

    Attributes:
        where: File, and line or entry, for messages.
        name: What the offer is called.
        gpu: What the list calls its GPU type.
        n_gpus: GPUs that are rented together.
        usd_per_h: Price of all of them by tenure, as the list has it: not checked yet.
        nodes: How many there are; None where the list does not say.
        provider: Who rents them out; empty where the list does not say.
        region: Where they are.
        zone: Part of the region.
        memory_gib: Memory of a GPU; None where the list does not say.
        as_of: Of which day the price is; None where the list does not say.
        is_of_one: Whether it is of single GPUs of hosts that have more, of which replicas may take several.
    """

    where: str
    name: str
    gpu: str
    n_gpus: int
    usd_per_h: Mapping[Tenure, object]
    nodes: int | None = None
    provider: str = ""
    region: str = ""
    zone: str = ""
    memory_gib: float | None = None
    as_of: date | None = None
    is_of_one: bool = False


def price_of(value: object) -> float | None:
    """A price as a number; None where there is none.

    Raises:
        ValueError: It is no price; the message says what is allowed.
    """
    if value is None or value == "":
        return None
    try:
        price = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        price = math.nan
    if isinstance(value, bool) or not 0 <= price < math.inf:
        msg = f"{value!r} is no price; it must be a number, 0 or more, in {CURRENCY} per hour"
        raise ValueError(msg)
    return price


def whole_of(where: str, field: str, value: object) -> int:
    """A number of things: whole, and more than 0.

    Raises:
        ScenarioError: It is something else.
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not (number >= 1 and number.is_integer()):
        raise wrong(where, field, f"is {value!r}; it must be a whole number, 1 or more")
    return int(number)


def require_currency(where: str, row: Mapping[str, Any]) -> None:
    """Make sure that a row is in US dollars, if it says in what it is.

    Raises:
        ScenarioError: It is in another currency.
    """
    for field, value in row.items():
        if field.lower() in ("currency", "currencycode") and value not in (None, "", CURRENCY, CURRENCY.lower()):
            raise wrong(where, field, f"is {value!r}; prices must be in {CURRENCY}: convert them first")


def wrong(where: str, field: str, message: str) -> ScenarioError:
    """What is wrong in a price list, and where."""
    return ScenarioError([Problem(where, field, message)])


def entries_of(path: str, field: str, entries: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of an array of a JSON document, each with its place.

    Raises:
        ScenarioError: It is no array of objects.
    """
    if not isinstance(entries, list):
        raise wrong(path, field, "must be an array of objects, one for each offer")
    for index, entry in enumerate(entries):
        where = f"{path} {field}[{index}]"
        if not isinstance(entry, Mapping):
            raise wrong(where, "", f"is {entry!r}; it must be an object")
        require_currency(where, entry)
        yield where, entry


def text_of(where: str, entry: Mapping[str, Any], field: str) -> str:
    """A field that must be there as text.

    Raises:
        ScenarioError: It is not.
    """
    value = entry.get(field)
    if not isinstance(value, str) or not value:
        raise wrong(where, field, "is missing" if value is None else f"is {value!r}; it must be text")
    return value
