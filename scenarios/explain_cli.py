"""The commands `hetserve explain` and `hetserve frontier`: why this plan, and what another budget would buy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scenarios.cli_options import (
    NoPlan,
    check_can_write,
    json_option,
    planner_choice,
    planner_option,
    print_json,
    print_tables,
    progress_option,
    replace_option,
    scenario_options,
    seed_option,
    writing,
)
from scenarios.errors import RunError

if TYPE_CHECKING:
    from planners.explain import Explanation
    from planners.frontier import FrontierPoint
    from scenarios.runs.job import Job

MAX_BUDGETS = 1000

_ROUNDING = 1e-12  # (0.3 - 0.1) / 0.1 is less than 2


@click.command()
@click.argument("file", metavar="PLAN|FILE")
@click.option("--scenario", metavar="NAME", help="One of the file's scenarios (lists of overrides).")
@click.option("--set", "sets", metavar="PATH=VALUE", multiple=True, help="Change a field of the scenario.")
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
    from planners import get_planner
    from planners.explain import N_CONFIGURATIONS, explain_plan
    from scenarios.file.load import load
    from scenarios.report.progress import ProgressBar
    from scenarios.study.explain import plan_as_printed, plan_of, prepare_wide, read_kept_plan, why_unable

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
        if kept is None:
            plan = plan_as_printed(loaded, seed, choice, job.problem)
        else:
            plan = plan_of(kept, job.problem, Path(file))
        explanation = explain_plan(
            job.problem,
            get_planner(choice.name, choice.options),
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
    from scenarios.report import explain as report

    click.echo(report.headline(explanation, job.problem) + "\n")
    print_tables(report.limits_table(explanation))
    _say(report.remarks_on_limits(explanation))
    if explanation.demands:
        print_tables(report.demands_table(explanation))
        _say(report.remarks_on_demands(explanation))
    if explanation.configurations:
        print_tables(report.configurations_table(explanation, is_complete=is_complete))
        dominated = None if is_complete else report.dominated_table(explanation)
        if dominated is not None:
            print_tables(dominated)
    _say(report.remarks_on_configurations(explanation, is_complete=is_complete))


def _say(sentences: Sequence[str]) -> None:
    if sentences:
        click.echo("\n".join(sentences) + "\n")


def _budgets(ctx: click.Context, param: click.Parameter, text: str) -> tuple[float, ...]:
    """The budgets of `START:STOP:STEP`, both ends included; or of one number."""
    try:
        numbers = [float(part) for part in text.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers = [numbers[0], numbers[0], 1.0]
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        problem = "is not START:STOP:STEP in $/h, as in 10:100:10"
    elif numbers[0] < 0:
        problem = f"starts at {numbers[0]:g} $/h; a budget is 0 or more"
    elif numbers[1] < numbers[0]:
        problem = f"stops at {numbers[1]:g} $/h, before it starts at {numbers[0]:g}"
    elif numbers[2] <= 0:
        problem = f"has the step {numbers[2]:g} $/h; it must be more than 0"
    else:
        start, stop, step = numbers
        n = math.floor((stop - start) / step * (1 + _ROUNDING)) + 1
        if n <= MAX_BUDGETS:
            return tuple(round(start + i * step, 9) for i in range(n))
        problem = f"makes {n:,} budgets; at most {MAX_BUDGETS:,} are planned for"
    msg = f"{text!r} {problem}"
    raise click.BadParameter(msg, ctx, param)


@click.command()
@scenario_options
@click.option("--budget", "budgets", metavar="START:STOP:STEP", required=True, callback=_budgets,
              help="Budgets in $/h, as in 10:100:10.")  # fmt: skip
@click.option("--planner", "names", metavar="NAME", multiple=True,
              help="Instead of the scenario's; may be repeated.")  # fmt: skip
@seed_option
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the points to FILE.")  # fmt: skip
@click.option("--plot", "plot_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Draw them to FILE, an .svg or a .png.")  # fmt: skip
@replace_option
@json_option
@progress_option
def frontier(
    file: str, scenario: str | None, sets: Sequence[str], budgets: tuple[float, ...], names: Sequence[str],
    seed: int | None, csv_file: Path | None, plot_file: Path | None, force: bool, as_json: bool, progress: bool | None,
) -> None:  # fmt: skip
    """Say what each planner gets for different budgets, without a simulation.

    FILE is a scenario file, or the name of a scenario of the library.
    """
    from planners import get_planner
    from planners.frontier import plan_frontier
    from scenarios.file.load import load
    from scenarios.report.progress import ProgressBar
    from scenarios.study.explain import prepare_for_budget

    if plot_file is not None:
        from scenarios.report.plotting import check_can_plot

        check_can_plot(plot_file)
    for path in (csv_file, plot_file):
        if path is not None:
            check_can_write(path, force=force)
    loaded = load(file, scenario, sets)
    choices = [planner_choice(loaded, name) for name in names] or loaded.scenario.planners
    with ProgressBar(is_wanted=progress) as bar:
        bar.stage("requests and capacities")
        job = prepare_for_budget(loaded, loaded.scenario.seeds[0] if seed is None else seed, budgets[-1])
        planners = {choice.label: get_planner(choice.name, choice.options) for choice in choices}
        points = plan_frontier(job.problem, planners, budgets, lambda what: bar.stage(f"planning: {what}"))
    _report_frontier(points, job, csv_file, plot_file, as_json=as_json)
    if not any(point.objective is not None for point in points):
        raise NoPlan(dict.fromkeys(f"{point.planner}: {reason}" for point in points for reason in point.reasons))


def _report_frontier(
    points: Sequence[FrontierPoint], job: Job, csv_file: Path | None, plot_file: Path | None, *, as_json: bool
) -> None:
    from scenarios.report import frontier as report

    objective = job.problem.objective
    if as_json:
        print_json(report.to_dicts(points))
    else:
        print_tables(*report.frontier_tables(points, objective))
        for line in report.without_plan(points):
            click.echo(line)
    if csv_file is not None:
        with writing(csv_file):
            report.to_frame(points).write_csv(csv_file)
    if plot_file is not None:
        with writing(plot_file):
            report.save_plot(points, objective, job.loaded.label, plot_file)
    for path in (csv_file, plot_file):
        if path is not None and not as_json:
            click.echo(f"Written: {path}")
