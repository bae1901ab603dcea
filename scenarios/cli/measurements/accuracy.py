"""The commands `hetserve accuracy`: how far the simulator is from what was measured."""

from __future__ import annotations

import os
from pathlib import Path

import click

from scenarios.cli.options import json_option, progress_option
from scenarios.cli.printing import print_json, print_tables
from scenarios.file.yaml_lines import dump
from scenarios.report.accuracy import accuracy_tables, comparison_tables
from scenarios.report.progress import ProgressBar
from scenarios.study.accuracy import errors_of, estimate_all, to_dicts
from scenarios.study.comparisons import other_rows
from scenarios.study.silicon.fit import read_fit
from scenarios.study.silicon.fitting import N_ROUNDS, SiliconFit
from scenarios.study.silicon.points import read_silicon, sample_path
from scenarios.study.silicon.split import is_fitted_to, once_each
from sim.parallel import process_pool

jobs_option = click.option("--jobs", type=click.IntRange(min=1), default=os.cpu_count() or 1, show_default="all cores",
                           help="Processes to split the rows over.")  # fmt: skip


@click.group(invoke_without_command=True)
@jobs_option
@json_option
@progress_option
@click.pass_context
def accuracy(context: click.Context, jobs: int, as_json: bool, progress: bool | None) -> None:
    """Say how far the simulator is from all that it was ever compared with.

    Measured points of vLLM that aiconfigurator-core ships, those that something was fitted to apart from the rest; a
    real run on an RTX 4090; measured iterations. The last two are read from the folder that the environment variable
    HETSERVE_DATA names. Without a command: a table by model, GPU type, precision and engine, and what was fitted to
    what.
    """
    if context.invoked_subcommand is not None:
        return
    rows = once_each(read_silicon(sample_path()))
    with ProgressBar(is_wanted=progress) as bar:
        found = to_dicts(errors_of(rows, estimate_all(rows, jobs, bar)))
    folder = os.environ.get("HETSERVE_DATA")
    found += other_rows(Path(folder) if folder else None)
    if as_json:
        print_json(found)
    else:
        print_tables(*comparison_tables(found))


@accuracy.command()
@jobs_option
@json_option
@progress_option
def silicon(jobs: int, as_json: bool, progress: bool | None) -> None:
    """Mean TTFT and TPOT of vLLM: 1,144 measurements that aiconfigurator-core ships, beside its own estimate.

    Errors by model, GPU type, precision, tp and version. How each row is read, and which may be fitted to:
    docs/reference/accuracy.md. Needs the extra aiconfigurator.
    """
    rows = once_each(read_silicon(sample_path()))
    with ProgressBar(is_wanted=progress) as bar:
        errors = errors_of(rows, estimate_all(rows, jobs, bar))
    if as_json:
        print_json(to_dicts(errors))
    else:
        print_tables(*accuracy_tables(errors))


@accuracy.command()
@jobs_option
@click.option("--rounds", type=click.IntRange(min=1), default=N_ROUNDS, show_default=True,
              help="How often everything is simulated and bettered.")  # fmt: skip
def fit(jobs: int, rounds: int) -> None:
    """Fit overheads of engine versions, and factors of kernel times, to a fifth of the points, and print them.

    It takes some minutes. What the estimators use is what it has printed: scenarios/study/silicon/fit.yaml.
    """
    chosen = [row for row in once_each(read_silicon(sample_path())) if is_fitted_to(row)]
    with process_pool(jobs) as pool:
        fitting = SiliconFit(chosen, lambda function, cases: pool.map(function, cases, chunksize=4), read_fit())
        for number in range(rounds):
            tpot, ttft = fitting.improve()
            click.echo(f"round {number + 1}: TPOT {tpot:.1%}, TTFT {ttft:.1%} before it", err=True)
    click.echo(dump(fitting.to_dict()), nl=False)
