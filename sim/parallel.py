"""Replicas that do not influence one another, served in several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from sim.fleet import Fleet, Meter, Records, Requests, Rows, Setting

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor
    from types import TracebackType


class Processes:
    """This process, and helpers that serve a part of the replicas each.

    Helpers take some tenths of a second to start; whoever enters the context can do something else meanwhile.

    Args:
        n_processes: How many there are, with this one.
    """

    def __init__(self, n_processes: int) -> None:
        self._n = n_processes
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        """Start the helpers."""
        if self._n > 1:
            from concurrent.futures import ProcessPoolExecutor
            from multiprocessing import get_context

            self._pool = ProcessPoolExecutor(self._n - 1, mp_context=get_context("spawn"))
            for _ in range(self._n - 1):
                self._pool.submit(_start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End them."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def serve(self, fleet: Fleet, setting: Setting, requests: Requests, rows: list[Rows], meter: Meter) -> None:
        """Serve everything: replica i in process i modulo their number.

        Args:
            fleet: The fleet; it gets all records.
            setting: What it was made from.
            requests: The requests.
            rows: For each replica, the rows of the requests that come to it.
            meter: Reports how far it is.
        """
        futures = []
        if self._pool is not None:
            for process in range(1, self._n):
                of_replicas = dict(list(enumerate(rows))[process :: self._n])
                part = np.concatenate(list(of_replicas.values()))
                ends = np.cumsum([len(of_replica) for of_replica in of_replicas.values()])
                renumbered = dict(zip(of_replicas, np.split(np.arange(len(part)), ends[:-1]), strict=True))
                prefixes = None if setting.prefixes is None else setting.prefixes.take(part)
                setting_of_part = setting._replace(prefixes=prefixes)
                future = self._pool.submit(_serve_part, setting_of_part, requests.take(part), renumbered)
                futures.append((future, part))
        fleet.serve_apart(requests, dict(list(enumerate(rows))[:: self._n]), meter)
        for future, part in futures:
            fleet.records.add(future.result(), part)


def _start() -> None:
    """Have a helper import this module, and with it all that it needs."""


def _serve_part(setting: Setting, requests: Requests, rows: dict[int, Rows]) -> Records:
    fleet = Fleet(setting, len(requests.arrival_s))
    fleet.serve_apart(requests, rows, Meter(None))
    return fleet.records
