"""Why the baseline rents what it rents: its first plan, explained by planning again, within some time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from planners import PlannerError
from planners.questions.explain import explain_plan
from scenarios.errors import RunError, ScenarioError
from scenarios.inputs.settings import basis_of
from scenarios.report import explain as report
from scenarios.report.html.figures import Question
from scenarios.report.html.table import Table, from_rich
from scenarios.runs.plan import planner_of
from scenarios.study.explain import plan_of, prepare_wide, read_kept_plan, why_unable
from sim import SimError
from traces import TraceError

_N_CONFIGURATIONS = 5  # to force into the plan, each a re-solve


class Why(NamedTuple):
    """Whose plan it is, and what is said of it: sentences and tables."""

    planner: str
    seed: int
    sentences: list[str]
    tables: list[Table]


class _TimeUpError(Exception):
    """Explaining takes too long."""


def why(question: Question, limit_s: float) -> Why:
    """The explanation of the baseline's plan, or the reason why there is none.

    Args:
        question: The runs.
        limit_s: No re-solve begins after that time; 0: nothing is explained.
    """
    baseline = question.comparison.baseline
    pairs = zip(question.rows, question.directories, strict=True)
    row, directory = next((row, directory) for row, directory in pairs if row.planner == baseline)
    if limit_s <= 0:
        return Why(baseline, row.seed, ["Nothing was planned again for this report."], [])
    until_s = time.monotonic() + limit_s

    def watch(_: str) -> None:
        if time.monotonic() > until_s:
            raise _TimeUpError

    try:
        sentences, tables = _explain(directory, baseline, watch)
    except _TimeUpError:
        return Why(baseline, row.seed, [f"Planning again took more than {limit_s:g} s, and was given up."], [])
    except (RunError, ScenarioError, PlannerError, TraceError, SimError) as error:
        return Why(baseline, row.seed, [f"The plan cannot be explained here: {error}"], [])
    return Why(baseline, row.seed, sentences, tables)


def _explain(directory: Path, label: str, watch: Callable[[str], None]) -> tuple[list[str], list[Table]]:
    kept = read_kept_plan(directory / "plans.json")
    choice = next((one for one in kept.loaded.scenario.planners if one.label == label), kept.choice)
    job = prepare_wide(kept.loaded, kept.seed)
    watch("")
    explanation = explain_plan(
        job.problem_of(choice),
        planner_of(choice),
        plan_of(kept, job.problem_of(choice), directory / "plans.json"),
        n_configurations=_N_CONFIGURATIONS,
        why_unable=why_unable(job),
        watch=watch,
    )
    tables = [report.limits_table(explanation, basis_of(kept.loaded))]
    if explanation.demands:
        tables.append(report.demands_table(explanation))
    if explanation.configurations:
        tables.append(report.configurations_table(explanation, is_complete=False))
        dominated = report.dominated_table(explanation)
        if dominated is not None:
            tables.append(dominated)
    sentences = [
        *report.headline(explanation, job.problem).split("\n"),
        *report.remarks_on_limits(explanation),
        *(report.remarks_on_demands(explanation) if explanation.demands else []),
        *report.remarks_on_configurations(explanation, is_complete=False),
    ]
    return sentences, [from_rich(table) for table in tables]
