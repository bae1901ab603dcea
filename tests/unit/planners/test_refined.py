"""`milp_refined` on replicas whose capacities are known, told wrong ones."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planners import Objective, Plan, PlanningProblem, PlanStatus, Termination, check_plan, check_planner, get_planner
from planners.fleets.delivery import delivered_paces
from tests.planning import two_models, worked_example
from tests.trials import slots_problem

OBJECTIVES = (Objective.MAKESPAN, Objective.THROUGHPUT)


def refined(problem: PlanningProblem, **options: float) -> Plan:
    plan = get_planner("milp_refined", options).plan(problem)
    assert check_plan(problem, plan) == []
    return plan


def delivered(problem: PlanningProblem, plan: Plan) -> float:
    """The pace of a fleet in simulation."""
    assert problem.trial is not None
    return min(delivered_paces(problem, plan, problem.trial, 20_000).values())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_finds_the_better_candidate_behind_wrong_capacities(objective: Objective) -> None:
    """The budget is for one replica. The first is said to be thrice as good as it is; the second is the best."""
    problem = slots_problem((4, 8, 6), (3.0, 1.0, 1.0), objective=objective, budget_usd_per_h=1.0)
    milp, plan = get_planner("milp").plan(problem), refined(problem)
    assert (milp.counts, plan.counts) == ((1, 0, 0), (0, 1, 0))
    assert delivered(problem, plan) == pytest.approx(2 * delivered(problem, milp), rel=0.02)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("errors", [(1.5, 0.7, 1.2), (0.5, 0.5, 0.5), (4.0, 0.25, 1.0)])
def test_promises_what_is_delivered(objective: Objective, errors: tuple[float, ...]) -> None:
    problem = slots_problem((4, 8, 6), errors, objective=objective)
    plan = refined(problem)
    assert plan.objective is not None
    promised = plan.objective if objective is Objective.THROUGHPUT else 1 / plan.objective
    assert delivered(problem, plan) == pytest.approx(promised)
    # All three replicas work at their true capacities, as a plan that knows these has them.
    best = get_planner("milp").plan(slots_problem((4, 8, 6), (1.0, 1.0, 1.0), objective=objective))
    assert plan.objective == pytest.approx(best.objective, rel=0.04)
    assert sum(line.startswith("plan ") for line in plan.diagnostics) <= 5


def test_true_capacities_need_no_second_plan() -> None:
    problem = slots_problem((4, 8, 6), (1.0, 1.0, 1.0))
    plan, milp = refined(problem), get_planner("milp").plan(problem)
    assert (plan.counts, plan.assignment) == (milp.counts, milp.assignment)
    assert plan.objective == pytest.approx(milp.objective, rel=0.02)
    assert plan.termination is Termination.HEURISTIC
    assert (plan.bound, plan.gap) == (None, None)
    said = [
        "plan 1",
        "plan 1 is the best in simulation",
        "its makespan in simulation is 1784 s, with the end in which replicas run empty",
    ]
    assert [line.partition(":")[0] for line in plan.diagnostics] == said


def test_stops_after_max_rounds_with_the_best_so_far() -> None:
    problem = slots_problem((4, 8, 6), (4.0, 1.0, 1.0), budget_usd_per_h=1.0)
    plan = refined(problem, max_rounds=1)
    assert plan.counts == (1, 0, 0)
    assert plan.objective == pytest.approx(1 / delivered(problem, plan))
    assert len(plan.diagnostics) == 3


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 8), min_size=3, max_size=3),
    st.lists(st.floats(0.2, 5.0), min_size=3, max_size=3),
    st.tuples(st.integers(1, 100), st.integers(0, 300)),
    st.integers(1, 5),
    st.integers(0, 3),
)
def test_never_worse_in_simulation_than_milp(
    slots: list[int], errors: list[float], amounts: tuple[int, int], budget: int, seed: int
) -> None:
    problem = slots_problem(slots, errors, amounts, usd_per_h=(1.0, 2.0, 1.5), budget_usd_per_h=budget)
    problem = dataclasses.replace(problem, seed=seed)
    plan, milp = refined(problem), get_planner("milp").plan(problem)
    assert delivered(problem, plan) >= delivered(problem, milp) * (1 - 1e-9)
    assert plan.objective == pytest.approx(1 / delivered(problem, plan))


def test_cost_buys_what_simulation_needs() -> None:
    """Rates for 6 slots. Half of the first candidate's promise is kept: two of them do not do, the second one does."""
    rates = (0.15, 0.6)
    problem = slots_problem((4, 8), (2.0, 1.0), rates, objective=Objective.COST, usd_per_h=(1.0, 1.8), available=(1, 1))
    milp, plan = get_planner("milp").plan(problem), refined(problem)
    assert (milp.counts, plan.counts) == ((1, 0), (0, 1))
    assert plan.objective == 1.8
    assert delivered(problem, plan) >= 1


def test_cost_spares_what_simulation_does_not_need() -> None:
    """Half of the capacities are hidden: one replica carries what two are planned for."""
    problem = slots_problem((4,), (0.5,), (0.08, 0.3), objective=Objective.COST, available=(3,))
    milp, plan = get_planner("milp").plan(problem), refined(problem)
    assert (milp.counts, plan.counts) == ((2,), (1,))
    assert delivered(problem, plan) >= 1


def test_cost_without_a_fleet_that_carries_the_rates_says_so() -> None:
    """One replica is all there is, and it keeps half of its promise."""
    problem = slots_problem((4,), (2.0,), (0.15, 0.6), objective=Objective.COST, available=(1,))
    plan = refined(problem)
    assert plan.counts == (1,)
    assert plan.objective == 1.0
    assert plan.diagnostics[-1] == "in simulation no plan tried carries all that is demanded"


def test_without_means_to_simulate_it_is_milp() -> None:
    for problem in (worked_example(), dataclasses.replace(slots_problem((4, 8), (2.0, 1.0)), trial=None)):
        plan, milp = refined(problem), get_planner("milp").plan(problem)
        assert plan.diagnostics[-1] == "nothing can be simulated: this is the plan of milp"
        same = {"planner": "", "options": (), "solve_s": 0.0, "diagnostics": ()}
        assert dataclasses.replace(plan, **same) == dataclasses.replace(milp, **same)


def test_without_a_plan_it_says_what_milp_says() -> None:
    problem = slots_problem((4,), (1.0,), budget_usd_per_h=0.5)
    plan = refined(problem)
    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.diagnostics == get_planner("milp").plan(problem).diagnostics


def test_conforms() -> None:
    slo_less = [slots_problem((4, 8, 6), (1.5, 0.7, 1.2), objective=objective) for objective in OBJECTIVES]
    plans = check_planner(get_planner("milp_refined"), [*slo_less, worked_example(), two_models()])
    assert len(plans) == 4
    assert plans[0].planner == "milp_refined"
