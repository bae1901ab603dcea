"""The page: figures, tables and charts of the runs, put into the template."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scenarios.errors import RunError
from scenarios.report.html import content, market
from scenarios.report.html.charts import Chart, cost_chart, css, distribution_chart, over_time
from scenarios.report.html.figures import Question, distribution_of, limits_of, points_of, questions_of
from scenarios.report.html.table import Table, from_rich
from scenarios.report.html.why import Why, why
from scenarios.report.panels import Mark, marks_of, unit_of
from scenarios.report.plotting import check_can_draw
from scenarios.report.summary import tables_over_scenarios
from scenarios.report.timeline import comparison_panels, events_of, replans_of, run_panels
from scenarios.runs.directory import run_directories
from scenarios.runs.series import read_rows
from scenarios.runs.watcher import Watcher
from scenarios.study.compare import Comparison
from scenarios.study.stress import case_of, read_drops
from sim import SLO, SimulationResult
from sim.results.drops import Drop, drops_of

EXPLAIN_S = 60.0

_PARTS = Path(__file__).parent
_DISTRIBUTIONS = (
    ("ttft_s", "time to first token", ("s", 1.0)),
    ("tpot_s", "time per output token", ("ms", 1e3)),
    ("e2e_s", "whole time", ("s", 1.0)),
)
_BUNDLED = "window.vegaEmbed = vegaEmbed;"
_MOST_MARKS = 12  # that are listed above a chart
_POINTS, _MOST_POINTS, _LEAST_POINTS = 1_400, 140, 50  # of a line: of all runs together, and of one


class Happening(NamedTuple):
    """What is marked in charts, in words."""

    text: str
    is_drop: bool


class Shown(NamedTuple):
    """What is shown of a seed, or of one run: charts, and what is marked in them."""

    planner: str
    seed: int
    charts: Sequence[Chart]
    happenings: Sequence[Happening] = ()


class Part(NamedTuple):
    """All that the page shows of one scenario."""

    question: Question
    colours: dict[str, tuple[str, tuple[int, ...]]]
    costs: Sequence[Chart]
    distributions: Sequence[Shown]
    comparisons: Sequence[Shown]
    runs: Sequence[Shown]
    why: Why


def check_can_report() -> None:
    """Make sure that the packages are there.

    Raises:
        RunError: One is missing.
    """
    check_can_draw()
    if importlib.util.find_spec("jinja2") is None:
        msg = "reports need the optional package jinja2: pip install jinja2"
        raise RunError(msg)


def make_page(
    directory: Path,
    *,
    baseline: str | None = None,
    explain_s: float = EXPLAIN_S,
    watcher: Watcher | None = None,
) -> str:
    """The report of all finished runs in a directory; the same for the same runs, if no explanation takes too long.

    Args:
        directory: Where the runs are.
        baseline: Whom to compare with, and whose plan is explained; by default the first planner that has a run.
        explain_s: Time that explaining one plan may take; there is one of each scenario.
        watcher: Told how it goes.

    Raises:
        RunError: There are no runs, a package is missing, or no run is of the baseline.
    """
    check_can_report()
    watcher = Watcher() if watcher is None else watcher
    watcher.stage("reading the runs")
    directories = run_directories(directory)
    rows = read_rows([directory])
    questions = questions_of(rows, directories, baseline)
    n_points = max(_LEAST_POINTS, min(_MOST_POINTS, _POINTS // len(rows)))
    parts = [_part(question, n_points, explain_s, watcher) for question in questions]
    return _render(
        parts=parts,
        over_scenarios=_over_scenarios(questions, baseline),
        n_runs=len(rows),
        index=[
            {
                "label": question.label,
                "planners": list(question.planners),
                "seeds": [str(seed) for seed in question.seeds],
                "baseline": question.comparison.baseline,
            }
            for question in questions
        ],
    )


def _over_scenarios(questions: Sequence[Question], baseline: str | None) -> list[Table]:
    """What is told of the planners over all scenarios, if there are several."""
    if len(questions) < 2:
        return []
    comparison = Comparison.of([row for question in questions for row in question.rows], baseline)
    return [from_rich(table) for table in tables_over_scenarios(comparison, len(questions))]


def _part(question: Question, n_points: int, explain_s: float, watcher: Watcher) -> Part:
    watcher.stage(f"{question.label}: figures and charts")
    slo = SLO.from_dict(question.manifest["slo"])
    costs = []
    for latency, heading in content.COST_LATENCIES.items():
        points = points_of(question, content.COST, latency)
        limits = limits_of(slo, latency.rpartition("_")[0])
        of_all = [limit for model, limit in limits if not model]  # as the latency is
        if points:
            costs.append(cost_chart(question, points, heading, of_all))
    distributions, comparisons, runs = [], [], []
    for seed in question.seeds:
        results = question.results(seed)
        distributions.append(Shown("", seed, _distributions(question, results, slo)))
        lasting = {planner: result for planner, result in results.items() if result.manifest["end_s"] > 0}
        if lasting:
            of_seed = question.of_seed(seed)
            drops = read_drops([of_seed[planner] for planner in lasting])
            comparisons.append(_compared(seed, lasting, drops[case_of(next(iter(lasting.values())))], n_points))
        runs += [_run(planner, seed, result, n_points) for planner, result in lasting.items()]
    colours = {one: (css(question.colour(one)), question.dash(one)) for one in question.planners}
    watcher.stage(f"{question.label}: explaining the plan of {question.comparison.baseline}")
    return Part(question, colours, costs, distributions, comparisons, runs, why(question, explain_s))


def _distributions(question: Question, results: dict[str, SimulationResult], slo: SLO) -> list[Chart]:
    return [
        distribution_chart(question, found, heading, limits_of(slo, latency), unit)
        for latency, heading, unit in _DISTRIBUTIONS
        if (found := distribution_of(results, latency)) is not None
    ]


def _compared(seed: int, results: dict[str, SimulationResult], drops: Sequence[Drop], n_points: int) -> Shown:
    longest = max(results.values(), key=lambda result: float(result.manifest["end_s"]))
    end_s, start = float(longest.manifest["end_s"]), longest.manifest.get("start")
    panels = comparison_panels(results, drops, n_points)
    marks = marks_of(drops, (), end_s, events_of(longest))
    return Shown("", seed, over_time(panels, marks, end_s, start, list(results)), _happenings(marks, end_s))


def _run(planner: str, seed: int, result: SimulationResult, n_points: int) -> Shown:
    end_s, start = float(result.manifest["end_s"]), result.manifest.get("start")
    marks = marks_of(drops_of(result), replans_of(result), end_s, events_of(result))
    charts = over_time(run_panels(result, n_points), marks, end_s, start)
    return Shown(planner, seed, charts, _happenings(marks, end_s))


def _happenings(marks: Sequence[Mark], end_s: float) -> list[Happening]:
    unit = unit_of(end_s)
    found = []
    for mark in marks:
        text = f"{mark.label}: {mark.t_s / unit.seconds:.4g}"
        if mark.until_s is not None:
            text += f" to {mark.until_s / unit.seconds:.4g}"
        found.append(Happening(f"{text} {unit.name}", mark.until_s is not None))
    more = len(found) - _MOST_MARKS
    return found if more <= 0 else [*found[:_MOST_MARKS], Happening(f"and {more} more", is_drop=False)]


def _render(**values: Any) -> str:
    import jinja2
    import vl_convert

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    return environment.get_template("page.html.j2").render(
        **values,
        content=content,
        market=market,
        style=(_PARTS / "page.css").read_text(encoding="utf-8"),
        script=_in_script((_PARTS / "page.js").read_text(encoding="utf-8")),
        bundle=_in_script(vl_convert.javascript_bundle(_BUNDLED)),
    )


def _in_script(code: str) -> str:
    """JavaScript that ends no script element."""
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")
