"""Checks of what a market offers."""

from __future__ import annotations

from collections.abc import Iterator

from scenarios.file.schema import Offer, Scenario
from scenarios.file.yaml_lines import FieldPath
from sim import Catalog
from traces import nearest

Finding = tuple[FieldPath, str]


def check_offers(scenario: Scenario, catalog: Catalog) -> Iterator[Finding]:
    """What is wrong with the offers, as (field, message)."""
    cluster = scenario.cluster
    if not cluster.gpus and not cluster.offers:
        yield ("cluster",), "offers nothing: give gpus, or offers"
    offered = {offer.gpu for offer in cluster.offers.values()}
    for name, gpu in cluster.gpus.items():
        path: FieldPath = ("cluster", "gpus", name)
        if gpu.available is None and name not in offered:
            yield (*path, "available"), "is missing: how many can be rented, where no offer has this GPU type"
        if gpu.available is not None and gpu.available % (gpu.per_node or 1):
            yield (*path, "available"), f"is {gpu.available}, which is no whole number of nodes of {gpu.per_node}"
        for field in ("per_node", "usd_per_h"):
            if gpu.available is None and getattr(gpu, field) is not None:
                yield (*path, field), "changes nothing without available: say it of the offers"
    for name, offer in cluster.offers.items():
        own: FieldPath = ("cluster", "offers", name)
        if name in cluster.gpus and cluster.gpus[name].available is not None:
            yield own, f"{name!r} is offered twice: in gpus, too; give the offer another name"
        yield from (((*own, *field), message) for field, message in _check_offer(offer, scenario, catalog))


def _check_offer(offer: Offer, scenario: Scenario, catalog: Catalog) -> Iterator[Finding]:
    known = dict.fromkeys((*catalog.gpus, *scenario.cluster.gpus))
    if offer.gpu not in known:
        yield ("gpu",), f"unknown GPU type {offer.gpu!r}: {nearest(offer.gpu, known)}"
    if (offer.available is None) == (offer.nodes is None):
        yield (), "needs either available, a number of GPUs, or nodes"
    elif offer.n_gpus % offer.per_node:
        yield ("available",), f"is {offer.available}, which is no whole number of nodes of {offer.per_node}"
    if offer.usd_per_h is not None and offer.usd_per_node_h is not None:
        yield ("usd_per_node_h",), "is the price a second time: usd_per_h is there"
    price = offer.gpu_usd_per_h
    of_catalog = catalog.gpus.get(offer.gpu)
    if price is None and of_catalog is not None and not of_catalog.has_price:
        yield ("usd_per_h",), f"is missing: the catalog knows no price of {offer.gpu!r}"
    elif price is None and of_catalog is None and offer.gpu in known:
        yield ("usd_per_h",), f"is missing: {offer.gpu!r} is in no catalog"
    if offer.tenure == "owned" and price:
        yield ("usd_per_h",), "is more than 0: what one owns costs no more; 'reserved' is paid, used or not"
