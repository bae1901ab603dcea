"""Limits beside budget and availability."""

from __future__ import annotations

import dataclasses

import pytest

from planners import Demand, Objective, PlanningProblem, PlanStatus, Previous, check_plan, get_planner
from planners.milp.formulation import FLEET_FAMILIES
from planners.problem.limits import LIMITS
from planners.problem.problem import Feature
from scenarios.file.schema.planning import Planning
from tests.planning import two_models, worked_example

ALL = ("greedy", "milp", "milp:bisection", "uniform")


def limited(objective: Objective = Objective.MAKESPAN, **fields: object) -> PlanningProblem:
    return dataclasses.replace(worked_example(objective), **fields)  # type: ignore[arg-type]


def at_rate(factor: float, **fields: object) -> PlanningProblem:
    demand = Demand("llama", None, ("w1", "w2"), (80 * factor, 20 * factor))
    return limited(Objective.COST, demands=(demand,), **fields)


@pytest.mark.parametrize("name", ALL)
def test_one_configuration(name: str) -> None:
    problem = limited(max_configurations=1)
    plan = get_planner(name).plan(problem)
    assert check_plan(problem, plan) == []
    assert len(plan.fleet) == 1


def test_best_fleet_of_one_configuration() -> None:
    plan = get_planner("milp").plan(limited(max_configurations=1))
    assert plan.counts == (0, 0, 0, 1)
    assert plan.objective == pytest.approx(80 / 2.4 + 20 / 1.5)


@pytest.mark.parametrize("name", ALL)
def test_share_of_one_gpu_type(name: str) -> None:
    """The best fleet has two of its three GPUs of one type."""
    problem = limited(max_gpu_share=0.5)
    plan = get_planner(name).plan(problem)
    assert check_plan(problem, plan) == []
    gpus = problem.gpus(plan.counts)
    assert max(gpus.values()) <= sum(gpus.values()) / 2
    assert plan.objective is not None
    assert plan.objective > 28.4314


def test_no_fleet_keeps_to_the_limits() -> None:
    plan = get_planner("milp").plan(limited(max_configurations=1, max_gpu_share=0.5))
    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.diagnostics == (
        "no fleet that serves everything keeps to 1 configurations and a share of 0.5 of the GPUs for one type",
    )


def test_rates_that_no_fleet_within_the_limits_carries() -> None:
    plan = get_planner("milp").plan(at_rate(0.03, max_configurations=1))
    assert plan.diagnostics == (
        "no fleet carries more than 0.714 times the rates within 8 $/h and the GPUs available and 1 configurations",
    )


def test_limits_are_checked() -> None:
    problem = worked_example()
    plan = get_planner("milp").plan(problem)
    assert plan.counts == (1, 0, 0, 1)

    def broken(**fields: object) -> list[str]:
        return [violation.rule for violation in check_plan(limited(**fields), plan)]

    assert broken(max_configurations=1) == ["configurations"]
    assert broken(max_configurations=2) == []
    assert broken(max_gpu_share=0.66) == ["gpu_share"]
    assert broken(max_gpu_share=0.67) == []


def test_needs_of_a_problem() -> None:
    assert worked_example().needs == {Feature.MAKESPAN}
    assert two_models().needs == {Feature.MAKESPAN, Feature.SEVERAL_MODELS}
    assert at_rate(1.0, max_gpu_share=0.9).needs == {Feature.COST, Feature.LIMITS}
    assert limited(previous=Previous(())).needs == {Feature.MAKESPAN, Feature.SWITCHING}


def test_every_limit_has_a_family_of_its_own_in_the_formulation() -> None:
    """And is a field of the problem and of scenarios, with the same default."""
    families = [limit.family for limit in LIMITS]
    assert len(set(families)) == len(LIMITS)
    for limit in LIMITS:
        assert limit.family in FLEET_FAMILIES
        assert limit.nothing == PlanningProblem.__dataclass_fields__[limit.name].default
        assert limit.nothing == Planning.model_fields[limit.name].default
