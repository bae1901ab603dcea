"""Tables of a calibration."""

from __future__ import annotations

import polars as pl
from rich.table import Table

from scenarios.report.tables import NOTHING, make_columns, make_table
from scenarios.study.calibration.calibrate import Calibration
from scenarios.study.calibration.estimate import Estimate


def calibration_tables(calibration: Calibration) -> list[Table]:
    """The parameters, and for each run the errors of what was not fitted to, before and after."""
    runs = calibration.errors.partition_by("run", maintain_order=True)
    return [_parameters_table(calibration), *(_errors_table(run) for run in runs)]


def _parameters_table(calibration: Calibration) -> Table:
    table = make_table("Parameters")
    names = [("parameter", "left"), ("before", "right"), ("fitted", "right"), ("95 % interval", "right")]
    make_columns(table, [*names, ("note", "left")])
    for one in calibration.estimates:
        table.add_row(one.name, f"{one.start:.4g}", *_found(one))
    return table


def _found(one: Estimate) -> tuple[str, str, str]:
    """Value, interval and note."""
    if not one.is_fitted:
        return NOTHING, NOTHING, f"not identified, left as it was: {one.why_not}"
    if not one.is_identified:
        return f"{one.value:.4g}", NOTHING, f"not identified: {one.why_not}"
    note = f"at the {one.at_bound} bound of what is physically sensible" if one.at_bound else ""
    return f"{one.value:.4g}", f"{one.low:.4g} to {one.high:.4g}", note


def _errors_table(run: pl.DataFrame) -> Table:
    table = make_table(f"{run['run'][0]}: what was not fitted to")
    names = ("real", "before", "after", "error\nbefore", "error\nafter")
    is_sweep = run["part"].n_unique() > 1
    make_columns(table, [("figure", "left"), *((name, "right") for name in names)])
    for row in run.iter_rows(named=True):
        times = (f"{row[name]:,.4g}" for name in ("real", "before", "after"))
        errors = (f"{100 * row[f'error_{name}']:+.1f} %" for name in ("before", "after"))
        table.add_row(f"{row['part']}: {row['figure']}" if is_sweep else row["figure"], *times, *errors)
    return table
