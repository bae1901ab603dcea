from __future__ import annotations

import dataclasses

from planners import get_planner
from planners.fleets.mix import capacity_weighted
from planners.fleets.renting import Filling
from tests.planning import two_models, worked_example


def test_fleets_are_drawn_by_the_seed_of_the_problem() -> None:
    fleets = [get_planner("random").plan(dataclasses.replace(worked_example(), seed=seed)).counts for seed in range(20)]
    assert len(set(fleets)) > 3
    assert fleets[7] == get_planner("random").plan(dataclasses.replace(worked_example(), seed=7)).counts


def test_nothing_can_be_added_and_requests_are_spread_blindly() -> None:
    for seed in range(10):
        problem = dataclasses.replace(worked_example(), seed=seed)
        plan = get_planner("random").plan(problem)
        assert not any(Filling(problem, plan.counts).fits(c) for c in range(4))
        assert plan.assignment == capacity_weighted(problem, plan.counts).fractions


def test_a_draw_that_forgets_somebody_is_repeated_from_the_cheapest_fleet() -> None:
    """Only "large on t1 + t2" and "small on t2" serve everything for 5 $/h."""
    for seed in range(10):
        problem = dataclasses.replace(two_models(budget_usd_per_h=5.0), seed=seed)
        assert get_planner("random").plan(problem).counts == (0, 0, 1, 0, 1)
