"""The page of readers has a row for each, with the source that its docstring names, and one for each option."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from traces import READERS, Reading
from traces.download import PUBLIC_TRACES
from traces.readers.detect import SIGNATURES

PAGE = (Path(__file__).parents[2] / "docs/reference/readers.md").read_text(encoding="utf-8")
ROWS = {
    cells[0].strip("` "): [cell.strip() for cell in cells[1:]]
    for cells in (line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| `"))
}


def test_each_reader_option_and_public_trace_has_a_row_and_nothing_else() -> None:
    assert sorted(ROWS) == sorted({*READERS, *Reading.model_fields, *PUBLIC_TRACES})


@pytest.mark.parametrize("name", sorted(PUBLIC_TRACES))
def test_a_public_trace_has_its_reader_and_licence(name: str) -> None:
    trace = PUBLIC_TRACES[name]
    assert ROWS[name] == [trace.reader, trace.licence.partition(" (")[0], "yes" if trace.sha256 else "no"]


@pytest.mark.parametrize("reader", sorted(READERS))
def test_a_row_names_the_source_of_the_docstring(reader: str) -> None:
    _, source, found, _ = ROWS[reader]
    docstring = READERS[reader].__doc__ or ""
    if source != "our own":
        place, _, file = source.partition(", ")
        assert place in docstring
        assert file in docstring
        assert "Schema:" in docstring
    assert found.startswith("no") != (reader in SIGNATURES or reader == "azure_2024")


def test_fields_of_options_are_documented() -> None:
    source = Path(__file__).parents[2] / "traces/readers/reading.py"
    for name in Reading.model_fields:
        assert re.search(rf'^    {name}: .*\n    """', source.read_text(encoding="utf-8"), flags=re.M), name
