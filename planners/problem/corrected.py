"""Capacities, and times of mixes, times what simulation has shown them to be wrong by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planners.problem.candidate import Candidate, Capacities
    from planners.problem.mixes import MixTimes
    from planners.problem.problem import PlanningProblem


@dataclass(frozen=True, slots=True)
class CorrectedMixTimes:
    """Times of mixes (`planners.problem.mixes`) over a factor for each candidate.

    Attributes:
        mixes: The times.
        factors: By name; 1 of those that are not part of it.
    """

    mixes: MixTimes
    factors: Mapping[str, float]

    def time_s(self, candidate: Candidate, amounts: Sequence[float]) -> float:
        """See `planners.problem.mixes.MixTimes`."""
        return self.mixes.time_s(candidate, amounts) / self.factors.get(candidate.name, 1.0)

    def capacity_rps(self, candidate: Candidate, amounts: Sequence[float]) -> tuple[float, ...]:
        """See `planners.problem.mixes.MixTimes`."""
        return self._times_factor(candidate, self.mixes.capacity_rps(candidate, amounts))

    def alone_rps(self, candidates: Sequence[Candidate]) -> Capacities:
        """See `planners.problem.mixes.MixTimes`."""
        pairs = zip(candidates, self.mixes.alone_rps(candidates), strict=True)
        return tuple(self._times_factor(candidate, rates) for candidate, rates in pairs)

    def _times_factor(self, candidate: Candidate, rates: Sequence[float]) -> tuple[float, ...]:
        factor = self.factors.get(candidate.name, 1.0)
        return tuple(factor * h for h in rates)


def corrected_problem(problem: PlanningProblem, factors: Mapping[str, float]) -> PlanningProblem:
    """The problem with the capacities of some candidates, and what it knows of mixes, times a factor.

    Args:
        problem: The problem.
        factors: By name of a candidate.
    """
    rows = (tuple(factors.get(one.name, 1.0) * h for h in one.capacity_rps) for one in problem.candidates)
    mixes = None if problem.mixes is None else CorrectedMixTimes(problem.mixes, dict(factors))
    return replace(problem.with_capacities(tuple(rows)), mixes=mixes)
