"""`milp` against a MILP written apart from it and solved by another solver."""

from __future__ import annotations

import math

import pytest

from planners import Termination, check_plan, get_planner
from planners.fleets.assignment import objective_of
from tests.cbc import least_value_by_cbc
from tests.random_problems import random_problem

N_PROBLEMS = 200
N_FAST = 20


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=pytest.mark.slow if seed >= N_FAST else ()) for seed in range(N_PROBLEMS)]
)
def test_cbc_finds_the_same_objective_and_breaks_no_bound(seed: int) -> None:
    problem = random_problem(seed)
    plan = get_planner("milp").plan(problem)
    by_cbc = least_value_by_cbc(problem)
    assert check_plan(problem, plan) == []
    if plan.objective is None or plan.bound is None:
        assert plan.termination is Termination.INFEASIBLE
        assert by_cbc == math.inf
        return
    assert plan.termination in {Termination.OPTIMAL, Termination.GAP_REACHED}
    assert objective_of(problem.objective, plan.objective) == pytest.approx(by_cbc, rel=1e-4)
    assert objective_of(problem.objective, plan.bound) <= by_cbc * (1 + 1e-6)
