"""Tables of fits of the service-time model."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from rich.table import Table

from scenarios.report.tables import make_columns, make_table
from sim.catalog.gpus import Basis, Uncertainty
from sim.timing.fit import summary

N_WORST = 10


def error_table(title: str, errors: pl.DataFrame) -> Table:
    """Errors by GPU type and phase, in per cent."""
    table = make_table(f"{title}, in %")
    names = ("rows", "mean abs", "P95 abs", "max abs", "mean")
    make_columns(table, [("GPU type", "left"), ("phase", "left"), *((name, "right") for name in names)])
    for row in summary(errors).iter_rows(named=True):
        figures = (row[name] for name in ("mape_pct", "p95_pct", "max_pct"))
        table.add_row(
            row["gpu"], row["phase"], f"{row['n']:,}", *(f"{x:.1f}" for x in figures), f"{row['bias_pct']:+.1f}"
        )
    return table


def uncertainty_table(by_basis: Mapping[Basis, Uncertainty], by_gpu: Mapping[str, Uncertainty]) -> Table:
    """How far times may be off for a whole run: of each GPU type, and by what coefficients rest on."""
    table = make_table("Uncertainty: standard deviations of the logarithms of times, and their correlation")
    make_columns(
        table, [("GPU type, or basis", "left"), ("decode", "right"), ("prefill", "right"), ("correlation", "right")]
    )
    for name, one in (*by_gpu.items(), *by_basis.items()):
        table.add_row(name, f"{one.decode:.3f}", f"{one.prefill:.3f}", f"{one.correlation:.2f}")
    return table


def worst_table(errors: pl.DataFrame) -> Table:
    """The iterations with the largest errors."""
    table = make_table(f"The {N_WORST} worst rows")
    columns = ("gpu", "model", "tp", "phase", "batch", "new_tokens", "context_tokens", "time_ms", "modelled_ms")
    words = ("gpu", "model", "phase")
    make_columns(table, [(name, "left" if name in words else "right") for name in (*columns, "error %")])
    worst = errors.sort(pl.col("error_pct").abs(), "row", descending=[True, False]).head(N_WORST)
    for row in worst.iter_rows(named=True):
        cells = (f"{row[name]:.2f}" if name.endswith("_ms") else str(row[name]) for name in columns)
        table.add_row(*cells, f"{row['error_pct']:+.1f}")
    return table
