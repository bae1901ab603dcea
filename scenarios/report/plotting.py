"""What all plots have in common: packages of the extra `report`, files, colours, labels."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from scenarios.errors import RunError

if TYPE_CHECKING:
    import altair as alt

PLOT_ENDINGS = (".svg", ".png")

_PACKAGES = {"altair": "altair", "vl_convert": "vl-convert-python"}  # the extra `report`

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Can be told apart by colour-blind people: Okabe and Ito, Color Universal Design, 2008."""

DASHES = ((), (6, 3), (2, 2), (9, 3, 2, 3))
"""Where there are more lines than colours: once more the colours, with other dashes."""

FONT_SIZE = 12  # pixels
_PNG_SCALE = 2


def check_can_plot(path: Path) -> None:
    """Make sure, before anything is computed, that a plot can be written.

    Raises:
        RunError: The ending is not one of a picture, or the optional packages are missing.
    """
    if path.suffix not in PLOT_ENDINGS:
        msg = f"{path}: a plot is written as {' or '.join(PLOT_ENDINGS)}, by the ending of its name"
        raise RunError(msg)
    check_can_draw()


def check_can_draw() -> None:
    """Make sure that the packages are there that draw.

    Raises:
        RunError: One is missing.
    """
    missing = [package for module, package in _PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        msg = f"plots need the optional package {missing[0]}: pip install {' '.join(_PACKAGES.values())}"
        raise RunError(msg)


def colour_of(i: int) -> str:
    """The colour of the i-th of several lines."""
    return COLOURS[i % len(COLOURS)]


def dash_of(i: int) -> tuple[int, ...]:
    """The dashes of the i-th of several lines, which tell it from others of its colour."""
    return DASHES[i // len(COLOURS) % len(DASHES)]


def save(chart: alt.TopLevelMixin, path: Path) -> None:
    """Write a chart to an SVG or PNG."""
    chart.save(path, scale_factor=_PNG_SCALE if path.suffix == ".png" else 1)


def to_config() -> alt.Config:
    """How axes and frames look."""
    import altair as alt

    return alt.Config(
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(
            labelFontSize=FONT_SIZE, titleFontSize=FONT_SIZE, titleFontWeight="normal", gridColor="#e5e5e5"
        ),
    )


def spread(places: Mapping[str, float], distance: float, top: float) -> dict[str, float]:
    """Move labels that are too near apart, around their common middle, none below 0 or above the top.

    >>> spread({"a": 1.0, "b": 1.5, "c": 9.9}, distance=1.0, top=10.0)
    {'a': 0.75, 'b': 1.75, 'c': 9.9}
    >>> spread({"a": 9.8, "b": 9.9}, distance=1.0, top=10.0)
    {'a': 9.0, 'b': 10.0}
    """
    groups: list[tuple[list[str], float]] = []  # names from below, and where the middle of them is
    for name in sorted(places, key=lambda name: places[name]):
        names, middle = [name], places[name]
        while True:
            half = (len(names) - 1) / 2 * distance
            middle = min(max(middle, half), top - half)
            if not groups or middle - groups[-1][1] >= (len(names) + len(groups[-1][0])) / 2 * distance:
                break
            below, its_middle = groups.pop()
            middle = (middle * len(names) + its_middle * len(below)) / (len(names) + len(below))
            names = below + names
        groups.append((names, middle))
    return {
        name: middle + (i - (len(names) - 1) / 2) * distance for names, middle in groups for i, name in enumerate(names)
    }
