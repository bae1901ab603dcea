"""Which replica a request goes to, among those of its model."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace
from typing import TYPE_CHECKING, Protocol

from sim.errors import UnknownNameError
from traces.errors import nearest

if TYPE_CHECKING:
    from sim.deployment import RoutingTable
    from sim.replica import Replica


class Router(Protocol):
    """Chooses a replica for each request of one model.

    It is made from the replicas and, for each kind of request, the weight that the plan gives each of them.

    Attributes:
        is_load_oblivious: Whether its choices do not depend on what replicas are doing, but only on the requests.
    """

    is_load_oblivious: bool

    def choose(self, kind: int, tokens: int) -> Replica | None:
        """The replica for a request, or None if it fits on none.

        Args:
            kind: What the length predictor says of the request (see `sim.predictors`).
            tokens: Prompt plus largest output, as the client states it; a replica must be able to hold them.
        """
        ...


class RoundRobin:
    """Each replica in turn, whatever it is and does."""

    is_load_oblivious = True

    def __init__(self, replicas: Sequence[Replica], weights: Sequence[Sequence[float]] = ()) -> None:
        self._replicas = replicas
        self._next = 0

    def choose(self, kind: int, tokens: int) -> Replica | None:
        """The next replica in turn that can hold the request."""
        replicas = self._replicas
        for _ in replicas:
            replica = replicas[self._next]
            self._next = (self._next + 1) % len(replicas)
            if tokens <= replica.max_context_tokens:
                return replica
        return None


class LeastLoaded:
    """The replica with the fewest requests, queued and running, for its speed; ties rotate."""

    is_load_oblivious = False

    def __init__(self, replicas: Sequence[Replica], weights: Sequence[Sequence[float]] = ()) -> None:
        self._replicas = replicas
        self._speeds = [decode_speed(replica) for replica in replicas]
        self._next = 0

    def choose(self, kind: int, tokens: int) -> Replica | None:
        """The least loaded replica that can hold the request."""
        n = len(self._replicas)
        best: int | None = None
        best_load = 0.0
        for i in range(self._next, self._next + n):
            index = i % n
            replica = self._replicas[index]
            load = (replica.n_outstanding + 1) / self._speeds[index]
            if (best is None or load < best_load) and tokens <= replica.max_context_tokens:
                best, best_load = index, load
        if best is None:
            return None
        self._next = (best + 1) % n
        return self._replicas[best]


class PlanWeighted:
    """Smooth weighted round robin over the plan's fractions, for each kind of request apart.

    A replica that has n requests of a kind and a fraction w of it comes up at (n + 1/2) / w, the smallest first
    (Webster's method): after any number of requests each replica has its share, to within about one.

    Args:
        replicas: Replicas of the model.
        weights: For each kind, the fraction of each replica.
    """

    is_load_oblivious = True

    def __init__(self, replicas: Sequence[Replica], weights: Sequence[Sequence[float]]) -> None:
        self._replicas = replicas
        self._any = RoundRobin(replicas)
        self._turns = [self._first_turns(fractions) for fractions in weights]

    def _first_turns(self, fractions: Sequence[float]) -> list[tuple[float, int, int, float]]:
        if not any(fractions):  # a kind that the plan did not expect
            fractions = [1.0] * len(fractions)
        turns = [(0.5 / w, index, 0, w) for index, w in enumerate(fractions) if w > 0]
        heapify(turns)
        return turns

    def choose(self, kind: int, tokens: int) -> Replica | None:
        """The replica whose turn it is; if it cannot hold the request, the next that can."""
        turns = self._turns[kind]
        _, index, n, weight = turns[0]
        replica = self._replicas[index]
        if tokens <= replica.max_context_tokens:
            heapreplace(turns, ((n + 1.5) / weight, index, n + 1, weight))
            return replica
        return self._choose_among_large(turns, tokens)

    def _choose_among_large(self, turns: list[tuple[float, int, int, float]], tokens: int) -> Replica | None:
        for turn in sorted(turns):
            _, index, n, weight = turn
            if tokens <= self._replicas[index].max_context_tokens:
                turns.remove(turn)
                turns.append(((n + 1.5) / weight, index, n + 1, weight))
                heapify(turns)
                return self._replicas[index]
        return self._any.choose(0, tokens)


def decode_speed(replica: Replica, n_decode: int = 32, context_tokens: int = 1024) -> float:
    """Tokens per second of a replica with 32 decodes of 1,024 tokens each: a rough speed to compare replicas by."""
    stage_s = []
    for stage in replica.stages:
        base, slope = stage.decode(n_decode)
        stage_s.append(base + slope * n_decode * context_tokens)
    return n_decode / max(stage_s)


ROUTERS: dict[str, type[RoundRobin | LeastLoaded | PlanWeighted]] = {
    "least_loaded": LeastLoaded,
    "plan_weighted": PlanWeighted,
    "round_robin": RoundRobin,
}


def make_router(
    name: str,
    replicas: Sequence[Replica],
    entries: Sequence[int],
    table: RoutingTable | None,
    kinds: Sequence[Sequence[float]],
) -> Router:
    """The router of this name for the replicas of one model.

    Args:
        name: One of `ROUTERS`.
        replicas: Replicas of the model.
        entries: For each of them, its entry in `Deployment.replicas`.
        table: The model's routing table; without one, all replicas weigh the same.
        kinds: For each kind of request, the probability of each workload type.

    Raises:
        UnknownNameError: No such router; the message names the nearest.
    """
    if name not in ROUTERS:
        msg = f"unknown router {name!r}: {nearest(name, ROUTERS)}"
        raise UnknownNameError(msg)
    if table is None:
        return ROUTERS[name](replicas, [[1.0] * len(replicas)] * len(kinds))
    weights = [
        [
            sum(p * f for p, f in zip(probabilities, table.fractions[entry], strict=True)) / entries.count(entry)
            for entry in entries
        ]
        for probabilities in kinds
    ]
    return ROUTERS[name](replicas, weights)
