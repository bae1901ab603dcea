"""Pictures of runs over time: one run in panels, or several side by side. They need the optional extra `report`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from scenarios.errors import RunError
from scenarios.report.plotting import COLOURS, FONT_SIZE, spread, to_config
from scenarios.runs.directory import read_result
from scenarios.study.stress import case_of, read_drops
from sim import SLO, SimulationResult, compute_stress, compute_timeline
from sim.results.stress import Drop, drops_of

if TYPE_CHECKING:
    import altair as alt

_WIDTH, _HEIGHT = 760, 90  # pixels of a panel
_LINE_HEIGHT, _CHARACTER = 1.2, 0.6  # height and mean width of letters, in font sizes
_N_INTERVALS = 380  # a picture of 760 pixels shows no more
_RATES_STEP_S = 60.0  # shares and rates of less than a minute are noise
_N_RATES = 150
_LABEL_ROOM = 0.3  # of the height, where the uppermost panel has labels of new plans

_BLUE, _RED, _GREEN, _GREY = COLOURS[0], COLOURS[1], COLOURS[2], "#8c8c8c"
_DROP, _REPLAN = "#d9534f", COLOURS[3]


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
    is_dashed: bool = False


class Panel(NamedTuple):
    """Some lines under a heading; the axis reaches from `bottom` to `top`, or as far as they do, and some more."""

    heading: str
    lines: Sequence[Line]
    top: float | None = None
    bottom: float = 0.0
    headroom: float = 0.08


def draw(directory: Path, directories: Sequence[Path]) -> alt.VConcatChart:
    """All runs in a directory: one alone, or several of one scenario and seed side by side.

    Raises:
        RunError: They are of different scenarios or seeds, too many, or nothing happens in one.
    """
    results = [read_result(one) for one in directories]
    for one, result in zip(directories, results, strict=True):
        if not result.manifest["end_s"] > 0:
            msg = f"{one} has nothing to draw: the run ends when it begins"
            raise RunError(msg)
    cases = sorted({case_of(result) for result in results})
    if len(cases) > 1:
        listed = ", ".join(f"{scenario} with seed {seed}" for scenario, seed in cases)
        msg = f"{directory} holds runs of {listed}: one scenario and one seed can be drawn at a time"
        raise RunError(msg)
    ((scenario, seed),) = cases
    if len(results) == 1:
        return picture(results[0], f"{scenario}, {results[0].manifest['planner']}, seed {seed}")
    labelled = {str(result.manifest["planner"]): result for result in results}
    if len(labelled) < len(results) or len(labelled) > len(COLOURS):
        msg = f"{directory} holds {len(results)} runs; up to {len(COLOURS)} of different planners"
        raise RunError(msg)
    (drops,) = read_drops(directories).values()
    return comparison(labelled, drops, f"{scenario}, seed {seed}")


def picture(result: SimulationResult, title: str) -> alt.VConcatChart:
    """One run: GPUs of each type, requests, attainment and money, with the drops marked."""
    fine, coarse = _series(result)
    run, rates = (frame.filter(pl.col("gpu_type").is_null()) for frame in (fine, coarse))
    panels = []
    for gpu in fine["gpu_type"].drop_nulls().unique(maintain_order=True):
        of_gpu = fine.filter(gpu_type=gpu)
        if of_gpu["rented"].max():
            panels.append(_gpu_panel(gpu, of_gpu, _offered(result, gpu)))
    slo = SLO.from_dict(result.manifest.get("slo", {}))
    panels += [
        Panel("requests in the system", [_line(run, "running", _BLUE), _line(run, "waiting", _RED, is_area=True)]),
        Panel(
            "requests/s",
            [
                Line("arriving", _points(rates, pl.col("n_arrived") / pl.col("width_s")), _GREY, is_step=True),
                _line(rates, "throughput_rps", _BLUE, "finishing", is_step=True),
            ],
        ),
        _attainment_panel({"": rates}, [_BLUE], slo.attainment),
        Panel("price of what is rented, $/h", [_line(run, "usd_per_h", _BLUE, "", is_step=True)]),
        Panel("money so far, $", [_line(run, "usd", _BLUE, f"{run['usd'][-1] or 0.0:,.2f} $")]),
    ]
    replans_s = [float(replan["applied_s"]) for replan in result.manifest.get("replans") or ()]
    end_s, start = float(result.manifest["end_s"]), result.manifest.get("start")
    return _stack(panels, title, _summary(result), drops_of(result), end_s, replans_s, start)


def comparison(results: Mapping[str, SimulationResult], drops: Sequence[Drop], title: str) -> alt.VConcatChart:
    """Several runs on one market, a colour for each: attainment, requests that wait, and money."""
    series = {name: _series(result) for name, result in results.items()}
    runs = {name: fine.filter(pl.col("gpu_type").is_null()) for name, (fine, _) in series.items()}
    rates = {name: coarse.filter(pl.col("gpu_type").is_null()) for name, (_, coarse) in series.items()}
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(results))]
    longest = max(results.values(), key=lambda result: float(result.manifest["end_s"]))
    goal = SLO.from_dict(longest.manifest.get("slo", {})).attainment

    def panel(heading: str, column: str, note: Callable[[pl.DataFrame], str] = lambda _: "", **style: bool) -> Panel:
        named = zip(runs.items(), colours, strict=True)
        return Panel(heading, [_line(run, column, colour, name + note(run), **style) for (name, run), colour in named])

    greys = ("#555555", "#8c8c8c", "#b0b0b0")
    falling = sorted({gpu for drop in drops for gpu in drop.gpu_types})
    offered = [Line(gpu, _offered(longest, gpu), greys[i % len(greys)], is_step=True) for i, gpu in enumerate(falling)]
    panels = [
        *([Panel("GPUs that can be rented", offered)] if offered else []),
        _attainment_panel(rates, colours, goal),
        panel("requests that wait", "waiting"),
        panel("price of what is rented, $/h", "usd_per_h", is_step=True),
        panel("money so far, $", "usd", lambda run: f": {run['usd'][-1]:,.2f}"),
    ]
    return _stack(panels, title, "", drops, float(longest.manifest["end_s"]), start=longest.manifest.get("start"))


def _series(result: SimulationResult) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The timeline as fine as a picture can show it, and one of minutes or more."""
    end_s = float(result.manifest["end_s"])
    return compute_timeline(result, n_intervals=_N_INTERVALS), compute_timeline(
        result, step_s=max(_RATES_STEP_S, end_s / _N_RATES)
    )


def _summary(result: SimulationResult) -> str:
    """The stress metrics in a line."""
    stress = compute_stress(result)
    parts = []
    if stress["n_drops"]:
        shares = (stress[f"attainment_{period}"] for period in ("before", "during", "after"))
        listed = " / ".join("-" if value is None else f"{100 * value:.1f}" for value in shares)
        recover_s = stress["time_to_recover_s"]
        recovered = "not recovered" if recover_s is None else f"recovered after {recover_s:,.0f} s"
        parts.append(f"within the SLO before / during / after: {listed} %, {recovered}")
    usd = float(result.replicas["usd"].sum())
    idle, booting, lost = (stress[name] or 0.0 for name in ("usd_idle", "usd_booting", "usd_lost"))
    parts.append(f"{usd:,.2f} $, of which {idle:,.2f} idle, {booting:,.2f} booting, {lost:,.2f} on lost work")
    return "; ".join(parts)


def _offered(result: SimulationResult, gpu: str) -> list[tuple[float, float | None]]:
    """How many GPUs of a type there were, change by change; empty where there was no limit."""
    if result.availability is None:
        return []
    changes: list[tuple[float, float | None]]
    changes = result.availability.filter(gpu_type=gpu).select("t_s", "count").rows()
    return [*changes, (float(result.manifest["end_s"]), changes[-1][1])] if changes else []


def _gpu_panel(gpu: str, frame: pl.DataFrame, offered: Sequence[tuple[float, float | None]]) -> Panel:
    rented = float(frame["rented"].max() or 0.0)  # type: ignore[arg-type]
    lines = [
        _line(frame, "serving", _GREEN, is_step=True, is_area=True),
        _line(frame, "rented", _BLUE, is_step=True),
    ]
    top = rented
    if offered:
        most = max(count or 0.0 for _, count in offered)
        top = most if most <= 3 * rented else 2 * rented
        label = "available" if most <= top else f"available, up to {most:,.0f}"
        lines.append(Line(label, offered, _GREY, is_step=True, is_dashed=True))
    return Panel(f"{gpu} GPUs", lines, top)


def _attainment_panel(rates: Mapping[str, pl.DataFrame], colours: Sequence[str], goal: float) -> Panel:
    lines = [
        Line(name, _points(frame, 100 * pl.col("slo_attainment")), colour, is_step=True)
        for (name, frame), colour in zip(rates.items(), colours, strict=True)
    ]
    end_s = max(float(frame["t_s"][-1] + frame["width_s"][-1]) for frame in rates.values())
    goal_line = Line(f"goal {100 * goal:g} %", [(0.0, 100 * goal), (end_s, 100 * goal)], _GREY, is_dashed=True)
    lowest = min((value for line in lines for _, value in line.points if value is not None), default=0.0)
    bottom = 10.0 * max(0.0, min(lowest, 100 * goal) // 10 - 1)
    return Panel("within the SLO, % of arrivals", [*lines, goal_line], 100.0, bottom)


def _line(frame: pl.DataFrame, column: str, colour: str, label: str | None = None, **style: bool) -> Line:
    return Line(column if label is None else label, _points(frame, pl.col(column)), colour, **style)


def _points(frame: pl.DataFrame, value: pl.Expr) -> list[tuple[float, float | None]]:
    """A value over time, once more where it ends, so that the last interval before a gap is as wide as the others."""
    rows = frame.select("t_s", end_s=pl.col("t_s") + pl.col("width_s"), value=value.round(6)).rows()
    points = []
    for (t_s, end_s, this), following in zip(rows, [*(row[2] for row in rows[1:]), None], strict=True):
        points.append((t_s, this))
        if this is not None and following is None:
            points.append((end_s, this))
    return points


# Drawing ----------------------------------------------------------------------------------------------------


def _stack(
    panels: Sequence[Panel],
    title: str,
    subtitle: str,
    drops: Sequence[Drop],
    end_s: float,
    replans_s: Sequence[float] = (),
    start: str | None = None,
) -> alt.VConcatChart:
    import altair as alt

    unit = next(
        u for u in (Unit("h", 3600.0), Unit("min", 60.0), Unit("s", 1.0)) if end_s >= 3 * u.seconds or u.name == "s"
    )
    axis = alt.Axis(grid=False, labels=False, ticks=False, title=None)
    last_axis = alt.Axis(grid=False, labelFlush=False, **_labels(unit, start))
    scale = alt.Scale(domain=[0, end_s / unit.seconds], nice=False)
    charts = []
    for i, panel in enumerate(panels):
        x = alt.X("t:Q", scale=scale, axis=last_axis if i == len(panels) - 1 else axis)
        marks = _mark_drops(drops, unit, end_s, x, is_labelled=i == 0)
        marks += _mark_replans(replans_s, unit, end_s, x, is_labelled=i == 0)
        roomy = panel._replace(headroom=_LABEL_ROOM) if i == 0 and replans_s else panel
        charts.append(_draw(roomy, marks, unit, end_s, x))
    heading = alt.TitleParams(
        title, subtitle=subtitle, anchor="start", fontSize=15, subtitleFontSize=FONT_SIZE, offset=12
    )
    return alt.VConcatChart(vconcat=charts, spacing=8, title=heading, config=to_config())


def _labels(unit: Unit, start: str | None) -> dict[str, Any]:
    """How the time axis is labelled: in units since the start, or with what the clock shows if that is known."""
    if start is None:
        return {"title": f"time, {unit.name}"}
    began = datetime.fromisoformat(start)
    shown = began.replace(tzinfo=UTC)  # the zone's own clock, told as if it were UTC's
    form = "%H:%M:%S" if unit.name == "s" else "%H:%M"
    moment = f"{shown.timestamp() * 1000:.0f} + datum.value * {unit.seconds * 1000:.0f}"
    label = f"utcFormat({moment}, '{form}')"
    return {"title": f"clock time, {began:%Z}", "labelExpr": label, "labelOverlap": "greedy", "labelSeparation": 12}


def _draw(panel: Panel, marks: Sequence[alt.Chart], unit: Unit, end_s: float, x: alt.X) -> alt.LayerChart:
    import altair as alt

    top = panel.top or max((value for line in panel.lines for _, value in line.points if value is not None), default=0)
    top += panel.headroom * (top - panel.bottom) if top > panel.bottom else 1.0
    scale = alt.Scale(domain=[panel.bottom, top], nice=False)
    y = alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(tickCount=4))
    layers = list(marks)
    for line in panel.lines:
        rows = ({"t": t / unit.seconds, "value": value} for t, value in line.points)
        chart = alt.Chart(_data(rows))
        style: dict[str, Any] = {"clip": True, "interpolate": "step-after" if line.is_step else "linear"}
        if line.is_dashed:
            style["strokeDash"] = [4, 3]
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


def _mark_drops(drops: Sequence[Drop], unit: Unit, end_s: float, x: alt.X, *, is_labelled: bool) -> list[alt.Chart]:
    """A band from each drop until what can be rented is back."""
    import altair as alt

    if not drops:
        return []
    rows = [
        {
            "t": drop.drop_s / unit.seconds,
            "back": min(drop.back_s, end_s) / unit.seconds,
            "label": "+".join(drop.gpu_types) + (" fall" if len(drop.gpu_types) > 1 else " falls"),
        }
        for drop in drops
        if drop.drop_s < end_s
    ]
    chart = alt.Chart(_data(rows))
    marks = [
        chart.mark_rect(color=_DROP, opacity=0.08).encode(x, x2="back:Q"),
        chart.mark_rule(color=_DROP, strokeDash=[2, 2]).encode(x),
    ]
    if is_labelled:
        chart = alt.Chart(_data(_with_room(rows, end_s / unit.seconds)))
        text = chart.mark_text(align="left", baseline="bottom", dx=3, dy=-2, fontSize=FONT_SIZE, color=_DROP)
        marks.append(text.encode(x, y=alt.value(0), text="label:N"))
    return marks


def _mark_replans(
    replans_s: Sequence[float], unit: Unit, end_s: float, x: alt.X, *, is_labelled: bool
) -> list[alt.Chart]:
    """A line where a new plan took effect."""
    import altair as alt

    if not replans_s:
        return []
    rows = [{"t": t / unit.seconds, "label": "new plan"} for t in replans_s]
    chart = alt.Chart(_data(rows))
    marks = [chart.mark_rule(color=_REPLAN, strokeWidth=1).encode(x)]
    if is_labelled:
        chart = alt.Chart(_data(_with_room(rows, end_s / unit.seconds)))
        text = chart.mark_text(align="left", baseline="top", dx=3, dy=3, fontSize=FONT_SIZE, color=_REPLAN)
        marks.append(text.encode(x, y=alt.value(0), text="label:N"))
    return marks


def _with_room(rows: Sequence[dict[str, Any]], end: float) -> list[dict[str, Any]]:
    """The marks whose labels, written to their right, do not run into one another or out of the panel."""
    kept: list[dict[str, Any]] = []
    free = 0.0
    for row in rows:
        width = _CHARACTER * FONT_SIZE * len(row["label"]) / _WIDTH * end
        if free <= row["t"] <= end - width:
            kept.append(row)
            free = row["t"] + width
    return kept


def _data(rows: Iterable[Mapping[str, Any]]) -> alt.InlineData:
    import altair as alt

    return alt.InlineData(values=[dict(row) for row in rows])
