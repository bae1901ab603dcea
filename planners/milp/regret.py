"""How good a fleet is in several cases, beside the best fleet of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from planners.fleets.assignment import RATE_TOLERANCE, best_assignment
from planners.fleets.check import broken_limits
from planners.milp.core import Effort, run_highs
from planners.milp.extract import extract
from planners.milp.formulation import formulate
from planners.milp.robust_formulation import OF_EACH_CASE, Criterion
from planners.milp.solve import Counts
from planners.problem.problem import Objective, PlanningProblem


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges fleets that are rented now by what survives of them in each case.

    Attributes:
        cases: The planning problem of each case by name, the one of now first.
        best_paces: The pace of the best fleet of each case; 1 for the objective `cost`, which asks for no more.
        weights: Weights of the cases, for the mean.
        criterion: What counts.
        gap: Relative gap at which the choice of survivors stops.
        time_limit_s: Most time for a choice of survivors.
    """

    cases: Mapping[str, PlanningProblem]
    best_paces: Mapping[str, float]
    weights: Mapping[str, float]
    criterion: Criterion
    gap: float
    time_limit_s: float

    @property
    def now(self) -> PlanningProblem:
        """The case of now."""
        return next(iter(self.cases.values()))

    def can_rent(self, counts: Counts) -> bool:
        """Whether a fleet keeps to all limits now."""
        return next(broken_limits(self.now, counts), None) is None

    def survivors(self, name: str, counts: Counts) -> Counts:
        """The part of a fleet with the largest pace, of those that a case has GPUs for."""
        case = replace(self.cases[name], objective=Objective.THROUGHPUT)
        if _fits(case, counts):
            return counts
        formulation = formulate(case, self.best_paces[name], ("pace", *OF_EACH_CASE))
        for c, count in formulation.counts.items():
            count.upBound = min(count.upBound, counts[c])
        run_highs(formulation.lp, Effort(self.gap, self.time_limit_s, case.seed))
        return extract(formulation).counts or (0,) * len(counts)

    def pace(self, name: str, counts: Counts) -> float:
        """The pace of the survivors of a fleet in a case; 0 if they cannot serve everything."""
        return 1.0 / best_assignment(self.cases[name], self.survivors(name, counts)).makespan

    def paces(self, counts: Counts) -> dict[str, float]:
        """The pace in each case."""
        return {name: self.pace(name, counts) for name in self.cases}

    def regret(self, name: str, pace: float) -> float:
        """The share of the best pace of a case that is missed; for the objective `cost`, of the rates."""
        return max(0.0, 1 - pace / self.best_paces[name])

    def score(self, counts: Counts, paces: Mapping[str, float]) -> float:
        """What the criterion says of a fleet with these paces: the larger, the better. For `cost` minus the price.

        A fleet that cannot serve everything in each case (for `cost` in time) is minus infinity.
        """
        if self.now.objective is Objective.COST:
            is_carried = all(pace * (1 + RATE_TOLERANCE) >= 1 for pace in paces.values())
            return -self.now.spent_usd_per_h(counts) if is_carried else -math.inf
        if min(paces.values()) == 0:
            return -math.inf
        match self.criterion:
            case "worst":
                return min(paces.values())
            case "regret":
                return min(pace / self.best_paces[name] for name, pace in paces.items())
            case "mean":
                total = math.fsum(self.weights.values())
                return math.fsum(self.weights[name] * pace for name, pace in paces.items()) / total

    def table(self, fleets: Mapping[str, tuple[Counts, Mapping[str, float]]]) -> tuple[str, ...]:
        """Lines of text: the regret of each fleet in each case, and the largest."""
        rows = [("regret", "$/h", *self.cases, "worst")]
        for name, (counts, paces) in fleets.items():
            regrets = [self.regret(case, pace) for case, pace in paces.items()]
            shown = [f"{100 * regret:.1f} %" for regret in (*regrets, max(regrets))]
            rows.append((name, f"{self.now.usd_per_h(counts):.2f}", *shown))
        return tuple(_aligned(rows))


def _fits(problem: PlanningProblem, counts: Counts) -> bool:
    available = dict(problem.available)
    return all(n <= available[gpu] for gpu, n in problem.gpus(counts).items())


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(n) for cell, n in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
