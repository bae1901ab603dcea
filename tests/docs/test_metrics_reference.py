"""The reference of metrics and the metrics themselves, name by name."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from rich.table import Table

from scenarios.report.accuracy import accuracy_tables, comparison_tables
from scenarios.report.calibration import calibration_tables
from scenarios.report.max_rate import loads_table
from scenarios.report.stress import run_tables, stress_table
from scenarios.report.summary import costs_table, promises_table, scenario_tables, standings_table
from scenarios.report.tables import fleet_table, results_table, validation_table
from scenarios.report.uncertainty import weighing_tables
from scenarios.runs.row import Row
from scenarios.study.accuracy import errors_of, to_dicts
from scenarios.study.calibration.calibrate import Calibration
from scenarios.study.compare import Comparison
from scenarios.study.load_search import LoadSearch
from scenarios.study.max_rate import GivenFleet, LoadPoint, MaxRate
from scenarios.study.silicon.estimates import answers
from scenarios.study.silicon.points import CHECKPOINTS, Case, SiliconRow
from scenarios.study.stress import StressRow
from scenarios.study.uncertainty import PlanInWorlds, Weighing
from scenarios.study.validate_run import SCHEMA as VALIDATION_SCHEMA
from sim import METRICS, STRESS_METRICS, Deployment
from sim.timing.worlds import World

PAGE = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text()
ALL = METRICS | STRESS_METRICS
CALIBRATION_ROW = {"run": "r", "part": "p", "figure": "f"} | dict.fromkeys(
    ("real", "before", "after", "error_before", "error_after"), 1.0
)
SECTION = re.compile(r"^### `(\w+)`\n\n\*([^,*]+)(?:, (more|less) is better)?\*\n\n    (.+)\n", re.MULTILINE)
SECTIONS = {name: (unit, better, formula) for name, unit, better, formula in SECTION.findall(PAGE)}


def test_every_metric_has_a_heading_and_every_heading_a_metric() -> None:
    headings = re.findall(r"^### (`.*)$", PAGE, re.MULTILINE)
    assert not METRICS.keys() & STRESS_METRICS.keys()
    assert sorted(headings) == sorted(f"`{name}`" for name in ALL)


@pytest.mark.parametrize("name", ALL)
def test_unit_direction_and_formula(name: str) -> None:
    metric = ALL[name]
    assert name in SECTIONS, "below the heading: *unit, more is better*, then the formula, indented"
    unit, better, formula = SECTIONS[name]
    assert unit == metric.unit
    assert better == {True: "more", False: "less", None: ""}[metric.more_is_better]
    assert formula.strip()


def on_a_market() -> list[Table]:
    """The tables of a run with one drop, beside an oracle's."""
    numbers: defaultdict[str, float] = defaultdict(float)
    run = Row("s", "milp", 0, "ok", {}, numbers, 1.0, 1.0, 9)  # type: ignore[arg-type]
    drop = numbers | {"drop": "drop 1 (L40S -4)"}
    mine = StressRow(run, "static", numbers, (defaultdict(float, drop),))  # type: ignore[arg-type]
    oracle = replace(mine, policy="oracle")
    return [stress_table([mine, oracle]), run_tables(replace(mine, stress={}))[-1]]


def of_accuracy() -> list[Table]:
    """The tables of a measured row that nobody has an estimate of, and that something speaks against."""
    checkpoint = CHECKPOINTS["nvidia/Llama-3.1-8B-Instruct-FP8", "fp8"]
    case = Case(checkpoint, "H100-SXM", 1, 1, 1, 1, None, None, 1024, 1024, (1.0, 1.0), None)
    errors = errors_of([SiliconRow(case, 1.0, 1.0)], {case: answers(case)})
    return [*accuracy_tables(errors), *comparison_tables(to_dicts(errors))]


def in_worlds() -> list[Table]:
    """The tables of two plans in two worlds, but for the one whose columns are plans."""
    figures: defaultdict[str, float] = defaultdict(float)
    plans = tuple(PlanInWorlds(name, figures, (figures, figures), frozenset()) for name in ("one", "other"))
    weighing = Weighing("s", "throughput", plans, (World(), World()), {}, has_overheads=True, goal=None)
    first, _, *others = weighing_tables(weighing)
    return [first, *others]


def of_loads() -> list[Table]:
    """The tables of loads that were tried, of requests and of users."""
    fleet = GivenFleet("deployment", Deployment(()), {"fleet": [], "usd_per_h": 0.0})
    point = LoadPoint(1.0, (1.0,), (1.0,), (defaultdict(float),))
    searches = (LoadSearch(1.0, 1.0), LoadSearch(1.0, 1.0, is_whole=True))
    return [loads_table(MaxRate("s", fleet, (0,), search, (point,), (1.0,))) for search in searches]


def printed_columns() -> set[str]:
    """Headers of the tables of runs, in all their forms."""
    found: set[str] = set()
    latency = {"latency": {"metric": "e2e", "statistic": "p99"}}
    for offered in (1.0, 2.0, None):
        metrics: dict[str, float | None] = {"n_undecided": 1}
        rows = [
            Row("s", planner, 0, "ok", {"planner": "milp", "gpus": {}} | latency, dict(metrics), offered_rps, 1.0, 9)
            for planner, offered_rps in (("BASELINE", 1.0), ("other", offered))
        ]
        comparison = Comparison.of(rows, "BASELINE")
        tables = [
            fleet_table(comparison),
            results_table(comparison),
            *scenario_tables(comparison),
            standings_table([], "BASELINE", 1),
            promises_table([], "BASELINE"),
            costs_table([], "BASELINE"),
            *on_a_market(),
            *of_accuracy(),
            *in_worlds(),
            *of_loads(),
            validation_table(pl.DataFrame(schema=VALIDATION_SCHEMA), "a run"),
            *calibration_tables(Calibration((), (), pl.DataFrame(CALIBRATION_ROW), None)),  # type: ignore[arg-type]
        ]
        found |= {str(column.header).replace("\n", " ") for table in tables for column in table.columns}
    return {re.sub(r" goal .*", "", header).strip() for header in found}


def test_every_printed_column_has_a_heading_and_every_heading_a_column() -> None:
    assert sorted(re.findall(r"^### ([^`].*)$", PAGE, re.MULTILINE)) == sorted(printed_columns())
