"""Leaving out dominated candidates never changes what the best plan reaches."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planners import Candidate, PlanningProblem, get_planner
from planners.capacity.dominance import without_dominated
from tests.planning import least_value
from tests.strategies_planners import CAPACITIES, problems


@st.composite
def with_dominated(draw: st.DrawFn, **bounds: int) -> PlanningProblem:
    """Problems in which some candidates are worse copies of others."""
    problem = draw(problems(**bounds))
    copies = []
    for candidate in problem.candidates:
        if draw(st.booleans()):
            gpus = dict(candidate.gpus)
            gpu = draw(st.sampled_from([name for name, _ in problem.available]))
            gpus[gpu] = gpus.get(gpu, 0) + draw(st.integers(0, 1))
            worse = tuple(max(0.0, h - draw(CAPACITIES)) for h in candidate.capacity_rps)
            copies.append(
                dataclasses.replace(
                    candidate,
                    name=f"{candidate.name} worse",
                    gpus=tuple(sorted((name, n) for name, n in gpus.items() if n > 0)),
                    usd_per_h=candidate.usd_per_h + draw(st.integers(0, 2)) / 4,
                    capacity_rps=worse,
                )
            )
    candidates = draw(st.permutations([*problem.candidates, *copies]))
    return dataclasses.replace(problem, candidates=tuple(candidates))


def pruned(problem: PlanningProblem) -> PlanningProblem:
    return dataclasses.replace(problem, candidates=without_dominated(problem.candidates))


@given(with_dominated())
def test_milp_reaches_the_same(problem: PlanningProblem) -> None:
    milp = get_planner("milp")
    before, after = milp.plan(problem), milp.plan(pruned(problem))
    assert after.status is before.status
    if before.objective is not None:
        assert after.objective == pytest.approx(before.objective, rel=2e-4)  # twice the gap at which milp stops


@given(with_dominated(max_gpu_types=2, max_gpus=3, max_candidates=3, max_models=1))
def test_the_best_of_all_fleets_is_as_good(problem: PlanningProblem) -> None:
    before, after = least_value(problem), least_value(pruned(problem))
    assert after == pytest.approx(before) if before < math.inf else after == math.inf


@given(with_dominated())
def test_who_is_left_is_dominated_by_none_and_who_is_not_by_one_that_is_left(problem: PlanningProblem) -> None:
    def dominates(one: Candidate, other: Candidate) -> bool:
        gpus = dict(other.gpus)
        return (
            one.model == other.model
            and all(n <= gpus.get(gpu, 0) for gpu, n in one.gpus)
            and one.usd_per_h <= other.usd_per_h
            and all(h >= low for h, low in zip(one.capacity_rps, other.capacity_rps, strict=True))
        )

    left = without_dominated(problem.candidates)
    for candidate in problem.candidates:
        stronger = [other for other in left if other is not candidate and dominates(other, candidate)]
        assert (candidate in left) is (not stronger)
