"""The front end of a serving engine: what lies between a client and the engine's queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sim.clock import Clock, Order

if TYPE_CHECKING:
    from sim.replica.batch import Sequence


class FrontEnd:
    """Lets requests through after a while.

    Args:
        delay_s: How long each is on its way.
        clock: The simulation's clock.
        send: Called with each request that has passed, and the time.
    """

    def __init__(self, delay_s: float, clock: Clock, send: Callable[[Sequence, float], None]) -> None:
        self._delay_s = delay_s
        self._clock = clock
        self._send = send
        self._inside: dict[Sequence, None] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no request is on its way."""
        return not self._inside

    def take(self, seq: Sequence, now_s: float) -> None:
        """Take in a request that a client sends."""
        if not self._delay_s:
            self._send(seq, now_s)
            return
        self._inside[seq] = None
        self._clock.at(now_s + self._delay_s, Order.ARRIVAL, lambda _: self._let_through(seq))

    def drop(self, seq: Sequence) -> bool:
        """Forget a request whose client has given up; False if it has passed already."""
        if seq not in self._inside:
            return False
        del self._inside[seq]
        return True

    def _let_through(self, seq: Sequence) -> None:
        if self.drop(seq):
            self._send(seq, self._clock.now)
