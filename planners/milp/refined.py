"""The planner `milp_refined`: plans of `milp`, corrected by what they deliver in simulation."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from planners.fleets.assignment import evaluate, objective_of, replica_times, value_of
from planners.fleets.shedding import in_full
from planners.milp.options import MilpOptions
from planners.milp.planner import MilpPlanner
from planners.problem.candidate import Capacities
from planners.problem.plan import Plan, PlanStatus, Termination
from planners.problem.problem import Feature, Objective, PlanningProblem

if TYPE_CHECKING:
    from planners.problem.trial import Trial


class RefinedOptions(MilpOptions):
    """Options of the planner `milp_refined`: those of `milp`, and when to stop."""

    tolerance: float = Field(default=0.02, gt=0, lt=1)
    """Relative difference between promise and delivery at which to stop."""
    max_rounds: int = Field(default=10, ge=1)
    """Most plans to simulate."""
    most_requests: int = Field(default=20_000, ge=1)
    """Most requests to simulate at a time."""


class RefinedPlanner:
    """Plans as `milp`, simulates the plan, corrects the capacities by what it delivers, and plans again.

    All capacities of a candidate are corrected by one factor: the pace that its replicas keep in simulation over the
    one that they promise, with the types that they share (`planners.problem.trial`). A candidate that was not tried
    keeps the capacities of the problem, so that whatever may be better gets its turn. It ends when promise and delivery
    agree.
    The plan is the best in simulation of those tried, the first of which is that of `milp`; what it promises is what it
    delivered, and its `capacities` are the corrected ones.

    Without the means to simulate it is the plan of `milp`. The first plan has the whole time limit, the others share
    another one; simulations come on top.
    """

    name = "milp_refined"
    features: frozenset[str] = frozenset({Feature.MAKESPAN, Feature.THROUGHPUT, Feature.COST, Feature.SEVERAL_MODELS})
    Options: type[BaseModel] = RefinedOptions

    def __init__(self, options: RefinedOptions | None = None) -> None:
        self.options = options if options is not None else RefinedOptions()

    def plan(self, problem: PlanningProblem) -> Plan:
        """Choose a fleet for the problem."""
        started_s = time.perf_counter()
        plan = self._plan(in_full(problem))
        options = tuple(sorted(self.options.model_dump().items()))
        return replace(
            plan, problem=problem, planner=self.name, options=options, solve_s=time.perf_counter() - started_s
        )

    def _plan(self, problem: PlanningProblem) -> Plan:
        options, trial = self.options, problem.trial
        plan = MilpPlanner(options).plan(problem)
        if plan.status is not PlanStatus.OK:
            return plan
        if trial is None or plan.deployment() is None or any(demand.mix is None for demand in problem.demands):
            return replace(plan, diagnostics=(*plan.diagnostics, "nothing can be simulated: this is the plan of milp"))
        limit_s = problem.time_limit_s if options.time_limit_s is None else options.time_limit_s
        again = MilpPlanner(options.model_copy(update={"time_limit_s": limit_s / options.max_rounds}))
        tries = [_Try.of(problem, plan, trial, options.most_requests)]
        while tries[-1].error > options.tolerance and len(tries) < options.max_rounds:
            corrected = tries[-1].problem.with_capacities(tries[-1].delivered)
            plan = again.plan(corrected)
            if plan.status is not PlanStatus.OK:
                break
            tries.append(_Try.of(corrected, plan, trial, options.most_requests))
        return _best_of(problem, tries)


@dataclass(frozen=True, slots=True)
class _Try:
    """A plan and what it delivers.

    Attributes:
        problem: With the capacities that it was planned with.
        plan: The plan.
        promised: T of the plan (see `planners.fleets.assignment`).
        delivered: The capacities that its replicas have in simulation.
        makespan: T with these.
    """

    problem: PlanningProblem
    plan: Plan
    promised: float
    delivered: Capacities
    makespan: float

    @classmethod
    def of(cls, problem: PlanningProblem, plan: Plan, trial: Trial, most_requests: int) -> _Try:
        from planners.milp.delivery import delivered_paces

        times = replica_times(problem, plan.counts, plan.assignment)
        paces = delivered_paces(problem, plan, trial, most_requests)
        delivered = tuple(
            tuple(paces[c] * times[c] * rps for rps in candidate.capacity_rps) if c in paces else candidate.capacity_rps
            for c, candidate in enumerate(problem.candidates)
        )
        makespan = evaluate(problem.with_capacities(delivered), plan.counts, plan.assignment)
        return cls(problem, plan, max(times), delivered, makespan)

    @property
    def error(self) -> float:
        """|delivered pace / promised pace - 1|."""
        return abs(self.promised / self.makespan - 1)

    @property
    def value(self) -> tuple[float, float]:
        """What planners minimise, then T: of fleets that do not carry the rates (`cost`), only T tells the better."""
        return value_of(self.problem, self.plan.counts, self.makespan), self.makespan


def _best_of(problem: PlanningProblem, tries: list[_Try]) -> Plan:
    """The plan of the best try, with what was delivered as its promise, and the story in its diagnostics."""
    kept = min(tries, key=lambda one: one.value)
    value, _ = kept.value
    story = [
        f"plan {number}: promised {_said(problem, one.plan, one.promised)}, "
        f"delivered {_said(problem, one.plan, one.makespan)} in simulation"
        for number, one in enumerate(tries, start=1)
    ]
    story.append(f"plan {tries.index(kept) + 1} is the best in simulation")
    plan = replace(kept.plan, termination=Termination.HEURISTIC, bound=None, gap=None)
    if value == math.inf:
        story.append("in simulation no plan tried carries all that is demanded")
        return replace(plan, capacities=_capacities(kept.problem), diagnostics=(*plan.diagnostics, *story))
    objective = objective_of(problem.objective, value)
    return replace(plan, objective=objective, capacities=kept.delivered, diagnostics=(*plan.diagnostics, *story))


def _capacities(problem: PlanningProblem) -> Capacities:
    return tuple(candidate.capacity_rps for candidate in problem.candidates)


def _said(problem: PlanningProblem, plan: Plan, makespan: float) -> str:
    match problem.objective:
        case Objective.MAKESPAN | Objective.LATENCY:
            return f"{makespan:.4g} s"
        case Objective.THROUGHPUT:
            return f"{1 / makespan:.4g} x the offered requests"
        case Objective.COST:
            return f"{1 / makespan:.4g} x the offered requests for {plan.usd_per_h:.4g} $/h"
