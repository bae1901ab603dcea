"""Service times of a GPU on which nothing was measured: its datasheet, and what is typical of measured GPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from sim.catalog.gpus import AllReduce, GpuCoefficients, GpuType
from sim.units import MICRO

SOURCE = "datasheet x medians of the fitted GPU types of the catalog; nothing measured on this GPU"

TENSOR_PARALLEL = (2, 4, 8)
"""Degrees of which an all-reduce is estimated."""

# Between PCIe 6.0 x16, 128 GB/s in each direction, and NVLink 3 in an A100, 300 GB/s.
_LEAST_FABRIC_BYTES_PER_S = 200e9

TYPICAL = {
    "layer_overhead_s": 28 * MICRO,
    "weight_read_efficiency": 0.83,
    "linear_flops_efficiency": 0.83,
    "kv_read_efficiency": 0.88,
    "attention_flops_efficiency": 0.65,
    "elementwise_efficiency": 0.6,
    "mixed_kv_read_efficiency": 0.88,
    "exposed_flops_share": 0.3,
    "exposed_read_share": 0.3,
    "chunk_overhead_s": 13 * MICRO,
    "sustained_slowdown": 0.05,
}
"""Coefficients of any GPU, where nothing better is known: medians over eight GPUs (a first fit)."""

TYPICAL_ALLREDUCE_LATENCY_S = 5 * MICRO
TYPICAL_ALLREDUCE_SHARE = 0.5
"""Bandwidth of an all-reduce, as a share of the link's."""


def extrapolate(gpu: GpuType, measured: Sequence[GpuType], known: Mapping[str, Any] | None = None) -> GpuCoefficients:
    """Coefficients of a GPU by its datasheet: medians over the GPU types that were measured.

    An all-reduce has the median latency of GPUs with a link of the same kind (a fabric such as NVLink, or PCIe), and
    the median share of the link's bandwidth.

    Args:
        gpu: The GPU; its own coefficients are not looked at.
        measured: GPU types with coefficients. Where they say nothing, typical values serve.
        known: Coefficients of this GPU that are known, by name; they are not estimated.
    """
    known = known or {}
    others = [(other, other.coefficients) for other in measured if other.coefficients is not None]
    found: dict[str, Any] = {}
    for name, typical in TYPICAL.items():
        values = [value for _, c in others if (value := getattr(c, name)) is not None]
        found[name] = median(values or [typical])
    alike = [(other, dict(c.allreduce)) for other, c in others if _has_fabric(other) == _has_fabric(gpu)]
    allreduce = []
    for tp in TENSOR_PARALLEL:
        costs = [(other, costs[tp]) for other, costs in alike if tp in costs]
        latencies_s = [cost.latency_s for _, cost in costs]
        shares = [cost.bandwidth_bytes_per_s / other.link_bandwidth_bytes_per_s for other, cost in costs]
        share = median(shares or [TYPICAL_ALLREDUCE_SHARE])
        latency_s = median(latencies_s or [TYPICAL_ALLREDUCE_LATENCY_S])
        allreduce.append((tp, AllReduce(latency_s, share * gpu.link_bandwidth_bytes_per_s)))
    found |= {"basis": "extrapolated", "allreduce": tuple(allreduce), "source": SOURCE}
    return GpuCoefficients(**{**found, **known})


def fitted(gpus: Mapping[str, GpuType]) -> list[GpuType]:
    """The GPU types of which the coefficients are fitted to measurements."""
    return [gpu for gpu in gpus.values() if gpu.coefficients is not None and gpu.coefficients.basis == "fitted"]


def _has_fabric(gpu: GpuType) -> bool:
    return gpu.link_bandwidth_bytes_per_s >= _LEAST_FABRIC_BYTES_PER_S
