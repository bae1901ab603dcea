"""The commands `hetserve accuracy`: how far estimates are from what others have measured."""

from __future__ import annotations

import os

import click

from scenarios.cli.options import json_option, progress_option
from scenarios.cli.printing import print_json, print_tables
from scenarios.report.accuracy import accuracy_tables
from scenarios.report.progress import ProgressBar
from scenarios.study.accuracy import errors_of, estimate_all, to_dicts
from scenarios.study.silicon import read_silicon, sample_path


@click.group()
def accuracy() -> None:
    """Say how far the simulator is from what others have measured."""


@accuracy.command()
@click.option("--jobs", type=click.IntRange(min=1), default=os.cpu_count() or 1, show_default="all cores",
              help="Processes to split the rows over.")  # fmt: skip
@json_option
@progress_option
def silicon(jobs: int, as_json: bool, progress: bool | None) -> None:
    """Mean TTFT and TPOT of vLLM: 1,328 points that aiconfigurator-core ships, beside its own estimate.

    Errors of both, by model, GPU type, precision and tp. How each row is read: docs/reference/accuracy.md. Needs the
    extra aiconfigurator.
    """
    rows = read_silicon(sample_path())
    with ProgressBar(is_wanted=progress) as bar:
        errors = errors_of(rows, estimate_all(rows, jobs, bar))
    if as_json:
        print_json(to_dicts(errors))
    else:
        print_tables(*accuracy_tables(errors))
