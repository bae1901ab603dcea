"""The only judge of feasibility: everything that a plan must satisfy, whoever made it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from planners.fleets.assignment import evaluate, objective_of
from planners.fleets.shedding import servable, value_with
from planners.problem.limits import limits_of
from planners.problem.plan import SHARE_TOLERANCE, Plan, PlanStatus
from planners.problem.problem import Objective, PlanningProblem

OBJECTIVE_TOLERANCE = 1e-6


class Rule(StrEnum):
    """What a plan can violate, beside the limits of `planners.problem.limits`."""

    SHAPE = "shape"
    INTEGRALITY = "integrality"
    NON_NEGATIVITY = "non_negativity"
    BUDGET = "budget"
    AVAILABILITY = "availability"
    ASSIGNMENT = "assignment"
    CAPACITY = "capacity"
    OBJECTIVE = "objective"
    REASON = "reason"


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule or limit that a plan breaks, and where."""

    rule: str
    message: str


def check_plan(problem: PlanningProblem, plan: Plan) -> list[Violation]:
    """All that is wrong with a plan; nothing if it is feasible and its objective is true.

    Counts are whole and not negative, the fleet keeps to budget, availability and the other limits, each type that is
    demanded is assigned in full, unless it may be shed (`planners.fleets.shedding`), to rented replicas that can serve
    it, for the objective `cost` in time, and the objective is the one that the assignment has, to a relative 1e-6. A
    plan with capacities of its own is judged by these. A plan without a fleet must say why.

    >>> from planners.problem.problem import Objective
    >>> from planners.problem.candidate import Candidate, Demand
    >>> from planners.problem.plan import Termination
    >>> demand = Demand("m", None, ("chat",), (100.0,))
    >>> one = Candidate("a", "m", (("L40", 1),), 1.0, (2.0,))
    >>> problem = PlanningProblem((demand,), (one,), (("L40", 2),), budget_usd_per_h=2.0)
    >>> plan = Plan(problem=problem, planner="by hand", status=PlanStatus.OK, termination=Termination.HEURISTIC,
    ...             objective_name=Objective.MAKESPAN, objective=16.7, bound=None, gap=None, solve_s=0.0,
    ...             counts=(3,), assignment=((1.0,),))
    >>> [violation.message for violation in check_plan(problem, plan)]  # doctest: +NORMALIZE_WHITESPACE
    ['the fleet costs 3 $/h, the budget is 2', '3 GPUs of type L40 are rented, 2 are available',
     'the objective is said to be 16.7, the assignment has 16.6667']
    """
    if plan.status is not PlanStatus.OK:
        if plan.diagnostics:
            return []
        return [Violation(Rule.REASON, f"the plan is {plan.status} and does not say why")]
    violations = list(_shape(problem, plan))
    if not violations:
        problem = problem if plan.capacities is None else problem.with_capacities(plan.capacities)
        problem = servable(problem)
        violations = [*_fleet(problem, plan), *_assignment(problem, plan)]
        violations += _objective(problem, plan)
    return violations


def _shape(problem: PlanningProblem, plan: Plan) -> Iterable[Violation]:
    n = len(problem.candidates)
    if len(plan.counts) != n or len(plan.assignment) != n:
        message = f"{len(plan.counts)} counts and {len(plan.assignment)} assignments for {n} candidates"
        yield Violation(Rule.SHAPE, message)
        return
    for candidate, shares in zip(problem.candidates, plan.assignment, strict=True):
        if len(shares) != len(candidate.capacity_rps):
            message = f"{candidate.name}: {len(shares)} shares for {len(candidate.capacity_rps)} workload types"
            yield Violation(Rule.SHAPE, message)


def _fleet(problem: PlanningProblem, plan: Plan) -> Iterable[Violation]:
    for candidate, count in zip(problem.candidates, plan.counts, strict=True):
        if not _is_int(count):
            yield Violation(Rule.INTEGRALITY, f"{candidate.name}: {count!r} replicas; the count must be an int")
        if count < 0:
            yield Violation(Rule.NON_NEGATIVITY, f"{candidate.name}: {count!r} replicas")
    yield from broken_limits(problem, plan.counts)


def broken_limits(problem: PlanningProblem, counts: Sequence[int]) -> Iterator[Violation]:
    """The limits on a fleet that it does not keep to: budget, availability, and the others."""
    usd_per_h = problem.spent_usd_per_h(counts)
    if not problem.is_affordable(usd_per_h):
        stopped = "" if problem.previous is None else ", with what it stops of the previous one"
        message = f"the fleet costs {usd_per_h:g} $/h{stopped}, the budget is {problem.budget_usd_per_h:g}"
        yield Violation(Rule.BUDGET, message)
    taken = problem.gpus(counts)
    available = problem.rentable
    for gpu, n in taken.items():
        if n > available[gpu]:
            message = f"{n} GPUs of type {gpu} are rented, {available[gpu]} are available"
            yield Violation(Rule.AVAILABILITY, message)
    for limit in limits_of(problem):
        for message in limit.broken(problem, counts):
            yield Violation(limit.rule, message)


def _is_int(count: object) -> bool:
    return isinstance(count, int) and not isinstance(count, bool)


def _assignment(problem: PlanningProblem, plan: Plan) -> Iterable[Violation]:
    for demand in problem.demands:
        mine = problem.candidates_of(demand.model)
        for w, (name, amount) in enumerate(zip(demand.type_names, demand.amounts, strict=True)):
            where = f"{demand.model}, {name}"
            shares = [plan.assignment[c][w] for c in mine]
            total = math.fsum(shares)
            is_left_out = amount == 0 and not any(shares)
            is_shed = problem.objective is Objective.COST and demand.can_shed(w) and total < 1
            if not abs(total - 1) <= SHARE_TOLERANCE and not is_left_out and not is_shed:
                yield Violation(Rule.ASSIGNMENT, f"{where}: the shares sum to {total:g}")
            for c, share in zip(mine, shares, strict=True):
                candidate = problem.candidates[c]
                if not share >= 0:
                    yield Violation(Rule.NON_NEGATIVITY, f"{where}: {candidate.name} has a share of {share!r}")
                if share > 0 and plan.counts[c] == 0:
                    yield Violation(Rule.CAPACITY, f"{where}: {candidate.name} has a share, but is not rented")
                if share > 0 and candidate.capacity_rps[w] == 0:
                    yield Violation(Rule.CAPACITY, f"{where}: {candidate.name} has a share, but no capacity")


def _objective(problem: PlanningProblem, plan: Plan) -> Iterable[Violation]:
    if plan.objective_name is not problem.objective or plan.objective is None:
        message = f"the objective is {plan.objective_name} {plan.objective}, asked for is {problem.objective}"
        yield Violation(Rule.OBJECTIVE, message)
        return
    value = value_with(problem, plan.counts, plan.assignment)
    if problem.objective is Objective.COST and value == math.inf:
        makespan = evaluate(problem, plan.counts, plan.assignment, may_shed=True)
        message = f"the assignment carries {1 / makespan:g} of the rates demanded, not all"
        yield Violation(Rule.CAPACITY, message)
        return
    objective = objective_of(problem.objective, value) if value > 0 else 0.0
    if not math.isclose(plan.objective, objective, rel_tol=OBJECTIVE_TOLERANCE):
        message = f"the objective is said to be {plan.objective:g}, the assignment has {objective:g}"
        yield Violation(Rule.OBJECTIVE, message)
