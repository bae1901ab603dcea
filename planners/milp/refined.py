"""The planner `milp_refined`: plans of `milp`, corrected by what they deliver in simulation."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from planners.fleets.assignment import evaluate, objective_of, replica_times, value_of
from planners.fleets.linearise import capacities_of
from planners.fleets.shedding import in_full
from planners.milp.latency.refined import least_in_simulation
from planners.milp.options import MilpOptions
from planners.milp.planner import MilpPlanner
from planners.problem.candidate import Capacities
from planners.problem.corrected import corrected_problem
from planners.problem.plan import Plan, PlanStatus, Termination
from planners.problem.problem import Feature, Objective, PlanningProblem

if TYPE_CHECKING:
    from planners.problem.trial import Trial


MEASURED = 0.005
"""By which the pace of a plan must be better in simulation than that of the plan of `milp` to be taken instead."""


class RefinedOptions(MilpOptions):
    """Options of the planner `milp_refined`: those of `milp`, and when to stop."""

    tolerance: float = Field(default=0.02, gt=0, lt=1)
    """Relative difference between promise and delivery at which to stop; for `latency`, by which another plan must be
    better than that of `milp`."""
    max_rounds: int = Field(default=10, ge=1)
    """Most plans to simulate."""
    most_requests: int = Field(default=20_000, ge=1)
    """Most requests to simulate at a time."""


class RefinedPlanner:
    """Plans as `milp`, simulates the plan, corrects the capacities by what it delivers, and plans again.

    All capacities of a candidate are corrected by one factor: the pace that its replicas keep under load in simulation
    over the one that they promise, with the types that they share (`planners.problem.trial`); so is what the problem
    knows of mixes. A candidate that was not tried keeps its capacities, so that whatever may be better gets its turn.
    It ends when promise and delivery agree.
    The plan is the best in simulation of those tried, the first of which is that of `milp`: another must be better by
    more than measurements are off. What it promises is what it delivered, and its `capacities` are the corrected ones.
    For `latency` it is the best in simulation of several plans (`planners.milp.latency.refined`).
    For `makespan` the diagnostics tell how long the requests take with the end, when replicas run empty.

    Without the means to simulate it is the plan of `milp`. The first plan has the whole time limit, the others share
    another one; simulations come on top.
    """

    name = "milp_refined"
    features: frozenset[str] = frozenset(
        {Feature.MAKESPAN, Feature.THROUGHPUT, Feature.COST, Feature.LATENCY, Feature.SEVERAL_MODELS, Feature.NODES}
    )
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
        options, trial = self.options.model_copy(update={"keep_slo": False}), problem.trial
        from planners.fleets.delivery import delivered_makespan_s

        plan = MilpPlanner(options).plan(problem)
        if plan.status is not PlanStatus.OK:
            return plan
        if trial is None or plan.deployment() is None or any(demand.mix is None for demand in problem.demands):
            return replace(plan, diagnostics=(*plan.diagnostics, "nothing can be simulated: this is the plan of milp"))
        limit_s = problem.time_limit_s if options.time_limit_s is None else options.time_limit_s
        again = MilpPlanner(options.model_copy(update={"time_limit_s": limit_s / options.max_rounds}))
        if problem.objective is Objective.LATENCY:
            return least_in_simulation(
                problem,
                plan,
                trial,
                again.plan,
                max_plans=options.max_rounds,
                most_requests=options.most_requests,
                worth=options.tolerance,
            )
        factors: dict[str, float] = {}
        tries = [_Try.of(problem, plan, trial, options.most_requests)]
        while tries[-1].error > options.tolerance and len(tries) < options.max_rounds:
            for name, factor in tries[-1].factors.items():
                factors[name] = factors.get(name, 1.0) * factor
            corrected = corrected_problem(problem, factors)
            plan = again.plan(corrected)
            if plan.status is not PlanStatus.OK:
                break
            tries.append(_Try.of(corrected, plan, trial, options.most_requests))
        kept = _best_of(problem, tries)
        if problem.objective is not Objective.MAKESPAN:
            return kept
        makespan_s = delivered_makespan_s(problem, kept, trial, options.most_requests)
        said = f"its makespan in simulation is {makespan_s:.4g} s, with the end in which replicas run empty"
        return replace(kept, diagnostics=(*kept.diagnostics, said))


@dataclass(frozen=True, slots=True)
class _Try:
    """A plan and what it delivers.

    Attributes:
        problem: With the capacities that the plan promises by.
        plan: The plan.
        promised: T of the plan (see `planners.fleets.assignment`).
        factors: Of each candidate that was tried, by name: the pace delivered over the pace promised.
        delivered: The capacities that its replicas have in simulation.
        makespan: T with these.
    """

    problem: PlanningProblem
    plan: Plan
    promised: float
    factors: dict[str, float]
    delivered: Capacities
    makespan: float

    @classmethod
    def of(cls, problem: PlanningProblem, plan: Plan, trial: Trial, most_requests: int) -> _Try:
        from planners.fleets.delivery import delivered_paces

        if plan.capacities is not None:
            problem = problem.with_capacities(plan.capacities)
        times = replica_times(problem, plan.counts, plan.assignment)
        paces = delivered_paces(problem, plan, trial, most_requests)
        factors = {problem.candidates[c].name: pace * times[c] for c, pace in paces.items()}
        delivered = capacities_of(corrected_problem(problem, factors))
        makespan = evaluate(problem.with_capacities(delivered), plan.counts, plan.assignment)
        return cls(problem, plan, max(times), factors, delivered, makespan)

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
    if problem.objective is not Objective.COST and kept.makespan > tries[0].makespan * (1 - MEASURED):
        kept = tries[0]
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
        return replace(plan, capacities=capacities_of(kept.problem), diagnostics=(*plan.diagnostics, *story))
    objective = objective_of(problem.objective, value)
    return replace(plan, objective=objective, capacities=kept.delivered, diagnostics=(*plan.diagnostics, *story))


def _said(problem: PlanningProblem, plan: Plan, makespan: float) -> str:
    match problem.objective:
        case Objective.MAKESPAN | Objective.LATENCY:
            return f"{makespan:.4g} s"
        case Objective.THROUGHPUT:
            return f"{1 / makespan:.4g} x the offered requests"
        case Objective.COST:
            return f"{1 / makespan:.4g} x the offered requests for {plan.usd_per_h:.4g} $/h"
