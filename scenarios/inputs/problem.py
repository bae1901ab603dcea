"""From a scenario and its requests to the planning problem."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from planners import Candidate, Case, Demand, Objective, PlannerError, PlanningProblem, Previous, Trial, find_candidates
from planners.capacity.candidates import Found, require_candidates
from planners.capacity.loads import ClosedFormLoads
from planners.capacity.mix_times import ClosedFormMixTimes
from planners.problem.latency import LatencyGoal
from planners.problem.limits import LIMITS
from scenarios.file import schema
from scenarios.file.loaded import LoadedScenario
from scenarios.file.timeline import make_timeline, most_offered, offers_at
from scenarios.inputs.settings import (
    make_engine,
    make_gpu_types,
    make_limits,
    make_models,
    make_service_time,
    make_simulated_capacity,
    make_slo,
)
from scenarios.inputs.workload import make_grid, make_trace, stream_seed
from scenarios.inputs.worlds import world_cases
from sim import SLO, ServiceTimeModel
from traces import AvailabilityTimeline, ClosedLoop, Trace, WorkloadMix

SAMPLE_STREAM = 401
"""Number of the random stream that gives requests to planners; 400 to 499 are this package's."""


def make_problem(
    loaded: LoadedScenario,
    trace: Trace | None,
    seed: int,
    *,
    keep_dominated: bool = False,
    any_number: bool = False,
) -> PlanningProblem:
    """The planning problem: the trace's own mix and rate, or the requests and capacities that the file gives.

    Args:
        loaded: The scenario.
        trace: Its requests; None where capacities are given.
        seed: For planners that draw random numbers.
        keep_dominated: Whether to keep candidates that no best plan needs.
        any_number: Whether candidates are those for any number of GPUs at any price, not those within the market.

    Raises:
        PlannerError: A model fits on no GPU type of the market, or there is no rate where one is needed.
        ProfileError: A table of service times cannot be used.
        SettingsError: A package for service times is not installed.
    """
    scenario = loaded.scenario
    demands = _make_demands(scenario, trace)
    cases = tuple(_make_case(loaded, name, case, trace, demands, seed) for name, case in loaded.cases)
    trial = mixes = loads = None
    if isinstance(scenario.planning.capacity, schema.GivenCapacity):
        found = _given_candidates(loaded, scenario.planning.capacity)
    else:
        if trace is None:
            msg = "a planning problem needs a trace or given capacities"
            raise ValueError(msg)
        service_time, slo = make_service_time(loaded), make_slo(scenario)
        found = _find_candidates(
            loaded,
            scenario.planning.capacity,
            demands,
            cases,
            service_time,
            slo,
            keep_dominated=keep_dominated,
            any_number=any_number,
        )
        cases += world_cases(loaded, found.candidates, demands, _available(scenario, loaded.timeline), seed)
        if isinstance(scenario.planning.capacity, schema.ClosedFormCapacity) and scenario.planning.capacity.beside_mix:
            mixes = ClosedFormMixTimes(service_time, demands, slo)
        if "latency" in objectives_of(scenario):
            loads = ClosedFormLoads(service_time, demands)
        sample, sim = _make_sample(loaded, trace, seed), scenario.sim
        trial = Trial(service_time, sample, slo, sim.router, sim.length_predictor, make_engine(loaded))
    return replace(
        bare_problem(loaded, trace, seed),
        candidates=found.candidates,
        trial=trial,
        mixes=mixes,
        loads=loads,
        cases=cases,
        left_out=found.left_out,
        **_further_limits(scenario.planning),
    )


def bare_problem(loaded: LoadedScenario, trace: Trace | None, seed: int) -> PlanningProblem:
    """The planning problem without candidates and limits on them: what a run needs that has its plan.

    The arguments and errors are those of `make_problem`.
    """
    scenario, planning = loaded.scenario, loaded.scenario.planning
    return PlanningProblem(
        demands=_make_demands(scenario, trace),
        candidates=(),
        available=_available(scenario, loaded.timeline),
        budget_usd_per_h=planning.budget_usd_per_h,
        objective=Objective(planning.objective),
        latency=LatencyGoal(**planning.latency.model_dump()) if "latency" in objectives_of(scenario) else None,
        time_limit_s=planning.time_limit_s,
        seed=seed,
    )


def check_problem(loaded: LoadedScenario, trace: Trace | None, seed: int) -> None:
    """Make sure that there is a planning problem, without working out the capacities of its candidates.

    Raises:
        PlannerError, ProfileError, SettingsError: See `make_problem`.
    """
    scenario = loaded.scenario
    demands = _make_demands(scenario, trace)
    for name, case in loaded.cases:
        _make_case(loaded, name, case, trace, demands, seed)
    if isinstance(scenario.planning.capacity, schema.GivenCapacity):
        return
    limits = make_limits(loaded)
    require_candidates(make_models(loaded), demands, make_gpu_types(loaded), make_service_time(loaded), limits)


def objectives_of(scenario: schema.Scenario) -> set[str]:
    """What the planners of a scenario plan for."""
    own = (choice.objective for choice in scenario.planners)
    return {scenario.planning.objective, *(objective for objective in own if objective is not None)}


def _given_candidates(loaded: LoadedScenario, given: schema.GivenCapacity) -> Found:
    """The candidates whose capacities the file gives."""
    gpu_types = make_gpu_types(loaded)
    candidates = (
        Candidate(
            name=name,
            model="given",
            gpus=tuple(sorted(candidate.gpus.items())),
            usd_per_h=sum(n * gpu_types[gpu].usd_per_h for gpu, n in candidate.gpus.items()),
            capacity_rps=candidate.capacity_rps,
        )
        for name, candidate in given.candidates.items()
    )
    return Found(tuple(candidates), ())


def _find_candidates(
    loaded: LoadedScenario,
    capacity: schema.ClosedFormCapacity | schema.SimulatedCapacity,
    demands: Sequence[Demand],
    cases: Sequence[Case],
    service_time: ServiceTimeModel,
    slo: SLO,
    *,
    keep_dominated: bool,
    any_number: bool,
) -> Found:
    """The candidates for all that is asked for at any time in any case, on the largest market."""
    scenario = loaded.scenario
    planning = scenario.planning
    models = make_models(loaded)
    most = most_offered(scenario, loaded.timeline)
    available: dict[str, float] = {
        gpu: max([n, *(dict(case.available)[gpu] for case in cases)]) for gpu, n in sorted(most.items())
    }
    if any_number:
        available = dict.fromkeys(available, math.inf)
    # Where shares of the fleet or what runs count, what is no better alone may be part of the best plan.
    # One that serves less may be faster when it has little to do.
    spares = any(limit.spares_dominated and getattr(planning, limit.name) != limit.nothing for limit in LIMITS)
    is_simulated = isinstance(capacity, schema.SimulatedCapacity)
    return find_candidates(
        [models[demand.model] for demand in demands],
        [_with_most(demand, (case.amounts[m] for case in cases)) for m, demand in enumerate(demands)],
        available,
        make_gpu_types(loaded),
        service_time,
        math.inf if any_number else planning.budget_usd_per_h,
        limits=make_limits(loaded),
        slo=slo,
        measure=make_simulated_capacity(loaded).rps if is_simulated else None,
        beside_mix=capacity.beside_mix,
        keep_dominated=keep_dominated or spares or planning.previous is not None or "latency" in objectives_of(scenario),
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
    limits: dict[str, Any] = {limit.name: getattr(planning, limit.name) for limit in LIMITS}
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
    is_closed = any(isinstance(loop, ClosedLoop) for loop in trace.loops)
    needs_rate = sorted(objectives_of(scenario) & {"cost", "latency"})
    if needs_rate and is_closed:
        msg = "users of a closed loop send as fast as they are answered: there is no rate, "
        msg += f"as {needs_rate[0]!r} needs it; "
        msg += "use planning.objective: throughput, or makespan"
        raise PlannerError(msg)
    if planning.objective != "makespan" and trace.duration_s == 0 and not is_closed:
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
            rate_rps = 1.0 if is_closed else trace.rate_rps  # any will do where the mix is all that is known
            demands.append(Demand.from_rate(model, mix, rate_rps * n_requests[model] / len(trace)))
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
    """What planners may know of the requests: the same streams with another seed.

    Files have no other requests, unless these are drawn from them.
    """
    streams = loaded.scenario.workload.values()
    if not any(_is_drawn(stream) for stream in streams):
        return trace
    return make_trace(loaded, stream_seed(seed, SAMPLE_STREAM))


def _is_drawn(stream: schema.Stream) -> bool:
    if isinstance(stream, schema.TraceFile):
        return stream.arrivals is not None or stream.resample is not None
    return True
