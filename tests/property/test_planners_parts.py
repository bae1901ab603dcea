"""Several models, planned one by one at prices for what they share, against the MILP of all of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given

from planners import Objective, PlanningProblem, Termination, check_plan, get_planner
from planners.fleets.assignment import objective_of
from planners.fleets.check import broken_limits
from planners.fleets.shedding import fleet_value
from planners.milp.parts import decompose
from planners.milp.parts.decompose import can_decompose, solve_in_parts
from planners.milp.parts.table import relax, tabulate
from planners.milp.work import Work
from tests.planning import least_value
from tests.random_problems import random_problem
from tests.strategies_planners import problems

PACED = (Objective.MAKESPAN, Objective.THROUGHPUT)


def several(seed: int) -> PlanningProblem:
    problem = random_problem(seed)
    objective = PACED[seed % 2]
    scale = 50.0 if problem.objective is Objective.COST else 1.0
    demands = tuple(replace(one, amounts=tuple(scale * amount for amount in one.amounts)) for one in problem.demands)
    return replace(problem, demands=demands, objective=objective, max_configurations=None, max_gpu_share=1.0)


@pytest.mark.parametrize("seed", range(40))
def test_parts_keep_to_the_limits_and_their_bound_holds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = several(seed)
    best = get_planner("milp", {"gap": 0.0}).plan(problem)
    monkeypatch.setattr(decompose, "LARGE", 0)
    if best.objective is None or not can_decompose(problem):
        return
    optimum = objective_of(problem.objective, best.objective)
    start = get_planner("greedy").plan(problem).counts
    found = solve_in_parts(problem, start, 1e-3, Work(60.0))
    assert found.counts is not None
    assert list(broken_limits(problem, found.counts)) == []
    assert found.bound <= optimum * (1 + 1e-6)
    assert optimum * (1 - 1e-6) <= fleet_value(problem, found.counts) <= fleet_value(problem, start) * (1 + 1e-9)
    assert fleet_value(problem, found.counts) <= optimum * 1.1


@given(problems(objectives=PACED))
def test_what_is_decomposed_is_planned_as_well(problem: PlanningProblem) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decompose, "LARGE", 0)
        assume(can_decompose(problem))
        plan = get_planner("milp", {"gap": 0.0}).plan(problem)
    assert check_plan(problem, plan) == []
    value = math.inf if plan.objective is None else objective_of(problem.objective, plan.objective)
    assert value == least_value(problem) or value == pytest.approx(least_value(problem), rel=1e-6)
    assert plan.objective is None or plan.termination is Termination.OPTIMAL


@pytest.mark.parametrize("seed", range(10))
def test_prices_of_the_relaxation_afford_every_fleet(seed: int) -> None:
    """Duals: whatever is within budget and availability costs no more than 1."""
    problem = several(seed)
    relaxed = relax(tabulate(problem), Work(60.0))
    assert relaxed is not None
    for name in ("greedy", "uniform", "milp"):
        plan = get_planner(name).plan(problem)
        assert sum(price * n for price, n in zip(relaxed.price, plan.counts, strict=True)) <= 1 + 1e-6
