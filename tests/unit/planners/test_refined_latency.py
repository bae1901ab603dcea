"""`milp_refined` for the objective `latency`: the closed form is of shared processors, the simulation of slots."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from planners import Objective, Plan, PlanningProblem, PlanStatus, check_plan, get_planner
from planners.fleets.delivery import delivered_latency
from planners.problem.latency import LatencyGoal, Statistic
from sim import SLO
from tests.latency import SharedLoads, latency_problem
from tests.trials import slots_problem
from traces import Trace


def problem(statistic: Statistic = "p99", *, slo: SLO | None = None, knows_arrivals: bool = True) -> PlanningProblem:
    made = slots_problem(
        (2, 8, 4), (3.0, 1.0, 1.0), (0.05, 0.2), objective=Objective.THROUGHPUT, budget_usd_per_h=3.0, slo=slo
    )
    n = 400
    arrival_s = np.random.default_rng(0).exponential(4.0, n).cumsum()
    requests = Trace.from_columns(arrival_s, [100] * n, [20, 4, 4, 4, 4] * (n // 5), model="Llama-3-8B")
    assert made.trial is not None
    trial = dataclasses.replace(made.trial, requests=requests, knows_arrivals=knows_arrivals)
    goal = LatencyGoal(statistic=statistic)
    return dataclasses.replace(made, objective=Objective.LATENCY, latency=goal, loads=SharedLoads(), trial=trial)


def delivered_s(problem: PlanningProblem, plan: Plan) -> float:
    assert problem.trial is not None
    assert problem.latency is not None
    return delivered_latency(problem, plan, problem.trial, problem.latency, 20_000)[0]


@pytest.mark.parametrize("knows_arrivals", [True, False])
@pytest.mark.parametrize("statistic", ["mean", "p99"])
def test_the_best_in_simulation_is_kept(statistic: Statistic, knows_arrivals: bool) -> None:
    asked = problem(statistic, knows_arrivals=knows_arrivals)
    milp, plan = (get_planner(name).plan(asked) for name in ("milp", "milp_refined"))
    assert plan.status is PlanStatus.OK
    assert check_plan(asked, plan) == []
    assert delivered_s(asked, plan) <= delivered_s(asked, milp)
    told_s = [float(s) for line in plan.diagnostics for s in re.findall(r"delivered (\S+) s in simulation", line)]
    assert len(told_s) > 1
    assert told_s[0] == pytest.approx(delivered_s(asked, milp), rel=1e-3)
    assert delivered_s(asked, plan) <= min(told_s) * 1.03


def test_latencies_of_slots_that_never_wait_are_those_of_the_lengths() -> None:
    """An iteration of 1 s gives a token: requests of 20 and 4 tokens take 20 and 4 s."""
    asked = problem("mean")
    assert delivered_s(asked, get_planner("milp").plan(asked)) == pytest.approx(0.2 * 20 + 0.8 * 4, rel=0.35)


def test_one_round_is_the_plan_of_milp() -> None:
    asked = problem()
    milp, plan = get_planner("milp").plan(asked), get_planner("milp_refined", {"max_rounds": 1}).plan(asked)
    assert (plan.counts, plan.assignment, plan.objective) == (milp.counts, milp.assignment, milp.objective)
    assert plan.diagnostics[-1] == "plan 1 is the best in simulation"


def test_an_slo_that_is_missed_is_told() -> None:
    """The closed form takes it for kept."""
    plan = get_planner("milp_refined").plan(problem(slo=SLO(e2e_s=10.0, attainment=0.9)))
    assert plan.status is PlanStatus.OK
    tried = [line for line in plan.diagnostics if "in simulation" in line][:-1]
    assert tried
    assert all(line.endswith("in simulation, but the SLO is missed") for line in tried)


def test_without_means_to_simulate_it_is_milp() -> None:
    plan = get_planner("milp_refined").plan(latency_problem((4.0, 0.8), LatencyGoal()))
    assert plan.diagnostics[-1] == "nothing can be simulated: this is the plan of milp"
