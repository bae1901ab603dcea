"""Frontiers for people: tables, a frame for CSV, and a plot with the optional extra `report`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Table

from planners.problem.problem import Objective
from planners.questions.frontier import FrontierPoint
from scenarios.report.plotting import COLOURS, FONT_SIZE, save, spread, to_config
from scenarios.report.tables import make_columns, make_table

if TYPE_CHECKING:
    import altair as alt
    import polars as pl

_WIDTH, _HEIGHT = 380, 300  # pixels of one panel
_HEADING_GAP = 10  # pixels between a panel and its heading
_LINE_HEIGHT = 1.25  # of labels, in font sizes
_HEADROOM = 1.06  # of the y axis, over the largest value


class _Panel(NamedTuple):
    """A quantity over the budget: what it is called in tables and on an axis, and its value."""

    title: str
    axis: str
    digits: int
    value: Callable[[FrontierPoint], float | None]


_THROUGHPUT = _Panel("Throughput promised, requests/s", "requests/s promised", 2, lambda point: point.promised_rps)
_MAKESPAN = _Panel("Makespan planned, s", "makespan, s", 1, lambda point: point.objective)
_PRICE = _Panel("Price of the cheapest fleet found, $/h", "price, $/h", 2, lambda point: point.usd_per_h)
_LATENCY = _Panel("Latency promised, s", "latency, s", 2, lambda point: point.objective)
_PER_TOKEN = _Panel(
    "Price of output tokens at that, $ per million",
    "$ per million output tokens",
    2,
    lambda point: point.usd_per_million_output_tokens,
)

_IN_TABLES = {
    Objective.THROUGHPUT: _THROUGHPUT,
    Objective.MAKESPAN: _MAKESPAN,
    Objective.COST: _PRICE,
    Objective.LATENCY: _LATENCY,
}
_IN_PLOTS = _IN_TABLES | {Objective.MAKESPAN: _THROUGHPUT}
"""The makespan of a small budget would leave the others at the bottom; the throughput is the requests over it."""


def frontier_tables(points: Sequence[FrontierPoint], objective: Objective) -> list[Table]:
    """What each planner promises for each budget, and what its output tokens cost."""
    return [_table(points, panel) for panel in _panels(points, _IN_TABLES[objective])]


def without_plan(points: Sequence[FrontierPoint]) -> list[str]:
    """Who has no plan for which budgets, and why for the largest of them."""
    lines = []
    for name in _planners(points):
        failed = [point for point in points if point.planner == name and point.objective is None]
        if failed:
            budgets = [f"{point.budget_usd_per_h:g}" for point in failed]
            why = "; ".join(failed[-1].reasons)
            lines.append(f"{name} has no plan for {', '.join(budgets)} $/h; for {budgets[-1]} $/h: {why}")
    return lines


def to_dicts(points: Sequence[FrontierPoint]) -> list[dict[str, Any]]:
    """As `frontier --json` prints it."""
    price = "usd_per_million_output_tokens"
    return [asdict(point) | {price: point.usd_per_million_output_tokens} for point in points]


def to_frame(points: Sequence[FrontierPoint]) -> pl.DataFrame:
    """As `frontier --csv` writes it: a row for each point; reasons are joined."""
    import polars as pl

    rows = [row | {"reasons": "; ".join(row["reasons"])} for row in to_dicts(points)]
    numbers = ("objective", "bound", "usd_per_h", "promised_rps", "promised_tokens_per_s")
    overrides = dict.fromkeys((*numbers, "usd_per_million_output_tokens"), pl.Float64)
    return pl.DataFrame(rows, schema_overrides=overrides)


def save_plot(points: Sequence[FrontierPoint], objective: Objective, title: str, path: Path) -> None:
    """Write `plot` to an SVG or PNG."""
    save(plot(points, objective, title), path)


def plot(points: Sequence[FrontierPoint], objective: Objective, title: str) -> alt.HConcatChart:
    """A panel for each table, with the throughput instead of the makespan; lines are labelled where they end."""
    import altair as alt

    names = _planners(points)
    panels = [_draw(points, names, panel) for panel in _panels(points, _IN_PLOTS[objective])]
    heading = alt.TitleParams(title, subtitle="planned, not simulated", anchor="start", fontSize=15, offset=15)
    return alt.HConcatChart(hconcat=panels, spacing=40, title=heading, config=to_config())


def _panels(points: Sequence[FrontierPoint], first: _Panel) -> list[_Panel]:
    panels = [first]
    if any(point.usd_per_million_output_tokens is not None for point in points):
        panels.append(_PER_TOKEN)
    return panels


def _planners(points: Sequence[FrontierPoint]) -> list[str]:
    return list(dict.fromkeys(point.planner for point in points))


def _table(points: Sequence[FrontierPoint], panel: _Panel) -> Table:
    names = _planners(points)
    table = make_table(panel.title)
    make_columns(table, [("budget $/h", "right"), *((name, "right") for name in names)])
    values = {(point.budget_usd_per_h, point.planner): panel.value(point) for point in points}
    for budget in dict.fromkeys(point.budget_usd_per_h for point in points):
        cells = (values[budget, name] for name in names)
        table.add_row(f"{budget:g}", *("-" if cell is None else f"{cell:,.{panel.digits}f}" for cell in cells))
    return table


def _draw(points: Sequence[FrontierPoint], names: Sequence[str], panel: _Panel) -> alt.LayerChart:
    import altair as alt

    found = [(point, value) for point in points if (value := panel.value(point)) is not None]
    top = _HEADROOM * max((value for _, value in found), default=1.0)
    ends = {point.planner: (point, value) for point, value in found}  # the last of each
    distance = _LINE_HEIGHT * FONT_SIZE / _HEIGHT * top
    places = spread({name: value for name, (_, value) in ends.items()}, distance, top - distance / 2)
    colours = alt.Scale(domain=list(names), range=[COLOURS[i % len(COLOURS)] for i in range(len(names))])
    budgets = [point.budget_usd_per_h for point in points]
    x_axis = alt.Axis(grid=False, labelFlush=False)
    x = alt.X("budget:Q", title="budget, $/h", scale=alt.Scale(domain=[budgets[0], budgets[-1]]), axis=x_axis)
    y = alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, top], nice=False))
    colour = alt.Color("planner:N", scale=colours, legend=None)
    lines = alt.Chart(_rows((point, value) for point, value in found))
    labels = alt.Chart(_rows((point, places[name]) for name, (point, _) in ends.items()))
    # Not a title: one would stand higher where a label of the axis is near the top.
    heading = alt.Chart(alt.InlineData(values=[{}])).mark_text(align="left", baseline="bottom", fontSize=FONT_SIZE)
    return alt.LayerChart(
        layer=[
            lines.mark_line(point=alt.OverlayMarkDef(size=25)).encode(x, y, colour),
            labels.mark_text(align="left", dx=8, fontSize=FONT_SIZE).encode(x, y, colour, text="planner:N"),
            heading.encode(x=alt.value(0), y=alt.value(-_HEADING_GAP), text=alt.value(panel.axis)),
        ],
        width=_WIDTH,
        height=_HEIGHT,
    )


def _rows(values: Iterable[tuple[FrontierPoint, float]]) -> alt.InlineData:
    import altair as alt

    rows = [{"budget": point.budget_usd_per_h, "value": value, "planner": point.planner} for point, value in values]
    return alt.InlineData(values=rows)
