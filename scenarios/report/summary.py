"""The table of planners over many scenarios."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from scenarios.report.tables import make_columns, make_table, number, share
from scenarios.study.summary import Gain, Standing

NOTHING = "-"


def standings_table(standings: Sequence[Standing], baseline: str, n_scenarios: int) -> Table:
    """How much the baseline gains over each planner, over so many scenarios."""
    table = make_table(f"What {baseline} gains: mean and 95 % interval over seeds, (largest)")
    make_columns(
        table,
        [
            ("planner", "left"),
            ("scenarios\nwith a run", "right"),
            (f"better than\n{baseline} in", "right"),
            (f"promise, of\n{baseline}'s", "right"),
            ("goodput, of promised\nor offered", "right"),
            ("throughput", "right"),
            ("P50 latency", "right"),
            ("P90 latency", "right"),
            ("P99 latency", "right"),
            ("solve s", "right"),
        ],
    )
    for standing in standings:
        is_baseline = standing.planner == baseline
        gains = [standing.throughput, *standing.latency.values()]
        table.add_row(
            standing.planner,
            f"{standing.n_scenarios} of {n_scenarios}",
            NOTHING if is_baseline else str(standing.n_better),
            share(standing.promised),
            share(standing.kept),
            *(NOTHING if is_baseline else _gain(gain) for gain in gains),
            number(standing.solve_s, 2),
        )
    return table


def _gain(gain: Gain | None) -> str:
    if gain is None:
        return NOTHING
    interval = "" if gain.half_width is None else f" ± {100 * gain.half_width:.1f}"
    return f"{100 * gain.mean:+.1f}{interval} % ({100 * gain.largest:+.0f} %)"
