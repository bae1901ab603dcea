"""What mixes take on typical replicas: the smallest of each GPU type that holds the requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from planners.capacity.pipelines import uniform_replicas
from planners.capacity.steady_state import Kind, ReplicaFacts
from planners.capacity.tangents import mixes_rps
from sim.catalog.gpus import GpuType
from sim.catalog.models import ModelSpec
from sim.deployment import ReplicaLimits, ReplicaSpec
from sim.errors import DeploymentError
from sim.kv_cache import max_context_tokens
from sim.timing.service_time import ServiceTimeModel
from traces.workload_types import Lengths, Times


def typical_times(
    model: ModelSpec,
    gpu_types: Iterable[GpuType],
    service_time: ServiceTimeModel,
    longest_tokens: float,
    limits: ReplicaLimits | None = None,
) -> Times:
    """What a request takes on average where it is served without a pause, by the closed form.

    Args:
        model: The model, in its own precision.
        gpu_types: One replica of each is looked at: the smallest of one GPU type that holds the longest request.
        service_time: Gives iteration times.
        longest_tokens: Prompt and output of the longest request.
        limits: Limits of the replicas.

    Returns:
        A function that gives seconds on each of these replicas; of none, if no GPU type has such a replica.
    """
    facts = []
    for gpu in gpu_types:
        holding = [s for s in uniform_replicas(model, [gpu], limits) if max_context_tokens(s) >= longest_tokens]
        for spec in sorted(holding, key=lambda spec: spec.n_gpus):
            known = _facts(spec, service_time)
            if known is not None:
                facts.append(known)
                break

    def times_s(mix: Sequence[Lengths]) -> list[float]:
        kinds = [Kind(*lengths) for lengths in mix]
        shares = np.array([[kind.share for kind in kinds]] * len(facts))
        request_s: list[float] = (1 / mixes_rps(facts, kinds, shares)).tolist()
        return request_s

    return times_s


def _facts(spec: ReplicaSpec, service_time: ServiceTimeModel) -> ReplicaFacts | None:
    """The facts of a replica; None if the service-time model says nothing about it."""
    try:
        return ReplicaFacts.of(spec, service_time)
    except DeploymentError:
        return None
