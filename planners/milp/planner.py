"""The planner `milp`: the best fleet, proved."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from planners.assignment import best_assignment
from planners.base import Feature, Objective, Plan, PlanningProblem, Termination
from planners.fill import by_value, fill
from planners.milp.ablations import assign, with_uniform_composition, with_uniform_deployment
from planners.milp.formulation import formulate
from planners.milp.options import MilpOptions
from planners.milp.solve import Solved, solve_bisection, solve_direct
from planners.outcome import Drafting

_METHODS = {"direct": solve_direct, "bisection": solve_bisection}


class MilpPlanner:
    """Solves the planning problem exactly, as a mixed-integer linear program, with HiGHS.

    Composition of the fleet, configuration of the replicas and assignment of requests are chosen together, as in
    arXiv:2502.00722. Only the counts are taken from the solver: the assignment is optimised again for them, and
    the plan goes through `check_plan`. If the time limit comes first, the plan is the best fleet known, with its gap.

    Options take one of the three choices away (`planners.milp.ablations`); its bound is then that of the choices left,
    with the best assignment.
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
        options = self.options
        drafting = Drafting(problem, self.name, options)
        solve = self._solve
        if options.deployment == "uniform":
            solve = partial(with_uniform_deployment, solve=solve)
        if options.composition == "uniform":
            solve = partial(with_uniform_composition, solve=solve)
        solved = solve(problem)
        if solved.counts is None:
            return drafting.none(solved.termination, solved.diagnostics)
        return drafting.plan(
            solved.counts,
            solved.termination,
            bound=solved.bound,
            assignment=assign(problem, solved.counts, options.assignment),
            diagnostics=solved.diagnostics,
        )

    def _solve(self, problem: PlanningProblem) -> Solved:
        filled = fill(problem, by_value)
        if filled is None and problem.objective is not Objective.COST:
            return Solved(None, math.inf, Termination.INFEASIBLE)
        options = self.options
        limit_s = problem.time_limit_s if options.time_limit_s is None else options.time_limit_s
        return _METHODS[options.method](problem, None if filled is None else filled[0], options.gap, limit_s)


def write_lp(problem: PlanningProblem, path: str | Path) -> None:
    """Write the MILP of a problem in the LP format, which solvers and people can read.

    The variables are scaled as `planners.milp.formulation` says; a problem without a plan is not scaled.
    """
    start = None if problem.objective is Objective.COST else fill(problem, by_value)
    scale = 1.0 if start is None else 1.0 / best_assignment(problem, start[0]).makespan
    formulate(problem, scale).lp.writeLP(str(path))
