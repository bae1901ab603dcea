"""The planning problem: everything that a planner may know."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from planners.errors import PlannerError
from planners.problem.candidate import Candidate, Capacities, Demand
from planners.problem.cases import NOW, Case
from planners.problem.limits import limits_of
from planners.problem.terms import idle_gpus, usd_per_h_beside_replicas

if TYPE_CHECKING:
    from planners.problem.latency import LatencyGoal, Loads
    from planners.problem.mixes import MixTimes
    from planners.problem.previous import Previous
    from planners.problem.terms import Terms
    from planners.problem.trial import Trial

BUDGET_TOLERANCE = 1e-6
"""Share of the budget by which rounding may exceed it: sums of prices are not exact."""


class Objective(StrEnum):
    """What a plan makes best, within budget and availability.

    `makespan` is the time in seconds that a fixed number of requests takes, minimised; `throughput` the multiple
    of the offered rates that the fleet sustains, maximised. With amounts per second instead of amounts, the
    second is one over the first, so that planners solve one problem. `cost` is the price in USD/h of a fleet that
    sustains the offered rates, that is at least once their multiple, minimised; a problem of which no fleet within
    budget and availability sustains them is infeasible. `latency` is a time in seconds at the offered rates
    (`planners.problem.latency`), minimised; infeasible in the same case, with the headroom.
    """

    MAKESPAN = "makespan"
    THROUGHPUT = "throughput"
    COST = "cost"
    LATENCY = "latency"


class Feature(StrEnum):
    """What a planner can do: the objectives, and what a problem may have beyond the plain one.

    `bound` says that it proves a bound, for all objectives but `latency`; `exact` that the bound holds for all fleets
    that it could rent, so that it finds nothing better if there is less to rent; `limits` that it keeps to those of
    `planners.problem.limits`; `nodes` that it counts GPUs that are rented together as such, others are rounded up
    (`planners.rounding`); `switching` that it knows what is lost if the previous fleet is changed; `shedding` that it
    chooses what to give up (`planners.fleets.shedding`); the others try to serve everything.
    """

    MAKESPAN = "makespan"
    THROUGHPUT = "throughput"
    COST = "cost"
    LATENCY = "latency"
    SEVERAL_MODELS = "several_models"
    BOUND = "bound"
    EXACT = "exact"
    LIMITS = "limits"
    SWITCHING = "switching"
    SHEDDING = "shedding"
    NODES = "nodes"


@dataclass(frozen=True, slots=True)
class PlanningProblem:
    """Everything a planner may know.

    Attributes:
        demands: One per model.
        candidates: What can be rented.
        available: Pairs of a GPU type and how many there are, sorted by name.
        budget_usd_per_h: Most that the fleet may cost, with replicas that are being stopped; `math.inf` for no limit.
        objective: What to make best.
        time_limit_s: Most work that a planner should do, about in CPU seconds: ours count steps, not time.
        seed: For planners that draw random numbers.
        max_configurations: Most candidates of which replicas may be rented; None for any number.
        max_gpu_share: Largest share of the fleet's GPUs that may be of one type, counted in GPUs; 1 for any.
        min_replicas: Least replicas of each model of which something is demanded; None for any number.
        max_spot_share: Largest share of each model's capacity on its mix that may be on spot offers; 1 for any.
        survive: `node`, `offer` or `zone`: the rates must be carried without any one of these; None for nothing. Not
            for `makespan`, which has no rates.
        previous: The fleet that runs already; None if nothing does, or if nothing is lost by changes.
        trial: What planners may simulate with; None if they cannot.
        mixes: What replicas take for mixes of types, to linearise it anew; None where only the capacities are known.
        latency: What the objective `latency` makes least; None for the others.
        loads: What is known of latencies; None where only the capacities are known.
        cases: Other circumstances that a fleet should be good in, for `milp_robust`; the others plan for now.
        offers: The terms of GPU types that are not simply rented one by one, sorted by name.
        left_out: Pairs of a rule and how many configurations it kept from being candidates; for the user, not for
            planners.

    Raises:
        PlannerError: The parts contradict each other; the message lists all that is wrong.
    """

    demands: tuple[Demand, ...]
    candidates: tuple[Candidate, ...]
    available: tuple[tuple[str, int], ...]
    budget_usd_per_h: float
    objective: Objective = Objective.MAKESPAN
    time_limit_s: float = 60.0
    seed: int = 0
    max_configurations: int | None = None
    max_gpu_share: float = 1.0
    min_replicas: int | None = None
    max_spot_share: float = 1.0
    survive: str | None = None
    previous: Previous | None = None
    trial: Trial | None = None
    mixes: MixTimes | None = None
    latency: LatencyGoal | None = None
    loads: Loads | None = None
    cases: tuple[Case, ...] = ()
    offers: tuple[Terms, ...] = ()
    left_out: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        problems = [*self._problems_of_limits(), *self._problems_of_demands(), *self._problems_of_candidates()]
        problems = problems or list(self._problems_of_cases())
        if problems:
            raise PlannerError("\n  ".join(["the planning problem is not valid:", *problems]))

    def _problems_of_limits(self) -> Iterable[str]:
        if not self.budget_usd_per_h >= 0:
            yield f"budget_usd_per_h is {self.budget_usd_per_h!r}; it must be 0 or more"
        if not self.time_limit_s > 0:
            yield f"time_limit_s is {self.time_limit_s!r}; it must be more than 0"
        if self.seed < 0:
            yield f"seed is {self.seed!r}; it must be 0 or more"
        for limit in limits_of(self):
            yield from limit.problems(getattr(self, limit.name))
        if self.survive is not None and self.objective is Objective.MAKESPAN:
            yield "survive asks that rates are carried; the objective makespan has none"
        if self.objective is Objective.LATENCY:
            yield from (
                ["latency is missing, which the objective makes least"]
                if self.latency is None
                else (f"latency: {problem}" for problem in self.latency.problems())
            )
        if self.previous is not None:
            yield from self.previous.problems_of(self.candidates)
        names = [name for name, _ in self.available]
        if names != sorted(set(names)):
            yield f"available names {', '.join(names)}; each GPU type must stand there once, sorted by name"
        for name, count in self.available:
            if count < 0:
                yield f"available: {count} GPUs of type {name!r}; it must be 0 or more"
        offered = [terms.name for terms in self.offers]
        if offered != sorted(set(offered)) or not set(offered) <= set(names):
            yield f"offers names {', '.join(offered)}; each must be one of available, once, sorted by name"
        for terms in self.offers:
            yield from terms.problems()

    def _problems_of_demands(self) -> Iterable[str]:
        if not self.demands:
            yield "there is no demand; at least one model must be asked for"
        models = [demand.model for demand in self.demands]
        for model in _repeated(models):
            yield f"there are two demands for model {model!r}; one per model is allowed"
        for demand in self.demands:
            if len(demand.amounts) != len(demand.type_names) or not demand.amounts:
                yield (
                    f"demand for {demand.model!r}: {len(demand.amounts)} amounts for "
                    f"{len(demand.type_names)} workload types; each type needs one"
                )
            if demand.mix is not None and len(demand.mix.share) != len(demand.type_names):
                yield (
                    f"demand for {demand.model!r}: its mix has {len(demand.mix.share)} workload types, "
                    f"{len(demand.type_names)} are named"
                )
            penalties = demand.shed_usd_per_request
            if len(penalties) not in {0, len(demand.type_names)} or not all(penalty >= 0 for penalty in penalties):
                yield (
                    f"demand for {demand.model!r}: shed_usd_per_request is {penalties!r}; each of "
                    f"{len(demand.type_names)} workload types needs a penalty of 0 or more"
                )
            for name, amount in zip(demand.type_names, demand.amounts, strict=False):
                if not 0 <= amount < math.inf:
                    yield f"demand for {demand.model!r}: the amount of {name} is {amount!r}; it must be 0 or more"

    def _problems_of_candidates(self) -> Iterable[str]:
        available = dict(self.available)
        n_types = {demand.model: len(demand.type_names) for demand in self.demands}
        for name in _repeated([candidate.name for candidate in self.candidates]):
            yield f"two candidates are called {name!r}; names must differ"
        for candidate in self.candidates:
            where = f"candidate {candidate.name!r}"
            gpus = [gpu for gpu, _ in candidate.gpus]
            for gpu in gpus:
                if gpu not in available:
                    yield f"{where}: unknown GPU type {gpu!r}: {_nearest(gpu, available)}"
            if not gpus or gpus != sorted(set(gpus)) or any(n < 1 for _, n in candidate.gpus):
                yield f"{where}: gpus is {candidate.gpus!r}; it needs one or more of each type, sorted by name"
            if not 0 <= candidate.usd_per_h < math.inf:
                yield f"{where}: usd_per_h is {candidate.usd_per_h!r}; it must be 0 or more"
            if not all(0 <= capacity < math.inf for capacity in candidate.capacity_rps):
                yield f"{where}: capacity_rps is {candidate.capacity_rps!r}; capacities must be 0 or more"
            if candidate.model not in n_types:
                yield f"{where}: no demand for model {candidate.model!r}: {_nearest(candidate.model, n_types)}"
            elif len(candidate.capacity_rps) != n_types[candidate.model]:
                yield (
                    f"{where}: {len(candidate.capacity_rps)} capacities for {n_types[candidate.model]} "
                    f"workload types of {candidate.model!r}"
                )

    def _problems_of_cases(self) -> Iterable[str]:
        seen = {NOW}
        for case in self.cases:
            if case.name in seen:
                yield f"two cases are called {case.name!r}; {NOW!r} is the problem itself"
            seen.add(case.name)
            try:
                self.in_case(case)
            except PlannerError as error:
                yield f"case {case.name!r}: {error}"

    def in_case(self, case: Case) -> Self:
        """The planning problem that a case would be if it were now.

        Raises:
            PlannerError: The case does not fit the problem.
        """
        if len(case.amounts) != len(self.demands):
            msg = f"amounts for {len(case.amounts)} models; {len(self.demands)} are demanded"
            raise PlannerError(msg)
        demands = tuple(
            replace(demand, amounts=amounts) for demand, amounts in zip(self.demands, case.amounts, strict=True)
        )
        then = dict(case.capacities)
        capacities = (
            (*then.get(one.name, ()), *one.capacity_rps[len(then.get(one.name, ())) :]) for one in self.candidates
        )
        there = replace(self, demands=demands, available=case.available, cases=())
        return replace(there.with_capacities(tuple(capacities)), mixes=None) if then else there

    @property
    def needs(self) -> frozenset[str]:
        """What a planner must be able to do to solve it: values of `Feature`."""
        needed: set[str] = {self.objective.value}
        if len(self.demands) > 1:
            needed.add(Feature.SEVERAL_MODELS)
        if limits_of(self):
            needed.add(Feature.LIMITS)
        if self.previous is not None:
            needed.add(Feature.SWITCHING)
        if self.nodes:
            needed.add(Feature.NODES)
        if any(amount > 0 and demand.can_shed(w) for demand in self.demands for w, amount in enumerate(demand.amounts)):
            needed.add(Feature.SHEDDING)
        return frozenset(needed)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is demanded."""
        return all(demand.total == 0 for demand in self.demands)

    def demand(self, model: str) -> Demand:
        """The demand for a model.

        Raises:
            PlannerError: The model is not part of the problem.
        """
        for demand in self.demands:
            if demand.model == model:
                return demand
        msg = f"no demand for model {model!r}: {_nearest(model, [d.model for d in self.demands])}"
        raise PlannerError(msg)

    def with_capacities(self, capacities: Capacities) -> Self:
        """The problem with other capacities, by candidate and workload type."""
        pairs = zip(self.candidates, capacities, strict=True)
        return replace(self, candidates=tuple(replace(one, capacity_rps=rps) for one, rps in pairs))

    def candidates_of(self, model: str) -> tuple[int, ...]:
        """Positions of the candidates that serve a model."""
        return tuple(c for c, candidate in enumerate(self.candidates) if candidate.model == model)

    @property
    def nodes(self) -> tuple[Terms, ...]:
        """The offers of which whole nodes are rented."""
        return tuple(terms for terms in self.offers if terms.gpus_per_node > 1)

    @property
    def committed_usd_per_h(self) -> float:
        """What is paid whatever is rented."""
        return math.fsum(terms.committed_usd_per_h for terms in self.offers)

    def usd_per_h_beside_nodes(self, c: int) -> float:
        """The part of the price of a replica of candidate `c` that is not for GPUs of whole nodes."""
        candidate = self.candidates[c]
        of_nodes = {node.name: node.usd_per_h for node in self.nodes}
        beside = candidate.usd_per_h - math.fsum(n * of_nodes.get(gpu, 0.0) for gpu, n in candidate.gpus)
        return beside if abs(beside) > BUDGET_TOLERANCE * candidate.usd_per_h else 0.0

    @property
    def rentable(self) -> dict[str, int]:
        """GPUs by type that can be rented: those of whole nodes."""
        most = dict(self.available)
        return most | {node.name: most[node.name] // node.gpus_per_node * node.gpus_per_node for node in self.nodes}

    def idle(self, counts: Iterable[int]) -> dict[str, int]:
        """GPUs of each offer that such a fleet pays for and that no replica takes: in its nodes, or reserved."""
        return idle_gpus(self.offers, self.gpus(counts)) if self.offers else {}

    def usd_per_h(self, counts: Iterable[int]) -> float:
        """Price of a fleet with so many replicas of each candidate, in whole nodes, and of what is paid in any case."""
        counts = tuple(counts)
        pairs = zip(self.candidates, counts, strict=True)
        of_replicas = math.fsum(candidate.usd_per_h * count for candidate, count in pairs if count)
        if not self.offers:
            return of_replicas
        return of_replicas + usd_per_h_beside_replicas(self.offers, self.gpus(counts))

    def spent_usd_per_h(self, counts: Iterable[int]) -> float:
        """Price of such a fleet, and of the replicas of the previous one that it stops."""
        counts = tuple(counts)
        rent = self.usd_per_h(counts)
        return rent if self.previous is None else rent + self.previous.drain_usd_per_h(self.candidates, counts)

    def working(self, counts: Sequence[int]) -> Sequence[float]:
        """How many replicas of each candidate serve, on average: all, without a previous fleet.

        Those that must be started first do so for a part of the time (`planners.problem.previous`).
        """
        return counts if self.previous is None else self.previous.working(self.candidates, counts)

    def is_affordable(self, usd_per_h: float) -> bool:
        """Whether the budget allows this price."""
        return usd_per_h <= self.budget_usd_per_h * (1 + BUDGET_TOLERANCE)

    def gpus(self, counts: Iterable[int]) -> dict[str, int]:
        """GPUs by type that such a fleet takes, sorted by name; types that it does not take are left out."""
        taken: dict[str, int] = {}
        for candidate, count in zip(self.candidates, counts, strict=True):
            if count:
                for gpu, n in candidate.gpus:
                    taken[gpu] = taken.get(gpu, 0) + n * count
        return {gpu: n for gpu, n in sorted(taken.items()) if n != 0}

    def max_count(self, c: int, *, within_budget: bool = True) -> int:
        """Most replicas of candidate `c` that availability and budget allow, if nothing else is rented.

        >>> one = Candidate("a", "m", (("L40", 2),), 1.8, (1.0,))
        >>> demand = Demand("m", None, ("chat",), (100.0,))
        >>> PlanningProblem((demand,), (one,), (("L40", 7),), budget_usd_per_h=5.0).max_count(0)
        2
        """
        candidate = self.candidates[c]
        rentable = self.rentable
        most = min(rentable[gpu] // n for gpu, n in candidate.gpus)
        committed = self.committed_usd_per_h
        if within_budget and not self.is_affordable(candidate.usd_per_h * most + committed):
            left = self.budget_usd_per_h * (1 + BUDGET_TOLERANCE) - committed
            return max(0, math.floor(left / candidate.usd_per_h)) if candidate.usd_per_h > 0 else 0
        return most


def _repeated(names: list[str]) -> list[str]:
    return sorted(name for name in set(names) if names.count(name) > 1)


def _nearest(name: str, known: Iterable[str] | Mapping[str, object]) -> str:
    from traces.errors import nearest

    return nearest(name, known)
