"""The rivals against enumeration of what each of them looks at."""

from __future__ import annotations

import dataclasses
import math

from hypothesis import assume, given

from planners import Objective, PlanningProblem, PlanStatus, get_planner
from planners.fleets.assignment import objective_of
from planners.fleets.given import Composition, given_fleet
from planners.fleets.mix import best_mix_fleet, capacity_weighted, mix_pace
from tests.planning import fleets
from tests.strategies_planners import problems

PACES = problems(objectives=(Objective.MAKESPAN, Objective.THROUGHPUT))
COSTS = problems(objectives=(Objective.COST,))


def covers(problem: PlanningProblem, counts: tuple[int, ...]) -> bool:
    """Whether somebody can serve each type that is demanded."""
    return capacity_weighted(problem, counts).makespan < math.inf


def everybody_can(problem: PlanningProblem) -> bool:
    """Whether each candidate can serve each type demanded of its model."""
    return all(
        capacity > 0
        for candidate in problem.candidates
        for amount, capacity in zip(problem.demand(candidate.model).amounts, candidate.capacity_rps, strict=True)
        if amount > 0
    )


def same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-6)


@given(PACES)
def test_knapsack_finds_the_most_capacity_on_the_mix(problem: PlanningProblem) -> None:
    found = best_mix_fleet(problem, range(len(problem.candidates)), gap=0.0).counts
    paces = [] if problem.is_empty else [mix_pace(problem, y) for y in fleets(problem) if covers(problem, y)]
    if found is None:
        assert paces == []
    else:
        assert covers(problem, found)
        assert same(mix_pace(problem, found), max(paces))


@given(COSTS)
def test_knapsack_finds_the_cheapest_fleet_with_enough(problem: PlanningProblem) -> None:
    found = best_mix_fleet(problem, range(len(problem.candidates)), pace=1.0, gap=0.0).counts
    enough = (
        [] if problem.is_empty else [y for y in fleets(problem) if mix_pace(problem, y) >= 1 and covers(problem, y)]
    )
    if found is None:
        assert enough == []
    else:
        assert problem.usd_per_h(found) <= min((problem.usd_per_h(y) for y in enough), default=math.inf) + 1e-9
        assert mix_pace(problem, found) >= 1 - 1e-6


@given(PACES)
def test_coral_is_the_best_blind_fleet_where_everybody_can_serve_everything(problem: PlanningProblem) -> None:
    assume(everybody_can(problem))
    plan = get_planner("coral", {"gap": 0.0}).plan(problem)
    paces = [1 / capacity_weighted(problem, y).makespan for y in fleets(problem)] if not problem.is_empty else []
    if plan.objective is None:
        assert max(paces, default=0.0) == 0.0
    else:
        assert same(1 / objective_of(problem.objective, plan.objective), max(paces))


def within_given_gpus(problem: PlanningProblem, composition: Composition) -> PlanningProblem | None:
    """The same problem with no other GPUs than `hexgen` and `helix` are given."""
    given = given_fleet(problem, composition)
    if given is None:
        return None
    taken = problem.gpus(given.counts)
    return dataclasses.replace(problem, available=tuple((gpu, taken.get(gpu, 0)) for gpu, _ in problem.available))


@given(PACES)
def test_planners_that_are_given_gpus_use_no_others(problem: PlanningProblem) -> None:
    for composition in ("proportional", "best"):
        restricted = within_given_gpus(problem, composition)
        assume(restricted is not None)
        assert restricted is not None
        for name in (f"helix:{composition}", f"hexgen:{composition}"):
            options = {"generations": 10} if name.startswith("hexgen") else {}
            taken = problem.gpus(get_planner(name, options).plan(problem).counts)
            assert all(n <= dict(restricted.available)[gpu] for gpu, n in taken.items())


@given(PACES)
def test_helix_groups_gpus_as_well_as_they_can_be_where_replicas_have_no_stages(problem: PlanningProblem) -> None:
    """Without a budget, and with one replica for each set of GPUs that can serve everything."""
    by_gpus = {(one.model, one.gpus): one for one in problem.candidates}
    problem = dataclasses.replace(
        problem,
        candidates=tuple(
            dataclasses.replace(one, capacity_rps=tuple(max(h, 0.05) for h in one.capacity_rps))
            for one in by_gpus.values()
        ),
        budget_usd_per_h=math.inf,
    )
    plan = get_planner("helix:best", {"gap": 0.0}).plan(problem)
    restricted = within_given_gpus(problem, "best")
    if restricted is None:
        assert plan.status is PlanStatus.INFEASIBLE
    else:
        assert plan.objective is not None
        assert plan.bound is not None
        assert math.isclose(plan.bound, plan.objective, rel_tol=1e-4)  # the solver's tolerances, of small capacities
        assert same(mix_pace(problem, plan.counts), max(mix_pace(problem, y) for y in fleets(restricted)))


@given(problems())
def test_no_fleet_beats_the_bound_of_melange(problem: PlanningProblem) -> None:
    plan = get_planner("melange").plan(problem)
    milp = get_planner("milp", {"gap": 0.0}).plan(problem)
    assume(plan.bound is not None)
    assert plan.bound is not None
    assert milp.objective is not None
    sign = -1 if problem.objective is Objective.THROUGHPUT else 1
    assert sign * milp.objective >= sign * plan.bound - 1e-6 * abs(plan.bound)


@given(problems())
def test_melange_is_optimal_where_there_is_enough_of_everything(problem: PlanningProblem) -> None:
    problem = dataclasses.replace(problem, available=tuple((gpu, 1000) for gpu, _ in problem.available))
    plan = get_planner("melange", {"gap": 0.0}).plan(problem)
    milp = get_planner("milp", {"gap": 0.0}).plan(problem)
    assume(not any("are available" in line for line in plan.diagnostics))
    assert (plan.objective is None) == (milp.objective is None)
    if plan.objective is not None and milp.objective is not None:
        assert same(plan.objective, milp.objective)
