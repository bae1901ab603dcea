"""From a fleet to a checked plan, and from no fleet to the reasons: what all planners have in common."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from planners.fleets.assignment import RATE_TOLERANCE, Assignment, objective_of
from planners.fleets.check import broken_limits, check_plan
from planners.fleets.exact import best_fleet, cheapest_fleet
from planners.fleets.shedding import best_shares, value_with
from planners.problem.candidate import Fractions
from planners.problem.limits import limits_in_words, without_limits
from planners.problem.plan import Plan, PlanStatus, Termination
from planners.problem.problem import Objective, PlanningProblem

if TYPE_CHECKING:
    from pydantic import BaseModel

_SAID_BY_STATUS = {
    Termination.INFEASIBLE: PlanStatus.INFEASIBLE,
    Termination.TIME_LIMIT: PlanStatus.FAILED,
    Termination.ERROR: PlanStatus.FAILED,
}


class Drafting:
    """Makes the plans of one planner for one problem, and takes the time from when it was made.

    Args:
        problem: The problem.
        planner: Name of the planner.
        options: Its options, which go into the plan.
    """

    def __init__(self, problem: PlanningProblem, planner: str, options: BaseModel) -> None:
        self._problem = problem
        self._planner = planner
        self._options = tuple(sorted(options.model_dump().items()))
        self._started_s = time.perf_counter()

    def for_problem(self, problem: PlanningProblem) -> Drafting:
        """For the same planner, which began when this one did, but another problem."""
        other = copy(self)
        other._problem = problem
        return other

    def plan(
        self,
        counts: Sequence[int],
        termination: Termination,
        *,
        bound: float | None = None,
        assignment: Fractions | None = None,
        diagnostics: Sequence[str] = (),
        keeps_idle: bool = False,
    ) -> Plan:
        """The plan of a fleet, checked.

        Args:
            counts: Replicas of each candidate.
            termination: Why the planner stopped.
            bound: A value that no fleet beats (see `planners.fleets.assignment`): a makespan T, or for `cost` a price
                in USD/h; None if the planner has none, as all for `latency`.
            assignment: Shares by candidate and type; the best ones if None.
            diagnostics: What the user should know.
            keeps_idle: Whether candidates that the best assignment leaves idle are kept; otherwise they are given back.

        Returns:
            The plan; an infeasible one if the fleet cannot serve the demand; a failed one with the violations if
            it does not pass `check_plan`.
        """
        problem = self._problem
        kept = tuple(counts)
        if assignment is not None:
            fractions = assignment
            kept = _without_those(problem, kept, [c for c, row in enumerate(assignment) if not any(row)])
        elif keeps_idle:
            fractions = best_shares(problem, kept).fractions
        else:
            kept, (_, fractions) = _without_idle(problem, kept)
        value = math.inf if problem.is_empty else value_with(problem, kept, fractions)
        if value == math.inf:
            return self.none(Termination.INFEASIBLE, (*diagnostics, *why_infeasible(problem)))
        objective = objective_of(problem.objective, value)
        objective_bound, gap = _bound_and_gap(problem, objective, value, bound)
        plan = Plan(
            problem=problem,
            planner=self._planner,
            status=PlanStatus.OK,
            termination=termination,
            objective_name=problem.objective,
            objective=objective,
            bound=objective_bound,
            gap=gap,
            solve_s=0.0,
            counts=kept,
            assignment=fractions,
            options=self._options,
            diagnostics=tuple(diagnostics),
        )
        return replace(judged(plan), solve_s=time.perf_counter() - self._started_s)

    def none(self, termination: Termination, reasons: Sequence[str] = ()) -> Plan:
        """The plan that rents nothing, with the reasons; they are looked for if not given."""
        problem = self._problem
        return Plan(
            problem=problem,
            planner=self._planner,
            status=_SAID_BY_STATUS[termination],
            termination=termination,
            objective_name=problem.objective,
            objective=None,
            bound=None,
            gap=None,
            solve_s=time.perf_counter() - self._started_s,
            counts=(0,) * len(problem.candidates),
            assignment=tuple((0.0,) * len(candidate.capacity_rps) for candidate in problem.candidates),
            options=self._options,
            diagnostics=tuple(reasons) if reasons else why_infeasible(problem),
        )


def judged(plan: Plan) -> Plan:
    """The plan, or a failed one with the violations if it does not pass `check_plan`."""
    violations = check_plan(plan.problem, plan)
    if not violations:
        return plan
    reasons = (f"{violation.rule}: {violation.message}" for violation in violations)
    diagnostics = (*plan.diagnostics, *reasons)
    return replace(plan, status=PlanStatus.FAILED, termination=Termination.ERROR, diagnostics=diagnostics)


def _bound_and_gap(
    problem: PlanningProblem, objective: float, value: float, bound: float | None
) -> tuple[float | None, float | None]:
    """A bound on values as one on objectives, and the relative gap to it; None of both without a bound."""
    if bound is None or (bound <= 0 and problem.objective is not Objective.COST):
        return None, None
    # The assignment is exact, a solver's bound is within its tolerance.
    objective_bound = objective_of(problem.objective, max(0.0, min(bound, value)))
    gap = 0.0 if objective == objective_bound else abs(objective - objective_bound) / objective
    return objective_bound, gap


def why_infeasible(problem: PlanningProblem) -> tuple[str, ...]:
    """Why no fleet can serve what is demanded, in words for the user.

    >>> from planners.problem.candidate import Candidate, Demand
    >>> demand = Demand("m", None, ("chat",), (100.0,))
    >>> one = Candidate("a", "m", (("L40", 4),), 3.6, (2.0,))
    >>> why_infeasible(PlanningProblem((demand,), (one,), (("L40", 8),), budget_usd_per_h=3.0))
    ('the cheapest fleet that serves everything costs 3.6 $/h, the budget is 3 $/h',)
    >>> why_infeasible(PlanningProblem((demand,), (one,), (("L40", 2),), budget_usd_per_h=3.0))
    ('m: every replica needs more GPUs than there are, the smallest of them 4 L40; available: 2 L40',)
    """
    if problem.is_empty:
        return ("nothing is demanded: all amounts are 0",)
    reasons = []
    for demand in problem.demands:
        mine = [problem.candidates[c] for c in problem.candidates_of(demand.model)]
        if demand.total > 0 and not mine:
            reasons.append(f"{demand.model}: there is no candidate for this model")
            continue
        is_cost = problem.objective is Objective.COST
        if is_cost and demand.too_long is not None and demand.too_long.breaks_slo:
            reasons.append(demand.too_long.in_words(demand.model))
            continue
        unserved = [
            name
            for w, (name, amount) in enumerate(zip(demand.type_names, demand.amounts, strict=True))
            if amount > 0 and not any(candidate.capacity_rps[w] > 0 for candidate in mine)
        ]
        if unserved:
            within = _slo_in_words(problem, demand.model)
            reasons.append(f"{demand.model}: no candidate can serve {', '.join(unserved)}{within}")
    if reasons:
        return tuple(reasons)
    cheapest = cheapest_fleet(problem, within_budget=False)
    if cheapest is None:
        further = limits_in_words(problem)
        if further and cheapest_fleet(without_limits(problem), within_budget=False) is not None:
            return (f"no fleet that serves everything keeps to {further}",)
        return tuple(_why_unavailable(problem))
    usd_per_h = problem.spent_usd_per_h(cheapest)
    budget = f"the budget is {problem.budget_usd_per_h:g} $/h"
    if not problem.is_affordable(usd_per_h):
        return (f"the cheapest fleet that serves everything costs {usd_per_h:g} $/h, {budget}",)
    if problem.objective is not Objective.COST:
        return ("the fleet chosen cannot serve everything; another one could",)
    fastest = best_fleet(replace(problem, objective=Objective.THROUGHPUT), range(len(problem.candidates)))
    if fastest.value <= 1 + RATE_TOLERANCE:
        return ("the fleet chosen cannot carry the rates; another one could",)
    limits = " and ".join(["the GPUs available", *filter(None, [limits_in_words(problem)])])
    is_limited = problem.budget_usd_per_h < math.inf
    within = f"within {problem.budget_usd_per_h:g} $/h and" if is_limited else "with"
    return (f"no fleet carries more than {1 / fastest.bound:.3g} times the rates {within} {limits}",)


def _slo_in_words(problem: PlanningProblem, model: str) -> str:
    """What requests of a model should meet, as the end of a sentence; nothing if the problem does not say."""
    if problem.trial is None or problem.trial.slo is None:
        return ""
    slo = problem.trial.slo.of_model(model)
    limits = {"TTFT": slo.ttft_s, "TPOT": slo.tpot_s, "E2E": slo.e2e_s}
    asked = [f"{name} {limit_s:g} s" for name, limit_s in limits.items() if limit_s is not None]
    return f" within the SLO ({', '.join(asked)}) for {100 * slo.attainment:g} % of its requests" if asked else ""


def _why_unavailable(problem: PlanningProblem) -> list[str]:
    available = dict(problem.available)
    stock = ", ".join(f"{count} {gpu}" for gpu, count in problem.available) or "nothing"
    reasons = []
    for demand in problem.demands:
        mine = [problem.candidates[c] for c in problem.candidates_of(demand.model)]
        fits = any(all(n <= available[gpu] for gpu, n in candidate.gpus) for candidate in mine)
        if demand.total > 0 and not fits:
            smallest = min(mine, key=lambda candidate: candidate.n_gpus)
            needed = " + ".join(f"{n} {gpu}" for gpu, n in smallest.gpus)
            reasons.append(
                f"{demand.model}: every replica needs more GPUs than there are, "
                f"the smallest of them {needed}; available: {stock}"
            )
    return reasons or [f"there are not enough GPUs to serve everything at once; available: {stock}"]


def _without_idle(problem: PlanningProblem, counts: tuple[int, ...]) -> tuple[tuple[int, ...], Assignment]:
    """Give back replicas that the best assignment leaves without work; the makespan stays what it was.

    Those are kept whose return would cost more than they do, or break a limit that the fleet keeps to.
    """
    while True:
        found = best_shares(problem, counts)
        if found.makespan == math.inf:
            return counts, found
        idle = []
        for c, (candidate, shares) in enumerate(zip(problem.candidates, found.fractions, strict=True)):
            amounts = problem.demand(candidate.model).amounts
            if not any(x > 0 and f > 0 for x, f in zip(shares, amounts, strict=True)):
                idle.append(c)
        kept = _without_those(problem, counts, idle)
        if kept == counts:
            return counts, found
        counts = kept


def _without_those(problem: PlanningProblem, counts: tuple[int, ...], idle: Iterable[int]) -> tuple[int, ...]:
    """A fleet without the replicas of some candidates, but for those whose return would be worse."""
    for c in idle:
        without = (*counts[:c], 0, *counts[c + 1 :])
        if counts[c] > 0 and _is_no_worse(problem, without, counts):
            counts = without
    return counts


def _is_no_worse(problem: PlanningProblem, smaller: tuple[int, ...], counts: tuple[int, ...]) -> bool:
    """Whether a part of a fleet costs no more than all of it, and breaks no other limit."""
    if problem.spent_usd_per_h(smaller) > problem.spent_usd_per_h(counts):
        return False
    broken = {violation.rule for violation in broken_limits(problem, counts)}
    return broken >= {violation.rule for violation in broken_limits(problem, smaller)}
