"""From a scenario and its requests to the planning problem."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from planners import Candidate, Case, Demand, Objective, PlannerError, PlanningProblem, Previous, Trial, build_problem
from scenarios.file import schema
from scenarios.file.loaded import LoadedScenario
from scenarios.file.timeline import make_timeline, most_offered, offers_at
from scenarios.inputs.settings import make_gpu_types, make_models, make_service_time, make_simulated_capacity, make_slo
from scenarios.inputs.workload import make_grid, make_trace, stream_seed
from sim import ReplicaLimits
from traces import AvailabilityTimeline, Trace, WorkloadMix

SAMPLE_STREAM = 401
"""Number of the random stream that gives requests to planners; 400 to 499 are this package's."""


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
    timeline = loaded.timeline
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
    streams = loaded.scenario.workload.values()
    if all(isinstance(stream, schema.TraceFile) and stream.arrivals is None for stream in streams):
        return trace
    return make_trace(loaded, stream_seed(seed, SAMPLE_STREAM))
