"""From a scenario to models, GPU types, service times and the SLO."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from importlib.metadata import version
from typing import Literal

from planners import SimulatedCapacity
from scenarios.file import schema
from scenarios.file.loaded import LoadedScenario
from scenarios.file.timeline import offers_at
from sim import (
    SLO,
    AiconfiguratorServiceTime,
    CompactServiceTime,
    EngineProfile,
    EngineServiceTime,
    GpuType,
    ModelSpec,
    ReplicaLimits,
    ServiceTimeModel,
    TableServiceTime,
    engine_profile,
)
from sim.catalog.engines import IDEAL, is_of_version
from sim.catalog.gpus import Uncertainty
from sim.catalog.offers import Offer
from sim.demand.network import ANY, DistantSLO, Network
from sim.timing.worlds import World, WorldServiceTime
from sim.units import GIB, GIGA, HOUR_S

INTERPOLATED = Uncertainty(0.02, 0.05, 0.0, "NVIDIA's tables of kernels against measured iterations: docs, validity.md")
"""How far times may be off that are interpolated between measured ones."""


def make_models(loaded: LoadedScenario) -> dict[str, ModelSpec]:
    """The models that the scenario can use: its own, and the catalog's."""
    return dict(loaded.catalog.models)


def make_gpu_types(loaded: LoadedScenario) -> dict[str, GpuType]:
    """The GPU types on the market, by the names of their offers, at the prices that it begins with.

    Raises:
        TraceError: The market's file cannot be read.
    """
    scenario = loaded.scenario
    at_start = offers_at(scenario, loaded.timeline)
    catalog = loaded.catalog
    gpus = {}
    for name, offer in scenario.cluster.all_offers.items():
        known = catalog.gpus.get(offer.gpu, GpuType(offer.gpu, memory_bytes=0, usd_per_h=0.0))
        prices = (at_start[name].usd_per_h, offer.gpu_usd_per_h, known.usd_per_h)
        price = next(price for price in prices if price is not None)
        stated = scenario.cluster.gpus.get(offer.gpu)
        if stated is not None and stated.memory_gib is not None:
            known = replace(known, memory_bytes=int(stated.memory_gib * GIB))
        if offer.per_node is not None:
            known = replace(known, gpus_per_node=offer.per_node)
        gpus[name] = replace(known, usd_per_h=price, offer=_make_offer(name, offer))
    return gpus


def _make_offer(name: str, offer: schema.Offer) -> Offer | None:
    """What is said of GPUs beside their type and price; None if nothing is."""
    if name == offer.gpu and offer == schema.Offer(gpu=name, available=offer.available, usd_per_h=offer.usd_per_h):
        return None
    return Offer(
        name,
        gpus_per_node=offer.rented_together,
        tenure=offer.tenure,
        provider=offer.provider,
        region=offer.region,
        zone=offer.zone,
        min_term_s=offer.min_term_h * HOUR_S,
        notice_s=offer.notice_s,
        boot_s=offer.boot_s,
        reclaims_per_h=offer.reclaims_per_h,
    )


def basis_of(loaded: LoadedScenario) -> dict[str, str]:
    """What the service times of each GPU type and offer of the market rest on, where they come from coefficients.

    `fitted`, `partly_estimated` or `extrapolated`; nothing where capacities are given or times are measured ones.
    """
    scenario = loaded.scenario
    is_given = isinstance(scenario.planning.capacity, schema.GivenCapacity)
    if is_given or not isinstance(scenario.sim.service_time, schema.CompactTimes):
        return {}
    offers = scenario.cluster.all_offers
    types = {offer.gpu: offer.gpu for offer in offers.values()} | {name: offer.gpu for name, offer in offers.items()}
    known = {name: loaded.catalog.gpus[gpu].coefficients for name, gpu in types.items()}
    return {name: c.basis for name, c in known.items() if c is not None}


def make_engine(loaded: LoadedScenario) -> EngineProfile:
    """The serving engine, with what the scenario says of it."""
    sim = loaded.scenario.sim
    stated = sim.engine.model_dump(exclude_none=True)
    if sim.prefix_caching is not None:
        stated["prefix_caching"] = sim.prefix_caching
    return replace(engine_profile(stated.pop("name"), stated.pop("version", None)), **stated)


def engine_notes(loaded: LoadedScenario) -> list[str]:
    """What is not known of the serving engine, and what is taken instead."""
    asked, engine = loaded.scenario.sim.engine.version, make_engine(loaded)
    notes = []
    if asked is not None and not is_of_version(asked, engine.version):
        notes.append(f"{engine.name} {asked} was not measured: its overheads and defaults are those of {engine.label}")
    if engine.basis == "assumed" and engine.name != IDEAL:
        notes.append(f"{engine.label} was not measured: its overheads are those of another engine")
    return notes


def make_limits(loaded: LoadedScenario) -> ReplicaLimits:
    """Limits of each replica: the scenario's, or else the engine's."""
    engine = make_engine(loaded)
    defaults = {name: getattr(engine, name) for name in ("reserve_whole_prompt", "max_batched_tokens", "max_seqs")}
    return ReplicaLimits(**defaults | loaded.scenario.sim.limits.model_dump(exclude_none=True))


def uncertainties_of(loaded: LoadedScenario) -> dict[str, Uncertainty]:
    """How far the service times of each GPU type of the market may be off."""
    gpu_types = {gpu.name: gpu for gpu in make_gpu_types(loaded).values()}
    if not isinstance(loaded.scenario.sim.service_time, schema.CompactTimes):
        return dict.fromkeys(gpu_types, INTERPOLATED)
    return {name: gpu.coefficients.uncertainty for name, gpu in gpu_types.items() if gpu.coefficients is not None}


def make_service_time(loaded: LoadedScenario, world: World | None = None) -> ServiceTimeModel:
    """The service-time model: times of kernels, with the overheads of the serving engine; perhaps as in a world.

    Raises:
        ProfileError: A table cannot be used.
        SettingsError: A package that it needs is not installed.
    """
    kernels, engine = make_kernel_times(loaded), make_engine(loaded)
    if world is None:
        return EngineServiceTime(kernels, engine)
    return EngineServiceTime(WorldServiceTime(kernels, world), world.engine(engine))


def make_kernel_times(loaded: LoadedScenario) -> ServiceTimeModel:
    """Times of kernels alone.

    Raises:
        ProfileError: A table cannot be used.
        SettingsError: A package that it needs is not installed.
    """
    match loaded.scenario.sim.service_time:
        case schema.CompactTimes() as settings:
            return CompactServiceTime(
                network_bandwidth_bytes_per_s=settings.network_bandwidth_gb_per_s * GIGA,
            )
        case schema.TableTimes() as settings:
            return TableServiceTime(
                loaded.folder / settings.path,
                gpu=settings.gpu,
                model=settings.model,
                tp=settings.tp,
            )
        case schema.AiconfiguratorTimes() as settings:
            return AiconfiguratorServiceTime(
                settings.backend,
                settings.version,
                network_bandwidth_bytes_per_s=settings.network_bandwidth_gb_per_s * GIGA,
            )


def make_simulated_capacity(loaded: LoadedScenario) -> SimulatedCapacity:
    """Measures capacities with the scenario's service times, and keeps them in the user's cache directory.

    Raises:
        ProfileError: A table of service times cannot be used.
        SettingsError: A package for service times is not installed.
    """
    from platformdirs import user_cache_path

    service_time = make_service_time(loaded)
    settings = loaded.scenario.sim.service_time
    key = settings.model_dump_json() + repr(make_engine(loaded))
    match settings:
        case schema.TableTimes():
            key += sha256((loaded.folder / settings.path).read_bytes()).hexdigest()
        case schema.AiconfiguratorTimes():
            key += version("aiconfigurator-core")
    return SimulatedCapacity(service_time, key, user_cache_path("hetserve") / "capacities")


def make_network(scenario: schema.Scenario) -> Network | None:
    """How far the clients of each stream are from regions; None if nothing is said of it."""
    return _network(scenario, {name: name for name in scenario.workload}, "slo_class")


def make_network_of_models(scenario: schema.Scenario) -> Network | None:
    """The same of models, for planners: the stream that is furthest away counts; None if nothing is said of it."""
    return _network(scenario, {name: stream.model or ANY for name, stream in scenario.workload.items()}, "model")


def _network(
    scenario: schema.Scenario, clients: dict[str, str], column: Literal["slo_class", "model"]
) -> Network | None:
    distances = scenario.cluster.latency_s
    round_trips_s = tuple(
        (clients[name], region, time_s)
        for name, stream in scenario.workload.items()
        if stream.region is not None
        for region, time_s in distances[stream.region].items()
    )
    return Network(round_trips_s, column) if round_trips_s else None


def make_goals(scenario: schema.Scenario) -> SLO:
    """What planners keep to: the service-level objective, less the way from clients to replicas."""
    slo, network = make_slo(scenario), make_network_of_models(scenario)
    if network is None:
        return slo
    return DistantSLO(slo.ttft_s, slo.tpot_s, slo.e2e_s, slo.attainment, slo.by_model, network)


def make_slo(scenario: schema.Scenario) -> SLO:
    """The service-level objective."""
    given = scenario.slo
    by_model = tuple((model, SLO(**own.model_dump())) for model, own in sorted(given.by_model.items()))
    return SLO(given.ttft_s, given.tpot_s, given.e2e_s, given.attainment, by_model)
