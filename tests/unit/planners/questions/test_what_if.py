from __future__ import annotations

import dataclasses
import math

import pytest

from planners import Objective, check_plan, get_planner
from planners.problem.cases import Case
from planners.questions.what_if import most_rentable, with_demand, with_gpus, with_rates, with_replica
from tests.planning import BY_CAPACITY, two_models, worked_example


def test_only_what_is_named_changes() -> None:
    problem = two_models()
    assert dict(with_gpus(problem, "t2", 9).available) == {"t1": 4, "t2": 9}
    changed = with_demand(problem, "small", 1, 7.0)
    assert [demand.amounts for demand in changed.demands] == [(40.0, 10.0), (300.0, 7.0, 0.0)]
    assert changed.candidates == problem.candidates


def test_rates_for_the_price_of_a_pace() -> None:
    """The cheapest fleet that does the work of the worked example in the best time is the best fleet."""
    problem = worked_example()
    best = get_planner("milp").plan(problem)
    assert best.objective is not None
    at_its_pace = with_rates(problem, (1 - 1e-9) / best.objective)
    assert at_its_pace.budget_usd_per_h == math.inf
    assert get_planner("milp").plan(at_its_pace).objective == 8.0


@pytest.mark.parametrize("name", ["milp", "milp:bisection", "greedy", "uniform", "homogeneous"])
@pytest.mark.parametrize("objective", BY_CAPACITY)
def test_planners_hold_the_replica_that_they_must(name: str, objective: Objective) -> None:
    """c3 is the worst on every type: nobody rents it without need."""
    problem = worked_example(objective)
    if objective is Objective.COST:
        problem = with_demand(with_demand(problem, "llama", 0, 0.2), "llama", 1, 0.1)
    forced = with_replica(problem, 2)
    plan = get_planner(name).plan(forced)
    assert plan.counts[2] >= 1
    assert check_plan(forced, plan) == []


def test_the_replica_takes_no_time_for_what_only_it_can_serve() -> None:
    problem = worked_example()
    forced = get_planner("milp").plan(with_replica(problem, 0))  # c1 is part of the best plan anyway
    free = get_planner("milp").plan(problem)
    assert forced.counts == free.counts
    assert forced.objective == pytest.approx(free.objective, rel=1e-7)


def test_a_replica_that_is_held_now_may_be_lost_in_another_case() -> None:
    problem = worked_example()
    case = Case("no t3", (("t1", 2), ("t2", 2), ("t3", 0)), ((10.0, 10.0),))
    forced = with_replica(dataclasses.replace(problem, cases=(case,)), 2)
    assert forced.cases[0].amounts == ((10.0, 10.0, 0.0),)
    assert get_planner("milp_robust").plan(forced).counts[2] >= 1


def test_what_the_budget_could_rent() -> None:
    problem = worked_example()
    assert [most_rentable(problem, gpu) for gpu in ("t1", "t2", "t3")] == [2, 4, 4]
    unlimited = dataclasses.replace(problem, budget_usd_per_h=math.inf)
    assert most_rentable(unlimited, "t1") is None
    nobody = dataclasses.replace(unlimited, candidates=problem.candidates[1:])
    assert most_rentable(nobody, "t1") == 0
    free = dataclasses.replace(problem.candidates[3], usd_per_h=0.0)
    assert most_rentable(dataclasses.replace(problem, candidates=(free,)), "t2") is None
