"""Panels of lines above one time axis, with what the market takes away and new plans marked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from scenarios.report.plotting import COLOURS, FONT_SIZE, spread, to_config
from sim.results.drops import Drop

if TYPE_CHECKING:
    import altair as alt

_WIDTH, _HEIGHT = 760, 90  # pixels of a panel
_LINE_HEIGHT, _CHARACTER = 1.2, 0.6  # height and mean width of letters, in font sizes
_MOST_LEVELS = 8  # of labels above one another
_LABEL_GAP = 3  # pixels between a mark and its label

GREY = "#8c8c8c"
DASHED = (4, 3)
_DROP, _REPLAN, _TRAFFIC = "#d9534f", COLOURS[3], COLOURS[0]


class Unit(NamedTuple):
    """Of the time axis."""

    name: str
    seconds: float


_UNITS = (Unit("h", 3600.0), Unit("min", 60.0), Unit("s", 1.0))


class Line(NamedTuple):
    """A series: its label, its values over time in s, its colour, and how it is drawn."""

    label: str
    points: Sequence[tuple[float, float | None]]
    colour: str
    is_step: bool = False
    is_area: bool = False
    dash: tuple[int, ...] = ()


class Panel(NamedTuple):
    """Some lines under a heading; the axis reaches from `bottom` to `top`, or as far as they do, and some more."""

    heading: str
    lines: Sequence[Line]
    top: float | None = None
    bottom: float = 0.0
    headroom: float = 0.08

    @property
    def reach(self) -> float:
        """Where the axis ends."""
        values = (value for line in self.lines for _, value in line.points if value is not None)
        top = self.top or max(values, default=0.0)
        return top + (self.headroom * (top - self.bottom) if top > self.bottom else 1.0)


class Mark(NamedTuple):
    """Something that happens: when, until when (None: it has no length), and how it is called."""

    t_s: float
    until_s: float | None
    label: str
    colour: str


def unit_of(end_s: float) -> Unit:
    """The largest unit of which a run is at least three long."""
    return next((unit for unit in _UNITS if end_s >= 3 * unit.seconds), _UNITS[-1])


def marks_of(
    drops: Sequence[Drop], replans_s: Sequence[float], end_s: float, events: Iterable[Mapping[str, Any]] = ()
) -> list[Mark]:
    """What is marked in a run: drops, new plans, and times with more or less traffic; in the order of time."""
    marks = [
        Mark(drop.drop_s, min(drop.back_s, end_s), drop.label, _DROP) for drop in drops if 0 <= drop.drop_s < end_s
    ]
    marks += [Mark(t_s, None, "new plan", _REPLAN) for t_s in replans_s if 0 <= t_s < end_s]
    marks += [
        Mark(one["at_s"], min(end_s, one["until_s"] or end_s), _of_traffic(one), _TRAFFIC)
        for one in events
        if one["traffic"] is not None and one["at_s"] < end_s
    ]
    return sorted(marks, key=lambda mark: mark.t_s)


def _of_traffic(event: Mapping[str, Any]) -> str:
    """What changes of the requests."""
    of = "" if event["of"] is None else f" of {event['of']}"
    return f"{event['name'] or 'traffic'} (x {event['traffic']:g}{of})"


def stack(
    panels: Sequence[Panel],
    title: str,
    subtitle: str,
    marks: Sequence[Mark],
    end_s: float,
    start: str | None = None,
) -> alt.VConcatChart:
    """Panels above one another, on the top of them the labels of what is marked."""
    import altair as alt

    unit = unit_of(end_s)
    axis = alt.Axis(grid=False, labels=False, ticks=False, title=None)
    last_axis = alt.Axis(grid=False, labelFlush=False, **time_labels(unit, start))
    scale = alt.Scale(domain=[0, end_s / unit.seconds], nice=False)
    charts = [_label_strip(marks, unit, end_s, scale)] if marks else []
    for i, panel in enumerate(panels):
        x = alt.X("t:Q", scale=scale, axis=last_axis if i == len(panels) - 1 else axis)
        charts.append(_draw(panel, draw_marks(marks, unit, x), unit, end_s, x))
    heading = alt.TitleParams(
        title, subtitle=subtitle, anchor="start", fontSize=15, subtitleFontSize=FONT_SIZE, offset=12
    )
    return alt.VConcatChart(vconcat=charts, spacing=8, title=heading, config=to_config())


def time_labels(unit: Unit, start: str | None) -> dict[str, Any]:
    """How the time axis is labelled: in units since the start, or with what the clock shows if that is known."""
    if start is None:
        return {"title": f"time, {unit.name}"}
    began = datetime.fromisoformat(start)
    shown = began.replace(tzinfo=UTC)  # the zone's own clock, told as if it were UTC's
    form = "%H:%M:%S" if unit.name == "s" else "%H:%M"
    moment = f"{shown.timestamp() * 1000:.0f} + datum.value * {unit.seconds * 1000:.0f}"
    label = f"utcFormat({moment}, '{form}')"
    return {"title": f"clock time, {began:%Z}", "labelExpr": label, "labelOverlap": "greedy", "labelSeparation": 12}


def draw_marks(marks: Sequence[Mark], unit: Unit, x: alt.X) -> list[alt.Chart]:
    """A line where something happens, and a band for as long as it lasts."""
    import altair as alt

    drawn = []
    times = {(mark.t_s, mark.until_s, mark.colour): None for mark in marks}  # several types may fall at once
    bands = [(t_s, until_s, colour) for t_s, until_s, colour in times if until_s is not None]
    for colour in dict.fromkeys(colour for _, _, colour in bands):
        rows = [{"t": t / unit.seconds, "until": end / unit.seconds} for t, end, own in bands if own == colour]
        band = alt.Chart(_data(rows)).mark_rect(color=colour, opacity=0.08, clip=True)
        drawn.append(band.encode(x, x2="until:Q"))
    for colour in dict.fromkeys(colour for _, _, colour in times):
        rows = [{"t": t_s / unit.seconds} for t_s, _, own in times if own == colour]
        rule = alt.Chart(_data(rows)).mark_rule(color=colour, strokeDash=[2, 2], clip=True)
        drawn.append(rule.encode(x))
    return drawn


class _Label(NamedTuple):
    mark: Mark
    level: int
    is_left: bool


def place_labels(marks: Sequence[Mark], end_s: float, width: float = _WIDTH) -> list[_Label]:
    """Labels on levels above one another, so that none runs into another or out of the picture.

    A label stands to the right of its mark, or to the left where there is no room; what fits on no level is left out.
    """
    free_s: list[float] = []  # on each level, where the last label ends
    placed = []
    for mark in marks:
        length_s = (_CHARACTER * FONT_SIZE * len(mark.label) + 2 * _LABEL_GAP) / width * end_s
        is_left = mark.t_s + length_s > end_s
        begin_s = mark.t_s - length_s if is_left else mark.t_s
        level = next((i for i, until_s in enumerate(free_s) if until_s <= begin_s), len(free_s))
        if level == _MOST_LEVELS:
            continue
        if level == len(free_s):
            free_s.append(0.0)
        free_s[level] = begin_s + length_s
        placed.append(_Label(mark, level, is_left))
    return placed


def _label_strip(marks: Sequence[Mark], unit: Unit, end_s: float, scale: alt.Scale) -> alt.LayerChart:
    """The labels of what happens, in a strip of their own that is as high as they need."""
    import altair as alt

    labels = place_labels(marks, end_s)
    n_levels = 1 + max(label.level for label in labels)
    x = alt.X("t:Q", scale=scale, axis=None)
    y = alt.Y("level:Q", scale=alt.Scale(domain=[n_levels, 0], nice=False), axis=None)
    layers = []
    for is_left in (False, True):
        for colour in dict.fromkeys(label.mark.colour for label in labels):
            rows = [
                {"t": label.mark.t_s / unit.seconds, "level": label.level + 0.5, "label": label.mark.label}
                for label in labels
                if (label.is_left, label.mark.colour) == (is_left, colour)
            ]
            if rows:
                text = alt.Chart(_data(rows)).mark_text(
                    align="right" if is_left else "left",
                    dx=-_LABEL_GAP if is_left else _LABEL_GAP,
                    fontSize=FONT_SIZE,
                    color=colour,
                )
                layers.append(text.encode(x, y, text="label:N"))
    return alt.LayerChart(layer=layers, width=_WIDTH, height=_LINE_HEIGHT * FONT_SIZE * n_levels)


def _draw(panel: Panel, marks: Sequence[alt.Chart], unit: Unit, end_s: float, x: alt.X) -> alt.LayerChart:
    import altair as alt

    top = panel.reach
    scale = alt.Scale(domain=[panel.bottom, top], nice=False)
    y = alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(tickCount=4))
    layers = list(marks)
    for line in panel.lines:
        rows = ({"t": t / unit.seconds, "value": value} for t, value in line.points)
        chart = alt.Chart(_data(rows))
        style: dict[str, Any] = {"clip": True, "interpolate": "step-after" if line.is_step else "linear"}
        if line.dash:
            style["strokeDash"] = list(line.dash)
        if line.is_area:
            layers.append(chart.mark_area(color=line.colour, opacity=0.3, **style).encode(x, y))
        layers.append(chart.mark_line(color=line.colour, strokeWidth=1.6, **style).encode(x, y))
    height = max(_HEIGHT, _LINE_HEIGHT * FONT_SIZE * sum(bool(line.label) for line in panel.lines))  # room for labels
    layers += _label_ends(panel, end_s / unit.seconds, top, height, x, y)
    heading = alt.TitleParams(
        panel.heading, anchor="start", frame="group", fontSize=FONT_SIZE, fontWeight="normal", offset=4
    )
    return alt.LayerChart(layer=layers, width=_WIDTH, height=height, title=heading)


def _label_ends(panel: Panel, end: float, top: float, height: float, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    import altair as alt

    labelled = [line for line in panel.lines if line.label]
    ends = [next((value for _, value in reversed(line.points) if value is not None), 0.0) for line in labelled]
    reach = top - panel.bottom
    distance = _LINE_HEIGHT * FONT_SIZE / height * reach
    places = spread({str(i): min(top, value) - panel.bottom for i, value in enumerate(ends)}, distance, reach)
    return [
        alt.Chart(_data([{"t": end, "value": panel.bottom + places[str(i)], "label": line.label}]))
        .mark_text(align="left", dx=6, fontSize=FONT_SIZE, color=line.colour)
        .encode(x, y, text="label:N")
        for i, line in enumerate(labelled)
    ]


def _data(rows: Iterable[Mapping[str, Any]]) -> alt.InlineData:
    import altair as alt

    return alt.InlineData(values=[dict(row) for row in rows])
