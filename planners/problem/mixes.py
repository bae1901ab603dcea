"""What a replica takes for a mix of requests: what planners linearise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from planners.problem.candidate import Candidate, Capacities


class MixTimes(Protocol):
    """The time T(f) that a replica takes for amounts f of the workload types of its model, and its tangents.

    T is homogeneous: twice the amounts take twice the time. With the capacities h at a mix f, sum_w f_w / h_w is T(f),
    so that adding up types is exact there; 1 / h_w is what one more request of type w takes beside the mix.
    """

    def time_s(self, candidate: Candidate, amounts: Sequence[float]) -> float:
        """T of one replica, in seconds for requests, or the share of its time for requests/s.

        Args:
            candidate: With a `spec`.
            amounts: Of each workload type of its model.

        Returns:
            The time; infinite if a type that is part of the mix cannot be served.
        """
        ...

    def capacity_rps(self, candidate: Candidate, amounts: Sequence[float]) -> tuple[float, ...]:
        """The h of one replica at a mix: requests/s of each workload type, of which planners add up the times.

        Args:
            candidate: With a `spec`.
            amounts: The mix; not all 0.

        Returns:
            The capacities; 0 where a type cannot be served beside the mix.
        """
        ...

    def alone_rps(self, candidates: Sequence[Candidate]) -> Capacities:
        """1 / T of each type by itself: requests/s by candidate and workload type.

        Args:
            candidates: Each with a `spec`.

        Returns:
            The capacities; 0 where a type cannot be served.
        """
        ...
