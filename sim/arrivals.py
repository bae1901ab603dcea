"""The requests of a trace come, one after the other, on a clock that all replicas share."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from sim.clients import Attempts
from sim.clock import Clock, Order
from sim.frontend import FrontEnd

if TYPE_CHECKING:
    from sim.dispatch import Dispatcher
    from sim.progress import Meter
    from sim.replica.batch import Sequence
    from sim.setting import Requests, Setting


class Arrivals:
    """Sends each request when its time has come.

    Args:
        setting: Whether clients wait for ever, and how long the front end takes.
        requests: The requests.
        dispatcher: Sends them to replicas.
        clock: The simulation's clock.
        meter: Reports how far it is.

    Attributes:
        n_arrived: Requests that have come.
    """

    def __init__(
        self, setting: Setting, requests: Requests, dispatcher: Dispatcher, clock: Clock, meter: Meter
    ) -> None:
        self.n_arrived = 0
        self._clients = setting.clients
        self._requests = requests
        self._dispatcher = dispatcher
        self._clock = clock
        self._meter = meter
        self._frontend = FrontEnd(setting.engine.frontend_s, clock, dispatcher.send)

    def begin(self) -> None:
        """Let requests come."""
        dispatcher = self._dispatcher
        if self._clients is not None:
            dispatcher.attempts = Attempts(
                self._clients,
                self._clock,
                dispatcher.log,
                send=self._frontend.take,
                withdraw=self._withdraw,
                fail=dispatcher.fail,
            )
        everybody = self._requests.sequences(np.arange(len(self._requests.arrival_s)))
        self._wait_for_next(self._meter.watch(everybody))

    def _wait_for_next(self, arrivals: Iterator[tuple[float, Sequence]]) -> None:
        """Send the next request when its time has come, and so on."""
        arrival_s, seq = next(arrivals, (inf, None))
        if seq is None:
            return
        attempts = self._dispatcher.attempts
        send = self._frontend.take if attempts is None else attempts.begin

        def arrive(_: object) -> None:
            self._wait_for_next(arrivals)
            self.n_arrived += 1
            send(seq, arrival_s)

        self._clock.at(arrival_s, Order.ARRIVAL, arrive)

    def _withdraw(self, seq: Sequence, now_s: float) -> None:
        if not self._frontend.drop(seq):
            self._dispatcher.withdraw(seq, now_s)

    @property
    def is_any_to_come(self) -> bool:
        """Whether a request is still to come, for the first time or again."""
        if self.n_arrived < len(self._requests.arrival_s) or not self._frontend.is_empty:
            return True
        attempts = self._dispatcher.attempts
        return attempts is not None and attempts.n_to_come > 0
