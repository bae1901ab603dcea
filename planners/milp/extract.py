"""What the solver found, read from its own records: PuLP says "Optimal" after a time limit, too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import highspy
import pulp

from planners.milp.formulated import Formulation


class Finding(StrEnum):
    """What the solver says of a MILP: `unknown` if it was stopped, `failed` if it stopped for any other reason."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"
    FAILED = "failed"


_STOPPED = {highspy.HighsModelStatus.kTimeLimit, highspy.HighsModelStatus.kInterrupt}
_HAS_BOUND = {
    highspy.HighsModelStatus.kOptimal,
    highspy.HighsModelStatus.kTimeLimit,
    highspy.HighsModelStatus.kInterrupt,
    highspy.HighsModelStatus.kInfeasible,
}


@dataclass(frozen=True, slots=True)
class Found:
    """The solver's result.

    Attributes:
        finding: Whether the solution is optimal (to the gap asked for), or what else.
        counts: Replicas of each candidate; None without a solution.
        value_bound: No fleet has a lower value (see `planners.fleets.assignment`); 0 if the solver proved nothing.
        solver_status: HiGHS's own word.
    """

    finding: Finding
    counts: tuple[int, ...] | None
    value_bound: float
    solver_status: str


def extract(formulation: Formulation) -> Found:
    """Read the result of a solved formulation."""
    finding, bound, solver_status = read_finding(formulation.lp)
    counts = read_counts(formulation) if finding in {Finding.OPTIMAL, Finding.FEASIBLE} else None
    return Found(finding, counts, formulation.value(bound * formulation.lp.sense), solver_status)


def read_finding(lp: pulp.LpProblem) -> tuple[Finding, float, str]:
    """What the solver says of a solved MILP, the bound of its objective, and HiGHS's own word."""
    highs: highspy.Highs = lp.solverModel
    status = highs.getModelStatus()
    least = highs.getInfo().mip_dual_bound if status in _HAS_BOUND else -math.inf
    bound = least * lp.sense  # PuLP has HiGHS minimise the negative of what is maximised
    if lp.sol_status == pulp.LpSolutionOptimal and status == highspy.HighsModelStatus.kOptimal:
        finding = Finding.OPTIMAL
    elif status in _STOPPED and highs.getInfo().primal_solution_status == highspy.kSolutionStatusFeasible:
        finding = Finding.FEASIBLE
    elif lp.sol_status == pulp.LpSolutionInfeasible:
        finding = Finding.INFEASIBLE
    else:
        finding = Finding.UNKNOWN if status in _STOPPED else Finding.FAILED
    return finding, bound, highs.modelStatusToString(status)


def read_counts(formulation: Formulation) -> tuple[int, ...]:
    """Replicas of each candidate in the solution."""
    values = {c: variable.varValue or 0.0 for c, variable in formulation.counts.items()}
    return tuple(round(values.get(c, 0.0)) for c in range(len(formulation.problem.candidates)))
