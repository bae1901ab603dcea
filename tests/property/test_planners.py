"""Planners against enumeration, against each other, and against the laws that any right answer obeys."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from planners import (
    Objective,
    Planner,
    PlanningProblem,
    PlanStatus,
    Termination,
    best_assignment,
    check_plan,
    check_planner,
    evaluate,
    get_planner,
    planner_names,
)
from planners.fleets.assignment import objective_of
from planners.fleets.bounds import pace_bound
from planners.fleets.shedding import in_full, what_must_be_served
from planners.milp import core
from planners.problem.problem import Feature
from tests.planning import fleets, least_given_up, least_value
from tests.strategies_planners import limited, problems, with_shedding

EXACT = {"gap": 0.0}
ALL_PLANNERS = (*planner_names(), "helix:best", "hexgen:best", "homogeneous:t1", "milp:bisection")
OPTIONS: dict[str, dict[str, float]] = {
    "adaptive_greedy": {"n_starts": 4, "n_paces": 10},
    "hexgen": {"population": 8, "generations": 10},
    "homogeneous": EXACT,
    "milp": EXACT,
}
# These serve everything wherever that is possible.
HEURISTICS = ("adaptive_greedy", "greedy", "greedy_lp", "helix", "hexgen", "random", "uniform")
MAKESPAN = problems(objectives=(Objective.MAKESPAN,))
FACTORS = st.sampled_from([0.001, 0.1, 3.0, 1000.0])


def planner(name: str) -> Planner:
    """A planner that is exact, or takes little effort."""
    return get_planner(name, OPTIONS.get(name.partition(":")[0]))


def value_by(problem: PlanningProblem, name: str = "milp") -> float:
    """The value that a planner finds, see `planners.fleets.assignment`; infinite without a plan."""
    plan = planner(name).plan(problem)
    assert plan.status is not PlanStatus.FAILED
    return math.inf if plan.objective is None else objective_of(problem.objective, plan.objective)


def same(one: float, other: float, tolerance: float = 1e-6) -> bool:
    return one == other or abs(one - other) <= tolerance * max(one, other, 1e-9)


@given(problems())
def test_milp_finds_what_enumeration_finds(problem: PlanningProblem) -> None:
    assert same(value_by(problem), least_value(problem))


@given(limited(problems(max_candidates=4)))
def test_milp_finds_what_enumeration_finds_within_further_limits(problem: PlanningProblem) -> None:
    assert same(value_by(problem), least_value(problem))


@given(limited(problems(max_candidates=4)))
def test_other_planners_keep_to_further_limits(problem: PlanningProblem) -> None:
    """`value_by` fails for a plan that breaks a rule."""
    best = least_value(problem)
    names = ("greedy", "homogeneous", "uniform", *["coral"] * (Feature.LIMITS not in problem.needs))
    for name in names:
        assert value_by(problem, name) >= best * (1 - 1e-9)
    is_found = value_by(problem, "greedy") < math.inf
    assert is_found == (best < math.inf) or problem.objective is Objective.COST


@given(with_shedding(problems(max_candidates=4, objectives=(Objective.COST,))))
def test_milp_sheds_what_is_dearer_to_serve(problem: PlanningProblem) -> None:
    plan = planner("milp").plan(problem)
    assert check_plan(problem, plan) == []
    assert same(math.inf if plan.objective is None else plan.objective, least_value(problem))


@given(with_shedding(problems(max_candidates=4, objectives=(Objective.MAKESPAN, Objective.THROUGHPUT))))
def test_milp_gives_up_the_least_and_serves_the_rest_as_fast_as_it_can(problem: PlanningProblem) -> None:
    plan = planner("milp").plan(problem)
    assert check_plan(problem, plan) == []
    if plan.objective is None:
        assert least_value(what_must_be_served(problem)) == math.inf or plan.diagnostics
        return
    shed = plan.shed
    penalty = sum(
        demand.shed_usd_per_request[w] * amount * shed[d][w]
        for d, demand in enumerate(problem.demands)
        for w, amount in enumerate(demand.amounts)
        if shed[d][w] > 0
    )
    assert same(penalty, least_given_up(problem))
    amounts = [
        tuple(amount * (share == 0) for amount, share in zip(demand.amounts, shares, strict=True))
        for demand, shares in zip(problem.demands, shed, strict=True)
    ]
    served = [
        dataclasses.replace(demand, amounts=left, shed_usd_per_request=())
        for demand, left in zip(problem.demands, amounts, strict=True)
    ]
    assert same(
        objective_of(problem.objective, plan.objective),
        least_value(dataclasses.replace(problem, demands=tuple(served))),
    )


@given(with_shedding(problems(max_candidates=4)))
def test_planners_that_do_not_choose_what_to_shed_are_no_worse_for_it(problem: PlanningProblem) -> None:
    best = value_by(problem)
    for name in ("coral", "greedy", "hexgen", "homogeneous", "milp_robust"):
        plan, plain = planner(name).plan(problem), planner(name).plan(in_full(problem))
        assert check_plan(problem, plan) == []
        if plain.objective is not None:
            assert plan.objective is not None
            assert objective_of(problem.objective, plan.objective) <= objective_of(problem.objective, plain.objective)
        elif plan.objective is not None:
            assert objective_of(problem.objective, plan.objective) >= best * (1 - 1e-9)


@given(limited(problems(max_candidates=4)))
def test_a_fleet_that_is_kept_for_ever_is_planned_without_the_previous_one(problem: PlanningProblem) -> None:
    assume(problem.previous is not None)
    assert problem.previous is not None
    # At 1e12 s, the shares of what stops are about 1e-9, where the solver begins to take them for zero.
    for_ever = dataclasses.replace(problem, previous=dataclasses.replace(problem.previous, hold_s=1e15))
    value, without = value_by(for_ever), least_value(dataclasses.replace(problem, previous=None))
    # A fleet may be free, but what it stops is paid for a while.
    assert same(value, without, 1e-5) or abs(value - without) < 1e-6


@given(limited(problems(max_candidates=4)))
def test_what_runs_is_better_than_it_would_be_from_nothing(problem: PlanningProblem) -> None:
    """Stopping costs money only; without that, whatever runs is as good as nothing or better."""
    assume(problem.previous is not None)
    assert problem.previous is not None
    running = dataclasses.replace(problem.previous, drain_s=0.0)
    nothing = dataclasses.replace(running, counts=())
    from_nothing = value_by(dataclasses.replace(problem, previous=nothing))
    assert value_by(dataclasses.replace(problem, previous=running)) <= from_nothing * (1 + 1e-9)


@pytest.mark.parametrize("size", [0, 1, 2])
@given(problem=limited(problems(max_candidates=4)) | problems())
def test_the_core_leaves_no_better_fleet_out(size: int, problem: PlanningProblem) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core, "CORE_SIZE", size)
        assert same(value_by(problem), least_value(problem))


@given(problems(max_gpus=2, max_candidates=4))
def test_bisection_agrees_with_the_direct_milp(problem: PlanningProblem) -> None:
    assert same(value_by(problem, "milp:bisection"), value_by(problem), 3e-6)


@given(problems())
def test_milp_of_one_gpu_type_is_homogeneous(problem: PlanningProblem) -> None:
    """Two formulations, two interfaces to the solver."""
    for gpu, _ in problem.available:
        one_type = dataclasses.replace(
            problem,
            candidates=tuple(c for c in problem.candidates if [name for name, _ in c.gpus] == [gpu]),
        )
        assert same(value_by(one_type), value_by(problem, f"homogeneous:{gpu}"))


@given(problems())
def test_milp_is_never_worse_than_another_planner(problem: PlanningProblem) -> None:
    best = value_by(problem)
    for name in ALL_PLANNERS:
        assert value_by(problem, name) >= best * (1 - 1e-9), name


@given(problems())
def test_heuristics_serve_everything_wherever_that_is_possible(problem: PlanningProblem) -> None:
    """For `cost` they may fail to carry the rates: finding out whether some fleet does is the whole problem."""
    possible = value_by(problem) < math.inf
    for name in HEURISTICS:
        found = value_by(problem, name) < math.inf
        assert found <= possible if problem.objective is Objective.COST else found == possible, name


@pytest.mark.parametrize("name", ALL_PLANNERS)
@given(data=st.data())
def test_every_plan_is_feasible_and_pure(name: str, data: st.DataObject) -> None:
    problem = data.draw(problems(max_gpus=2, max_candidates=3))
    assume(problem.needs <= planner(name).features)
    check_planner(planner(name), [problem])


@given(problems(), st.data())
def test_more_gpus_or_money_never_hurt(problem: PlanningProblem, data: st.DataObject) -> None:
    before = value_by(problem)
    more = tuple((gpu, count + data.draw(st.integers(0, 2))) for gpu, count in problem.available)
    richer = dataclasses.replace(problem, available=more, budget_usd_per_h=problem.budget_usd_per_h + 2.0)
    assert value_by(dataclasses.replace(problem, available=more)) <= before * (1 + 1e-9)
    assert value_by(richer) <= before * (1 + 1e-9)


@given(problems())
def test_bound_holds_and_gap_is_consistent(problem: PlanningProblem) -> None:
    plan = get_planner("milp", {"gap": 0.1}).plan(problem)
    assume(plan.objective is not None)
    assert plan.objective is not None
    assert plan.bound is not None
    assert plan.gap is not None
    assert plan.gap * plan.objective == pytest.approx(abs(plan.objective - plan.bound))
    assert plan.gap <= 0.1 / 0.9
    optimum = objective_of(problem.objective, least_value(problem))
    low, high = sorted([plan.bound, plan.objective])
    assert low * (1 - 1e-6) <= optimum <= high * (1 + 1e-6)
    assert plan.termination in {Termination.OPTIMAL, Termination.GAP_REACHED}


@given(MAKESPAN)
def test_no_fleet_beats_the_closed_form_bound(problem: PlanningProblem) -> None:
    bound = pace_bound(problem, range(len(problem.candidates)))
    best = least_value(problem)
    assume(not problem.is_empty)
    assert 1 / best <= bound * (1 + 1e-9)


@given(MAKESPAN, FACTORS)
def test_k_times_the_work_takes_k_times_as_long(problem: PlanningProblem, k: float) -> None:
    demands = tuple(
        dataclasses.replace(demand, amounts=tuple(k * amount for amount in demand.amounts))
        for demand in problem.demands
    )
    assert same(value_by(dataclasses.replace(problem, demands=demands)), k * value_by(problem))


@given(MAKESPAN, FACTORS)
def test_k_times_the_capacity_takes_a_kth_of_the_time(problem: PlanningProblem, k: float) -> None:
    candidates = tuple(
        dataclasses.replace(c, capacity_rps=tuple(k * h for h in c.capacity_rps)) for c in problem.candidates
    )
    assert same(value_by(dataclasses.replace(problem, candidates=candidates)), value_by(problem) / k)


@given(MAKESPAN)
def test_throughput_is_one_over_makespan(problem: PlanningProblem) -> None:
    throughput = get_planner("milp", EXACT).plan(dataclasses.replace(problem, objective=Objective.THROUGHPUT))
    makespan_s = value_by(problem)
    if throughput.objective is None:
        assert makespan_s == math.inf
    else:
        assert same(1 / throughput.objective, makespan_s)


@given(problems())
def test_names_and_order_do_not_matter(problem: PlanningProblem) -> None:
    new = {gpu: f"renamed {len(problem.available) - i}" for i, (gpu, _) in enumerate(problem.available)}
    renamed = dataclasses.replace(
        problem,
        demands=problem.demands[::-1],
        candidates=tuple(
            dataclasses.replace(c, name=f"no. {i}", gpus=tuple(sorted((new[gpu], n) for gpu, n in c.gpus)))
            for i, c in enumerate(problem.candidates[::-1])
        ),
        available=tuple(sorted((new[gpu], count) for gpu, count in problem.available)),
    )
    assert same(value_by(renamed), value_by(problem))


@given(MAKESPAN, st.data())
def test_no_assignment_is_faster_than_the_best(problem: PlanningProblem, data: st.DataObject) -> None:
    counts = data.draw(st.sampled_from(list(fleets(problem))))
    best = best_assignment(problem, counts)
    assert evaluate(problem, counts, best.fractions) == best.makespan
    weights = [
        [data.draw(st.integers(0, 3)) if counts[c] > 0 and h > 0 else 0 for h in candidate.capacity_rps]
        for c, candidate in enumerate(problem.candidates)
    ]
    totals = {
        (demand.model, w): sum(weights[c][w] for c in problem.candidates_of(demand.model))
        for demand in problem.demands
        for w in range(len(demand.amounts))
    }
    shares = [
        [weight / max(1, totals[candidate.model, w]) for w, weight in enumerate(row)]
        for candidate, row in zip(problem.candidates, weights, strict=True)
    ]
    assert best.makespan <= evaluate(problem, counts, shares) * (1 + 1e-7)


@given(problems())
def test_idle_replicas_are_given_back(problem: PlanningProblem) -> None:
    for name in ALL_PLANNERS:
        plan = planner(name).plan(problem)
        assert check_plan(problem, plan) == []
        for count, row in zip(plan.counts, plan.assignment, strict=True):
            assert (count > 0) == any(row)


@settings(max_examples=3, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 3))
def test_seed_changes_nothing_in_the_value(seed: int) -> None:
    from tests.planning import two_models

    assert same(value_by(dataclasses.replace(two_models(), seed=seed)), value_by(two_models()))


def test_plans_do_not_depend_on_the_hash_seed() -> None:
    code = (
        "from dataclasses import replace\n"
        "from planners import get_planner\n"
        "from tests.planning import two_models\n"
        f"for name in {ALL_PLANNERS!r}:\n"
        "    print(replace(get_planner(name).plan(two_models()), solve_s=0.0))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1
