from __future__ import annotations

import dataclasses
import math

import pytest

from planners import Candidate, Demand, PlanningProblem, best_assignment, evaluate
from planners.fleets.bounds import pace_bound
from tests.planning import two_models, worked_example


def test_one_candidate_serves_everything() -> None:
    found = best_assignment(worked_example(), (2, 0, 0, 0))
    assert found.makespan == pytest.approx((80 / 1.0 + 20 / 1.2) / 2)
    assert found.fractions == ((1.0, 1.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0))


def test_replicas_specialise_where_that_is_faster() -> None:
    """Each candidate is ten times faster at one type: the optimum gives each its own."""
    demand = Demand("m", None, ("a", "b"), (10.0, 10.0))
    one = Candidate("one", "m", (("t", 1),), 1.0, (10.0, 1.0))
    two = Candidate("two", "m", (("t", 1),), 1.0, (1.0, 10.0))
    problem = PlanningProblem((demand,), (one, two), (("t", 2),), 2.0)
    found = best_assignment(problem, (1, 1))
    assert found.makespan == pytest.approx(1.0)
    assert found.fractions == ((1.0, 0.0), (0.0, 1.0))


def test_models_are_assigned_apart() -> None:
    """The small model gets its own least makespan, though the large one takes longer."""
    problem = two_models()
    both = best_assignment(problem, (1, 0, 0, 1, 1))
    small = dataclasses.replace(
        problem,
        demands=problem.demands[1:],
        candidates=tuple(candidate for candidate in problem.candidates if candidate.model == "small"),
    )
    alone = best_assignment(small, (1, 1))
    assert both.makespan == pytest.approx(40 / 1.5 + 10 / 0.5)
    assert alone.makespan < both.makespan
    assert both.fractions[3:] == alone.fractions


def test_types_without_demand_are_shared_in_proportion_to_capacity() -> None:
    demand = Demand("m", None, ("a", "b", "c"), (10.0, 0.0, 0.0))
    one = Candidate("one", "m", (("t", 1),), 1.0, (1.0, 1.0, 0.0))
    two = Candidate("two", "m", (("t", 1),), 1.0, (1.0, 2.0, 0.0))
    problem = PlanningProblem((demand,), (one, two), (("t", 3),), 3.0)
    found = best_assignment(problem, (2, 1))
    assert [row[1] for row in found.fractions] == [0.5, 0.5]
    assert [row[2] for row in found.fractions] == [0.0, 0.0]


def test_what_nobody_serves_takes_for_ever() -> None:
    problem = two_models()
    found = best_assignment(problem, (0, 1, 0, 1, 0))  # "large on 2 t2" cannot serve code
    assert found.makespan == math.inf
    assert found.fractions[1] == (0.0, 0.0)
    assert best_assignment(problem, (0,) * 5).makespan == math.inf


def test_nothing_demanded_takes_no_time() -> None:
    problem = dataclasses.replace(worked_example(), demands=(Demand("llama", None, ("w1", "w2"), (0.0, 0.0)),))
    assert best_assignment(problem, (0, 0, 0, 0)).makespan == 0.0
    assert best_assignment(problem, (1, 0, 0, 1)).makespan == 0.0


def test_amounts_and_capacities_of_any_magnitude() -> None:
    for scale in (1e-9, 1e-3, 1e3, 1e9):
        demand = Demand("llama", None, ("w1", "w2"), (80.0 * scale, 20.0 * scale))
        problem = dataclasses.replace(worked_example(), demands=(demand,))
        assert best_assignment(problem, (1, 0, 0, 1)).makespan == pytest.approx(28.431372549 * scale, rel=1e-9)


@pytest.mark.parametrize(
    ("counts", "shares"),
    [
        ((1, 0, 0, 1), ((0.5, 1.0), (0.0, 0.0), (0.0, 0.0), (0.4, 0.0))),  # not all of w1
        ((0, 0, 0, 1), ((0.5, 1.0), (0.0, 0.0), (0.0, 0.0), (0.5, 0.0))),  # c1 is not rented
    ],
)
def test_evaluate_of_shares_that_cannot_be(counts: tuple[int, ...], shares: tuple[tuple[float, ...], ...]) -> None:
    assert evaluate(worked_example(), counts, shares) == math.inf


def test_evaluate_of_a_candidate_without_capacity() -> None:
    shares = ((0.0, 0.0), (1.0, 1.0), (0.0, 0.0), (1.0, 1.0, 0.0), (0.0, 0.0, 0.0))
    assert evaluate(two_models(), (0, 1, 0, 1, 0), shares) == math.inf


def test_pace_bound_is_exact_for_one_candidate_and_whole_replicas() -> None:
    problem = worked_example()
    assert pace_bound(problem, [0]) == pytest.approx(2 / (80 / 1.0 + 20 / 1.2))


def test_pace_bound_where_something_cannot_be_served() -> None:
    assert pace_bound(worked_example(), []) == 0.0
    assert pace_bound(two_models(), [1, 3, 4]) == 0.0


def test_pace_bound_without_demand_or_price() -> None:
    problem = worked_example()
    nothing = dataclasses.replace(problem, demands=(Demand("llama", None, ("w1", "w2"), (0.0, 0.0)),))
    assert pace_bound(nothing, [0]) == math.inf
    free = dataclasses.replace(problem, candidates=(dataclasses.replace(problem.candidates[0], usd_per_h=0.0),))
    assert pace_bound(free, [0]) == pytest.approx(2 / 80)
