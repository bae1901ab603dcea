"""Pictures of runs over time: one run in panels, or several side by side. They need the optional extra `report`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from scenarios.errors import RunError
from scenarios.report.panels import DASHED, GREY, Line, Panel, marks_of, stack
from scenarios.report.plotting import COLOURS, DASHES, check_can_draw, colour_of, dash_of
from scenarios.runs.directory import read_result
from scenarios.study.compare import Comparison
from scenarios.study.stress import case_of, read_drops
from sim import SLO, SimulationResult, compute_stress, compute_timeline
from sim.results.drops import Drop, drops_of

if TYPE_CHECKING:
    import altair as alt

N_INTERVALS = 380
"""Of a line; a picture of 760 pixels shows no more."""

_STEPS_S = (0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_N_RATES = 60  # most steps of shares and rates
_LEAST_ARRIVALS = 5  # mean number of a step: shares of fewer are noise

_BLUE, _RED, _GREEN = COLOURS[0], COLOURS[1], COLOURS[2]
_MOST_RUNS = len(COLOURS) * len(DASHES)


def plot(what: SimulationResult | Comparison) -> alt.VConcatChart:
    """A run over time, or all runs of a comparison of one scenario and seed side by side.

    Raises:
        RunError: The optional packages are missing, or there is nothing to draw, or too much.
    """
    check_can_draw()
    if isinstance(what, SimulationResult):
        _check_lasts(what, "the run")
        return picture(what, title_of(what))
    directories = [row.directory for row in what.rows if row.directory is not None]
    if not directories:
        msg = "the comparison has no run to draw"
        raise RunError(msg)
    return draw(Path(next(row.kept_in for row in what.rows if row.directory is not None)), directories)


def draw(directory: Path, directories: Sequence[Path]) -> alt.VConcatChart:
    """All runs in a directory: one alone, or several of one scenario and seed side by side.

    Raises:
        RunError: They are of different scenarios or seeds, too many, or nothing happens in one.
    """
    results = [read_result(one) for one in directories]
    for one, result in zip(directories, results, strict=True):
        _check_lasts(result, str(one))
    cases = sorted({case_of(result) for result in results})
    if len(cases) > 1:
        listed = ", ".join(f"{scenario} with seed {seed}" for scenario, seed in cases)
        msg = f"{directory} holds runs of {listed}: one scenario and one seed can be drawn at a time"
        raise RunError(msg)
    if len(results) == 1:
        return picture(results[0], title_of(results[0]))
    ((scenario, seed),) = cases
    labelled = {str(result.manifest["planner"]): result for result in results}
    if len(labelled) < len(results) or len(labelled) > _MOST_RUNS:
        msg = f"{directory} holds {len(results)} runs; up to {_MOST_RUNS} of different planners"
        raise RunError(msg)
    (drops,) = read_drops(directories).values()
    return comparison(labelled, drops, f"{scenario}, seed {seed}")


def _check_lasts(result: SimulationResult, name: str) -> None:
    if not result.manifest["end_s"] > 0:
        msg = f"{name} has nothing to draw: the run ends when it begins"
        raise RunError(msg)


def title_of(result: SimulationResult) -> str:
    """Scenario, planner and seed, as far as the run knows them."""
    known = result.manifest
    parts = [str(known[name]) for name in ("scenario", "planner") if name in known]
    return ", ".join([*parts, *([f"seed {known['seed']}"] if "seed" in known else [])])


def picture(result: SimulationResult, title: str) -> alt.VConcatChart:
    """One run: GPUs of each type, requests, attainment and money, with the drops marked."""
    end_s = float(result.manifest["end_s"])
    marks = marks_of(drops_of(result), replans_of(result), end_s, events_of(result))
    return stack(run_panels(result), title, _summary(result), marks, end_s, result.manifest.get("start"))


def comparison(results: Mapping[str, SimulationResult], drops: Sequence[Drop], title: str) -> alt.VConcatChart:
    """Several runs on one market, a colour for each: attainment, requests that wait, and money."""
    longest = _longest(results)
    end_s = float(longest.manifest["end_s"])
    panels = comparison_panels(results, drops)
    marks = marks_of(drops, (), end_s, events_of(longest))
    return stack(panels, title, "", marks, end_s, longest.manifest.get("start"))


def replans_of(result: SimulationResult) -> list[float]:
    """When new plans took effect, in s."""
    return [float(replan["applied_s"]) for replan in result.manifest.get("replans") or ()]


def events_of(result: SimulationResult) -> list[dict[str, Any]]:
    """What happened in a run by its scenario, as its manifest says."""
    return list(result.manifest.get("events") or ())


def run_panels(result: SimulationResult, n_intervals: int = N_INTERVALS) -> list[Panel]:
    """What the picture of one run shows."""
    fine, coarse = _series(result, n_intervals)
    run, rates = (frame.filter(pl.col("gpu_type").is_null()) for frame in (fine, coarse))
    panels = []
    for gpu in fine["gpu_type"].drop_nulls().unique(maintain_order=True):
        of_gpu = fine.filter(gpu_type=gpu)
        if of_gpu["rented"].max():
            panels.append(_gpu_panel(gpu, of_gpu, _offered(result, gpu)))
    slo = SLO.from_dict(result.manifest.get("slo", {}))
    return [
        *panels,
        Panel("requests in the system", [_line(run, "running", _BLUE), _line(run, "waiting", _RED, is_area=True)]),
        Panel(
            "requests/s",
            [
                Line("arriving", _points(rates, pl.col("n_arrived") / pl.col("width_s")), GREY, is_step=True),
                _line(rates, "throughput_rps", _BLUE, "finishing", is_step=True),
            ],
        ),
        _attainment_panel({"": rates}, [Line("", (), _BLUE)], slo.attainment),
        Panel("price of what is rented, $/h", [_line(run, "usd_per_h", _BLUE, "", is_step=True)]),
        Panel("money so far, $", [_line(run, "usd", _BLUE, f"{run['usd'][-1] or 0.0:,.2f} $")]),
    ]


def comparison_panels(
    results: Mapping[str, SimulationResult], drops: Sequence[Drop], n_intervals: int = N_INTERVALS
) -> list[Panel]:
    """What the picture of several runs shows."""
    series = {name: _series(result, n_intervals) for name, result in results.items()}
    runs = {name: fine.filter(pl.col("gpu_type").is_null()) for name, (fine, _) in series.items()}
    rates = {name: coarse.filter(pl.col("gpu_type").is_null()) for name, (_, coarse) in series.items()}
    styles = [Line(name, (), colour_of(i), dash=dash_of(i)) for i, name in enumerate(results)]
    longest = _longest(results)
    goal = SLO.from_dict(longest.manifest.get("slo", {})).attainment

    def panel(
        heading: str, column: str, note: Callable[[pl.DataFrame], str] = lambda _: "", *, is_step: bool = False
    ) -> Panel:
        lines = [
            style._replace(points=_points(run, pl.col(column)), label=style.label + note(run), is_step=is_step)
            for style, run in zip(styles, runs.values(), strict=True)
        ]
        return Panel(heading, lines)

    greys = ("#555555", GREY, "#b0b0b0")
    falling = sorted({gpu for drop in drops for gpu in drop.gpu_types})
    offered = [
        Line(gpu, _offered(longest, gpu), greys[i % len(greys)], is_step=True, dash=DASHES[i // len(greys)])
        for i, gpu in enumerate(falling)
    ]
    return [
        *([Panel("GPUs that can be rented", offered)] if offered else []),
        _attainment_panel(rates, styles, goal),
        panel("requests that wait", "waiting"),
        panel("price of what is rented, $/h", "usd_per_h", is_step=True),
        panel("money so far, $", "usd", lambda run: f": {run['usd'][-1]:,.2f}"),
    ]


def _longest(results: Mapping[str, SimulationResult]) -> SimulationResult:
    return max(results.values(), key=lambda result: float(result.manifest["end_s"]))


def _series(result: SimulationResult, n_intervals: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The timeline as fine as a picture can show it, and one of steps that hold enough requests for shares of them."""
    step_s = rates_step_s(float(result.manifest["end_s"]), len(result.requests))
    return compute_timeline(result, n_intervals=n_intervals), compute_timeline(result, step_s=step_s)


def rates_step_s(end_s: float, n_requests: int) -> float:
    """The shortest round step of which a run has not too many, and in which enough requests arrive.

    >>> rates_step_s(660.0, 13_626), rates_step_s(900.0, 100), rates_step_s(86_400.0, 10**6)
    (15, 60, 1800)
    """
    least_s = max(end_s / _N_RATES, _LEAST_ARRIVALS * end_s / max(1, n_requests))
    return next((step_s for step_s in _STEPS_S if step_s >= least_s), least_s)


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
    idle, booting, lost = (stress[name] or 0.0 for name in ("usd_idle", "usd_booting", "usd_lost"))
    parts.append(f"{result.usd:,.2f} $, of which {idle:,.2f} idle, {booting:,.2f} booting, {lost:,.2f} on lost work")
    return "; ".join(parts)


def _offered(result: SimulationResult, gpu: str) -> list[tuple[float, float | None]]:
    """How many GPUs of a type there were, change by change; empty where there was no limit."""
    if result.availability is None:
        return []
    end_s = float(result.manifest["end_s"])
    changes: list[tuple[float, float | None]]
    in_time = (pl.col("gpu_type") == gpu) & (pl.col("t_s") <= end_s)
    changes = result.availability.filter(in_time).select("t_s", "count").rows()
    return [*changes, (end_s, changes[-1][1])] if changes else []


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
        lines.append(Line(label, offered, GREY, is_step=True, dash=DASHED))
    return Panel(f"{gpu} GPUs", lines, top)


def _attainment_panel(rates: Mapping[str, pl.DataFrame], styles: Sequence[Line], goal: float) -> Panel:
    lines = [
        style._replace(points=_points(frame, 100 * pl.col("slo_attainment")), is_step=True)
        for style, frame in zip(styles, rates.values(), strict=True)
    ]
    end_s = max(float(frame["t_s"][-1] + frame["width_s"][-1]) for frame in rates.values())
    goal_line = Line(f"goal {100 * goal:g} %", [(0.0, 100 * goal), (end_s, 100 * goal)], GREY, dash=DASHED)
    lowest = min((value for line in lines for _, value in line.points if value is not None), default=0.0)
    bottom = 10.0 * max(0.0, min(lowest, 100 * goal) // 10 - 1)
    return Panel("within the SLO, % of arrivals", [*lines, goal_line], 100.0, bottom)


def _line(
    frame: pl.DataFrame,
    column: str,
    colour: str,
    label: str | None = None,
    *,
    is_step: bool = False,
    is_area: bool = False,
) -> Line:
    return Line(column if label is None else label, _points(frame, pl.col(column)), colour, is_step, is_area)


def _points(frame: pl.DataFrame, value: pl.Expr) -> list[tuple[float, float | None]]:
    """A value over time, once more where it ends, so that the last interval before a gap is as wide as the others."""
    rows = frame.select("t_s", end_s=pl.col("t_s") + pl.col("width_s"), value=value.round(6)).rows()
    points = []
    for (t_s, end_s, this), following in zip(rows, [*(row[2] for row in rows[1:]), None], strict=True):
        points.append((t_s, this))
        if this is not None and following is None:
            points.append((end_s, this))
    return points
