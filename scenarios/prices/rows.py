"""Rows of price lists in CSV, each with its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scenarios.prices.listed import require_currency, wrong
from traces.errors import nearest
from traces.readers.files import read_cells


def rows_of(
    path: str, needed: Sequence[str], known: Sequence[str] | None = None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a CSV file as text, by column; an empty cell is None.

    Args:
        path: The file.
        needed: Columns that must be there.
        known: All columns that may be there; None for any.

    Raises:
        ScenarioError: A column is missing or unknown, or a row is in another currency.
        TraceError: The file cannot be read.
    """
    frame = read_cells(path)
    for name in needed:
        if name not in frame.columns:
            raise wrong(path, name, f"column is missing; there are {', '.join(frame.columns)}")
    for name in frame.columns if known is not None else ():
        if name not in (known or ()):
            raise wrong(path, name, f"unknown column: {nearest(name, known or ())}")
    for index, row in enumerate(frame.iter_rows(named=True)):
        where = f"{path}:{index + 2}"
        require_currency(where, row)
        yield where, row
