"""What can be rented, and what is asked: the parts of a planning problem."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Self

from planners.problem.terms import replica_usd_per_h

if TYPE_CHECKING:
    from sim.deployment import ReplicaSpec
    from traces.bursts import Bursts
    from traces.workload import WorkloadMix

Fractions = tuple[tuple[float, ...], ...]
"""`fractions[c][w]`: the share of type w, of the model of candidate c, that the replicas of c serve together."""

Capacities = tuple[tuple[float, ...], ...]
"""`capacities[c][w]`: requests/s of type w that a replica of candidate c serves."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A replica configuration that can be rented, as often as budget and availability allow.

    Attributes:
        name: Unique in a problem.
        model: Name of the model it serves.
        gpus: Pairs of a GPU type and how many of it a replica takes, sorted by name.
        usd_per_h: Price of a replica: of the GPUs that it takes, where these are not paid for in any case.
        capacity_rps: Requests/s of each workload type of its model that a replica serves if all its time is theirs;
            0 where it cannot serve the type.
        spec: The replica, for the simulator; None where capacities come from a file.
    """

    name: str
    model: str
    gpus: tuple[tuple[str, int], ...]
    usd_per_h: float
    capacity_rps: tuple[float, ...]
    spec: ReplicaSpec | None = None

    @classmethod
    def from_spec(cls, spec: ReplicaSpec, capacity_rps: Iterable[float], name: str | None = None) -> Self:
        """The candidate that a replica makes; it is called as the replica if no name is given."""
        gpus = tuple(spec.gpus.items())
        own_name = spec.name if name is None else name
        return cls(own_name, spec.model.name, gpus, replica_usd_per_h(spec), tuple(capacity_rps), spec)

    @property
    def n_gpus(self) -> int:
        """GPUs of all types."""
        return sum(n for _, n in self.gpus)


class TooLong(NamedTuple):
    """Requests for a model that are longer than any replica to be had can hold, and that nothing is promised for.

    Attributes:
        n_requests: How many.
        share: Their share of all requests for the model.
        longest_tokens: Prompt and output of the longest.
        held_tokens: Prompt and output of the longest request that a replica holds.
        goal: Share of all requests that should meet the SLO; 0 if none is asked for.
    """

    n_requests: int
    share: float
    longest_tokens: int
    held_tokens: int
    goal: float = 0.0

    @property
    def breaks_slo(self) -> bool:
        """Whether too few requests can be served for the SLO to be met."""
        return 1 - self.share < self.goal - GOAL_TOLERANCE

    @property
    def goal_of_rest(self) -> float:
        """Share of the others that should meet the SLO, so that enough of all do; the goal if all are too few."""
        return self.goal if self.breaks_slo else min(1.0, self.goal / (1 - self.share))

    def in_words(self, model: str) -> str:
        """What they are, and what follows for the SLO."""
        longer = f"of the requests for {model} are longer than the {self.held_tokens:,} tokens that a replica can hold"
        said = f"{_percent(self.share)} {longer}: {self.n_requests:,}, the longest with {self.longest_tokens:,} tokens"
        if not self.breaks_slo:
            return f"{said}; nothing is promised for them"
        return f"{said}; at most {_percent(1 - self.share)} can be served, the SLO asks for {_percent(self.goal)}"


GOAL_TOLERANCE = 1e-9


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


_WHOLE = 0.02
"""Share of the time without a request of a model, before its first and after its last one, that is no pause."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of one model.

    Attributes:
        model: Name of the model.
        mix: The workload types and their mean lengths; None where capacities come from a file.
        type_names: Names of the workload types.
        amounts: Of each type a number of requests (objective `makespan`) or requests/s (`throughput`, `cost`): those
            to plan for, which are more than come in the mean where they come in bursts.
        shed_usd_per_request: Of each type, the penalty for not serving a request; infinite if it must be served. Empty
            if all must be.
        too_long: Requests that no replica can hold; they are not part of the amounts. None if there are none.
        types_error: By what share the time of requests of the types' mean lengths misses that of the requests at most;
            None where types were not made for the requests.
        bursts: How requests come; None where that is not known, or no matter.
        margin: The amounts over what comes in the mean.

    >>> from traces.workload import PAPER_GRID, WorkloadMix
    >>> mix = WorkloadMix.from_shares(PAPER_GRID, (0.5, 0, 0, 0, 0.25, 0, 0, 0, 0.25))
    >>> Demand.from_requests("Llama-3-70B", mix, n_requests=1000).amounts[4]
    250.0
    """

    model: str
    mix: WorkloadMix | None
    type_names: tuple[str, ...]
    amounts: tuple[float, ...]
    shed_usd_per_request: tuple[float, ...] = ()
    too_long: TooLong | None = None
    types_error: float | None = None
    bursts: Bursts | None = None
    margin: float = 1.0

    @classmethod
    def from_requests(cls, model: str, mix: WorkloadMix, n_requests: float) -> Self:
        """A number of requests of a mix, for the objective `makespan`."""
        names = tuple(kind.name for kind in mix.grid.types)
        return cls(model, mix, names, tuple(n_requests * share for share in mix.share))

    @classmethod
    def from_rate(cls, model: str, mix: WorkloadMix, rate_rps: float) -> Self:
        """A rate of requests of a mix, for the objectives `throughput` and `cost`."""
        return cls.from_requests(model, mix, rate_rps)

    @property
    def total(self) -> float:
        """Amount of all types."""
        return math.fsum(self.amounts)

    def with_bursts(self, bursts: Bursts) -> Self:
        """The demand, whose amounts are means so far, with those to plan for where requests come like this.

        Those of a model may come in a part of the time only: then it is their rate in that part that is planned for.
        """
        while_they_come = bursts.mean_rps / self.total
        is_part = while_they_come > 1 + _WHOLE
        return replace(self.raised(bursts.factor * (while_they_come if is_part else 1.0)), bursts=bursts)

    def raised(self, factor: float) -> Self:
        """The demand with so many times the amounts to plan for, of as many requests."""
        amounts = tuple(factor * amount for amount in self.amounts)
        return replace(self, amounts=amounts, margin=factor * self.margin)

    def mix_rps(self, capacity_rps: tuple[float, ...]) -> float:
        """Requests/s of the mix demanded that a replica with these capacities serves.

        It divides its time over the types, so that its rate is the harmonic mean 1 / sum_w share_w / h_w. If it cannot
        serve some types, it is the rate at which it serves the rest, times their share.
        """
        able = [(f, h) for f, h in zip(self.amounts, capacity_rps, strict=True) if f > 0 and h > 0]
        if not able:
            return 0.0
        served = math.fsum(f for f, _ in able)
        return served / math.fsum(f / h for f, h in able) * served / self.total

    def can_shed(self, w: int) -> bool:
        """Whether requests of a type may be left unserved."""
        return bool(self.shed_usd_per_request) and self.shed_usd_per_request[w] < math.inf

    def shed_usd_per_h(self, w: int) -> float:
        """What it costs to shed all of a type, if amounts are requests/s."""
        return self.shed_usd_per_request[w] * self.amounts[w] / self.margin * 3600.0
