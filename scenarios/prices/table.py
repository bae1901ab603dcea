"""A price list of one's own, with the fields of offers as columns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import get_args

from scenarios.prices.listed import Listed, whole_of, wrong
from scenarios.prices.rows import rows_of
from sim.catalog.offers import Tenure
from traces.errors import nearest

_PRICES = ("usd_per_h", "usd_per_node_h")
_KNOWN = ("name", "gpu", "provider", "region", "zone", "tenure", "per_node", "nodes", *_PRICES, "currency", "as_of")


def read(path: str) -> Iterator[Listed]:
    """Read a CSV file with the columns `name`, `gpu`, and `usd_per_h` of a GPU or `usd_per_node_h`.

    There may be `provider`, `region`, `zone`, `tenure`, `per_node`, `nodes`, `currency` and `as_of`, too.

    Raises:
        ScenarioError, TraceError: Something in the file is wrong.
    """
    for where, row in rows_of(path, ("name", "gpu"), _KNOWN):
        for field in ("name", "gpu"):
            if not row[field]:
                raise wrong(where, field, "is missing")
        tenure = _tenure(where, row.get("tenure") or "on_demand")
        per_node = whole_of(where, "per_node", row.get("per_node") or 1)
        given = [name for name in _PRICES if row.get(name)]
        if len(given) != 1 and not (tenure == "owned" and not given):
            raise wrong(where, "usd_per_h", f"needs one price: {' or '.join(_PRICES)}")
        price = row[given[0]] if given else "0"
        yield Listed(
            where,
            row["name"],
            row["gpu"],
            per_node,
            {tenure: price if given == ["usd_per_node_h"] else _times(price, per_node)},
            nodes=whole_of(where, "nodes", row["nodes"]) if row.get("nodes") else None,
            provider=row.get("provider") or "",
            region=row.get("region") or "",
            zone=row.get("zone") or "",
            as_of=_day(where, row.get("as_of")),
            is_of_one=not row.get("per_node"),
        )


def _tenure(where: str, text: str) -> Tenure:
    for tenure in get_args(Tenure):
        if text == tenure:
            return tenure  # type: ignore[no-any-return]
    raise wrong(where, "tenure", f"unknown tenure {text!r}: {nearest(text, get_args(Tenure))}")


def _times(price: str, n: int) -> object:
    """A price of so many, where it is one."""
    try:
        return float(price) * n
    except ValueError:
        return price


def _day(where: str, text: str | None) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise wrong(where, "as_of", f"is {text!r}; it must be a day as 2026-11-29") from None
