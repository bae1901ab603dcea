from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

from planners import Objective
from planners.questions.frontier import FrontierPoint
from scenarios.report.frontier import save_plot


def texts(element: ET.Element, y: float = 0.0) -> Iterator[tuple[str, float]]:
    """All texts of a picture, with their heights: the shifts of what they are in, added up."""
    moved = re.match(r"translate\([^,]*,(.*)\)", element.get("transform", ""))
    y += float(moved[1]) if moved else 0.0
    if element.text:
        yield element.text, y
    for child in element:
        yield from texts(child, y)


def test_headings_stand_at_one_height(tmp_path: Path) -> None:
    """Although in one panel the axis has a label near its top, 50 of 1.06 times 47.4, and in the other it has none."""
    points = [
        FrontierPoint("milp", budget, "ok", "optimal", rps, rps, budget, rps, 5500.0, ())
        for budget, rps in ((2.0, 5.6), (8.0, 47.4))
    ]
    save_plot(points, Objective.THROUGHPUT, "title", tmp_path / "plot.svg")
    heights = dict(texts(ET.parse(tmp_path / "plot.svg").getroot()))
    assert "50" in heights
    assert heights["requests/s promised"] == heights["$ per million output tokens"] < heights["50"]
