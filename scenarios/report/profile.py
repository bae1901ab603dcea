"""Tables of fits of the service-time model."""

from __future__ import annotations

import polars as pl
from rich.console import Console
from rich.table import Table

from sim.timing.fit import summary

N_WORST = 10


def error_table(title: str, errors: pl.DataFrame) -> Table:
    """Errors by GPU type and phase, in per cent."""
    table = Table(title=f"{title}, in %")
    for name in ("GPU type", "phase"):
        table.add_column(name)
    for name in ("rows", "mean abs", "P95 abs", "max abs", "mean"):
        table.add_column(name, justify="right")
    for row in summary(errors).iter_rows(named=True):
        figures = (row[name] for name in ("mape_pct", "p95_pct", "max_pct"))
        table.add_row(
            row["gpu"], row["phase"], f"{row['n']:,}", *(f"{x:.1f}" for x in figures), f"{row['bias_pct']:+.1f}"
        )
    return table


def worst_table(errors: pl.DataFrame) -> Table:
    """The iterations with the largest errors."""
    table = Table(title=f"The {N_WORST} worst rows")
    columns = ("gpu", "model", "tp", "phase", "batch", "new_tokens", "context_tokens", "time_ms", "modelled_ms")
    for name in (*columns, "error %"):
        table.add_column(name, justify="left" if name in ("gpu", "model", "phase") else "right")
    worst = errors.sort(pl.col("error_pct").abs(), "row", descending=[True, False]).head(N_WORST)
    for row in worst.iter_rows(named=True):
        cells = (f"{row[name]:.2f}" if name.endswith("_ms") else str(row[name]) for name in columns)
        table.add_row(*cells, f"{row['error_pct']:+.1f}")
    return table


def print_tables(*tables: Table) -> None:
    """Print to stdout; in a pipe there is no terminal to fit into."""
    console = Console()
    console = console if console.is_terminal else Console(width=max(console.width, 160))
    for table in tables:
        console.print(table)
