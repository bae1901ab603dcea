"""Section 4.2 of arXiv:2502.00722, whose numbers are known."""

from __future__ import annotations

import pytest

from planners import Objective, Plan, PlanStatus, Termination, best_assignment, check_plan, evaluate, get_planner
from tests.planning import least_value, worked_example

PRINTED_COUNTS = (1, 0, 0, 1)
PRINTED_SHARES = ((0.15, 1.0), (0.0, 0.0), (0.0, 0.0), (0.85, 0.0))
OPTIMUM_S = 28.431372549


def test_printed_plan_evaluates_to_the_printed_makespan() -> None:
    assert evaluate(worked_example(), PRINTED_COUNTS, PRINTED_SHARES) == pytest.approx(28.6666666667)


def test_printed_plan_is_feasible() -> None:
    problem = worked_example()
    plan = Plan(
        problem=problem,
        planner="arXiv:2502.00722",
        status=PlanStatus.OK,
        termination=Termination.HEURISTIC,
        objective_name=Objective.MAKESPAN,
        objective=evaluate(problem, PRINTED_COUNTS, PRINTED_SHARES),
        bound=None,
        gap=None,
        solve_s=0.0,
        counts=PRINTED_COUNTS,
        assignment=PRINTED_SHARES,
    )
    assert check_plan(problem, plan) == []


def test_best_assignment_of_the_printed_fleet_beats_the_printed_one() -> None:
    found = best_assignment(worked_example(), PRINTED_COUNTS)
    assert found.makespan == pytest.approx(OPTIMUM_S)
    # Both replicas finish at the same time: c1 works on all of w2, and on w1 for the rest.
    share = (OPTIMUM_S - 20 / 1.2) / 80
    assert [x for row in found.fractions for x in row] == pytest.approx(
        [share, 1.0, 0.0, 0.0, 0.0, 0.0, 1 - share, 0.0]
    )


def test_enumeration_finds_the_optimum() -> None:
    assert least_value(worked_example()) == pytest.approx(OPTIMUM_S)


@pytest.mark.parametrize("method", ["direct", "bisection"])
def test_milp_finds_the_optimum(method: str) -> None:
    problem = worked_example()
    plan = get_planner("milp", {"method": method, "gap": 1e-6}).plan(problem)
    assert plan.termination is Termination.OPTIMAL
    assert plan.counts == PRINTED_COUNTS
    assert plan.objective == pytest.approx(OPTIMUM_S, rel=1e-9)
    assert plan.bound == pytest.approx(OPTIMUM_S, rel=2e-6)
    assert plan.usd_per_h == 8.0


def test_throughput_is_one_over_the_makespan() -> None:
    problem = worked_example(Objective.THROUGHPUT)
    plan = get_planner("milp").plan(problem)
    assert plan.objective == pytest.approx(1 / OPTIMUM_S)
    assert plan.promised_rps == {"llama": pytest.approx(100 / OPTIMUM_S)}


@pytest.mark.parametrize(
    ("name", "makespan_s", "counts"),
    [
        ("homogeneous", 46.6666666667, (0, 0, 0, 1)),  # 80 / 2.4 + 20 / 1.5
        ("homogeneous:t1", 48.3333333333, (2, 0, 0, 0)),  # (80 / 1.0 + 20 / 1.2) / 2
        ("homogeneous:t3", 153.333333333, (0, 0, 2, 0)),  # (80 / 0.3 + 20 / 0.5) / 2
        ("greedy", OPTIMUM_S, (1, 0, 0, 1)),  # c4 has most capacity per dollar, c1 is next
    ],
)
def test_heuristics_do_what_they_say(name: str, makespan_s: float, counts: tuple[int, ...]) -> None:
    plan = get_planner(name).plan(worked_example())
    assert plan.objective == pytest.approx(makespan_s)
    assert plan.counts == counts


def test_uniform_takes_the_gpu_types_in_turn() -> None:
    problem = worked_example()
    plan = get_planner("uniform").plan(problem)
    # One t1, then t2 in its best configuration, which takes both; there is no money left for t3.
    assert problem.gpus(plan.counts) == {"t1": 1, "t2": 2}
