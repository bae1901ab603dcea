"""Tables of capacities: closed form against simulator."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from scenarios.study.capacities import CapacityRow, summarise

N_WORST = 10


def capacity_tables(rows: Sequence[CapacityRow]) -> list[Table]:
    """Errors by group, and the capacities with the largest."""
    return [_summary_table(rows), _worst_table(rows)]


def _summary_table(rows: Sequence[CapacityRow]) -> Table:
    table = _table("Closed form against simulator, in %", "capacities", "mean abs", "P95 abs", "max abs", "mean")
    for group in summarise(rows):
        figures = (f"{100 * x:.1f}" for x in (group.mean_abs, group.p95_abs, group.max_abs))
        table.add_row(group.group, f"{group.n:,}", *figures, f"{100 * group.mean:+.1f}")
    return table


def _worst_table(rows: Sequence[CapacityRow]) -> Table:
    table = _table(f"The {N_WORST} largest differences, in requests/s", "closed form", "simulator", "error %")
    for row in sorted(rows, key=lambda row: -abs(row.error))[:N_WORST]:
        figures = (f"{x:,.3f}" for x in (row.closed_form_rps, row.simulated_rps))
        table.add_row(f"{row.candidate}, {row.workload}", *figures, f"{100 * row.error:+.1f}")
    return table


def _table(title: str, *figures: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for figure in figures:
        table.add_column(figure, justify="right")
    return table
