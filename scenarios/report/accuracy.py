"""Tables of estimates against measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from rich.table import Table

from scenarios.report.tables import NOTHING, make_columns, make_table
from scenarios.study.accuracy import (
    CALIBRATED,
    FIT,
    HETSERVE,
    METRICS,
    PACKAGE,
    PLAUSIBLE,
    REST,
    not_scored,
    sets_of,
    summarise,
)

GROUPS = ("model", "gpu", "precision", "tp", "engine")
_ESTIMATORS = (HETSERVE, CALIBRATED, PACKAGE)
_TITLES = {
    "tpot": "TPOT: estimated against measured, errors in %",
    "ttft": "TTFT: estimated against measured, errors in %; all clients start at once, and the first wave counts",
}


def accuracy_tables(errors: pl.DataFrame) -> list[Table]:
    """Errors of all estimators, TPOT and TTFT, what speaks against measurements, and why rows are not scored.

    Args:
        errors: Of `scenarios.study.accuracy.errors_of`.
    """
    tables = [_errors_table(errors, metric) for metric in METRICS]
    if errors["suspicion"].null_count() < len(errors):
        tables.append(_suspicions_table(errors))
    if errors["reason"].null_count() < len(errors):
        tables.append(_not_scored_table(errors))
    return tables


def _errors_table(errors: pl.DataFrame, metric: str) -> Table:
    table = make_table(_TITLES[metric])
    headers = ["measured\nrows"]
    for estimator in _ESTIMATORS:
        headers += [f"{estimator}\nrows", f"{estimator}\nmean abs", f"{estimator}\nbias"]
    make_columns(table, [("of", "left"), *((header, "right") for header in headers)])
    of_metric = errors.filter(pl.col("metric") == metric)
    by_set = _by_label(summarise(sets_of(of_metric), ["set"]), "set")
    for name in (REST, PLAUSIBLE, FIT):
        if name in by_set:
            _add_group(table, name, by_set[name])
    rest = of_metric.filter(pl.col("set") == REST)
    for name in GROUPS:
        table.add_section()
        for label, of_group in _by_label(summarise(rest, [name]), name).items():
            _add_group(table, f"tp {label}" if name == "tp" else label, of_group)
    return table


def _by_label(figures: pl.DataFrame, name: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Figures of each estimator, by what rows have in common."""
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for row in figures.iter_rows(named=True):
        groups.setdefault(str(row[name]), {})[row["estimator"]] = row
    return groups


def _add_group(table: Table, label: str, of_group: Mapping[str, Mapping[str, Any]]) -> None:
    cells = [f"{of_group[HETSERVE]['n'] + of_group[HETSERVE]['n_not_scored']:,}"]
    for estimator in _ESTIMATORS:
        row = of_group[estimator]
        cells += [f"{row['n']:,}", _per_cent(row["mean_abs_error"]), _per_cent(row["bias"], "+")]
    table.add_row(label, *cells)


def _suspicions_table(errors: pl.DataFrame) -> Table:
    """What speaks against measurements, and how far hetserve is from them."""
    table = make_table("Measurements that something speaks against; they are scored")
    columns = ("rows", "TPOT\nmean abs", "TTFT\nmean abs")
    make_columns(table, [("reason", "left"), *((name, "right") for name in columns)])
    ours = errors.filter(pl.col("estimator") == HETSERVE, pl.col("suspicion").is_not_null())
    for reason, of_group in _by_metric(summarise(ours, ["suspicion"]), "suspicion").items():
        errors_of_group = (_per_cent(of_group[metric]["mean_abs_error"]) for metric in METRICS)
        table.add_row(reason, f"{of_group[METRICS[0]]['n']:,}", *errors_of_group)
    return table


def _by_metric(figures: pl.DataFrame, name: str) -> dict[str, dict[str, dict[str, Any]]]:
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for row in figures.iter_rows(named=True):
        groups.setdefault(row[name], {})[row["metric"]] = row
    return groups


def _not_scored_table(errors: pl.DataFrame) -> Table:
    table = make_table("Rows that are not scored")
    make_columns(table, [("estimator", "left"), ("rows", "right"), ("reason", "left")])
    for estimator, reason, n in not_scored(errors).iter_rows():
        table.add_row(estimator, f"{n:,}", reason)
    return table


def comparison_tables(rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    """All comparisons: each set by estimator and metric, with what was fitted to what; then hetserve's one by one.

    Of the points of silicon the second table has those that nothing was fitted to; errors are means over tp.

    Args:
        rows: Of `scenarios.study.accuracy.to_dicts` and `scenarios.study.comparisons.other_rows`.
    """
    ours = [row for row in rows if row["estimator"] == HETSERVE and row["set"] not in (FIT, PLAUSIBLE)]
    return [
        _comparison_table(
            "All that hetserve was compared with, errors in %", rows, ("set", "estimator", "metric"), says_why=True
        ),
        _comparison_table(
            "hetserve by model, GPU type, precision and engine, errors in %",
            [row for row in ours if row["n"]],
            ("set", "model", "gpu", "precision", "engine", "metric"),
            says_why=False,
        ),
    ]


def _comparison_table(title: str, rows: Sequence[Mapping[str, Any]], by: Sequence[str], *, says_why: bool) -> Table:
    table = make_table(title)
    columns = [("GPU type" if name == "gpu" else name, "left") for name in by]
    figures = [(name, "right") for name in ("rows", "mean abs", "bias")]
    make_columns(table, [*columns, *figures, *([("fitted to", "left")] if says_why else [])])
    groups: dict[tuple[str | None, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in (*by, "fitted_to")), []).append(row)
    for (*cell, fitted_to), of_group in groups.items():
        n = sum(row["n"] for row in of_group)
        mean_abs, bias = (_mean(of_group, name, n) for name in ("mean_abs_error", "bias"))
        why = fitted_to or ", ".join(reason for row in of_group for reason in row.get("reasons", {}))
        labels = (NOTHING if label is None else label for label in cell)
        table.add_row(*labels, f"{n:,}", _per_cent(mean_abs), _per_cent(bias, "+"), *([why] if says_why else []))
    return table


def _mean(rows: Sequence[Mapping[str, Any]], name: str, n: int) -> float | None:
    """Mean of a figure over what it is a mean of."""
    return sum(row["n"] * row[name] for row in rows if row["n"]) / n if n else None


def _per_cent(value: float | None, sign: str = "") -> str:
    return NOTHING if value is None else f"{100 * value:{sign}.1f}"
