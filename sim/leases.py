"""Replicas that are rented: since when, whether they take requests, until when, and who has to go first."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sim.deployment import ReplicaSpec
    from sim.market import Victims
    from sim.replica.replica import Replica

Wanted = tuple[tuple["ReplicaSpec", int], ...]
"""Replicas that are to run, and how many of each."""

_VICTIMS_STREAM = 201  # numbers of the random streams; 200 to 299 are this package's


@dataclass(slots=True, eq=False)
class Lease:
    """A replica that is or was rented.

    Attributes:
        replica: The replica.
        rented_s: Since when it costs.
        open_s: From when on it takes requests; None while it boots.
        notice_s: Since when it takes no more, because of the market or of another plan; None if it still does.
        released_s: When it was gone; None if it is still there.
        is_draining: Whether it goes when its requests have ended, whatever the market says.
        is_ahead: Whether it is for the next deployment, and waits for all else that is.
        outages: When it failed and when it was to take requests again, for each failure.
        is_down: Whether it has failed and does not take requests yet.
        ends_s: When it goes at the latest, because the market takes its nodes back.
    """

    replica: Replica
    rented_s: float
    open_s: float | None = None
    notice_s: float | None = None
    released_s: float | None = None
    is_draining: bool = False
    is_ahead: bool = False
    outages: list[tuple[float, float]] = field(default_factory=list)
    is_down: bool = False
    ends_s: float = inf

    @property
    def is_open(self) -> bool:
        """Whether it takes requests."""
        return self.open_s is not None and self.notice_s is None and not self.is_ahead and not self.is_down


def match_leases(leases: list[Lease], wanted: Wanted) -> tuple[dict[int, int], list[int]]:
    """Which replicas have a place in a deployment, by their number, and how many of each entry are missing.

    Those that can take requests come first.
    """
    missing = [count for _, count in wanted]
    places = {}
    for lease in sorted(leases, key=lambda lease: lease.open_s is None):
        spec = lease.replica.spec
        entry = next((e for e, (other, _) in enumerate(wanted) if missing[e] > 0 and other == spec), None)
        if entry is not None:
            missing[entry] -= 1
            places[lease.replica.replica_id] = entry
    return places, missing


class VictimOrder:
    """In which order replicas get notice when the market wants GPUs back.

    Args:
        rule: The rule (`Market.victims`).
        seed: For `random`.
    """

    def __init__(self, rule: Victims, seed: int) -> None:
        self._rule = rule
        sequence = np.random.SeedSequence(entropy=seed, spawn_key=(_VICTIMS_STREAM,))
        self._rng = np.random.Generator(np.random.PCG64(sequence))

    def in_order(self, leases: list[Lease]) -> list[Lease]:
        """The same leases, those that have to go first in front.

        Args:
            leases: In the order of renting.
        """
        match self._rule:
            case "newest":
                return leases[::-1]
            case "cheapest":
                return sorted(leases, key=lambda lease: (lease.replica.spec.usd_per_h, -lease.replica.replica_id))
            case "random":
                return [leases[index] for index in self._rng.permutation(len(leases))]
