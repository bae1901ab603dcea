"""The planner `milp` with one of its choices taken away."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planners import (
    Objective,
    Plan,
    PlanningProblem,
    PlanStatus,
    Termination,
    best_assignment,
    check_plan,
    evaluate,
    get_planner,
)
from planners.fleets.assignment import objective_of, value_of
from planners.fleets.mix import capacity_weighted
from tests.planning import fleets, hard_problem, least_value, worked_example
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


@given(problems())
def test_shares_by_capacity_have_the_fleet_that_is_best_for_them(problem: PlanningProblem) -> None:
    """Enumerated, where all replicas of a model can serve all of its types."""
    candidates = tuple(
        replace(candidate, capacity_rps=tuple(h or 0.5 for h in candidate.capacity_rps))
        for candidate in problem.candidates
    )
    problem = replace(problem, candidates=candidates)
    tried = () if problem.is_empty else fleets(problem)
    expected = min(
        (value_of(problem, counts, capacity_weighted(problem, counts).makespan) for counts in tried), default=math.inf
    )
    found = value(problem, plan(problem, assignment="capacity_weighted"))
    assert found == expected or found == pytest.approx(expected, rel=1e-6)


def test_rules_say_that_they_prove_nothing() -> None:
    problem = worked_example()
    for rule in ("equal_share", "capacity_weighted"):
        blind = plan(problem, assignment=rule)
        assert blind.termination is Termination.HEURISTIC
        assert blind.bound is not None
        assert blind.bound <= 28.4315


def test_one_configuration_for_all_shares_the_time_out() -> None:
    """If it runs out, it does not say that there is no plan; what the option says counts, not the problem."""
    problem = replace(hard_problem(), objective=Objective.COST, budget_usd_per_h=45.0)
    slower = tuple(replace(demand, amounts=tuple(0.1 * f for f in demand.amounts)) for demand in problem.demands)
    problem = replace(problem, demands=slower, time_limit_s=60.0)
    none = get_planner("milp", {"deployment": "uniform", "time_limit_s": 1e-6}).plan(problem)
    assert (none.status, none.termination) == (PlanStatus.FAILED, Termination.TIME_LIMIT)
    assert "no fleet was found in time" in none.diagnostics[0]
    given_gpus = replace(problem, budget_usd_per_h=math.inf)
    known = get_planner("milp", {"composition": "uniform", "time_limit_s": 1e-6}).plan(given_gpus)
    assert known.status is PlanStatus.OK
    assert known.termination is Termination.TIME_LIMIT


def test_ablations_of_the_worked_example() -> None:
    """The best fleet is c1 + c4; c1 with half of everything takes 40 / 1.0 + 10 / 1.2 s."""
    problem = worked_example()
    assert plan(problem).objective == pytest.approx(28.4314, abs=1e-4)
    uniform = plan(problem, deployment="uniform")
    assert all(row.candidate.n_gpus == 1 for row in uniform.fleet)
    half = plan(problem, assignment="equal_share")
    assert half.objective == pytest.approx(40 / 1.0 + 10 / 1.2)
    weighted = plan(problem, assignment="capacity_weighted")
    assert plan(problem).objective < weighted.objective < half.objective  # type: ignore[operator]
