from __future__ import annotations

import dataclasses

import pytest

from planners import Candidate, Demand, Objective, PlanningProblem, PlanStatus, Termination, get_planner
from tests.planning import hard_problem, worked_example


def specialists(objective: Objective = Objective.THROUGHPUT) -> PlanningProblem:
    """Two specialists are better than two of a jack of all trades, who is better on average than either of them."""
    return PlanningProblem(
        demands=(Demand("m", None, ("chat", "code"), (1.0, 1.0)),),
        candidates=(
            Candidate("chats", "m", (("t1", 1),), 1.0, (3.0, 0.5)),
            Candidate("codes", "m", (("t2", 1),), 1.0, (0.5, 3.0)),
            Candidate("both", "m", (("t3", 1),), 1.0, (1.5, 1.5)),
        ),
        available=(("t1", 2), ("t2", 2), ("t3", 2)),
        budget_usd_per_h=2.0,
        objective=objective,
    )


def test_fleet_is_chosen_by_the_average_request() -> None:
    plan = get_planner("greedy_lp").plan(specialists())
    assert plan.counts == (0, 0, 2)
    assert plan.objective == pytest.approx(1.5)
    assert get_planner("milp").plan(specialists()).objective == pytest.approx(3.0)


def test_requests_are_assigned_by_type() -> None:
    problem = dataclasses.replace(specialists(), available=(("t1", 1), ("t2", 1), ("t3", 0)))
    plan = get_planner("greedy_lp").plan(problem)
    assert plan.assignment == ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
    assert plan.objective == pytest.approx(3.0)


def test_cheapest_fleet_with_enough_capacity_on_the_mix() -> None:
    """Rates of 1 and 1 need three specialists (7/6 of both), or two of those who do both (1.5)."""
    plan = get_planner("greedy_lp").plan(specialists(Objective.COST))
    assert plan.counts == (0, 0, 2)
    assert plan.objective == 2.0


def test_worked_example() -> None:
    plan = get_planner("greedy_lp").plan(worked_example())
    assert plan.counts == (1, 0, 0, 1)
    assert plan.objective == pytest.approx(28.431372549)


def test_without_time_there_is_no_plan_or_a_feasible_one() -> None:
    plan = get_planner("greedy_lp").plan(dataclasses.replace(hard_problem(), time_limit_s=1e-9))
    assert plan.termination is Termination.TIME_LIMIT
    assert plan.status is PlanStatus.OK or plan.diagnostics == ("no fleet was found in time",)
