"""Solving the MILP: in one go, or by bisection of the makespan as in arXiv:2502.00722."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from planners.fleets.bounds import value_bound
from planners.fleets.exact import PROVED_GAP, termination_at
from planners.fleets.shedding import fleet_value
from planners.milp.core import Effort, Search, run_highs
from planners.milp.extract import Finding, extract
from planners.milp.formulation import formulate
from planners.milp.parts.decompose import can_decompose, solve_in_parts
from planners.milp.scaling import scale_between
from planners.milp.work import STOPPED_BY_CLOCK, Work
from planners.problem.plan import Termination
from planners.problem.problem import Objective, PlanningProblem

Counts = tuple[int, ...]
"""Replicas of each candidate."""


class Solved(NamedTuple):
    """The best fleet known, if any, a lower bound of the value, why the search stopped, and what to tell the user."""

    counts: Counts | None
    bound: float
    termination: Termination
    diagnostics: tuple[str, ...] = ()


def solve_direct(problem: PlanningProblem, start: Sequence[int] | None, effort: Effort) -> Solved:
    """Solve the MILP in z, or for `cost` in the price: for the core, and then for the others that could do better.

    Args:
        problem: A problem; for `makespan` and `throughput` it has a plan.
        start: A fleet that can serve everything, the solver's must be better to be taken; None, for `cost` only, if
            none is known.
        effort: How hard the solver tries.
    """
    least = value_bound(problem, range(len(problem.candidates)), may_shed=True)
    if least == math.inf:
        return Solved(None, least, Termination.INFEASIBLE)
    counts = None if start is None else tuple(start)
    work = Work(effort.time_limit_s)
    if counts is not None and can_decompose(problem):
        together = solve_in_parts(problem, counts, effort.gap, work)
        counts, value = _better(problem, counts, together.counts)
        least = max(least, together.bound)
        if value * (1 - effort.gap) <= least:
            return _with_clock(Solved(counts, min(least, value), termination_at(value, min(least, value))), work)
    solved = _solve_between(problem, counts, least, effort, work)
    # Where the best pace is far below its bound, numbers were near the solver's tolerance: again, at the bound proved.
    while problem.objective is not Objective.COST and solved.bound > 2 * least and _is_wide(problem, solved, least):
        least = solved.bound
        solved = _solve_between(problem, solved.counts, least, effort, work)
    return _with_clock(solved, work)


def _with_clock(solved: Solved, work: Work) -> Solved:
    """The result, which says so if the clock had a part in it."""
    if not work.is_stopped_by_clock:
        return solved
    return solved._replace(diagnostics=(*solved.diagnostics, STOPPED_BY_CLOCK))


def _is_wide(problem: PlanningProblem, solved: Solved, least: float) -> bool:
    """Whether the best fleet known is far slower than the pace that the MILP was scaled by."""
    value = fleet_value(problem, solved.counts)
    return scale_between(1.0 / value, 1.0 / least) > 1.0 / value


def _solve_between(problem: PlanningProblem, counts: Counts | None, least: float, effort: Effort, work: Work) -> Solved:
    """Solve the MILP for a fleet that is better than one known, of a value of `least` or more."""
    value = fleet_value(problem, counts)
    is_cost = problem.objective is Objective.COST
    scale = 1.0 if is_cost else scale_between(1.0 / value, 1.0 / least)
    search = Search(formulate(problem, scale, most_pace=1.0 / least if least > 0 else math.inf), effort, work)
    looked_at = search.core()
    steps = [search.step(looked_at)]
    counts, value = _better(problem, counts, steps[0].counts)
    others = search.others(looked_at, value)
    if others and steps[0].is_decided:
        looked_at |= others
        steps.append(search.step(looked_at, one_of=others, better_than=value))
        counts, value = _better(problem, counts, steps[1].counts)
    bound = min(search.bound_without(looked_at), *(step.bound for step in steps))
    bound = min(max(bound, least), value)
    if all(step.is_decided for step in steps):
        return Solved(counts, bound, Termination.INFEASIBLE if counts is None else termination_at(value, bound))
    stopped = steps[-1]
    if stopped.finding is Finding.FAILED:
        return _failed(counts, bound, stopped.solver_status)
    if any(step.counts is not None for step in steps):
        return Solved(counts, bound, Termination.TIME_LIMIT)
    if counts is None:
        message = f"no fleet was found in time, nor was it shown that there is none (HiGHS: {stopped.solver_status})"
    else:
        message = f"the solver found nothing; this is a heuristic fleet (HiGHS: {stopped.solver_status})"
    return Solved(counts, bound, Termination.TIME_LIMIT, (message,))


def solve_bisection(problem: PlanningProblem, start: Sequence[int] | None, effort: Effort) -> Solved:
    """Halve the interval of the makespan, asking at each step whether a fleet can keep to the middle.

    The middle is the geometric mean, since makespans span orders of magnitude. A fleet found counts with the makespan
    of its best assignment. The time limit is divided evenly over the steps that there can be. Arguments are those of
    `solve_direct`; for `cost`, where z is given, there is nothing to halve, and it does the same.
    """
    if start is None or problem.objective is Objective.COST:
        return solve_direct(problem, start, effort)
    counts: tuple[int, ...] | None = tuple(start)
    upper = fleet_value(problem, counts)
    lower = min(value_bound(problem, range(len(problem.candidates)), may_shed=True), upper)
    formulation = formulate(problem, scale_between(1.0 / upper, 1.0 / lower))
    ratio = 1.0 + max(effort.gap, PROVED_GAP)
    n_halvings = max(1, math.ceil(math.log2(max(1.0, math.log(upper / lower) / math.log(ratio)))))
    while upper > lower * ratio:
        middle = math.sqrt(lower * upper)
        if scale_between(formulation.scale, 1.0 / middle) > formulation.scale or middle * formulation.scale > 10:
            formulation = formulate(problem, 1.0 / middle)
        formulation.pace.lowBound = formulation.pace.upBound = -formulation.loss(middle)
        of_step = Work(effort.time_limit_s / n_halvings)
        run_highs(formulation.lp, effort, of_step)
        found = extract(formulation)
        if found.finding is Finding.FAILED:
            return _failed(counts, lower, found.solver_status)
        if found.finding is Finding.UNKNOWN:
            message = f"whether {middle:g} can be kept was not decided (HiGHS: {found.solver_status})"
            return _with_clock(Solved(counts, lower, Termination.TIME_LIMIT, (message,)), of_step)
        if found.finding is Finding.INFEASIBLE:
            lower = middle
            continue
        before = upper
        counts, upper = _better(problem, counts, found.counts)
        if upper >= before:
            break  # feasible within the solver's tolerance only: it cannot tell these makespans apart
    return Solved(counts, lower, termination_at(upper, lower))


def _failed(counts: tuple[int, ...] | None, bound: float, solver_status: str) -> Solved:
    message = f"the solver failed (HiGHS: {solver_status})"
    if counts is None:
        return Solved(None, bound, Termination.ERROR, (message,))
    return Solved(counts, bound, Termination.HEURISTIC, (f"{message}; this is the best fleet known",))


def _better(
    problem: PlanningProblem, known: tuple[int, ...] | None, found: tuple[int, ...] | None
) -> tuple[tuple[int, ...] | None, float]:
    """The better of two fleets by the values of their best assignments; on a tie the one found."""
    value, value_found = fleet_value(problem, known), fleet_value(problem, found)
    return (found, value_found) if found is not None and value_found <= value else (known, value)
