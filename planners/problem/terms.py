"""On which terms GPUs can be had: what a fleet pays for them, and what may be lost at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from sim.catalog.gpus import GpuType
    from sim.deployment import ReplicaSpec


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of an offer.

    Attributes:
        name: The offer, as in `PlanningProblem.available`.
        gpus_per_node: GPUs that are rented together; 1 where each is rented alone.
        usd_per_h: What a GPU costs while it is rented; 0 where it is owned, or paid for in any case.
        n_committed: GPUs that are paid for, used or not.
        committed_usd_per_h: What is paid for these.
        is_spot: Whether somebody who bids more takes it away.
        zone: Provider, region and zone, which fails as a whole; empty where nobody says.

    >>> from planners import Candidate, Demand, PlanningProblem
    >>> pair, demand = Candidate("a", "m", (("L40", 2),), 1.8, (1.0,)), Demand("m", None, ("chat",), (100.0,))
    >>> problem = PlanningProblem((demand,), (pair,), (("L40", 8),), 9.0, offers=(Terms("L40", 4, usd_per_h=0.9),))
    >>> problem.usd_per_h((1,)), problem.idle((1,)), problem.usd_per_h((2,))
    (3.6, {'L40': 2}, 3.6)
    """

    name: str
    gpus_per_node: int = 1
    usd_per_h: float = 0.0
    n_committed: int = 0
    committed_usd_per_h: float = 0.0
    is_spot: bool = False
    zone: str = ""

    @classmethod
    def from_gpu_type(cls, gpu_type: GpuType, n_gpus: int) -> Self:
        """The terms of so many GPUs of a market."""
        offer = gpu_type.offer
        if offer is None:
            return cls(gpu_type.name, usd_per_h=gpu_type.usd_per_h)
        n_committed = n_gpus if offer.tenure == "reserved" else 0
        place = (offer.provider, offer.region, offer.zone) if offer.zone else ()
        return cls(
            offer.name,
            offer.gpus_per_node,
            usd_per_h_of_use(gpu_type),
            n_committed,
            gpu_type.usd_per_h * n_committed,
            offer.tenure == "spot",
            "/".join(filter(None, place)),
        )

    @property
    def by_gpu(self) -> Self:
        """The same GPUs, if each could be rented alone."""
        return replace(self, gpus_per_node=1)

    def problems(self) -> Iterator[str]:
        """What is wrong with it."""
        if self.gpus_per_node < 1:
            yield f"offer {self.name!r}: gpus_per_node is {self.gpus_per_node!r}; it must be 1 or more"
        for field in ("usd_per_h", "n_committed", "committed_usd_per_h"):
            if not 0 <= getattr(self, field) < math.inf:
                yield f"offer {self.name!r}: {field} is {getattr(self, field)!r}; it must be 0 or more"


def usd_per_h_of_use(gpu_type: GpuType) -> float:
    """What using a GPU adds to what is paid: nothing where it is paid for in any case."""
    is_paid_by_use = gpu_type.offer is None or gpu_type.offer.is_paid_by_use
    return gpu_type.usd_per_h if is_paid_by_use else 0.0


def replica_usd_per_h(spec: ReplicaSpec) -> float:
    """What a replica adds to what is paid: the price of the GPUs that it takes, where they are paid by use."""
    return sum(stage.n_taken * usd_per_h_of_use(stage.gpu_type) for stage in spec.stages)


def idle_gpus(offers: Sequence[Terms], taken: Mapping[str, int]) -> dict[str, int]:
    """GPUs of each offer that are paid for and that no replica takes: in nodes that are rented, or reserved.

    Args:
        offers: What is offered.
        taken: GPUs that replicas take, by offer.
    """
    in_nodes = {terms.name: -taken.get(terms.name, 0) % terms.gpus_per_node for terms in offers}
    reserved = {terms.name: terms.n_committed - taken.get(terms.name, 0) for terms in offers}
    idle = {name: max(n, reserved[name]) for name, n in in_nodes.items()}
    return {name: n for name, n in idle.items() if n > 0}


def usd_per_h_beside_replicas(offers: Sequence[Terms], taken: Mapping[str, int]) -> float:
    """What is paid beside the prices of replicas: for idle GPUs of nodes, and in any case.

    Args:
        offers: What is offered.
        taken: GPUs that replicas take, by offer.
    """
    idle = idle_gpus(offers, taken)
    of_idle = math.fsum(terms.usd_per_h * idle.get(terms.name, 0) for terms in offers)
    return of_idle + math.fsum(terms.committed_usd_per_h for terms in offers)
