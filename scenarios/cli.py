"""The command `hetserve`. Data go to stdout, progress and errors to stderr.

Exit codes: 0 done, 1 a bug, 2 wrong usage or input, 3 no feasible plan, 5 some runs of a batch failed, 130 interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from scenarios.cli_options import (
    NoPlan,
    check_can_write,
    force_option,
    jobs_option,
    json_option,
    out_option,
    planner_choice,
    planner_option,
    print_json,
    print_tables,
    progress_option,
    replace_option,
    report,
    scenario_options,
    seed_option,
    writing,
)
from scenarios.compare_cli import batch, compare
from scenarios.errors import RunError, ScenarioError
from scenarios.explain_cli import explain, frontier
from scenarios.plot_cli import plot
from scenarios.profile_cli import profile

if TYPE_CHECKING:
    from scenarios.file.loaded import LoadedScenario
    from scenarios.runs.row import Row


class InvalidInput(click.ClickException):
    """Wrong input: what is wrong with it, and where."""

    exit_code = 2


class Interrupted(click.ClickException):
    """The user has had enough."""

    exit_code = 130

    def show(self, file: IO[Any] | None = None) -> None:
        """Say so, on a line of its own: the terminal shows the key that was pressed."""
        click.echo(f"\n{self.message}", file=file, err=True)


class _Hetserve(click.Group):
    """Turns expected errors into messages: a user's mistake never ends in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            can_resume = command is not None and any(option.name == "resume" for option in command.params)
            kept = ": finished runs are kept, and the same command with --resume makes the others"
            msg = f"Interrupted{kept if can_resume else ''}."
            raise Interrupted(msg) from None
        except Exception as error:
            if _is_expected(error):
                raise InvalidInput(str(error)) from error
            raise


def _is_expected(error: Exception) -> bool:
    """Whether an error is a user's mistake. The packages are imported here, so that `--help` does not wait."""
    from planners.errors import PlannerError
    from sim.errors import SimError
    from traces.errors import TraceError

    return isinstance(error, ScenarioError | RunError | TraceError | SimError | PlannerError)


@click.group(cls=_Hetserve, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="hetserve")
def main() -> None:
    """Which GPUs to rent for language models, how to deploy them, and which requests to send where.

    Planners choose a fleet within a budget; a simulation serves your requests on it, iteration by iteration.

    Start with: hetserve demo
    """


# Commands ------------------------------------------------------------------------------------------------------------


@main.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Where results are kept.")
@json_option
@progress_option
def demo(out: Path | None, as_json: bool, progress: bool | None) -> None:
    """Compare four planners on one question: which GPUs for Llama-3-70B at 30 $/h?"""
    from scenarios.file.load import load

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


@main.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--template", default="quickstart", show_default=True, help="A scenario of the library.")
@force_option
def new(directory: Path, template: str, force: bool) -> None:
    """Write a scenario to DIR, ready to run and to be changed."""
    from scenarios.file.library import library_names, library_text
    from traces import nearest

    if template not in library_names():
        msg = f"unknown template {template!r}: {nearest(template, library_names())}"
        raise RunError(msg)
    path = directory / "scenario.yaml"
    check_can_write(path, force=force)
    with writing(path):
        path.write_text(library_text(template))
    click.echo(f"{path}\nNext: hetserve compare {path}")


@main.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
def validate(files: Sequence[str]) -> None:
    """Check scenario files, with all their scenarios; all problems are reported at once."""
    from scenarios.file.library import members
    from scenarios.file.load import load_all
    from scenarios.runs.job import Job

    problems: list[str] = []
    for file in [member for given in files for member in members(given)]:
        try:
            scenarios = load_all(file)
        except ScenarioError as error:
            problems += map(str, error.problems)
            continue
        for loaded in scenarios:
            try:
                Job.prepare(loaded, loaded.scenario.seeds[0])
            except Exception as error:
                if not _is_expected(error):
                    raise
                problems.append(f"{file}: {loaded.label}: {error}")
            else:
                click.echo(f"{file}: {loaded.label} is valid")
    if problems:
        raise InvalidInput("\n".join(problems))


@main.command()
@scenario_options
@planner_option
@seed_option
@click.option("--write-lp", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the linear program to FILE.")  # fmt: skip
@replace_option
@json_option
@progress_option
def plan(
    file: str, scenario: str | None, sets: Sequence[str], planner: str | None, seed: int | None, write_lp: Path | None,
    force: bool, as_json: bool, progress: bool | None,
) -> None:  # fmt: skip
    """Say what to rent and which requests to send where, without a simulation.

    FILE is a scenario file, or the name of a scenario of the library.
    """
    from planners.shedding import penalty_usd_per_h
    from scenarios.file.load import load
    from scenarios.report.progress import ProgressBar
    from scenarios.report.tables import plan_tables
    from scenarios.runs.job import Job

    if write_lp is not None:
        check_can_write(write_lp, force=force)
    planner = planner or "milp"
    loaded = load(file, scenario, sets)
    with ProgressBar(is_wanted=progress) as bar:
        bar.stage("requests and capacities")
        job = Job.prepare(loaded, _seeds(loaded, seed)[0])
        if write_lp is not None:
            from planners import write_lp as write

            with writing(write_lp):
                write(job.problem, write_lp)
        bar.stage(f"planning with {planner}")
        found = job.plan(planner_choice(loaded, planner))
    data = found.to_dict(job.problem)
    if as_json:
        print_json(data | {"n_candidates": len(job.problem.candidates), "left_out": dict(job.problem.left_out)})
    elif found.objective is not None:
        print_tables(*plan_tables(data))
        unit = {"makespan": "s", "throughput": "x the offered requests", "cost": "$/h"}[found.objective_name]
        bound = "" if found.bound is None else f"; nothing beats {found.bound:.6g} (gap {100 * (found.gap or 0):.2g} %)"
        click.echo(f"{found.objective_name}: {found.objective:.6g} {unit}{bound}; {found.termination}")
        shed_usd_per_h = penalty_usd_per_h(job.problem, found.assignment)
        if shed_usd_per_h > 0 and found.objective_name == "cost":
            fleet = f"{found.objective - shed_usd_per_h:.6g} $/h for the fleet"
            click.echo(f"of these, {fleet} and {shed_usd_per_h:.6g} $/h for what is shed")
        click.echo("".join(f"{line}\n" for line in found.diagnostics), nl=False)
        left_out = ", ".join(f"{n} for {rule}" for rule, n in job.problem.left_out)
        click.echo(f"candidates: {len(job.problem.candidates)}" + (f"; left out: {left_out}" if left_out else ""))
    if found.objective is None:
        raise NoPlan([f"{planner}: {reason}" for reason in found.diagnostics])


@main.command()
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
    from scenarios.file.load import load
    from scenarios.report.capacity import capacity_tables
    from scenarios.report.progress import ProgressBar
    from scenarios.runs.job import Job
    from scenarios.study.capacities import compare_capacities, to_dict

    loaded = load(file, scenario, sets)
    with ProgressBar(is_wanted=progress) as bar:
        bar.stage("requests and candidates")
        rows = compare_capacities(Job.prepare(loaded, _seeds(loaded, seed)[0]), bar)
    if as_json:
        print_json(to_dict(rows))
    else:
        print_tables(*capacity_tables(rows))


@main.command()
@scenario_options
@planner_option
@click.option("--plan", "plan_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Instead of planning: the fleet in the plans.json of an earlier run.")  # fmt: skip
@click.option("--trace", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Serve these requests instead of the scenario's.")  # fmt: skip
@click.option("--reader", metavar="NAME", help="How to read --trace; see: hetserve list readers.")
@seed_option
@out_option
@force_option
@jobs_option
@json_option
@progress_option
def run(
    file: str, scenario: str | None, sets: Sequence[str], planner: str | None, plan_file: Path | None,
    trace: Path | None, reader: str | None, seed: int | None, out: Path, jobs: int,
    force: bool, as_json: bool, progress: bool | None,
) -> None:  # fmt: skip
    """Plan with one planner and simulate its fleet.

    FILE is a scenario file, or the name of a scenario of the library.
    """
    from scenarios.file.load import load

    if (trace is None) != (reader is None):
        msg = "--trace and --reader go together"
        raise click.UsageError(msg)
    if planner is not None and plan_file is not None:
        msg = "--planner and --plan exclude each other"
        raise click.UsageError(msg)
    if trace is not None and reader is not None:
        sets = [*_stream_from(load(file, scenario, sets), trace, reader), *sets]
    loaded = load(file, scenario, sets)
    if plan_file is not None:
        rows = [_replay(loaded, plan_file, seed, out, force=force, progress=progress)]
    else:
        rows = _run(loaded, out, planner=planner or "milp", seed=seed, force=force, jobs=jobs, progress=progress)
    report(rows, None, "json" if as_json else "table")
    if not as_json:
        for row in rows:
            counts = {name[2:]: value for name, value in row.metrics.items() if name in _STATUS_COUNTS and value}
            said = [f"{n:,} {'request' if (name, n) == ('requests', 1) else name}" for name, n in counts.items()]
            nobody = "none arrived in the time that counts, between sim.warmup_s and sim.cooldown_s before the end"
            click.echo(f"Requests: {', '.join(said) or nobody}")
        click.echo(f"Results:  {out}")


_STATUS_COUNTS = ("n_requests", "n_completed", "n_rejected", "n_dropped", "n_unfinished")


@main.command("validate-run")
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
    from scenarios.file.load import load
    from scenarios.report.tables import validation_table
    from scenarios.runs.job import Job
    from scenarios.study.validate_run import compare_with_real, read_replay

    loaded = load(file, None, sets)
    job = Job.prepare(loaded, loaded.scenario.seeds[0])
    plan_found = job.plan(planner_choice(loaded, planner))
    deployment = job.deployment(plan_found)
    if deployment is None:
        raise NoPlan(plan_found.diagnostics)
    measured = read_replay(replay, deployment.models[0])
    result = job.simulate(planner, deployment, plan_found.to_dict(job.problem), trace=measured.trace)
    comparison = compare_with_real(result, measured)
    if as_json:
        print_json(comparison.to_dicts())
    else:
        fleet = ", ".join(f"{count} x {spec.name}" for spec, count in deployment.replicas)
        print_tables(validation_table(comparison, f"{replay.name} on {fleet}"))


@main.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@json_option
def show(directory: Path, as_json: bool) -> None:
    """Print all metrics of the finished runs in DIR; on a market that moves, also what its drops did to them."""
    from scenarios.report.stress import run_tables
    from scenarios.report.tables import metrics_table
    from scenarios.runs.directory import run_directories
    from scenarios.runs.series import read_rows
    from scenarios.study.compare import Comparison
    from scenarios.study.stress import read_stress

    rows = read_rows([directory])
    stress = read_stress(run_directories(directory))
    if as_json:
        data = Comparison.of(rows).to_dict()
        print_json(data | {"stress": [row.to_dict() for row in stress]} if stress else data)
    else:
        print_tables(*(metrics_table(row) for row in rows))
        print_tables(*(table for row in stress for table in run_tables(row)))


@main.command("list")
@click.argument("what", type=click.Choice(["planners", "gpus", "models", "scenarios", "readers", "routers"]))
def list_(what: str) -> None:
    """List what can be named in a scenario."""
    from scenarios.report.catalog import catalog_table

    print_tables(catalog_table(what))


for _command in (batch, compare, explain, frontier, plot, profile):
    main.add_command(_command)


@main.command()
def schema() -> None:
    """Print the JSON schema of scenario files, for editors."""
    from scenarios.file.schema import Scenario

    print_json(Scenario.model_json_schema())


@main.command()
def doctor() -> None:
    """Check the installation: versions, the solver, and packages of other distributions that stand in the way."""
    from scenarios.doctor import findings

    ailing = False
    for is_well, finding in findings():
        click.echo(f"{'ok  ' if is_well else 'FAIL'} {finding}")
        ailing |= not is_well
    if ailing:
        raise click.exceptions.Exit(InvalidInput.exit_code)


# Their parts ---------------------------------------------------------------------------------------------------------


def _seeds(loaded: LoadedScenario, seed: int | None) -> tuple[int, ...]:
    return loaded.scenario.seeds if seed is None else (seed,)


def _run(
    loaded: LoadedScenario, out: Path, *, planner: str | None = None, seed: int | None = None,
    force: bool = False, jobs: int = 1, progress: bool | None = None,
) -> list[Row]:  # fmt: skip
    from scenarios.report.progress import ProgressBar
    from scenarios.runs.series import run_rows

    planners = None if planner is None else [planner_choice(loaded, planner)]
    check_can_write(out)
    with ProgressBar(is_wanted=progress) as bar:
        return run_rows(
            loaded, out, planners=planners, seeds=_seeds(loaded, seed), force=force, n_jobs=jobs, watcher=bar
        )


def _replay(
    loaded: LoadedScenario, plan_file: Path, seed: int | None, out: Path, *, force: bool, progress: bool | None
) -> Row:
    from scenarios.file.schema import PlannerChoice
    from scenarios.report.progress import ProgressBar
    from scenarios.runs.job import Job, Served, Step
    from scenarios.runs.row import Row

    check_can_write(out)
    with ProgressBar(is_wanted=progress) as bar:
        bar.stage("requests")
        job = Job.prepare(loaded, _seeds(loaded, seed)[0])
        choice = PlannerChoice(name="given", label="given")
        if not force:
            job.check_is_new(out, [choice])
        deployment, plan_data = job.read_plan(plan_file)
        bar.stage("simulating the given fleet", job.n_requests)
        result = job.simulate(choice.label, deployment, plan_data, bar.progress)
        job.save(Served(result, (Step(0.0, plan_data, deployment),)), out, force=force)
    return Row.from_result(result)


def _stream_from(loaded: LoadedScenario, trace: Path, reader: str) -> list[str]:
    """Replace the only stream of a scenario by a trace."""
    streams = loaded.scenario.workload
    if len(streams) != 1:
        msg = f"--trace replaces the only stream of a scenario; {loaded.label} has {len(streams)}: use --set"
        raise RunError(msg)
    ((name, stream),) = streams.items()
    value = {"kind": "trace", "model": stream.model, "path": str(trace.resolve()), "reader": reader}
    return [f"workload.{name}={json.dumps(value)}"]
