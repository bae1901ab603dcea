"""Problems at the edge: each ends in the optimum, or in a status with a reason."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from planners import Demand, Objective, PlanningProblem, PlanStatus, Termination, check_plan, get_planner
from planners.fleets.assignment import objective_of
from tests.planning import BY_CAPACITY, least_value, worked_example


def candidates(**fields: Any) -> dict[str, Any]:
    """All candidates of the worked example with something changed."""
    return {"candidates": tuple(dataclasses.replace(one, **fields) for one in worked_example().candidates)}


NO_T = {"available": (("t1", 0), ("t2", 0), ("t3", 0))}
ONE_GPU = {"available": (("t1", 0), ("t2", 0), ("t3", 1))}
TWINS = tuple(
    dataclasses.replace(one, name=f"{one.name} {twin}") for one in worked_example().candidates for twin in "ab"
)
EDGES: dict[str, tuple[dict[str, Any], bool]] = {
    "no money": ({"budget_usd_per_h": 0.0}, False),
    "too little money": ({"budget_usd_per_h": 1.99}, False),
    "no GPUs": (NO_T, False),
    "no candidates": ({"candidates": ()}, False),
    "no capacity": (candidates(capacity_rps=(0.0, 0.0)), False),
    "no capacity for one type": (candidates(capacity_rps=(0.0, 1.0)), False),
    "replicas larger than the market": (candidates(gpus=(("t1", 3),)), False),
    "no demand": ({"demands": (Demand("llama", None, ("w1", "w2"), (0.0, 0.0)),)}, False),
    "demand for one type": ({"demands": (Demand("llama", None, ("w1", "w2"), (1.0, 0.0)),)}, True),
    "one GPU": (ONE_GPU, True),
    "one GPU type": ({"available": (("t1", 2), ("t2", 0), ("t3", 0))}, True),
    "one candidate": ({"candidates": worked_example().candidates[:1]}, True),
    "no limit on money": ({"budget_usd_per_h": math.inf}, True),
    "nothing costs anything": (candidates(usd_per_h=0.0), True),
    "nothing costs anything, and there is no money": (candidates(usd_per_h=0.0) | {"budget_usd_per_h": 0.0}, True),
    "nothing costs anything, without limit": (candidates(usd_per_h=0.0) | {"budget_usd_per_h": math.inf}, True),
    "all prices are the same": (candidates(usd_per_h=2.0), True),
    "tiny prices": (candidates(usd_per_h=1e-9) | {"budget_usd_per_h": 2e-9}, True),
    "huge capacities": (candidates(capacity_rps=(1e9, 2e9)), True),
    "everything twice": ({"candidates": TWINS}, True),
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("objective", BY_CAPACITY)
@pytest.mark.parametrize("name", ["milp", "milp:bisection"])
def test_edge(name: str, objective: Objective, edge: str) -> None:
    fields, has_plan = EDGES[edge]
    problem = dataclasses.replace(worked_example(objective), **fields)
    if objective is Objective.COST:
        problem = at_rate(problem, 0.001)
    plan = get_planner(name, {"gap": 0.0}).plan(problem)
    assert check_plan(problem, plan) == []
    if has_plan:
        assert plan.status is PlanStatus.OK
        assert plan.termination is Termination.OPTIMAL
        assert plan.objective is not None
        assert objective_of(objective, plan.objective) == pytest.approx(least_value(problem), rel=1e-6)
    else:
        assert plan.status is PlanStatus.INFEASIBLE
        assert plan.termination is Termination.INFEASIBLE
        assert least_value(problem) == math.inf
        assert all(plan.diagnostics)
        assert plan.diagnostics


def at_rate(problem: PlanningProblem, factor: float) -> PlanningProblem:
    demands = [dataclasses.replace(one, amounts=tuple(factor * x for x in one.amounts)) for one in problem.demands]
    return dataclasses.replace(problem, demands=tuple(demands))


def test_rates_too_high() -> None:
    plan = get_planner("milp").plan(at_rate(worked_example(Objective.COST), 1.0))
    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.diagnostics
