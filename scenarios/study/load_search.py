"""The largest load at which a goal is met with each seed, in few loads that are tried with all seeds.

Attainment falls with the load, but not at each step: requests that come a little faster meet other batches. So the
largest load of a seed is where, from below, the goal is first missed: between the smallest load tried that missed it
and the largest below that, at the point where the straight line between both attainments meets the goal. Larger loads
at which the goal was met again do not count; that there are some is told.

The search makes its steps longer and longer until each seed has met and missed the goal, and then halves the widest of
what is left, so that the number of loads grows with the logarithm of how far the first one is off and of how near the
result is to be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

MOST_LOADS = 12
NEAR = 0.01
"""How far apart the loads around the largest one are at most, relative, unless there have been `MOST_LOADS`."""

_STEP, _LONGEST_STEP = 1.25, 4.0
_REACH = 1000.0  # times the first load or its part, beyond which nothing is looked for
_DIGITS = 4  # of loads, so that those that are printed are those that were tried


class Tried(NamedTuple):
    """A load, and the attainment with each seed."""

    load: float
    attainments: tuple[float, ...]


class Bracket(NamedTuple):
    """What is known of the largest load of a seed: a load at which the goal is met, and one at which it is missed.

    Each with its attainment; None if there was none.
    """

    met: tuple[float, float] | None
    missed: tuple[float, float] | None

    @property
    def width(self) -> float:
        """How far apart they are, as a quotient less 1."""
        return math.inf if self.met is None or self.missed is None else self.missed[0] / self.met[0] - 1

    def largest(self, goal: float) -> float | None:
        """The largest load; 0 if the goal was met at none, None if it was missed at none."""
        if self.missed is None:
            return None
        if self.met is None:
            return 0.0
        (low, at_low), (high, at_high) = self.met, self.missed
        return low + (high - low) * (at_low - goal) / (at_low - at_high)


@dataclass(frozen=True, slots=True)
class LoadSearch:
    """What to look for.

    Attributes:
        goal: Attainment that is asked for.
        first: Load to begin with.
        most: Largest load that can be tried.
        is_whole: Whether loads are whole numbers, of users.
    """

    goal: float
    first: float
    most: float = math.inf
    is_whole: bool = False

    def bracket(self, tried: Sequence[Tried], seed: int) -> Bracket:
        """What is known of a seed, by its place among the attainments."""
        met = None
        for load, attainments in sorted(tried):
            side = load, attainments[seed]
            if side[1] < self.goal:
                return Bracket(met, side)
            met = side
        return Bracket(met, None)

    def is_uneven(self, tried: Sequence[Tried], seed: int) -> bool:
        """Whether a seed met the goal at a larger load than one at which it missed it."""
        missed = self.bracket(tried, seed).missed
        return missed is not None and any(load > missed[0] and at[seed] >= self.goal for load, at in tried)

    def next_load(self, tried: Sequence[Tried]) -> float | None:
        """The load to try next; None if the largest ones are known, or as many as may be were tried."""
        if not tried:
            return self._rounded(self.first)
        if len(tried) >= MOST_LOADS:
            return None
        loads = sorted(load for load, _ in tried)
        first, lowest, highest = tried[0].load, loads[0], loads[-1]
        brackets = [self.bracket(tried, seed) for seed in range(len(tried[0].attainments))]
        if any(one.missed is None for one in brackets) and highest < min(self.most, first * _REACH):
            step = _step(sum(load > first for load in loads))
            return self._rounded(max(highest * step, highest + self._least_step))
        if any(one.met is None for one in brackets) and lowest > max(first / _REACH, self._least_step):
            step = _step(sum(load < first for load in loads))
            return self._rounded(min(lowest / step, lowest - self._least_step))
        return self._between([one for one in brackets if one.met is not None and one.missed is not None])

    @property
    def _least_step(self) -> float:
        return 1.0 if self.is_whole else 0.0

    def _between(self, brackets: Sequence[Bracket]) -> float | None:
        for one in sorted(brackets, key=lambda one: -one.width):
            if one.met is None or one.missed is None or one.width <= NEAR:
                return None
            middle = self._rounded(math.sqrt(one.met[0] * one.missed[0]))
            if one.met[0] < middle < one.missed[0]:
                return middle
        return None

    def _rounded(self, load: float) -> float:
        load = min(load, self.most)
        return float(max(1, round(load))) if self.is_whole else float(f"{load:.{_DIGITS}g}")


def _step(n_before: int) -> float:
    """The factor of the next step in a direction in which so many have been taken."""
    return float(min(_STEP ** (2**n_before), _LONGEST_STEP))
