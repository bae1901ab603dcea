from __future__ import annotations

import dataclasses
import sys
from typing import Any

import pytest
from pydantic import BaseModel

from planners import (
    Demand,
    Objective,
    Plan,
    PlanningProblem,
    PlanStatus,
    Previous,
    Termination,
    check_planner,
    get_planner,
    planner_names,
)
from planners.rivals.greedy import GreedyOptions, GreedyPlanner
from tests.planning import two_models, worked_example

PROBLEMS = (
    worked_example(),
    worked_example(Objective.THROUGHPUT),
    two_models(),
    dataclasses.replace(worked_example(Objective.COST), demands=(Demand("llama", None, ("w1", "w2"), (1.6, 0.4)),)),
    dataclasses.replace(worked_example(), budget_usd_per_h=1.0),
)
LIMITED = (
    dataclasses.replace(two_models(), max_configurations=2),
    dataclasses.replace(
        two_models(), max_gpu_share=0.6, previous=Previous((("small on t2", 3),), start_s=600.0, drain_s=60.0)
    ),
)


@pytest.mark.parametrize("name", [*planner_names(), "helix:best", "hexgen:best", "homogeneous:t1", "milp:bisection"])
def test_our_planners_conform(name: str) -> None:
    planner = get_planner(name)
    plans = check_planner(planner, PROBLEMS)
    assert [plan.status for plan in plans][-1] is PlanStatus.INFEASIBLE
    assert len(plans) == len([problem for problem in PROBLEMS if problem.needs <= planner.features]) >= 4


@pytest.mark.parametrize("name", ["greedy", "homogeneous", "milp", "milp:bisection", "uniform"])
def test_our_planners_conform_within_further_limits(name: str) -> None:
    assert len(check_planner(get_planner(name), LIMITED)) == len(LIMITED)


GREEDY = GreedyPlanner().plan(worked_example()).objective or 0.0


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
        return dataclasses.replace(GreedyPlanner().plan(problem), **({"planner": self.name} | self._fields))


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
        ({"status": PlanStatus.INFEASIBLE, "diagnostics": ("no",)}, "infeasible, yet it rents something"),
        ({"planner": "other"}, "the plan is said to be by 'other'"),
        ({"gap": 0.0}, "a gap of 0.0 without a bound"),
        ({"bound": 14.0, "gap": 0.0}, r"the gap is said to be 0.0, but 28\.\d+ is 0.50\d+ from 14.0"),
        ({"bound": 28.0, "gap": 1 - 28 / GREEDY, "termination": Termination.OPTIMAL}, "said to be optimal with a gap"),
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


def test_bound_must_hold_if_there_is_less_to_rent() -> None:
    """The rule of greedy is misled by a replica that is cheap and slow; without its GPUs the plan is better."""

    class Boastful(Wrong):
        features = frozenset({"makespan", "bound", "exact"})

        def plan(self, problem: PlanningProblem) -> Plan:
            plan = super().plan(problem)
            return dataclasses.replace(plan, bound=plan.objective, gap=None if plan.objective is None else 0.0)

    assert check_planner(Boastful(), PROBLEMS[:1])
    slow = dataclasses.replace(worked_example().candidates[3], capacity_rps=(0.01, 0.01), usd_per_h=0.001)
    misled = dataclasses.replace(worked_example(), candidates=(*worked_example().candidates[:3], slow))
    with pytest.raises(AssertionError, match=r"with a t2 less it finds .* though nothing should beat"):
        check_planner(Boastful(), [misled])


def test_bound_must_not_be_beaten_by_the_plan_itself() -> None:
    class Modest(Wrong):
        features = frozenset({"makespan", "bound"})

    with pytest.raises(AssertionError, match=r"28\.\d+ is better than 30"):
        check_planner(Modest(bound=30.0, gap=30.0 / GREEDY - 1), PROBLEMS[:1])


def test_a_bound_that_is_promised_must_be_there() -> None:
    class Silent(Wrong):
        features = frozenset({"makespan", "bound"})

    with pytest.raises(AssertionError, match="the plan has no bound"):
        check_planner(Silent(), PROBLEMS[:1])


def test_planner_must_leave_the_problem_alone() -> None:
    class Spender(Wrong):
        def plan(self, problem: PlanningProblem) -> Plan:
            object.__setattr__(problem, "budget_usd_per_h", 1e9)
            return super().plan(problem)

    class Forgetful(Wrong):
        def plan(self, problem: PlanningProblem) -> Plan:
            object.__setattr__(problem.demands[0], "amounts", (1.0, 1.0))
            return super().plan(problem)

    for planner in (Spender(), Forgetful()):
        with pytest.raises(AssertionError, match="it changed the problem"):
            check_planner(planner, [worked_example()])


def test_planner_must_be_silent() -> None:
    class Chatty(Wrong):
        def plan(self, problem: PlanningProblem) -> Plan:
            sys.stdout.write("hello")
            return super().plan(problem)

    with pytest.raises(AssertionError, match=r"it prints 'hello'"):
        check_planner(Chatty(), PROBLEMS[:1])


def test_planner_must_return_a_plan() -> None:
    class Silent(Wrong):
        def plan(self, problem: PlanningProblem) -> Plan:
            return None  # type: ignore[return-value]

    with pytest.raises(AssertionError, match="returned NoneType, not a Plan"):
        check_planner(Silent(), PROBLEMS[:1])


def test_problems_beyond_a_planners_features_are_left_out() -> None:
    planner = Wrong()
    assert len(check_planner(planner, [two_models(), worked_example()])) == 1
    assert planner.n_calls == 2
    with pytest.raises(AssertionError, match="so nothing was checked"):
        check_planner(planner, [two_models(), worked_example(Objective.THROUGHPUT)])
    assert planner.n_calls == 2
