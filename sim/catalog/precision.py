"""Precisions: in which numbers a model is kept and computed, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Precision:
    """What the numbers of a model cost.

    Attributes:
        name: What it is called.
        weight_bytes: Of a weight.
        kv_bytes: Of a number in the KV cache.
        activation_bytes: Of a number that passes between layers, GPUs and stages.
        operations: Number format of the matrix products, whose peak rate counts.
    """

    name: str
    weight_bytes: float
    kv_bytes: float
    activation_bytes: float
    operations: str


BF16 = Precision("bf16", weight_bytes=2, kv_bytes=2, activation_bytes=2, operations="bf16")

PRECISIONS = {precision.name: precision for precision in (BF16,)}
"""Precisions that models of the catalog can have, by name."""
