"""The command `hetserve calibrate`: parameters of a server from measurements of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from scenarios.cli.errors import NoPlan
from scenarios.cli.measurements.validate_run import measurement_options, notes_of
from scenarios.cli.options import check_can_write, json_option, progress_option, replace_option, writing
from scenarios.cli.printing import print_json, print_lines, print_tables
from scenarios.file.load import load
from scenarios.measurements.read import read_measurement
from scenarios.report.calibration import calibration_tables
from scenarios.report.progress import ProgressBar
from scenarios.study.calibration.calibrate import Calibration, calibrate
from scenarios.study.calibration.knobs import DEFAULT, KNOBS, Server
from scenarios.study.calibration.output import calibrated_files, coefficients_path
from scenarios.study.replay import Replayer


@click.command("calibrate")
@click.argument("runs", type=click.Path(dir_okay=False, exists=True, path_type=Path), metavar="RUN...", nargs=-1,
                required=True)  # fmt: skip
@measurement_options
@click.option("--scenario", "file", required=True, metavar="FILE", help="What was measured: model, GPUs and limits.")
@click.option("--fit", "names", multiple=True, metavar="NAME",
              help=f"A parameter to fit; may be repeated. By default {', '.join(DEFAULT)}. All: {', '.join(KNOBS)}.",
              )  # fmt: skip
@click.option("--planner", default="homogeneous", show_default=True, help="Gives the fleet that was measured.")
@click.option("--set", "sets", metavar="PATH=VALUE", multiple=True, help="Change a field of the scenario.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the scenario with the fitted values to FILE.")  # fmt: skip
@replace_option
@json_option
@progress_option
def calibrate_(
    runs: Sequence[Path], file: str, names: Sequence[str], planner: str, sets: Sequence[str], out: Path | None,
    force: bool, as_json: bool, progress: bool | None, **options: Any,
) -> None:  # fmt: skip
    """Fit a few physical parameters to a part of what was measured, and say how far off the rest is.

    Fitted to are TTFT and TPOT of the first half of the requests of each RUN, and every second point of a sweep. What
    the measurements do not identify is named, and left as it is in the scenario.
    """
    if out is not None:
        check_can_write(out, force=force)
        check_can_write(coefficients_path(out), force=force)
    server = _server(file, sets, planner)
    names_of_reader = ("run", "prefix_hashes", "concurrency", "rate_rps")
    how = {"format": options["format_name"]} | {name: options[name] for name in names_of_reader}
    measurements = [replace(read_measurement(run, **how), source=run.name) for run in runs]
    with ProgressBar(is_wanted=progress) as bar:
        bar.stage("fitting")
        found = calibrate(server, measurements, names or DEFAULT)
    if as_json:
        print_json(_to_dict(found))
    else:
        print_tables(*calibration_tables(found))
        notes = [note for one in measurements for note in notes_of(one)]
        print_lines([f"server: {server.replayer.settings}", *notes, *found.splits])
    if out is not None:
        for path, text in calibrated_files(found, file, sets, out, [run.name for run in runs]).items():
            with writing(path):
                path.write_text(text)
        click.echo(f"Scenario: {out}", err=as_json)


def _server(file: str, sets: Sequence[str], planner: str) -> Server:
    found = Replayer.of_scenario(load(file, None, sets), planner)
    if isinstance(found, tuple):
        raise NoPlan(found)
    return Server(found)


def _to_dict(found: Calibration) -> dict[str, object]:
    parameters = [asdict(one) for one in found.estimates]
    return {"parameters": parameters, "splits": list(found.splits), "errors": found.errors.to_dicts()}
