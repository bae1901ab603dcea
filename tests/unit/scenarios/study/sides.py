"""Sides of a difference, written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scenarios.runs.row import Row
from scenarios.study.sides import PLANS, RUNS, Entry, Requests, Side
from sim import METRICS

EMPTY: dict[str, float | None] = dict.fromkeys(METRICS, 1.0)


def entry(
    seed: int = 0,
    scenario: str = "s",
    planner: str = "milp",
    *,
    requests: str = "the same",
    plan: Mapping[str, Any] | None = None,
    asked: str = "",
    **metrics: float | None,
) -> Entry:
    """A run whose metrics are all 1, but for those that are given."""
    data = {"promised_rps": {"m": 4.0}, "usd_per_h": 2.0} | dict(plan or {})
    row = Row(scenario, planner, seed, "ok", data, EMPTY | metrics, 8.0, 1.0, 100)
    return Entry(row, Requests(100, 8.0, "a trace", f"{requests} of {seed}"), asked)


def side(*entries: Entry, name: str = "base") -> Side:
    """A side of runs."""
    return Side(Path(name), RUNS, entries)


def plan_side(status: str, usd_per_h: float, promised_rps: float) -> Side:
    """A side of one plan."""
    plan = {"status": status, "usd_per_h": usd_per_h, "promised_rps": {"m": promised_rps}, "diagnostics": ["too dear"]}
    figures: dict[str, float | None] = {"usd_per_h": usd_per_h}
    return Side(Path("plans.json"), PLANS, (Entry(Row("plan", "milp", 0, status, plan, figures)),))
