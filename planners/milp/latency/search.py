"""The objective `latency` for `milp`: the fleet and shares of least latency by the closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from planners.fleets.latency import LoadedFleet, asked, slo_of
from planners.milp.latency.core import find_core
from planners.milp.latency.model import LatencyModel, Solution
from planners.milp.latency.options import Options

if TYPE_CHECKING:
    from planners.problem.problem import PlanningProblem
    from sim.slo import SLO

_ROUNDS = 6
"""How often the MILP is solved again at most, with the mixes that its plan has."""
_N_POLISHES = 2
_N_LEVELS = 12
_PRECISION = 1.01
"""Ratio of two limits between which bisection stops."""
_FINE_PRECISION = 1.004
_MOST_GAIN = 3.0
"""Ratio of a latency that is known and the least one that is looked for."""
_MARGIN = 1.1
_TOLERANCE = 1e-6  # of the share within the SLO
_N_STARTS = 2
_SLACK = 1.01
"""By how much the latency may be above the least one found, if the mean is shorter."""
_MEAN_GAP = 0.01
_SHORTEST_S, _LONGEST_S = 1e-3, 1e4


class Try(NamedTuple):
    """A solution, and by the closed form whether it misses the SLO, its latency and its mean, in seconds."""

    is_missed: bool
    latency_s: float
    mean_s: float
    solution: Solution


class LatencySearch:
    """Looks for the fleet of least latency.

    Args:
        problem: A problem of this objective, with `loads`.
    """

    def __init__(self, problem: PlanningProblem) -> None:
        self._problem = problem
        self._goal, _ = asked(problem)
        self._slo = slo_of(problem)
        self.most_within: float | None = None
        """Largest share of the requests within the SLO of all fleets looked at; None without an SLO or such a fleet."""
        self._options = Options(problem)
        self._core: list[int] = []
        self._tries: list[Try] = []

    def run(self, starts: Iterable[Solution] = ()) -> Try | None:
        """The best solution found; None if no fleet was found that serves all with the headroom, within the SLO.

        Args:
            starts: Fleets to look at, too.
        """
        starts = list(starts)
        rented = {c for start in starts for c, count in enumerate(start.counts) if count > 0}
        self._core = sorted(rented | find_core(self._problem, self._goal, self._options))
        for start in starts:
            self._add(start)
        for one in sorted(self._tries)[:_N_STARTS]:
            self._polish(one.solution)
        best = self._best()
        if best is not None:
            self._options.add_mixes(best.solution.fractions)
        for _ in range(_ROUNDS):
            n_tried = len({one.solution.counts for one in self._tries})
            found = self._least_mean(None) if self._goal.late_share is None else self._less_than(self._least_s())
            if found is None:
                break
            self._polish(found)
            self._options.set_mixes(found.fractions)
            if len({one.solution.counts for one in self._tries}) == n_tried:
                break
        if self._goal.late_share is not None and self._least_s() < math.inf:
            found = self._least_mean(self._least_s())
            if found is not None:
                self._polish(found)
        return self._best()

    def _least_s(self) -> float:
        return min((one.latency_s for one in self._tries if not one.is_missed), default=math.inf)

    def _best(self) -> Try | None:
        """Of the tries within the SLO that are late by no more than the slack, the one of the shortest mean."""
        most_s = self._least_s() * _SLACK
        good = [one for one in self._tries if not one.is_missed and one.latency_s <= most_s]
        return min(good, key=lambda one: (one.mean_s, one.latency_s), default=None)

    def _add(self, solution: Solution) -> float:
        """Keep a solution in mind; returns its latency, infinite if it does not serve everything within the SLO."""
        fleet = LoadedFleet.of(self._problem, solution.counts, solution.fractions)
        if fleet is None:
            return math.inf
        latency_s, mean_s = (fleet.statistic_s(goal) for goal in (self._goal, replace(self._goal, statistic="mean")))
        is_missed = self._slo is not None and not self._is_within(fleet, self._slo)
        self._tries.append(Try(is_missed, latency_s, mean_s, solution))
        return math.inf if is_missed else latency_s

    def _is_within(self, fleet: LoadedFleet, slo: SLO) -> bool:
        share = fleet.share_within(slo)
        self.most_within = max(share, self.most_within or 0.0)
        return share >= slo.attainment - _TOLERANCE

    def _less_than(self, latency_s: float) -> Solution | None:
        """A fleet that keeps to the least limit below a latency; None if it seems that there is none."""

        def within(limit_s: float, *, is_relaxed: bool = False) -> Solution | None:
            model = LatencyModel(self._problem, self._goal, self._options.within(limit_s, self._core))
            return model.solve(limit_s, is_least_mean=False, is_relaxed=is_relaxed, time_limit_s=self._limit_s)

        high_s = min(latency_s / _PRECISION, _LONGEST_S)
        low_s = _SHORTEST_S if latency_s == math.inf else high_s / _MOST_GAIN
        lowest_s, found = _bisect(partial(within, is_relaxed=True), low_s, high_s, _PRECISION)
        return None if found is None else _bisect(within, lowest_s / _PRECISION, high_s, _PRECISION)[1]

    def _least_mean(self, limit_s: float | None) -> Solution | None:
        options = self._options.levels_within(limit_s, self._core)
        model = LatencyModel(self._problem, self._goal, options)
        return model.solve(limit_s, is_least_mean=True, gap=_MEAN_GAP, time_limit_s=self._limit_s)

    def _polish(self, start: Solution) -> None:
        """Look for better shares of a fleet, each time beside the mixes that the last ones gave its replicas."""
        known_s = self._add(start)
        low_s, high_s = (known_s / _MOST_GAIN, known_s * _MARGIN) if known_s < math.inf else (_SHORTEST_S, _LONGEST_S)
        mixes = start.fractions
        for _ in range(_N_POLISHES):
            options = self._options.own_levels(mixes, _N_LEVELS)
            model = LatencyModel(self._problem, self._goal, options, start.counts)
            limit_s = None
            if self._goal.late_share is not None:
                within = partial(model.solve, is_least_mean=False, time_limit_s=self._limit_s)
                limit_s, found = _bisect(within, low_s, high_s, _FINE_PRECISION)
                if found is None:
                    return
            found = model.solve(limit_s, is_least_mean=True, time_limit_s=self._limit_s)
            if found is None:
                return
            self._add(found)
            mixes = found.fractions

    @property
    def _limit_s(self) -> float:
        return self._problem.time_limit_s


def _bisect(
    within: Callable[[float], Solution | None], low: float, high: float, precision: float
) -> tuple[float, Solution | None]:
    """The least limit for which there is a solution, to a ratio, and the solution; None if there is none at `high`."""
    found = within(high)
    while found is not None and high > low * precision:
        middle = math.sqrt(low * high)
        better = within(middle)
        if better is None:
            low = middle
        else:
            high, found = middle, better
    return high, found
