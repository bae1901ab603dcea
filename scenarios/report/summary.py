"""The table of planners over many scenarios."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from scenarios.report.tables import make_columns, make_table, number, share
from scenarios.study.summary import Gain, Standing

NOTHING = "-"
_MOST_IN_PER_CENT = 10.0  # times


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
            ("kept\nof promise", "right"),
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
            *(NOTHING if is_baseline else _gain(gain, is_latency=i > 0) for i, gain in enumerate(gains)),
            number(standing.solve_s, 2),
        )
    return table


def _gain(gain: Gain | None, *, is_latency: bool) -> str:
    """In per cent; what is more than ten times as high or long is told as that."""
    if gain is None:
        return NOTHING
    if abs(gain.mean) > _MOST_IN_PER_CENT:
        times = 1 - gain.mean if is_latency else 1 + gain.mean
        return f"{times:,.0f} times as {'long' if is_latency else 'high'}"
    interval = "" if gain.half_width is None else f" ± {100 * gain.half_width:.1f}"
    return f"{100 * gain.mean:+.1f}{interval} % ({100 * gain.largest:+.0f} %)"
