"""The objective `cost`: the cheapest fleet that carries the offered rates."""

from __future__ import annotations

import dataclasses
import math

import pytest

from planners import Demand, Objective, PlanningProblem, PlanStatus, Termination, check_plan, get_planner
from planners.fleets.assignment import value_of
from planners.fleets.bounds import value_bound
from planners.fleets.check import Rule
from tests.planning import two_models, worked_example

OPTIMUM_S = 28.431372549  # of the worked example: its best fleet carries the amounts over this


def at_rate(factor: float) -> PlanningProblem:
    """The worked example with so many times its amounts as rates."""
    demand = Demand("llama", None, ("w1", "w2"), (80 * factor, 20 * factor))
    return dataclasses.replace(worked_example(Objective.COST), demands=(demand,))


@pytest.mark.parametrize(
    ("factor", "counts", "usd_per_h"),
    [
        (0.001, None, 2.0),  # c2 or c3 alone
        (0.009, (0, 1, 0, 0), 2.0),  # c2 alone carries 0.009 times the amounts
        (1 / (80 / 2.4 + 20 / 1.5), (0, 0, 0, 1), 4.0),  # just what c4 alone carries
        (0.999 / OPTIMUM_S, (1, 0, 0, 1), 8.0),
    ],
)
def test_milp_rents_the_cheapest_fleet_that_carries_the_rates(
    factor: float, counts: tuple[int, ...] | None, usd_per_h: float
) -> None:
    problem = at_rate(factor)
    plan = get_planner("milp").plan(problem)
    assert plan.termination is Termination.OPTIMAL
    assert (plan.objective, plan.bound, plan.gap) == (usd_per_h, usd_per_h, 0.0)
    assert counts is None or plan.counts == counts
    assert plan.promised_rps == {"llama": pytest.approx(100 * factor)}


@pytest.mark.parametrize("name", ["greedy", "milp", "milp:bisection", "uniform"])
def test_rates_beyond_every_fleet_are_infeasible(name: str) -> None:
    plan = get_planner(name).plan(at_rate(1.001 / OPTIMUM_S))
    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.diagnostics == ("no fleet carries more than 0.999 times the rates within 8 $/h and the GPUs available",)


def test_without_a_budget_only_gpus_limit_the_rates() -> None:
    problem = dataclasses.replace(at_rate(1.0), budget_usd_per_h=math.inf)
    most = get_planner("milp").plan(dataclasses.replace(problem, objective=Objective.THROUGHPUT)).objective
    assert get_planner("milp").plan(problem).diagnostics == (
        f"no fleet carries more than {most:.3g} times the rates with the GPUs available",
    )


def test_a_plan_that_misses_the_rates_is_a_violation() -> None:
    problem = at_rate(0.02)
    plan = get_planner("milp").plan(problem)
    broken = check_plan(at_rate(0.0215), plan)
    assert [violation.rule for violation in broken] == [Rule.CAPACITY]
    assert "the assignment carries 0.996678 of the rates demanded" in broken[0].message
    assert {v.rule for v in check_plan(problem, dataclasses.replace(plan, objective=3.0))} == {Rule.OBJECTIVE}


def test_greedy_stops_when_the_rates_are_carried() -> None:
    assert get_planner("greedy").plan(at_rate(0.009)).counts == (0, 0, 0, 1)
    assert get_planner("greedy").plan(at_rate(0.03)).counts == (1, 0, 0, 1)


def test_greedy_may_miss_what_is_possible_and_says_so() -> None:
    """It rents c2, which has more capacity per dollar; then there is no money for the one fleet that carries it."""
    problem = at_rate(0.03)
    cheap = dataclasses.replace(problem.candidates[1], usd_per_h=0.1, capacity_rps=(0.1, 0.1))
    problem = dataclasses.replace(problem, candidates=(problem.candidates[0], cheap, *problem.candidates[2:]))
    plan = get_planner("greedy").plan(problem)
    assert get_planner("milp").plan(problem).objective == 8.0
    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.diagnostics == ("the fleet chosen cannot carry the rates; another one could",)


def test_free_gpus_cost_nothing() -> None:
    problem = at_rate(0.02)
    free = tuple(dataclasses.replace(candidate, usd_per_h=0.0) for candidate in problem.candidates)
    plan = get_planner("milp").plan(dataclasses.replace(problem, candidates=free))
    assert (plan.objective, plan.bound, plan.gap) == (0.0, 0.0, 0.0)
    assert plan.termination is Termination.OPTIMAL


def test_value_is_infinite_where_the_rates_are_missed() -> None:
    problem = at_rate(0.02)
    assert value_of(problem, (1, 0, 0, 1), 1.0) == 8.0
    assert value_of(problem, (1, 0, 0, 1), 1.001) == math.inf
    assert value_of(worked_example(), (1, 0, 0, 1), 1.001) == 1.001


def test_bound_of_the_price() -> None:
    assert value_bound(at_rate(0.02), range(4)) == pytest.approx(0.02 * (80 * 4 / 2.4 + 20 * 2 / 0.9))
    assert value_bound(at_rate(0.2), range(4)) == math.inf
    assert value_bound(two_models(), [1]) == math.inf


def test_no_time_at_all_returns_the_heuristic_fleet() -> None:
    problem = at_rate(0.03)
    plan = get_planner("milp", {"time_limit_s": 1e-6}).plan(problem)
    assert (plan.counts, plan.termination) == ((1, 0, 0, 1), Termination.TIME_LIMIT)
    assert plan.bound is not None
    assert plan.bound >= value_bound(problem, range(4))
