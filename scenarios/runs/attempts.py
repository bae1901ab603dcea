"""How often a run is tried, for how long, and what is kept of one that failed."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TypeVar

from planners import PlannerError
from scenarios.errors import RunError
from sim import SimError
from traces import TraceError

T = TypeVar("T")

FAILED = ".failed.txt"
"""Ending of the file beside a run's directory that says why there is none."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often a run is tried, and for how long.

    Attributes:
        n_retries: Tries after one that failed.
        timeout_s: Longest time of one try, from planning to the results; None: any.
    """

    n_retries: int = 0
    timeout_s: float | None = None


class Failure(Exception):
    """A run that could not be made: the last of its errors is the cause.

    Attributes:
        reason: In one line.
        trace: The traceback.
    """

    def __init__(self, error: Exception) -> None:
        is_expected = isinstance(error, RunError | TraceError | PlannerError | SimError)
        said = str(error) if is_expected else f"{type(error).__name__}: {error}"
        self.reason = " ".join(said.split())
        self.trace = "".join(traceback.format_exception(error))
        super().__init__(self.reason)


def attempt(make: Callable[[], T], attempts: Attempts) -> T:
    """What a function gives, if it does so in one of so many tries.

    Raises:
        Failure: It does not.
    """
    for n_left in range(attempts.n_retries, -1, -1):
        try:
            with time_limit(attempts.timeout_s):
                return make()
        except Exception as error:
            if n_left == 0:
                raise Failure(error) from error
    msg = f"n_retries is {attempts.n_retries}; it must be 0 or more"
    raise ValueError(msg)


@contextmanager
def time_limit(timeout_s: float | None) -> Iterator[None]:
    """Interrupt what is done, once it has taken so long; a solver of another language only when it returns.

    Raises:
        RunError: It took longer.
        ValueError: This is not the main thread of its process.
    """
    if timeout_s is None:
        yield
        return

    def interrupt(_: int, __: FrameType | None) -> None:
        msg = f"took longer than {timeout_s:g} s"
        raise RunError(msg)

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def failure_file(directory: Path) -> Path:
    """Where the traceback of a run that failed is kept."""
    return directory.with_name(f"{directory.name}{FAILED}")


def keep_failure(directory: Path, failure: Failure) -> None:
    """Keep a traceback beside the directory that a run was to have.

    A folder that cannot be written is no reason to stop: the run has failed anyway, and the reason is told.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        failure_file(directory).write_text(failure.trace)
    except OSError:
        return
