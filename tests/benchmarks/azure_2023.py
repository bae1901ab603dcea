"""The case that other simulators were measured on, as a whole process: `python -m tests.benchmarks.azure_2023 TRACE`.

The Azure 2023 conversation trace at its natural arrivals, on 4 replicas of Llama-2-70B, tp 8 on A100, round robin.
"""

from __future__ import annotations

import sys

from sim import (
    CompactServiceTime,
    Deployment,
    ReplicaLimits,
    ReplicaSpec,
    SimulationResult,
    compute_metrics,
    gpu_type,
    model_spec,
    simulate,
)
from traces import read_azure_2023


def run(path: str) -> SimulationResult:
    """Read the trace and serve it."""
    limits = ReplicaLimits(max_context_tokens=16_384)  # the model has 4,096; the trace, up to 14,089, is served in full
    spec = ReplicaSpec.uniform(model_spec("Llama-2-70B"), gpu_type("A100-SXM-80GB"), tp=8, limits=limits)
    trace = read_azure_2023(path, model="Llama-2-70B")
    return simulate(Deployment(((spec, 4),)), trace, service_time=CompactServiceTime(), router="round_robin")


if __name__ == "__main__":
    metrics = compute_metrics(run(sys.argv[1]))
    for name in ("n_completed", "ttft_s_p50", "ttft_s_p99", "tpot_s_mean", "tpot_s_p99", "e2e_s_p50", "makespan_s"):
        print(name, metrics[name])  # noqa: T201
