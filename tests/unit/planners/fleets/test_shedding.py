"""What is given up where not everything can be served."""

from __future__ import annotations

import dataclasses
import math

import pytest

from planners import Demand, Objective, Plan, PlanningProblem, PlanStatus, Termination, check_plan, get_planner
from planners.fleets.check import Rule
from planners.fleets.shedding import servable
from planners.problem.problem import Feature
from planners.questions.what_if import with_replica
from tests.planning import worked_example

ONE_EACH = (("t1", 1), ("t2", 1), ("t3", 1))
NOTHING = (("t1", 0), ("t2", 0), ("t3", 0))
USD_PER_H = 1 / 3600
"""A penalty of so many USD per request makes a request/s cost a USD/h."""


def at(amounts: tuple[float, float], penalties: tuple[float, float], **fields: object) -> PlanningProblem:
    demand = Demand("llama", None, ("w1", "w2"), amounts, penalties)
    problem = worked_example(Objective.COST)
    return dataclasses.replace(problem, demands=(demand,), **fields)  # type: ignore[arg-type]


def checked(problem: PlanningProblem) -> Plan:
    plan = get_planner("milp", {"gap": 0.0}).plan(problem)
    assert check_plan(problem, plan) == []
    return plan


def test_what_the_market_cannot_serve_is_shed() -> None:
    """Two c1 carry 2 requests/s of w1; a third is worth 100 $/h, and cannot be served."""
    market = (("t1", 2), ("t2", 0), ("t3", 0))
    problem = at((3.0, 0.0), (100 * USD_PER_H, math.inf), available=market)
    plan = checked(problem)
    assert plan.counts == (2, 0, 0, 0)
    assert plan.shed == ((pytest.approx(1 / 3), 0.0),)
    assert plan.objective == pytest.approx(8.0 + 100.0)
    assert plan.bound == pytest.approx(plan.objective)
    assert plan.promised_rps == {"llama": pytest.approx(2.0)}
    must = dataclasses.replace(problem, demands=(dataclasses.replace(problem.demands[0], shed_usd_per_request=()),))
    assert checked(must).status is PlanStatus.INFEASIBLE


@pytest.mark.parametrize(("usd_per_h", "counts"), [(2.3, (0, 1, 0, 0)), (2.2, (0, 0, 0, 0))])
def test_what_is_dearer_to_serve_is_shed(usd_per_h: float, counts: tuple[int, ...]) -> None:
    """c2 serves 0.9 requests/s for 2 $/h: a request/s costs 2.22 $/h."""
    market = (("t1", 2), ("t2", 1), ("t3", 2))
    plan = checked(at((0.9, 0.0), (usd_per_h * USD_PER_H, math.inf), available=market))
    assert plan.counts == counts


def test_a_plan_may_shed_everything() -> None:
    for fields in ({"available": NOTHING}, {"candidates": ()}, {"budget_usd_per_h": 0.0}):
        problem = at((3.0, 2.0), (USD_PER_H, 2 * USD_PER_H), **fields)
        plan = checked(problem)
        assert plan.termination is Termination.OPTIMAL
        assert plan.objective == plan.bound == pytest.approx(7.0)
        assert plan.shed == ((1.0, 1.0),)
        assert plan.deployment() is None


def test_what_must_be_served_comes_first() -> None:
    """The dear type may be shed, the cheap one must not."""
    market = (("t1", 1), ("t2", 0), ("t3", 0))
    problem = at((1.0, 1.2), (1.0, math.inf), available=market)
    plan = checked(problem)
    assert plan.shed == ((pytest.approx(1.0), 0.0),)
    too_much = at((1.0, 1.3), (1.0, math.inf), available=market)
    assert checked(too_much).diagnostics == (
        "no fleet carries more than 0.923 times the rates within 8 $/h and the GPUs available",
    )


@pytest.mark.parametrize("objective", [Objective.MAKESPAN, Objective.THROUGHPUT])
def test_types_that_nobody_can_serve_are_given_up(objective: Objective) -> None:
    """Only c1 could serve w1 then, only c3 w2; the budget is enough for one of them."""
    one, _, three, _ = worked_example().candidates
    candidates = (
        dataclasses.replace(one, capacity_rps=(1.0, 0.0)),
        dataclasses.replace(three, capacity_rps=(0.0, 0.5)),
    )
    for penalties, given_up in (((1.0, 1.0), 1), ((0.1, 1.0), 0)):  # 80 of the one type, 20 of the other
        problem = at(
            (80.0, 20.0),
            penalties,
            candidates=candidates,
            available=ONE_EACH,
            budget_usd_per_h=5.0,
            objective=objective,
        )
        plan = checked(problem)
        assert plan.counts == ((0, 1) if given_up == 0 else (1, 0))
        assert plan.shed[0] == tuple(float(w == given_up) for w in range(2))
        assert plan.promised_rps["llama"] == pytest.approx(0.5 if given_up == 0 else 1.0)
        other = (1 - plan.counts[0], 1 - plan.counts[1])
        wrong = tuple((float(c == 0 < n), float(c == 1 and n > 0)) for c, n in enumerate(other))
        swapped = dataclasses.replace(plan, counts=other, assignment=wrong)
        assert Rule.ASSIGNMENT in [violation.rule for violation in check_plan(problem, swapped)]


def test_nothing_is_given_up_without_need() -> None:
    problem = at((80.0, 20.0), (0.0, 0.0), objective=Objective.MAKESPAN)
    plan = checked(problem)
    assert plan.objective == pytest.approx(28.4314, abs=1e-4)
    assert servable(problem).demands[0].amounts == (80.0, 20.0)


def test_a_replica_that_must_be_held_is_not_shed() -> None:
    problem = at((0.9, 0.1), (USD_PER_H, USD_PER_H))
    assert checked(problem).counts == (0, 0, 0, 0)
    held = with_replica(problem, 2)
    assert checked(held).counts[2] >= 1
    assert checked(dataclasses.replace(held, objective=Objective.THROUGHPUT)).counts[2] >= 1


def test_a_time_limit_leaves_a_plan_that_sheds() -> None:
    problem = at((300.0, 200.0), (1.0, 1.0))
    plan = get_planner("milp", {"time_limit_s": 1e-6}).plan(problem)
    assert check_plan(problem, plan) == []
    assert plan.termination is Termination.TIME_LIMIT
    assert plan.gap is not None


def test_needs() -> None:
    assert Feature.SHEDDING in at((1.0, 1.0), (1.0, math.inf)).needs
    assert Feature.SHEDDING not in at((0.0, 1.0), (1.0, math.inf)).needs
    assert Feature.SHEDDING not in at((1.0, 1.0), (math.inf, math.inf)).needs
