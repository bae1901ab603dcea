"""From a scenario and its requests to the planning problem."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from planners import Candidate, Case, Demand, Objective, PlannerError, PlanningProblem, Previous, Trial, find_candidates
from planners.capacity.candidates import Found, require_candidates
from planners.capacity.loads import ClosedFormLoads, output_ratios
from planners.capacity.mix_times import ClosedFormMixTimes
from planners.problem.latency import LatencyGoal
from planners.problem.limits import LIMITS
from planners.problem.terms import Terms, usd_per_h_of_use
from scenarios.file import schema
from scenarios.file.loaded import LoadedScenario
from scenarios.file.timeline import make_timeline, most_offered, offers_at
from scenarios.inputs.demands import make_demands, without_too_long
from scenarios.inputs.settings import (
    make_engine,
    make_goals,
    make_gpu_types,
    make_limits,
    make_models,
    make_network_of_models,
    make_service_time,
    make_simulated_capacity,
)
from scenarios.inputs.workload import make_trace, stream_seed
from scenarios.inputs.worlds import world_cases
from sim import SLO, ServiceTimeModel
from traces import AvailabilityTimeline, Trace

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
    demands, cases = _make_cases(loaded, trace, seed, any_number=any_number)
    trial = mixes = loads = None
    if isinstance(scenario.planning.capacity, schema.GivenCapacity):
        found = _given_candidates(loaded, scenario.planning.capacity)
    else:
        if trace is None:
            msg = "a planning problem needs a trace or given capacities"
            raise ValueError(msg)
        service_time, slo = make_service_time(loaded), _planned_slo(make_goals(scenario), demands)
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
            mixes = ClosedFormMixTimes(service_time, demands, slo, found.alone_rps)
        if "latency" in scenario.objectives:
            in_turn = scenario.sim.router == "plan_weighted"
            loads = ClosedFormLoads(service_time, demands, in_turn=in_turn, ratios=output_ratios(trace, demands))
        trial = _make_trial(loaded, without_too_long(_make_sample(loaded, trace, seed), demands), service_time, slo)
    return replace(
        _without_candidates(loaded, demands, seed),
        candidates=_within_reach(scenario, found.candidates, demands),
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
    return _without_candidates(loaded, make_demands(loaded, trace), seed)


def _without_candidates(loaded: LoadedScenario, demands: tuple[Demand, ...], seed: int) -> PlanningProblem:
    scenario, planning = loaded.scenario, loaded.scenario.planning
    return PlanningProblem(
        demands=demands,
        candidates=(),
        available=_available(scenario, loaded.timeline),
        offers=_terms(loaded),
        budget_usd_per_h=planning.budget_usd_per_h,
        objective=Objective(planning.objective),
        latency=LatencyGoal(**planning.latency.model_dump()) if "latency" in scenario.objectives else None,
        time_limit_s=planning.time_limit_s,
        seed=seed,
    )


def _terms(loaded: LoadedScenario) -> tuple[Terms, ...]:
    """The terms of all offers; none where GPUs are rented one by one, and nothing but their prices is said."""
    offers, gpu_types = loaded.scenario.cluster.all_offers, make_gpu_types(loaded)
    if all(gpu.offer is None for gpu in gpu_types.values()):
        return ()
    return tuple(Terms.from_gpu_type(gpu, offers[name].n_gpus) for name, gpu in sorted(gpu_types.items()))


def check_problem(loaded: LoadedScenario, trace: Trace | None, seed: int) -> None:
    """Make sure that there is a planning problem, without working out the capacities of its candidates.

    Raises:
        PlannerError, ProfileError, SettingsError: See `make_problem`.
    """
    demands, _ = _make_cases(loaded, trace, seed)
    if isinstance(loaded.scenario.planning.capacity, schema.GivenCapacity):
        return
    limits = make_limits(loaded)
    require_candidates(make_models(loaded), demands, make_gpu_types(loaded), make_service_time(loaded), limits)


def _given_candidates(loaded: LoadedScenario, given: schema.GivenCapacity) -> Found:
    """The candidates whose capacities the file gives."""
    gpu_types = make_gpu_types(loaded)
    candidates = (
        Candidate(
            name=name,
            model="given",
            gpus=tuple(sorted(candidate.gpus.items())),
            usd_per_h=sum(n * usd_per_h_of_use(gpu_types[gpu]) for gpu, n in candidate.gpus.items()),
            capacity_rps=candidate.capacity_rps,
        )
        for name, candidate in given.candidates.items()
    )
    return Found(tuple(candidates), (), {})


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
    spares = spares or "latency" in scenario.objectives
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
        keep_dominated=keep_dominated or spares or planning.previous is not None,
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


def _make_cases(
    loaded: LoadedScenario, trace: Trace | None, seed: int, *, any_number: bool = False
) -> tuple[tuple[Demand, ...], tuple[Case, ...]]:
    """What is asked of each model, and what is available and asked of them in each case."""
    traces = {name: _trace_of_case(loaded, case, trace, seed) for name, case in loaded.cases}
    others = [other for other in traces.values() if other is not None and other is not trace]
    demands = make_demands(loaded, trace, any_number=any_number, others=others)
    return demands, tuple(_make_case(loaded, name, case, traces[name], demands) for name, case in loaded.cases)


def _trace_of_case(loaded: LoadedScenario, case: schema.Scenario, trace: Trace | None, seed: int) -> Trace | None:
    if case.workload == loaded.scenario.workload:
        return trace
    return make_trace(replace(loaded, scenario=case), seed)


def _make_case(
    loaded: LoadedScenario, name: str, case: schema.Scenario, trace: Trace | None, demands: Sequence[Demand]
) -> Case:
    """What is available, and asked of the models of the scenario, in a case of it."""
    as_case = replace(loaded, scenario=case)
    amounts = {demand.model: demand.amounts for demand in make_demands(as_case, trace, like=demands)}
    models = [demand.model for demand in demands]
    if sorted(amounts) != sorted(models):
        msg = f"case {name!r} has requests for {', '.join(amounts)}, the scenario for {', '.join(models)}"
        raise PlannerError(msg)
    timeline = make_timeline(case, loaded.folder)
    return Case(name, _available(case, timeline), tuple(amounts[model] for model in models))


def _planned_slo(slo: SLO, demands: Sequence[Demand]) -> SLO:
    """The SLO for the requests that can be served: as many more of them must meet it as there are others."""
    goals = [demand.too_long.goal_of_rest for demand in demands if demand.too_long is not None]
    return replace(slo, attainment=max([slo.attainment, *goals]))


def _within_reach(
    scenario: schema.Scenario, candidates: Sequence[Candidate], demands: Sequence[Demand]
) -> tuple[Candidate, ...]:
    """The candidates; for `cost`, those of models whose SLO cannot be met with no capacity within it."""
    if scenario.planning.objective != "cost":
        return tuple(candidates)
    lost = {demand.model for demand in demands if demand.too_long is not None and demand.too_long.breaks_slo}
    return tuple(
        replace(one, capacity_rps=(0.0,) * len(one.capacity_rps)) if one.model in lost else one for one in candidates
    )


def _with_most(demand: Demand, amounts: Iterable[tuple[float, ...]]) -> Demand:
    """A demand for the most of each type that is asked for in any case."""
    return replace(demand, amounts=tuple(map(max, zip(demand.amounts, *amounts, strict=True))))


def _make_trial(loaded: LoadedScenario, sample: Trace, service_time: ServiceTimeModel, slo: SLO) -> Trial:
    sim = loaded.scenario.sim
    return Trial(
        service_time,
        sample,
        slo,
        sim.router,
        sim.length_predictor,
        make_engine(loaded),
        sim.prefix_caching,
        sim.prefix_segment_tokens,
        make_network_of_models(loaded.scenario),
    )


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
