"""Many runs: all scenarios of some files, shared out among workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from scenarios.errors import RunError
from scenarios.file.load import load
from scenarios.file.loaded import LoadedScenario
from scenarios.runs.attempts import Attempts, Failure, failure_file
from scenarios.runs.claims import Claims
from scenarios.runs.directory import run_directory
from scenarios.runs.row import Row
from scenarios.runs.series import failed_row, kept_row, run_rows
from scenarios.runs.store import Store
from scenarios.runs.watcher import Watcher

OpenExecutor = Callable[[int], AbstractContextManager[Executor]]
"""Starts so many workers."""


@dataclass(frozen=True, slots=True)
class Task:
    """One scenario of a file with one seed, and all planners: the unit that workers share out.

    Attributes:
        source: The file.
        scenario: Which of its scenarios; None for the file as it stands.
        seed: Seed of the requests.
        sets: Changes, as `path=value`.
        out: Where runs are kept.
        force: Replace runs that are there.
        resume: Read runs that are there, instead of making them.
        attempts: How often each run is tried, and for how long.
        claims: Claims of other workers that share the folder; None: there are none.
        store: Where finished runs are put, too; None: nowhere.
        is_taken_over: Whether it belongs to another worker's share: it is left alone if anybody has finished it.
    """

    source: str
    scenario: str | None
    seed: int
    sets: tuple[str, ...]
    out: Path
    force: bool
    resume: bool
    attempts: Attempts = field(default_factory=Attempts)
    claims: Claims | None = None
    store: Store | None = None
    is_taken_over: bool = False

    @property
    def key(self) -> tuple[str, str | None, int]:
        """What tells it from the other tasks of a batch."""
        return self.source, self.scenario, self.seed

    def load(self) -> LoadedScenario:
        """Its scenario."""
        return load(self.source, self.scenario, self.sets)

    def claimed(self, claims: Claims, *, is_taken_over: bool = False) -> Task:
        """The task of a worker among others."""
        return replace(self, claims=claims, is_taken_over=is_taken_over)


def run_batch(
    tasks: Sequence[Task], open_executor: OpenExecutor | None = None, n_workers: int = 1, watcher: Watcher | None = None
) -> Iterator[tuple[Task, list[Row]]]:
    """Run tasks, and give the rows of each as soon as they are there.

    What goes wrong in one of them does not stop the others: it becomes rows that say so.

    Args:
        tasks: What to run.
        open_executor: Starts the workers; None: this process does the work.
        n_workers: How many.
        watcher: Told how it goes.
    """
    watcher = Watcher() if watcher is None else watcher
    count = _Count(watcher, len(tasks), n_workers)
    if open_executor is None:
        for task in tasks:
            yield task, count.add(run_task(task, watcher))
        return
    left = list(tasks)
    while left:
        for task, rows in _until_a_worker_dies(left, open_executor, n_workers):
            left.remove(task)
            yield task, count.add(rows)
        # Those that were running when a worker died are tried alone, so that none of them is blamed for another.
        for task in left[: n_workers + 1]:
            rows = _alone(task, open_executor)
            left.remove(task)
            yield task, count.add(rows)


def _until_a_worker_dies(
    tasks: Sequence[Task], open_executor: OpenExecutor, n_workers: int
) -> Iterator[tuple[Task, list[Row]]]:
    with open_executor(min(n_workers, len(tasks))) as executor:
        futures: dict[Future[list[Row]], Task] = {}
        with suppress(BrokenExecutor):  # a worker has died already: what was not submitted is left
            for task in tasks:
                futures[executor.submit(run_task, task)] = task
        for future in as_completed(futures):
            error = future.exception()
            if not isinstance(error, BrokenExecutor):
                yield futures[future], _rows_of(futures[future], future)


def _alone(task: Task, open_executor: OpenExecutor) -> list[Row]:
    with open_executor(1) as executor:
        return _rows_of(task, executor.submit(run_task, task))


def _rows_of(task: Task, future: Future[list[Row]]) -> list[Row]:
    """What a worker gives back, or rows that say what became of it."""
    try:
        return future.result()
    except BrokenExecutor:
        return _failed_rows(task, Failure(RunError("the process that made it died, perhaps for want of memory")))
    except Exception as error:
        return _failed_rows(task, Failure(error))


def run_task(task: Task, watcher: Watcher | None = None) -> list[Row]:
    """Make the runs of a task; none if another worker has claimed it."""
    loaded = task.load()
    make = partial(_rows, task, loaded, watcher)
    if task.store is not None:
        return _stored(task, task.store, loaded, make)
    if task.claims is None:
        return make()
    name = f"{loaded.label},seed={task.seed}"
    if task.is_taken_over and task.claims.is_done(name):
        return []
    with task.claims.hold(name) as is_mine:
        return make() if is_mine else []


def _stored(task: Task, store: Store, loaded: LoadedScenario, make: Callable[[], list[Row]]) -> list[Row]:
    """Make runs that are not in a store yet, and put them there, and why others failed."""
    try:
        if task.resume:
            store.fetch(task.out, f"scenario={loaded.label}")
        rows = make()
        for row in rows:
            directory = run_directory(task.out, *row.key)
            if row.status == "ok":
                store.push(directory, task.out)
            elif failure_file(directory).exists():
                store.put(failure_file(directory), task.out)
    except RunError as error:
        return [
            failed_row(loaded, choice.label, task.seed, task.out, Failure(error)) for choice in loaded.scenario.planners
        ]
    return rows


def _rows(task: Task, loaded: LoadedScenario, watcher: Watcher | None) -> list[Row]:
    try:
        return run_rows(
            loaded,
            task.out,
            seeds=[task.seed],
            force=task.force,
            resume=task.resume,
            attempts=task.attempts,
            watcher=watcher,
        )
    except Exception as error:
        return _failed_rows(task, Failure(error))


def _failed_rows(task: Task, failure: Failure) -> list[Row]:
    """Rows that say so; of those runs that were published before, if they are not older than the task, their own."""
    loaded = task.load()
    rows = []
    for choice in loaded.scenario.planners:
        kept = None if task.force else kept_row(loaded, choice.label, task.seed, task.out)
        rows.append(kept or failed_row(loaded, choice.label, task.seed, task.out, failure))
    return rows


class _Count:
    """Tells a watcher how far a batch is."""

    def __init__(self, watcher: Watcher, n_tasks: int, n_workers: int) -> None:
        self._watcher, self._n_tasks, self._n_workers = watcher, n_tasks, n_workers
        self._n_done = self._n_failed = 0
        self._tell()

    def add(self, rows: list[Row]) -> list[Row]:
        """A task is done; returns its rows."""
        self._n_done += 1
        self._n_failed += any(row.status == "failed" for row in rows)
        self._tell()
        return rows

    def _tell(self) -> None:
        n_running = min(self._n_workers, self._n_tasks - self._n_done)
        self._watcher.batch(self._n_done, self._n_failed, n_running, self._n_tasks)
