"""`milp` and `greedy_lp` with capacities at the mixes of their own plans."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planners import (
    Candidate,
    Demand,
    Objective,
    Plan,
    PlanningProblem,
    PlanStatus,
    Previous,
    Termination,
    check_plan,
    check_planner,
    get_planner,
)
from planners.fleets.check import broken_limits
from planners.fleets.linearise import AGREED, adjusted, alone, assigned_again, linearised
from tests.mixes import PairTimes
from tests.planning import worked_example

NAMES = ("a", "b", "c")


def mixed_problem(
    rates: tuple[tuple[float, float], ...],
    ties: tuple[float, ...],
    amounts: tuple[float, float] = (60.0, 40.0),
    *,
    objective: Objective = Objective.MAKESPAN,
    budget_usd_per_h: float = 4.0,
) -> PlanningProblem:
    """Candidates of 1, 2 and 3 $/h that take 1, 2 and 3 of six GPUs; `ties` as shares of their least time."""
    ties_s = {name: tie / max(pair) for name, tie, pair in zip(NAMES, ties, rates, strict=False)}
    alone = dict(zip(NAMES, rates, strict=False))
    mixes = PairTimes(alone, ties_s)
    demand = Demand("m", None, ("chat", "code"), amounts)
    candidates = []
    for n, (name, pair) in enumerate(alone.items(), start=1):
        one = Candidate(name, "m", (("L40", n),), float(n), pair)
        at_mix = mixes.capacity_rps(one, amounts)
        candidates.append(dataclasses.replace(one, capacity_rps=tuple(map(min, pair, at_mix))))
    return PlanningProblem((demand,), tuple(candidates), (("L40", 6),), budget_usd_per_h, objective, mixes=mixes)


def own_makespan(problem: PlanningProblem, plan: Plan) -> float:
    """T of a plan by the closed form."""
    assert problem.mixes is not None
    times = []
    for c, candidate in enumerate(problem.candidates):
        served = [x * f for x, f in zip(plan.assignment[c], problem.demands[0].amounts, strict=True)]
        if any(served):
            times.append(problem.mixes.time_s(candidate, served) / plan.counts[c])
    return max(times)


def promised_makespan(plan: Plan) -> float:
    assert plan.objective is not None
    return plan.objective if plan.objective_name is Objective.MAKESPAN else 1 / plan.objective


problems = st.builds(
    mixed_problem,
    st.tuples(*[st.tuples(st.floats(0.3, 3.0), st.floats(0.3, 3.0))] * 3),
    st.tuples(*[st.floats(-0.8, 3.0)] * 3),
    st.tuples(st.floats(1.0, 100.0), st.floats(1.0, 100.0)),
    objective=st.sampled_from([Objective.MAKESPAN, Objective.THROUGHPUT]),
    budget_usd_per_h=st.integers(1, 6).map(float),
)


@settings(max_examples=25, deadline=None)
@given(problems)
def test_promises_what_its_own_mixes_take_and_is_never_worse_than_the_single_solve(problem: PlanningProblem) -> None:
    plan = get_planner("milp").plan(problem)
    single = get_planner("milp", {"linearise": False}).plan(problem)
    assert check_plan(problem, plan) == []
    assert plan.status is PlanStatus.OK
    assert promised_makespan(plan) == pytest.approx(own_makespan(problem, plan), rel=AGREED)
    assert own_makespan(problem, plan) <= own_makespan(problem, single) * (1 + 1e-9)
    assert plan.gap is not None
    assert plan.capacities is not None


@settings(max_examples=50, deadline=None)
@given(problems, st.tuples(*[st.floats(0.0, 1.0)] * 2))
def test_adjusted_capacities_are_right_at_the_mix_and_promise_little_beyond(
    problem: PlanningProblem, shares: tuple[float, float]
) -> None:
    """By one factor more than alone at most, the one by which types help each other."""
    known = alone(problem)
    rest = tuple(1 - share for share in shares)
    counts, fractions = (1, 1, 0), (shares, rest, (0.0, 0.0))
    plan = linearised(known, counts, fractions)
    assert problem.mixes is not None
    for c, rates in adjusted(known, plan).items():
        amounts = [x * f for x, f in zip(fractions[c], problem.demands[0].amounts, strict=True)]
        time_s = problem.mixes.time_s(problem.candidates[c], amounts)
        added_s = sum(f / h for f, h in zip(amounts, rates, strict=True))
        alone_s = sum(f / h for f, h in zip(amounts, known.candidates[c].capacity_rps, strict=True))
        assert added_s == pytest.approx(time_s, rel=1e-6)
        most = max(1.0, alone_s / time_s) * (1 + 1e-6)
        assert all(h <= most * known_h for h, known_h in zip(rates, known.candidates[c].capacity_rps, strict=True))


@settings(max_examples=20, deadline=None)
@given(problems)
def test_no_fleet_is_better_where_types_do_not_touch_each_other(problem: PlanningProblem) -> None:
    """What is linear stays what it is, and the plan is the best of all fleets."""
    assert isinstance(problem.mixes, PairTimes)
    mixes = dataclasses.replace(problem.mixes, ties_s=dict.fromkeys(NAMES, 0.0))
    problem = dataclasses.replace(problem, mixes=mixes)
    plan = get_planner("milp").plan(problem)
    fleets = itertools.product(*(range(problem.max_count(c) + 1) for c in range(3)))
    possible = [counts for counts in fleets if any(counts) and not list(broken_limits(problem, counts))]
    best = min(assigned_again(problem, counts).makespan for counts in possible)
    assert own_makespan(problem, plan) <= best * (1 + AGREED + 2e-4)


def test_what_the_first_fleet_serves_nothing_of_may_still_be_what_it_is_best_at() -> None:
    """Capacities beside the mix are half of those alone; a tangent at one type must not keep the other at that."""
    problem = mixed_problem(((1.0, 1.0), (1.0, 2.0), (1.0, 1.0)), (1.0, 0.0, 0.0), (1.0, 1.0), budget_usd_per_h=3.0)
    assert isinstance(problem.mixes, PairTimes)
    problem = dataclasses.replace(problem, mixes=dataclasses.replace(problem.mixes, ties_s=dict.fromkeys(NAMES, 0.0)))
    plan = get_planner("milp").plan(problem)
    assert plan.counts == (3, 0, 0)
    assert own_makespan(problem, plan) == pytest.approx(2 / 3)


def test_finds_the_replicas_that_are_good_at_one_type_each() -> None:
    """Both types on one of the larger replicas take far longer than on the small ones; each by itself takes less."""
    problem = mixed_problem(((1.0, 1.0), (2.5, 2.5), (3.2, 3.2)), (0.0, 2.0, 2.0), budget_usd_per_h=5.0)
    plan = get_planner("milp").plan(problem)
    single = get_planner("milp", {"linearise": False}).plan(problem)
    assert (single.counts, plan.counts) == ((5, 0, 0), (3, 1, 0))
    assert plan.objective == pytest.approx(100 / 5.5, rel=AGREED)
    assert plan.diagnostics == ("linearised at its own mixes in 4 rounds: 20 s as solved first, 18.18 s now",)


def test_without_knowledge_of_mixes_it_is_the_single_solve() -> None:
    problem = worked_example()
    plan, single = get_planner("milp").plan(problem), get_planner("milp", {"linearise": False}).plan(problem)
    same = {"options": (), "solve_s": 0.0}
    assert dataclasses.replace(plan, **same) == dataclasses.replace(single, **same)
    assert plan.capacities is None


def test_rules_of_assignment_are_not_linearised() -> None:
    problem = mixed_problem(((1.0, 2.0), (3.0, 1.5)), (1.0, -0.5))
    for rule in ("equal_share", "capacity_weighted"):
        plan = get_planner("milp", {"assignment": rule}).plan(problem)
        assert plan.capacities is None


@pytest.mark.parametrize("options", [{"composition": "uniform"}, {"deployment": "uniform"}, {"method": "bisection"}])
def test_what_is_taken_away_stays_away(options: dict[str, str]) -> None:
    problem = mixed_problem(((1.0, 2.0), (3.0, 1.5), (4.0, 4.5)), (1.0, -0.5, 2.0))
    plan = get_planner("milp", options).plan(problem)
    single = get_planner("milp", options | {"linearise": False}).plan(problem)
    assert own_makespan(problem, plan) <= own_makespan(problem, single) * (1 + 1e-9)
    assert promised_makespan(plan) == pytest.approx(own_makespan(problem, plan))
    if "deployment" in options:
        assert sum(count > 0 for count in plan.counts) == 1


@settings(max_examples=20, deadline=None)
@given(problems, st.floats(0.2, 1.1))
def test_cost_carries_the_rates_at_its_own_mixes(problem: PlanningProblem, share: float) -> None:
    """Rates of which the fastest fleet would carry so much more; what cannot be carried is said."""
    fastest = get_planner("milp").plan(dataclasses.replace(problem, objective=Objective.THROUGHPUT))
    assert fastest.objective is not None
    amounts = tuple(share * fastest.objective * amount for amount in problem.demands[0].amounts)
    demand = dataclasses.replace(problem.demands[0], amounts=amounts)
    problem = dataclasses.replace(problem, demands=(demand,), objective=Objective.COST)
    plan = get_planner("milp").plan(problem)
    assert check_plan(problem, plan) == []
    if plan.capacities is not None:
        assert own_makespan(problem, plan) <= 1 + 1e-6
    elif plan.status is PlanStatus.OK:
        assert plan.diagnostics[-1] == "no fleet tried carries the rates at the mixes of its own replicas"


def test_cost_with_penalties_sheds_what_its_own_mixes_have_no_time_for() -> None:
    problem = mixed_problem(((1.0, 2.0), (3.0, 1.5)), (2.0, 2.0), (3.0, 2.0), objective=Objective.COST)
    demand = dataclasses.replace(problem.demands[0], shed_usd_per_request=(0.01, 0.0001))
    problem = dataclasses.replace(problem, demands=(demand,))
    plan = get_planner("milp").plan(problem)
    assert check_plan(problem, plan) == []
    assert plan.shed[0][1] > 0
    assert own_makespan(problem, plan) <= 1 + 1e-6


def test_limits_and_what_runs_already_hold() -> None:
    problem = mixed_problem(((1.0, 2.0), (3.0, 1.5), (4.0, 4.5)), (1.0, -0.5, 2.0))
    running = Previous((("b", 2),), 60.0, 30.0, 600.0)
    for limited in (
        dataclasses.replace(problem, max_configurations=1),
        dataclasses.replace(problem, previous=running),
        dataclasses.replace(problem, max_configurations=2, previous=running),
    ):
        plan = get_planner("milp").plan(limited)
        assert check_plan(limited, plan) == []
        assert plan.status is PlanStatus.OK


def test_several_models_are_linearised_each() -> None:
    problem = mixed_problem(((1.0, 2.0), (3.0, 1.5)), (1.0, -0.5))
    mixes = problem.mixes
    assert isinstance(mixes, PairTimes)
    second = [dataclasses.replace(one, name=f"{one.name} of n", model="n") for one in problem.candidates]
    both = PairTimes(
        mixes.alone | {one.name: mixes.alone[one.name[0]] for one in second},
        mixes.ties_s | {one.name: mixes.ties_s[one.name[0]] for one in second},
    )
    demands = (*problem.demands, dataclasses.replace(problem.demands[0], model="n", amounts=(10.0, 50.0)))
    problem = dataclasses.replace(problem, demands=demands, candidates=(*problem.candidates, *second), mixes=both)
    plan = get_planner("milp").plan(problem)
    assert check_plan(problem, plan) == []
    assert plan.objective == pytest.approx(linearised(problem, plan.counts, plan.assignment).makespan)


@settings(max_examples=20, deadline=None)
@given(problems)
def test_greedy_lp_assigns_again_but_keeps_its_fleet(problem: PlanningProblem) -> None:
    plan = get_planner("greedy_lp", {"linearise": True}).plan(problem)
    single = get_planner("greedy_lp").plan(problem)
    assert check_plan(problem, plan) == []
    assert all(count in {0, n} for count, n in zip(plan.counts, single.counts, strict=True))
    assert promised_makespan(plan) == pytest.approx(own_makespan(problem, plan))
    assert own_makespan(problem, plan) <= own_makespan(problem, single) * (1 + 1e-9)


def test_conforms() -> None:
    asked = [
        mixed_problem(((1.0, 2.0), (3.0, 1.5), (4.0, 4.5)), ties, objective=objective)
        for ties in ((1.0, -0.5, 2.0), (-0.8, -0.8, -0.8))
        for objective in (Objective.MAKESPAN, Objective.THROUGHPUT)
    ]
    plans = check_planner(get_planner("milp", {"gap": 0.0}), asked)
    assert all(plan.termination in {Termination.OPTIMAL, Termination.GAP_REACHED} for plan in plans)
    assert all(plan.objective is not None and math.isfinite(plan.objective) for plan in plans)
