"""What a file may say of hardware: datasheets, coefficients, and the entries of a catalog of one's own."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, Field, PositiveFloat, PositiveInt

from scenarios.file.schema.part import NonNegativeFloat, NonNegativeInt, Part, Share
from sim.catalog.gpus import Basis
from sim.catalog.precision import FORMATS
from traces.errors import nearest


def _known_format(name: str) -> str:
    if name not in FORMATS:
        msg = f"unknown number format {name!r}: {nearest(name, FORMATS)}"
        raise ValueError(msg)
    return name


Format = Annotated[str, AfterValidator(_known_format)]
"""A number format of weights."""


Efficiency = Annotated[float, Field(gt=0, le=1.5)]


class Datasheet(Part):
    """A GPU type by its datasheet; rates are those of dense matrix products."""

    memory_gib: PositiveFloat
    """Memory of one."""
    bf16_tflops: PositiveFloat
    """In bf16, or in FP16 where that is all there is."""
    fp8_tflops: PositiveFloat | None = None
    """In FP8; left out where it does not compute in FP8."""
    fp4_tflops: PositiveFloat | None = None
    """In FP4; left out where it does not compute in FP4."""
    memory_bandwidth_gb_per_s: PositiveFloat
    """Of its memory."""
    link_bandwidth_gb_per_s: PositiveFloat
    """To the other GPUs of its node, in one direction."""
    gpus_per_node: PositiveInt = 8
    """How many share a node."""
    formats: tuple[Format, ...] | None = None
    """Number formats of weights that the engine has kernels for; by default bf16 and those that it computes in."""

    def to_entry(self) -> dict[str, Any]:
        """The same as an entry of the catalog."""
        rates = {
            "peak_bf16_tflops": self.bf16_tflops,
            "peak_fp8_tflops": self.fp8_tflops or 0.0,
            "peak_fp4_tflops": self.fp4_tflops or 0.0,
        }
        native = ["bf16"]
        native += ["fp8", "fp8_block"] if self.fp8_tflops else []
        native += ["nvfp4", "mxfp4"] if self.fp4_tflops else []
        kept = ("memory_gib", "memory_bandwidth_gb_per_s", "link_bandwidth_gb_per_s", "gpus_per_node")
        hardware = {name: getattr(self, name) for name in kept} | rates | {"source": "a datasheet that the user gives"}
        return {"hardware": hardware, "formats": self.formats or tuple(native)}


class AllReduceCost(Part):
    """Cost of an all-reduce: latency + 2 (tp - 1) / tp x bytes / bandwidth."""

    latency_us: NonNegativeFloat
    bandwidth_gb_per_s: PositiveFloat = Field(validation_alias=AliasChoices("bandwidth_gb_per_s", "bandwidth_gb_s"))


class Measured(Part):
    """What measurements cover."""

    max_decodes: NonNegativeInt
    max_new_tokens: NonNegativeInt
    max_context_tokens: NonNegativeInt


class FormatEfficiencies(Part):
    """Matrix products with weights of a number format."""

    weight_read_efficiency: Efficiency
    flops_efficiency: Efficiency
    layer_overhead_us: NonNegativeFloat = 0.0


class LatentEfficiencies(Part):
    """Latent attention."""

    decode_flops_efficiency: Efficiency
    layer_overhead_us: NonNegativeFloat = 0.0
    least_heads: PositiveInt = 64


class TimeUncertainty(Part):
    """How far iteration times may be off for a whole run: standard deviations of the logarithm of a factor."""

    decode: Share
    """Of decodes."""
    prefill: Share
    """Of iterations with prompt chunks."""
    correlation: Annotated[float, Field(ge=-1, le=1)] = 0.0
    """Of the two logarithms."""
    source: str = "an uncertainty that the user gives"


class Coefficients(Part):
    """Coefficients of the compact model, as `hetserve profile fit --out` writes them; what lacks is estimated."""

    basis: Basis = "extrapolated"
    layer_overhead_us: NonNegativeFloat | None = None
    weight_read_efficiency: Efficiency | None = None
    linear_flops_efficiency: Efficiency | None = None
    kv_read_efficiency: Efficiency | None = None
    attention_flops_efficiency: Efficiency | None = None
    elementwise_efficiency: Efficiency | None = None
    mixed_kv_read_efficiency: Efficiency | None = None
    """null: decodes keep their speed beside a prompt chunk."""
    exposed_flops_share: Share | None = None
    exposed_read_share: Share | None = None
    chunk_overhead_us: NonNegativeFloat | None = None
    sustained_slowdown: NonNegativeFloat | None = None
    allreduce: dict[PositiveInt, AllReduceCost] | None = None
    allreduce_source: str = ""
    formats: dict[Format, FormatEfficiencies] | None = None
    experts: dict[Format, FormatEfficiencies] | None = None
    mla: LatentEfficiencies | None = None
    expert_skew: Annotated[float, Field(ge=1)] | None = None
    formats_fit_error: dict[str, float] = {}
    formats_source: str = ""
    fit_error: dict[str, float] = {}
    domain: Measured | None = None
    uncertainty: TimeUncertainty | None = None
    """By default that of GPU types with the same basis."""
    source: str = "coefficients that the user gives"

    def to_entry(self) -> dict[str, Any]:
        """What stands there, and the source."""
        return {"source": self.source, **self.model_dump(exclude_unset=True)}


class Fitted(Part):
    """An entry of a file of coefficients."""

    coefficients: Coefficients


class Hardware(Part):
    """Hardware of a GPU in the catalog."""

    memory_gib: PositiveFloat
    peak_bf16_tflops: PositiveFloat
    peak_fp8_tflops: PositiveFloat = 0.0
    peak_fp4_tflops: PositiveFloat = 0.0
    memory_bandwidth_gb_per_s: PositiveFloat
    link: str = ""
    link_bandwidth_gb_per_s: PositiveFloat
    gpus_per_node: PositiveInt
    source: str
    peer_to_peer: bool = True
    memory_source: str = ""
    """Of `memory_gib`, where it is another than that of the rest."""


class Price(Part):
    """Price of a GPU in the catalog."""

    usd_per_h: NonNegativeFloat
    source: str


class EngineDefaults(Part):
    """Limits of the serving engine on a GPU, unless a scenario gives others."""

    max_batched_tokens: PositiveInt
    max_seqs: PositiveInt


class GpuEntry(Part):
    """A GPU type in `gpus.yaml`."""

    description: str = ""
    hardware: Hardware
    vllm_defaults: EngineDefaults | None = None
    formats: tuple[Format, ...] = ("bf16",)
    price: Price | None = None
    coefficients: Coefficients | None = None

    def to_entry(self) -> dict[str, Any]:
        """What stands there."""
        entry = self.model_dump(exclude_unset=True, exclude={"coefficients"})
        return entry | ({"coefficients": self.coefficients.to_entry()} if self.coefficients else {})
