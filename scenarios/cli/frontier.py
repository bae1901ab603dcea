"""The command `hetserve frontier`: what another budget would buy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import click

from planners.questions.frontier import FrontierPoint, plan_frontier
from scenarios.cli.errors import NoPlan
from scenarios.cli.options import (
    check_can_write,
    json_option,
    progress_option,
    replace_option,
    scenario_options,
    seed_option,
    writing,
)
from scenarios.cli.printing import print_json, print_tables
from scenarios.cli.trace_options import trace_options
from scenarios.file.load import load
from scenarios.report import frontier as report
from scenarios.report.plotting import check_can_plot
from scenarios.report.progress import ProgressBar
from scenarios.runs.job import Job
from scenarios.runs.plan import planner_choice, planner_of
from scenarios.study.explain import prepare_for_budget

MAX_BUDGETS = 1000


_ROUNDING = 1e-12  # (0.3 - 0.1) / 0.1 is less than 2


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
@trace_options
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
    if plot_file is not None:
        check_can_plot(plot_file)
    for path in (csv_file, plot_file):
        if path is not None:
            check_can_write(path, force=force)
    if force and csv_file is None and plot_file is None:
        msg = "--force replaces files of --csv and --plot, which are not given"
        raise click.UsageError(msg)
    loaded = load(file, scenario, sets)
    asked = names or [choice.label for choice in loaded.scenario.planners if not choice.is_fleet] or ["milp"]
    choices = [planner_choice(loaded, name) for name in asked]
    own = [choice.label for choice in choices if choice.objective not in {None, loaded.scenario.planning.objective}]
    if own:
        msg = f"one objective at a time: {', '.join(own)} plans for another one than planning.objective; name --planner"
        raise click.UsageError(msg)
    with ProgressBar(is_wanted=progress) as bar:
        bar.stage("requests and capacities")
        job = prepare_for_budget(loaded, loaded.scenario.seeds[0] if seed is None else seed, budgets[-1])
        job.say_notes(bar)
        planners = {choice.label: planner_of(choice) for choice in choices}
        points = plan_frontier(job.problem, planners, budgets, lambda what: bar.stage(f"planning: {what}"))
    _report_frontier(points, job, csv_file, plot_file, as_json=as_json)
    if not any(point.objective is not None for point in points):
        raise NoPlan(dict.fromkeys(f"{point.planner}: {reason}" for point in points for reason in point.reasons))


def _report_frontier(
    points: Sequence[FrontierPoint], job: Job, csv_file: Path | None, plot_file: Path | None, *, as_json: bool
) -> None:
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
