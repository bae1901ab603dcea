"""Links between the stages of a pipeline."""

from __future__ import annotations

from sim.deployment import ReplicaSpec

# Between nodes: the 5 Gbit/s Ethernet of arXiv:2502.00722.
NETWORK_BANDWIDTH_BYTES_PER_S = 5e9 / 8


def link_bandwidth(spec: ReplicaSpec, index: int, network_bandwidth_bytes_per_s: float) -> float:
    """Bandwidth from a stage to the next: the node's link if all GPUs of the type fit in one node, else the network."""
    here, there = spec.stages[index].gpu_type, spec.stages[index + 1].gpu_type
    if here == there and sum(stage.n_gpus for stage in spec.stages if stage.gpu_type == here) <= here.gpus_per_node:
        return here.link_bandwidth_bytes_per_s
    return network_bandwidth_bytes_per_s
