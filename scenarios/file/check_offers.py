"""Checks of what a market offers."""

from __future__ import annotations

from collections.abc import Iterator

from scenarios.file.schema import Offer, Scenario
from scenarios.file.yaml_lines import FieldPath
from sim import Catalog
from sim.units import HOUR_S
from traces import nearest

Finding = tuple[FieldPath, str]

_MOST_RECLAIMS = 5.0  # while a node boots: one of exp(5) = 150 lives to see the end


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
        if not name.strip():
            yield own, "needs a name"
        if name in catalog.gpus and name != offer.gpu:
            yield own, f"is called like another GPU type, but has {offer.gpu}: give it another name"
        if name in cluster.gpus and cluster.gpus[name].available is not None:
            yield own, f"{name!r} is offered twice: in gpus, too; give the offer another name"
        yield from (((*own, *field), message) for field, message in _check_offer(offer, scenario, catalog))
    yield from _check_risks(scenario)


def check_regions(scenario: Scenario) -> Iterator[Finding]:
    """What is wrong with the regions of clients and offers, as (field, message)."""
    distances, streams = scenario.cluster.latency_s, scenario.workload
    for name, stream in streams.items():
        if stream.region is not None and not distances:
            yield ("workload", name, "region"), "changes nothing: say how far it is in cluster.latency_s"
        elif stream.region is not None and stream.region not in distances:
            yield ("workload", name, "region"), f"unknown region {stream.region!r}: {nearest(stream.region, distances)}"
    if not distances:
        return
    path: FieldPath = ("cluster", "latency_s")
    offers = scenario.cluster.all_offers
    regions = list(dict.fromkeys(offer.region for offer in offers.values() if offer.region))
    senders = {stream.region for stream in streams.values()}
    for name, offer in offers.items():
        if not offer.region:
            place = "offers" if name in scenario.cluster.offers else "gpus"
            yield ("cluster", place, name), "has no region: give it one in cluster.offers, as there is latency_s"
    for client, to in distances.items():
        if client not in senders:
            yield (*path, client), "changes nothing: no stream of the workload has this region"
        for region in to:
            if region not in regions:
                yield (*path, client, region), f"unknown region {region!r}: {nearest(region, regions)}"
        missing = [region for region in regions if region not in to]
        if missing:
            yield (*path, client), f"says nothing about {', '.join(missing)}"
    if scenario.sim.clients is not None:
        yield ("sim", "clients"), "hear of tokens at once: leave out either them, or cluster.latency_s"
    if "latency" in scenario.objectives:
        yield path, "is not counted by the objective latency yet: ask for throughput or cost"


def _check_offer(offer: Offer, scenario: Scenario, catalog: Catalog) -> Iterator[Finding]:
    known = dict.fromkeys((*catalog.gpus, *scenario.cluster.gpus))
    if offer.gpu not in known:
        yield ("gpu",), f"unknown GPU type {offer.gpu!r}: {nearest(offer.gpu, known)}"
    if (offer.available is None) == (offer.nodes is None):
        yield (), "needs either available, a number of GPUs, or nodes"
    elif offer.n_gpus % offer.rented_together:
        yield ("available",), f"is {offer.available}, which is no whole number of nodes of {offer.per_node}"
    if offer.usd_per_h is not None and offer.usd_per_node_h is not None:
        yield ("usd_per_node_h",), "is the price a second time: usd_per_h is there"
    price = offer.gpu_usd_per_h
    of_catalog = catalog.gpus.get(offer.gpu)
    if price is None and of_catalog is not None and not of_catalog.has_price:
        yield ("usd_per_h",), f"is missing: the catalog knows no price of {offer.gpu!r}"
    elif price is None and of_catalog is None and offer.gpu in known:
        yield ("usd_per_h",), f"is missing: {offer.gpu!r} is in no catalog"
    timeline = scenario.cluster.availability
    boot_s = offer.boot_s if offer.boot_s is not None else 0.0 if timeline is None else timeline.boot_s
    n_reclaims = offer.reclaims_per_h * boot_s / HOUR_S
    if n_reclaims > _MOST_RECLAIMS and scenario.sim.horizon_s is None:
        said = f"a node is taken back {n_reclaims:.3g} times, on average, before it has booted (boot_s {boot_s:g} s)"
        yield ("reclaims_per_h",), f"{said}: requests wait for ever; give sim.horizon_s, or a lower rate"
    if offer.tenure == "owned" and price:
        yield ("usd_per_h",), "is more than 0: what one owns costs no more; 'reserved' is paid, used or not"


def _check_risks(scenario: Scenario) -> Iterator[Finding]:
    """Limits of `planning` that ask something of the offers."""
    planning, offers = scenario.planning, scenario.cluster.all_offers
    if planning.max_spot_share < 1 and not any(offer.tenure == "spot" for offer in offers.values()):
        yield ("planning", "max_spot_share"), "is of no use: no offer has the tenure 'spot'"
    if planning.survive is None:
        return
    path: FieldPath = ("planning", "survive")
    if "makespan" in scenario.objectives:
        yield path, "asks that the rates are carried after a loss; the objective 'makespan' has requests, but no rates"
    unknown = [name for name, offer in offers.items() if not offer.zone]
    if planning.survive == "zone" and unknown:
        yield path, f"is 'zone', but no zone is known of {', '.join(unknown)}: say it in cluster.offers"


def unknown_offer(name: str, scenario: Scenario) -> str:
    """What to say of an offer or GPU type that the market does not have."""
    offers = scenario.cluster.all_offers
    what = "offer" if scenario.cluster.offers else "GPU type"
    return f"unknown {what} {name!r}: {nearest(name, offers)}"
