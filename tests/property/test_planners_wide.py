"""Capacities over nine orders of magnitude, where solvers take what is small for nothing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from planners import (
    Candidate,
    Demand,
    Objective,
    PlanningProblem,
    Termination,
    check_plan,
    get_planner,
    planner_names,
    write_lp,
)
from planners.fleets.assignment import objective_of
from planners.fleets.shedding import fleet_value
from tests.planning import fleets
from tests.wide import wide_problem

RIVALS = (*planner_names(), "milp:bisection", "helix:best", "homogeneous:t1")
OPTIONS = {"adaptive_greedy": {"n_starts": 2, "n_paces": 5}, "hexgen": {"population": 6, "generations": 5}}
N_PROBLEMS = 500
N_FAST = 60


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=pytest.mark.slow if seed >= N_FAST else ()) for seed in range(N_PROBLEMS)]
)
def test_nothing_beats_a_plan_that_is_called_optimal(seed: int) -> None:
    """Neither any other planner nor enumeration; and nothing beats the bound of a plan that is not."""
    problem = wide_problem(seed)
    plan = get_planner("milp").plan(problem)
    assert check_plan(problem, plan) == []
    value = _value(problem, plan.objective)
    bound = value if plan.termination is Termination.OPTIMAL else _value(problem, plan.bound)
    values = {"enumeration": min(fleet_value(problem, counts) for counts in fleets(problem))}
    for name in RIVALS:
        base = name.partition(":")[0]
        rival = get_planner(name, OPTIONS.get(base))
        if problem.needs <= rival.features:
            values[name] = _value(problem, rival.plan(problem).objective)
    assert {name: found for name, found in values.items() if found < bound * (1 - 1e-6)} == {}
    assert value <= values["enumeration"] * (1 + 1e-4) / (1 - 1e-6)


def _value(problem: PlanningProblem, objective: float | None) -> float:
    return math.inf if objective is None else objective_of(problem.objective, objective)


def test_two_gpu_types_that_are_good_for_one_workload_type_each() -> None:
    """The greedy fleet is 4e9 times as slow as the best: numbers must not be scaled by it."""
    problem = _two_specialists()
    for name in ("milp", "milp:bisection"):
        plan = get_planner(name).plan(problem)
        assert plan.termination in {Termination.OPTIMAL, Termination.GAP_REACHED}
        assert plan.objective == pytest.approx(1 + 2e-9, rel=1e-10)
        assert plan.counts == (3, 1)


def test_written_lp_is_scaled_as_the_one_that_is_solved(tmp_path: Path) -> None:
    import highspy

    write_lp(_two_specialists(), tmp_path / "p.lp")
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.readModel(str(tmp_path / "p.lp"))
    highs.run()
    names = [highs.getColName(i)[1] for i in range(highs.getNumCol())]
    counts = dict(zip(names, highs.getSolution().col_value, strict=True))
    assert min(counts["y_c0"], counts["y_c1"]) >= 1 - 1e-6


def _two_specialists() -> PlanningProblem:
    """1e-8 requests/s stands for "cannot"."""
    demand = Demand("m", None, ("a", "b"), (10.0, 10.0))
    candidates = (
        Candidate("c0", "m", (("G0", 1),), 1.0, (1e-8, 10.0)),
        Candidate("c1", "m", (("G1", 1),), 2.0, (10.0, 1e-8)),
    )
    return PlanningProblem((demand,), candidates, (("G0", 4), ("G1", 4)), 5.0, Objective.THROUGHPUT)
