"""The table of what can be rented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scenarios.report.basis import legend, marked
from scenarios.report.html.figures import Question
from scenarios.report.html.table import Cell, Row, Table, figure, texts
from sim import Catalog

_FACTS = ("gpu", "tenure", "provider", "region")


def type_of(question: Question, name: str) -> str:
    """The GPU type of an offer; of a GPU type, itself."""
    return str(_offers(question).get(name, {}).get("gpu", name))


def names_offered(question: Question) -> list[str]:
    """Offers, and GPU types of which some are available."""
    gpus = question.scenario.get("cluster", {}).get("gpus", {})
    return [*(name for name, gpu in gpus.items() if gpu.get("available") is not None), *_offers(question)]


def market_table(question: Question) -> Table:
    """What can be rented, and at which price."""
    basis, offers = question.manifest.get("basis", {}), _offers(question)
    gpus = question.scenario.get("cluster", {}).get("gpus", {})
    names = names_offered(question)
    rows = []
    for name in names:
        offer = offers.get(name, gpus.get(name, {}))
        row = [
            Cell(marked(name, basis)),
            figure(_available(offer), 0),
            figure(_price(offer, type_of(question, name)), 2),
        ]
        rows.append(Row([*row, *_facts(offer)] if offers else row))
    title = f"What can be rented, to begin with{legend(names, basis)}"
    more = ("in nodes of", "GPU type", "tenure", "provider", "region") if offers else ()
    return Table(title, ("offer" if offers else "GPU type", "available", "$/h each", *more), rows)


def _offers(question: Question) -> Mapping[str, Mapping[str, Any]]:
    offers: Mapping[str, Mapping[str, Any]] = question.scenario.get("cluster", {}).get("offers", {})
    return offers


def _available(offer: Mapping[str, Any]) -> int | None:
    nodes = offer.get("nodes")
    return offer.get("available") if nodes is None else int(nodes * (offer.get("per_node") or 1))


def _price(offer: Mapping[str, Any], gpu: str) -> float | None:
    """Of one GPU, in $/h."""
    if offer.get("usd_per_node_h") is not None:
        return float(offer["usd_per_node_h"]) / int(offer.get("per_node") or 1)
    if offer.get("usd_per_h") is not None or offer.get("tenure") == "owned":
        return float(offer.get("usd_per_h") or 0.0)
    known = Catalog.default().gpus
    return known[gpu].usd_per_h if gpu in known else None


def _facts(offer: Mapping[str, Any]) -> list[Cell]:
    """What is said of an offer beside its price."""
    return [
        figure(offer.get("per_node") or 1, 0),
        *texts(*(offer.get(name, "").replace("_", " ") or None for name in _FACTS)),
    ]
