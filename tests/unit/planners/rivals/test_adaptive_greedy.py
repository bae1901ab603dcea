from __future__ import annotations

import dataclasses

import pytest

from planners import Candidate, Demand, Objective, PlanningProblem, PlanStatus, get_planner
from planners.rivals.adaptive_greedy import _Fleet, _Market
from tests.planning import worked_example


def one_type(candidates: list[Candidate], rate_rps: float, **changes: object) -> PlanningProblem:
    problem = PlanningProblem(
        demands=(Demand("m", None, ("chat",), (rate_rps,)),),
        candidates=tuple(candidates),
        available=(("t1", 8), ("t2", 8)),
        budget_usd_per_h=20.0,
        objective=Objective.COST,
    )
    return dataclasses.replace(problem, **changes)  # type: ignore[arg-type]


def test_worked_example() -> None:
    plan = get_planner("adaptive_greedy").plan(worked_example())
    assert plan.counts == (1, 0, 0, 1)
    assert plan.objective == pytest.approx(28.431372549)


def test_the_least_price_per_request_covered_comes_first() -> None:
    """The large replica is the better value for 8 requests/s, the small one for the last of 9."""
    small = Candidate("small", "m", (("t1", 1),), 1.0, (1.0,))
    large = Candidate("large", "m", (("t2", 4),), 4.0, (8.0,))
    assert get_planner("adaptive_greedy").plan(one_type([small, large], 9.0)).counts == (1, 1)


def test_a_replica_is_exchanged_for_a_larger_one_that_is_the_better_value() -> None:
    """Of each GPU type only the smallest configuration is ever rented anew."""
    pair = Candidate("tp2", "m", (("t1", 2),), 2.0, (1.0,))
    quad = Candidate("tp4", "m", (("t1", 4),), 4.0, (6.0,))
    plan = get_planner("adaptive_greedy").plan(one_type([pair, quad], 11.0))
    assert plan.counts == (0, 2)


def test_steps_are_ranked_by_what_they_cover() -> None:
    pair = Candidate("tp2", "m", (("t1", 2),), 2.0, (1.0,))
    quad = Candidate("tp4", "m", (("t1", 4),), 4.0, (6.0,))
    market = _Market(one_type([pair, quad], 11.0))
    fleet = _Fleet(market, (1, 0))
    assert fleet.serve(0, 11.0) == 10.0
    step = fleet.best_step(0, 10.0)
    assert step is not None
    assert (step.old, step.new) == (0, 1)
    assert step.usd_per_rps == pytest.approx(2 / 5)  # 2 $/h more for 6 requests/s, one of which was there
    fleet.take(step)
    assert fleet.counts == [0, 1]
    assert fleet.serve(0, 10.0) == pytest.approx(5.0)
    assert fleet.left == {"t1": 4, "t2": 8}


def test_work_moves_to_cheaper_replicas_and_empty_ones_are_given_back() -> None:
    dear = Candidate("dear", "m", (("t1", 1),), 3.0, (1.0,))
    good = Candidate("good", "m", (("t2", 1),), 1.0, (2.0,))
    fleet = _Fleet(_Market(one_type([dear, good], 4.0)), (2, 2))
    fleet.add(0, 0, 2.0)
    fleet.add(1, 0, 1.0)
    fleet.relocate()
    assert fleet.work == {0: {0: 0.0}, 1: {0: 3.0}}
    assert fleet.consolidated().counts == [0, 2]
    fleet.add(1, 0, -2.5)
    assert fleet.consolidated().counts == [0, 1]


def test_replicas_whose_work_has_no_place_elsewhere_are_kept() -> None:
    one = Candidate("one", "m", (("t1", 1),), 1.0, (1.0,))
    fleet = _Fleet(_Market(one_type([one], 1.5)), (2,))
    assert fleet.serve(0, 1.5) == 0.0
    assert fleet.consolidated().counts == [2]


def test_more_starts_are_never_worse() -> None:
    problem = worked_example()
    values = [get_planner("adaptive_greedy", {"n_starts": n}).plan(problem).objective for n in (1, 4, 16)]
    assert None not in values
    assert values == sorted(values, reverse=True)  # type: ignore[type-var]


def test_rates_beyond_every_fleet_are_infeasible() -> None:
    one = Candidate("one", "m", (("t1", 1),), 1.0, (1.0,))
    plan = get_planner("adaptive_greedy").plan(one_type([one], 9.0))
    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.diagnostics == (
        "no fleet carries more than 0.889 times the rates within 20 $/h and the GPUs available",
    )
