"""The commands that look closer: `hetserve show`, `capacity` and `validate-run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from planners.problem.plan_json import plan_to_dict
from scenarios.cli.errors import NoPlan
from scenarios.cli.options import json_option, progress_option, scenario_options, seed_option, seeds_of
from scenarios.cli.printing import print_json, print_tables
from scenarios.file.load import load
from scenarios.report.capacity import capacity_tables
from scenarios.report.progress import ProgressBar
from scenarios.report.stress import run_tables
from scenarios.report.tables import metrics_table, validation_table
from scenarios.runs.directory import run_directories
from scenarios.runs.job import Job
from scenarios.runs.plan import planner_choice
from scenarios.runs.series import read_rows
from scenarios.study.capacities import compare_capacities, to_dict
from scenarios.study.compare import Comparison
from scenarios.study.stress import read_stress
from scenarios.study.validate_run import compare_with_real, read_replay


@click.command()
@scenario_options
@seed_option
@json_option
@progress_option
def capacity(
    file: str, scenario: str | None, sets: Sequence[str], seed: int | None, as_json: bool, progress: bool | None
) -> None:
    """Say how far the capacities that planners reckon with are from the simulator's.

    Each candidate is simulated with each workload type and with the mix. That takes a while the first time: what was
    measured is kept in the user's cache directory.
    """
    loaded = load(file, scenario, sets)
    with ProgressBar(is_wanted=progress) as bar:
        bar.stage("requests and candidates")
        rows = compare_capacities(Job.prepare(loaded, seeds_of(loaded, seed)[0]), bar)
    if as_json:
        print_json(to_dict(rows))
    else:
        print_tables(*capacity_tables(rows))


@click.command("validate-run")
@click.argument("replay", type=click.Path(dir_okay=False, exists=True, path_type=Path), metavar="REPLAY.csv")
@click.option("--scenario", "file", default="rtx4090_llama31_8b", show_default=True, metavar="FILE",
              help="What was run: model, GPUs and limits.")  # fmt: skip
@click.option("--planner", default="homogeneous", show_default=True, help="Gives the fleet that was run.")
@click.option("--set", "sets", metavar="PATH=VALUE", multiple=True, help="Change a field of the scenario.")
@json_option
def validate_run(replay: Path, file: str, planner: str, sets: Sequence[str], as_json: bool) -> None:
    """Replay a measured run, and print simulated against real.

    The columns of REPLAY.csv: arrival_s, input_tokens, output_tokens, real_ttft_s, real_tpot_ms, real_e2e_s.
    """
    loaded = load(file, None, sets)
    job = Job.prepare(loaded, loaded.scenario.seeds[0])
    plan_found = job.plan(planner_choice(loaded, planner))
    deployment = job.deployment(plan_found)
    if deployment is None:
        raise NoPlan(plan_found.diagnostics)
    measured = read_replay(replay, deployment.models[0])
    result = job.simulate(planner, deployment, plan_to_dict(plan_found), trace=measured.trace)
    comparison = compare_with_real(result, measured)
    if as_json:
        print_json(comparison.to_dicts())
    else:
        fleet = ", ".join(f"{count} x {spec.name}" for spec, count in deployment.replicas)
        print_tables(validation_table(comparison, f"{replay.name} on {fleet}"))


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
