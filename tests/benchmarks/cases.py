"""Benchmark cases: a deployment, a trace, and exactly how much work the engine makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sim import CompactServiceTime, Deployment, ReplicaSpec, SimulationResult, gpu_type, model_spec, simulate
from sim.engine import Stepping
from traces import Trace, azure_conv_like

MODEL = model_spec("Llama-3-8B")


@dataclass(frozen=True, slots=True)
class Case:
    """A simulation to time.

    Attributes:
        name: What it shows.
        trace: Makes its requests; not timed.
        n_replicas: Replicas of Llama-3-8B on one A100 each.
        router: Which router.
        stepping: How replicas step.
        n_steps: Iterations and macro-steps that it takes.
        n_events: Events that it makes.
        n_iterations: Iterations of all replicas.
    """

    name: str
    trace: Callable[[], Trace]
    n_replicas: int
    router: str
    stepping: Stepping
    n_steps: int
    n_events: int
    n_iterations: int

    def run(self, trace: Trace) -> SimulationResult:
        """Simulate it."""
        spec = ReplicaSpec.uniform(MODEL, gpu_type("A100-SXM-80GB"))
        deployment = Deployment(((spec, self.n_replicas),))
        return simulate(
            deployment, trace, service_time=CompactServiceTime(), router=self.router, stepping=self.stepping
        )


def _azure(n_requests: int, rate_rps: float) -> Callable[[], Trace]:
    return lambda: azure_conv_like(n_requests, seed=0, rate_rps=rate_rps, model=MODEL.name)


# 16 replicas of this kind carry about 150 requests/s of this mix.
CASES = (
    Case("moderate load", _azure(100_000, 80), 16, "round_robin", "macro", 274_520, 16, 942_429),
    Case("saturation", _azure(100_000, 400), 16, "round_robin", "macro", 82_467, 16, 93_833),
    Case("load-aware router", _azure(20_000, 80), 16, "least_loaded", "macro", 52_734, 86_053, 190_544),
    Case("each iteration an event", _azure(20_000, 80), 16, "round_robin", "iteration", 190_457, 210_489, 190_457),
)
