"""The planner `milp_robust`: one fleet that is good in several cases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationInfo, field_validator

from planners.errors import PlannerError
from planners.fleets.assignment import best_assignment
from planners.fleets.drafting import Drafting
from planners.fleets.exact import PROVED_GAP
from planners.fleets.shedding import in_full
from planners.milp.extract import Finding
from planners.milp.options import MilpOptions
from planners.milp.planner import MilpPlanner
from planners.milp.regret import Judge
from planners.milp.robust_formulation import Criterion, RobustFleet, solve_robust
from planners.milp.solve import Counts
from planners.problem.cases import NOW
from planners.problem.plan import Plan, PlanStatus, Termination
from planners.problem.problem import Feature, Objective, PlanningProblem

_SAID = {
    "worst": "pace of the worst case",
    "mean": "mean pace",
    "regret": "share of the best pace in the worst case",
}
_WITHOUT_FLEET = {
    Finding.OPTIMAL: Termination.INFEASIBLE,
    Finding.INFEASIBLE: Termination.INFEASIBLE,
    Finding.FAILED: Termination.ERROR,
}


class RobustOptions(BaseModel):
    """Options of the planner `milp_robust`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    criterion: Criterion = "worst"
    """Largest pace in the worst case, largest mean pace, or least regret in the worst case."""
    weights: dict[str, PositiveFloat] = {}
    """For `mean`: weights of the cases by name, `now` being the problem itself; 1 where none is given."""
    gap: float = Field(default=1e-4, ge=0, lt=1)
    """Relative gap at which to stop."""
    time_limit_s: float | None = Field(default=None, gt=0)
    """Most time that the solver may take; the problem's limit if None."""

    @field_validator("weights")
    @classmethod
    def _of_a_mean(cls, weights: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        if weights and info.data.get("criterion", "mean") != "mean":
            msg = f"weights are for the criterion 'mean', not for {info.data['criterion']!r}"
            raise ValueError(msg)
        return weights


class RobustPlanner:
    """Rents one fleet that is good now and in all cases of the problem, and assigns requests anew in each.

    Where a case has fewer GPUs than the fleet takes, the best part of it survives. The pace of a case is 1 / T: one
    over its makespan, or the multiple of its rates. The regret of a fleet in a case is the share that it misses of the
    pace of the fleet that is best for the case alone. The criterion is the least pace (`worst`), the weighted mean of
    the paces (`mean`) or the largest regret (`regret`); for the objective `cost`, the price of a fleet that carries the
    rates of all cases. The diagnostics have a table of regrets: of this fleet, and of those that are best for one case
    and can be rented now.

    The assignment of the plan is the one for now, and so is its objective; replicas without work are for other cases.
    Half of the time limit is for the cases alone.
    """

    name = "milp_robust"
    features: frozenset[str] = frozenset(
        {Feature.MAKESPAN, Feature.THROUGHPUT, Feature.COST, Feature.SEVERAL_MODELS, Feature.NODES}
    )
    Options: type[BaseModel] = RobustOptions

    def __init__(self, options: RobustOptions | None = None) -> None:
        self.options = options if options is not None else RobustOptions()

    def plan(self, problem: PlanningProblem) -> Plan:
        """Choose a fleet for the problem.

        Raises:
            PlannerError: A weight is given for a case that the problem does not have.
        """
        drafting = Drafting(problem, self.name, self.options)
        options = self.options
        problem = replace(in_full(problem), previous=None)
        cases = {NOW: replace(problem, cases=())} | {case.name: problem.in_case(case) for case in problem.cases}
        weights = _weights(options.weights, cases)
        limit_s = problem.time_limit_s if options.time_limit_s is None else options.time_limit_s
        alone = MilpPlanner(MilpOptions(gap=options.gap, time_limit_s=limit_s / 2 / len(cases), linearise=False))
        best = {name: alone.plan(case) for name, case in cases.items()}
        for name, plan in best.items():
            if plan.status is not PlanStatus.OK:
                where = f"{name}: " if problem.cases else ""
                return drafting.none(plan.termination, [where + reason for reason in plan.diagnostics])
        paces = {name: 1.0 / best_assignment(cases[name], plan.counts).makespan for name, plan in best.items()}
        if problem.objective is Objective.COST:
            paces = dict.fromkeys(cases, 1.0)
        judge = Judge(cases, paces, weights, options.criterion, options.gap, limit_s / 2 / len(cases))
        found = solve_robust(
            list(cases.values()),
            list(paces.values()),
            options.criterion,
            list(weights.values()),
            options.gap,
            limit_s / 2,
        )
        fleets = {f"best for {name}": plan.counts for name, plan in best.items() if judge.can_rent(plan.counts)}
        return self._choose(drafting, judge, found, fleets)

    def _choose(self, drafting: Drafting, judge: Judge, found: RobustFleet, fleets: dict[str, Counts]) -> Plan:
        """The plan of the best fleet: the solver's, unless it had no time, or is within its gap of another."""
        if found.counts is not None:
            fleets = {self.name: found.counts} | fleets
        judged = {name: (counts, judge.paces(counts)) for name, counts in fleets.items()}
        scores = {name: judge.score(*of_fleet) for name, of_fleet in judged.items()}
        chosen = max(scores, key=lambda name: scores[name], default="")
        is_open = found.finding not in {Finding.OPTIMAL, Finding.INFEASIBLE}
        if scores.get(chosen, -math.inf) == -math.inf:
            why = f"was found (HiGHS: {found.solver_status})" if is_open else "can be rented now"
            reason = f"no fleet {why} that serves everything in all cases"
            return drafting.none(_WITHOUT_FLEET.get(found.finding, Termination.TIME_LIMIT), (reason,))
        counts, score = _in_use(judge, fleets[chosen]), scores[chosen]
        judged = {self.name: (counts, judged[chosen][1])} | {k: v for k, v in judged.items() if k != self.name}
        diagnostics = [*_losses(judge, counts), *judge.table(judged)]
        if judge.now.objective is not Objective.COST:
            said = f"{_SAID[judge.criterion]}: {score:.6g}, of no fleet above {found.bound:.6g}"
            diagnostics.insert(0, said)
        termination = Termination.HEURISTIC if found.finding is Finding.FAILED else Termination.TIME_LIMIT
        if not is_open:
            is_proved = found.bound - score <= PROVED_GAP * abs(score)
            termination = Termination.OPTIMAL if is_proved else Termination.GAP_REACHED
        return drafting.plan(counts, termination, diagnostics=diagnostics, keeps_idle=True)


def _weights(given: Mapping[str, float], cases: Mapping[str, PlanningProblem]) -> dict[str, float]:
    from traces.errors import nearest

    for name in given:
        if name not in cases:
            msg = f"a weight is given for {name!r}, which is no case of the problem: {nearest(name, cases)}"
            raise PlannerError(msg)
    return {name: given.get(name, 1.0) for name in cases}


def _in_use(judge: Judge, counts: Counts) -> Counts:
    """A fleet without candidates that have nothing to do in any case."""
    used = [False] * len(counts)
    for name, case in judge.cases.items():
        assignment = best_assignment(case, judge.survivors(name, counts)).fractions
        for c, candidate in enumerate(case.candidates):
            amounts = case.demand(candidate.model).amounts
            used[c] |= any(x > 0 and amount > 0 for x, amount in zip(assignment[c], amounts, strict=True))
    return tuple(count if is_used else 0 for count, is_used in zip(counts, used, strict=True))


def _losses(judge: Judge, counts: Counts) -> list[str]:
    """What is lost of a fleet in each case."""
    lines = []
    for name, case in judge.cases.items():
        left = judge.survivors(name, counts)
        lost = [
            f"{count - n} x {candidate.name}"
            for candidate, count, n in zip(case.candidates, counts, left, strict=True)
            if n < count
        ]
        if lost:
            lines.append(f"{name}: without {', '.join(lost)}")
    return lines
