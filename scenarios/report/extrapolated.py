"""What is said of service times that were asked for outside of what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from scenarios.runs.row import Row


def extrapolation_line(rows: Sequence[Row]) -> str | None:
    """How often runs left what was measured, and with which GPU types; None if none did.

    Counted are numbers of decodes that each replica met and iterations with prompt chunks. GPU types of which nothing
    was measured have nothing to leave.
    """
    beyond = [row for row in rows if row.n_extrapolated]
    if not beyond:
        return None
    n_times = sum(row.n_extrapolated or 0 for row in beyond)
    n_steps = sum(row.n_steps or 0 for row in beyond)
    gpus = sorted({name for row in beyond for name in row.plan.get("gpus", {})})
    runs = "" if len(rows) == 1 else f" in {len(beyond)} of {sum(row.status == 'ok' for row in rows)} runs"
    fleets = f", on fleets of {', '.join(gpus)}" if gpus else ""
    return f"Service times outside of what was measured: {n_times:,}{runs}, in {n_steps:,} iterations{fleets}"
