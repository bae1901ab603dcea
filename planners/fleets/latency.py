"""The latency that a fleet promises at the offered rates: each replica at its own mix and utilisation.

The replicas of a candidate are alike and get as many requests of each type. The share of all requests that take longer
than tau is, with amounts f, shares x and the share late[c,w] of the requests of type w on a replica of c,

    late(tau) = sum_c,w f[w] x[c,w] late[c,w](tau) / sum_w f[w]

and a quantile q is the least tau with late(tau) <= 1 - q. late[c,w] is that of `planners.problem.latency.Loads`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

from planners.fleets.assignment import RATE_TOLERANCE
from planners.problem.latency import LatencyGoal, Loaded, Loads, Metric
from planners.problem.plan import SHARE_TOLERANCE

if TYPE_CHECKING:
    from planners.problem.candidate import Capacities, Fractions
    from planners.problem.problem import PlanningProblem
    from sim.slo import SLO

_PRECISION = 1e-4  # relative, of a quantile
_SHORTEST_S, _LONGEST_S = 1e-6, 1e9
_LATE_TOLERANCE = 1e-9  # of a share: it is a sum


class Part(NamedTuple):
    """Requests of one type of a model on the replicas of one candidate: their share of all requests."""

    share: float
    model: str
    w: int
    loaded: Loaded


class LoadedFleet(NamedTuple):
    """The requests of a fleet that has time for all of them.

    Attributes:
        parts: Their shares sum to 1.
        utilisations: Of each candidate, the share of its time that a replica is busy; 0 if none is rented.
    """

    parts: tuple[Part, ...]
    utilisations: tuple[float, ...]

    @classmethod
    def of(cls, problem: PlanningProblem, counts: Sequence[int], fractions: Fractions) -> Self | None:
        """What the replicas of a fleet are loaded with; None if something is not served, or not in time.

        Args:
            problem: With a `latency` and `loads`.
            counts: Replicas of each candidate.
            fractions: Shares by candidate and type.
        """
        goal, loads = asked(problem)
        for demand in problem.demands:
            mine = problem.candidates_of(demand.model)
            for w, amount in enumerate(demand.amounts):
                if amount > 0 and math.fsum(fractions[c][w] for c in mine) < 1 - SHARE_TOLERANCE:
                    return None
        total = math.fsum(demand.total for demand in problem.demands)
        most = goal.most_utilisation * (1 + RATE_TOLERANCE)
        parts: list[Part] = []
        utilisations = [0.0] * len(counts)
        for c, working in enumerate(problem.working(counts)):
            candidate = problem.candidates[c]
            amounts = [x * f for x, f in zip(fractions[c], problem.demand(candidate.model).amounts, strict=True)]
            if not any(amounts):
                continue
            utilisations[c] = loads.time_s(candidate, amounts) / working if working > 0 else math.inf
            if not utilisations[c] <= most or utilisations[c] >= 1:
                return None
            loaded = loads.loaded(candidate, amounts, utilisations[c])
            parts += [
                Part(amount / total, candidate.model, w, loaded) for w, amount in enumerate(amounts) if amount > 0
            ]
        return cls(tuple(parts), tuple(utilisations))

    def statistic_s(self, goal: LatencyGoal) -> float:
        """The mean or quantile of a metric."""
        most_late = goal.late_share
        if most_late is None:
            return math.fsum(part.share * part.loaded.mean_s(part.w, goal.metric) for part in self.parts)
        low, high = 0.0, 1.0
        while self.late_share(goal, high) > most_late + _LATE_TOLERANCE:
            low, high = high, 2 * high
            if high > _LONGEST_S:
                return math.inf
        low = max(low, _SHORTEST_S)
        while high > low * (1 + _PRECISION):
            middle = math.sqrt(low * high)
            if self.late_share(goal, middle) <= most_late + _LATE_TOLERANCE:
                high = middle
            else:
                low = middle
        return high

    def late_share(self, goal: LatencyGoal, limit_s: float) -> float:
        """Share of the requests whose metric is more than a limit."""
        return math.fsum(part.share * part.loaded.late_share(part.w, goal.metric, limit_s) for part in self.parts)

    def share_within(self, slo: SLO) -> float:
        """Share of the requests within an SLO, at least (see `missed_share`)."""
        missed = (part.share * missed_share(slo, part.model, part.w, part.loaded) for part in self.parts)
        return 1.0 - math.fsum(missed)


def slo_of(problem: PlanningProblem) -> SLO | None:
    """What requests should meet; None without limits."""
    slo = None if problem.trial is None else problem.trial.slo
    return None if slo is None or slo.asks_for_nothing else slo


def missed_share(slo: SLO, model: str, w: int, loaded: Loaded) -> float:
    """Share of the requests of a type that miss an SLO, at most: those that miss two of its limits count twice."""
    own = slo.of_model(model)
    limits: tuple[tuple[Metric, float | None], ...] = (("ttft", own.ttft_s), ("tpot", own.tpot_s), ("e2e", own.e2e_s))
    missed = math.fsum(loaded.late_share(w, metric, most_s) for metric, most_s in limits if most_s is not None)
    return min(1.0, missed)


def latency_s(problem: PlanningProblem, counts: Sequence[int], fractions: Fractions) -> float:
    """The latency that a problem asks for, in seconds; infinite if something is not served, or not in time."""
    fleet = LoadedFleet.of(problem, counts, fractions)
    return math.inf if fleet is None else fleet.statistic_s(asked(problem)[0])


def own_capacities(problem: PlanningProblem, fractions: Fractions) -> Capacities:
    """The capacities of the candidates, of those that serve something at the mixes that they serve."""
    _, loads = asked(problem)
    capacities = []
    for candidate, shares in zip(problem.candidates, fractions, strict=True):
        amounts = [x * f for x, f in zip(shares, problem.demand(candidate.model).amounts, strict=True)]
        capacities.append(loads.capacity_rps(candidate, amounts) if any(amounts) else candidate.capacity_rps)
    return tuple(capacities)


def asked(problem: PlanningProblem) -> tuple[LatencyGoal, Loads]:
    """What is to be made least, and what is known of it.

    Raises:
        ValueError: The problem does not ask for a latency, or nothing is known of it.
    """
    if problem.latency is None or problem.loads is None:
        msg = "the problem does not ask for a latency, or knows none"
        raise ValueError(msg)
    return problem.latency, problem.loads
