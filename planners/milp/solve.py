"""Solving the MILP: in one go, or by bisection of the makespan as in arXiv:2502.00722."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pulp

from planners.assignment import best_assignment
from planners.base import PlanningProblem, Termination
from planners.bounds import pace_bound
from planners.fleet import PROVED_GAP, termination_at
from planners.milp.extract import Finding, Found, extract
from planners.milp.formulation import Formulation, formulate

_TOLERANCE = 1e-9  # a thousandth of HiGHS's default, so that its error is far below the gap


class Solved(NamedTuple):
    """The best fleet known, a lower bound of the makespan T, why the search stopped, and what to tell the user."""

    counts: tuple[int, ...]
    bound: float
    termination: Termination
    diagnostics: tuple[str, ...] = ()


def solve_direct(problem: PlanningProblem, start: Sequence[int], gap: float, time_limit_s: float) -> Solved:
    """Solve the MILP in z.

    Args:
        problem: A problem that has a plan.
        start: A fleet that can serve everything; the solver's must be better to be taken.
        gap: Relative gap at which the solver stops.
        time_limit_s: When it stops at the latest.
    """
    upper = best_assignment(problem, start).makespan
    found = _run(formulate(problem, 1.0 / upper), gap, time_limit_s, problem.seed)
    counts, makespan = _better(problem, tuple(start), found.counts)
    pace = min(found.pace_bound, pace_bound(problem, range(len(problem.candidates))))
    bound = min(1.0 / pace, makespan)
    if found.finding is Finding.OPTIMAL:
        return Solved(counts, bound, termination_at(makespan, bound))
    if found.finding is Finding.FEASIBLE:
        return Solved(counts, bound, Termination.TIME_LIMIT)
    message = f"the solver found nothing; this is a heuristic fleet (HiGHS: {found.solver_status})"
    is_open = found.finding is Finding.UNKNOWN
    return Solved(counts, bound, Termination.TIME_LIMIT if is_open else Termination.HEURISTIC, (message,))


def solve_bisection(problem: PlanningProblem, start: Sequence[int], gap: float, time_limit_s: float) -> Solved:
    """Halve the interval of the makespan, asking at each step whether a fleet can keep to the middle.

    The middle is the geometric mean, since makespans span orders of magnitude. A fleet found counts with the makespan
    of its best assignment. The time limit is divided evenly over the steps that there can be. Arguments are those of
    `solve_direct`.
    """
    counts = tuple(start)
    upper = best_assignment(problem, counts).makespan
    lower = min(1.0 / pace_bound(problem, range(len(problem.candidates))), upper)
    formulation = formulate(problem, 1.0 / upper)
    ratio = 1.0 + max(gap, PROVED_GAP)
    n_halvings = max(1, math.ceil(math.log2(max(1.0, math.log(upper / lower) / math.log(ratio)))))
    while upper > lower * ratio:
        middle = math.sqrt(lower * upper)
        pace = 1.0 / (middle * formulation.scale)
        formulation.pace.lowBound = formulation.pace.upBound = pace
        found = _run(formulation, gap, time_limit_s / n_halvings, problem.seed)
        if found.finding is Finding.UNKNOWN:
            message = f"whether {middle:g} can be kept was not decided (HiGHS: {found.solver_status})"
            return Solved(counts, lower, Termination.TIME_LIMIT, (message,))
        if found.finding is Finding.INFEASIBLE:
            lower = middle
            continue
        before = upper
        counts, upper = _better(problem, counts, found.counts)
        if upper >= before:
            break  # feasible within the solver's tolerance only: it cannot tell these makespans apart
    return Solved(counts, lower, termination_at(upper, lower))


def _run(formulation: Formulation, gap: float, time_limit_s: float, seed: int) -> Found:
    """One call of HiGHS: one thread, fixed seed, silent."""
    solver = pulp.HiGHS(
        msg=False,
        threads=1,
        gapRel=gap,
        timeLimit=time_limit_s,
        random_seed=seed % 2**31,
        primal_feasibility_tolerance=_TOLERANCE,
        mip_feasibility_tolerance=_TOLERANCE,
    )
    with _no_output():
        formulation.lp.solve(solver)
    return extract(formulation)


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    """Drop what goes to standard output below Python: HiGHS 1.16 writes its name there before it can be silenced."""
    stdout, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(nowhere)


def _better(
    problem: PlanningProblem, known: tuple[int, ...], found: tuple[int, ...] | None
) -> tuple[tuple[int, ...], float]:
    """The better of two fleets by the makespans of their best assignments; on a tie the one found."""
    makespan = best_assignment(problem, known).makespan
    if found is not None:
        makespan_found = best_assignment(problem, found).makespan
        if makespan_found <= makespan:
            return found, makespan_found
    return known, makespan
