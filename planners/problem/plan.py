"""The plan, and what a planner is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from planners.problem.problem import Objective, PlanningProblem

if TYPE_CHECKING:
    from pydantic import BaseModel

    from planners.problem.candidate import Candidate, Capacities, Demand, Fractions
    from sim.deployment import Deployment, RoutingTable

SHARE_TOLERANCE = 1e-6
"""By which the shares of a type may miss 1."""


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
    GIVEN = "given"
    INFEASIBLE = "infeasible"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class FleetRow:
    """A line of a fleet: a candidate, how many of it are rented, and what they cost together."""

    candidate: Candidate
    count: int
    usd_per_h: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Plan:
    """What a planner returns, always: a fleet with its assignment, or the reason why there is none.

    Attributes:
        problem: What was asked.
        planner: Name of the planner.
        status: Whether there is a plan.
        termination: Why the planner stopped.
        objective_name: What was made best.
        objective: The makespan in seconds, the multiple of the offered rates, the price in USD/h, or the latency in
            seconds; None without a plan.
        bound: What no plan can beat, among those that the planner looked at; None if it proves nothing.
        gap: `|objective - bound| / objective`; 0 if they are the same.
        solve_s: Time that planning took: a measurement, which nothing depends on.
        counts: Replicas rented of each candidate.
        assignment: The share of each type that the replicas of each candidate serve. The shares of a type sum
            to 1, less what is shed; a type of which nothing is demanded and which no rented replica can serve has only
            zeros.
        options: Pairs of an option of the planner and its value.
        diagnostics: What the user should know; without a plan, the reasons.
        capacities: What the planner counts on, if not on the capacities of the candidates; the objective is that of the
            assignment with these.
        router: Router of the fleet, if it has one of its own.
    """

    problem: PlanningProblem = field(compare=False)
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
    router: str | None = None

    def __repr__(self) -> str:
        return f"Plan({self.planner!r}, {self._in_words()})"

    def _repr_html_(self) -> str:
        """In a notebook: what is rented, or why nothing is."""
        from sim.notebook import html_table

        rows = [(row.candidate.model, row.candidate.name, row.count, f"{row.usd_per_h:,.2f}") for row in self.fleet]
        return html_table(f"{self.planner}: {self._in_words()}", ("model", "replica", "count", "$/h"), rows)

    def _in_words(self) -> str:
        if self.status is not PlanStatus.OK:
            return f"{self.status}: {'; '.join(self.diagnostics) or 'no reason given'}"
        fleet = " + ".join(f"{row.count} x {row.candidate.name}" for row in self.fleet) or "nothing"
        promised_rps = math.fsum(self.promised_rps.values())
        return f"{fleet} for {self.usd_per_h:,.2f} $/h, {promised_rps:,.2f} requests/s promised"

    @property
    def fleet(self) -> tuple[FleetRow, ...]:
        """What is rented."""
        return tuple(
            FleetRow(candidate, count, candidate.usd_per_h * count)
            for candidate, count in zip(self.problem.candidates, self.counts, strict=True)
            if count != 0
        )

    @property
    def usd_per_h(self) -> float:
        """Price of the fleet."""
        return self.problem.usd_per_h(self.counts)

    @property
    def promised_rps(self) -> dict[str, float]:
        """Requests/s of each model, of all types, that the plan says its fleet serves; empty without a plan.

        Where requests come in bursts it is the mean: the fleet can serve more at a time.
        """
        if self.objective is None:
            return {}
        match self.objective_name:
            case Objective.MAKESPAN:
                pace = 1 / self.objective
            case Objective.THROUGHPUT:
                pace = self.objective
            case Objective.COST | Objective.LATENCY:
                pace = 1.0
        promised = {}
        for demand, shed in zip(self.problem.demands, self.shed, strict=True):
            lost = math.fsum(amount * share for amount, share in zip(demand.amounts, shed, strict=True))
            promised[demand.model] = (demand.total - lost) * pace / demand.margin
        return promised

    @property
    def shed(self) -> Fractions:
        """For each demand, the share of each type that nobody serves; without a plan there is nothing to tell."""
        demands = self.problem.demands
        if self.status is not PlanStatus.OK:
            return tuple((0.0,) * len(demand.amounts) for demand in demands)
        return tuple(shed_shares(self.problem, demand, self.assignment) for demand in demands)

    def deployment(self) -> Deployment | None:
        """The fleet for the simulator, with a routing table for each model whose demand has a mix.

        Returns:
            None without a plan, if a rented candidate has no `spec`, or if nothing is rented since all is shed.
        """
        if self.status is not PlanStatus.OK:
            return None
        from sim.deployment import Deployment

        replicas = []
        rented = []
        for c, (candidate, count) in enumerate(zip(self.problem.candidates, self.counts, strict=True)):
            if count == 0:
                continue
            if candidate.spec is None:
                return None
            rented.append(c)
            replicas.append((candidate.spec, count))
        if not replicas:
            return None
        routing = []
        for demand in sorted(self.problem.demands, key=lambda demand: demand.model):
            table = self._routing_table(demand, rented)
            if table is not None:
                routing.append((demand.model, table))
        return Deployment(tuple(replicas), tuple(routing), self.router)

    def _routing_table(self, demand: Demand, rented: list[int]) -> RoutingTable | None:
        problem = self.problem
        mine = [c for c in rented if problem.candidates[c].model == demand.model]
        if demand.mix is None or not mine:
            return None
        from sim.deployment import RoutingTable

        # A type that nobody is meant to serve still needs a rule, for requests that the mix did not foresee. What is
        # shed of a type goes the way of the rest.
        n_replicas = sum(self.counts[c] for c in mine)
        is_foreseen = [any(self.assignment[c][w] > 0 for c in mine) for w in range(len(demand.type_names))]
        served = [1.0 - share for share in self.shed[problem.demands.index(demand)]]
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


def plan_by(planner: Planner, problem: PlanningProblem) -> Plan:
    """The plan of a planner; a failed one with the reason if the objective is none of its features."""
    objective = problem.objective
    if objective in planner.features:
        return planner.plan(problem)
    return Plan(
        problem=problem,
        planner=planner.name,
        status=PlanStatus.FAILED,
        termination=Termination.ERROR,
        objective_name=objective,
        objective=None,
        bound=None,
        gap=None,
        solve_s=0.0,
        counts=(0,) * len(problem.candidates),
        assignment=tuple((0.0,) * len(candidate.capacity_rps) for candidate in problem.candidates),
        diagnostics=(f"it does not plan for the objective {objective.value!r}",),
    )


def shed_shares(problem: PlanningProblem, demand: Demand, fractions: Fractions) -> tuple[float, ...]:
    """The share of each type of a model that nobody serves; 0 for those of which nothing is demanded."""
    mine = problem.candidates_of(demand.model)
    left = (1.0 - math.fsum(fractions[c][w] for c in mine) for w in range(len(demand.amounts)))
    pairs = zip(demand.amounts, left, strict=True)
    return tuple(share if amount > 0 and share > SHARE_TOLERANCE else 0.0 for amount, share in pairs)
