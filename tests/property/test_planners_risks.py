"""Limits on what a fleet risks: planners against enumeration, with losses that are counted one by one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from planners import Objective, PlanningProblem, best_assignment, check_plan, get_planner
from planners.fleets.assignment import objective_of
from planners.fleets.exact import best_fleet
from planners.problem.plan import PlanStatus
from tests.planning import fleets, makespan_of
from tests.property.test_planners_nodes import random_problem

N_IN_SUITE, N_IN_ALL = 25, 400


def risky_problem(seed: int) -> PlanningProblem:
    """A market with nodes, some on spot and some in one zone, and limits on risks."""
    rng = np.random.default_rng(1000 + seed)
    problem = random_problem(seed)
    offers = tuple(
        replace(one, is_spot=bool(rng.random() < 0.4), zone=str(rng.choice(["", "east", "west"])))
        for one in problem.offers
    )
    survive = rng.choice(["node", "offer", "zone", "none"])
    is_rate = problem.objective is not Objective.MAKESPAN
    factor = 0.03 if problem.objective is Objective.THROUGHPUT else 0.5
    demands = tuple(replace(one, amounts=tuple(factor * f for f in one.amounts)) for one in problem.demands)
    return replace(
        problem,
        demands=demands,
        offers=offers,
        min_replicas=[None, None, 2, 3][int(rng.integers(4))],
        max_spot_share=float(rng.choice([1.0, 1.0, 0.5, 0.25, 0.0])),
        survive=str(survive) if survive != "none" and is_rate else None,
    )


def keeps_to_limits(problem: PlanningProblem, counts: tuple[int, ...]) -> bool:
    """Whether a fleet keeps to limits on risks, counted by hand."""
    terms = {one.name: one for one in problem.offers}
    for demand in problem.demands:
        mine = problem.candidates_of(demand.model)
        if problem.min_replicas is not None and sum(counts[c] for c in mine) < problem.min_replicas:
            return False
        capacity = {}
        for c in mine:
            able = [(f, h) for f, h in zip(demand.amounts, problem.candidates[c].capacity_rps, strict=True) if h > 0]
            time_s, part = sum(f / h for f, h in able), sum(f for f, _ in able) / demand.total
            capacity[c] = counts[c] * part**2 * demand.total / time_s if able else 0.0
        spot = sum(rps for c, rps in capacity.items() if terms[problem.candidates[c].gpus[0][0]].is_spot)
        if spot > problem.max_spot_share * sum(capacity.values()) * (1 + 1e-6):
            return False
    return all(best_assignment(problem, left).makespan <= 1 + 1e-6 for left in lefts(problem, counts))


def lefts(problem: PlanningProblem, counts: tuple[int, ...]) -> list[tuple[int, ...]]:
    """What is left of a fleet after each loss."""
    terms = {one.name: one for one in problem.offers}
    on = [candidate.gpus[0] for candidate in problem.candidates]
    found = []
    for name, one in terms.items():
        if problem.survive == "node":
            lost = [max(1, one.gpus_per_node // n) if offer == name else 0 for offer, n in on]
        elif problem.survive == "zone":
            lost = [1000 if (terms[offer].zone or offer) == (one.zone or name) else 0 for offer, _ in on]
        elif problem.survive == "offer":
            lost = [1000 if offer == name else 0 for offer, _ in on]
        else:
            continue
        if any(lost):
            found.append(tuple(max(0, count - n) for count, n in zip(counts, lost, strict=True)))
    return found


def least_value(problem: PlanningProblem) -> float:
    """The value of the best fleet, by trying all."""
    values = [math.inf]
    for counts in fleets(problem):
        if not keeps_to_limits(problem, counts):
            continue
        makespan = makespan_of(problem, counts)
        if problem.objective is not Objective.COST:
            values.append(makespan)
        elif makespan <= 1 + 1e-6:
            values.append(problem.usd_per_h(counts))
    return min(values)


def agree(seed: int) -> bool:
    """Compare the MILP and its twin with enumeration; whether there is a plan."""
    problem = risky_problem(seed)
    least = least_value(problem)
    plan = get_planner("milp", {"gap": 0.0}).plan(problem)
    assert plan.status is not PlanStatus.FAILED, plan.diagnostics
    assert check_plan(problem, plan) == []
    found = math.inf if plan.objective is None else objective_of(problem.objective, plan.objective)
    twin = best_fleet(problem, range(len(problem.candidates)), gap=0.0).value
    assert found == pytest.approx(least, rel=1e-6, abs=1e-9), seed
    assert twin == pytest.approx(least, rel=1e-6, abs=1e-9), seed
    return least < math.inf


def test_milp_finds_what_enumeration_finds_after_losses() -> None:
    assert sum(agree(seed) for seed in range(N_IN_SUITE)) > N_IN_SUITE / 4


@pytest.mark.slow
def test_milp_finds_what_enumeration_finds_after_losses_of_many() -> None:
    assert sum(agree(seed) for seed in range(N_IN_ALL)) > N_IN_ALL / 4
