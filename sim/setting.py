"""The settings of a run, and its requests: what all parts of the engine are made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from sim.catalog.engines import IDEAL_ENGINE, EngineProfile
from sim.replica.batch import Sequence

if TYPE_CHECKING:
    from sim.demand.clients import Clients
    from sim.demand.network import Network
    from sim.deployment import Deployment
    from sim.market import Market
    from sim.observe.observer import Observer
    from sim.protocols import Replanner
    from sim.replica.prefix_cache import Prefixes
    from sim.timing.service_time import ServiceTimeModel
    from traces.trace import Trace

Rows = npt.NDArray[np.int64]
Stepping = Literal["macro", "iteration"]


@dataclass(frozen=True, slots=True)
class Setting:
    """What `sim.simulate` was asked for, once it has been checked.

    Attributes:
        deployment: The replicas to begin with.
        service_time: How long iterations take.
        router: Name of the router.
        length_predictor: What it knows of output lengths.
        stepping: Whether replicas may jump over iterations in which nothing changes.
        horizon_s: When the simulation ends; None: when all requests have.
        prefixes: What is known of the prompts' beginnings; None without prefix caching.
        market: What can be rented over time; None: all replicas are there all the time.
        replanner: Decides whether another deployment is to run; None: it stays the same.
        clients: How long clients wait; None: for ever.
        max_queued_requests: Most requests that may wait at a replica; None for any number.
        engine: How replicas schedule, and how long their front end takes.
        observer: Notes what replicas do, step by step; None: only sums are kept.
        network: How far clients are from regions; None: no way at all.
    """

    deployment: Deployment
    service_time: ServiceTimeModel
    router: str
    length_predictor: str
    stepping: Stepping
    horizon_s: float | None
    prefixes: Prefixes | None
    market: Market | None = None
    replanner: Replanner | None = None
    clients: Clients | None = None
    max_queued_requests: int | None = None
    engine: EngineProfile = IDEAL_ENGINE
    observer: Observer | None = None
    network: Network | None = None

    @property
    def is_macro(self) -> bool:
        """Whether replicas may jump over iterations in which nothing changes."""
        return self.stepping == "macro"

    @property
    def are_replicas_apart(self) -> bool:
        """Whether nothing but the router could make replicas influence one another."""
        is_free = self.market is None and self.clients is None and self.max_queued_requests is None
        return self.is_macro and is_free


class Requests(NamedTuple):
    """What replicas get to know of the requests: one entry per row of the trace."""

    arrival_s: npt.NDArray[np.float64]
    prompt_tokens: npt.NDArray[np.int64]
    output_tokens: npt.NDArray[np.int64]

    @classmethod
    def of(cls, trace: Trace) -> Requests:
        """The requests of a trace."""
        return cls(*(trace.requests[name].to_numpy() for name in cls._fields))

    def sequences(self, rows: Rows) -> Iterator[tuple[float, Sequence]]:
        """Arrival times and sequences of some rows, each made when it is asked for."""
        prompt_tokens, output_tokens = self.prompt_tokens[rows].tolist(), self.output_tokens[rows].tolist()
        sequences = map(Sequence, rows.tolist(), prompt_tokens, output_tokens)
        return zip(self.arrival_s[rows].tolist(), sequences, strict=True)

    def later(self, delay_s: float) -> Requests:
        """The same requests, each so much later."""
        return self._replace(arrival_s=self.arrival_s + delay_s)

    def take(self, rows: Rows) -> Requests:
        """The requests of some rows."""
        return Requests(self.arrival_s[rows], self.prompt_tokens[rows], self.output_tokens[rows])
