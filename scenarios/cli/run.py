"""The commands that plan and run one scenario: `hetserve demo`, `plan` and `run`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from planners import Plan, Termination
from planners import write_lp as write
from planners.fleets.shedding import penalty_usd_per_h
from planners.problem.plan_json import plan_to_dict
from scenarios.cli.errors import NoPlan
from scenarios.cli.options import (
    check_can_write,
    force_option,
    jobs_option,
    json_option,
    out_option,
    planner_option,
    progress_option,
    replace_option,
    scenario_options,
    seed_option,
    seeds_of,
    uncertainty_option,
    writing,
)
from scenarios.cli.printing import print_json, print_tables, reasons_of, report
from scenarios.cli.trace_options import trace_options
from scenarios.cli.weighing import weighed
from scenarios.file.load import load
from scenarios.file.loaded import LoadedScenario
from scenarios.file.schema import PlannerChoice
from scenarios.inputs.settings import basis_of
from scenarios.report.bursts import arrival_lines
from scenarios.report.plan_check import check_lines, check_tables
from scenarios.report.progress import ProgressBar
from scenarios.report.served import events_of, requests_line
from scenarios.report.tables import plan_tables
from scenarios.runs.directory import read_result
from scenarios.runs.job import Job, Scheduled, Served
from scenarios.runs.plan import planner_choice
from scenarios.runs.plan_file import deployment_to_dict
from scenarios.runs.row import Row
from scenarios.runs.series import run_rows
from scenarios.runs.serving import serving_of
from scenarios.study.plan_check import check_delivery
from scenarios.study.promises import Promises, promises


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Where results are kept.")
@json_option
@progress_option
def demo(out: Path | None, as_json: bool, progress: bool | None) -> None:
    """Compare four planners on one question: which GPUs for Llama-3-70B at 30 $/h?"""
    out = _unused(Path("runs/demo")) if out is None else out
    loaded = load("demo")
    if not as_json:
        click.echo(loaded.scenario.description)
    rows = _run(loaded, out, progress=progress)
    report(rows, None, "json" if as_json else "table")
    if not as_json:
        click.echo(f"\nResults: {out}")
        following = {
            "hetserve new my-scenario --template demo": "a copy of this question, to make it yours",
            "hetserve plan demo": "what the milp planner rents, and who serves what",
            f"hetserve show {out}": "all metrics",
        }
        width = max(map(len, following))
        for head, (command, meaning) in zip(("Next:", "", ""), following.items(), strict=True):
            click.echo(f"{head:8} {command:{width}}  {meaning}")


def _unused(directory: Path) -> Path:
    """The directory, with a number added if it exists."""
    candidate, n = directory, 1
    while candidate.exists():
        n += 1
        candidate = directory.with_name(f"{directory.name}-{n}")
    return candidate


@click.command()
@scenario_options
@trace_options
@planner_option
@seed_option
@click.option("--write-lp", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the linear program to FILE.")  # fmt: skip
@uncertainty_option
@click.option("--no-check", is_flag=True, help="Leave out the simulation that checks what the plan promises.")
@replace_option
@json_option
@progress_option
def plan(
    file: str, scenario: str | None, sets: Sequence[str], planner: str | None, seed: int | None, write_lp: Path | None,
    n_worlds: int | None, no_check: bool, force: bool, as_json: bool, progress: bool | None,
) -> None:  # fmt: skip
    """Say what to rent and which requests to send where, and check it in a short simulation.

    FILE is a scenario file, or the name of a scenario of the library.
    """
    if write_lp is not None:
        check_can_write(write_lp, force=force)
    elif force:
        msg = "--force replaces the FILE of --write-lp, which is not given"
        raise click.UsageError(msg)
    loaded = load(file, scenario, sets)
    planner = planner or loaded.scenario.default_planner
    with ProgressBar(is_wanted=progress) as bar:
        bar.stage("requests and capacities")
        job = Job.prepare(loaded, seeds_of(loaded, seed)[0])
        job.say_notes(bar)
        if write_lp is not None:
            with writing(write_lp):
                write(job.problem, write_lp)
        bar.stage(f"planning with {planner}")
        found = job.plan(planner_choice(loaded, planner))
        promised = None if n_worlds is None else promises(job, found, n_worlds)
        bar.stage("checking the plan")
        check = None if no_check else check_delivery(job, found)
    if as_json:
        deployment = found.deployment()
        data = plan_to_dict(found) | ({} if deployment is None else {"deployment": deployment_to_dict(deployment)})
        data |= {} if promised is None else {"uncertainty": promised.to_dict()}
        data |= {} if no_check else {"check": None if check is None else check.to_dict()}
        measured = {one.model: one.bursts for one in found.problem.demands}
        data |= {"arrivals": {model: bursts and asdict(bursts) for model, bursts in measured.items()}}
        data |= {"n_candidates": len(job.problem.candidates), "left_out": dict(job.problem.left_out)}
        data |= {"serving": _serving(job, found)}
        print_json(data | {"n_extrapolated": getattr(job.service_time, "n_extrapolated", 0)})
    elif found.objective is not None:
        _print_plan(job, found, promised)
        if not no_check:
            print_tables(*check_tables(check))
            click.echo("".join(f"{line}\n" for line in check_lines(check)), nl=False)
    if found.objective is None:
        raise NoPlan([f"{planner}: {reason}" for reason in found.diagnostics])


def _serving(job: Job, found: Plan) -> dict[str, Any] | None:
    """What the servers of a plan are to be told; None if it rents none, or none that is known."""
    deployment = found.deployment()
    return None if deployment is None else serving_of(job.loaded, deployment).model_dump()


def _print_plan(job: Job, found: Plan, promised: Promises | None) -> None:
    print_tables(*plan_tables(plan_to_dict(found), basis_of(job.loaded)))
    unit = {"throughput": "x the offered requests", "cost": "$/h"}.get(found.objective_name, "s")
    bound = "" if found.bound is None else f"; nothing beats {found.bound:.6g} (gap {100 * (found.gap or 0):.2g} %)"
    click.echo(f"{found.objective_name}: {found.objective:.6g} {unit}{bound}; {found.termination}")
    if promised is not None:
        click.echo(promised.in_words())
    shed_usd_per_h = penalty_usd_per_h(job.problem, found.assignment)
    if found.objective is not None and shed_usd_per_h > 0 and found.objective_name == "cost":
        fleet = f"{found.objective - shed_usd_per_h:.6g} $/h for the fleet"
        click.echo(f"of these, {fleet} and {shed_usd_per_h:.6g} $/h for what is shed")
    lines = (*job.too_long, *found.diagnostics, *arrival_lines(found.problem))
    click.echo("".join(f"{line}\n" for line in lines), nl=False)
    if found.termination is not Termination.GIVEN:
        left_out = ", ".join(f"{n} for {rule}" for rule, n in job.problem.left_out)
        click.echo(f"candidates: {len(job.problem.candidates)}" + (f"; left out: {left_out}" if left_out else ""))
    n_extrapolated = getattr(job.service_time, "n_extrapolated", 0)
    if n_extrapolated:
        click.echo(f"Service times outside of what was measured: {n_extrapolated:,}, asked for all candidates")


@click.command()
@scenario_options
@trace_options
@planner_option
@click.option("--plan", "plan_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Instead of planning: a fleet, from the plans.json of a run or plan --json.")  # fmt: skip
@seed_option
@uncertainty_option
@out_option
@force_option
@jobs_option
@json_option
@progress_option
def run(
    file: str, scenario: str | None, sets: Sequence[str], planner: str | None, plan_file: Path | None,
    seed: int | None, n_worlds: int | None, out: Path, jobs: int, force: bool, as_json: bool, progress: bool | None,
) -> None:  # fmt: skip
    """Plan with one planner and simulate its fleet.

    FILE is a scenario file, or the name of a scenario of the library.
    """
    if planner is not None and plan_file is not None:
        msg = "--planner and --plan exclude each other"
        raise click.UsageError(msg)
    loaded = load(file, scenario, sets)
    if plan_file is not None:
        rows = [_replay(loaded, plan_file, seed, out, force=force, jobs=jobs, progress=progress)]
    else:
        rows = _run(
            loaded,
            out,
            planner=planner or loaded.scenario.default_planner,
            seed=seed,
            force=force,
            jobs=jobs,
            progress=progress,
        )
    weighings = () if n_worlds is None else weighed(rows, n_worlds, jobs, progress=progress)
    report(rows, None, "json" if as_json else "table", _directories(rows), weighings=weighings)
    if not as_json:
        for row in rows:
            _say_what_was_served(row)
        click.echo(f"Results:  {out}")


def _directories(rows: Sequence[Row]) -> list[Path]:
    return [row.directory for row in rows if row.directory is not None]


def _say_what_was_served(row: Row) -> None:
    if row.directory is None:
        return
    result = read_result(row.directory)
    click.echo(f"Requests: {requests_line(row, result)}")
    for line in reasons_of(row):
        click.echo(f"          {line}")
    for line in events_of(result):
        click.echo(f"Market:   {line}")


def _run(
    loaded: LoadedScenario, out: Path, *, planner: str | None = None, seed: int | None = None,
    force: bool = False, jobs: int = 1, progress: bool | None = None,
) -> list[Row]:  # fmt: skip
    planners = None if planner is None else [planner_choice(loaded, planner)]
    check_can_write(out)
    with ProgressBar(is_wanted=progress) as bar:
        return run_rows(
            loaded, out, planners=planners, seeds=seeds_of(loaded, seed), force=force, n_jobs=jobs, watcher=bar
        )


def _replay(
    loaded: LoadedScenario,
    plan_file: Path,
    seed: int | None,
    out: Path,
    *,
    force: bool,
    jobs: int,
    progress: bool | None,
) -> Row:
    check_can_write(out)
    with ProgressBar(is_wanted=progress) as bar:
        bar.stage("requests")
        job = Job.of_plan(loaded, seeds_of(loaded, seed)[0])
        job.say_notes(bar)
        choice = PlannerChoice(name="given", label="given")
        if not force:
            job.check_is_new(out, [choice])
        deployment, plan_data = job.read_plan(plan_file)
        bar.stage("simulating the given fleet", job.n_requests)
        result = job.simulate(choice.label, deployment, plan_data, bar.progress, n_jobs=jobs)
        directory = job.save(Served(result, (Scheduled(0.0, plan_data, deployment),)), out, force=force)
    return Row.from_result(result, directory)
