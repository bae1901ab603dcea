from __future__ import annotations

import dataclasses
import math

import pytest

from planners import Candidate, Demand, Objective, PlanningProblem, PlanStatus, Termination, get_planner
from tests.planning import worked_example


def market(available: int, budget_usd_per_h: float, objective: Objective = Objective.THROUGHPUT) -> PlanningProblem:
    """`good` is twice the value of `dear`, but there are few of it."""
    return PlanningProblem(
        demands=(Demand("m", None, ("chat",), (6.0,)),),
        candidates=(
            Candidate("good", "m", (("t1", 1),), 1.0, (2.0,)),
            Candidate("dear", "m", (("t2", 1),), 1.0, (1.0,)),
        ),
        available=(("t1", available), ("t2", 10)),
        budget_usd_per_h=budget_usd_per_h,
        objective=objective,
    )


def test_cheapest_fleet_that_carries_the_rates() -> None:
    plan = get_planner("melange").plan(market(3, 5.0, Objective.COST))
    assert plan.counts == (3, 0)
    assert plan.termination is Termination.OPTIMAL
    assert (plan.objective, plan.bound) == (3.0, 3.0)


def test_what_is_not_to_be_had_makes_no_plan_for_cost() -> None:
    plan = get_planner("melange").plan(market(2, 5.0, Objective.COST))
    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.diagnostics == ("it wants 3 GPUs of type t1, 2 are available",)
    assert get_planner("milp").plan(market(2, 5.0, Objective.COST)).counts == (2, 2)


def test_rates_are_turned_down_to_the_budget_and_what_there_is_of_the_fleet_is_rented() -> None:
    assert get_planner("melange").plan(market(5, 4.0)).counts == (4, 0)
    plan = get_planner("melange").plan(market(2, 4.0))
    assert plan.counts == (2, 0)
    assert plan.objective == pytest.approx(4 / 6)
    assert plan.bound == pytest.approx(8 / 6)  # what 4 $/h would pay for
    assert plan.diagnostics == ("it wants 4 GPUs of type t1, 2 are available",)
    assert get_planner("milp").plan(market(2, 4.0)).objective == pytest.approx((2 * 2 + 2 * 1) / 6)


def test_without_a_budget_it_asks_for_all_that_the_market_could_do() -> None:
    plan = get_planner("melange").plan(market(2, math.inf))
    assert plan.counts == (2, 0)
    assert plan.diagnostics == ("it wants 7 GPUs of type t1, 2 are available",)  # 2 x 2 + 10 x 1 requests/s


def test_a_part_of_each_kind_of_replica_is_rented() -> None:
    """Two specialists of each kind are wanted on the same GPU type, of which there are two."""
    problem = PlanningProblem(
        demands=(Demand("m", None, ("chat", "code"), (2.0, 2.0)),),
        candidates=(
            Candidate("chats", "m", (("t1", 1),), 1.0, (1.0, 0.0)),
            Candidate("codes", "m", (("t1", 1),), 1.0, (0.0, 1.0)),
        ),
        available=(("t1", 2),),
        budget_usd_per_h=4.0,
        objective=Objective.THROUGHPUT,
    )
    assert get_planner("melange").plan(problem).counts == (1, 1)


def test_a_part_that_forgets_somebody_makes_no_plan() -> None:
    problem = PlanningProblem(
        demands=(Demand("m", None, ("chat", "code"), (2.0, 2.0)),),
        candidates=(
            Candidate("chats", "m", (("t1", 1),), 1.0, (1.0, 0.0)),
            Candidate("codes", "m", (("t2", 1),), 1.0, (0.0, 1.0)),
            Candidate("codes dearly", "m", (("t3", 1),), 1.5, (0.0, 1.0)),
        ),
        available=(("t1", 2), ("t2", 0), ("t3", 2)),
        budget_usd_per_h=4.0,
        objective=Objective.THROUGHPUT,
    )
    assert get_planner("milp").plan(problem).status is PlanStatus.OK
    plan = get_planner("melange").plan(problem)
    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.diagnostics == (
        "it wants 2 GPUs of type t2, 0 are available",
        "the fleet chosen cannot serve everything; another one could",
    )


def test_worked_example_is_solved_where_the_market_has_enough() -> None:
    problem = dataclasses.replace(worked_example(), available=(("t1", 9), ("t2", 9), ("t3", 9)))
    melange, milp = get_planner("melange").plan(problem), get_planner("milp").plan(problem)
    assert melange.objective == pytest.approx(milp.objective)
    assert melange.bound == pytest.approx(milp.bound)
