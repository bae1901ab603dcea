from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planners import Candidate, Demand, Objective, PlanningProblem, get_planner
from planners.fleets.mix import best_mix_fleet, capacity_weighted, mix_pace
from planners.rivals.hexgen import _Group, _Individual, _Nursery
from tests.planning import two_models, worked_example


def pool() -> PlanningProblem:
    """Six GPUs: as three pairs they serve 3 requests/s, as a mixed four and a pair 5."""
    return PlanningProblem(
        demands=(Demand("m", None, ("chat", "code"), (1.0, 1.0)),),
        candidates=(
            Candidate("pair of t1", "m", (("t1", 2),), 2.0, (1.0, 1.0)),
            Candidate("pair of t2", "m", (("t2", 2),), 2.0, (1.0, 1.0)),
            Candidate("mixed four", "m", (("t1", 1), ("t2", 3)), 4.0, (4.0, 4.0)),
            Candidate("three of t1", "m", (("t1", 3),), 3.0, (1.0, 1.0)),
        ),
        available=(("t1", 3), ("t2", 4)),
        budget_usd_per_h=20.0,
        objective=Objective.THROUGHPUT,
    )


def test_gpus_are_grouped_as_well_as_they_can_be() -> None:
    plan = get_planner("hexgen").plan(pool())
    # `uniform` rents two pairs of t2 and one of t1: two t1 and four t2, of which a mixed four and nothing else is best.
    assert plan.counts == (0, 0, 1, 0)
    assert plan.objective == pytest.approx(2.0)
    best = get_planner("hexgen:best").plan(pool())
    assert best.counts == (1, 0, 1, 0)
    assert best.objective == pytest.approx(2.5)


def test_requests_are_spread_blindly() -> None:
    problem = worked_example()
    for name in ("hexgen", "hexgen:best"):
        plan = get_planner(name).plan(problem)
        assert plan.assignment == capacity_weighted(problem, plan.counts).fractions
    assert get_planner("hexgen:best").plan(problem).objective == pytest.approx(
        100 / (100 / (80 + 20 / 1.2) + 100 / (80 / 2.4 + 20 / 1.5))
    )


def test_search_begins_with_the_fleet_that_fixed_the_gpus() -> None:
    options = {"composition": "best", "generations": 0}
    assert get_planner("hexgen", options).plan(worked_example()).counts == (1, 0, 0, 1)


def test_more_generations_are_never_worse() -> None:
    problem = pool()
    values = [get_planner("hexgen", {"population": 2, "generations": n}).plan(problem).objective for n in (0, 3, 30)]
    assert values == sorted(values)  # type: ignore[type-var]


def test_models_share_the_gpus() -> None:
    problem = dataclasses.replace(two_models(), objective=Objective.THROUGHPUT)
    plan = get_planner("hexgen:best").plan(problem)
    taken = problem.gpus(get_planner("milp").plan(problem).counts)
    available = tuple((gpu, taken.get(gpu, 0)) for gpu, _ in problem.available)
    best = best_mix_fleet(dataclasses.replace(problem, available=available), range(5), gap=0.0)
    assert best.counts is not None
    assert mix_pace(problem, plan.counts) == pytest.approx(mix_pace(problem, best.counts))


@given(st.integers(0, 2**31), st.integers(1, 30))
def test_offspring_keep_every_gpu(seed: int, n: int) -> None:
    problem = two_models()
    nursery = _Nursery(problem, (1, 0, 1, 1, 2))
    rng = np.random.default_rng(seed)
    individual = nursery.founders((1, 0, 1, 1, 2))[seed % 2]
    for _ in range(n):
        individual = nursery.mutate(individual, rng)
        assert gpus(individual) == (4, 3)
        assert list(individual) == sorted(individual)
        assert all(any(group.gpus) for group in individual)
        taken = problem.gpus(nursery.fleet(individual))
        assert all(taken.get(gpu, 0) <= n for gpu, n in (("t1", 4), ("t2", 3)))


def gpus(individual: _Individual) -> tuple[int, ...]:
    return tuple(np.sum([group.gpus for group in individual], axis=0))


def test_groupings_that_leave_something_unserved_are_worth_less_than_any_that_do_not() -> None:
    nursery = _Nursery(two_models(budget_usd_per_h=12.0), (1, 1, 0, 1, 1))
    founder = nursery.founders((1, 1, 0, 1, 1))[1]
    assert nursery.fitness(founder) > (0.0, 0.0)
    assert nursery.fitness((_Group(0, (3, 3)),)) < (0.0, 0.0)
    too_dear = _Nursery(two_models(budget_usd_per_h=11.0), (1, 1, 0, 1, 1))
    assert too_dear.fitness(founder) < (0.0, 0.0)
