"""Requests that are sent when others have ended: by users in a closed loop, or one after the other in sessions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import numpy as np

from sim.clock import Clock, Order
from traces.closed_loop import ClosedLoop

if TYPE_CHECKING:
    from traces.trace import Trace

_BEFORE_ALL = -1  # instead of a row: a user who begins


class Loops:
    """Sends the requests of a trace that wait for others.

    Each loop is a queue of rows, and users who take the next one when they begin, and whenever their last one has ended
    and they have thought. A session is a loop with one user, who begins when its first request arrives.

    What is due at one time is sent after all else that happens then, but for scheduling, and in the order of the loops:
    so it does not matter in which order requests of several replicas have ended.

    Args:
        trace: The requests.
        clock: The simulation's clock.
        send: Sends the request of a row at a time.
    """

    def __init__(self, trace: Trace, clock: Clock, send: Callable[[int, float], None]) -> None:
        self._clock = clock
        self._send = send
        self._think_s: list[float] = trace.requests["think_s"].to_list()
        self._loop_of: dict[int, int] = {}
        self._rows: list[deque[int]] = []  # of each loop, those that have not been sent
        self._due: list[tuple[float, int, int]] = []  # heap of (time, loop, row that has ended)
        self._starts_s = list(self._make(trace))

    def _make(self, trace: Trace) -> Iterator[tuple[int, float]]:
        """Make the loops; yields (loop, time) for each user who begins."""
        requests = trace.requests
        loop = requests["loop"].to_numpy()
        for index, kind in enumerate(trace.loops):
            rows = np.flatnonzero(loop == index)
            if isinstance(kind, ClosedLoop):
                number = self._add(rows.tolist())
                yield from ((number, start_s) for start_s in kind.starts_s()[: len(rows)])
            else:
                sessions = requests["session_id"].to_numpy()[rows]
                by_session = rows[np.argsort(sessions, kind="stable")]
                bounds = np.flatnonzero(np.diff(np.sort(sessions))) + 1
                for of_session in np.split(by_session, bounds):
                    yield self._add(of_session.tolist()), float(requests["arrival_s"][int(of_session[0])])

    def _add(self, rows: list[int]) -> int:
        number = len(self._rows)
        self._rows.append(deque(rows))
        self._loop_of.update(dict.fromkeys(rows, number))
        return number

    def begin(self) -> None:
        """Let users begin."""
        for loop, start_s in self._starts_s:
            self._plan(start_s, loop, _BEFORE_ALL)

    def on_end(self, row: int, now_s: float) -> None:
        """A request has ended, for good: its user, if it has one, thinks before the next one."""
        loop = self._loop_of.get(row)
        if loop is not None and self._rows[loop]:
            self._plan(now_s + self._think_s[row], loop, row)

    def _plan(self, time_s: float, loop: int, row: int) -> None:
        heappush(self._due, (time_s, loop, row))
        self._clock.at(time_s, Order.NEXT_REQUEST, self._send_due)

    def _send_due(self, _: object) -> None:
        now_s, due = self._clock.now, self._due
        while due and due[0][0] <= now_s:
            _, loop, _ = heappop(due)
            if self._rows[loop]:
                self._send(self._rows[loop].popleft(), now_s)

    @property
    def is_any_to_come(self) -> bool:
        """Whether somebody thinks, or has yet to begin, for whom there is a request left."""
        return any(self._rows[loop] for _, loop, _ in self._due)
