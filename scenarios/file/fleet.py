"""The fleet that a scenario gives: its replicas, and what is wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from scenarios.errors import ScenarioError
from scenarios.file.catalog import make_catalog
from scenarios.file.check_offers import unknown_offer
from scenarios.file.schema import DEPLOYMENT, Fleet, FleetReplica, GivenCapacity, Scenario
from scenarios.file.timeline import make_timeline, offers_at
from scenarios.file.yaml_lines import FieldPath
from sim import Catalog, GpuType, ModelSpec, ReplicaLimits, ReplicaSpec, router_names
from sim.catalog.offers import Offer
from sim.errors import SimError
from sim.kv_cache import kv_blocks
from sim.units import GIB
from traces import TraceError, nearest

Finding = tuple[FieldPath, str]

_ROUTED_BY_TABLE = "plan_weighted"
_SHARE_TOLERANCE = 1e-6


def fleet_replica(given: FleetReplica, model: ModelSpec, gpu: GpuType, limits: ReplicaLimits) -> ReplicaSpec:
    """The replica that a part of a fleet describes.

    Raises:
        DeploymentError: A serving engine would refuse it.
    """
    return ReplicaSpec.uniform(
        _in_precision(model, given.precision),
        gpu,
        given.tp,
        given.pp,
        limits,
        dp=given.dp,
        expert_parallel=given.expert_parallel,
    )


def _precisions(model: ModelSpec) -> dict[str, ModelSpec]:
    return {variant.precision.name: variant for variant in model.in_variants()}


def _in_precision(model: ModelSpec, precision: str | None) -> ModelSpec:
    return replace(model, variants=()) if precision is None else _precisions(model)[precision]


def check_fleets(scenario: Scenario, folder: Path) -> Iterator[Finding]:
    """All that is wrong with the fleets that are given, as (field, message)."""
    if not scenario.fleets:
        return
    if isinstance(scenario.planning.capacity, GivenCapacity):
        message = "needs models and GPU types; where capacities are given nothing can be simulated"
        yield (DEPLOYMENT if scenario.deployment is not None else "deployments",), message
        return
    try:
        catalog = make_catalog(scenario, folder)
    except ScenarioError:
        return  # which is said of the models
    there = _there(scenario, folder)
    for name, fleet in scenario.fleets.items():
        path: FieldPath = (DEPLOYMENT,) if name == DEPLOYMENT else ("deployments", name.partition(":")[2])
        yield from ((path + field, message) for field, message in _check_fleet(fleet, scenario, catalog, there))


def _check_fleet(fleet: Fleet, scenario: Scenario, catalog: Catalog, there: Mapping[str, int]) -> Iterator[Finding]:
    names: dict[str, set[str]] = {}
    for index, given in enumerate(fleet.replicas):
        path: FieldPath = ("replicas", index)
        found = list(_check_replica(given, path, scenario, catalog))
        yield from found
        if not found:
            model, gpu = catalog.models[given.model], _gpu(scenario, catalog, given.gpu)
            spec = fleet_replica(given, model, gpu, ReplicaLimits())
            names.setdefault(given.model, set()).add(spec.name)
    yield from _check_counts(fleet, scenario, there)
    served = {given.model for given in fleet.replicas}
    for name, stream in scenario.workload.items():
        if stream.model is not None and stream.model not in served:
            yield ("replicas",), f"no replica serves {stream.model!r}, which workload.{name} asks for"
    yield from _check_routing(fleet, scenario, names)


def _there(scenario: Scenario, folder: Path) -> dict[str, int]:
    """How many GPUs of each offer are there when it begins; nothing if that is not known."""
    try:
        offers = offers_at(scenario, make_timeline(scenario, folder))
    except TraceError:
        return {}  # which is said of the market
    return {name: offer.n_gpus for name, offer in offers.items()}


def _check_replica(given: FleetReplica, path: FieldPath, scenario: Scenario, catalog: Catalog) -> Iterator[Finding]:
    asked = {stream.model for stream in scenario.workload.values()}
    if given.model not in catalog.models:
        yield (*path, "model"), f"unknown model {given.model!r}: {nearest(given.model, catalog.models)}"
    elif None not in asked and given.model not in asked:
        yield (
            (*path, "model"),
            f"no stream of workload asks for {given.model!r}: {nearest(given.model, sorted(filter(None, asked)))}",
        )
    if given.gpu not in scenario.cluster.all_offers:
        yield (*path, "gpu"), unknown_offer(given.gpu, scenario)
    if given.model not in catalog.models or given.gpu not in scenario.cluster.all_offers:
        return
    model = catalog.models[given.model]
    if given.precision is not None and given.precision not in _precisions(model):
        hint = nearest(given.precision, _precisions(model))
        yield (*path, "precision"), f"the scenario does not have {model.name} in {given.precision!r}: {hint}"
        return
    if given.pp > model.n_layers:
        yield (*path, "pp"), f"is {given.pp}, but {model.name} has {model.n_layers} layers"
        return
    gpu = _gpu(scenario, catalog, given.gpu)
    if given.tp > gpu.gpus_per_node:
        yield (*path, "tp"), f"is {given.tp}, but a node of {given.gpu} has {gpu.gpus_per_node} GPUs"
        return
    limits = ReplicaLimits(**scenario.sim.limits.model_dump(exclude_none=True))
    try:
        kv_blocks(fleet_replica(given, model, gpu, limits))
    except SimError as error:
        yield path, str(error)


def _gpu(scenario: Scenario, catalog: Catalog, name: str) -> GpuType:
    """The GPUs of an offer, with the memory that the scenario gives them and without their price."""
    offer = scenario.cluster.all_offers[name]
    gpu = catalog.gpus.get(offer.gpu, GpuType(offer.gpu, memory_bytes=0, usd_per_h=0.0))
    stated = scenario.cluster.gpus.get(offer.gpu)
    if stated is not None and stated.memory_gib is not None:
        gpu = replace(gpu, memory_bytes=int(stated.memory_gib * GIB))
    per_node = offer.per_node or gpu.gpus_per_node
    return replace(gpu, gpus_per_node=per_node, offer=Offer(name, gpus_per_node=offer.rented_together))


def _check_counts(fleet: Fleet, scenario: Scenario, there: Mapping[str, int]) -> Iterator[Finding]:
    """GPUs that are taken and not there when it begins."""
    taken: Counter[str] = Counter()
    for index, given in enumerate(fleet.replicas):
        before = taken[given.gpu]
        group = given.tp * given.dp
        if given.gpu in there:
            per_node = scenario.cluster.all_offers[given.gpu].rented_together
            group = Offer(given.gpu, gpus_per_node=per_node).taken_by(group)
        taken[given.gpu] += group * given.pp * given.count
        if given.gpu in there and taken[given.gpu] > there[given.gpu]:
            with_others = " with the replicas before it" if before else ""
            at_first = "" if scenario.cluster.availability is None else " when it begins"
            message = f"{taken[given.gpu]:,} {given.gpu} are taken{with_others}; the market has {there[given.gpu]:,}"
            yield ("replicas", index, "count"), message + at_first


def _check_routing(fleet: Fleet, scenario: Scenario, names: Mapping[str, set[str]]) -> Iterator[Finding]:
    if fleet.router is not None and fleet.router not in router_names():
        hint = nearest(fleet.router, router_names())
        yield ("router",), f"unknown router {fleet.router!r}: {hint}"
    if fleet.routing is None:
        return
    router = fleet.router or scenario.sim.router
    if router in {"least_loaded", "round_robin"}:
        message = f"{router!r}, the router, takes no shares: leave it or them out, or use {_ROUTED_BY_TABLE!r}"
        yield ("routing",), message
    for model, of_types in fleet.routing.items():
        path: FieldPath = ("routing", model)
        if model not in names:
            if names:
                yield path, f"no replica serves {model!r}: {nearest(model, names)}"
            continue
        for kind, shares in of_types.items():
            for replica in shares:
                if replica not in names[model]:
                    yield (*path, kind, replica), f"no such replica: {nearest(replica, sorted(names[model]))}"
            total = sum(shares.values())
            if abs(total - 1) > _SHARE_TOLERANCE:
                yield (*path, kind), f"the shares sum to {total:g}, not to 1"
