"""GPU types and models, read from the YAML files in `catalog/`; each number there has a source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml

from sim.errors import check_name
from sim.units import GIB, GIGA, MICRO, TERA

Basis = Literal["fitted", "partly_estimated", "extrapolated"]

BF16_BYTES = 2


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
    """Coefficients of the compact service-time model for one GPU type (see `sim.service_time`).

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

    `coefficients` is None for a GPU known by price and memory only. `max_batched_tokens` and `max_seqs` are the
    defaults of vLLM's API server on it.
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


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A dense decoder-only transformer with a gated feed-forward layer and grouped-query attention.

    >>> llama = model_spec("Llama-3-70B")
    >>> round(llama.n_params / 1e9, 1), llama.kv_bytes_per_token
    (70.6, 327680)
    """

    name: str
    n_layers: int
    hidden_size: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    ffn_size: int
    vocab_size: int
    max_context_tokens: int
    source: str = ""

    @property
    def layer_params(self) -> int:
        """Weights of the linear layers of one transformer layer."""
        attention = (2 * self.n_heads + 2 * self.n_kv_heads) * self.head_dim * self.hidden_size
        return attention + 3 * self.hidden_size * self.ffn_size

    @property
    def embedding_params(self) -> int:
        """Weights of the token embedding; the output head has as many."""
        return self.vocab_size * self.hidden_size

    @property
    def n_params(self) -> int:
        """All weights but the norms, which are less than one in 10,000."""
        return self.n_layers * self.layer_params + 2 * self.embedding_params

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights in bf16."""
        return BF16_BYTES * self.n_params

    @property
    def kv_bytes_per_token_per_layer(self) -> int:
        """Bytes of the keys and values of one token in one layer, in bf16."""
        return 2 * BF16_BYTES * self.n_kv_heads * self.head_dim

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of the keys and values of one token in all layers, in bf16."""
        return self.n_layers * self.kv_bytes_per_token_per_layer


def gpu_names() -> tuple[str, ...]:
    """Names of the GPU types in the catalog, in its order."""
    return tuple(_read("gpus"))


def model_names() -> tuple[str, ...]:
    """Names of the models in the catalog, in its order."""
    return tuple(_read("models"))


@cache
def gpu_type(name: str) -> GpuType:
    """The GPU type of this name.

    Raises:
        UnknownNameError: No such GPU type; the message names the nearest.

    >>> gpu_type("H100-SXM").usd_per_h
    2.99
    """
    entry = _entry("gpus", name, "GPU type")
    hardware, price, c = entry["hardware"], entry["price"], entry["coefficients"]
    return GpuType(
        name=name,
        memory_bytes=int(hardware["memory_gib"] * GIB),
        usd_per_h=price["usd_per_h"],
        gpus_per_node=hardware["gpus_per_node"],
        peak_flops_per_s=hardware["peak_bf16_tflops"] * TERA,
        memory_bandwidth_bytes_per_s=hardware["memory_bandwidth_gb_per_s"] * GIGA,
        link_bandwidth_bytes_per_s=hardware["link_bandwidth_gb_per_s"] * GIGA,
        max_batched_tokens=entry["vllm_defaults"]["max_batched_tokens"],
        max_seqs=entry["vllm_defaults"]["max_seqs"],
        coefficients=GpuCoefficients(
            basis=c["basis"],
            layer_overhead_s=c["layer_overhead_us"] * MICRO,
            weight_read_efficiency=c["weight_read_efficiency"],
            linear_flops_efficiency=c["linear_flops_efficiency"],
            kv_read_efficiency=c["kv_read_efficiency"],
            attention_flops_efficiency=c["attention_flops_efficiency"],
            elementwise_efficiency=c["elementwise_efficiency"],
            mixed_kv_read_efficiency=c["mixed_kv_read_efficiency"],
            allreduce=tuple(
                (tp, AllReduce(a["latency_us"] * MICRO, a["bandwidth_gb_per_s"] * GIGA))
                for tp, a in sorted(c["allreduce"].items())
            ),
            source=c["source"],
            domain=Domain(**c["domain"]) if "domain" in c else None,
        ),
        description=entry["description"],
        source=f"hardware: {hardware['source']}; price: {price['source']}",
    )


@cache
def model_spec(name: str) -> ModelSpec:
    """The model of this name.

    Raises:
        UnknownNameError: No such model; the message names the nearest.
    """
    return ModelSpec(name=name, **_entry("models", name, "model"))


def _entry(kind: str, name: str, noun: str) -> dict[str, Any]:
    entries = _read(kind)
    check_name(noun, name, entries)
    entry: dict[str, Any] = entries[name]
    return entry


@cache
def _read(kind: str) -> dict[str, Any]:
    entries: dict[str, Any] = yaml.safe_load(files("sim").joinpath(f"catalog/{kind}.yaml").read_text())
    return entries
