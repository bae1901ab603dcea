from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planners import Objective, Plan, PlanningProblem, PlanStatus, check_plan, get_planner
from planners.fleets.keeping import keep_slo
from sim import SLO
from tests.trials import slots_problem
from traces import Trace

OBJECTIVES = [Objective.COST, Objective.THROUGHPUT]


def problem(error: float, objective: Objective = Objective.COST, goal: float = 0.95, **changes: Any) -> PlanningProblem:
    """Three kinds of replicas with 1, 2 and 4 slots; capacities are off by a factor."""
    n = 400
    rng = np.random.default_rng(0)
    rate_rps = 0.2
    arrival_s = rng.exponential(1 / rate_rps, n).cumsum()
    requests = Trace.from_columns(arrival_s, [100] * n, [20, 4] * (n // 2), model="Llama-3-8B")
    slo = SLO(ttft_s=30.0, attainment=goal)
    made = slots_problem(
        (1, 2, 4), (error,) * 3, (rate_rps / 2, rate_rps / 2), objective=objective, slo=slo,
        usd_per_h=(1.0, 2.0, 4.0), available=(4, 2, 1), **changes,
    )  # fmt: skip
    assert made.trial is not None
    return replace(made, trial=replace(made.trial, requests=requests))


def plan(of: PlanningProblem, **options: Any) -> Plan:
    return get_planner("milp", options).plan(of)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_keeps_its_slo_is_planned_once(objective: Objective) -> None:
    careful = problem(0.3, objective)
    kept, once = plan(careful), plan(careful, keep_slo=False)
    assert kept.counts == once.counts
    assert kept.objective == once.objective
    assert not any("in simulation" in line for line in kept.diagnostics)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_misses_its_slo_is_planned_for_more(objective: Objective) -> None:
    bold = problem(3.0, objective, budget_usd_per_h=8.0)
    kept, once = plan(bold), plan(bold, keep_slo=False)
    assert kept.status is PlanStatus.OK
    assert once.objective is not None
    assert kept.objective is not None
    assert any("within the SLO in simulation" in line for line in kept.diagnostics)
    if objective is Objective.COST:
        assert kept.objective > once.objective
        assert kept.promised_rps == pytest.approx(once.promised_rps)
    else:
        assert kept.objective < once.objective


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_is_solved_again(objective: Objective) -> None:
    """For the largest multiple of the rates nothing: the best plan for twice the rates is the one that there is."""
    bold = problem(3.0, objective, budget_usd_per_h=8.0)
    milp, solved = get_planner("milp", {"keep_slo": False}), []

    def solve(of: PlanningProblem) -> Plan:
        solved.append(of)
        return milp.plan(of)

    kept = keep_slo(bold, solve)
    assert (len(solved) == 1) is (objective is Objective.THROUGHPUT)
    assert check_plan(kept.problem, kept) == []
    anew = milp.plan(kept.problem)
    assert (kept.counts, kept.objective) == (anew.counts, pytest.approx(anew.objective))
    assert kept.bound == pytest.approx(anew.bound)


def test_a_promise_that_nobody_can_keep_is_withdrawn() -> None:
    poor = plan(problem(20.0, budget_usd_per_h=1.0))
    assert poor.status is PlanStatus.INFEASIBLE
    assert poor.counts == (0, 0, 0)
    assert poor.objective is None
    assert "no plan within budget and availability keeps 95 %" in poor.diagnostics[0]


@pytest.mark.parametrize("change", [{"slo": None}, {"knows_arrivals": False}, {"slo": SLO()}])
def test_nothing_is_tried_without_an_slo_or_arrivals(change: dict[str, Any]) -> None:
    bold = problem(20.0, budget_usd_per_h=1.0)
    assert bold.trial is not None
    assert plan(replace(bold, trial=replace(bold.trial, **change))).status is PlanStatus.OK
