"""The planner `milp` with one of its choices taken away."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planners import Plan, PlanningProblem, PlanStatus, best_assignment, check_plan, evaluate, get_planner
from planners.assignment import objective_of
from tests.planning import least_value, worked_example
from tests.strategies_planners import problems


def plan(problem: PlanningProblem, **options: Any) -> Plan:
    found = get_planner("milp", {"gap": 0.0} | options).plan(problem)
    assert found.status is not PlanStatus.FAILED, found.diagnostics
    assert check_plan(problem, found) == []
    return found


def value(problem: PlanningProblem, found: Plan) -> float:
    return math.inf if found.objective is None else objective_of(problem.objective, found.objective)


@given(problems())
def test_one_configuration_for_all_is_the_best_of_each_alone(problem: PlanningProblem) -> None:
    """Enumerated; candidates without a spec have one configuration if they take as many GPUs."""
    expected = math.inf
    for n_gpus in {candidate.n_gpus for candidate in problem.candidates}:
        kept = tuple(candidate for candidate in problem.candidates if candidate.n_gpus == n_gpus)
        expected = min(expected, least_value(replace(problem, candidates=kept)))
    found = value(problem, plan(problem, deployment="uniform"))
    assert found == expected or found == pytest.approx(expected, rel=1e-6)


@given(problems())
def test_a_given_composition_is_between_the_best_fleet_and_the_planner_that_gives_it(problem: PlanningProblem) -> None:
    best, given_gpus, uniform = (
        value(problem, found)
        for found in (plan(problem), plan(problem, composition="uniform"), get_planner("uniform").plan(problem))
    )
    assert best <= given_gpus * (1 + 1e-6)
    assert given_gpus <= uniform * (1 + 1e-6)


@given(problems(), st.sampled_from(["equal_share", "capacity_weighted"]))
def test_shares_by_a_rule_keep_the_fleet_and_are_never_better(problem: PlanningProblem, rule: str) -> None:
    best, blind = plan(problem), plan(problem, assignment=rule)
    assert value(problem, best) <= value(problem, blind) * (1 + 1e-6)
    if blind.status is not PlanStatus.OK:
        return
    least = best_assignment(problem, blind.counts).makespan
    assert evaluate(problem, blind.counts, blind.assignment) >= least * (1 - 1e-6)
    for demand in problem.demands:
        mine = [c for c in problem.candidates_of(demand.model) if blind.counts[c] > 0]
        for w in range(len(demand.amounts)):
            able = [c for c in mine if problem.candidates[c].capacity_rps[w] > 0]
            shares = [blind.assignment[c][w] / blind.counts[c] for c in able]
            if rule == "equal_share" and demand.amounts[w] > 0:
                assert shares == pytest.approx([shares[0]] * len(shares))


def test_ablations_of_the_worked_example() -> None:
    """The best fleet is c1 + c4; c1 with half of everything takes 40 / 1.0 + 10 / 1.2 s."""
    problem = worked_example()
    assert plan(problem).objective == pytest.approx(28.4314, abs=1e-4)
    uniform = plan(problem, deployment="uniform")
    assert all(row.candidate.n_gpus == 1 for row in uniform.fleet(problem))
    half = plan(problem, assignment="equal_share")
    assert half.objective == pytest.approx(40 / 1.0 + 10 / 1.2)
    weighted = plan(problem, assignment="capacity_weighted")
    assert plan(problem).objective < weighted.objective < half.objective  # type: ignore[operator]
