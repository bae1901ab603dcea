"""The reference of differences and what `hetserve diff` prints, name by name."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from scenarios.report.diff import case_table, changes_table, gate_table, plans_table
from scenarios.study.diff import Missing, diff
from scenarios.study.plan_changes import PlanChange, ShareChange
from scenarios.study.rules import judge, parse_rule
from scenarios.study.sides import OF_RUNS
from tests.unit.scenarios.study.sides import entry, side

PAGE = (Path(__file__).parents[2] / "docs/reference/diff.md").read_text()

ONE = diff(side(entry(0)), side(entry(0, usd_per_h=2.0)))
TWO = diff(side(entry(0, "a"), entry(0, "b")), side(entry(0, "a", usd_per_h=2.0), entry(0, "b")))
VERDICT = judge(ONE, [parse_rule("usd_per_h > 1%", OF_RUNS)])


def test_every_column_has_a_heading_and_every_heading_a_column() -> None:
    tables = [
        case_table(ONE, ONE.cases[0], ["usd_per_h"]),
        changes_table(TWO, ["usd_per_h"]),
        plans_table(ONE),
        gate_table(VERDICT),
    ]
    printed = {str(column.header).replace("\n", " ") for table in tables for column in table.columns}
    assert sorted(re.findall(r"^### (.*)$", PAGE, re.MULTILINE)) == sorted(printed)


def test_every_key_of_the_json_is_explained() -> None:
    data: dict[str, Any] = ONE.to_dict() | VERDICT.to_dict() | {"is_broken": True}
    case = data["cases"][0]
    keys = {*data, *case, *case["changes"]["usd_per_h"], *data["breaks"][0], *data["rules"][0]}
    for kind in (Missing, PlanChange, ShareChange):
        keys |= {field.name for field in fields(kind)}
    explained = set(re.findall(r"`(\w+)`", PAGE[PAGE.index("## JSON") : PAGE.index("## Columns")]))
    assert keys <= explained
