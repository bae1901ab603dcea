"""What is understood of a model: its parameters, weights and KV cache, as tables and as plain data."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from scenarios.report.tables import make_columns, make_table
from sim import ModelSpec
from sim.catalog.entries import stated_sizes
from sim.catalog.precision import BF16, NumberFormat
from sim.units import GIB, GIGA

_LARGEST_TP = 16


def model_to_dict(model: ModelSpec) -> dict[str, Any]:
    """All that is understood, in plain units."""
    return {
        "name": model.name,
        "source": model.source,
        "n_params": model.n_params,
        "stated_params": stated_sizes(model.name),
        "n_active_params": model.n_active_params,
        "precision": model.precision.name,
        "weight_bytes": model.weight_bytes,
        "parts": {name: {"n_params": n, "format": kind.name, "bytes": size} for name, n, kind, size in _parts(model)},
        "kv_format": model.precision.kv,
        "kv_bytes_per_token": model.kv_bytes_per_token,
        "n_layers": model.n_layers,
        "n_full_layers": model.n_full_layers,
        "window_tokens": None if model.window is None else model.window.tokens,
        "n_experts": None if model.moe is None else model.moe.n_experts,
        "experts_per_token": None if model.moe is None else model.moe.experts_per_token,
        "max_context_tokens": model.max_context_tokens,
        "tp": allowed_tp(model),
    }


def model_tables(model: ModelSpec) -> list[Table]:
    """What is understood, and the weights by part."""
    table = make_table(model.name)
    make_columns(table, [("what", "left"), ("value", "left")])
    stated = ", ".join(stated_sizes(model.name)) or "nothing"
    for what, value in (
        ("parameters", f"{model.n_params / GIGA:,.2f} x 10⁹; the name states {stated}"),
        ("active parameters", f"{model.n_active_params / GIGA:,.2f} x 10⁹"),
        ("precision", model.precision.name),
        ("weights", f"{model.weight_bytes / GIB:,.1f} GiB"),
        ("attention", _attention(model)),
        ("KV cache", f"{model.kv_bytes_per_token:,} bytes per token in {model.precision.kv}; {_growth(model)}"),
        ("experts", _experts(model)),
        ("longest context", f"{model.max_context_tokens:,} tokens"),
        ("tensor parallel", f"over {', '.join(map(str, allowed_tp(model)))} GPUs"),
        ("source", model.source),
    ):
        table.add_row(what, value)
    parts = make_table("Weights by part")
    make_columns(parts, [("part", "left"), ("parameters / 10⁹", "right"), ("format", "left"), ("GiB", "right")])
    for name, n_params, number_format, size_bytes in _parts(model):
        parts.add_row(name, f"{n_params / GIGA:,.3f}", number_format.name, f"{size_bytes / GIB:,.2f}")
    return [table, parts]


def allowed_tp(model: ModelSpec) -> list[int]:
    """Over how many GPUs, up to 16, tensor parallelism without expert parallelism may split it."""
    sizes = range(1, _LARGEST_TP + 1)
    return [tp for tp in sizes if model.why_not_tp(tp) is None and model.why_not_blocks(tp, tp) is None]


def _parts(model: ModelSpec) -> list[tuple[str, int, NumberFormat, float]]:
    """(name, weights, their format, their bytes) of the parts that it has."""
    weights, precision = model.weights_of(0, model.n_layers), model.precision
    embedding = model.embedding_params
    parts = [
        ("attention", weights.attention, precision.attention),
        ("dense layers and shared experts", weights.ffn, precision.ffn),
        ("router", weights.router, BF16),
        ("routed experts", weights.experts, precision.experts),
        ("embedding, also the head" if model.tie_word_embeddings else "embedding", embedding, BF16),
        ("head", 0 if model.tie_word_embeddings else embedding, BF16),
    ]
    return [(name, n, kind, n * kind.weight_bytes) for name, n, kind in parts if n]


def _attention(model: ModelSpec) -> str:
    if model.mla is not None:
        width = model.mla.kv_lora_rank + model.mla.qk_rope_head_dim
        return f"{model.n_heads} heads; one latent of {width} numbers for all of them (MLA)"
    kind = "each its own keys and values" if model.n_heads == model.n_kv_heads else f"{model.n_kv_heads} KV heads (GQA)"
    return f"{model.n_heads} heads, {model.head_dim} wide; {kind}"


def _growth(model: ModelSpec) -> str:
    """How the KV cache grows with the context."""
    if model.window is None:
        return f"grows with all tokens in all {model.n_layers} layers"
    full = f"grows with all tokens in {model.n_full_layers} of {model.n_layers} layers"
    return f"{full}, with {model.window.tokens:,} at most in the others (sliding window)"


def _experts(model: ModelSpec) -> str:
    moe = model.moe
    if moe is None:
        return "none"
    text = f"{moe.n_experts}, {moe.experts_per_token} for each token, {moe.expert_ffn_size:,} wide"
    if moe.shared_ffn_size:
        text += f"; shared experts {moe.shared_ffn_size:,} wide"
    if moe.n_dense_layers:
        text += f"; first {moe.n_dense_layers} layers dense"
    return text
