"""What can be rented over time, from what a scenario says of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from scenarios.file import schema
from scenarios.file.events import losses_of
from traces import (
    AvailabilityTimeline,
    Supply,
    TraceError,
    constant_availability,
    correlated_drops,
    diurnal_availability,
    markov_availability,
    read_alibaba_spot_gpu,
    read_availability_csv,
    read_gpu_market,
    read_spot_trace,
    scheduled_drops,
)
from traces.losses import with_losses

_READERS = {"csv": read_availability_csv, "gpu_market": read_gpu_market, "spot_trace": read_spot_trace}


def make_timeline(scenario: schema.Scenario, folder: Path) -> AvailabilityTimeline | None:
    """What can be rented over time; None if that does not change.

    Args:
        scenario: The scenario.
        folder: What paths are relative to.

    Raises:
        TraceError: A file cannot be read, or what it or the scenario says is no timeline of what the scenario offers.
    """
    cluster = scenario.cluster
    losses = losses_of(scenario)
    if cluster.availability is None and not losses:
        return None
    offers = cluster.all_offers
    if cluster.availability is None:
        counts = {name: offer.n_gpus for name, offer in offers.items()}
        timeline = constant_availability(counts, market=cluster.market)
    else:
        timeline = _timeline(cluster.availability, cluster.market, offers, folder)
    timeline.check_gpu_types(offers)
    if not any(market == cluster.market for _, market in timeline.at(0.0)):
        msg = f"{timeline.source}: says nothing about the market {cluster.market!r}"
        raise TraceError(msg)
    return with_losses(timeline, losses, cluster.market, scenario.sim.horizon_s or 0.0) if losses else timeline


def _timeline(
    given: schema.Timeline, market: str, offers: dict[str, schema.Offer], folder: Path
) -> AvailabilityTimeline:
    counts = {name: offer.n_gpus for name, offer in offers.items()}
    common: dict[str, Any] = {"notice_s": given.notice_s, "boot_s": given.boot_s, "outside": given.outside}
    fields = given.model_dump(exclude={"kind"}) | {"market": market}  # named as the arguments of the generators
    match given:
        case schema.ConstantTimeline():
            return constant_availability(counts, **fields)
        case schema.OnOffTimeline():
            return _where_rented_by_use(markov_availability, offers, fields)
        case schema.CorrelatedDropsTimeline():
            return _where_rented_by_use(correlated_drops, offers, fields)
        case schema.DiurnalTimeline():
            return _where_rented_by_use(diurnal_availability, offers, fields)
        case schema.DropsTimeline():
            drops = [(drop.start_s, drop.stop_s, drop.share) for drop in given.drops]
            return scheduled_drops(counts, drops, end_s=given.drops[-1].stop_s, market=market, **common)
        case schema.StepsTimeline():
            return AvailabilityTimeline.from_frame(
                _steps(given, market, counts), "cluster.availability", end_s=max(given.changes[-1].t_s, 1.0), **common
            )
        case schema.FileTimeline():
            timeline = _read(given, folder, common)
            timeline = timeline.rename(given.rename) if given.rename else timeline
            return timeline if given.scale == 1 and given.most is None else timeline.scale(given.scale, given.most)


def _where_rented_by_use(
    make: Callable[..., AvailabilityTimeline], offers: dict[str, schema.Offer], fields: dict[str, Any]
) -> AvailabilityTimeline:
    """A timeline that is made up: what one owns or has reserved stays, whatever happens to the rest."""
    moving = {name: offer.n_gpus for name, offer in offers.items() if offer.tenure in ("on_demand", "spot")}
    staying = {name: offer.n_gpus for name, offer in offers.items() if name not in moving}
    if not moving:
        msg = "changes nothing where all offers are owned or reserved: say it step by step, as kind: steps"
        raise TraceError(msg)
    timeline = make(moving, **fields)
    if not staying:
        return timeline
    return timeline.merge(constant_availability(staying, end_s=timeline.end_s, market=fields["market"]))


def _steps(given: schema.StepsTimeline, market: str, counts: dict[str, int]) -> pl.DataFrame:
    """All counts and prices at each step; what does not change is left out by the timeline."""
    rows = []
    now = dict(counts)
    prices: dict[str, float] = {}
    reached_s = -1.0
    first = () if given.changes[0].t_s == 0 else (schema.Step(t_s=0.0),)
    for step in (*first, *given.changes):
        if step.t_s <= reached_s:
            msg = f"changes: {step.t_s:g} s comes after {reached_s:g} s; changes go forward in time"
            raise TraceError(msg)
        reached_s = step.t_s
        now |= step.gpus
        prices |= step.usd_per_h
        rows += [(step.t_s, gpu, market, count, prices.get(gpu)) for gpu, count in now.items()]
    columns = {
        "t_s": pl.Float64,
        "gpu_type": pl.String,
        "market": pl.String,
        "count": pl.Int64,
        "usd_per_h": pl.Float64,
    }
    return pl.DataFrame(rows, schema=columns, orient="row")


def _read(given: schema.FileTimeline, folder: Path, common: dict[str, Any]) -> AvailabilityTimeline:
    options = dict(given.options)
    path = folder / given.path
    try:
        if given.reader == "alibaba_spot_gpu":
            if not isinstance(options.get("capacity"), str):
                msg = f"{given.path}: the reader 'alibaba_spot_gpu' needs options.capacity, the file of its capacities"
                raise TraceError(msg)
            return read_alibaba_spot_gpu(path, folder / options.pop("capacity"), **options, **common)
        return _READERS[given.reader](path, **options, **common)
    except TypeError as error:
        msg = f"{given.path}: options of the reader {given.reader!r}: {error}"
        raise TraceError(msg) from None


def offers_at(scenario: schema.Scenario, timeline: AvailabilityTimeline | None, t_s: float = 0.0) -> dict[str, Supply]:
    """What can be rented at a time, by GPU type of the scenario; the price is None where the catalog's counts."""
    offers = {name: Supply(offer.n_gpus, None) for name, offer in scenario.cluster.all_offers.items()}
    if timeline is not None:
        known = timeline.at(t_s)
        offers |= {gpu: offer for (gpu, market), offer in known.items() if market == scenario.cluster.market}
    return offers


def most_offered(scenario: schema.Scenario, timeline: AvailabilityTimeline | None) -> dict[str, int]:
    """The most GPUs of each type that can be rented at any time."""
    most = {name: offer.n_gpus for name, offer in offers_at(scenario, timeline).items()}
    if timeline is not None:
        changes = timeline.changes.filter(pl.col("market") == scenario.cluster.market)
        largest = changes.group_by("gpu_type").agg(pl.col("count").max()).sort("gpu_type")
        most |= {gpu: max(most[gpu], count) for gpu, count in largest.iter_rows()}
    return most
