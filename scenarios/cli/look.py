"""The commands that look closer: `hetserve show` and `capacity`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from scenarios.cli.options import json_option, progress_option, scenario_options, seed_option, seeds_of
from scenarios.cli.printing import print_json, print_tables
from scenarios.file.load import load
from scenarios.report.capacity import capacity_tables
from scenarios.report.progress import ProgressBar
from scenarios.report.stress import run_tables
from scenarios.report.tables import metrics_table
from scenarios.runs.directory import run_directories
from scenarios.runs.job import Job
from scenarios.runs.series import read_rows
from scenarios.study.capacities import compare_capacities, to_dict
from scenarios.study.compare import Comparison
from scenarios.study.stress import read_stress


@click.command()
@scenario_options
@seed_option
@json_option
@progress_option
def capacity(
    file: str, scenario: str | None, sets: Sequence[str], seed: int | None, as_json: bool, progress: bool | None
) -> None:
    """Say how far the capacities that planners reckon with are from the simulator's.

    Each candidate is simulated with each workload type and with the mix, and those that the planner milp rents with the
    mix that it gives them. Of a scenario with a deployment, its replicas are. That takes a while the first time: what
    was measured is kept in the user's cache directory.
    """
    loaded = load(file, scenario, sets)
    with ProgressBar(is_wanted=progress) as bar:
        bar.stage("requests and candidates")
        rows = compare_capacities(Job.prepare(loaded, seeds_of(loaded, seed)[0]), bar)
    if as_json:
        print_json(to_dict(rows))
    else:
        print_tables(*capacity_tables(rows))


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@json_option
def show(directory: Path, as_json: bool) -> None:
    """Print all metrics of the finished runs in DIR; on a market that moves, also what its drops did to them."""
    rows = read_rows([directory])
    stress = read_stress(run_directories(directory))
    if as_json:
        data = Comparison.of(rows).to_dict()
        print_json(data | {"stress": [row.to_dict() for row in stress]} if stress else data)
    else:
        print_tables(*(metrics_table(row) for row in rows))
        print_tables(*(table for row in stress for table in run_tables(row)))
