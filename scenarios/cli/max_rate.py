"""The command `hetserve max-rate`: how much load a fleet carries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from scenarios.cli.errors import NoPlan
from scenarios.cli.options import (
    check_can_write,
    jobs_option,
    json_option,
    planner_option,
    progress_option,
    replace_option,
    scenario_options,
    writing,
)
from scenarios.cli.printing import print_json, print_lines, print_tables
from scenarios.cli.trace_options import trace_options
from scenarios.file.load import load
from scenarios.file.loaded import LoadedScenario
from scenarios.report import max_rate as report
from scenarios.report.plotting import check_can_plot
from scenarios.report.progress import ProgressBar
from scenarios.runs.plan import planner_choice
from scenarios.study.max_rate import GivenFleet
from scenarios.study.max_rate import max_rate as largest_load


@click.command("max-rate")
@scenario_options
@trace_options
@planner_option
@click.option("--plan", "plan_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Instead of planning: a fleet, from the plans.json of a run or plan --json.")  # fmt: skip
@click.option("--seed", "seeds", type=click.IntRange(min=0), multiple=True,
              help="Instead of the file's seeds; may be repeated.")  # fmt: skip
@click.option("--plot", "plot_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Draw attainment and latencies over the load to FILE, an .svg or a .png.")  # fmt: skip
@jobs_option
@replace_option
@json_option
@progress_option
def max_rate(
    file: str, scenario: str | None, sets: Sequence[str], planner: str | None, plan_file: Path | None,
    seeds: Sequence[int], plot_file: Path | None, jobs: int, force: bool, as_json: bool, progress: bool | None,
) -> None:  # fmt: skip
    """Say how much load a fleet carries within the SLO: the largest multiple of the requests, or number of users.

    FILE is a scenario file, or the name of a scenario of the library. The fleet is its deployment, that of a planner,
    or that of a plan. At most 12 loads are simulated, each with all seeds.
    """
    if planner is not None and plan_file is not None:
        msg = "--planner and --plan exclude each other"
        raise click.UsageError(msg)
    if plot_file is not None:
        check_can_plot(plot_file)
        check_can_write(plot_file, force=force)
    elif force:
        msg = "--force replaces the FILE of --plot, which is not given"
        raise click.UsageError(msg)
    loaded = load(file, scenario, sets)
    own_seeds = tuple(dict.fromkeys(seeds)) or loaded.scenario.seeds
    with ProgressBar(is_wanted=progress) as bar:
        bar.stage("requests and fleet")
        fleet = _fleet(loaded, planner, plan_file, own_seeds[0])
        found = largest_load(loaded, fleet, own_seeds, n_jobs=jobs, watcher=bar)
    if as_json:
        print_json(found.to_dict())
    else:
        print_tables(report.loads_table(found))
        print_lines(report.largest_lines(found))
    if plot_file is not None:
        with writing(plot_file):
            report.save_plot(found, plot_file)
        if not as_json:
            click.echo(f"Written: {plot_file}")


def _fleet(loaded: LoadedScenario, planner: str | None, plan_file: Path | None, seed: int) -> GivenFleet:
    """The fleet that is asked about.

    Raises:
        NoPlan: The planner rents nothing.
    """
    if plan_file is not None:
        return GivenFleet.of_file(loaded, plan_file, seed)
    name = planner or loaded.scenario.default_planner
    fleet = GivenFleet.of_planner(loaded, planner_choice(loaded, name), seed)
    if isinstance(fleet, GivenFleet):
        return fleet
    raise NoPlan([f"{name}: {reason}" for reason in fleet])
