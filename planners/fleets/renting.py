"""Renting replica after replica, by a rule, until budget or GPUs run out: the common part of the heuristics."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from planners.errors import PlannerError
from planners.fleets.assignment import best_assignment, value_of
from planners.fleets.check import broken_limits
from planners.fleets.exact import cheapest_fleet
from planners.fleets.mix import mix_capacity_rps
from planners.problem.problem import Feature, Objective

if TYPE_CHECKING:
    from planners.problem.problem import PlanningProblem

RentingRule = Callable[["Filling"], int | None]
"""Says which candidate to rent next, or None to stop."""

STARTED_FROM_CHEAPEST = "the rule alone left something unserved: it was started from the cheapest fleet that serves all"


class Filling:
    """A fleet under construction.

    Args:
        problem: The problem.
        counts: Replicas of each candidate that are rented already.

    Attributes:
        counts: Replicas rented of each candidate.
        mix_rps: Of each candidate, the requests/s of the mix demanded that a replica serves (see
            `planners.fleets.mix`).
    """

    def __init__(self, problem: PlanningProblem, counts: Sequence[int]) -> None:
        self.problem = problem
        self.counts = list(counts)
        self.mix_rps = tuple(mix_capacity_rps(problem, c) for c in range(len(problem.candidates)))
        taken = problem.gpus(counts)
        self._left = {gpu: count - taken.get(gpu, 0) for gpu, count in problem.rentable.items()}
        self._usd_per_h = problem.usd_per_h(counts)
        self._running = (0,) * len(counts)
        if problem.previous is not None:
            self._running = problem.previous.counts_of(problem.candidates)
        self._has_more_limits = bool(problem.needs & {Feature.LIMITS, Feature.SWITCHING})

    def rent(self, c: int) -> None:
        """Rent one more replica of a candidate."""
        self.counts[c] += 1
        candidate = self.problem.candidates[c]
        for gpu, n in candidate.gpus:
            self._left[gpu] -= n
        self._usd_per_h = self.problem.usd_per_h(self.counts) if self.problem.offers else self._usd_per_h_with(c)

    def fits(self, c: int) -> bool:
        """Whether with one more replica of a candidate the fleet keeps to all limits."""
        candidate = self.problem.candidates[c]
        if any(n > self._left[gpu] for gpu, n in candidate.gpus):
            return False
        if not self._has_more_limits:
            return self.problem.is_affordable(self._usd_per_h_with(c))
        counts = self.counts.copy()
        counts[c] += 1
        return next(broken_limits(self.problem, counts), None) is None

    def _usd_per_h_with(self, c: int) -> float:
        """What the fleet would cost with one more replica of a candidate."""
        if not self.problem.offers:
            return self._usd_per_h + self.problem.candidates[c].usd_per_h
        return self.problem.usd_per_h(count + (i == c) for i, count in enumerate(self.counts))

    def models(self) -> list[str]:
        """Models with a demand, the least served first: by the pace at which the fleet serves their mix."""
        asked = [demand for demand in self.problem.demands if demand.total > 0]
        return [demand.model for demand in sorted(asked, key=lambda demand: self._pace(demand.model, demand.total))]

    def _pace(self, model: str, total: float) -> float:
        working = self.problem.working(self.counts)
        return math.fsum(working[c] * self.mix_rps[c] for c in self.problem.candidates_of(model)) / total

    def best_value(self, candidates: Iterable[int]) -> int | None:
        """Of the candidates that fit, the one with the most capacity on the mix per dollar, then the most capacity."""
        useful = [c for c in candidates if self._next_rps(c) > 0]
        return next((c for c in sorted(useful, key=self._value, reverse=True) if self.fits(c)), None)

    def _next_rps(self, c: int) -> float:
        """What one more replica of a candidate serves of the mix: less if it must be started first."""
        previous = self.problem.previous
        if previous is None or self.counts[c] < self._running[c]:
            return self.mix_rps[c]
        return self.mix_rps[c] * (1 - previous.start_share(self.problem.candidates[c]))

    def _value(self, c: int) -> tuple[float, float]:
        usd_per_h = self.problem.candidates[c].usd_per_h
        rps = self._next_rps(c)
        return (rps / usd_per_h if usd_per_h > 0 else math.inf, rps)


def fill(problem: PlanningProblem, rule: RentingRule) -> tuple[tuple[int, ...], tuple[str, ...]] | None:
    """Rent by a rule until it stops, or for `cost` until the rates are carried.

    If the fleet cannot serve everything that is demanded, start again from the cheapest fleet that can, however slowly.

    Returns:
        Replicas of each candidate, and what to tell the user; None if nothing is demanded, if no fleet can serve
        everything, or for `cost` if neither start leads to a fleet that carries the rates.

    Raises:
        PlannerError: The rule chose a candidate that does not fit.
    """
    if problem.is_empty:
        return None
    counts = _filled(problem, rule, (0,) * len(problem.candidates))
    if counts is not None:
        return counts, ()
    start = cheapest_fleet(problem)
    if start is None:
        return None
    counts = _filled(problem, rule, start)
    return None if counts is None else (counts, (STARTED_FROM_CHEAPEST,))


def _filled(problem: PlanningProblem, rule: RentingRule, start: Sequence[int]) -> tuple[int, ...] | None:
    filling = Filling(problem, start)
    fleets = [tuple(start)]
    while (c := rule(filling)) is not None:
        _check_fits(filling, c)
        filling.rent(c)
        fleets.append(tuple(filling.counts))
    if not _serves(problem, fleets[-1]):
        return None
    if problem.objective is not Objective.COST:
        return fleets[-1]
    return fleets[bisect_left(fleets, True, key=lambda fleet: _serves(problem, fleet))]


def _check_fits(filling: Filling, c: int) -> None:
    """Make sure that a rule chose a candidate that fits: with one that does not, renting would never end."""
    n_candidates = len(filling.counts)
    if not 0 <= c < n_candidates:
        msg = f"the renting rule chose candidate {c}; there are candidates 0 to {n_candidates - 1}"
        raise PlannerError(msg)
    if not filling.fits(c):
        name = filling.problem.candidates[c].name
        msg = (
            f"the renting rule chose {name!r}, which does not fit beside what is rented: budget, GPUs or another limit "
            "are used up; a rule returns only candidates for which filling.fits(c) is true, or None"
        )
        raise PlannerError(msg)


def _serves(problem: PlanningProblem, counts: Sequence[int]) -> bool:
    """Whether a fleet can serve everything, for `cost` in time. More replicas never unsettle it."""
    return value_of(problem, counts, best_assignment(problem, counts).makespan) < math.inf


def by_value(filling: Filling) -> int | None:
    """The rule of `greedy`: for the least served model that can get one, the replica of best value."""
    for model in filling.models():
        best = filling.best_value(filling.problem.candidates_of(model))
        if best is not None:
            return best
    return None


def in_proportion(filling: Filling) -> int | None:
    """The rule of `uniform`: on the GPU type furthest behind, for the least served model that can get one there."""
    problem = filling.problem
    taken = problem.gpus(filling.counts)
    stock = [(taken.get(gpu, 0) / count, gpu) for gpu, count in problem.available if count > 0]
    for _, gpu in sorted(stock):
        for model in filling.models():
            mine = [
                c for c in problem.candidates_of(model) if [name for name, _ in problem.candidates[c].gpus] == [gpu]
            ]
            best = filling.best_value(mine)
            if best is not None:
                return best
    return None
