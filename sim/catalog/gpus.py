"""A GPU type: its hardware, its price, and the coefficients of its service times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sim.catalog.precision import Precision
from sim.errors import DeploymentError
from traces.errors import nearest

Basis = Literal["fitted", "partly_estimated", "extrapolated"]


@dataclass(frozen=True, slots=True)
class AllReduce:
    """Cost of one all-reduce among `tp` GPUs: latency + 2 (tp - 1) / tp x bytes / bandwidth."""

    latency_s: float
    bandwidth_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Domain:
    """What the measurements behind a service-time model cover; outside it extrapolates.

    Attributes:
        max_decodes: Decodes in an iteration.
        max_new_tokens: Prompt tokens of an iteration.
        max_context_tokens: Context of a sequence.
    """

    max_decodes: int
    max_new_tokens: int
    max_context_tokens: int


@dataclass(frozen=True, slots=True)
class GpuCoefficients:
    """Coefficients of the compact service-time model for one GPU type (see `sim.timing.service_time`).

    Attributes:
        basis: Whether they are fitted to measurements of this GPU, partly estimated, or extrapolated.
        layer_overhead_s: Fixed time of a layer, whatever it computes.
        weight_read_efficiency: Share of memory bandwidth reached when weights are read.
        linear_flops_efficiency: Share of peak FLOP/s reached by the linear layers.
        kv_read_efficiency: Share of memory bandwidth reached when KV blocks are read.
        attention_flops_efficiency: Share of peak FLOP/s reached by prefill attention.
        elementwise_efficiency: Share of memory bandwidth reached by norms, rotary embedding, activation.
        mixed_kv_read_efficiency: The same in an iteration that also holds a prompt chunk, where decodes read KV
            more slowly then: for one query head per KV head. None where they do not.
        allreduce: Cost of one all-reduce, by tensor-parallel degree.
        source: Where the coefficients come from.
        domain: What they were fitted on; None where they were not.
    """

    basis: Basis
    layer_overhead_s: float
    weight_read_efficiency: float
    linear_flops_efficiency: float
    kv_read_efficiency: float
    attention_flops_efficiency: float
    elementwise_efficiency: float
    mixed_kv_read_efficiency: float | None
    allreduce: tuple[tuple[int, AllReduce], ...]
    source: str
    domain: Domain | None = None


@dataclass(frozen=True, slots=True)
class GpuType:
    """A kind of GPU that can be rented.

    `coefficients` is None for a GPU known by price and memory only. `peak_flops_per_s` is that of dense matrix products
    in bf16. `max_batched_tokens` and `max_seqs` are the defaults of vLLM's API server on it.
    """

    name: str
    memory_bytes: int
    usd_per_h: float
    gpus_per_node: int = 8
    peak_flops_per_s: float = 0.0
    memory_bandwidth_bytes_per_s: float = 0.0
    link_bandwidth_bytes_per_s: float = 0.0
    max_batched_tokens: int = 2048
    max_seqs: int = 256
    coefficients: GpuCoefficients | None = None
    description: str = ""
    source: str = ""

    def peak_flops_of(self, precision: Precision) -> float:
        """Peak FLOP/s of dense matrix products in a precision.

        Raises:
            DeploymentError: It is not known.
        """
        known = {"bf16": self.peak_flops_per_s}
        if precision.operations not in known:
            rates = nearest(precision.operations, known)
            msg = f"GPU type {self.name!r} has no peak rate of operations in {precision.operations!r}: {rates}"
            raise DeploymentError(msg)
        return known[precision.operations]
