"""Simulated time: SimPy's environment with absolute times and a fixed order of simultaneous events."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from heapq import heappush
from typing import Any

import simpy


class Order(IntEnum):
    """Which of two events at the same time comes first; events of one kind keep the order they were made in."""

    COMPLETION = 0
    AVAILABILITY = 1
    ARRIVAL = 2
    NEXT_REQUEST = 3
    SCHEDULING = 4
    HORIZON = 5


class Alarm(simpy.Event):
    """An event that has been triggered already and calls one function when its time comes."""

    _ok = True
    _value: Any = None

    def __init__(self, clock: Clock, callback: Callable[[simpy.Event], None]) -> None:
        self.env = clock
        self.callbacks = [callback]


class Clock(simpy.Environment):
    """SimPy's environment. `Environment.schedule` takes a delay, and `now + (t - now)` need not be `t`.

    Attributes:
        n_events: Events made so far.

    >>> clock = Clock()
    >>> order = []
    >>> _ = clock.at(0.3, Order.SCHEDULING, lambda _: order.append("schedule"))
    >>> _ = clock.at(0.3, Order.COMPLETION, lambda _: order.append("complete"))
    >>> clock.run()
    >>> order, clock.now
    (['complete', 'schedule'], 0.3)
    """

    n_events = 0

    def at(self, time_s: float, order: Order, callback: Callable[[simpy.Event], None]) -> Alarm:
        """Call `callback` at `time_s`. An alarm that nobody wants any more is ignored by its callback.

        Raises:
            ValueError: The time is past.
        """
        if time_s < self._now:
            msg = f"it is {self._now} s, too late for {time_s} s"
            raise ValueError(msg)
        alarm = Alarm(self, callback)
        self.n_events += 1
        heappush(self._queue, (time_s, order, next(self._eid), alarm))  # type: ignore[misc]
        return alarm
