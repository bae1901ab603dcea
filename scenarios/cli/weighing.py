"""How commands weigh plans in worlds where service times are off."""

from __future__ import annotations

from collections.abc import Sequence

from scenarios.report.progress import ProgressBar
from scenarios.runs.row import Row
from scenarios.study.uncertainty import Weighing, weigh


def weighed(rows: Sequence[Row], n_worlds: int, n_jobs: int, *, progress: bool | None) -> tuple[Weighing, ...]:
    """Weigh the plans of some runs; nothing if none of them has one, of which their rows tell.

    Args:
        rows: The runs.
        n_worlds: How many worlds.
        n_jobs: Processes.
        progress: Whether to say how far it is; None: on a terminal.

    Raises:
        RunError, ResultError, ScenarioError, TraceError, PlannerError, SimError: See `weigh`.
    """
    if all(row.directory is None for row in rows):
        return ()
    with ProgressBar(is_wanted=progress) as bar:
        return weigh(rows, n_worlds, n_jobs=n_jobs, watcher=bar)
