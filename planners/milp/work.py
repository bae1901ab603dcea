"""How much HiGHS may do, counted so that it is the same on every machine, however busy.

HiGHS asks at fixed places of its search whether to go on: each node, each round of cuts, each step of a dive. These
questions are counted, and more for a large problem: on one core of a server of 2023 there are 140 to 400 of them in a
CPU second for problems of 1,000 to 9,000 numbers. So a second of a planning limit is a certain amount of work, which
takes about a CPU second. The clock is a safety net, at ten times the limit.
"""

from __future__ import annotations

from typing import Any

import highspy

_QUESTION_S = 0.005
_NUMBERS = 10_000  # of a problem from which on questions count for more, in proportion
_PATIENCE = 10.0  # how many times as long as its limit a search may take by the clock
_START_S = 10.0  # and as long as that in any case

STOPPED_BY_CLOCK = "stopped by the clock, at ten times the limit of its work: this plan may differ on another machine"


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
        each_s = _QUESTION_S * max(1.0, n_numbers / _NUMBERS)

        def count(kind: Any, message: str, seen: Any, answer: Any, data: Any) -> None:
            self.left_s -= each_s
            if self.is_done:
                answer.user_interrupt = True

        return count, None

    def ended(self, highs: highspy.Highs) -> None:
        """Note how a search ended."""
        if highs.getModelStatus() == highspy.HighsModelStatus.kTimeLimit:
            self.is_stopped_by_clock = True
