"""Explanations against enumeration, and frontiers against the law that more money never hurts."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from planners import Objective, Plan, PlanningProblem, best_assignment, get_planner
from planners.fleets.assignment import objective_of, value_of
from planners.questions.explain import MORE_USD_PER_H, explain_plan
from planners.questions.explanation import BUDGET, Effect, Fate, WhatIf
from planners.questions.frontier import plan_frontier
from planners.questions.what_if import replaced_by, with_demand, with_gpus
from tests.planning import fleets, least_value
from tests.strategies_planners import problems

EXACT = {"gap": 0.0}
TOLERANCE = 3e-6  # a forced replica takes less than a millionth of the time, the solver has 1e-6
SMALL = problems(max_gpus=3, max_candidates=4, max_models=1)


def same(one: float, other: float) -> bool:
    return one == other or abs(one - other) <= TOLERANCE * max(one, other)


def value(problem: PlanningProblem, what_if: WhatIf | Plan) -> float:
    """What planners minimise, see `planners.fleets.assignment`; infinite without a plan."""
    if what_if.objective is None:
        return math.inf
    return objective_of(problem.objective, what_if.objective)


@given(SMALL)
def test_every_what_if_is_what_enumeration_finds(problem: PlanningProblem) -> None:
    found = explain_plan(problem, get_planner("milp", EXACT), n_configurations=0)
    assert same(value(problem, found.plan), least_value(problem))
    for limit in found.limits:
        if limit.name == BUDGET:
            richer = replace(problem, budget_usd_per_h=problem.budget_usd_per_h + MORE_USD_PER_H)
            assert same(value(problem, limit.one_more), least_value(richer))
            continue
        count = dict(problem.available)[limit.name]
        assert same(value(problem, limit.one_more), least_value(with_gpus(problem, limit.name, count + 1)))
        if limit.without is not None:
            assert same(value(problem, limit.without), least_value(with_gpus(problem, limit.name, 0)))
    for demand in found.demands:
        (asked,) = problem.demands
        w = asked.type_names.index(demand.type_name)
        more = with_demand(problem, demand.model, w, demand.amount + demand.step)
        assert same(value(problem, demand.what_if), least_value(more))


@given(SMALL)
def test_the_best_plan_with_a_replica_is_what_enumeration_finds(problem: PlanningProblem) -> None:
    names = [candidate.name for candidate in problem.candidates]
    found = explain_plan(problem, get_planner("milp", EXACT), names=names)
    assume(found.plan.objective is not None)
    for configuration in found.configurations:
        if configuration.what_if is None:
            assert configuration.fate not in {Fate.FORCED, Fate.DOMINATED, Fate.NOT_EXAMINED}
            continue
        c = names.index(configuration.name)
        values = (
            value_of(problem, counts, best_assignment(problem, counts).makespan)
            for counts in fleets(problem)
            if counts[c] > 0
        )
        assert same(value(problem, configuration.what_if), min(values, default=math.inf))


@given(problems())
def test_explanations_do_not_contradict_themselves(problem: PlanningProblem) -> None:
    found = explain_plan(problem, get_planner("milp", EXACT))
    for limit in found.limits:
        assert limit.one_more.effect is not Effect.WORSE
        if limit.unlimited is not None:
            assert value(problem, limit.unlimited) <= value(problem, limit.one_more) * (1 + TOLERANCE)
            assert limit.binds or limit.one_more.effect is not Effect.BETTER
        if limit.without is not None:
            assert limit.without.effect is not Effect.BETTER
    for configuration in found.configurations:
        assert configuration.what_if is None or configuration.what_if.effect is not Effect.BETTER
    if found.spare is not None and found.spare.with_replica is not None:
        assert found.spare.with_replica.effect is not Effect.BETTER
    if found.spare is not None and found.spare.better_usd_per_h is not None:
        assert found.spare.better_usd_per_h >= problem.budget_usd_per_h * (1 - TOLERANCE)


@given(problems())
def test_nothing_is_lost_without_dominated_candidates(problem: PlanningProblem) -> None:
    found = explain_plan(problem, get_planner("milp", EXACT), n_configurations=0)
    by_name = {candidate.name: candidate for candidate in problem.candidates}
    dominated = set()
    for configuration in found.configurations:
        if configuration.dominated_by is not None:
            other, copies = configuration.dominated_by
            assert replaced_by(by_name[other], by_name[configuration.name]) == copies
            dominated.add(configuration.name)
    rest = replace(problem, candidates=tuple(c for c in problem.candidates if c.name not in dominated))
    assert same(least_value(rest), least_value(problem))


@pytest.mark.parametrize("name", ["milp", "homogeneous"])
@given(problem=problems(), budgets=st.lists(st.integers(0, 60), min_size=2, max_size=5, unique=True))
def test_an_exact_frontier_never_falls(name: str, problem: PlanningProblem, budgets: list[int]) -> None:
    planner = get_planner(name, EXACT)
    points = plan_frontier(problem, {name: planner}, [budget / 2 for budget in sorted(budgets)])
    values = [math.inf if p.objective is None else objective_of(problem.objective, p.objective) for p in points]
    assert all(richer <= poorer * (1 + 1e-6) for poorer, richer in itertools.pairwise(values))
    for point in points:
        if point.objective is not None and problem.objective is not Objective.COST:
            assert point.usd_per_h is not None
            assert point.usd_per_h <= point.budget_usd_per_h * (1 + 1e-6)
