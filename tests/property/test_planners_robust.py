"""`milp_robust` against enumeration of all fleets, and of all that can survive of them."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planners import Objective, PlanningProblem, PlanStatus, best_assignment, check_plan, get_planner
from tests.planning import fleets, least_value
from tests.strategies_planners import problems, problems_with_cases

CRITERIA = ("worst", "mean", "regret")


def all_cases(problem: PlanningProblem) -> list[PlanningProblem]:
    return [dataclasses.replace(problem, cases=()), *(problem.in_case(case) for case in problem.cases)]


def pace(case: PlanningProblem, counts: tuple[int, ...]) -> float:
    """The largest pace of all parts of a fleet that a case has GPUs for."""
    available = dict(case.available)
    return max(
        1 / best_assignment(case, part).makespan
        for part in itertools.product(*(range(count + 1) for count in counts))
        if all(n <= available[gpu] for gpu, n in case.gpus(part).items())
    )


def best_score(problem: PlanningProblem, criterion: str) -> float:
    """What the best fleet has of a criterion, or minus its price for `cost`; minus infinity if there is none."""
    cases = all_cases(problem)
    if any(least_value(case) == math.inf for case in cases):
        return -math.inf
    best = [1.0 if problem.objective is Objective.COST else 1 / least_value(case) for case in cases]
    return max(score(problem, counts, criterion, best) for counts in fleets(problem))


def score(problem: PlanningProblem, counts: tuple[int, ...], criterion: str, best: list[float]) -> float:
    paces = [pace(case, counts) for case in all_cases(problem)]
    if problem.objective is Objective.COST:
        return -problem.usd_per_h(counts) if min(paces) >= 1 - 1e-6 else -math.inf
    if min(paces) == 0:
        return -math.inf
    return {
        "worst": min(paces),
        "mean": sum(paces) / len(paces),
        "regret": min(z / most for z, most in zip(paces, best, strict=True)),
    }[criterion]


@given(problems_with_cases(), st.sampled_from(CRITERIA))
def test_no_fleet_is_better(problem: PlanningProblem, criterion: str) -> None:
    plan = get_planner("milp_robust", {"criterion": criterion, "gap": 0.0}).plan(problem)
    expected = best_score(problem, criterion)
    assert check_plan(problem, plan) == []
    if expected == -math.inf:
        assert plan.status is PlanStatus.INFEASIBLE
        return
    assert plan.status is PlanStatus.OK
    best = [1.0 if problem.objective is Objective.COST else 1 / least_value(case) for case in all_cases(problem)]
    assert score(problem, plan.counts, criterion, best) == pytest.approx(expected, rel=1e-6)


@given(problems_with_cases())
def test_worst_case_is_no_worse_than_with_a_plan_for_one_case(problem: PlanningProblem) -> None:
    plan = get_planner("milp_robust").plan(problem)
    cases = all_cases(problem)
    if plan.status is not PlanStatus.OK or problem.objective is Objective.COST:
        return
    worst = min(pace(case, plan.counts) for case in cases)
    for case in cases:
        other = get_planner("milp").plan(case).counts
        if other in set(fleets(problem)):  # it can be rented now
            assert worst >= min(pace(case, other) for case in cases) * (1 - 1e-6)


@given(problems())
def test_without_cases_it_is_milp(problem: PlanningProblem) -> None:
    robust, milp = (get_planner(name, {"gap": 0.0}).plan(problem) for name in ("milp_robust", "milp"))
    assert robust.status is milp.status
    if milp.objective is not None:
        assert robust.objective == pytest.approx(milp.objective, rel=1e-6)
