"""The events of a scenario: what they take from its market and change of its requests, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scenarios.file.check_offers import unknown_offer
from scenarios.file.schema import AllAtOnce, ClosedLoop, Event, Scenario, Stream
from scenarios.file.yaml_lines import FieldPath
from traces import nearest
from traces.losses import Loss
from traces.traffic import Surge

Finding = tuple[FieldPath, str]


def losses_of(scenario: Scenario) -> list[Loss]:
    """What events take from the market."""
    offers = scenario.cluster.all_offers
    found = []
    for event in scenario.events:
        if event.lose is None:
            continue
        name = event.lose.of or next(iter(offers))
        offer = offers.get(name)
        if offer is None:
            continue  # which `check_events` says
        n_gpus = event.lose.gpus or (event.lose.nodes or 0) * offer.rented_together
        found.append(Loss(name, event.at, event.stop_s, n_gpus, event.lose.share or 0.0))
    return found


def surges_of(scenario: Scenario, stream: str) -> list[Surge]:
    """What events change of the requests of a stream."""
    return [
        Surge(event.at, event.stop_s, event.traffic, None if event.of in {None, stream} else event.of)
        for event in scenario.events
        if event.traffic is not None and (event.of is None or event.of == stream or event.of not in scenario.workload)
    ]


def names_of(events: Iterable[Event]) -> list[dict[str, object]]:
    """When what happens, for the manifest of a run."""
    return [
        {
            "name": event.name,
            "at_s": event.at,
            "until_s": None if event.lasts is None else event.stop_s,
            "traffic": event.traffic,
            "of": event.of if event.lose is None else event.lose.of,
        }
        for event in events
    ]


def check_events(scenario: Scenario, models: Iterable[str]) -> Iterator[Finding]:
    """All that is wrong with the events, as (field, message)."""
    seen: set[str] = set()
    availability = scenario.cluster.availability
    for index, event in enumerate(scenario.events):
        path: FieldPath = ("events", index)
        horizon_s = scenario.sim.horizon_s
        if horizon_s is not None and event.at >= horizon_s:
            yield (*path, "at"), f"is {event.at:g} s, when the run has ended: sim.horizon_s is {horizon_s:g}"
        if event.name and event.name in seen:
            yield (*path, "name"), f"{event.name!r} stands here twice"
        seen.add(event.name)
        check = _check_loss if event.lose is not None else _check_traffic
        yield from ((((*path, *field)), message) for field, message in check(scenario, event, models))
    is_endless = availability is not None and availability.outside == "wrap" and scenario.sim.horizon_s is None
    if is_endless and losses_of(scenario):
        message = "'wrap' has no end, until which something could be lost: give sim.horizon_s"
        yield ("cluster", "availability", "outside"), message


def _check_loss(scenario: Scenario, event: Event, _: Iterable[str]) -> Iterator[Finding]:
    loss, offers = event.lose, scenario.cluster.all_offers
    if loss is None:
        return
    if event.of is not None:
        yield ("of",), "is for traffic; say within lose of what"
    if loss.of is None and len(offers) != 1:
        yield ("lose",), f"needs an of: which of {', '.join(offers)}"
        return
    name = loss.of or next(iter(offers))
    if name not in offers:
        yield ("lose", "of"), unknown_offer(name, scenario)
        return
    offer = offers[name]
    n_there = offer.n_gpus if loss.nodes is None else offer.n_gpus // offer.rented_together
    field, n = ("gpus", loss.gpus) if loss.nodes is None else ("nodes", loss.nodes)
    if n is not None and n > n_there and (scenario.cluster.availability is None):
        yield ("lose", field), f"is {n:,}; the market has {n_there:,} of {name}"


def _check_traffic(scenario: Scenario, event: Event, models: Iterable[str]) -> Iterator[Finding]:
    streams = scenario.workload
    if event.of is not None and event.of not in (*streams, *models):
        yield ("of",), f"unknown stream or model {event.of!r}: {nearest(event.of, (*streams, *models))}"
        return
    for name, stream in streams.items():
        is_meant = event.of in {None, name, stream.model} or stream.model is None
        why = _why_fixed(stream)
        if is_meant and why:
            remedy = "" if event.of is not None else "; say with of which stream is meant"
            yield ("traffic",), f"changes nothing of workload.{name}: {why}{remedy}"


def _why_fixed(stream: Stream) -> str:
    """Why a stream cannot have more traffic; nothing if it can."""
    arrivals = getattr(stream, "arrivals", None)
    if isinstance(arrivals, ClosedLoop):
        return "users of a closed loop send when they are answered"
    return "all its requests come at once" if isinstance(arrivals, AllAtOnce) else ""
