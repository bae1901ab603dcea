from __future__ import annotations

import dataclasses

import pytest

from planners import Candidate, Demand, Objective, PlanningProblem, get_planner
from planners.questions.frontier import plan_frontier
from tests.planning import worked_example
from traces.workload import WorkloadGrid, WorkloadMix


def test_points_of_the_worked_example() -> None:
    planners = {"best": get_planner("milp"), "one type": get_planner("homogeneous")}
    told: list[str] = []
    points = plan_frontier(worked_example(), planners, [1.0, 8.0], told.append)
    assert told == ["best at 1 $/h", "one type at 1 $/h", "best at 8 $/h", "one type at 8 $/h"]
    poor, best = points[0], points[2]
    assert (poor.planner, poor.status, poor.objective, poor.usd_per_h) == ("best", "infeasible", None, None)
    assert poor.reasons == ("the cheapest fleet that serves everything costs 2 $/h, the budget is 1 $/h",)
    assert (poor.promised_rps, poor.usd_per_million_output_tokens) == (None, None)
    assert (best.budget_usd_per_h, best.usd_per_h, best.termination, best.reasons) == (8.0, 8.0, "optimal", ())
    assert best.objective == best.bound == pytest.approx(28.4314, abs=1e-4)
    assert best.promised_rps == pytest.approx(100 / 28.4314, rel=1e-5)
    assert best.promised_tokens_per_s is None  # lengths are not known


def test_price_of_tokens() -> None:
    """Two replicas for 1.8 $/h serve 4 requests/s of 100 and 300 output tokens: 800 tokens/s, 2.88 M tokens/h."""
    grid = WorkloadGrid((500,), (300, 100))
    mix = WorkloadMix(grid, (0.5, 0.5), (500.0, 500.0), (300.0, 100.0))
    demand = Demand.from_rate("m", mix, 10.0)
    nothing = Demand("n", None, ("w",), (0.0,))
    one = Candidate("a", "m", (("L40", 1),), 0.9, (2.0, 2.0))
    problem = PlanningProblem((demand, nothing), (one,), (("L40", 2),), 9.0, Objective.THROUGHPUT)
    (point,) = plan_frontier(problem, {"greedy": get_planner("greedy")}, [2.0])
    assert point.promised_rps == pytest.approx(4.0)
    assert point.promised_tokens_per_s == pytest.approx(800.0)
    assert point.usd_per_million_output_tokens == pytest.approx(1.8 / 2.88)
    unknown = dataclasses.replace(problem, demands=(dataclasses.replace(demand, mix=None), nothing))
    assert plan_frontier(unknown, {"g": get_planner("greedy")}, [2.0])[0].usd_per_million_output_tokens is None
