from __future__ import annotations

import dataclasses

import pytest

from planners import (
    Candidate,
    Case,
    Demand,
    Objective,
    PlannerError,
    PlannerOptionsError,
    PlanningProblem,
    PlanStatus,
    Termination,
    check_plan,
    check_planner,
    get_planner,
)
from planners.questions.what_if import with_replica
from tests.planning import hard_problem, two_models, worked_example

NOW_GPUS = (("fast", 2), ("slow", 4))


def problem_with(*cases: Case, objective: Objective = Objective.MAKESPAN, budget: float = 4.0) -> PlanningProblem:
    """Two GPU types of one price: `fast` is the better for long requests and, a little, for short ones."""
    return PlanningProblem(
        demands=(Demand("m", None, ("long", "short"), (10.0, 10.0)),),
        candidates=(
            Candidate("fast", "m", (("fast", 1),), 2.0, (1.0, 1.1)),
            Candidate("slow", "m", (("slow", 1),), 1.0, (0.3, 0.5)),
        ),
        available=NOW_GPUS,
        budget_usd_per_h=budget,
        objective=objective,
        cases=cases,
    )


NO_FAST = Case("no fast", (("fast", 0), ("slow", 4)), ((10.0, 10.0),))
SHORT = Case("short", NOW_GPUS, ((0.0, 40.0),))


def test_without_cases_only_the_best_fleet_of_now_counts() -> None:
    plan = get_planner("milp_robust").plan(problem_with())
    assert plan.counts == get_planner("milp").plan(problem_with()).counts == (2, 0)
    assert plan.termination is Termination.OPTIMAL


def test_a_case_with_other_capacities() -> None:
    """Where fast ones are as slow as the slow ones, and dearer, four slow ones are best in the worst case."""
    slow = Case("slow", NOW_GPUS, ((10.0, 10.0),), (("fast", (0.3, 0.5)), ("gone", (9.0,))))
    problem = problem_with(slow)
    assert [one.capacity_rps for one in problem.in_case(slow).candidates] == [(0.3, 0.5), (0.3, 0.5)]
    assert [one.capacity_rps for one in problem.candidates] == [(1.0, 1.1), (0.3, 0.5)]
    plan = get_planner("milp_robust").plan(problem)
    assert plan.counts == (0, 4)
    assert plan.diagnostics[0] == "pace of the worst case: 0.075, of no fleet above 0.075"
    assert check_plan(problem, plan) == []


def test_types_that_a_case_does_not_know_keep_their_capacity() -> None:
    """As with a replica that is forced into a plan, to explain it."""
    slow = Case("slow", NOW_GPUS, ((10.0, 10.0),), (("fast", (0.3, 0.5)),))
    forced = with_replica(problem_with(slow), 0)
    fastest = forced.candidates[0].capacity_rps[2]
    assert forced.in_case(forced.cases[0]).candidates[0].capacity_rps == (0.3, 0.5, fastest)


def test_what_may_be_taken_away_is_not_all_that_is_rented() -> None:
    """Without the fast ones only slow ones survive: the worst case is best with four of them, regret with two."""
    problem = problem_with(NO_FAST)
    worst = get_planner("milp_robust").plan(problem)
    assert worst.counts == (0, 4)
    assert check_plan(problem, worst) == []
    # 4 x slow: T = (10 / 0.3 + 10 / 0.5) / 4 in both cases.
    assert worst.objective == pytest.approx(40 / 3)
    assert worst.diagnostics[0] == "pace of the worst case: 0.075, of no fleet above 0.075"


def test_regret_table() -> None:
    plan = get_planner("milp_robust", {"criterion": "mean", "weights": {"now": 9}}).plan(problem_with(NO_FAST))
    assert plan.counts == (1, 2)
    assert plan.diagnostics[0].startswith("mean pace: ")
    assert list(plan.diagnostics[1:]) == [
        "no fast: without 1 x fast",
        "regret             $/h     now  no fast    worst",
        "milp_robust       4.00   4.5 %   50.0 %   50.0 %",
        "best for now      4.00   0.0 %  100.0 %  100.0 %",
        "best for no fast  4.00  28.4 %    0.0 %   28.4 %",
    ]


def test_a_fleet_that_loses_everything_in_a_case_is_not_taken() -> None:
    """The best fleet of now is fast only; no weight of now makes up for serving nothing in the other case."""
    plan = get_planner("milp_robust", {"criterion": "mean", "weights": {"now": 1e6}}).plan(problem_with(NO_FAST))
    assert plan.counts[1] > 0


def test_criteria_differ() -> None:
    """With few requests where only slow ones survive, two of these do for the worst case, but are half of the best."""
    few = dataclasses.replace(NO_FAST, amounts=((4.0, 4.0),))
    counts = {
        criterion: get_planner("milp_robust", {"criterion": criterion}).plan(problem_with(few)).counts
        for criterion in ("worst", "mean", "regret")
    }
    assert counts == {"worst": (1, 2), "mean": (0, 4), "regret": (0, 4)}


def test_replicas_for_other_cases_are_kept() -> None:
    """Now there are no short requests, and `special` can serve nothing else."""
    demand = Demand("m", None, ("long", "short"), (10.0, 0.0))
    candidates = (
        Candidate("general", "m", (("t", 1),), 1.0, (1.0, 0.1)),
        Candidate("special", "m", (("t", 1),), 1.0, (0.0, 5.0)),
        Candidate("useless", "m", (("t", 1),), 0.0, (0.0, 1e-9)),
    )
    case = Case("evening", (("t", 9),), ((1.0, 50.0),))
    problem = PlanningProblem((demand,), candidates, (("t", 9),), 3.0, cases=(case,))
    plan = get_planner("milp_robust").plan(problem)
    assert plan.counts[0] > 0
    assert plan.counts[1] > 0
    assert check_plan(problem, plan) == []


def test_cost_rents_the_cheapest_fleet_for_all_cases() -> None:
    """Two fast ones carry the rates of now, two slow ones a quarter of them; one and two do both for the same price."""
    case = dataclasses.replace(NO_FAST, amounts=((0.25, 0.25),))
    problem = dataclasses.replace(
        problem_with(case, objective=Objective.COST, budget=100.0),
        demands=(Demand("m", None, ("long", "short"), (1.0, 1.0)),),
    )
    plan = get_planner("milp_robust").plan(problem)
    assert check_plan(problem, plan) == []
    assert (plan.objective, plan.counts) == (4.0, (1, 2))
    assert plan.diagnostics[0] == "no fast: without 1 x fast"


def test_hopeless_case_is_named() -> None:
    nothing = Case("blackout", (("fast", 0), ("slow", 0)), ((10.0, 10.0),))
    plan = get_planner("milp_robust").plan(problem_with(SHORT, nothing))
    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.diagnostics == (
        "blackout: m: every replica needs more GPUs than there are, the smallest of them 1 fast; "
        "available: 0 fast, 0 slow",
    )


def test_cases_that_no_fleet_of_now_covers_are_infeasible() -> None:
    later = Case("later", (("fast", 0), ("slow", 9)), ((10.0, 10.0),))
    problem = dataclasses.replace(problem_with(later), available=(("fast", 2), ("slow", 0)))
    plan = get_planner("milp_robust").plan(problem)
    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.diagnostics == ("no fleet can be rented now that serves everything in all cases",)


def test_weight_of_an_unknown_case() -> None:
    with pytest.raises(PlannerError, match=r"weight is given for 'shrt', which is no case .*: did you mean 'short'"):
        get_planner("milp_robust", {"criterion": "mean", "weights": {"shrt": 2}}).plan(problem_with(SHORT))
    with pytest.raises(PlannerOptionsError, match=r"weights.now' is 0"):
        get_planner("milp_robust", {"weights": {"now": 0}})
    with pytest.raises(PlannerOptionsError, match=r"option 'weights' .* for the criterion 'mean', not for 'worst'"):
        get_planner("milp_robust", {"weights": {"now": 2}})


def test_without_time_it_is_the_best_of_what_is_known() -> None:
    problem = hard_problem()
    cases = (
        Case("less", tuple((gpu, n // 2) for gpu, n in problem.available), tuple(d.amounts for d in problem.demands)),
    )
    problem = dataclasses.replace(problem, cases=cases)
    plan = get_planner("milp_robust", {"time_limit_s": 1e-5}).plan(problem)
    assert plan.termination is Termination.TIME_LIMIT
    assert check_plan(problem, plan) == []


def test_conforms() -> None:
    plans = check_planner(get_planner("milp_robust"), [problem_with(NO_FAST, SHORT), worked_example(), two_models()])
    assert [plan.status for plan in plans] == [PlanStatus.OK] * 3


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (Case("now", NOW_GPUS, ((1.0, 1.0),)), "two cases are called 'now'; 'now' is the problem itself"),
        (Case("x", NOW_GPUS, ()), "case 'x': amounts for 0 models; 1 are demanded"),
        (Case("x", NOW_GPUS, ((1.0,),)), "1 amounts for 2 workload types"),
        (Case("x", (("fast", 1),), ((1.0, 1.0),)), "unknown GPU type 'slow'"),
        (Case("x", (("fast", -1), ("slow", 1)), ((1.0, 1.0),)), "-1 GPUs of type 'fast'"),
    ],
)
def test_cases_that_do_not_fit(case: Case, message: str) -> None:
    with pytest.raises(PlannerError) as raised:
        problem_with(case)
    assert message in str(raised.value)
