"""From the fleet that a scenario gives to a plan: what it is, what it costs, who serves what and how much of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from planners import Candidate, Demand, Objective, Plan, PlanningProblem, PlanStatus, Termination
from planners.capacity.candidates import capacities_of
from planners.capacity.mix_times import ClosedFormMixTimes
from planners.fleets.assignment import best_assignment, objective_of
from planners.fleets.linearise import Linearised, alone, assigned_again, linearised, without_mixes
from planners.fleets.linearise import capacities_of as capacities_at
from planners.problem.candidate import Capacities, Fractions
from scenarios.errors import RunError
from scenarios.file import schema
from scenarios.file.fleet import fleet_replica
from scenarios.file.loaded import LoadedScenario
from scenarios.file.schema.fleet import OTHER_TYPES
from scenarios.inputs.settings import make_gpu_types, make_limits, make_models, make_slo
from sim import SLO, ReplicaSpec, ServiceTimeModel
from traces import nearest

Routing = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Shares by model, workload type and replica."""


def fleet_plan(loaded: LoadedScenario, name: str, problem: PlanningProblem, service_time: ServiceTimeModel) -> Plan:
    """The fleet that a scenario gives, as if a planner had chosen it.

    Requests are shared out as the scenario says, or so that the fleet carries most of them. Its objective is what it
    carries by the closed form within the SLO: the time for all requests where they are counted, else the multiple of
    the offered rates, whatever planners make best.

    Args:
        loaded: A scenario with fleets.
        name: As a planner is called that stands for the fleet.
        problem: What is asked; its candidates do not count.
        service_time: How long iterations take.

    Raises:
        RunError: The routing names a workload type that there is not, or nothing that is asked for can be served.
        DeploymentError: A serving engine would refuse a replica.
    """
    fleets = loaded.scenario.fleets
    if name not in fleets:
        msg = f"{loaded.label} gives no fleet {name!r}: {nearest(name, fleets) or 'none at all'}"
        raise RunError(msg)
    given = fleets[name]
    counts = _replicas(loaded, given)
    asked = [demand.model for demand in problem.demands]
    unasked = [spec.model.name for spec in counts if spec.model.name not in asked]
    if unasked:
        msg = f"deployment.replicas: no request asks for {unasked[0]!r}: {nearest(unasked[0], asked)}"
        raise RunError(msg)
    own = _Fleet.of(counts, problem, service_time, make_slo(loaded.scenario))
    return own.plan(own.shares(given.routing), given.router)


def _replicas(loaded: LoadedScenario, given: schema.Fleet) -> Counter[ReplicaSpec]:
    models, gpus, limits = make_models(loaded), make_gpu_types(loaded), make_limits(loaded)
    counts: Counter[ReplicaSpec] = Counter()
    for replica in given.replicas:
        counts[fleet_replica(replica, models[replica.model], gpus[replica.gpu], limits)] += replica.count
    return counts


@dataclass(frozen=True)
class _Fleet:
    """A fleet within a problem whose candidates are its replicas, and that asks for what they can serve.

    Attributes:
        problem: The problem.
        counts: Replicas of each candidate.
        remarks: What the user should know.
    """

    problem: PlanningProblem
    counts: tuple[int, ...]
    remarks: tuple[str, ...]

    @classmethod
    def of(
        cls, counts: Mapping[ReplicaSpec, int], problem: PlanningProblem, service_time: ServiceTimeModel, slo: SLO
    ) -> _Fleet:
        prefix = {demand.model: f"{demand.model} on " if len(problem.demands) > 1 else "" for demand in problem.demands}
        nothing = {demand.model: (0.0,) * len(demand.amounts) for demand in problem.demands}
        bare = tuple(
            Candidate.from_spec(spec, nothing[spec.model.name], prefix[spec.model.name] + spec.name) for spec in counts
        )
        within, without = (capacities_of(bare, problem.demands, service_time, goals) for goals in (slo, None))
        asked = _as_asked(problem)
        usd_per_h = sum(spec.usd_per_h * n for spec, n in counts.items())
        remarks = list(_over_budget(asked, usd_per_h))
        capacities, demands = _what_is_served(asked, bare, within, without, remarks)
        candidates = tuple(replace(one, capacity_rps=rps) for one, rps in zip(bare, capacities, strict=True))
        is_within = all(of_candidate == used for of_candidate, used in zip(within, capacities, strict=True))
        mixes = ClosedFormMixTimes(service_time, demands, slo) if is_within else None
        own = replace(asked, demands=demands, candidates=candidates, mixes=mixes)
        return cls(own, tuple(counts.values()), tuple(remarks))

    def shares(self, routing: Routing | None) -> Linearised:
        """The shares that are given; those with which the fleet carries most for models without any.

        What it carries is what the closed form says at the mixes that replicas get, where it is known.
        """
        problem, counts = self.problem, self.counts
        first = best_assignment(problem, counts).fractions
        best = assigned_again(alone(problem), counts, first)
        best = best if best.makespan < math.inf else linearised(without_mixes(problem), counts, first)
        if routing is None:
            return best
        stated = self._stated(routing, best.fractions)
        found = linearised(alone(problem), counts, stated)
        return found if found.makespan < math.inf else linearised(without_mixes(problem), counts, stated)

    def _stated(self, routing: Routing, best: Fractions) -> Fractions:
        """The shares of a routing, and the best ones where it says nothing."""
        rows = [list(row) for row in best]
        for demand in self.problem.demands:
            of_types = routing.get(demand.model)
            if of_types is None:
                continue
            _check_types(demand, of_types)
            for w, name in enumerate(demand.type_names):
                shares = of_types.get(name, of_types.get(OTHER_TYPES))
                for c in self.problem.candidates_of(demand.model) if shares is not None else ():
                    spec = self.problem.candidates[c].spec
                    rows[c][w] = 0.0 if shares is None or spec is None else shares.get(spec.name, 0.0)
        return tuple(map(tuple, rows))

    def plan(self, shares: Linearised, router: str | None) -> Plan:
        problem = self.problem
        if problem.is_empty or shares.makespan == math.inf:
            reason = "; ".join(self.remarks) or "by its routing, requests go to replicas that cannot serve them"
            msg = f"deployment: {reason}"
            raise RunError(msg)
        return Plan(
            problem=problem,
            planner=schema.DEPLOYMENT,
            status=PlanStatus.OK,
            termination=Termination.GIVEN,
            objective_name=problem.objective,
            objective=objective_of(problem.objective, shares.makespan),
            bound=None,
            gap=None,
            solve_s=0.0,
            counts=self.counts,
            assignment=shares.fractions,
            diagnostics=self.remarks,
            capacities=capacities_at(shares.problem),
            router=router,
        )


def _as_asked(problem: PlanningProblem) -> PlanningProblem:
    """The problem without what a fleet that is there does not heed: the objective of planners, and their limits."""
    objective = Objective.MAKESPAN if problem.objective is Objective.MAKESPAN else Objective.THROUGHPUT
    return replace(
        problem, objective=objective, candidates=(), left_out=(), cases=(), previous=None, latency=None, loads=None
    )


def _over_budget(problem: PlanningProblem, usd_per_h: float) -> Iterator[str]:
    if not problem.is_affordable(usd_per_h):
        yield f"it costs {usd_per_h:g} $/h; planners may spend {problem.budget_usd_per_h:g}"


def _what_is_served(
    problem: PlanningProblem,
    candidates: tuple[Candidate, ...],
    within: Capacities,
    without: Capacities,
    remarks: list[str],
) -> tuple[Capacities, tuple[Demand, ...]]:
    """Capacities for sharing out the requests, and the demands without types that nobody can serve.

    A type that no replica serves within the SLO counts with the capacities without one.
    """
    rows = [list(rps) for rps in within]
    demands = []
    for demand in problem.demands:
        mine = [c for c, one in enumerate(candidates) if one.model == demand.model]
        amounts = list(demand.amounts)
        late, unserved = [], []
        for w, name in enumerate(demand.type_names):
            if any(within[c][w] > 0 for c in mine) or amounts[w] == 0:
                continue
            if any(without[c][w] > 0 for c in mine):
                late.append(name)
                for c in mine:
                    rows[c][w] = without[c][w]
            else:
                unserved.append(name)
                amounts[w] = 0.0
        if late:
            remarks.append(f"{demand.model}: no replica serves {', '.join(late)} within the SLO; counted without it")
        if unserved:
            remarks.append(f"{demand.model}: no replica can serve {', '.join(unserved)}")
        demands.append(replace(demand, amounts=tuple(amounts)))
    return tuple(map(tuple, rows)), tuple(demands)


def _check_types(demand: Demand, of_types: Mapping[str, Mapping[str, float]]) -> None:
    """Make sure that a routing names workload types that there are.

    Raises:
        RunError: It does not.
    """
    for name in of_types:
        if name not in (*demand.type_names, OTHER_TYPES):
            known = [*demand.type_names, OTHER_TYPES]
            msg = f"deployment.routing.{demand.model}.{name}: unknown workload type: {nearest(name, known)}"
            raise RunError(msg)
