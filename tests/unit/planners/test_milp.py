from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from planners import (
    Candidate,
    Demand,
    PlanningProblem,
    PlanStatus,
    Previous,
    Termination,
    check_plan,
    get_planner,
    write_lp,
)
from planners.milp import FAMILIES, ROBUST_FAMILIES, formulate
from planners.milp.core import Effort, run_highs
from planners.milp.extract import Finding, extract
from tests.benchmarks.planning import PlanningCase
from tests.golden import regen
from tests.planning import hard_problem, two_models, worked_example


def test_each_family_has_a_golden_lp_and_matches_it(tmp_path: Path) -> None:
    regen.write_all(tmp_path)
    names = sorted(path.name for path in tmp_path.glob("*.lp"))
    assert len(names) == len(FAMILIES) + len(ROBUST_FAMILIES)
    message = "run python -m tests.golden.regen and review the goldens"
    assert names == sorted(path.name for path in regen.LP_FOLDER.glob("*.lp")), message
    for name in names:
        assert rows(tmp_path / name) == rows(regen.LP_FOLDER / name), f"{name}: {message}"


def rows(path: Path) -> dict[str, set[str]]:
    """The lines of an LP file by section, rows joined and in any order."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in path.read_text().splitlines():
        if line[:1] == "\\":
            continue
        if line in {"Maximize", "Minimize", "Subject To", "Bounds", "Generals", "Binaries", "End"}:
            lines = sections.setdefault(line, [])
        elif line.startswith(" ") and lines and line.split()[0] in "+-":
            lines[-1] += line
        else:
            lines.append(line)
    return {section: {" ".join(line.split()) for line in lines} for section, lines in sections.items()}


def test_every_family_says_its_formula() -> None:
    for name, family in (*FAMILIES.items(), *ROBUST_FAMILIES.items()):
        assert ".. math::" in (family.__doc__ or ""), f"{name} has no formula in its docstring"


def test_every_row_is_named() -> None:
    problem = dataclasses.replace(
        two_models(), max_configurations=3, max_gpu_share=0.5, previous=Previous((("small on t2", 1),))
    )
    names = [row.name for row in formulate(problem).lp.constraints()]
    families = {"assign", "capacity", "budget", "available", "cover", "use", "configurations", "share", "keep"}
    assert {name.partition("_")[0] for name in names} == families
    assert len(set(names)) == len(names)


def test_scale_moves_numbers_but_not_the_solution() -> None:
    problem = worked_example()
    for factor in (1e-6, 1.0, 1e6):
        demand = Demand("llama", None, ("w1", "w2"), (80 * factor, 20 * factor))
        scaled = get_planner("milp").plan(dataclasses.replace(problem, demands=(demand,)))
        assert scaled.termination is Termination.OPTIMAL
        assert scaled.objective == pytest.approx(28.431372549 * factor, rel=1e-9)


def test_names_that_an_lp_file_cannot_take(tmp_path: Path) -> None:
    problem = worked_example()
    names = ["2 x t1/t1", "2 x t1 t1", "größer als 0 [%]", "x" * 300]
    candidates = tuple(
        dataclasses.replace(candidate, name=name) for candidate, name in zip(problem.candidates, names, strict=True)
    )
    problem = dataclasses.replace(problem, candidates=candidates)
    write_lp(problem, tmp_path / "names.lp")
    text = (tmp_path / "names.lp").read_text()
    assert "y_2_x_t1_t1_no1" in text
    assert "y_2_x_t1_t1_no2" in text
    assert "y_gr_er_als_0_" in text
    assert get_planner("milp").plan(problem).objective == pytest.approx(28.431372549)


def test_write_lp_of_a_problem_without_a_plan(tmp_path: Path) -> None:
    write_lp(dataclasses.replace(worked_example(), budget_usd_per_h=0.0), tmp_path / "empty.lp")
    assert "cover_w1" in (tmp_path / "empty.lp").read_text()


def test_written_lp_has_the_optimum_of_the_plan(tmp_path: Path) -> None:
    """HiGHS reads the file and finds the pace of the optimum, relative to that of the heuristic fleet."""
    import highspy

    problem = two_models()
    write_lp(problem, tmp_path / "p.lp")
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.readModel(str(tmp_path / "p.lp"))
    highs.run()
    greedy, milp = get_planner("greedy").plan(problem), get_planner("milp").plan(problem)
    assert greedy.objective is not None
    assert milp.objective is not None
    assert highs.getObjectiveValue() == pytest.approx(greedy.objective / milp.objective)


@pytest.mark.parametrize("method", ["direct", "bisection"])
def test_time_limit_returns_the_best_plan_with_its_gap(method: str) -> None:
    problem = hard_problem()
    options = {"method": method, "gap": 0.0, "time_limit_s": 0.4}
    plan = get_planner("milp", options).plan(problem)
    assert plan.status is PlanStatus.OK
    assert plan.termination is Termination.TIME_LIMIT
    assert check_plan(problem, plan) == []
    assert plan.objective is not None
    assert plan.bound is not None
    assert plan.gap is not None
    assert plan.bound < plan.objective
    assert plan.gap == pytest.approx(1 - plan.bound / plan.objective)
    assert 0 < plan.gap < 0.5


@pytest.mark.parametrize("method", ["direct", "bisection"])
def test_no_time_at_all_returns_the_heuristic_fleet(method: str) -> None:
    problem = hard_problem()
    plan = get_planner("milp", {"method": method, "time_limit_s": 1e-6}).plan(problem)
    greedy = get_planner("greedy").plan(problem)
    assert plan.status is PlanStatus.OK
    assert plan.termination is Termination.TIME_LIMIT
    assert (plan.counts, plan.objective) == (greedy.counts, greedy.objective)
    assert plan.gap is not None
    assert plan.diagnostics


def test_time_limit_of_the_problem_holds_without_the_option() -> None:
    problem = dataclasses.replace(hard_problem(), time_limit_s=1e-6)
    assert get_planner("milp").plan(problem).termination is Termination.TIME_LIMIT


def test_a_wide_gap_stops_early_and_is_reported() -> None:
    plan = get_planner("milp", {"gap": 0.3}).plan(hard_problem())
    assert plan.termination is Termination.GAP_REACHED
    assert plan.gap is not None
    assert 1e-6 < plan.gap <= 0.3


def test_extract_of_an_infeasible_milp() -> None:
    formulation = formulate(dataclasses.replace(worked_example(), budget_usd_per_h=1.0))
    import pulp

    formulation.lp.solve(pulp.HiGHS(msg=False))
    found = extract(formulation)
    assert found.finding is Finding.INFEASIBLE
    assert found.counts is None


def test_budget_without_a_limit() -> None:
    problem = dataclasses.replace(worked_example(), budget_usd_per_h=math.inf)
    plan = get_planner("milp").plan(problem)
    assert problem.gpus(plan.counts) == {"t1": 2, "t2": 2, "t3": 2}
    assert "budget" not in [row.name for row in formulate(problem).lp.constraints()]


def test_a_type_that_only_an_expensive_candidate_serves() -> None:
    """The relaxation of the cover would rent a sliver of it."""
    demand = Demand("m", None, ("common", "rare"), (1e6, 1e-3))
    cheap = Candidate("cheap", "m", (("t", 1),), 1.0, (1.0, 0.0))
    special = Candidate("special", "m", (("t", 1),), 9.0, (0.1, 1e3))
    problem = PlanningProblem((demand,), (cheap, special), (("t", 12),), 10.0)
    plan = get_planner("milp").plan(problem)
    assert plan.counts == (1, 1)
    assert plan.termination is Termination.OPTIMAL


def test_threads_and_seed_change_nothing_in_the_value() -> None:
    problem = PlanningCase(100).problem()
    best = get_planner("milp").plan(problem)
    assert best.objective is not None
    assert best.objective < (get_planner("greedy").plan(problem).objective or 0.0)
    for n in (2, 1, 2):
        plan = get_planner("milp", {"threads": n, "seed": n}).plan(problem)
        assert plan.termination in {Termination.OPTIMAL, Termination.GAP_REACHED}
        assert plan.objective == pytest.approx(best.objective, rel=1e-4)
        assert dict(plan.options)["threads"] == n


def test_the_solver_is_given_all_of_its_options() -> None:
    formulation = formulate(worked_example())
    run_highs(formulation.lp, Effort(gap=0.125, time_limit_s=30.0, seed=7, threads=2))
    names = ("mip_rel_gap", "random_seed", "threads")
    assert [formulation.lp.solverModel.getOptionValue(name)[1] for name in names] == [0.125, 7, 2]
    assert formulation.lp.solverModel.getOptionValue("time_limit")[1] > 30.0  # the clock is a safety net


def test_a_solver_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that it says then is believed: it had been asked for another number of threads before."""
    problem = two_models()
    best = get_planner("milp", {"threads": 2}).plan(problem)
    monkeypatch.setattr("highspy.Highs.resetGlobalScheduler", lambda _: None)
    for planner in ("milp", "milp:bisection"):
        plan = get_planner(planner, {"threads": 1}).plan(problem)
        assert plan.termination is Termination.HEURISTIC
        assert plan.diagnostics == ("the solver failed (HiGHS: Not Set); this is the best fleet known",)
        assert plan.bound is not None
        assert best.objective is not None
        assert plan.bound <= best.objective
    assert get_planner("milp_robust").plan(problem).termination is Termination.HEURISTIC


def test_time_limit_may_run_out_at_any_step() -> None:
    """Whatever the limit, there is a plan, and its bound is one."""
    problem = PlanningCase(120).problem()
    best = get_planner("milp", {"time_limit_s": 600.0}).plan(problem)
    assert best.bound is not None
    for limit_s in (1e-6, 0.02, 0.05, 0.1, 0.2, 0.4):
        plan = get_planner("milp", {"time_limit_s": limit_s}).plan(problem)
        assert plan.status is PlanStatus.OK
        assert plan.objective is not None
        assert plan.bound is not None
        assert plan.gap is not None
        assert plan.objective >= best.bound * (1 - 1e-9)
        assert plan.bound <= best.objective * (1 + 1e-9)
        if limit_s < 0.01:
            assert plan.termination is Termination.TIME_LIMIT
            assert plan.gap > 0
