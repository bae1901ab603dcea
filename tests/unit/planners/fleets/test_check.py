from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from planners import Objective, Plan, PlanStatus, Termination, check_plan, get_planner
from planners.fleets.check import Rule
from tests.planning import two_models, worked_example


def good_plan() -> Plan:
    return get_planner("greedy").plan(worked_example())


def test_a_good_plan_passes() -> None:
    assert check_plan(worked_example(), good_plan()) == []


SHARES = good_plan().assignment


@pytest.mark.parametrize(
    ("fields", "rules"),
    [
        ({"counts": (1, 0, 1)}, {Rule.SHAPE}),
        ({"assignment": SHARES[:3]}, {Rule.SHAPE}),
        ({"assignment": ((1.0,), *SHARES[1:])}, {Rule.SHAPE}),
        ({"counts": (1.5, 0, 0, 1)}, {Rule.INTEGRALITY, Rule.BUDGET}),
        ({"counts": (True, 0, 0, 1)}, {Rule.INTEGRALITY}),
        ({"counts": (1, 0, -1, 1)}, {Rule.NON_NEGATIVITY}),
        ({"counts": (1, 0, 1, 1)}, {Rule.BUDGET}),
        ({"counts": (1, 1, 0, 1)}, {Rule.BUDGET, Rule.AVAILABILITY}),
        ({"counts": (0, 0, 0, 1)}, {Rule.CAPACITY, Rule.OBJECTIVE}),
        ({"assignment": ((0.0, 1.0), *SHARES[1:])}, {Rule.ASSIGNMENT, Rule.OBJECTIVE}),
        ({"assignment": ((1.1, 1.0), (0.0, 0.0), (0.0, 0.0), (-0.1, 0.0))}, {Rule.NON_NEGATIVITY, Rule.OBJECTIVE}),
        ({"objective": 28.0}, {Rule.OBJECTIVE}),
        ({"objective": None}, {Rule.OBJECTIVE}),
        ({"objective_name": Objective.THROUGHPUT}, {Rule.OBJECTIVE}),
        ({"status": PlanStatus.INFEASIBLE, "diagnostics": ()}, {Rule.REASON}),
    ],
)
def test_each_rule_is_checked(fields: dict[str, Any], rules: set[Rule]) -> None:
    violations = check_plan(worked_example(), dataclasses.replace(good_plan(), **fields))
    assert {violation.rule for violation in violations} == rules


def test_a_share_without_capacity_is_a_violation() -> None:
    problem = two_models()
    plan = get_planner("milp").plan(problem)
    assert problem.candidates[4].capacity_rps[2] == 0
    rows = [list(row) for row in plan.assignment]
    rows[3][2], rows[4][2] = 0.0, 1.0
    broken = dataclasses.replace(plan, assignment=tuple(tuple(row) for row in rows))
    assert {violation.rule for violation in check_plan(problem, broken)} == {Rule.CAPACITY}


def test_a_reason_is_enough_without_a_plan() -> None:
    plan = dataclasses.replace(
        good_plan(), status=PlanStatus.FAILED, termination=Termination.ERROR, diagnostics=("lost the solver",)
    )
    assert check_plan(worked_example(), plan) == []


def test_rounding_of_prices_is_not_a_violation() -> None:
    problem = dataclasses.replace(worked_example(), budget_usd_per_h=8.0 - 1e-9)
    assert check_plan(problem, good_plan()) == []
