"""Replicas that do not influence one another, served in several processes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import numpy as np

from sim.fleet import Fleet, Records
from sim.progress import Meter
from sim.setting import Requests, Rows, Setting

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future, ProcessPoolExecutor
    from types import TracebackType

_LOTS_PER_PROCESS = 32  # so that nobody waits long for the last lot, where processors are not equally fast


@contextmanager
def process_pool(n_processes: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that leave Ctrl-C to this one, which ends them then, and that end when this one is gone.

    They take some tenths of a second to start; whoever enters the context can do something else meanwhile.
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import active_children, get_context

    others = active_children()
    ignore = (signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(n_processes, get_context("spawn"), initializer=_begin)
    # A process that is started while a signal is ignored ignores it from its first moment. Each job starts one.
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(*ignore) if is_main else None
    try:
        for _ in range(n_processes):
            pool.submit(_start)
    finally:
        if is_main:
            signal.signal(signal.SIGINT, handler)
    try:
        yield pool
    except KeyboardInterrupt:
        for process in active_children():
            if process not in others:
                process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


class Processes:
    """This process, and helpers.

    Args:
        n_processes: How many there are, with this one.
    """

    def __init__(self, n_processes: int) -> None:
        self._n = n_processes
        self._context: AbstractContextManager[ProcessPoolExecutor] | None = None
        self._pool: Executor | None = None

    def __enter__(self) -> Self:
        """Start the helpers."""
        if self._n > 1:
            self._context = process_pool(self._n - 1)
            self._pool = self._context.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End them."""
        if self._context is not None:
            self._context.__exit__(kind, error, traceback)

    def serve(self, fleet: Fleet, setting: Setting, requests: Requests, rows: list[Rows], meter: Meter) -> None:
        """Serve everything, in lots of some replicas each; whoever is ready takes the next lot.

        Args:
            fleet: The fleet; it gets all records.
            setting: What it was made from.
            requests: The requests.
            rows: For each replica, the rows of the requests that come to it.
            meter: Reports how far it is.
        """
        pool = self._pool
        if pool is None:
            fleet.serve_apart(requests, dict(enumerate(rows)), meter)
            return
        n_lots = _LOTS_PER_PROCESS * self._n
        lots = [dict(list(enumerate(rows))[lot::n_lots]) for lot in range(min(n_lots, len(rows)))]
        submitted = [(lot, *_submit(pool, setting, requests, lot, meter)) for lot in lots]
        # Helpers take lots from the front, this process from the back.
        for lot, _, future in reversed(submitted):
            if future.cancel():
                fleet.serve_apart(requests, lot, meter)
        for _, part, future in submitted:
            if not future.cancelled():
                fleet.records.add(future.result(), part)


def _submit(
    pool: Executor, setting: Setting, requests: Requests, lot: dict[int, Rows], meter: Meter
) -> tuple[Rows, Future[Records]]:
    """Have a helper serve some replicas; returns the rows of their requests, too."""
    part = np.concatenate(list(lot.values()))
    ends = np.cumsum([len(of_replica) for of_replica in lot.values()])
    renumbered = dict(zip(lot, np.split(np.arange(len(part)), ends[:-1]), strict=True))
    prefixes = None if setting.prefixes is None else setting.prefixes.take(part)
    future = pool.submit(_serve_part, replace(setting, prefixes=prefixes), requests.take(part), renumbered)
    future.add_done_callback(lambda done: None if done.cancelled() else meter.add(len(part)))
    return part, future


def _begin() -> None:
    """In a new process: leave Ctrl-C to the one that started it, and end with that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _start() -> None:
    """Have a helper import this module, and with it all that it needs."""


def _serve_part(setting: Setting, requests: Requests, rows: dict[int, Rows]) -> Records:
    fleet = Fleet(setting, len(requests.arrival_s), rows)
    fleet.serve_apart(requests, rows, Meter())
    return fleet.records
