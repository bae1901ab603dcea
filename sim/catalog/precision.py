"""Precisions: in which numbers the parts of a model are kept and computed, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Operations = Literal["bf16", "fp8", "fp4"]


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """A number format of weights.

    Attributes:
        name: What it is called.
        weight_bytes: Of a weight, with its share of the scales.
        native: The operations that a GPU must have to compute in it; elsewhere weights are only stored in it, and
            computed in bf16 (weight-only kernels).
        operations: The operations in which a GPU that has `native` computes.
        block: Weights that share a scale along an input, which tensor parallelism must not cut; 1 if it may.
    """

    name: str
    weight_bytes: float
    native: Operations | None = None
    operations: Operations = "bf16"
    block: int = 1


BF16 = NumberFormat("bf16", 2.0, "bf16")

FORMATS = {
    number_format.name: number_format
    for number_format in (
        BF16,
        # A scale for each tensor or channel weighs nothing beside it.
        NumberFormat("fp8", 1.0, "fp8", "fp8"),
        # DeepSeek-V3's config.json: weight_block_size [128, 128]; a float32 scale for each block.
        NumberFormat("fp8_block", 1.0 + 4 / 128**2, "fp8", "fp8", block=128),
        # AWQ and GPTQ with groups of 128: a 16-bit scale and a 4-bit zero for each. There are no native kernels:
        # vLLM's Marlin computes in 16 bits.
        NumberFormat("int4", 0.5 + 2.5 / 128, block=128),
        # compressed-tensors with groups of 32 and no zeros, as Kimi-K2.5 ships.
        NumberFormat("int4_g32", 0.5 + 2 / 32, block=32),
        # NVFP4: an FP8 scale for each 16 weights.
        NumberFormat("nvfp4", 0.5 + 1 / 16, "fp4", "fp4", block=16),
        # OCP MX specification 1.0: an 8-bit scale for each 32 weights. Activations stay in FP8 or wider, so that
        # native kernels run at the FP8 rate. vLLM fills parts up to whole blocks.
        NumberFormat("mxfp4", 0.5 + 1 / 32, "fp4", "fp8"),
    )
}
"""Number formats of weights, by name."""

KV_BYTES = {"bf16": 2, "fp8": 1}
"""Bytes of a number in the KV cache, by format."""

ACTIVATION_BYTES = 2
"""Bytes of a number that passes between layers, GPUs and stages: bf16 in all precisions."""


@dataclass(frozen=True, slots=True)
class Precision:
    """In which numbers the parts of a model are kept.

    Embeddings, the output head, routers and norms are in bf16 in all of them.

    Attributes:
        name: What it is called.
        attention: Format of the attention's weights.
        ffn: Format of the weights of dense feed-forward layers and of shared experts.
        experts: Format of the weights of routed experts.
        kv: Format of the KV cache.
    """

    name: str
    attention: NumberFormat = BF16
    ffn: NumberFormat = BF16
    experts: NumberFormat = BF16
    kv: Literal["bf16", "fp8"] = "bf16"

    @property
    def kv_bytes(self) -> int:
        """Bytes of a number in the KV cache."""
        return KV_BYTES[self.kv]

    @property
    def formats(self) -> tuple[NumberFormat, ...]:
        """The formats of its weights, each once."""
        return tuple(dict.fromkeys((self.attention, self.ffn, self.experts)))

    def with_kv(self, kv: Literal["bf16", "fp8"]) -> Precision:
        """The same weights with another KV cache; the name says so.

        >>> PRECISIONS["fp8"].with_kv("fp8").name
        'fp8+kv8'
        """
        name = self.name.removesuffix("+kv8") + ("+kv8" if kv == "fp8" else "")
        return Precision(name, self.attention, self.ffn, self.experts, kv)


def _all_linear(name: str) -> Precision:
    return Precision(name, FORMATS[name], FORMATS[name], FORMATS[name])


PRECISIONS = {
    precision.name: precision
    for precision in (
        *(_all_linear(name) for name in FORMATS if name not in ("mxfp4", "int4_g32")),
        # As gpt-oss and Kimi-K2.5 ship: only the routed experts are quantised.
        Precision("mxfp4", experts=FORMATS["mxfp4"]),
        Precision("int4_experts", experts=FORMATS["int4_g32"]),
    )
}
"""Precisions by name: all linear layers in one format, or only the routed experts."""
