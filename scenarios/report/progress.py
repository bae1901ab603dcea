"""Progress on stderr, for whatever takes more than a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from scenarios.runs.watcher import Watcher

PATIENCE_S = 1.0
LOG_EVERY_S = 10.0


class ProgressBar(Watcher):
    """Says what is being done, and of a simulation how many requests have arrived, how fast, and what is left.

    On a terminal it appears after a second, and leaves nothing behind. Elsewhere, in a log, it says something only if
    that is wanted: what begins, and every ten seconds how far the simulation is.

    Args:
        is_wanted: None: if stderr is a terminal.
    """

    def __init__(self, *, is_wanted: bool | None = None) -> None:
        self._console = console = Console(stderr=True, markup=False, emoji=False)
        self._is_wanted = console.is_terminal if is_wanted is None else is_wanted
        self._stages = Progress(SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        self._requests = Progress(_Figures(), TimeRemainingColumn(), TextColumn("left"))
        self._batch = Progress(TextColumn("{task.description}", markup=False))
        self._live = Live(Group(self._batch, self._stages, self._requests), console=console, transient=True)
        self._start_s = time.monotonic()
        self._show_at_s = self._start_s + PATIENCE_S
        self._say_batch_at_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def stage(self, description: str, n_requests: int | None = None) -> None:
        """Say what begins."""
        for part in (self._stages, self._requests):
            for task in part.task_ids:
                part.remove_task(task)
        self._stages.add_task(description)
        if n_requests is not None:
            self._requests.add_task("", total=n_requests, simulated_s=0.0)
        if self._console.is_terminal:
            self._show()
        elif self._is_wanted:
            self._console.print(description, soft_wrap=True)

    def batch(self, n_done: int, n_failed: int, n_running: int, n_all: int) -> None:
        """Say how far a batch is, and how long the rest takes if it goes on like this; in a log every ten seconds."""
        now_s = time.monotonic()
        left = "" if n_done == 0 else f", {_rounded((now_s - self._start_s) / n_done * (n_all - n_done))} left"
        failed = f", {n_failed} of them with runs that failed" if n_failed else ""
        text = f"{n_done} of {n_all} scenarios and seeds done{failed}, {n_running} running{left}"
        for task in self._batch.task_ids:
            self._batch.remove_task(task)
        self._batch.add_task(text)
        if self._console.is_terminal:
            self._show()
        elif self._is_wanted and (now_s >= self._say_batch_at_s or n_done == n_all):
            self._console.print(text, soft_wrap=True)
            self._say_batch_at_s = now_s + LOG_EVERY_S

    def note(self, text: str) -> None:
        """Say it, also where no progress is wanted: it bears on the results."""
        self._console.print(Text(f"Note: {text}"), soft_wrap=True)

    def progress(self, simulated_s: float, n_arrived: int) -> None:
        """Say how far the simulation is."""
        for task in self._requests.task_ids:
            self._requests.update(task, completed=n_arrived, simulated_s=simulated_s)
        self._show()

    def _show(self) -> None:
        now_s = time.monotonic()
        if not self._is_wanted or now_s < self._show_at_s:
            return
        if self._console.is_terminal:
            self._live.start()  # it goes on by itself
        else:
            self._console.print(self._requests)
        self._show_at_s = now_s + LOG_EVERY_S


def _rounded(time_s: float) -> str:
    """A time that is only guessed.

    >>> _rounded(12.4), _rounded(200.0), _rounded(9000.0)
    ('about 12 s', 'about 3 min', 'about 2.5 h')
    """
    if time_s < 90:
        return f"about {time_s:.0f} s"
    return f"about {time_s / 60:.0f} min" if time_s < 5400 else f"about {time_s / 3600:.1f} h"


@contextmanager
def download_bar(name: str, *, is_wanted: bool | None = None) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on stderr; what is yielded is to be called with the bytes that have come, and those expected.

    Args:
        name: What is downloaded.
        is_wanted: None: if stderr is a terminal.
    """
    console = Console(stderr=True, markup=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    is_shown = console.is_terminal if is_wanted is None else is_wanted
    with Progress(*columns, console=console, transient=True, disable=not is_shown) as bar:
        task = bar.add_task(name, total=None)
        yield lambda n_bytes, n_expected: bar.update(task, completed=n_bytes, total=n_expected)


class _Figures(ProgressColumn):
    """Requests, requests per second, and the simulated time."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        rate = "" if speed is None else f", {speed:,.0f}/s"
        simulated = timedelta(seconds=int(task.fields["simulated_s"]))
        return Text(f"{task.completed:,.0f} of {task.total:,.0f} requests{rate}, simulated {simulated}")
