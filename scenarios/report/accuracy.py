"""Tables of estimates against measurements."""

from __future__ import annotations

from typing import Any

import polars as pl
from rich.table import Table

from scenarios.report.tables import NOTHING, make_columns, make_table
from scenarios.study.accuracy import HETSERVE, METRICS, PACKAGE, not_scored, summarise

GROUPS = ("model", "gpu", "precision", "tp")
_TITLES = {
    "tpot": "TPOT: estimated against measured, errors in %",
    "ttft": "TTFT: estimated against measured, errors in %; all clients start at once, and the first wave counts",
}


def accuracy_tables(errors: pl.DataFrame) -> list[Table]:
    """Errors of both estimators, TPOT and TTFT, and why rows are not scored.

    Args:
        errors: Of `scenarios.study.accuracy.errors_of`.
    """
    tables = [_errors_table(errors, metric) for metric in METRICS]
    if errors["reason"].null_count() < len(errors):
        tables.append(_not_scored_table(errors))
    return tables


def _errors_table(errors: pl.DataFrame, metric: str) -> Table:
    table = make_table(_TITLES[metric])
    headers = ["measured\nrows"]
    for estimator in (HETSERVE, PACKAGE):
        headers += [f"{estimator}\nrows", f"{estimator}\nmean abs", f"{estimator}\nbias"]
    headers += ["both\nrows", *(f"both, {estimator}\nmean abs" for estimator in (HETSERVE, PACKAGE))]
    make_columns(table, [("of", "left"), *((header, "right") for header in headers)])
    of_metric = errors.filter(pl.col("metric") == metric)
    _add_groups(table, summarise(of_metric), None)
    for name in GROUPS:
        table.add_section()
        _add_groups(table, summarise(of_metric, [name]), name)
    return table


def _add_groups(table: Table, figures: pl.DataFrame, name: str | None) -> None:
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for row in figures.iter_rows(named=True):
        label = "all" if name is None else f"tp {row[name]}" if name == "tp" else row[name]
        groups.setdefault(label, {})[row["estimator"]] = row
    for label, of_group in groups.items():
        ours, theirs = of_group[HETSERVE], of_group[PACKAGE]
        cells = [f"{ours['n'] + ours['n_not_scored']:,}"]
        for row in (ours, theirs):
            cells += [f"{row['n']:,}", _per_cent(row["mean_abs_error"]), _per_cent(row["bias"], "+")]
        cells += [f"{ours['n_by_all']:,}", *(_per_cent(row["mean_abs_error_by_all"]) for row in (ours, theirs))]
        table.add_row(label, *cells)


def _not_scored_table(errors: pl.DataFrame) -> Table:
    table = make_table("Rows that are not scored")
    make_columns(table, [("estimator", "left"), ("rows", "right"), ("reason", "left")])
    for estimator, reason, n in not_scored(errors).iter_rows():
        table.add_row(estimator, f"{n:,}", reason)
    return table


def _per_cent(value: float | None, sign: str = "") -> str:
    return NOTHING if value is None else f"{100 * value:{sign}.1f}"
