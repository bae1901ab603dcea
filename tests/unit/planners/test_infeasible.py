"""Problems without a plan: the outcome is a value that says why, whatever the planner."""

from __future__ import annotations

import dataclasses

import pytest

from planners import Demand, Objective, Plan, PlanningProblem, PlanStatus, Termination, get_planner, planner_names
from tests.planning import BY_CAPACITY, two_models, worked_example

ALL_PLANNERS = (*planner_names(), "milp:bisection", "homogeneous:t1")


def no_plan(name: str, problem: PlanningProblem) -> Plan:
    plan = get_planner(name).plan(problem)
    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.termination is Termination.INFEASIBLE
    assert (plan.objective, plan.bound, plan.gap) == (None, None, None)
    assert plan.counts == (0,) * len(problem.candidates)
    assert plan.fleet == ()
    return plan


@pytest.mark.parametrize("name", ALL_PLANNERS)
def test_budget_too_small(name: str) -> None:
    plan = no_plan(name, dataclasses.replace(worked_example(), budget_usd_per_h=1.5))
    assert plan.diagnostics == ("the cheapest fleet that serves everything costs 2 $/h, the budget is 1.5 $/h",)


@pytest.mark.parametrize("name", ALL_PLANNERS)
def test_budget_of_zero(name: str) -> None:
    no_plan(name, dataclasses.replace(worked_example(), budget_usd_per_h=0.0))


@pytest.mark.parametrize("name", ALL_PLANNERS)
def test_nothing_available(name: str) -> None:
    plan = no_plan(name, dataclasses.replace(worked_example(), available=(("t1", 0), ("t2", 0), ("t3", 0))))
    assert plan.diagnostics == (
        "llama: every replica needs more GPUs than there are, the smallest of them 1 t1; available: 0 t1, 0 t2, 0 t3",
    )


@pytest.mark.parametrize("objective", BY_CAPACITY)
@pytest.mark.parametrize("name", ALL_PLANNERS)
def test_nothing_demanded(name: str, objective: Objective) -> None:
    demand = Demand("llama", None, ("w1", "w2"), (0.0, 0.0))
    plan = no_plan(name, dataclasses.replace(worked_example(objective), demands=(demand,)))
    assert plan.diagnostics == ("nothing is demanded: all amounts are 0",)


@pytest.mark.parametrize("name", ALL_PLANNERS)
def test_no_candidates(name: str) -> None:
    plan = no_plan(name, dataclasses.replace(worked_example(), candidates=()))
    assert plan.diagnostics == ("llama: there is no candidate for this model",)


@pytest.mark.parametrize("name", ALL_PLANNERS)
def test_a_type_that_nobody_can_serve(name: str) -> None:
    problem = worked_example()
    candidates = tuple(
        dataclasses.replace(candidate, capacity_rps=(candidate.capacity_rps[0], 0.0))
        for candidate in problem.candidates
    )
    plan = no_plan(name, dataclasses.replace(problem, candidates=candidates))
    assert plan.diagnostics == ("llama: no candidate can serve w2",)


@pytest.mark.parametrize("name", planner_names())
def test_models_that_do_not_fit_together(name: str) -> None:
    problem = dataclasses.replace(two_models(), available=(("t1", 2), ("t2", 0)))
    plan = no_plan(name, problem)
    assert plan.diagnostics == ("there are not enough GPUs to serve everything at once; available: 2 t1, 0 t2",)


def test_no_single_gpu_type_is_enough() -> None:
    problem = dataclasses.replace(two_models(), available=(("t1", 1), ("t2", 4)))
    assert get_planner("milp").plan(problem).status is PlanStatus.OK
    assert no_plan("homogeneous", problem).diagnostics == (
        "no single GPU type can serve everything within 10 $/h and the GPUs available",
    )
    assert no_plan("homogeneous:t2", problem).diagnostics == (
        "t2 alone cannot serve everything within 10 $/h and the GPUs available",
    )
    limited = dataclasses.replace(problem, min_replicas=1)
    assert no_plan("homogeneous", limited).diagnostics == (
        "no single GPU type can serve everything within 10 $/h and the GPUs available, and keep to 1 replicas or more "
        "of each model",
    )


def test_homogeneous_of_an_unknown_gpu_type() -> None:
    plan = no_plan("homogeneous:t11", worked_example())
    assert plan.diagnostics == ("there is no 't11' to rent: did you mean 't1'? known: t1, t2, t3",)


@pytest.mark.parametrize("name", ["greedy", "homogeneous", "milp", "uniform"])
def test_one_gpu_is_enough_if_the_model_fits(name: str) -> None:
    problem = dataclasses.replace(worked_example(), available=(("t1", 1), ("t2", 0), ("t3", 0)))
    plan = get_planner(name).plan(problem)
    assert plan.counts == (1, 0, 0, 0)
    assert plan.objective == pytest.approx(80 / 1.0 + 20 / 1.2)


@pytest.mark.parametrize("name", ["greedy", "milp", "uniform"])
def test_replicas_without_work_are_not_rented(name: str) -> None:
    """Only w1 is asked for, and c2 cannot serve it, though it is cheap."""
    problem = worked_example()
    useless = dataclasses.replace(problem.candidates[1], capacity_rps=(0.0, 5.0), usd_per_h=0.0)
    problem = dataclasses.replace(
        problem,
        demands=(Demand("llama", None, ("w1", "w2"), (80.0, 0.0)),),
        candidates=(problem.candidates[0], useless, *problem.candidates[2:]),
    )
    assert get_planner(name).plan(problem).counts[1] == 0
