from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scenarios.errors import RunError
from scenarios.runs.row import Row
from scenarios.study.compare import Comparison
from scenarios.study.summary import Kept, costs, promises, standings


def row(scenario: str, planner: str, seed: int, rps: float | None) -> Row:
    if rps is None:
        return Row(scenario, planner, seed, "infeasible", {})
    latencies = {f"e2e_s_{quantile}": 10 / rps for quantile in ("p50", "p90", "p99")}
    plan = {"promised_rps": {"m": 2 * rps}, "solve_s": 0.5}
    return Row(scenario, planner, seed, "ok", plan, {"throughput_rps": rps, "goodput_rps": rps} | latencies)


def test_gains_over_scenarios_and_seeds() -> None:
    """a: 2 against 1 and 3 against 2; b: 1 against 2. A planner without a plan in b counts in a alone."""
    rows = [
        row("a", "milp", 0, 2.0),
        row("a", "milp", 1, 3.0),
        row("b", "milp", 0, 1.0),
        row("b", "milp", 1, 1.0),
        row("a", "greedy", 0, 1.0),
        row("a", "greedy", 1, 2.0),
        row("b", "greedy", 0, 2.0),
        row("b", "greedy", 1, 2.0),
        row("a", "coral", 0, 2.0),
        row("a", "coral", 1, 3.0),
        row("b", "coral", 0, None),
        row("b", "coral", 1, None),
    ]
    milp, greedy, coral = standings(Comparison.of(rows, "milp"))
    assert (milp.planner, milp.n_scenarios, milp.kept, milp.solve_s) == ("milp", 2, 0.5, 0.5)
    assert (greedy.n_scenarios, greedy.n_better) == (2, 1)
    assert greedy.throughput is not None
    # By seed: 0: (1 - 0.5) / 2, 1: (0.5 - 0.5) / 2; t(0.975, 1) = 12.706.
    assert greedy.throughput.mean == pytest.approx(0.125)
    assert greedy.throughput.half_width == pytest.approx(12.7062 * 0.125, rel=1e-4)
    assert (greedy.throughput.largest, greedy.throughput.smallest) == (0.75, -0.5)
    latency = greedy.latency["e2e_s_p90"]
    assert latency is not None
    assert latency.largest == pytest.approx((0.5 + 1 / 3) / 2)
    assert greedy.promised == pytest.approx((0.5 + 2 / 3 + 2 + 2) / 4)
    assert (coral.n_scenarios, coral.n_better) == (1, 0)
    assert coral.throughput is not None
    assert coral.throughput.mean == 0


def test_one_seed_has_no_interval() -> None:
    rows = [row("a", "milp", 0, 2.0), row("a", "greedy", 0, 1.0)]
    _, greedy = standings(Comparison.of(rows, "milp"))
    assert greedy.throughput is not None
    assert greedy.throughput.half_width is None


def test_a_run_that_is_there_twice_is_refused() -> None:
    one, other = (replace(row("a", "milp", 0, 2.0), directory=Path(name)) for name in ("one", "other"))
    standings(Comparison.of([one, row("a", "milp", 1, 2.0), row("b", "milp", 0, 2.0)]))
    with pytest.raises(RunError, match="a, milp, seed 0 is there twice: in one and in other"):
        standings(Comparison.of([one, row("b", "milp", 0, 2.0), other]))


def measured(scenario: str, planner: str, seed: int, **metrics: float | None) -> Row:
    """A run of a plan that promises 10 requests/s."""
    plan = {"promised_rps": {"m": 10.0}, "solve_s": 0.5}
    both: dict[str, float | None] = {"throughput_rps": 1.0, "goodput_rps": 1.0}
    return Row(scenario, planner, seed, "ok", plan, both | metrics)


def test_what_is_kept_of_promises() -> None:
    """Under load 10 and 8 of 10 a second for milp; greedy 12 and 8: ahead by 20 % in a, level in b."""
    rows = [
        measured("a", "milp", 0, goodput_rps=9.0, steady_rps=10.0),
        measured("b", "milp", 0, goodput_rps=8.0, steady_rps=8.0),
        measured("a", "greedy", 0, goodput_rps=9.0, steady_rps=12.0),
        measured("b", "greedy", 0, goodput_rps=8.0, steady_rps=8.02),
        measured("a", "coral", 0, steady_rps=None),
    ]
    milp, greedy = promises(Comparison.of(rows, "milp"))
    assert (milp.planner, milp.n_runs, milp.n_faster, greedy.n_faster) == ("milp", 2, 0, 1)
    assert milp.kept is not None
    assert milp.kept == Kept(pytest.approx(0.85), pytest.approx(0.15), pytest.approx(0.195))  # type: ignore[arg-type]
    assert greedy.steady is not None
    assert greedy.steady.mean == pytest.approx((1.2 + 0.802) / 2)
    assert greedy.steady.mean_error == pytest.approx(
        (0.2 + 0.198) / 2
    )  # what is too much does not make up for too little
    assert greedy.pace is not None
    assert greedy.pace.mean == pytest.approx((10 / 12 + 8 / 8.02) / 2 - 1)


def test_what_it_costs() -> None:
    """greedy is dearer by a third in a, where it breaks the budget with one seed, and cheaper by half in b."""
    rows = [
        measured("a", "milp", seed, usd_per_good_request=0.3, gpu_utilization=0.5, budget_compliance=1.0)
        for seed in (0, 1)
    ]
    rows += [
        measured("a", "greedy", seed, usd_per_good_request=0.4, gpu_utilization=0.7, budget_compliance=1 - 0.2 * seed)
        for seed in (0, 1)
    ]
    rows += [
        measured("b", planner, seed, usd_per_good_request=usd, gpu_utilization=0.9, budget_compliance=1.0)
        for planner, usd in (("milp", 0.4), ("greedy", 0.2))
        for seed in (0, 1)
    ]
    milp, greedy = costs(Comparison.of(rows, "milp"))
    assert (milp.n_within_budget, milp.n_scenarios, milp.n_cheaper) == (2, 2, 0)
    assert (greedy.n_within_budget, greedy.n_scenarios, greedy.n_cheaper) == (1, 2, 1)
    assert greedy.saved is not None
    assert greedy.saved.mean == pytest.approx((0.25 - 1) / 2)
    assert greedy.saved.largest == pytest.approx(0.25)
    assert greedy.usd_per_good_request is not None
    assert greedy.usd_per_good_request.mean == pytest.approx(0.3)
    assert greedy.gpu_utilization is not None
    assert greedy.gpu_utilization.mean == pytest.approx(0.8)
    assert greedy.budget_compliance is not None
    assert greedy.budget_compliance.mean == pytest.approx(0.95)
    assert greedy.budget_compliance.half_width == pytest.approx(12.7062 * 0.05, rel=1e-4)  # by seed: 1 and 0.9


def test_runs_of_before_there_was_a_budget_are_left_out() -> None:
    assert costs(Comparison.of([measured("a", "milp", 0, usd_per_good_request=0.3)], "milp")) == []
