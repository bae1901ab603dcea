"""The planning problem, the plan, and what a planner is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, Self

from planners.cases import Case, problems_of
from planners.errors import PlannerError
from planners.previous import Previous

if TYPE_CHECKING:
    from pydantic import BaseModel

    from planners.trial import Trial
    from sim.deployment import Deployment, ReplicaSpec, RoutingTable
    from traces.workload import WorkloadMix

BUDGET_TOLERANCE = 1e-6
"""Share of the budget by which rounding may exceed it: sums of prices are not exact."""

Fractions = tuple[tuple[float, ...], ...]
"""`fractions[c][w]`: the share of type w, of the model of candidate c, that the replicas of c serve together."""

Capacities = tuple[tuple[float, ...], ...]
"""`capacities[c][w]`: requests/s of type w that a replica of candidate c serves."""


class PlanStatus(StrEnum):
    """Whether there is a plan."""

    OK = "ok"
    INFEASIBLE = "infeasible"
    FAILED = "failed"


class Termination(StrEnum):
    """Why the planner stopped."""

    OPTIMAL = "optimal"
    GAP_REACHED = "gap_reached"
    TIME_LIMIT = "time_limit"
    HEURISTIC = "heuristic"
    INFEASIBLE = "infeasible"
    ERROR = "error"


class Objective(StrEnum):
    """What a plan makes best, within budget and availability.

    `makespan` is the time in seconds that a fixed number of requests takes, minimised; `throughput` the multiple
    of the offered rates that the fleet sustains, maximised. With amounts per second instead of amounts, the
    second is one over the first, so that planners solve one problem. `cost` is the price in USD/h of a fleet that
    sustains the offered rates, that is at least once their multiple, minimised; a problem of which no fleet within
    budget and availability sustains them is infeasible.
    """

    MAKESPAN = "makespan"
    THROUGHPUT = "throughput"
    COST = "cost"


class Feature(StrEnum):
    """What a planner can do: the objectives, and what a problem may have beyond the plain one.

    `bound` says that it proves a bound; `exact` that the bound holds for all fleets that it could rent, so that it
    finds nothing better if there is less to rent; `limits` that it keeps to `max_configurations` and `max_gpu_share`;
    `switching` that it knows what is lost if the previous fleet is changed; `shedding` that it chooses what to
    give up (`planners.shedding`); the others try to serve everything.
    """

    MAKESPAN = "makespan"
    THROUGHPUT = "throughput"
    COST = "cost"
    SEVERAL_MODELS = "several_models"
    BOUND = "bound"
    EXACT = "exact"
    LIMITS = "limits"
    SWITCHING = "switching"
    SHEDDING = "shedding"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A replica configuration that can be rented, as often as budget and availability allow.

    Attributes:
        name: Unique in a problem.
        model: Name of the model it serves.
        gpus: Pairs of a GPU type and how many of it a replica takes, sorted by name.
        usd_per_h: Price of a replica.
        capacity_rps: Requests/s of each workload type of its model that a replica serves if all its time is theirs;
            0 where it cannot serve the type.
        spec: The replica, for the simulator; None where capacities come from a file.
    """

    name: str
    model: str
    gpus: tuple[tuple[str, int], ...]
    usd_per_h: float
    capacity_rps: tuple[float, ...]
    spec: ReplicaSpec | None = None

    @classmethod
    def from_spec(cls, spec: ReplicaSpec, capacity_rps: Iterable[float], name: str | None = None) -> Self:
        """The candidate that a replica makes; it is called as the replica if no name is given."""
        gpus = tuple(spec.gpus.items())
        return cls(
            spec.name if name is None else name, spec.model.name, gpus, spec.usd_per_h, tuple(capacity_rps), spec
        )

    @property
    def n_gpus(self) -> int:
        """GPUs of all types."""
        return sum(n for _, n in self.gpus)


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of one model.

    Attributes:
        model: Name of the model.
        mix: The workload types and their mean lengths; None where capacities come from a file.
        type_names: Names of the workload types.
        amounts: Of each type a number of requests (objective `makespan`) or requests/s (`throughput`, `cost`).
        shed_usd_per_request: Of each type, the penalty for not serving a request; infinite if it must be served. Empty
            if all must be.

    >>> from traces.workload import PAPER_GRID, WorkloadMix
    >>> mix = WorkloadMix.from_shares(PAPER_GRID, (0.5, 0, 0, 0, 0.25, 0, 0, 0, 0.25))
    >>> Demand.from_requests("Llama-3-70B", mix, n_requests=1000).amounts[4]
    250.0
    """

    model: str
    mix: WorkloadMix | None
    type_names: tuple[str, ...]
    amounts: tuple[float, ...]
    shed_usd_per_request: tuple[float, ...] = ()

    @classmethod
    def from_requests(cls, model: str, mix: WorkloadMix, n_requests: float) -> Self:
        """A number of requests of a mix, for the objective `makespan`."""
        names = tuple(kind.name for kind in mix.grid.types)
        return cls(model, mix, names, tuple(n_requests * share for share in mix.share))

    @classmethod
    def from_rate(cls, model: str, mix: WorkloadMix, rate_rps: float) -> Self:
        """A rate of requests of a mix, for the objectives `throughput` and `cost`."""
        return cls.from_requests(model, mix, rate_rps)

    @property
    def total(self) -> float:
        """Amount of all types."""
        return math.fsum(self.amounts)

    def can_shed(self, w: int) -> bool:
        """Whether requests of a type may be left unserved."""
        return bool(self.shed_usd_per_request) and self.shed_usd_per_request[w] < math.inf

    def shed_usd_per_h(self, w: int) -> float:
        """What it costs to shed all of a type, if amounts are requests/s."""
        return self.shed_usd_per_request[w] * self.amounts[w] * 3600.0


@dataclass(frozen=True, slots=True)
class PlanningProblem:
    """Everything a planner may know.

    Attributes:
        demands: One per model.
        candidates: What can be rented.
        available: Pairs of a GPU type and how many there are, sorted by name.
        budget_usd_per_h: Most that the fleet may cost, with replicas that are being stopped; `math.inf` for no limit.
        objective: What to make best.
        time_limit_s: Most time that a planner should take.
        seed: For planners that draw random numbers.
        max_configurations: Most candidates of which replicas may be rented; None for any number.
        max_gpu_share: Largest share of the fleet's GPUs that may be of one type, counted in GPUs; 1 for any.
        previous: The fleet that runs already; None if nothing does, or if nothing is lost by changes.
        trial: What planners may simulate with; None if they cannot.
        cases: Other circumstances that a fleet should be good in, for `milp_robust`; the others plan for now.
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
    previous: Previous | None = None
    trial: Trial | None = None
    cases: tuple[Case, ...] = ()
    left_out: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        problems = [*self._problems_of_limits(), *self._problems_of_demands(), *self._problems_of_candidates()]
        problems = problems or list(problems_of(self.cases, self))
        if problems:
            raise PlannerError("\n  ".join(["the planning problem is not valid:", *problems]))

    def _problems_of_limits(self) -> Iterable[str]:
        if not self.budget_usd_per_h >= 0:
            yield f"budget_usd_per_h is {self.budget_usd_per_h!r}; it must be 0 or more"
        if not self.time_limit_s > 0:
            yield f"time_limit_s is {self.time_limit_s!r}; it must be more than 0"
        if self.seed < 0:
            yield f"seed is {self.seed!r}; it must be 0 or more"
        if self.max_configurations is not None and self.max_configurations < 1:
            yield f"max_configurations is {self.max_configurations!r}; it must be 1 or more"
        if not 0 < self.max_gpu_share <= 1:
            yield f"max_gpu_share is {self.max_gpu_share!r}; it must be more than 0, and 1 at most"
        if self.previous is not None:
            yield from self.previous.problems_of(self.candidates)
        names = [name for name, _ in self.available]
        if names != sorted(set(names)):
            yield f"available names {', '.join(names)}; each GPU type must stand there once, sorted by name"
        for name, count in self.available:
            if count < 0:
                yield f"available: {count} GPUs of type {name!r}; it must be 0 or more"

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

    @property
    def needs(self) -> frozenset[str]:
        """What a planner must be able to do to solve it: values of `Feature`."""
        needed: set[str] = {self.objective.value}
        if len(self.demands) > 1:
            needed.add(Feature.SEVERAL_MODELS)
        if self.max_configurations is not None or self.max_gpu_share < 1:
            needed.add(Feature.LIMITS)
        if self.previous is not None:
            needed.add(Feature.SWITCHING)
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

    def usd_per_h(self, counts: Iterable[int]) -> float:
        """Price of a fleet with so many replicas of each candidate."""
        pairs = zip(self.candidates, counts, strict=True)
        return math.fsum(candidate.usd_per_h * count for candidate, count in pairs if count)

    def spent_usd_per_h(self, counts: Iterable[int]) -> float:
        """Price of such a fleet, and of the replicas of the previous one that it stops."""
        counts = tuple(counts)
        rent = self.usd_per_h(counts)
        return rent if self.previous is None else rent + self.previous.drain_usd_per_h(self.candidates, counts)

    def working(self, counts: Sequence[int]) -> Sequence[float]:
        """How many replicas of each candidate serve, on average: all, without a previous fleet.

        Those that must be started first do so for a part of the time (`planners.previous`).
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
        available = dict(self.available)
        most = min(available[gpu] // n for gpu, n in candidate.gpus)
        if within_budget and not self.is_affordable(candidate.usd_per_h * most):
            most = math.floor(self.budget_usd_per_h * (1 + BUDGET_TOLERANCE) / candidate.usd_per_h)
        return most


@dataclass(frozen=True, slots=True)
class FleetRow:
    """A line of a fleet: a candidate, how many of it are rented, and what they cost together."""

    candidate: Candidate
    count: int
    usd_per_h: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a planner returns, always: a fleet with its assignment, or the reason why there is none.

    Attributes:
        planner: Name of the planner.
        status: Whether there is a plan.
        termination: Why the planner stopped.
        objective_name: What was made best.
        objective: The makespan in seconds, the multiple of the offered rates, or the price in USD/h; None without a
            plan.
        bound: What no plan can beat, among those that the planner looked at; None if it proves nothing.
        gap: |objective - bound| / objective; 0 if they are the same.
        solve_s: Time that planning took: a measurement, which nothing depends on.
        counts: Replicas rented of each candidate.
        assignment: The share of each type that the replicas of each candidate serve. The shares of a type sum
            to 1, less what is shed; a type of which nothing is demanded and which no rented replica can serve has only
            zeros.
        options: Pairs of an option of the planner and its value.
        diagnostics: What the user should know; without a plan, the reasons.
        capacities: What the planner counts on, if not on the capacities of the candidates; the objective is that of the
            assignment with these.
    """

    planner: str
    status: PlanStatus
    termination: Termination
    objective_name: Objective
    objective: float | None
    bound: float | None
    gap: float | None
    solve_s: float
    counts: tuple[int, ...]
    assignment: Fractions
    options: tuple[tuple[str, Any], ...] = ()
    diagnostics: tuple[str, ...] = ()
    capacities: Capacities | None = None

    def fleet(self, problem: PlanningProblem) -> tuple[FleetRow, ...]:
        """What is rented."""
        return tuple(
            FleetRow(candidate, count, candidate.usd_per_h * count)
            for candidate, count in zip(problem.candidates, self.counts, strict=True)
            if count != 0
        )

    def usd_per_h(self, problem: PlanningProblem) -> float:
        """Price of the fleet."""
        return problem.usd_per_h(self.counts)

    def promised_rps(self, problem: PlanningProblem) -> dict[str, float]:
        """Requests/s of each model, of all types, that the plan says its fleet serves; empty without a plan."""
        if self.objective is None:
            return {}
        match self.objective_name:
            case Objective.MAKESPAN:
                pace = 1 / self.objective
            case Objective.THROUGHPUT:
                pace = self.objective
            case Objective.COST:
                pace = 1.0
        promised = {}
        for demand, shed in zip(problem.demands, self.shed(problem), strict=True):
            lost = math.fsum(amount * share for amount, share in zip(demand.amounts, shed, strict=True))
            promised[demand.model] = (demand.total - lost) * pace
        return promised

    def shed(self, problem: PlanningProblem) -> Fractions:
        """For each demand, the share of each type that nobody serves; without a plan there is nothing to tell."""
        from planners.shedding import shed_shares

        if self.status is not PlanStatus.OK:
            return tuple((0.0,) * len(demand.amounts) for demand in problem.demands)
        return tuple(shed_shares(problem, demand, self.assignment) for demand in problem.demands)

    def deployment(self, problem: PlanningProblem) -> Deployment | None:
        """The fleet for the simulator, with a routing table for each model whose demand has a mix.

        Returns:
            None without a plan, if a rented candidate has no `spec`, or if nothing is rented since all is shed.
        """
        if self.status is not PlanStatus.OK:
            return None
        from sim.deployment import Deployment

        replicas = []
        rented = []
        for c, (candidate, count) in enumerate(zip(problem.candidates, self.counts, strict=True)):
            if count == 0:
                continue
            if candidate.spec is None:
                return None
            rented.append(c)
            replicas.append((candidate.spec, count))
        if not replicas:
            return None
        routing = []
        for demand in sorted(problem.demands, key=lambda demand: demand.model):
            table = self._routing_table(problem, demand, rented)
            if table is not None:
                routing.append((demand.model, table))
        return Deployment(tuple(replicas), tuple(routing))

    def _routing_table(self, problem: PlanningProblem, demand: Demand, rented: list[int]) -> RoutingTable | None:
        mine = [c for c in rented if problem.candidates[c].model == demand.model]
        if demand.mix is None or not mine:
            return None
        from sim.deployment import RoutingTable

        # A type that nobody is meant to serve still needs a rule, for requests that the mix did not foresee. What is
        # shed of a type goes the way of the rest.
        n_replicas = sum(self.counts[c] for c in mine)
        is_foreseen = [any(self.assignment[c][w] > 0 for c in mine) for w in range(len(demand.type_names))]
        served = [1.0 - share for share in self.shed(problem)[problem.demands.index(demand)]]
        nobody = (0.0,) * len(demand.type_names)
        rows = [
            tuple(
                self.assignment[c][w] / served[w] if foreseen else self.counts[c] / n_replicas
                for w, foreseen in enumerate(is_foreseen)
            )
            if c in mine
            else nobody
            for c in rented
        ]
        return RoutingTable(demand.mix, tuple(rows))

    def to_dict(self, problem: PlanningProblem) -> dict[str, Any]:
        """The plan in the form of `plan --json`: strings, numbers, lists and dictionaries only."""
        assignment = []
        for demand, shed in zip(problem.demands, self.shed(problem), strict=True):
            mine = problem.candidates_of(demand.model)
            for w, name in enumerate(demand.type_names):
                shares = {problem.candidates[c].name: self.assignment[c][w] for c in mine if self.assignment[c][w] > 0}
                row = {"model": demand.model, "type": name, "share_by_replica": shares, "shed_share": shed[w]}
                assignment.append(row)
        return {
            "planner": self.planner,
            "options": dict(self.options),
            "status": self.status.value,
            "termination": self.termination.value,
            "objective_name": self.objective_name.value,
            "objective": self.objective,
            "bound": self.bound,
            "gap": self.gap,
            "solve_s": self.solve_s,
            "usd_per_h": self.usd_per_h(problem),
            "drain_usd_per_h": problem.spent_usd_per_h(self.counts) - self.usd_per_h(problem),
            "gpus": problem.gpus(self.counts),
            "fleet": [
                {
                    "name": row.candidate.name,
                    "model": row.candidate.model,
                    "gpus": dict(row.candidate.gpus),
                    "count": row.count,
                    "usd_per_h": row.usd_per_h,
                }
                for row in self.fleet(problem)
            ],
            "promised_rps": self.promised_rps(problem),
            "assignment": assignment,
            "corrected_capacity_rps": {
                candidate.name: list(rps)
                for candidate, rps in zip(problem.candidates, self.capacities or (), strict=self.capacities is not None)
                if rps != candidate.capacity_rps
            },
            "diagnostics": list(self.diagnostics),
        }


class Planner(Protocol):
    """Chooses a fleet.

    A planner is a pure function of the problem: it mutates nothing, prints nothing and reads the clock for
    `solve_s` only. It returns a plan whatever happens: a problem that has none is an outcome, not an exception.

    Attributes:
        name: Under which it is registered, with what it was given after a colon.
        features: Values of `Feature`, and others if its author likes.
        Options: Its options; the registry builds the planner with an instance, as the only argument.
    """

    name: str
    features: frozenset[str]
    Options: type[BaseModel]

    def plan(self, problem: PlanningProblem) -> Plan:
        """Choose a fleet for the problem."""
        ...


def _repeated(names: list[str]) -> list[str]:
    return sorted(name for name in set(names) if names.count(name) > 1)


def _nearest(name: str, known: Iterable[str] | Mapping[str, object]) -> str:
    from traces.errors import nearest

    return nearest(name, known)
