"""Many runs: all scenarios of a file, spread over processes."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

from planners import PlannerError
from scenarios.errors import RunError
from scenarios.file.load import load
from scenarios.runs.row import Row
from scenarios.runs.series import run_rows
from scenarios.runs.watcher import Watcher
from sim import SimError
from sim.parallel import process_pool
from traces import TraceError


@dataclass(frozen=True, slots=True)
class Task:
    """One scenario of a file with one seed, and all planners: the unit that processes share out.

    Attributes:
        source: The file.
        scenario: Which of its scenarios; None for the file as it stands.
        seed: Seed of the requests.
        sets: Changes, as `path=value`.
        out: Where runs are kept.
        force: Replace runs that are there.
        resume: Read runs that are there, instead of making them.
    """

    source: str
    scenario: str | None
    seed: int
    sets: tuple[str, ...]
    out: Path
    force: bool
    resume: bool


def run_batch(tasks: Sequence[Task], n_jobs: int = 1, watcher: Watcher | None = None) -> list[Row]:
    """Run tasks, and return their rows in the order of the tasks.

    What goes wrong in one of them does not stop the others: it becomes a row that says so.

    Args:
        tasks: What to run.
        n_jobs: Processes.
        watcher: Told how it goes.
    """
    watcher = Watcher() if watcher is None else watcher
    if n_jobs == 1 or len(tasks) == 1:
        return [row for task in tasks for row in _run_task(task, watcher)]
    with process_pool(min(n_jobs, len(tasks))) as pool:
        futures = [pool.submit(_run_task, task) for task in tasks]
        for n_done, _ in enumerate(as_completed(futures)):
            watcher.stage(f"{n_done} of {len(tasks)} scenarios and seeds are done")
        return [row for future in futures for row in future.result()]


def _run_task(task: Task, watcher: Watcher | None = None) -> list[Row]:
    loaded = load(task.source, task.scenario, task.sets)
    try:
        return run_rows(loaded, task.out, seeds=[task.seed], force=task.force, resume=task.resume, watcher=watcher)
    except (PlannerError, RunError, SimError, TraceError) as error:
        reason = str(error)
    except Exception:
        reason = traceback.format_exc()
    return [
        Row(loaded.label, choice.label, task.seed, "failed", {"diagnostics": [reason]})
        for choice in loaded.scenario.planners
    ]
