from __future__ import annotations

import io
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from scenarios.report.tables import fit, make_columns, make_table

WORDS = st.text("abcxyz01.,/%+-", min_size=1, max_size=12)
CELLS = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    table = make_table("A title")
    justified = draw(st.lists(st.sampled_from(["left", "right"]), min_size=1, max_size=8))
    make_columns(table, [(draw(CELLS).replace(" ", "\n"), side) for side in justified])
    for _ in range(draw(st.integers(1, 4))):
        table.add_row(*(draw(WORDS if side == "right" else CELLS) for side in justified))
    return table


def lines(table: Table) -> list[str]:
    console = Console(file=io.StringIO(), width=10_000, no_color=True)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def words(table: Table) -> list[str]:
    texts = chain.from_iterable((str(column.header), *map(str, column.cells)) for column in table.columns)
    return sorted(word for text in texts for word in text.split())


@given(tables(), st.integers(80, 200))
def test_no_word_is_broken_and_no_line_is_too_long(table: Table, width: int) -> None:
    shown = [word for part in fit(table, width) for line in lines(part) for word in line.split() if "─" not in word]
    first = Table(table.columns[0].header)
    for cell in table.columns[0].cells:
        first.add_row(cell)
    repeated = (len(fit(table, width)) - 1) * words(first)
    assert sorted(shown) == sorted(words(table) + repeated)
    assert all(len(line) <= width for part in fit(table, width) for line in lines(part))


@pytest.mark.parametrize(("width", "columns"), [(80, [[0, 1, 2], [0, 3]]), (45, [[0, 1], [0, 2], [0, 3]])])
def test_what_does_not_fit_comes_below_after_the_first_column(width: int, columns: list[list[int]]) -> None:
    table = make_table("A title")
    headers = ["planner", "a" * 30, "b" * 30, "c" * 30]
    make_columns(table, [(headers[0], "left"), *((header, "right") for header in headers[1:])])
    table.add_row("milp", "1.0 %", "2", "3", style="bold", end_section=True)
    parts = fit(table, width)
    assert [[column.header for column in part.columns] for part in parts] == [[headers[i] for i in g] for g in columns]
    assert [part.rows for part in parts] == [table.rows] * len(parts)
    (whole,) = fit(table, 160)
    assert len(whole.columns) == 4


def test_what_is_left_goes_to_the_columns_that_want_it() -> None:
    table = make_table("A title")
    make_columns(table, [("planner", "left"), ("fleet", "left"), ("GPUs", "left")])
    table.add_row("milp", "one two three four five six", "seven eight nine ten")
    (part,) = fit(table, 50)
    assert [column.width for column in part.columns] == [7, 18, 17]
    (part,) = fit(table, 160)
    assert [column.width for column in part.columns] == [7, 27, 20]
