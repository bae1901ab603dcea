"""Times of mixes in closed form, of which types help or hinder each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from planners import Candidate
from planners.problem.candidate import Capacities


@dataclass(frozen=True)
class PairTimes:
    """T(f) = sum_w t_w f_w + k f_0 f_1 / (f_0 + f_1), with t = 1 / h and k of each candidate.

    With k > 0 it is concave: types hinder each other, as on pipelines. With k < 0 it is convex: they help each other.

    Attributes:
        alone: h by candidate name.
        ties_s: k by candidate name; more than minus the least t.
    """

    alone: dict[str, tuple[float, ...]]
    ties_s: dict[str, float]

    def time_s(self, candidate: Candidate, amounts: Sequence[float]) -> float:
        if any(f > 0 and h == 0 for f, h in zip(amounts, self.alone[candidate.name], strict=True)):
            return math.inf
        alone_s = sum(f / h for f, h in zip(amounts, self.alone[candidate.name], strict=True) if f > 0)
        both = amounts[0] + amounts[1]
        return alone_s + (self.ties_s[candidate.name] * amounts[0] * amounts[1] / both if both > 0 else 0.0)

    def capacity_rps(self, candidate: Candidate, amounts: Sequence[float]) -> tuple[float, ...]:
        both = amounts[0] + amounts[1]
        other = [amounts[1 - w] / both if both > 0 else 0.0 for w in (0, 1)] + [0.0] * (len(amounts) - 2)
        rates = self.alone[candidate.name]
        k = self.ties_s[candidate.name]
        return tuple(1 / (1 / h + k * o * o) if h > 0 else 0.0 for h, o in zip(rates, other, strict=True))

    def alone_rps(self, candidates: Sequence[Candidate]) -> Capacities:
        return tuple(self.alone[candidate.name] for candidate in candidates)
