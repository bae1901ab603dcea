from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from planners import Candidate, Demand, Objective, PlanningProblem, PlanStatus, get_planner
from planners.fleets.mix import capacity_weighted
from sim import ReplicaSpec, gpu_type, model_spec
from tests.planning import two_models

MODEL = model_spec("Llama-3-70B")


def problem(**changes: Any) -> PlanningProblem:
    """Replicas of 1, 2 and 4 nodes with 2.1, 4.1 and 8.2 times the model's memory."""
    specs = [ReplicaSpec.uniform(MODEL, gpu_type("A100-SXM-80GB"), tp=4, pp=pp) for pp in (1, 2, 4)]
    rates = [(1.0, 1.0), (2.6, 2.6), (6.0, 6.0)]
    arguments: dict[str, Any] = {
        "demands": (Demand(MODEL.name, None, ("chat", "code"), (3.0, 3.0)),),
        "candidates": tuple(Candidate.from_spec(spec, rps) for spec, rps in zip(specs, rates, strict=True)),
        "available": (("A100-SXM-80GB", 64),),
        "budget_usd_per_h": 16 * specs[0].usd_per_h,
        "objective": Objective.COST,
    }
    return PlanningProblem(**(arguments | changes))


def test_library_has_templates_up_to_the_limits_on_nodes_and_memory() -> None:
    assert get_planner("coral").plan(problem()).counts == (0, 0, 1)
    assert get_planner("coral", {"max_nodes": 3}).plan(problem()).counts == (1, 2, 0)
    assert get_planner("coral", {"max_memory_ratio": 8.0}).plan(problem()).counts == (1, 2, 0)
    assert get_planner("coral", {"max_memory_ratio": 4.0}).plan(problem()).counts == (6, 0, 0)


def test_an_empty_library_makes_no_plan() -> None:
    plan = get_planner("coral", {"max_memory_ratio": 1.0}).plan(problem())
    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.diagnostics == ("the fleet chosen cannot carry the rates; another one could",)


def test_it_knows_no_budget() -> None:
    poor = problem(budget_usd_per_h=35.0, demands=(Demand(MODEL.name, None, ("chat", "code"), (5.5, 0.5)),))
    assert get_planner("coral").plan(poor).status is PlanStatus.OK
    plan = get_planner("coral", {"max_nodes": 1}).plan(poor)
    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.diagnostics == ("it wants to spend 42 $/h, the budget is 35",)


def test_requests_go_round_robin_weighted_by_throughput() -> None:
    plan = get_planner("coral", {"max_nodes": 2}).plan(problem())
    assert plan.assignment == capacity_weighted(problem(), plan.counts).fractions
    assert plan.assignment[0] == (pytest.approx(1 / 6.2),) * 2


def test_rates_are_turned_down_until_there_is_a_fleet_which_is_then_the_cheapest() -> None:
    """For 21 $/h there are three nodes: 3.6 requests/s. A fourth that costs money and can do nothing is left."""
    useless = dataclasses.replace(problem().candidates[0], name="useless", capacity_rps=(0.0, 0.0), usd_per_h=1.0)
    poor = problem(budget_usd_per_h=22.0, objective=Objective.THROUGHPUT, candidates=(*problem().candidates, useless))
    plan = get_planner("coral").plan(poor)
    assert plan.counts == (1, 1, 0, 0)
    assert plan.objective == pytest.approx(3.6 / 6)


def test_models_are_served_alike() -> None:
    both = dataclasses.replace(two_models(), objective=Objective.THROUGHPUT)
    plan = get_planner("coral").plan(both)
    assert plan.status is PlanStatus.OK
    assert plan.assignment == capacity_weighted(both, plan.counts).fractions
