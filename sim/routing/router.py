"""Which replica a request goes to, among those of its model."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sim.replica.replica import Replica


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
            kind: What the length predictor says of the request (see `sim.routing.predictors`).
            tokens: Prompt plus largest output, which the client states (`max_tokens`; here the true output); a replica
                must be able to hold them.
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

    With a fraction w, the n-th request of a kind to a replica, counted from 0, may come when n / w of that kind have
    come, and should come before (n + 1) / w have. Of those that may, the one that should come soonest is next. So
    after any number of requests each replica has its share, to within one (Tijdeman, The chairman assignment problem,
    Discrete Mathematics 32, 1980).

    Args:
        replicas: Replicas of the model.
        weights: For each kind, the weight of each replica; a kind that the plan did not expect has only zeros, and
            goes to all alike.
    """

    is_load_oblivious = True

    def __init__(self, replicas: Sequence[Replica], weights: Sequence[Sequence[float]]) -> None:
        self._replicas = replicas
        self._any = RoundRobin(replicas)
        self._limits = [replica.max_context_tokens for replica in replicas]
        self._turns = [_Turns(kind if any(kind) else [1.0] * len(replicas)) for kind in weights]

    def choose(self, kind: int, tokens: int) -> Replica | None:
        """The replica whose turn it is among those that can hold the request; if only others can, one of them."""
        index = self._turns[kind].take(self._limits, tokens)
        return self._any.choose(kind, tokens) if index is None else self._replicas[index]


class _Turns:
    """Whose turn it is, for some weights."""

    def __init__(self, weights: Sequence[float]) -> None:
        total = sum(weights)
        self._n_taken = 0
        # (may come at, index, n, fraction) and (should come before, index, n, fraction)
        self._later = [(0.0, index, 0, w / total) for index, w in enumerate(weights) if w > 0]
        self._ready: list[tuple[float, int, int, float]] = []

    def take(self, limits: Sequence[int], tokens: int) -> int | None:
        """Whose turn it is, of those whose limit is not below `tokens`; None if it is nobody's."""
        later, ready = self._later, self._ready
        while later and (later[0][0] <= self._n_taken or not ready):
            _, index, n, w = heappop(later)
            heappush(ready, ((n + 1) / w, index, n, w))
        if tokens <= limits[ready[0][1]]:
            _, index, n, w = heappop(ready)
        else:
            able = [turn for turn in (*ready, *later) if tokens <= limits[turn[1]]]
            if not able:
                return None
            turn = min(able, key=lambda turn: ((turn[2] + 1) / turn[3], turn[1]))
            heap = ready if turn in ready else later
            heap.remove(turn)
            heapify(heap)
            _, index, n, w = turn
        self._n_taken += 1
        heappush(later, ((n + 1) / w, index, n + 1, w))
        return index


def decode_speed(replica: Replica, n_decode: int = 32, context_tokens: int = 1024) -> float:
    """Tokens per second of a replica with 32 decodes of 1,024 tokens each: a rough speed to compare replicas by."""
    stage_s = []
    for stage in replica.stages:
        base, slope = stage.decode(n_decode)
        stage_s.append(base + slope * n_decode * context_tokens)
    return n_decode / max(stage_s)
