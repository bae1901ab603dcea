"""What planners may simulate with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.catalog.engines import EngineProfile
    from sim.demand.network import Network
    from sim.slo import SLO
    from sim.timing.service_time import ServiceTimeModel
    from traces.trace import Trace


@dataclass(frozen=True, slots=True)
class Trial:
    """What a planner may simulate with.

    Attributes:
        service_time: How long iterations take.
        requests: Requests of all models, like those to come. Planners take the lengths of each workload type from them,
            and as many of each as are demanded.
        slo: What requests should meet; None asks for nothing.
        router: Which router will route them.
        length_predictor: What it will know of output lengths.
        engine: The serving engine of all replicas; None: an ideal one.
        prefix_caching: Whether requests share what their prompts have in common; None: as `sim.simulate` decides.
        prefix_segment_tokens: Prompt tokens for which a prefix hash stands; None: as the requests say.
        network: How far the clients of each model are from regions; None: no way at all.
        knows_arrivals: Whether requests will come as these do; else only their lengths are alike.
    """

    service_time: ServiceTimeModel
    requests: Trace
    slo: SLO | None = None
    router: str = "plan_weighted"
    length_predictor: str = "oracle"
    engine: EngineProfile | None = None
    prefix_caching: bool | None = None
    prefix_segment_tokens: int | None = None
    network: Network | None = None
    knows_arrivals: bool = True
