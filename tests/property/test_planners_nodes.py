"""Nodes that are rented whole: planners against enumeration, and prices against those that are counted by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from planners import (
    Candidate,
    Demand,
    Feature,
    Objective,
    PlanningProblem,
    check_plan,
    check_planner,
    get_planner,
    planner_names,
)
from planners.fleets.assignment import objective_of
from planners.fleets.exact import best_fleet
from planners.problem.plan import PlanStatus
from planners.problem.terms import Terms
from tests.planning import fleets, least_value

N_IN_SUITE, N_IN_ALL = 50, 500
SIZES = (1, 2, 4, 8)
"""GPUs of a node; a problem has three of these sizes at most, one for each offer."""


def random_problem(seed: int) -> PlanningProblem:
    """At most three offers of nodes of three sizes, four nodes of each, some owned or reserved."""
    rng = np.random.default_rng(seed)
    names = [f"o{n}" for n in range(1, int(rng.integers(1, 4)) + 1)]
    sizes = {name: int(rng.choice(SIZES[: 3 if rng.random() < 0.7 else 4])) for name in names}
    prices = {name: int(rng.integers(1, 9)) / 4 for name in names}
    offers, available, of_use = [], [], {}
    for name in names:
        n_gpus = sizes[name] * int(rng.integers(1, 5))
        kind = rng.choice(["rented", "rented", "rented", "owned", "reserved"])
        of_use[name] = prices[name] if kind == "rented" else 0.0
        committed = prices[name] * n_gpus if kind == "reserved" else 0.0
        available.append((name, n_gpus))
        offers.append(Terms(name, sizes[name], of_use[name], committed))
    objective = (Objective.MAKESPAN, Objective.THROUGHPUT, Objective.COST)[int(rng.integers(3))]
    scale = 1 / 16 if objective is Objective.COST else 1.0
    models = ["m1", "m2"][: int(rng.integers(1, 3))]
    types = ("w1", "w2")
    demands = tuple(Demand(m, None, types, tuple(scale * rng.integers(1, 60, 2).astype(float))) for m in models)
    candidates = []
    for c in range(int(rng.integers(2, 5))):
        name = str(rng.choice(names))
        # Groups take a power of two of the GPUs of a node.
        n = min(sizes[name], 2 ** int(rng.integers(0, 3))) if sizes[name] > 1 else int(rng.integers(2, 5))
        rates = tuple((n * rng.integers(0, 40, 2) / 20).tolist())
        candidates.append(Candidate(f"c{c}", models[c % len(models)], ((name, n),), n * of_use[name], rates))
    budget = math.inf if rng.random() < 0.1 else float(rng.integers(4, 120)) / 2
    return PlanningProblem(
        demands, tuple(candidates), tuple(available), budget, objective=objective, offers=tuple(offers)
    )


def price_by_hand(problem: PlanningProblem, counts: tuple[int, ...]) -> float:
    """Nodes are opened one by one until they hold all replicas of an offer."""
    usd_per_h = 0.0
    for terms in problem.offers:
        groups = [
            candidate.gpus[0][1]
            for candidate, count in zip(problem.candidates, counts, strict=True)
            for _ in range(count)
            if candidate.gpus[0][0] == terms.name
        ]
        nodes: list[int] = []
        for group in sorted(groups, reverse=True):
            if terms.gpus_per_node == 1:
                nodes += [0] * group
                continue
            fitting = next((i for i, left in enumerate(nodes) if left >= group), None)
            if fitting is None:
                nodes.append(terms.gpus_per_node - group)
            else:
                nodes[fitting] -= group
        usd_per_h += len(nodes) * terms.gpus_per_node * terms.usd_per_h + terms.committed_usd_per_h
    return usd_per_h


def agree(seed: int) -> bool:
    """Compare the MILP and its twin with enumeration; whether there is a plan."""
    problem = random_problem(seed)
    for counts in fleets(problem):
        assert problem.usd_per_h(counts) == pytest.approx(price_by_hand(problem, counts))
    least = least_value(problem)
    plan = get_planner("milp", {"gap": 0.0}).plan(problem)
    found = math.inf if plan.objective is None else objective_of(problem.objective, plan.objective)
    twin = best_fleet(problem, range(len(problem.candidates)), gap=0.0).value
    assert plan.status is not PlanStatus.FAILED
    assert check_plan(problem, plan) == []
    assert found == pytest.approx(least, rel=1e-6, abs=1e-9), seed
    assert twin == pytest.approx(least, rel=1e-6, abs=1e-9), seed
    return least < math.inf


def test_milp_finds_what_enumeration_finds_with_nodes() -> None:
    assert sum(agree(seed) for seed in range(N_IN_SUITE)) > N_IN_SUITE / 2


@pytest.mark.slow
def test_milp_finds_what_enumeration_finds_with_nodes_of_many() -> None:
    assert sum(agree(seed) for seed in range(N_IN_ALL)) > N_IN_ALL / 2


@pytest.mark.parametrize("name", planner_names())
def test_every_planner_rents_whole_nodes(name: str) -> None:
    options = {"hexgen": {"population": 8, "generations": 10}, "adaptive_greedy": {"n_starts": 2, "n_paces": 6}}
    planner = get_planner(name, options.get(name))
    plans = check_planner(planner, [random_problem(seed) for seed in range(12)])
    is_rounded = any("rounded up" in line for plan in plans for line in plan.diagnostics)
    assert not (is_rounded and Feature.EXACT in planner.features)
    assert any(plan.status is PlanStatus.OK for plan in plans)


def test_gpus_one_by_one_are_never_dearer() -> None:
    for seed in range(10):
        problem = random_problem(seed)
        by_gpu = replace(problem, offers=tuple(terms.by_gpu for terms in problem.offers))
        whole, loose = (get_planner("milp", {"gap": 0.0}).plan(one).objective for one in (problem, by_gpu))
        if whole is not None and loose is not None:
            least = [objective_of(problem.objective, value) for value in (loose, whole)]
            assert least[0] <= least[1] * (1 + 1e-6)


def test_a_plan_that_is_rounded_up_is_judged_with_its_nodes() -> None:
    """By GPU a second replica outlasts the loss of one; both are in one node."""
    demand = Demand("m", None, ("chat",), (2.0,))
    pair = Candidate("pair", "m", (("L40", 2),), 2.0, (2.0,))
    offers = (Terms("L40", 4, 1.0),)
    problem = PlanningProblem((demand,), (pair,), (("L40", 8),), 20.0, Objective.COST, survive="node", offers=offers)
    plan = get_planner("greedy_lp").plan(problem)
    assert plan.status is PlanStatus.FAILED
    assert "survive: without a node of L40 the fleet does not carry the rates" in plan.diagnostics
    assert get_planner("milp").plan(problem).counts == (3,)
