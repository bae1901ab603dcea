"""The fleet that runs already: what is lost by changing it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from planners import Candidate, Demand, Objective, Plan, PlanningProblem, Previous, check_plan, get_planner
from planners.fleets.check import Rule
from planners.problem.plan_json import plan_to_dict
from tests.planning import worked_example

HOUR_S = 3600.0


def running(*counts: tuple[str, int], **fields: Any) -> Previous:
    return Previous(counts, **fields)


def after(previous: Previous | None, objective: Objective = Objective.MAKESPAN, **fields: Any) -> PlanningProblem:
    return dataclasses.replace(worked_example(objective), previous=previous, **fields)


def at_rate(factor: float, previous: Previous | None, **fields: Any) -> PlanningProblem:
    demand = Demand("llama", None, ("w1", "w2"), (80 * factor, 20 * factor))
    return after(previous, Objective.COST, demands=(demand,), **fields)


def checked(problem: PlanningProblem, name: str = "milp") -> Plan:
    plan = get_planner(name, {"gap": 0.0} if name == "milp" else {}).plan(problem)
    assert check_plan(problem, plan) == []
    return plan


@pytest.mark.parametrize("fleet", [(("c2", 1), ("c3", 1)), (("c4", 1),)])
def test_of_equally_cheap_fleets_the_one_that_runs_is_kept(fleet: tuple[tuple[str, int], ...]) -> None:
    plan = checked(at_rate(0.013, running(*fleet, start_s=1.0, drain_s=1.0)))
    kept = dict(fleet)
    assert plan.counts == tuple(kept.get(name, 0) for name in ("c1", "c2", "c3", "c4"))
    assert plan.objective == plan.bound == 4.0


def test_of_equally_fast_fleets_the_one_that_runs_is_kept() -> None:
    twins = [Candidate(name, "m", ((name, 1),), 1.0, (1.0,)) for name in ("a", "b")]
    market = (("a", 2), ("b", 2))
    problem = PlanningProblem((Demand("m", None, ("w",), (6.0,)),), tuple(twins), market, 2.0)
    for fleet in ((("a", 2),), (("a", 1), ("b", 1)), (("b", 2),)):
        plan = checked(dataclasses.replace(problem, previous=Previous(fleet, start_s=1.0)))
        assert plan.objective == pytest.approx(3.0)
        assert plan.counts == (dict(fleet).get("a", 0), dict(fleet).get("b", 0))


def test_a_change_must_earn_its_boot() -> None:
    """One c2 would carry these rates for half the price, busy for 8/9 of the time: it must not be away longer."""
    previous = running(("c1", 1), start_s=300.0, hold_s=HOUR_S)
    market = (("t1", 2), ("t2", 2), ("t3", 0))
    assert checked(at_rate(0.008, previous, available=market)).counts == (0, 1, 0, 0)
    sooner = at_rate(0.008, dataclasses.replace(previous, hold_s=2600.0), available=market)
    assert checked(sooner).counts == (1, 0, 0, 0)


def test_what_is_stopped_is_paid_for() -> None:
    problem = at_rate(0.008, running(("c1", 1), drain_s=360.0))
    plan = checked(problem)
    assert plan.counts == (0, 1, 0, 0)
    assert plan.objective == plan.bound == pytest.approx(2.4)
    assert plan.usd_per_h == 2.0
    assert plan_to_dict(plan)["drain_usd_per_h"] == pytest.approx(0.4)
    dear = at_rate(0.008, running(("c1", 1), drain_s=1900.0))
    assert checked(dear).counts == (1, 0, 0, 0)


def test_a_replica_whose_gpus_are_gone_is_paid_for_too() -> None:
    market = (("t1", 0), ("t2", 2), ("t3", 2))
    problem = at_rate(0.008, running(("c1", 1), drain_s=360.0), available=market)
    assert checked(problem).objective == pytest.approx(2.4)
    assert checked(problem, "homogeneous").objective == pytest.approx(2.4)
    broke = dataclasses.replace(problem, budget_usd_per_h=2.3)
    assert checked(broke).diagnostics == (
        "the cheapest fleet that serves everything costs 2.4 $/h, the budget is 2.3 $/h",
    )


def test_idle_replicas_stay_if_stopping_them_costs_more() -> None:
    plan = checked(at_rate(0.008, running(("c1", 1), ("c3", 1), drain_s=2 * HOUR_S)))
    assert plan.counts == (1, 0, 1, 0)
    assert plan.objective == 6.0


def test_stopping_counts_towards_the_budget() -> None:
    """The best fleet costs all of the budget; then nothing can be stopped."""
    plan = checked(after(None))
    problem = after(running(("c2", 1), drain_s=60.0))
    assert [violation.rule for violation in check_plan(problem, plan)] == [Rule.BUDGET]
    assert checked(problem).counts[1] >= 1


def test_a_fleet_from_nothing_is_as_much_slower_as_it_starts_late() -> None:
    plain = checked(after(None, Objective.THROUGHPUT))
    problem = after(running(start_s=900.0), Objective.THROUGHPUT)
    plan = checked(problem)
    assert plan.counts == plain.counts
    assert plan.objective == pytest.approx(0.75 * (plain.objective or 0.0))
    promised = plain.promised_rps["llama"]
    assert plan.promised_rps["llama"] == pytest.approx(0.75 * promised)
    assert [v.rule for v in check_plan(problem, plain)] == [Rule.OBJECTIVE]


def test_start_times_may_differ() -> None:
    """c4 is in the best fleet; where it takes long to start, it is not."""
    assert checked(after(None)).counts[3] == 1
    problem = after(Previous((), start_s=lambda candidate: 3000.0 if candidate.name == "c4" else 10.0))
    assert checked(problem).counts[3] == 0


@pytest.mark.parametrize("name", ["milp", "milp:bisection", "homogeneous", "greedy", "uniform"])
def test_nothing_that_is_started_serves_in_time(name: str) -> None:
    problem = after(running(("c1", 1), ("c3", 1), start_s=600.0, drain_s=600.0, hold_s=300.0))
    plan = checked(problem, name)
    assert plan.counts[0] == 1
    assert plan.counts[1] == plan.counts[3] == 0
    nothing = checked(after(running(start_s=600.0, hold_s=300.0)), name)
    assert nothing.counts == (0, 0, 0, 0)
    assert nothing.diagnostics


def test_an_ablation_knows_what_runs() -> None:
    plan = get_planner("milp", {"deployment": "uniform"}).plan(
        at_rate(0.013, running(("c2", 1), ("c3", 1), start_s=60.0))
    )
    assert plan.counts == (0, 1, 1, 0)


@pytest.mark.parametrize("fleet", [(("c2", 2),), (("c4", 1),)])
def test_coral_starts_nothing_without_need(fleet: tuple[tuple[str, int], ...]) -> None:
    plan = checked(at_rate(0.012, Previous(fleet, start_s=60.0)), "coral")
    assert plan.counts == tuple(dict(fleet).get(name, 0) for name in ("c1", "c2", "c3", "c4"))
