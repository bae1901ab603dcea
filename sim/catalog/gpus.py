"""A GPU type: its hardware, its price, and the coefficients of its service times."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log2
from typing import Literal

from sim.catalog.offers import Offer
from sim.catalog.precision import NumberFormat, Operations, Precision
from sim.units import GIGA

Basis = Literal["fitted", "partly_estimated", "extrapolated"]

NO_PRICE = inf
"""The price of a GPU type of which none is known: no plan rents it by mistake."""


@dataclass(frozen=True, slots=True)
class AllReduce:
    """Cost of one all-reduce among `tp` GPUs: latency + 2 (tp - 1) / tp x bytes / bandwidth."""

    latency_s: float
    bandwidth_bytes_per_s: float

    def through_host(self, tp: int) -> AllReduce:
        """The same where the GPUs have no peer-to-peer access, so that what they send goes through the host's memory.

        Between two it takes 20 us and reaches 14 GB/s: found on a server whose decodes of a 32B model in batches of 128
        took 59.6 ms where kernels alone take 42.2. Among more, a tree has log2(tp) levels of 20 us each, and in a ring
        each GPU sends over a link of its own, at 14 GB/s as before. What is slower without this stays so.

        >>> AllReduce(5e-6, 19e9).through_host(2)
        AllReduce(latency_s=2e-05, bandwidth_bytes_per_s=14000000000.0)
        >>> AllReduce(11e-6, 5e9).through_host(4)
        AllReduce(latency_s=4e-05, bandwidth_bytes_per_s=5000000000.0)
        """
        latency_s = _HOST_LATENCY_S * log2(tp)
        bandwidth = min(self.bandwidth_bytes_per_s, _HOST_BANDWIDTH_BYTES_PER_S)
        return AllReduce(max(self.latency_s, latency_s), bandwidth)

    def time_s(self, tp: int, n_bytes: float) -> float:
        """Of one all-reduce of so many bytes."""
        return self.latency_s + 2 * (tp - 1) / tp * n_bytes / self.bandwidth_bytes_per_s


_HOST_LATENCY_S = 20e-6
_HOST_BANDWIDTH_BYTES_PER_S = 14 * GIGA


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
class FormatCoefficients:
    """How a GPU type computes matrix products with weights of a number format, in dense layers or in experts.

    Attributes:
        weight_read_efficiency: Share of memory bandwidth reached when weights are read.
        flops_efficiency: Share of peak FLOP/s, of the operations in which it computes with them.
        layer_overhead_s: Fixed time of a layer, beside that of every layer: activations are quantised, or sorted by
            expert.
    """

    weight_read_efficiency: float
    flops_efficiency: float
    layer_overhead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class MlaCoefficients:
    """How a GPU type computes latent attention.

    Attributes:
        decode_flops_efficiency: Share of peak FLOP/s reached by decodes, which compute all heads from one latent.
        layer_overhead_s: Fixed time of a layer, beside that of every layer.
        least_heads: The kernel of decodes computes as many heads at least.
    """

    decode_flops_efficiency: float
    layer_overhead_s: float = 0.0
    least_heads: int = 64


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """How far iteration times of a GPU type may be off, in the same direction for all iterations of a run.

    The true times are those of the model times a factor, lognormal with the median 1 (`sim.timing.worlds`).

    Attributes:
        decode: Standard deviation of the logarithm of the factor of decodes: about a relative one.
        prefill: That of iterations with prompt chunks.
        correlation: Of the two logarithms.
        source: Where the numbers come from.
    """

    decode: float
    prefill: float
    correlation: float = 0.0
    source: str = ""


UNCERTAINTY_OF_BASIS: dict[Basis, Uncertainty] = {
    "fitted": Uncertainty(0.023, 0.057, 0.48, "errors of each model by a fit to the other models of its GPU type"),
    "partly_estimated": Uncertainty(0.066, 0.088, 0.58, "halfway between fitted and extrapolated, in squares"),
    "extrapolated": Uncertainty(0.091, 0.111, 0.68, "errors of each GPU type by its datasheet and a fit to the others"),
}
"""Of GPU types that have none of their own; `hetserve profile check` prints it (`sim.timing.uncertainty`)."""


LIKE_FORMAT = {"fp8_block": "fp8", "int4": "int4_g32", "int4_g32": "int4"}
"""For a format without coefficients, the one whose kernels are most like its own."""


@dataclass(frozen=True, slots=True)
class GpuCoefficients:
    """Coefficients of the compact service-time model for one GPU type (see `sim.timing.compact`).

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
        formats: Of dense layers, by number format of their weights, where they are not those of bf16.
        experts: The same of routed experts.
        mla: Of latent attention; None where nothing was measured.
        expert_skew: Tokens of the GPU with the most of them where experts are dealt out whole, over the mean.
        exposed_flops_share: Of the time in which matrix products compute, what reading their weights does not hide.
        exposed_read_share: Of the time in which their weights are read, what computing does not hide.
        chunk_overhead_s: Fixed time of a layer in an iteration that holds a prompt chunk: attention has a kernel more.
        sustained_slowdown: By how much FLOP/s fall, as a share, in layers that compute for long (`sim.timing.linear`).
        own_uncertainty: How far times may be off; None where that is known of GPU types of its basis only.
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
    formats: tuple[tuple[str, FormatCoefficients], ...] = ()
    experts: tuple[tuple[str, FormatCoefficients], ...] = ()
    mla: MlaCoefficients | None = None
    expert_skew: float = 1.0
    exposed_flops_share: float = 0.3
    exposed_read_share: float = 0.3
    chunk_overhead_s: float = 13e-6
    sustained_slowdown: float = 0.05
    own_uncertainty: Uncertainty | None = None

    @property
    def uncertainty(self) -> Uncertainty:
        """How far times may be off: its own, or that of GPU types whose coefficients have the same basis."""
        return self.own_uncertainty or UNCERTAINTY_OF_BASIS[self.basis]

    def of_format(self, name: str) -> FormatCoefficients:
        """Coefficients of dense layers with weights of a format: its own, of one like it, or those of bf16."""
        by_format = dict(self.formats)
        found = by_format.get(name) or by_format.get(LIKE_FORMAT.get(name, ""))
        return found or FormatCoefficients(self.weight_read_efficiency, self.linear_flops_efficiency)

    def of_experts(self, name: str) -> FormatCoefficients:
        """Coefficients of experts of a format: its own, of one like it, those of bf16, or those of dense layers."""
        by_format = dict(self.experts)
        found = by_format.get(name) or by_format.get(LIKE_FORMAT.get(name, "")) or by_format.get("bf16")
        return found or self.of_format(name)

    @property
    def of_mla(self) -> MlaCoefficients:
        """Coefficients of latent attention: its own, or those of prefill attention."""
        return self.mla or MlaCoefficients(self.attention_flops_efficiency)


@dataclass(frozen=True, slots=True)
class GpuType:
    """A kind of GPU that can be rented.

    `coefficients` is None for a GPU known by price and memory only. `max_batched_tokens` and `max_seqs` are the
    defaults of vLLM's API server on it.

    Attributes:
        usd_per_h: `NO_PRICE` where none is known.
        peak_flops_per_s: Of dense matrix products in bf16.
        peak_fp8_flops_per_s: The same in FP8; 0 if it does not compute in FP8.
        peak_fp4_flops_per_s: The same in FP4; 0 if it does not compute in FP4.
        formats: Number formats of weights for which the serving engine has kernels on it, by name.
        peer_to_peer: Whether GPUs of a node read each other's memory; without, all-reduces go through the host's.
        host_allreduce: Cost of one all-reduce on this host, by tensor-parallel degree, where somebody measured it.
        offer: Who offers it, and how; None where a market has one offer of the type, of GPUs that are rented alone.
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
    peak_fp8_flops_per_s: float = 0.0
    peak_fp4_flops_per_s: float = 0.0
    formats: tuple[str, ...] = ("bf16",)
    peer_to_peer: bool = True
    host_allreduce: tuple[tuple[int, AllReduce], ...] = ()
    offer: Offer | None = None

    @property
    def pool(self) -> str:
        """What markets and plans call it: the name of its offer, or else its own."""
        return self.name if self.offer is None else self.offer.name

    @property
    def place(self) -> tuple[str, str]:
        """Provider and region; empty where nobody says."""
        return ("", "") if self.offer is None else (self.offer.provider, self.offer.region)

    @property
    def rented_together(self) -> int:
        """GPUs of it that are rented together: those of a node, or 1."""
        return 1 if self.offer is None else self.offer.gpus_per_node

    def taken_by(self, n_gpus: int) -> int:
        """GPUs that a group of so many takes, with those that it leaves idle in its node."""
        return n_gpus if self.offer is None else self.offer.taken_by(n_gpus)

    @property
    def allreduce(self) -> dict[int, AllReduce]:
        """Cost of one all-reduce, by tensor-parallel degree: the host's, or that of the coefficients.

        >>> from sim.catalog.read import gpu_type
        >>> gpu_type("L40S").allreduce[2].latency_s, gpu_type("RTX4090").allreduce[2].latency_s
        (4.81e-06, 2e-05)
        """
        costs = dict(self.coefficients.allreduce) if self.coefficients is not None else {}
        if not self.peer_to_peer:
            costs = {tp: cost.through_host(tp) for tp, cost in costs.items()}
        return costs | dict(self.host_allreduce)

    def has_host_allreduce(self, tp: int) -> bool:
        """Whether an all-reduce among so many costs what the host makes of it, and not what its kernel does."""
        return not self.peer_to_peer or tp in dict(self.host_allreduce)

    @property
    def has_price(self) -> bool:
        """Whether it is known what it costs."""
        return self.usd_per_h != NO_PRICE

    def peak_flops_of(self, operations: Operations) -> float:
        """Peak FLOP/s of dense matrix products; 0 if it does not compute in these numbers."""
        return {
            "bf16": self.peak_flops_per_s,
            "fp8": self.peak_fp8_flops_per_s,
            "fp4": self.peak_fp4_flops_per_s,
        }[operations]

    def operations_of(self, number_format: NumberFormat) -> Operations:
        """In which numbers it computes with weights of a format: natively, or in bf16 if it only stores them.

        >>> from sim.catalog.precision import FORMATS
        >>> from sim.catalog.read import gpu_type
        >>> gpu_type("H100-SXM").operations_of(FORMATS["fp8"]), gpu_type("H100-SXM").operations_of(FORMATS["nvfp4"])
        ('fp8', 'bf16')
        """
        native = number_format.native
        is_native = native is not None and self.peak_flops_of(native) > 0
        return number_format.operations if is_native else "bf16"

    def why_not_precision(self, precision: Precision) -> str | None:
        """Why it cannot hold a model in a precision; None if it can."""
        missing = [number_format.name for number_format in precision.formats if number_format.name not in self.formats]
        if not missing:
            return None
        return f"GPU type {self.name!r} has no kernels for {', '.join(missing)}; it has {', '.join(self.formats)}"
