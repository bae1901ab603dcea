"""The requests of a trace come on a clock that all replicas share: at their times, or when others have ended."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from sim.clock import Clock, Order
from sim.demand.clients import Attempts
from sim.demand.frontend import FrontEnd
from sim.demand.loops import Loops
from sim.replica.batch import Sequence

if TYPE_CHECKING:
    from sim.dispatch import Dispatcher
    from sim.progress import Meter
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
        self._n_coming = 0  # at times that are known
        self._loops: Loops | None = None

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
        trace = dispatcher.trace
        coming = np.arange(len(trace))
        if trace.loops:
            coming = trace.requests["loop"].is_null().arg_true().to_numpy().astype(np.int64)
            dispatcher.log.wait_for(trace.requests, coming)
            self._loops = loops = Loops(trace, self._clock, self._send_row)
            dispatcher.follow(loops)
            loops.begin()
        self._n_coming = len(coming)
        self._wait_for_next(self._meter.watch(self._requests.sequences(coming)))

    def _wait_for_next(self, arrivals: Iterator[tuple[float, Sequence]]) -> None:
        """Send the next request when its time has come, and so on."""
        arrival_s, seq = next(arrivals, (inf, None))
        if seq is None:
            return

        def arrive(_: object) -> None:
            self._wait_for_next(arrivals)
            self._n_coming -= 1
            self._send(seq, arrival_s)

        self._clock.at(arrival_s, Order.ARRIVAL, arrive)

    def _send_row(self, row: int, now_s: float) -> None:
        """Send a request that has waited for another one."""
        self._dispatcher.log.sent_s[row] = now_s
        self._meter.note(now_s)
        prompt_tokens, output_tokens = self._requests.prompt_tokens[row], self._requests.output_tokens[row]
        self._send(Sequence(row, int(prompt_tokens), int(output_tokens)), now_s)

    def _send(self, seq: Sequence, now_s: float) -> None:
        self.n_arrived += 1
        attempts = self._dispatcher.attempts
        if attempts is None:
            self._frontend.take(seq, now_s)
        else:
            attempts.begin(seq, now_s)

    def _withdraw(self, seq: Sequence, now_s: float) -> None:
        if not self._frontend.drop(seq):
            self._dispatcher.withdraw(seq, now_s)

    @property
    def is_any_to_come(self) -> bool:
        """Whether a request is still to come, for the first time or again."""
        if self._n_coming or not self._frontend.is_empty:
            return True
        if self._loops is not None and self._loops.is_any_to_come:
            return True
        attempts = self._dispatcher.attempts
        return attempts is not None and attempts.n_to_come > 0
