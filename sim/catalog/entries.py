"""Models from entries written by hand, in the catalog or in a scenario, and whether their numbers can be right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from sim.catalog.models import MLA, ModelSpec, MoE, SlidingWindow
from sim.catalog.precision import PRECISIONS, Precision
from sim.errors import check_name
from sim.units import GIGA

STATED_TOLERANCE = 0.01
NAMED_TOLERANCE = 0.1  # names round, and some leave embeddings out

_SIZE = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([BbMm])(?![A-Za-z0-9])")
_UNITS = {"b": GIGA, "m": GIGA / 1000}
_KV_SUFFIX = "+kv8"


def precision_named(name: str) -> Precision:
    """The precision of this name; with `+kv8` behind it, the same with a KV cache in FP8.

    Raises:
        UnknownNameError: No such precision; the message names the nearest.

    >>> precision_named("fp8+kv8").kv
    'fp8'
    """
    weights = name.removesuffix(_KV_SUFFIX)
    check_name("precision", weights, PRECISIONS)
    return PRECISIONS[weights].with_kv("fp8") if name.endswith(_KV_SUFFIX) else PRECISIONS[weights]


def model_of_entry(name: str, entry: Mapping[str, Any]) -> ModelSpec:
    """The model of an entry: sizes as in `ModelSpec`, `moe`, `mla` and `window` as mappings, precisions by name.

    Raises:
        UnknownNameError: No such precision.
    """
    sizes = {key: value for key, value in entry.items() if key not in _NOT_SIZES}
    parts = {key: kind(**entry[key]) for key, kind in _PARTS.items() if entry.get(key) is not None}
    return in_precisions(ModelSpec(name=name, **sizes, **parts), entry)


def in_precisions(model: ModelSpec, entry: Mapping[str, Any]) -> ModelSpec:
    """A model in the `precision`, with the `kv_cache` and in the `variants` of an entry, where it has them.

    Raises:
        UnknownNameError: No such precision.
    """
    kv: Literal["bf16", "fp8"] | None = entry.get("kv_cache")
    precision = precision_named(entry["precision"]) if entry.get("precision") else model.precision
    variants: Sequence[Precision] = [precision_named(variant) for variant in entry.get("variants") or ()]
    if kv is not None:
        precision, variants = precision.with_kv(kv), [variant.with_kv(kv) for variant in variants]
    return replace(model, precision=precision, variants=tuple(variants) or model.variants)


_PARTS = {"moe": MoE, "mla": MLA, "window": SlidingWindow}
_NOT_SIZES = {*_PARTS, "precision", "kv_cache", "variants", "n_params"}


def contradictions(
    model: ModelSpec, n_params: int | None = None, source: str | None = None
) -> Iterator[tuple[str, str]]:
    """Which numbers of a model contradict each other, as (field, message); the field is empty if it is the whole.

    Args:
        model: The model.
        n_params: The published number of parameters; None if nobody gave it.
        source: A text that may state the size, as a name does; by default that of the model.
    """
    if model.n_heads % model.n_kv_heads:
        yield "n_kv_heads", f"{model.n_kv_heads} do not divide the {model.n_heads} query heads"
    moe, mla = model.moe, model.mla
    if moe is not None and moe.experts_per_token > moe.n_experts:
        yield "moe.experts_per_token", f"{moe.experts_per_token} are more than the {moe.n_experts} experts"
    if moe is not None and moe.n_dense_layers >= model.n_layers:
        yield "moe.n_dense_layers", f"{moe.n_dense_layers} of {model.n_layers} layers leave none for experts"
    if mla is not None and model.head_dim != mla.qk_nope_head_dim + mla.qk_rope_head_dim:
        message = f"{model.head_dim}: with mla it is qk_nope_head_dim + qk_rope_head_dim"
        yield "head_dim", f"{message}, {mla.qk_nope_head_dim + mla.qk_rope_head_dim}"
    if mla is not None and model.n_kv_heads != model.n_heads:
        yield "n_kv_heads", f"{model.n_kv_heads}: with mla there are as many as query heads, {model.n_heads}"
    counted = f"the numbers here give {_billions(model.n_params)} parameters"
    if n_params is not None:
        if abs(model.n_params / n_params - 1) > STATED_TOLERANCE:
            yield "n_params", f"states {_billions(n_params)} parameters, but {counted}; {_WAYS_OUT}"
        return
    for what, text in (("name", model.name), ("source", model.source if source is None else source)):
        stated = stated_sizes(text)
        if stated and all(abs(model.n_params / size - 1) > NAMED_TOLERANCE for size in stated.values()):
            said = f"the size that its {what} states ({', '.join(stated)}) is not what its numbers give: {counted}"
            yield "", f"{said}; {_WAYS_OUT}; or n_params with the published number, which counts instead of the {what}"
            return


_WAYS_OUT = "check the sizes, tie_word_embeddings (a head that is the embedding counts once) and moe (its experts)"


def stated_sizes(text: str) -> dict[str, float]:
    """Numbers of parameters that a name states; neither experts times something, nor active parameters.

    >>> stated_sizes("Qwen3-235B-A22B"), stated_sizes("Mixtral-8x7B"), stated_sizes("SmolLM2-135M")
    ({'235B': 235000000000.0}, {}, {'135M': 135000000.0})
    """
    return {found[0]: float(found[1]) * _UNITS[found[2].lower()] for found in _SIZE.finditer(text)}


def _billions(n_params: float) -> str:
    return f"{n_params / GIGA:.3g} B" if n_params < 1000 * GIGA else f"{n_params / GIGA:,.0f} B"
