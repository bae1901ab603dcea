from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scenarios.errors import RunError
from scenarios.runs.row import Row
from scenarios.study.compare import Comparison
from scenarios.study.summary import standings


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
