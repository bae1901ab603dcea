"""How far clients are from the regions in which GPUs are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from sim.errors import SettingsError
from sim.slo import SLO

if TYPE_CHECKING:
    import polars as pl

ANY = ""
"""As the name of clients: all of them."""

_LEAST_S = 1e-9
"""What is left of a limit that a round trip uses up: nobody keeps it."""


@dataclass(frozen=True, slots=True)
class Network:
    """Round trips between clients and regions.

    The first token of a request, and so all others, is with its client one round trip later than the replica has it.
    What clients send and get after that does not wait for one another.

    Attributes:
        round_trips_s: (clients, region, time); the longest counts where several fit, and none where nothing is said.
        clients: Column of the requests that says whose they are.

    Raises:
        SettingsError: A time is negative or not finite.

    >>> network = Network((("eu users", "us", 0.1), ("eu users", "eu", 0.01)))
    >>> network.between_s("eu users", "us"), network.between_s("others", "us")
    (0.1, 0.0)
    """

    round_trips_s: tuple[tuple[str, str, float], ...]
    clients: Literal["slo_class", "model"] = "slo_class"

    def __post_init__(self) -> None:
        for clients, region, time_s in self.round_trips_s:
            if not 0 <= time_s < inf:
                msg = f"the round trip from {clients} to {region} takes {time_s} s; it must be 0 or more, and finite"
                raise SettingsError(msg)

    def between_s(self, clients: str, region: str) -> float:
        """Time from some clients to a region and back."""
        return max((s for who, to, s in self.round_trips_s if who in (clients, ANY) and to == region), default=0.0)

    def of_requests_s(
        self, requests: pl.DataFrame, replica_id: npt.NDArray[np.int32], regions: Mapping[int, str]
    ) -> npt.NDArray[np.float64]:
        """The round trip of each request to the replica that served it; 0 of those that none did.

        Args:
            requests: The requests, in their order.
            replica_id: Number of the replica of each; -1: none.
            regions: Where the replicas are, by number.
        """
        clients = requests[self.clients]
        times_s = {
            (who, number): self.between_s(who, region)
            for who in clients.unique(maintain_order=True)
            for number, region in regions.items()
        }
        pairs = zip(clients, replica_id.tolist(), strict=True)
        return np.array([times_s.get(pair, 0.0) for pair in pairs], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class DistantSLO(SLO):
    """An SLO of clients that are some way from the replicas: of each, less than the limits is left.

    Attributes:
        network: Round trips from the clients of each model.
    """

    network: Network = Network(())

    def of_place(self, model: str, region: str) -> SLO:
        """What it asks of replicas of a model in a region: TTFT and E2E within what the round trip leaves."""
        own = self.of_model(model)
        trip_s = self.network.between_s(model, region)
        ttft_s, e2e_s = (
            None if limit_s is None else max(limit_s - trip_s, _LEAST_S) for limit_s in (own.ttft_s, own.e2e_s)
        )
        return SLO(ttft_s, own.tpot_s, e2e_s, own.attainment)
