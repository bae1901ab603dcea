"""Tables of the page: what a cell shows, and the exact figure behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.table import Table as RichTable

from scenarios.report.tables import NOTHING, number
from scenarios.study.intervals import half_width


class Cell(NamedTuple):
    """What is shown, the figure that it is rounded from, in the unit of its column, and the metric that it is of."""

    text: str
    value: float | None = None
    metric: str = ""


class Row(NamedTuple):
    """Cells, and the planner and seed that they are about; empty if about none alone."""

    cells: Sequence[Cell]
    planner: str = ""
    seed: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table under its caption.

    Attributes:
        caption: What it shows.
        headers: One for each column.
        rows: Its rows.
        right: Which columns are set to the right; None: those of figures.
    """

    caption: str
    headers: Sequence[str]
    rows: Sequence[Row]

    right: tuple[bool, ...] | None = None

    @property
    def is_right(self) -> tuple[bool, ...]:
        """For each column, whether it is set to the right: as given, or if it holds figures or nothing."""
        if self.right is not None:
            return self.right
        columns = zip(*(row.cells for row in self.rows), strict=True)
        return tuple(
            any(cell.value is not None for cell in column)
            and all(cell.value is not None or cell.text in ("", NOTHING) for cell in column)
            for column in columns
        )


def figure(value: float | None, digits: int, factor: float = 1.0, metric: str = "") -> Cell:
    """A figure with so many digits."""
    return Cell(_rounded(value, digits, factor), _scaled(value, factor), metric)


def _scaled(value: float | None, factor: float) -> float | None:
    """Counts stay whole."""
    return value if value is None or factor == 1 else factor * value


def _rounded(value: float | None, digits: int, factor: float) -> str:
    """A number with so many digits, without the sign of one that is rounded to 0."""
    text = number(value, digits, factor)
    return text if text == NOTHING or text.strip("-0.,") else text.removeprefix("-")


def over_seeds(
    values: Sequence[float | None], digits: int, factor: float = 1.0, metric: str = "", *, are_copies: bool = False
) -> Cell:
    """The mean over seeds and its 95 % interval; nothing if a seed has no figure."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return Cell(NOTHING, None, metric)
    mean = sum(known) / len(known)
    width = None if are_copies or len(known) < 2 else half_width(known)
    interval = "" if width is None else f" ± {number(width, digits, factor)}"
    return Cell(_rounded(mean, digits, factor) + interval, _scaled(mean, factor), metric)


def from_rich(table: RichTable) -> Table:
    """A table of the terminal."""
    headers = [str(column.header).replace("\n", " ") for column in table.columns]
    rows = zip(*(column.cells for column in table.columns), strict=True)
    right = tuple(column.justify == "right" for column in table.columns)
    return Table(str(table.title or ""), headers, [Row([Cell(str(cell)) for cell in row]) for row in rows], right)


def texts(*values: object) -> list[Cell]:
    """Cells that show some values as they are."""
    return [Cell(NOTHING if value is None else str(value)) for value in values]


def listed(values: Iterable[object]) -> str:
    """Values behind one another."""
    return ", ".join(str(value) for value in values) or NOTHING
