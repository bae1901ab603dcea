"""The reference of timelines and their columns, name by name."""

from __future__ import annotations

import re
from pathlib import Path

from sim import TIMELINE_SCHEMA

PAGE = (Path(__file__).parents[2] / "docs/reference/timeline.md").read_text()


def test_every_column_has_a_row_and_every_row_a_column() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(TIMELINE_SCHEMA)
