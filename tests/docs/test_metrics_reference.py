"""The reference of metrics and the metrics themselves, name by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sim import METRICS, STRESS_METRICS

PAGE = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text()
ALL = METRICS | STRESS_METRICS
SECTION = re.compile(r"^### `(\w+)`\n\n\*([^,*]+)(?:, (more|less) is better)?\*\n\n    (.+)\n", re.MULTILINE)
SECTIONS = {name: (unit, better, formula) for name, unit, better, formula in SECTION.findall(PAGE)}


def test_every_metric_has_a_heading_and_every_heading_a_metric() -> None:
    headings = re.findall(r"^### (.*)$", PAGE, re.MULTILINE)
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
