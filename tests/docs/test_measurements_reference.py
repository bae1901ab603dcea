"""The page of measurements has a row for each format, with the source that its reader names, and for each setting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scenarios.measurements import guidellm, inference_perf, nvidia, sglang, vllm_bench
from scenarios.measurements.read import FORMATS
from scenarios.measurements.settings import NAMES
from scenarios.measurements.table import TIMES

PAGE = (Path(__file__).parents[2] / "docs/reference/measurements.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
READERS = {
    "aiperf": nvidia.read_records,
    "aiperf_summary": nvidia.read_summary,
    "genai_perf_timestamps": nvidia.refuse_timestamps,
    "guidellm": guidellm.read,
    "inference_perf": inference_perf.read_requests,
    "sglang_bench": sglang.read,
    "vllm_bench": vllm_bench.read,
}


def rows(section: str) -> dict[str, list[str]]:
    lines = [line.strip("| ").split(" | ") for line in SECTIONS[section].splitlines() if line.startswith("| `")]
    return {cells[0]: cells[1:] for cells in lines}


def test_every_format_has_a_row() -> None:
    assert set(rows("Formats")) == {f"`{name}`" for name in FORMATS}


@pytest.mark.parametrize("name", READERS)
def test_a_row_names_the_source_of_the_docstring(name: str) -> None:
    source = rows("Formats")[f"`{name}`"][1]
    documented = " ".join(str(READERS[name].__doc__).split())
    assert all(part in documented for part in source.split(", "))


def test_every_setting_and_all_of_its_names_are_there() -> None:
    section = SECTIONS["Settings of the server"]
    named = set(re.findall(r"`([\w-]+)`", section))
    assert {name for names in NAMES.values() for name in names} <= named
    assert set(NAMES) <= named


def test_every_column_of_a_time_is_there() -> None:
    assert all(places[0][0] in SECTIONS["Our own tables"] for places in TIMES.values())
