from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.runs.row import Row
from scenarios.study.compare import Comparison


def row(planner: str, offered_rps: float | None = 8.0, n_requests: int = 100, **metrics: float) -> Row:
    given: dict[str, float | None] = {"throughput_rps": 6.0, "goodput_rps": 6.0} | metrics
    promised = {"promised_rps": {"m": 4.0, "n": 1.0}}
    return Row("s", planner, 0, "ok", promised, given, offered_rps, 1.0, n_requests)


def test_a_promise_is_kept_by_what_is_served_within_the_slo() -> None:
    assert row("milp", goodput_rps=2.0).kept_promise == pytest.approx(2 / 5)
    assert row("milp", offered_rps=3.0, goodput_rps=2.0).kept_promise == pytest.approx(2 / 3)
    assert row("milp", offered_rps=None, goodput_rps=2.0).kept_promise == pytest.approx(2 / 5)


def test_changes_are_between_runs_with_the_same_requests() -> None:
    rows = [
        row("homogeneous"),
        row("milp", throughput_rps=9.0),
        row("greedy", offered_rps=8.5),
        row("uniform", n_requests=101),
    ]
    comparison = Comparison.of(rows)
    changes = [comparison.change(one, "throughput_rps") for one in rows]
    assert changes == [0.0, pytest.approx(0.5), None, None]


def test_the_baseline_is_the_first_planner_with_a_run_even_if_not_of_the_first_scenario() -> None:
    rows = [
        Row("poor", "homogeneous", 0, "infeasible", {}),
        Row("poor", "milp", 0, "ok", {}),
        Row("rich", "homogeneous", 0, "ok", {}),
    ]
    assert Comparison.of(rows).baseline == "homogeneous"
    assert Comparison.of(rows[:2]).baseline == "milp"


@pytest.mark.parametrize(
    ("directory", "out"),
    [
        ("out/there/scenario=s/planner=milp/seed=0", "out/there"),
        ("scenario=s/planner=milp/seed=0", "."),
        ("moved/elsewhere", "moved/elsewhere"),
    ],
)
def test_a_run_is_kept_in_its_out(directory: str, out: str) -> None:
    assert Row("s", "milp", 0, "ok", {}, directory=Path(directory)).kept_in == out
