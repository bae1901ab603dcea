"""The largest load of a fleet for people: a table, sentences, and a plot with the optional extra `report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Table

from scenarios.report.plotting import COLOURS, FONT_SIZE, save, to_config
from scenarios.report.tables import estimate, mean_share, number, table_of
from scenarios.study.compare import Estimate
from scenarios.study.max_rate import LoadPoint, MaxRate

if TYPE_CHECKING:
    import altair as alt

_WIDTH, _HEIGHT = 320, 240  # pixels of one panel
_FEW_REQUESTS_S = 60.0


def loads_table(found: MaxRate) -> Table:
    """The loads that were tried, and how they were served."""
    has_users = found.search.is_whole
    headers = [
        "users" if has_users else "load\nx offered",
        *([] if has_users else ["offered\nreq/s"]),
        "for\ns",
        "throughput\nreq/s",
        f"within SLO\ngoal {100 * found.search.goal:g} %",
        "seeds\nwithin goal",
        "TTFT s\np50 / p99",
        "TPOT ms\np50 / p99",
    ]
    seeds = f": means over {len(found.seeds)} seeds, ± their 95 % interval" if len(found.seeds) > 1 else ""
    rows = [_row(found, point) for point in found.points]
    return table_of(f"Loads that were tried on {fleet_in_words(found)}{seeds}", headers, rows, n_left=0)


def fleet_in_words(found: MaxRate) -> str:
    """What runs, and its price."""
    plan = found.fleet.plan
    fleet = ", ".join(f"{entry['count']} x {entry['name']}" for entry in plan["fleet"])
    return f"{fleet} ({found.fleet.name}, {plan['usd_per_h']:,.2f} $/h)"


def _row(found: MaxRate, point: LoadPoint) -> Sequence[str]:
    offered = Estimate.of([rps for rps in point.offered_rps if rps is not None])
    n_met = sum(attainment >= found.search.goal for attainment in point.attainments)
    return [
        f"{point.load:g}",
        *([] if found.search.is_whole else [estimate(offered, 2)]),
        number(sum(point.duration_s) / len(point.duration_s), 0),
        estimate(point.mean("throughput_rps"), 2),
        mean_share(point.mean("slo_attainment")),
        f"{n_met} of {len(found.seeds)}",
        _pair(point, "ttft_s", 2),
        _pair(point, "tpot_s", 0, 1e3),
    ]


def _pair(point: LoadPoint, time: str, digits: int, factor: float = 1.0) -> str:
    found = [point.mean(f"{time}_{q}") for q in ("p50", "p99")]
    return " / ".join(number(None if one is None else one.mean, digits, factor) for one in found)


def largest_lines(found: MaxRate) -> list[str]:
    """The largest load in words, and what is to be known of it."""
    goal = f"with {100 * found.search.goal:g} % of the requests within the SLO"
    whole = found.search.is_whole
    lines = []
    if found.mean is None:
        most = found.points[-1].load
        load = f"{most:g} users" if whole else f"{most:g} x the offered requests"
        n_all, n_seeds = sum(one is None for one in found.largest), len(found.seeds)
        whose = "" if n_all == n_seeds else f" with {n_all} of {n_seeds} seeds"
        lines.append(f"Largest load: not found; {load}, the most that was tried, is carried{whose} {goal}")
    elif found.mean_rps is None:
        lines.append(f"Largest load {goal}: {estimate(found.mean, 1)} users")
    else:
        rate = f"{estimate(found.mean_rps, 2)} req/s"
        lines.append(f"Largest load {goal}: {estimate(found.mean, 3)} x the offered requests, {rate}")
    lines += _remarks(found)
    return lines


def _remarks(found: MaxRate) -> list[str]:
    lines = []
    n_none = sum(load == 0 for load in found.largest)
    if n_none > 0:
        lines.append(f"With {n_none} of {len(found.seeds)} seeds no load that was tried is carried, which counts as 0")
    if len(found.seeds) == 1:
        lines.append("One seed says nothing of chance: give several with --seed")
    if found.uneven_seeds:
        seeds = ", ".join(map(str, found.uneven_seeds))
        lines.append(f"Met again at a larger load than one that missed the goal, which is not counted: seeds {seeds}")
    shortest_s = min(min(point.duration_s) for point in found.points)
    if shortest_s < _FEW_REQUESTS_S and not found.search.is_whole:
        lines.append(
            f"At the largest loads the requests come within {shortest_s:.0f} s: too few to see a queue grow; "
            "give more of them"
        )
    return lines


class _Panel(NamedTuple):
    title: str
    lines: Sequence[tuple[str, str, float]]  # label, metric, factor
    mark: float | None = None


def plot(found: MaxRate) -> alt.HConcatChart:
    """Attainment and latencies over the load, in the mean over seeds; the largest load is marked."""
    import altair as alt

    panels = [
        _Panel("within SLO, %", [("", "slo_attainment", 100.0)], 100 * found.search.goal),
        _Panel("TTFT, s", [("p50", "ttft_s_p50", 1.0), ("p99", "ttft_s_p99", 1.0)]),
        _Panel("TPOT, ms", [("p50", "tpot_s_p50", 1e3), ("p99", "tpot_s_p99", 1e3)]),
    ]
    subtitle = largest_lines(found)[0]
    heading = alt.TitleParams(
        f"{found.scenario}: {fleet_in_words(found)}", subtitle=subtitle, anchor="start", fontSize=15, offset=15
    )
    charts = [_draw(found, panel) for panel in panels]
    return alt.HConcatChart(hconcat=charts, spacing=30, title=heading, config=to_config())


def save_plot(found: MaxRate, path: Path) -> None:
    """Write `plot` to an SVG or PNG."""
    save(plot(found), path)


def _draw(found: MaxRate, panel: _Panel) -> alt.LayerChart:
    import altair as alt

    unit = "users" if found.search.is_whole else "x the offered requests"
    axis = alt.Axis(grid=False, labelFlush=False, tickCount=5)
    x = alt.X("load:Q", title=unit, axis=axis, scale=alt.Scale(zero=False))
    y = alt.Y("value:Q", title=None)
    layers: list[alt.Chart] = []
    if found.mean is not None:
        rule = alt.Chart(_data([{"load": found.mean.mean}])).mark_rule(strokeDash=[4, 3], color="#8c8c8c")
        layers.append(rule.encode(x))
    if panel.mark is not None:
        level = alt.Chart(_data([{"value": panel.mark}])).mark_rule(strokeDash=[4, 3], color="#8c8c8c")
        layers.append(level.encode(y))
    for i, (label, metric, factor) in enumerate(panel.lines):
        means = [(point.load, point.mean(metric)) for point in found.points]
        rows = [{"load": load, "value": factor * mean.mean} for load, mean in means if mean is not None]
        line = alt.Chart(_data(rows)).mark_line(color=COLOURS[i], point=alt.OverlayMarkDef(size=25, color=COLOURS[i]))
        layers.append(line.encode(x, y))
        end = alt.Chart(_data([row | {"label": label} for row in rows[-1:]]))
        text = end.mark_text(align="left", dx=6, fontSize=FONT_SIZE, color=COLOURS[i])
        layers.append(text.encode(x, y, text="label:N"))
    title = alt.TitleParams(panel.title, anchor="start", frame="group", fontSize=FONT_SIZE, fontWeight="normal")
    return alt.LayerChart(layer=layers, width=_WIDTH, height=_HEIGHT, title=title)


def _data(rows: Sequence[dict[str, Any]]) -> alt.InlineData:
    import altair as alt

    return alt.InlineData(values=list(rows))
