"""The objective `latency`: against all fleets with shares on a grid, its promise, its refusals."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from planners import (
    Objective,
    PlannerError,
    PlanningProblem,
    PlanStatus,
    Termination,
    Trial,
    check_plan,
    explain_plan,
    get_planner,
)
from planners.fleets.check import Rule
from planners.fleets.latency import LoadedFleet
from planners.problem.latency import STATISTICS, LatencyGoal, Statistic
from planners.problem.plan import plan_by
from planners.problem.plan_json import plan_from_dict, plan_to_dict
from planners.testing import check_planner
from sim import SLO, ConstantServiceTime
from tests.latency import latency_problem, least_latency_s
from traces import Trace

WITHIN = {"mean": 1.02, "p50": 1.08, "p90": 1.03, "p99": 1.03}
RATES = [(1.0, 0.3), (4.0, 0.8), (6.0, 1.5), (2.0, 2.2)]


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("rates", RATES)
def test_milp_finds_the_least_latency(rates: tuple[float, float], statistic: Statistic) -> None:
    problem = latency_problem(rates, LatencyGoal(statistic=statistic))
    plan = get_planner("milp").plan(problem)
    least_s = least_latency_s(problem)
    assert plan.status is PlanStatus.OK, plan.diagnostics
    assert plan.objective is not None
    assert plan.objective <= WITHIN[statistic] * least_s
    # Shares between those of the grid may be better by a little.
    assert plan.objective >= 0.97 * least_s
    assert check_plan(problem, plan) == []
    assert plan.promised_rps == {"m": pytest.approx(sum(rates))}
    assert (plan.bound, plan.gap, plan.termination) == (None, None, Termination.HEURISTIC)


def test_a_quantile_is_the_time_within_which_its_share_of_requests_is_done() -> None:
    problem = latency_problem((4.0, 0.8), LatencyGoal(statistic="p90"))
    plan = get_planner("milp").plan(problem)
    fleet = LoadedFleet.of(problem, plan.counts, plan.assignment)
    assert fleet is not None
    assert plan.objective is not None
    assert problem.latency is not None
    assert fleet.late_share(problem.latency, plan.objective) == pytest.approx(0.1, rel=1e-3)
    mean_s = fleet.statistic_s(LatencyGoal(statistic="mean"))
    quantiles_s = [fleet.statistic_s(LatencyGoal(statistic=statistic)) for statistic in ("p50", "p90", "p99")]
    assert quantiles_s == sorted(quantiles_s)
    assert quantiles_s[0] < mean_s < quantiles_s[1]


def test_no_replica_is_busier_than_the_headroom_allows() -> None:
    for headroom in (0.05, 0.1, 0.5):
        problem = latency_problem((6.0, 1.5), LatencyGoal(statistic="mean", headroom=headroom))
        plan = get_planner("milp").plan(problem)
        fleet = LoadedFleet.of(problem, plan.counts, plan.assignment)
        assert fleet is not None
        assert max(fleet.utilisations) <= 1 / (1 + headroom) + 1e-6


def test_rates_that_no_fleet_carries_with_the_headroom_are_infeasible() -> None:
    most = latency_problem((10.0, 3.0), LatencyGoal())
    pace = get_planner("milp").plan(dataclasses.replace(most, objective=Objective.THROUGHPUT)).objective
    assert pace is not None
    for factor, status in ((pace / 1.12, PlanStatus.OK), (pace / 1.08, PlanStatus.INFEASIBLE)):
        plan = get_planner("milp").plan(latency_problem((10.0 * factor, 3.0 * factor), LatencyGoal()))
        assert plan.status is status, plan.diagnostics
    assert "times the rates, the headroom asks for 1.1 times" in plan.diagnostics[0]


def test_a_latency_that_the_fleet_does_not_have_is_a_violation() -> None:
    problem = latency_problem((4.0, 0.8), LatencyGoal())
    plan = get_planner("milp").plan(problem)
    assert plan.objective is not None
    wrong = check_plan(problem, dataclasses.replace(plan, objective=0.99 * plan.objective))
    assert [violation.rule for violation in wrong] == [Rule.OBJECTIVE]


def test_a_plan_survives_its_json() -> None:
    problem = latency_problem((4.0, 0.8), LatencyGoal())
    plan = get_planner("milp").plan(problem)
    again = plan_from_dict(plan_to_dict(plan), problem, "here")
    assert (again.objective, again.counts) == (plan.objective, plan.counts)
    assert check_plan(problem, again) == []


def test_milp_keeps_its_promises_for_latencies() -> None:
    check_planner(get_planner("milp"), [latency_problem(rates, LatencyGoal()) for rates in (*RATES, (0.0, 0.0))])


def test_without_latencies_there_is_no_plan() -> None:
    problem = dataclasses.replace(latency_problem((4.0, 0.8), LatencyGoal()), loads=None)
    plan = get_planner("milp").plan(problem)
    assert plan.status is PlanStatus.FAILED
    assert plan.diagnostics == ("capacities are given: nothing is known of latencies",)


def test_rules_that_look_at_no_latencies_are_refused() -> None:
    plan = get_planner("milp", {"assignment": "equal_share"}).plan(latency_problem((4.0, 0.8), LatencyGoal()))
    assert plan.diagnostics == ("the objective latency has no assignment but the best",)


def test_a_problem_must_say_which_latency() -> None:
    problem = latency_problem((4.0, 0.8), LatencyGoal())
    with pytest.raises(PlannerError, match="latency is missing, which the objective makes least"):
        dataclasses.replace(problem, latency=None)
    with pytest.raises(PlannerError, match=r"headroom is -0\.1"):
        dataclasses.replace(problem, latency=LatencyGoal(headroom=-0.1))


def test_more_money_never_makes_it_slower_by_more_than_the_search_misses() -> None:
    last_s = math.inf
    for budget in (2.5, 3.5, 5.0, 8.0):
        plan = get_planner("milp").plan(latency_problem((2.0, 0.5), LatencyGoal(), budget_usd_per_h=budget))
        assert plan.objective is not None
        assert plan.objective <= 1.02 * last_s
        last_s = plan.objective


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"candidates": ()}, "there is no candidate for this model"),
        ({"available": (("a", 0), ("b", 0))}, "every replica needs more GPUs than there are"),
        ({"budget_usd_per_h": 0.0}, "the budget is 0 $/h"),
        ({"budget_usd_per_h": 1.0}, "the fastest fleet found carries"),
    ],
)
def test_what_cannot_be_rented_is_infeasible(change: dict[str, Any], reason: str) -> None:
    problem = dataclasses.replace(latency_problem((4.0, 0.8), LatencyGoal()), **change)
    plan = get_planner("milp").plan(problem)
    assert plan.status is PlanStatus.INFEASIBLE
    assert reason in plan.diagnostics[0]


def test_a_planner_that_knows_no_latencies_says_so() -> None:
    plan = plan_by(get_planner("greedy"), latency_problem((4.0, 0.8), LatencyGoal()))
    assert plan.status is PlanStatus.FAILED
    assert plan.diagnostics == ("it does not plan for the objective 'latency'",)


def test_such_plans_are_not_explained() -> None:
    with pytest.raises(PlannerError, match="plans for the objective 'latency' are not explained"):
        explain_plan(latency_problem((4.0, 0.8), LatencyGoal()), get_planner("milp"))


def within(problem: PlanningProblem, slo: SLO) -> PlanningProblem:
    requests = Trace.from_columns([0.0, 1.0], [100, 100], [20, 4], model="m")
    return dataclasses.replace(problem, trial=Trial(ConstantServiceTime(1.0), requests, slo))


@pytest.mark.parametrize("statistic", ["mean", "p50", "p99"])
def test_an_slo_is_kept_though_another_fleet_were_faster(statistic: Statistic) -> None:
    """Without it more requests take longer than its limit; a limit that is kept anyway changes nothing."""
    free = latency_problem((4.0, 0.8), LatencyGoal(statistic=statistic))
    plans = {}
    for limit_s in (None, 2.5, 10.0):
        slo = SLO(e2e_s=limit_s, attainment=0.98)
        problem = within(free, slo)
        plan = plans[limit_s] = get_planner("milp").plan(problem)
        fleet = LoadedFleet.of(problem, plan.counts, plan.assignment)
        assert plan.objective is not None, plan.diagnostics
        assert fleet is not None
        assert fleet.share_within(slo) >= (0.98 - 1e-6 if limit_s else 1.0)
    objectives = [plans[limit_s].objective for limit_s in (None, 2.5, 10.0)]
    assert objectives[0] == pytest.approx(objectives[2], rel=0.02)
    assert objectives[1] is not None
    assert objectives[0] is not None
    assert objectives[0] <= objectives[1] * 1.01


def test_without_a_fleet_that_keeps_the_slo_there_is_no_plan() -> None:
    problem = within(latency_problem((4.0, 0.8), LatencyGoal()), SLO(e2e_s=0.3, attainment=0.95))
    plan = get_planner("milp").plan(problem)
    assert plan.status is PlanStatus.INFEASIBLE
    assert "% of the requests within the SLO by the closed form; 95 % should be" in plan.diagnostics[0]
