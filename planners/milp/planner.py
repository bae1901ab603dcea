"""The planner `milp`: the best fleet, proved."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from planners.assignment import best_assignment
from planners.base import Feature, Objective, Plan, PlanningProblem, Termination
from planners.fill import by_value, fill
from planners.milp.formulation import formulate
from planners.milp.options import MilpOptions
from planners.milp.solve import solve_bisection, solve_direct
from planners.outcome import Drafting

_METHODS = {"direct": solve_direct, "bisection": solve_bisection}


class MilpPlanner:
    """Solves the planning problem exactly, as a mixed-integer linear program, with HiGHS.

    Composition of the fleet, configuration of the replicas and assignment of requests are chosen together, as in
    arXiv:2502.00722. Only the counts are taken from the solver: the assignment is optimised again for them, and
    the plan goes through `check_plan`. If the time limit comes first, the plan is the best fleet known, with its gap.
    """

    name = "milp"
    features: frozenset[str] = frozenset(
        {Feature.MAKESPAN, Feature.THROUGHPUT, Feature.COST, Feature.SEVERAL_MODELS, Feature.BOUND}
    )
    Options: type[BaseModel] = MilpOptions
    argument = "method"

    def __init__(self, options: MilpOptions | None = None) -> None:
        self.options = options if options is not None else MilpOptions()
        if self.options.method != "direct":
            self.name = f"milp:{self.options.method}"

    def plan(self, problem: PlanningProblem) -> Plan:
        """Choose a fleet for the problem."""
        drafting = Drafting(problem, self.name, self.options)
        filled = fill(problem, by_value)
        if filled is None and problem.objective is not Objective.COST:
            return drafting.none(Termination.INFEASIBLE)
        start = None if filled is None else filled[0]
        limit_s = self.options.time_limit_s
        solved = _METHODS[self.options.method](
            problem, start, self.options.gap, problem.time_limit_s if limit_s is None else limit_s
        )
        if solved.counts is None:
            return drafting.none(solved.termination, solved.diagnostics)
        return drafting.plan(solved.counts, solved.termination, bound=solved.bound, diagnostics=solved.diagnostics)


def write_lp(problem: PlanningProblem, path: str | Path) -> None:
    """Write the MILP of a problem in the LP format, which solvers and people can read.

    The variables are scaled as `planners.milp.formulation` says; a problem without a plan is not scaled.
    """
    start = None if problem.objective is Objective.COST else fill(problem, by_value)
    scale = 1.0 if start is None else 1.0 / best_assignment(problem, start[0]).makespan
    formulate(problem, scale).lp.writeLP(str(path))
