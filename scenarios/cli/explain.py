"""The command `hetserve explain`: why this plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from planners.questions.explain import N_CONFIGURATIONS, explain_plan
from planners.questions.explanation import Explanation
from scenarios.cli.errors import NoPlan
from scenarios.cli.options import json_option, planner_option, progress_option, seed_option
from scenarios.cli.printing import print_json, print_tables
from scenarios.cli.trace_options import trace_options
from scenarios.errors import RunError
from scenarios.file.load import load
from scenarios.inputs.settings import basis_of
from scenarios.report import explain as report
from scenarios.report.progress import ProgressBar
from scenarios.runs.job import Job
from scenarios.runs.plan import planner_choice, planner_of
from scenarios.study.explain import plan_as_printed, plan_of, prepare_wide, read_kept_plan, why_unable


@click.command()
@click.argument("file", metavar="PLAN|FILE")
@click.option("--scenario", metavar="NAME", help="One of the file's scenarios (lists of overrides).")
@click.option("--set", "sets", metavar="PATH=VALUE", multiple=True, help="Change a field of the scenario.")
@trace_options
@planner_option
@seed_option
@click.option("--configuration", "names", metavar="NAME", multiple=True,
              help="Why not this one, by its name as a replica? May be repeated.")  # fmt: skip
@click.option("--most", type=click.IntRange(min=0), metavar="N",
              help="Configurations to force into the plan, each a re-solve; 10 if not given.")  # fmt: skip
@json_option
@progress_option
def explain(
    file: str, scenario: str | None, sets: Sequence[str], planner: str | None, seed: int | None,
    names: Sequence[str], most: int | None, as_json: bool, progress: bool | None,
) -> None:  # fmt: skip
    """Say why a plan is as it is: what limits it, what more is worth, why not another configuration.

    PLAN is a plans.json that a run kept; FILE is a scenario file, or the name of a scenario of the library.
    Every answer comes from planning again with the same planner.
    """
    if names and most is not None:
        msg = "--configuration and --most exclude each other"
        raise click.UsageError(msg)
    if Path(file).is_dir():
        plans = next(iter(sorted(Path(file).rglob("plans.json"))), None)
        hint = "there is no plans.json in it" if plans is None else f"give a plan in it, such as {plans}"
        msg = f"{file} is a directory; {hint}"
        raise RunError(msg)
    kept = read_kept_plan(Path(file)) if file.endswith(".json") else None
    if kept is not None and (scenario or sets or planner or seed is not None):
        msg = "a PLAN has its own scenario, planner and seed; --scenario, --set, --planner, --seed go with a FILE"
        raise click.UsageError(msg)
    loaded = load(file, scenario, sets) if kept is None else kept.loaded
    choice = planner_choice(loaded, planner or "milp") if kept is None else kept.choice
    if kept is not None:
        seed = kept.seed
    elif seed is None:
        seed = loaded.scenario.seeds[0]
    with ProgressBar(is_wanted=progress) as bar:
        bar.stage("requests and capacities")
        job = prepare_wide(loaded, seed)
        job.say_notes(bar)
        if kept is None:
            plan = plan_as_printed(loaded, seed, choice, job.problem_of(choice))
        else:
            plan = plan_of(kept, job.problem_of(choice), Path(file))
        explanation = explain_plan(
            job.problem_of(choice),
            planner_of(choice),
            plan,
            names=names,
            n_configurations=N_CONFIGURATIONS if most is None else most,
            why_unable=why_unable(job),
            watch=lambda what: bar.stage(f"planning with {choice.label}: {what}"),
        )
    if as_json:
        print_json(explanation.to_dict(job.problem))
    else:
        _report(explanation, job, is_complete=bool(names))
    if explanation.plan.objective is None:
        raise NoPlan(f"{explanation.plan.planner}: {reason}" for reason in explanation.plan.diagnostics)


def _report(explanation: Explanation, job: Job, *, is_complete: bool) -> None:
    click.echo(report.headline(explanation, job.problem) + "\n")
    print_tables(report.limits_table(explanation, basis_of(job.loaded)))
    further = report.further_table(explanation)
    if further is not None:
        print_tables(further)
    _say(report.remarks_on_limits(explanation))
    if explanation.demands:
        print_tables(report.demands_table(explanation))
        _say(report.remarks_on_demands(explanation))
    variants = report.variants_table(explanation)
    if variants is not None:
        print_tables(variants)
    if explanation.configurations:
        print_tables(report.configurations_table(explanation, is_complete=is_complete))
        dominated = None if is_complete else report.dominated_table(explanation)
        if dominated is not None:
            print_tables(dominated)
    _say(report.remarks_on_configurations(explanation, is_complete=is_complete))


def _say(sentences: Sequence[str]) -> None:
    if sentences:
        click.echo("\n".join(sentences) + "\n")
