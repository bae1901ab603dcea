"""Progress on stderr, for whatever takes more than a second."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from scenarios.run import Watcher

PATIENCE_S = 1.0


class ProgressBar(Watcher):
    """A line on stderr that says what is being done; it appears after a second, and leaves nothing behind."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        console = Console(stderr=True, quiet=is_quiet)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None)
        self._started_s = time.monotonic()
        self._is_shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def stage(self, description: str, n_requests: int | None = None) -> None:
        """Say what begins."""
        self._show_if_slow()
        self._bar.update(self._task, description=description, completed=0, total=n_requests)

    def progress(self, simulated_s: float, n_arrived: int) -> None:
        """Move the bar."""
        self._show_if_slow()
        self._bar.update(self._task, completed=n_arrived)

    def _show_if_slow(self) -> None:
        if not self._is_shown and time.monotonic() - self._started_s > PATIENCE_S:
            self._is_shown = True
            self._bar.start()
