"""The planner `milp`: the best fleet, proved."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from planners.fleets.bounds import value_bound
from planners.fleets.check import broken_limits
from planners.fleets.drafting import Drafting, why_infeasible
from planners.fleets.exact import PROVED_GAP, termination_at
from planners.fleets.keeping import keep_slo
from planners.fleets.linearise import capacities_of
from planners.fleets.renting import by_value, fill
from planners.fleets.shedding import best_shares, fleet_value, in_full, servable, what_must_be_served
from planners.milp.ablations import (
    Solve,
    assign,
    for_capacity_weighted,
    with_uniform_composition,
    with_uniform_deployment,
)
from planners.milp.again import solve_again
from planners.milp.core import Effort
from planners.milp.formulation import formulate
from planners.milp.latency.plan import plan_latency
from planners.milp.options import MilpOptions
from planners.milp.scaling import scale_between
from planners.milp.solve import Counts, Solved, solve_bisection, solve_direct
from planners.problem.plan import Plan, Termination
from planners.problem.problem import Feature, Objective, PlanningProblem

_METHODS = {"direct": solve_direct, "bisection": solve_bisection}


class MilpPlanner:
    """Solves the planning problem exactly, as a mixed-integer linear program, with HiGHS.

    Composition of the fleet, configuration of the replicas and assignment of requests are chosen together, as in
    arXiv:2502.00722. Only the counts are taken from the solver: the assignment is optimised again for them, and
    the plan goes through `check_plan`. If the time limit comes first, the plan is the best fleet known, with its gap.
    If a fleet runs already that is proved to be as good, to the gap asked for, it stays.

    Options take one of the three choices away (`planners.milp.ablations`); its bound is then that of the choices left,
    with the best assignment. Where requests are assigned by a rule, the fleet is called heuristic. For the objective
    `latency` it proves nothing (`planners.milp.latency`).
    """

    name = "milp"
    features: frozenset[str] = frozenset(
        {
            Feature.MAKESPAN,
            Feature.THROUGHPUT,
            Feature.COST,
            Feature.LATENCY,
            Feature.SEVERAL_MODELS,
            Feature.BOUND,
            Feature.EXACT,
            Feature.LIMITS,
            Feature.SWITCHING,
            Feature.SHEDDING,
            Feature.NODES,
        }
    )
    Options: type[BaseModel] = MilpOptions
    argument = "method"

    def __init__(self, options: MilpOptions | None = None) -> None:
        self.options = options if options is not None else MilpOptions()
        if self.options.method != "direct":
            self.name = f"milp:{self.options.method}"

    def plan(self, problem: PlanningProblem) -> Plan:
        """Choose a fleet for the problem."""
        return keep_slo(problem, self._plan_once) if self.options.keep_slo else self._plan_once(problem)

    def _plan_once(self, problem: PlanningProblem) -> Plan:
        served = servable(problem)
        if problem.objective is Objective.LATENCY:
            drafting = Drafting(served, self.name, self.options)
            return replace(plan_latency(served, drafting, self.options), problem=problem)
        return replace(self._plan(problem, served), problem=problem)

    def _plan(self, asked: PlanningProblem, problem: PlanningProblem) -> Plan:
        """Choose a fleet for what can be served of what is asked."""
        options = self.options
        drafting = Drafting(problem, self.name, options)
        if options.time_limit_s is not None:
            problem = replace(problem, time_limit_s=options.time_limit_s)
        solved = self._solver(options.gap)(problem, None)
        if solved.counts is None:
            must = what_must_be_served(asked)
            reasons = solved.diagnostics or why_infeasible(in_full(asked) if must.is_empty else must)
            return drafting.none(solved.termination, reasons)
        if options.linearise and options.assignment == "best" and problem.mixes is not None:
            return self._linearised(problem, solved, drafting)
        is_blind = options.assignment != "best" and solved.termination is not Termination.TIME_LIMIT
        return drafting.plan(
            solved.counts,
            Termination.HEURISTIC if is_blind else solved.termination,
            bound=solved.bound,
            assignment=assign(problem, solved.counts, options.assignment),
            diagnostics=solved.diagnostics,
        )

    def _linearised(self, problem: PlanningProblem, first: Solved, drafting: Drafting) -> Plan:
        """The plan that solving again at its own mixes leads to."""
        again = solve_again(problem, first, self._solver(self.options.gap))
        if again is None:
            diagnostics = (*first.diagnostics, "no fleet tried carries the rates at the mixes of its own replicas")
            return drafting.plan(first.counts or (), first.termination, bound=first.bound, diagnostics=diagnostics)
        plan = drafting.for_problem(again.problem).plan(
            again.best.counts,
            again.solved.termination,
            bound=again.solved.bound,
            assignment=again.best.fractions,
            diagnostics=again.solved.diagnostics,
        )
        return replace(plan, capacities=capacities_of(again.problem))

    def _solver(self, gap: float) -> Solve:
        """What solves a problem with the choices that the options leave."""
        options = self.options
        solve: Solve = partial(self._solve, gap=gap)
        if options.assignment == "capacity_weighted":
            solve = partial(for_capacity_weighted, gap=gap)
        if options.deployment == "uniform":
            solve = partial(with_uniform_deployment, solve=solve, rule=options.assignment)
        if options.composition == "uniform":
            solve = partial(with_uniform_composition, solve=solve)
        return solve

    def _solve(self, problem: PlanningProblem, known: Counts | None, gap: float) -> Solved:
        start = _start(problem, known)
        if start is None and problem.objective is not Objective.COST:
            return Solved(None, math.inf, Termination.INFEASIBLE)
        options = self.options
        effort = Effort(
            gap,
            problem.time_limit_s,
            problem.seed if options.seed is None else options.seed,
            options.threads,
        )
        solved = _METHODS[options.method](problem, start, effort)
        running = _running(problem)
        value = fleet_value(problem, running)
        if value < math.inf and value * (1 - max(gap, PROVED_GAP)) <= solved.bound:
            return solved._replace(counts=running, termination=termination_at(value, solved.bound))
        return solved


def _start(problem: PlanningProblem, given: Counts | None = None) -> Counts | None:
    """A fleet to begin with, the best of what `greedy` rents, what runs already and what is given; None without all."""
    must = what_must_be_served(problem)
    parts = [problem] if must is problem else [in_full(problem), must]
    filled = [fill(part, by_value) for part in parts]
    known = [given, _running(problem), *(None if found is None else found[0] for found in filled)]
    if problem.objective is Objective.COST and must.is_empty and not problem.is_empty:
        known.append((0,) * len(problem.candidates))
    best = min(known, key=lambda counts: fleet_value(problem, counts))
    return best if fleet_value(problem, best) < math.inf else None


def _running(problem: PlanningProblem) -> Counts | None:
    """The fleet that runs already; None if nothing does, or if it breaks a limit now."""
    if problem.previous is None:
        return None
    counts = problem.previous.counts_of(problem.candidates)
    return counts if next(broken_limits(problem, counts), None) is None else None


def write_lp(problem: PlanningProblem, path: str | Path) -> None:
    """Write the MILP of a problem in the LP format, which solvers and people can read.

    The variables are scaled as `planners.milp.formulation` says; a problem without a plan is not scaled.
    """
    problem = servable(problem)
    start = None if problem.objective is Objective.COST else _start(problem)
    scale = 1.0
    if start is not None:
        least = value_bound(problem, range(len(problem.candidates)))
        scale = scale_between(1.0 / best_shares(problem, start).makespan, 1.0 / least)
    formulate(problem, scale).lp.writeLP(str(path))
