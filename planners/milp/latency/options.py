"""What replicas may be for the objective `latency`: candidates at levels of utilisation, beside some mix of types.

What a request takes depends on what else its replica serves: beside short answers alone, a slow replica is fast. So a
candidate has several roles. Its types are sorted by how long they take on it when it is idle, in three groups; a role
is one group or several that follow each other, in the proportions of the demand. Once a plan gives a candidate a mix of
its own, this is its only role.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from planners.fleets.latency import asked, missed_share, slo_of

if TYPE_CHECKING:
    from planners.problem.candidate import Fractions
    from planners.problem.latency import Loaded
    from planners.problem.problem import PlanningProblem

MIN_UTILISATION = 0.02
_N_GROUPS = 3
_N_LEVELS = 24
_FEW = 0.2
_LEVELS = (0.25, 0.5, 0.75, 0.9, 1.0)
"""Of the highest level of a role."""
_TRACE = 1e-4  # share of the demanded mix in a mix of its own, so that each type has a latency


class Option(NamedTuple):
    """A replica of a candidate at a level of utilisation.

    Attributes:
        c: The candidate.
        utilisation: Share of its time that it is busy.
        capacity_rps: Of each type, at full rate; 0 where it does not serve the type.
        loaded: Its latencies.
        missed: Of each type, the share of requests that miss the SLO.
    """

    c: int
    utilisation: float
    capacity_rps: tuple[float, ...]
    loaded: Loaded
    missed: tuple[float, ...]


class Role(NamedTuple):
    """A candidate beside a mix: the mix, and the capacities that add up to its time."""

    c: int
    mix: tuple[float, ...]
    capacity_rps: tuple[float, ...]


class Options:
    """The options of all candidates of a problem.

    Args:
        problem: With a `latency` and `loads`.
    """

    def __init__(self, problem: PlanningProblem) -> None:
        self._problem = problem
        self._goal, self._loads = asked(problem)
        most = self._goal.most_utilisation
        self._grid = [MIN_UTILISATION, *(most * (k + 1) / _N_LEVELS for k in range(1, _N_LEVELS))]
        self._every: dict[int, Role] = {}
        self._roles: dict[int, list[Role]] = {}
        self._loaded: dict[tuple[int, tuple[float, ...], float], Loaded] = {}
        self._missed: dict[tuple[int, tuple[float, ...], float], tuple[float, ...]] = {}
        self._slo = slo_of(problem)

    def add_mixes(self, fractions: Fractions) -> None:
        """From now on candidates that a plan has serving something have its mix as a role, too."""
        for c, shares in enumerate(fractions):
            if any(shares):
                self._roles[c] = [*self._roles_of(c), self._own_role(c, shares)]

    def set_mixes(self, fractions: Fractions) -> None:
        """From now on candidates that a plan has serving something have its mix as their only role."""
        for c, shares in enumerate(fractions):
            if any(shares):
                self._roles[c] = [self._own_role(c, shares)]

    def within(self, limit_s: float, candidates: Sequence[int]) -> list[Option]:
        """For a quantile: each role at the highest level at which each type is in time, and at the highest of all."""
        most_late = self._goal.late_share or 0.0
        most = self._goal.most_utilisation
        options = []
        for c in candidates:
            roles = self._roles_of(c)
            options.append(self.option(roles[0], most))
            for role in roles:
                if most_late > _FEW:  # where many may be late, it pays to be late with some at any level
                    options += [self.option(role, most * level) for level in _LEVELS[:-1]]
                level = self._level_within(role, limit_s, most_late)
                if MIN_UTILISATION <= level < most:
                    options.append(self.option(role, level))
        return options

    def levels_within(self, limit_s: float | None, candidates: Sequence[int]) -> list[Option]:
        """The roles of some candidates at several levels, up to the highest that keeps to a limit if one is given."""
        most, most_late = self._goal.most_utilisation, self._goal.late_share or 0.0
        options = []
        for c in candidates:
            for role in self._roles_of(c):
                highest = most if limit_s is None else self._level_within(role, limit_s, most_late)
                levels = sorted({highest * level for level in _LEVELS if highest * level >= MIN_UTILISATION} | {most})
                options += [self.option(role, level) for level in levels]
        return options

    def own_levels(self, fractions: Fractions, n_levels: int) -> list[Option]:
        """Candidates beside the mixes of a plan, at evenly spread levels."""
        most = self._goal.most_utilisation
        return [
            self.option(self._own_role(c, shares), most * (k + 1) / n_levels)
            for c, shares in enumerate(fractions)
            if any(shares)
            for k in range(n_levels)
        ]

    def _roles_of(self, c: int) -> list[Role]:
        if c not in self._roles:
            self._roles[c] = self._find_roles(c)
        return self._roles[c]

    def every(self, c: int) -> Role:
        """The role of a candidate beside all that it can serve of the demand."""
        if c not in self._every:
            self._every[c] = self._role(c, self._able(c))
        return self._every[c]

    def _able(self, c: int) -> list[int]:
        candidate = self._problem.candidates[c]
        amounts = self._problem.demand(candidate.model).amounts
        return [w for w, h in enumerate(candidate.capacity_rps) if h > 0 and amounts[w] > 0]

    def _find_roles(self, c: int) -> list[Role]:
        every, able = self.every(c), self._able(c)
        idle = self._at(every, MIN_UTILISATION)
        able.sort(key=lambda w: (idle.mean_s(w, self._goal.metric), w))
        ends = sorted({math.ceil(len(able) * k / _N_GROUPS) for k in range(_N_GROUPS + 1)})
        ranges = [able[first:last] for first, last in combinations(ends, 2) if last - first < len(able)]
        return [every, *(self._role(c, types) for types in ranges)]

    def _role(self, c: int, types: Sequence[int]) -> Role:
        candidate = self._problem.candidates[c]
        amounts = self._problem.demand(candidate.model).amounts
        mix = tuple(amount if w in types else 0.0 for w, amount in enumerate(amounts))
        capacities = self._loads.capacity_rps(candidate, mix)
        return Role(c, mix, tuple(h if m > 0 else 0.0 for h, m in zip(capacities, mix, strict=True)))

    def _own_role(self, c: int, shares: Sequence[float]) -> Role:
        candidate = self._problem.candidates[c]
        amounts = self._problem.demand(candidate.model).amounts
        parts = zip(shares, amounts, candidate.capacity_rps, strict=True)
        mix = tuple((x + _TRACE) * amount if h > 0 else 0.0 for x, amount, h in parts)
        return Role(c, mix, self._loads.capacity_rps(candidate, mix))

    def option(self, role: Role, level: float) -> Option:
        """A role at a level."""
        return Option(role.c, level, role.capacity_rps, self._at(role, level), self._missed_at(role, level))

    def _at(self, role: Role, level: float) -> Loaded:
        key = role.c, role.mix, level
        if key not in self._loaded:
            self._loaded[key] = self._loads.loaded(self._problem.candidates[role.c], role.mix, level)
        return self._loaded[key]

    def _missed_at(self, role: Role, level: float) -> tuple[float, ...]:
        slo, key = self._slo, (role.c, role.mix, level)
        if slo is None:
            return (0.0,) * len(role.mix)
        if key not in self._missed:
            model, loaded = self._problem.candidates[role.c].model, self._at(role, level)
            shares = (missed_share(slo, model, w, loaded) if m > 0 else 0.0 for w, m in enumerate(role.mix))
            self._missed[key] = tuple(shares)
        return self._missed[key]

    def _level_within(self, role: Role, limit_s: float, most_late: float) -> float:
        """The highest level at which no type of a role is late, or misses the SLO, more often than may be; else 0."""
        metric = self._goal.metric
        types = [w for w, amount in enumerate(role.mix) if amount > 0]
        may_miss = 0.0 if self._slo is None else 1.0 - self._slo.attainment
        slowest_first = self._at(role, MIN_UTILISATION)
        types.sort(key=lambda w: -slowest_first.mean_s(w, metric))

        def is_late(level: float) -> bool:
            loaded = self._at(role, level)
            if any(loaded.rough_late_share(w, metric, limit_s) > most_late for w in types):
                return True
            return max(self._missed_at(role, level)) > may_miss

        levels = self._grid
        n_in_time = bisect_left(levels, True, key=is_late)
        return levels[n_in_time - 1] if n_in_time > 0 else 0.0
