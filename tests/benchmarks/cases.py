"""Benchmark cases: a deployment and a trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sim import (
    CompactServiceTime,
    Deployment,
    ReplicaLimits,
    ReplicaSpec,
    SimulationResult,
    gpu_type,
    model_spec,
    simulate,
)
from sim.setting import Stepping
from traces import FixedTypes, GammaArrivals, PoissonArrivals, Trace, azure_conv_like, synthesize
from traces.synth import AZURE_CONV_LENGTHS

MODEL = model_spec("Llama-3-8B")


@dataclass(frozen=True, slots=True)
class Case:
    """A simulation to time.

    Attributes:
        name: What it shows.
        trace: Makes its requests; not timed.
        n_replicas: Replicas of Llama-3-8B on one A100 each. 16 carry about 150 requests/s of the conversation mix.
        router: Which router.
        kv_blocks: KV blocks of each replica, if not what its memory holds.
    """

    name: str
    trace: Callable[[], Trace]
    n_replicas: int
    router: str = "round_robin"
    kv_blocks: int | None = None

    def run(self, trace: Trace, stepping: Stepping = "macro", n_jobs: int = 1) -> SimulationResult:
        """Simulate it."""
        limits = ReplicaLimits(kv_blocks=self.kv_blocks)
        spec = ReplicaSpec.uniform(MODEL, gpu_type("A100-SXM-80GB"), limits=limits)
        return simulate(
            Deployment(((spec, self.n_replicas),)),
            trace,
            service_time=CompactServiceTime(),
            router=self.router,
            stepping=stepping,
            n_jobs=n_jobs,
        )


def azure(n_requests: int, rate_rps: float) -> Callable[[], Trace]:
    """Requests like those of Azure's conversation trace, of Poisson arrivals."""
    return lambda: azure_conv_like(n_requests, seed=0, rate_rps=rate_rps, model=MODEL.name)


def bursty(n_requests: int, rate_rps: float) -> Callable[[], Trace]:
    """The same requests in bursts: the gaps between them vary four times as much as in a Poisson process."""
    return lambda: synthesize(GammaArrivals(rate_rps, 4.0), AZURE_CONV_LENGTHS, n_requests, seed=0, model=MODEL.name)


def long_outputs(n_requests: int, rate_rps: float) -> Callable[[], Trace]:
    """Prompts of 200 tokens, outputs of 1,000."""
    lengths = FixedTypes(types=((200, 1_000),), shares=(1.0,))
    return lambda: synthesize(PoissonArrivals(rate_rps), lengths, n_requests, seed=0, model=MODEL.name)


CASES = (
    Case("light load", azure(20_000, 8), 16),
    Case("moderate load", azure(100_000, 80), 16),
    Case("saturation", azure(100_000, 400), 16),
    Case("KV-starved", azure(20_000, 80), 16, kv_blocks=600),
    Case("bursts", bursty(20_000, 80), 16),
    Case("one replica", azure(20_000, 5), 1),
    Case("64 replicas", azure(100_000, 320), 64),
    Case("load-aware router", azure(20_000, 80), 16, router="least_loaded"),
)

AGAINST_ITERATION = (
    Case("1,000 output tokens, 6 at a time", long_outputs(4_000, 0.5), 1),
    Case("1,000 output tokens, 28 at a time", long_outputs(4_000, 2), 1),
    Case("conversations", azure(20_000, 80), 16),
)
"""Cases that are run by macro-steps and by iteration."""

GROWTH = tuple(
    Case(load, azure(n_requests, rate_rps), 64)
    for load, rate_rps in (("moderate load", 320), ("saturation", 1600))
    for n_requests in (10_000, 100_000, 500_000, 1_000_000)
)
"""The same load for ever longer."""
