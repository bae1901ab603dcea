"""The charts of the page. Their colours are variables of its style sheet, which knows light, dark and paper.

Each is as wide as its place. What they share (fonts, axes) is in `page.js`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from scenarios.report.html.figures import Distribution, Point, Question, non_dominated
from scenarios.report.panels import DASHED, Line, Mark, Panel, draw_marks, time_labels, unit_of
from scenarios.report.plotting import COLOURS

if TYPE_CHECKING:
    import altair as alt

Y_WIDTH = 52  # pixels of the labels of an axis, so that panels stand under one another
_LINE_HEIGHT, _SQUARE_HEIGHT = 110, 260  # pixels
_SHAPES = ("circle", "square", "diamond", "triangle-up")
_LOG_FROM = 20.0  # an axis is logarithmic if its largest value is so many times its smallest
_DIGITS = 5
_NEAR = 0.2  # of the costs' range: names of such neighbours would run into one another

_MUTED, _INK = "var(--muted)", "var(--ink)"


class Key(NamedTuple):
    """A line of a legend: its label, colour and dashes."""

    label: str
    colour: str
    dash: tuple[int, ...] = ()


class Chart(NamedTuple):
    """A chart under its heading, with a legend of what is not a planner."""

    heading: str
    keys: Sequence[Key]
    spec: dict[str, Any]


def css(colour: str) -> str:
    """The variable of the style sheet for a colour."""
    return f"var(--c{COLOURS.index(colour)})" if colour in COLOURS else _MUTED


def over_time(
    panels: Sequence[Panel],
    marks: Sequence[Mark],
    end_s: float,
    start: str | None,
    planners: Sequence[str] = (),
) -> list[Chart]:
    """Panels above one another; only the last has labels on its time axis."""
    shown = [mark._replace(colour="var(--bad)" if mark.until_s is not None else "var(--c3)") for mark in marks]
    last = len(panels) - 1
    return [_panel(panel, shown, end_s, start, planners, is_last=i == last) for i, panel in enumerate(panels)]


def _panel(
    panel: Panel, marks: Sequence[Mark], end_s: float, start: str | None, planners: Sequence[str], *, is_last: bool
) -> Chart:
    import altair as alt

    unit = unit_of(end_s)
    labels = time_labels(unit, start) if is_last else {"labels": False, "title": None}
    axis = alt.Axis(grid=False, labelFlush=True, labelBound=True, **labels)
    x = alt.X("t:Q", scale=alt.Scale(domain=[0, _round(end_s / unit.seconds)], nice=False), axis=axis)
    scale = alt.Scale(domain=[panel.bottom, _round(panel.reach)], nice=False)
    y = alt.Y("v:Q", title=None, scale=scale, axis=alt.Axis(tickCount=4, minExtent=Y_WIDTH, maxExtent=Y_WIDTH))
    lines: list[alt.Chart] = []
    keys = []
    for i, line in enumerate(panel.lines):
        is_planner = i < len(planners) and line.label.startswith(planners[i])
        if line.label and not is_planner:
            keys.append(Key(line.label, css(line.colour), line.dash))
        lines += _lines(line, unit.seconds, f"p{i}" if is_planner else f"line{i}")
    layers = [*draw_marks(marks, unit, x), _sharing(lines, x, y)]
    spec = alt.LayerChart(layer=layers, width="container", height=_LINE_HEIGHT).to_dict()
    return Chart(panel.heading, keys, _bare(spec, panel.heading))


def _lines(line: Line, unit_s: float, name: str) -> list[alt.Chart]:
    import altair as alt

    data = _csv(("t", "v"), thinned([(t_s / unit_s, value) for t_s, value in line.points]))
    style: dict[str, Any] = {"clip": True, "interpolate": "step-after" if line.is_step else "linear"}
    layers = []
    if line.is_area:
        area = alt.Chart(data, name=f"{name}_area").mark_area(color=css(line.colour), opacity=0.3, **style)
        layers.append(area)
    if line.dash:
        style["strokeDash"] = list(line.dash)
    drawn = alt.Chart(data, name=name).mark_line(color=css(line.colour), strokeWidth=1.7, **style)
    return [*layers, drawn]


def _sharing(layers: Sequence[alt.Chart], *axes: alt.X | alt.Y) -> alt.LayerChart:
    """Layers on the same axes, which are written down once."""
    import altair as alt

    encoding = alt.Chart().encode(*axes).encoding
    shared = {name: encoding[name] for name in ("x", "y") if encoding[name] is not alt.Undefined}
    return alt.LayerChart(layer=list(layers), encoding=alt.SharedEncoding(**shared))


def cost_chart(question: Question, points: Sequence[Point], heading: str, limits: Sequence[float]) -> Chart:
    """Cost against latency, with a line along the frontier and the limits of the SLO."""
    import altair as alt

    scale = _scale([point.latency for point in points], limits)
    costs = alt.Scale(zero=False, padding=12, nice=False)
    x = alt.X("x:Q", title="$ per million output tokens", scale=costs, axis=alt.Axis(grid=False, tickCount=5))
    y = alt.Y("y:Q", title="s", scale=scale, axis=alt.Axis(tickCount=5, minExtent=Y_WIDTH, maxExtent=Y_WIDTH))
    best = non_dominated(points)
    frontier = alt.Chart(_csv(("x", "y"), [(point.cost, point.latency) for point in best]), name="frontier")
    layers = [frontier.mark_line(color=_MUTED, strokeDash=[4, 3], interpolate="step-after")]
    rules = [
        alt.Chart(_csv(("y",), [(limit,)])).mark_rule(color="var(--bad)", strokeDash=[2, 2]).encode(y)
        for limit in limits
    ]
    for point in points:
        i = question.index(point.planner)
        values = {"x": point.cost, "y": point.latency, "planner": point.planner}
        dot = alt.Chart(alt.InlineData(values=[values]), name=f"p{i}").mark_point(
            color=css(question.colour(point.planner)),
            filled=point in best,
            shape=_SHAPES[i // len(COLOURS) % len(_SHAPES)],
            size=110,
            strokeWidth=2,
            opacity=1,
        )
        tips = [alt.Tooltip("planner:N"), alt.Tooltip("x:Q", title="$"), alt.Tooltip("y:Q", title="s")]
        layers.append(dot.encode(tooltip=tips))
    layers += _names(best, points)
    drawn = [*rules, _sharing(layers, x, y)]
    spec = alt.LayerChart(layer=drawn, width="container", height=_SQUARE_HEIGHT).to_dict()
    keys = [Key("limit of the SLO", "var(--bad)", (2, 2))] if limits else []
    keys.append(Key("frontier (filled)", _MUTED, DASHED))
    return Chart(heading, keys, _bare(spec, heading))


def _names(best: Sequence[Point], points: Sequence[Point]) -> list[alt.Chart]:
    """Who is on the frontier: names to the side where there is room, those of equals together, of neighbours apart."""
    import altair as alt

    costs = [point.cost for point in points]
    least, most = min(costs), max(costs)
    names: dict[tuple[float, float], list[str]] = {}
    for point in best:
        names.setdefault((point.cost, point.latency), []).append(point.planner)
    layers = []
    last_cost, is_below = -math.inf, True
    for (cost, latency), planners in names.items():
        is_near = cost - last_cost < _NEAR * (most - least)
        last_cost, is_below = cost, is_near and not is_below
        data = alt.InlineData(values=[{"x": cost, "y": latency, "name": ", ".join(planners)}])
        is_left = cost > (least + most) / 2
        text = alt.Chart(data).mark_text(
            align="right" if is_left else "left",
            baseline="top" if is_below else "bottom",
            dx=-8 if is_left else 8,
            dy=5 if is_below else -4,
            color=_INK,
            fontSize=12,
        )
        layers.append(text.encode(text="name:N"))
    return layers


def distribution_chart(
    question: Question, found: Distribution, heading: str, limits: Sequence[tuple[str, float]], unit: tuple[str, float]
) -> Chart:
    """The share of requests over a latency, a line for each planner, and the limits of the SLO."""
    import altair as alt

    name, factor = unit
    edges = [edge * factor for edge in found.edges_s]
    scale = alt.Scale(type="log", domain=[_round(edges[0]), _round(edges[-1])], nice=False)
    x = alt.X("x:Q", title=name, scale=scale, axis=alt.Axis(grid=False, tickCount=5, labelOverlap="greedy"))
    axis = alt.Axis(tickCount=5, minExtent=Y_WIDTH, maxExtent=Y_WIDTH)
    shares = alt.Scale(domain=[0, 100])
    planners = list(found.shares)
    indices = {planner: question.index(planner) for planner in planners}
    columns = ("x", *(f"s{i}" for i in indices.values()))
    values = zip(edges, *([100 * share for share in found.shares[planner]] for planner in planners), strict=True)
    data = _csv(columns, values)
    layers: list[alt.Chart] = []
    for planner, i in indices.items():
        line = alt.Chart(data, name=f"p{i}").mark_line(
            color=css(question.colour(planner)),
            strokeDash=list(question.dash(planner)) or [1, 0],
            strokeWidth=1.7,
            clip=True,
        )
        y = alt.Y(f"s{i}:Q", title="% of completed requests", scale=shares, axis=axis)
        layers.append(line.encode(y))
    for _, limit in limits:
        rule = alt.Chart(_csv(("x",), [(limit * factor,)])).mark_rule(color="var(--bad)", strokeDash=[2, 2], clip=True)
        layers.append(rule)
    spec = alt.LayerChart(layer=[_sharing(layers, x)], width="container", height=_SQUARE_HEIGHT).to_dict()
    keys = [
        Key(f"limit of {model or 'the SLO'}: {limit * factor:g} {name}", "var(--bad)", (2, 2))
        for model, limit in limits
    ]
    return Chart(heading, keys, _bare(spec, heading))


def thinned(points: Sequence[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """Without points between two of the same value: the line is the same.

    >>> thinned([(0, 1.0), (1, 1.0), (2, 1.0), (3, 2.0)])
    [(0, 1.0), (2, 1.0), (3, 2.0)]
    """
    values = [value for _, value in points]
    last = len(points) - 1
    return [
        point for i, point in enumerate(points) if i in (0, last) or not values[i - 1] == values[i] == values[i + 1]
    ]


def _scale(values: Sequence[float], limits: Sequence[float]) -> alt.Scale:
    """An axis that shows some values and limits, logarithmic where they are far apart."""
    import altair as alt

    shown = [*values, *limits]
    least, most = min(shown), max(shown)
    if least > 0 and most / least > _LOG_FROM:
        return alt.Scale(type="log", domain=[_round(least / 1.3), _round(most * 1.3)], nice=False)
    return alt.Scale(domain=[0, _round(1.1 * most or 1.0)], nice=False)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[float | None]]) -> alt.InlineData:
    """Data as CSV: less than half as long as JSON."""
    import altair as alt

    lines = [",".join(columns), *(",".join(_text(value) for value in row) for row in rows)]
    return alt.InlineData(values="\n".join(lines), format=alt.CsvDataFormat(type="csv"))


def _text(value: float | None) -> str:
    return "NaN" if value is None or not math.isfinite(value) else f"{value:.{_DIGITS}g}"


def _round(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _bare(spec: Mapping[str, Any], description: str) -> dict[str, Any]:
    """With a description for those who cannot see it, and without what `page.js` says for all charts."""
    own = {name: part for name, part in spec.items() if name not in ("config", "$schema")}
    return own | {"description": description}
