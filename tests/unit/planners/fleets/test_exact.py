from __future__ import annotations

import dataclasses
import math

import pytest

from planners import PlannerError, Termination, best_fleet, cheapest_fleet
from planners.fleets.exact import termination_at
from planners.fleets.renting import STARTED_FROM_CHEAPEST, Filling, by_value, fill
from tests.planning import hard_problem, two_models, worked_example


def test_best_fleet_of_all_candidates_is_the_optimum() -> None:
    found = best_fleet(worked_example(), range(4), gap=0.0)
    assert found.counts == (1, 0, 0, 1)
    assert found.value == pytest.approx(28.431372549)
    assert found.bound == pytest.approx(found.value)
    assert found.termination is Termination.OPTIMAL


def test_best_fleet_rents_allowed_candidates_only() -> None:
    found = best_fleet(worked_example(), [1, 2])
    assert found.counts == (0, 2, 2, 0)
    # The two c3 work on all of w2, 20 / 1.0 s, and then on the part a of w1: 20 + 80 a / 0.6 = 80 (1 - a) / 1.8.
    assert found.value == pytest.approx(38.3333333333)


def test_best_fleet_of_nothing() -> None:
    for allowed in ([], [1, 3, 4]):
        found = best_fleet(two_models(), allowed)
        assert (found.value, found.bound) == (math.inf, math.inf)
        assert found.termination is Termination.INFEASIBLE
        assert found.counts == (0,) * 5


def test_best_fleet_beyond_the_budget() -> None:
    problem = dataclasses.replace(two_models(), budget_usd_per_h=4.5)  # 4 for the large model, 1 for the small
    assert best_fleet(problem, range(5)).termination is Termination.INFEASIBLE


def test_best_fleet_stops_in_time() -> None:
    problem = hard_problem()
    found = best_fleet(problem, range(len(problem.candidates)), gap=0.0, time_limit_s=0.2)
    assert found.termination is Termination.TIME_LIMIT
    assert 0 < found.bound < found.value


def test_termination_at_a_gap() -> None:
    assert termination_at(100.0, 99.99999) is Termination.OPTIMAL
    assert termination_at(100.0, 99.9) is Termination.GAP_REACHED


def test_cheapest_fleet_serves_everything() -> None:
    assert cheapest_fleet(two_models()) == (0, 0, 1, 0, 1)  # 5 $/h


def test_cheapest_fleet_within_the_budget_or_not() -> None:
    problem = two_models(budget_usd_per_h=4.5)
    assert cheapest_fleet(problem) is None
    assert cheapest_fleet(problem, within_budget=False) == (0, 0, 1, 0, 1)


def test_cheapest_fleet_of_nothing() -> None:
    problem = two_models()
    assert cheapest_fleet(dataclasses.replace(problem, candidates=())) is None
    assert cheapest_fleet(dataclasses.replace(problem, available=(("t1", 0), ("t2", 4)))) is None


def test_the_least_served_model_comes_first() -> None:
    filling = Filling(two_models(), (0, 0, 0, 0, 0))
    assert filling.models() == ["large", "small"]  # a tie: in the order of the demands
    filling.rent(0)
    assert filling.models() == ["small", "large"]


def test_filling_goes_on_until_nothing_fits() -> None:
    problem = two_models()
    filled = fill(problem, by_value)
    assert filled is not None
    counts, diagnostics = filled
    assert diagnostics == ()
    assert not any(Filling(problem, counts).fits(c) for c in range(5))


def test_filling_starts_from_the_cheapest_fleet_if_the_rule_forgets_somebody() -> None:
    """The best value for the large model is "large on 2 t2", which cannot serve code and leaves no money."""
    problem = two_models(budget_usd_per_h=5.0)
    filled = fill(problem, by_value)
    assert filled == ((0, 0, 1, 0, 1), (STARTED_FROM_CHEAPEST,))


def test_a_rule_that_chooses_what_does_not_fit_is_refused() -> None:
    problem = two_models()
    with pytest.raises(PlannerError, match=r"the renting rule chose '.*', which does not fit .* filling\.fits\(c\)"):
        fill(problem, lambda filling: 0)
    with pytest.raises(PlannerError, match="the renting rule chose candidate 7; there are candidates 0 to 4"):
        fill(problem, lambda filling: 7)
