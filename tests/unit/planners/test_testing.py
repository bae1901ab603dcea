from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import BaseModel

from planners import (
    Objective,
    Plan,
    PlanningProblem,
    PlanStatus,
    Termination,
    check_planner,
    get_planner,
    planner_names,
)
from planners.greedy import GreedyOptions, GreedyPlanner
from tests.planning import two_models, worked_example

PROBLEMS = (
    worked_example(),
    worked_example(Objective.THROUGHPUT),
    two_models(),
    dataclasses.replace(worked_example(), budget_usd_per_h=1.0),
)


@pytest.mark.parametrize("name", [*planner_names(), "helix:best", "hexgen:best", "homogeneous:t1", "milp:bisection"])
def test_our_planners_conform(name: str) -> None:
    plans = check_planner(get_planner(name), PROBLEMS)
    assert [plan.status for plan in plans][-1] is PlanStatus.INFEASIBLE
    assert len(plans) == len(PROBLEMS)


class Wrong:
    """A planner whose plans are greedy's with something changed."""

    name = "wrong"
    features = frozenset({"makespan"})
    Options: type[BaseModel] = GreedyOptions

    def __init__(self, **fields: Any) -> None:
        self._fields = fields
        self.n_calls = 0

    def plan(self, problem: PlanningProblem) -> Plan:
        self.n_calls += 1
        return dataclasses.replace(GreedyPlanner().plan(problem), **self._fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objective": 1.0}, "wrong, problem 0: objective: the objective is said to be 1"),
        ({"objective_name": Objective.THROUGHPUT}, "the plan has throughput"),
        ({"counts": (9, 9, 9, 9)}, "budget: "),
        (
            {"status": PlanStatus.FAILED, "termination": Termination.ERROR, "diagnostics": ("no solver",)},
            "failed: no solver",
        ),
        ({"status": PlanStatus.INFEASIBLE}, "does not say why"),
    ],
)
def test_broken_promises_are_found(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_planner(Wrong(**fields), PROBLEMS[:1])


def test_planner_must_be_pure() -> None:
    class Moody(Wrong):
        def plan(self, problem: PlanningProblem) -> Plan:
            plan = super().plan(problem)
            return dataclasses.replace(plan, diagnostics=(f"call {self.n_calls}",))

    with pytest.raises(AssertionError, match="a second run gave another plan"):
        check_planner(Moody(), PROBLEMS[:1])


def test_planner_must_return_a_plan() -> None:
    class Silent(Wrong):
        def plan(self, problem: PlanningProblem) -> Plan:
            return None  # type: ignore[return-value]

    with pytest.raises(AssertionError, match="returned NoneType, not a Plan"):
        check_planner(Silent(), PROBLEMS[:1])


def test_problems_beyond_a_planners_features_are_left_out() -> None:
    planner = Wrong()
    assert check_planner(planner, [two_models(), worked_example(Objective.THROUGHPUT)]) == []
    assert planner.n_calls == 0
