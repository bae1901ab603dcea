"""Planning limits count work: a plan is the same on a busy machine, and says so if the clock had to stop it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from planners import Plan, Termination, check_plan, get_planner
from planners.milp import work
from planners.milp.work import STOPPED_BY_CLOCK, Work
from tests.benchmarks.planning import PlanningCase
from tests.planning import hard_problem


@contextlib.contextmanager
def busy_machine(n: int = 2) -> Iterator[None]:
    """Processes that do nothing, as fast as they can."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def plan_within(limit_s: float) -> Plan:
    plan = get_planner("milp", {"gap": 0.0, "time_limit_s": limit_s}).plan(hard_problem())
    return replace(plan, solve_s=0.0)


@pytest.mark.parametrize("limit_s", [0.05, 0.3])
def test_a_plan_that_its_limit_cuts_short_is_the_same_on_a_busy_machine(limit_s: float) -> None:
    alone = plan_within(limit_s)
    with busy_machine():
        beside_others = plan_within(limit_s)
    assert alone.termination is Termination.TIME_LIMIT
    assert beside_others == alone
    assert STOPPED_BY_CLOCK not in alone.diagnostics


def test_more_work_is_never_worse() -> None:
    plans = [plan_within(limit_s) for limit_s in (1e-6, 0.1, 0.5)]
    objectives = [plan.objective for plan in plans]
    assert None not in objectives
    assert objectives == sorted(objectives, key=lambda makespan_s: -(makespan_s or 0.0))


def test_a_plan_says_that_the_clock_stopped_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "_START_S", 0.05)
    monkeypatch.setattr(work, "_PATIENCE", 0.0)
    plan = plan_within(60.0)
    assert check_plan(hard_problem(), plan) == []
    assert plan.termination is Termination.TIME_LIMIT
    assert STOPPED_BY_CLOCK in plan.diagnostics


def test_several_models_are_cut_short_the_same_way() -> None:
    problem = PlanningCase(80, 3).problem()
    planner = get_planner("milp", {"time_limit_s": 1.0})
    one, other = planner.plan(problem), planner.plan(problem)
    assert check_plan(problem, one) == []
    assert replace(one, solve_s=0.0) == replace(other, solve_s=0.0)


def test_a_large_problem_counts_for_more() -> None:
    used_s = {}
    for n_numbers in (8_000, 80_000):
        for n_nodes in (0, 1):
            left = Work(1.0)
            count, data = left.meter(n_numbers)
            answer = SimpleNamespace(user_interrupt=False)
            count(None, "", SimpleNamespace(mip_node_count=n_nodes), answer, data)
            used_s[n_numbers, n_nodes] = 1.0 - left.left_s
            assert not answer.user_interrupt
    assert used_s[80_000, 1] == pytest.approx(10 * used_s[8_000, 1])
    assert used_s[80_000, 0] == pytest.approx(10**0.5 * used_s[8_000, 0])
    assert used_s[8_000, 0] > used_s[8_000, 1]
