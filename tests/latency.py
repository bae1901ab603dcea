"""Replicas whose latencies are known in closed form, and the least latency by trying fleets and shares."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planners import Candidate, Demand, Objective, PlanningProblem
from planners.fleets.latency import latency_s
from planners.problem.latency import LatencyGoal, Metric
from tests.planning import fleets


@dataclass(frozen=True)
class Shared:
    """A processor that is shared: a request that takes s alone takes s / (1 - u) on average, exponentially long."""

    alone_s: tuple[float, ...]
    utilisation: float

    def mean_s(self, w: int, metric: Metric) -> float:
        return self.alone_s[w] / (1 - self.utilisation)

    def late_share(self, w: int, metric: Metric, limit_s: float) -> float:
        return math.exp(-limit_s / self.mean_s(w, metric))

    def rough_late_share(self, w: int, metric: Metric, limit_s: float) -> float:
        return self.late_share(w, metric, limit_s)


@dataclass(frozen=True)
class SharedLoads:
    """Times that add up; a request takes 1 / h alone."""

    def time_s(self, candidate: Candidate, amounts: Sequence[float]) -> float:
        return math.fsum(
            f / h if h > 0 else math.inf for f, h in zip(amounts, candidate.capacity_rps, strict=True) if f > 0
        )

    def capacity_rps(self, candidate: Candidate, amounts: Sequence[float]) -> tuple[float, ...]:
        return candidate.capacity_rps

    def loaded(self, candidate: Candidate, mix: Sequence[float], utilisation: float) -> Shared:
        alone_s = tuple(1 / h if h > 0 else math.inf for h in candidate.capacity_rps)
        return Shared(alone_s, utilisation)


def latency_problem(rates: tuple[float, ...], goal: LatencyGoal, budget_usd_per_h: float = 5.0) -> PlanningProblem:
    """Two workload types; a fast and dear candidate, a slow and cheap one, and one that is good at the first type."""
    return PlanningProblem(
        demands=(Demand("m", None, ("short", "long"), rates),),
        candidates=(
            Candidate("fast", "m", (("a", 1),), 2.5, (8.0, 2.0)),
            Candidate("slow", "m", (("b", 1),), 1.0, (3.0, 0.5)),
            Candidate("short", "m", (("b", 2),), 1.5, (9.0, 0.4)),
        ),
        available=(("a", 2), ("b", 3)),
        budget_usd_per_h=budget_usd_per_h,
        objective=Objective.LATENCY,
        latency=goal,
        loads=SharedLoads(),
    )


def least_latency_s(problem: PlanningProblem, n_steps: int = 20) -> float:
    """The least latency over all fleets, and shares on a grid; infinite if none serves everything."""
    least = math.inf
    for counts in fleets(problem):
        rented = [c for c, count in enumerate(counts) if count > 0]
        for shares in itertools.product(_divisions(len(rented), n_steps), repeat=2) if rented else ():
            fractions = [[0.0, 0.0] for _ in counts]
            for w, of_type in enumerate(shares):
                for c, share in zip(rented, of_type, strict=True):
                    fractions[c][w] = share
            least = min(least, latency_s(problem, counts, tuple(map(tuple, fractions))))
    return least


def _divisions(n_parts: int, n_steps: int) -> Iterator[tuple[float, ...]]:
    for cuts in itertools.combinations_with_replacement(range(n_steps + 1), n_parts - 1):
        edges = (0, *cuts, n_steps)
        yield tuple((b - a) / n_steps for a, b in itertools.pairwise(edges))
