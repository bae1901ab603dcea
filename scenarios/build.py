"""From a scenario to what the other packages work with: traces, planning problems, simulation settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from planners import (
    Candidate,
    Case,
    Demand,
    Objective,
    PlannerError,
    PlanningProblem,
    Previous,
    SimulatedCapacity,
    Trial,
    build_problem,
)
from scenarios import schema
from scenarios.catalog import make_catalog
from scenarios.loaded import LoadedScenario
from scenarios.markets import make_timeline, most_offered, offers_at
from sim import (
    SLO,
    AiconfiguratorServiceTime,
    CompactServiceTime,
    GpuType,
    ModelSpec,
    ReplicaLimits,
    ServiceTimeModel,
    TableServiceTime,
)
from sim.units import GIB, GIGA
from traces import (
    AllAtOnce,
    ArrivalProcess,
    AvailabilityTimeline,
    DiurnalArrivals,
    FixedTypes,
    GammaArrivals,
    HistogramLengths,
    LengthSampler,
    LogNormalLengths,
    PiecewiseArrivals,
    PoissonArrivals,
    Trace,
    TraceError,
    WorkloadGrid,
    WorkloadMix,
    azure_conv_like,
    nearest,
    read,
    synthesize,
)

SAMPLE_STREAM = 401
"""Number of the random stream that gives requests to planners; 400 to 499 are this package's."""


def make_trace(loaded: LoadedScenario, seed: int) -> Trace:
    """All streams of a scenario in one trace; `slo_class` is the name of the stream.

    Raises:
        TraceError: A file cannot be read as what it is said to be, or asks for an unknown model.
    """
    streams = loaded.scenario.workload.items()
    known = tuple(make_catalog(loaded.scenario).models)
    traces = []
    for index, (name, stream) in enumerate(streams):
        trace = _make_stream(name, stream, loaded.folder, _stream_seed(seed, index))
        for model in trace.models:
            if model not in known:
                where = f"workload.{name}.model is not given, and {trace.source}"
                msg = f"{where} asks for {model!r}: {nearest(model, known)}"
                raise TraceError(msg)
        traces.append(trace)
    return traces[0].merge(*traces[1:]) if len(traces) > 1 else traces[0]


def _stream_seed(seed: int, index: int) -> int:
    """Streams draw different numbers; the first keeps the seed, so that one stream alone is the generator's own."""
    return seed if index == 0 else int(np.random.SeedSequence(seed, spawn_key=(index,)).generate_state(1)[0])


def _make_stream(name: str, stream: schema.Stream, folder: Path, seed: int) -> Trace:
    match stream:
        case schema.AzureConvLike():
            trace = azure_conv_like(stream.n_requests, seed=seed, rate_rps=stream.rate_rps, model=stream.model)
            return Trace.from_frame(trace.requests.drop("slo_class"), trace.source, slo_class=name)
        case schema.Synthetic():
            arrivals, lengths = _arrivals(stream.arrivals), _lengths(stream.lengths)
            return synthesize(arrivals, lengths, stream.n_requests, seed=seed, model=stream.model, slo_class=name)
        case schema.TraceFile():
            trace = read(folder / stream.path, stream.reader, **({"slo_class": name} | stream.options))
            if stream.model is not None:
                trace = replace(trace, requests=trace.requests.with_columns(model=pl.lit(stream.model)))
            trace = trace if stream.head is None else trace.head(stream.head)
            return trace if stream.rate_factor == 1 else trace.scale_rate(stream.rate_factor)


def _arrivals(arrivals: schema.Arrivals) -> ArrivalProcess:
    match arrivals:
        case schema.Poisson():
            return PoissonArrivals(arrivals.rate_rps)
        case schema.Gamma():
            return GammaArrivals(arrivals.rate_rps, arrivals.cv)
        case schema.Piecewise():
            return PiecewiseArrivals(arrivals.times_s, arrivals.rates_rps)
        case schema.Diurnal():
            return DiurnalArrivals(arrivals.mean_rate_rps, arrivals.peak_to_trough, arrivals.peak_hour, cv=arrivals.cv)
        case schema.AllAtOnce():
            return AllAtOnce()


def _lengths(lengths: schema.Lengths) -> LengthSampler:
    match lengths:
        case schema.TypeLengths():
            types = tuple((kind.prompt_tokens, kind.output_tokens) for kind in make_grid(lengths.grid).types)
            shares = lengths.shares if lengths.order == "row_major" else lengths.shares[::-1]
            total = sum(shares)
            return FixedTypes(types, tuple(share / total for share in shares))
        case schema.LogNormalLengths():
            return LogNormalLengths(
                lengths.prompt_tokens_p50,
                lengths.prompt_tokens_p90,
                lengths.output_tokens_p50,
                lengths.output_tokens_p90,
            )
        case schema.HistogramLengths():
            return HistogramLengths(lengths.prompt_knots, lengths.output_knots, lengths.rank_correlation)


def make_grid(grid: schema.Grid) -> WorkloadGrid:
    """The workload types of a grid."""
    return WorkloadGrid(grid.prompt_tokens, grid.output_tokens)


def make_models(scenario: schema.Scenario) -> dict[str, ModelSpec]:
    """The models that the scenario can use: its own, and the catalog's."""
    return dict(make_catalog(scenario).models)


def make_gpu_types(loaded: LoadedScenario) -> dict[str, GpuType]:
    """The GPU types on the market, at the prices that it begins with.

    Raises:
        TraceError: The market's file cannot be read.
    """
    scenario = loaded.scenario
    offers = offers_at(scenario, make_timeline(scenario, loaded.folder))
    catalog = make_catalog(scenario)
    gpus = {}
    for name, offer in scenario.cluster.gpus.items():
        known = catalog.gpus.get(name, GpuType(name, memory_bytes=0, usd_per_h=0.0))
        prices = (offers[name].usd_per_h, offer.usd_per_h, known.usd_per_h)
        price = next(price for price in prices if price is not None)
        memory_bytes = known.memory_bytes if offer.memory_gib is None else int(offer.memory_gib * GIB)
        gpus[name] = replace(known, usd_per_h=price, memory_bytes=memory_bytes)
    return gpus


def make_service_time(loaded: LoadedScenario) -> ServiceTimeModel:
    """The service-time model.

    Raises:
        ProfileError: A table cannot be used.
        SettingsError: A package that it needs is not installed.
    """
    match loaded.scenario.sim.service_time:
        case schema.CompactTimes() as settings:
            return CompactServiceTime(
                step_overhead_s=settings.step_overhead_s,
                sequence_overhead_s=settings.sequence_overhead_s,
                network_bandwidth_bytes_per_s=settings.network_bandwidth_gb_per_s * GIGA,
            )
        case schema.TableTimes() as settings:
            return TableServiceTime(
                loaded.folder / settings.path,
                gpu=settings.gpu,
                model=settings.model,
                tp=settings.tp,
                step_overhead_s=settings.step_overhead_s,
            )
        case schema.AiconfiguratorTimes() as settings:
            return AiconfiguratorServiceTime(
                settings.backend,
                settings.version,
                step_overhead_s=settings.step_overhead_s,
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
    key = settings.model_dump_json()
    match settings:
        case schema.TableTimes():
            key += sha256((loaded.folder / settings.path).read_bytes()).hexdigest()
        case schema.AiconfiguratorTimes():
            key += version("aiconfigurator-core")
    return SimulatedCapacity(service_time, key, user_cache_path("hetserve") / "capacities")


def make_slo(scenario: schema.Scenario) -> SLO:
    """The service-level objective."""
    given = scenario.slo
    by_model = tuple((model, SLO(**own.model_dump())) for model, own in sorted(given.by_model.items()))
    return SLO(given.ttft_s, given.tpot_s, given.e2e_s, given.attainment, by_model)


def make_problem(
    loaded: LoadedScenario, trace: Trace | None, seed: int, *, keep_dominated: bool = False
) -> PlanningProblem:
    """The planning problem: the trace's own mix and rate, or the requests and capacities that the file gives.

    Args:
        loaded: The scenario.
        trace: Its requests; None where capacities are given.
        seed: For planners that draw random numbers.
        keep_dominated: Whether to keep candidates that no best plan needs.

    Raises:
        PlannerError: A model fits on no GPU type of the market, or there is no rate where one is needed.
        ProfileError: A table of service times cannot be used.
        SettingsError: A package for service times is not installed.
    """
    scenario = loaded.scenario
    planning = scenario.planning
    objective = Objective(planning.objective)
    gpu_types = make_gpu_types(loaded)
    demands = _make_demands(scenario, trace)
    timeline = make_timeline(scenario, loaded.folder)
    cases = tuple(_make_case(loaded, name, case, trace, demands, seed) for name, case in loaded.cases)
    if isinstance(planning.capacity, schema.GivenCapacity):
        candidates = tuple(
            Candidate(
                name=name,
                model="given",
                gpus=tuple(sorted(candidate.gpus.items())),
                usd_per_h=sum(n * gpu_types[gpu].usd_per_h for gpu, n in candidate.gpus.items()),
                capacity_rps=candidate.capacity_rps,
            )
            for name, candidate in planning.capacity.candidates.items()
        )
        return PlanningProblem(
            demands=demands,
            candidates=candidates,
            available=_available(scenario, timeline),
            budget_usd_per_h=planning.budget_usd_per_h,
            objective=objective,
            time_limit_s=planning.time_limit_s,
            seed=seed,
            cases=cases,
            **_further_limits(planning),
        )
    if trace is None:
        msg = "a planning problem needs a trace or given capacities"
        raise ValueError(msg)
    models = make_models(scenario)
    service_time = make_service_time(loaded)
    is_simulated = isinstance(planning.capacity, schema.SimulatedCapacity)
    # Candidates are those for all that is asked for at any time in any case, on the largest market.
    most = most_offered(scenario, timeline)
    problem = build_problem(
        [models[demand.model] for demand in demands],
        [_with_most(demand, (case.amounts[m] for case in cases)) for m, demand in enumerate(demands)],
        {gpu: max([n, *(dict(case.available)[gpu] for case in cases)]) for gpu, n in sorted(most.items())},
        gpu_types,
        service_time,
        planning.budget_usd_per_h,
        objective,
        limits=ReplicaLimits(**scenario.sim.limits.model_dump()),
        slo=make_slo(scenario),
        measure=make_simulated_capacity(loaded).rps if is_simulated else None,
        beside_mix=planning.capacity.beside_mix,
        # Where shares of the fleet or what runs count, what is no better alone may be part of the best plan.
        keep_dominated=keep_dominated or planning.max_gpu_share < 1 or planning.previous is not None,
        time_limit_s=planning.time_limit_s,
        seed=seed,
    )
    sample = _make_sample(loaded, trace, seed)
    return replace(
        problem,
        demands=demands,
        available=_available(scenario, timeline),
        cases=cases,
        **_further_limits(planning),
        trial=Trial(service_time, sample, make_slo(scenario), scenario.sim.router, scenario.sim.length_predictor),
    )


def _available(scenario: schema.Scenario, timeline: AvailabilityTimeline | None) -> tuple[tuple[str, int], ...]:
    """What can be rented when it begins."""
    return tuple(sorted((name, offer.n_gpus) for name, offer in offers_at(scenario, timeline).items()))


def _further_limits(planning: schema.Planning) -> dict[str, Any]:
    """What a fleet must keep to beside budget and availability."""
    fleet = planning.previous
    previous = None
    if fleet is not None:
        previous = Previous(tuple(sorted(fleet.replicas.items())), fleet.start_s, fleet.drain_s, fleet.hold_s)
    limits = {"max_configurations": planning.max_configurations, "max_gpu_share": planning.max_gpu_share}
    return limits | {"previous": previous}


def _make_demands(scenario: schema.Scenario, trace: Trace | None) -> tuple[Demand, ...]:
    """What is asked of each model, and what it costs not to serve it."""
    demands = _make_amounts(scenario, trace)
    penalties = scenario.planning.shed_usd_per_request
    if penalties is None:
        return demands
    by_name = (
        penalties if isinstance(penalties, dict) else {name: penalties for one in demands for name in one.type_names}
    )
    return tuple(
        replace(demand, shed_usd_per_request=tuple(by_name.get(name, math.inf) for name in demand.type_names))
        for demand in demands
    )


def _make_amounts(scenario: schema.Scenario, trace: Trace | None) -> tuple[Demand, ...]:
    """What is asked of each model: the file's numbers, or the mix and rate of a trace."""
    planning = scenario.planning
    if isinstance(planning.capacity, schema.GivenCapacity):
        requests = planning.capacity.requests
        return (Demand("given", None, tuple(requests), tuple(requests.values())),)
    if trace is None:
        msg = "a planning problem needs a trace or given capacities"
        raise ValueError(msg)
    if planning.objective != "makespan" and trace.duration_s == 0:
        msg = f"all requests arrive at once: there is no rate, as {planning.objective!r} needs it; "
        msg += "use planning.objective: makespan"
        raise PlannerError(msg)
    grid = make_grid(planning.grid)
    counts = trace.requests["model"].value_counts()
    n_requests = dict(zip(counts["model"], counts["count"], strict=True))
    demands = []
    for model in trace.models:
        mix = WorkloadMix.from_trace(trace, grid, model)
        if planning.objective == "makespan":
            demands.append(Demand.from_requests(model, mix, n_requests[model]))
        else:
            demands.append(Demand.from_rate(model, mix, trace.rate_rps * n_requests[model] / len(trace)))
    return tuple(demands)


def _make_case(
    loaded: LoadedScenario, name: str, case: schema.Scenario, trace: Trace | None, demands: Sequence[Demand], seed: int
) -> Case:
    """What is available, and asked of the models of the scenario, in a case of it."""
    if case.workload != loaded.scenario.workload:
        trace = make_trace(replace(loaded, scenario=case), seed)
    amounts = {demand.model: demand.amounts for demand in _make_demands(case, trace)}
    models = [demand.model for demand in demands]
    if sorted(amounts) != sorted(models):
        msg = f"case {name!r} has requests for {', '.join(amounts)}, the scenario for {', '.join(models)}"
        raise PlannerError(msg)
    timeline = make_timeline(case, loaded.folder)
    return Case(name, _available(case, timeline), tuple(amounts[model] for model in models))


def _with_most(demand: Demand, amounts: Iterable[tuple[float, ...]]) -> Demand:
    """A demand for the most of each type that is asked for in any case."""
    return replace(demand, amounts=tuple(map(max, zip(demand.amounts, *amounts, strict=True))))


def _make_sample(loaded: LoadedScenario, trace: Trace, seed: int) -> Trace:
    """What planners may know of the requests: the same streams with another seed. Files have no other requests."""
    if all(isinstance(stream, schema.TraceFile) for stream in loaded.scenario.workload.values()):
        return trace
    return make_trace(loaded, _stream_seed(seed, SAMPLE_STREAM))
