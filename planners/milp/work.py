"""How much HiGHS may do, counted so that it is the same on every machine, however busy.

HiGHS asks at fixed places of its search whether to go on: after rounds of cuts and heuristics at the root, at nodes and
steps of a dive below it. These questions are counted: one at the root for 12 ms, one below for 0.6 ms, for a
problem of 8,000 numbers, as was measured on one core of a server of 2023; for others the root's time goes with the
square root of their number, that below with the number. So a second of a planning limit is a certain amount of work,
which takes about a CPU second, a third of one or three. The clock is a safety net, at ten times the limit and a minute.
"""

from __future__ import annotations

import math
from typing import Any

import highspy

_ROOT_S = 0.012
_NODE_S = 0.0006
_NUMBERS = 8000
_LEAST = 0.2  # of these times, however small the problem
_PATIENCE = 10.0  # how many times as long as its limit a search may take by the clock
_START_S = 60.0  # and as long as that in any case

STOPPED_BY_CLOCK = (
    "stopped by the clock, at ten times the limit of its work and a minute: this plan may differ on another machine"
)


class Work:
    """An amount of work in seconds, of which searches take their part.

    Attributes:
        left_s: What is left of it.
        is_stopped_by_clock: Whether a search took so long that the clock stopped it.
    """

    def __init__(self, limit_s: float) -> None:
        self.left_s = limit_s
        self.is_stopped_by_clock = False

    @property
    def is_done(self) -> bool:
        """Whether nothing is left."""
        return self.left_s <= 0

    @property
    def clock_limit_s(self) -> float:
        """When the clock stops a search that may do what is left."""
        return _START_S + _PATIENCE * max(0.0, self.left_s)

    def meter(self, n_numbers: int) -> tuple[Any, None]:
        """A callback that stops HiGHS when the work is done, for a problem with so many numbers in its matrix."""
        size = n_numbers / _NUMBERS
        at_root_s, below_s = _ROOT_S * max(_LEAST, math.sqrt(size)), _NODE_S * max(_LEAST, size)

        def count(kind: Any, message: str, seen: Any, answer: Any, data: Any) -> None:
            self.left_s -= below_s if seen.mip_node_count > 0 else at_root_s
            if self.is_done:
                answer.user_interrupt = True

        return count, None

    def ended(self, highs: highspy.Highs) -> None:
        """Note how a search ended."""
        if highs.getModelStatus() == highspy.HighsModelStatus.kTimeLimit:
            self.is_stopped_by_clock = True
