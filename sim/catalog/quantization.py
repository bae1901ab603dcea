"""In which numbers a checkpoint keeps its weights: what its config.json says of quantisation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Any, Literal

from sim.catalog.config_keys import Keys, shortened
from sim.catalog.models import ModelSpec
from sim.catalog.precision import BF16, FORMATS, PRECISIONS, NumberFormat, Precision
from sim.errors import ConfigError
from traces.errors import nearest

MOST_MOVED = 0.005  # of the weights' bytes, where a part that is quantised in part is taken for the one or the other
_BLOCK = 128


@dataclass(frozen=True, slots=True)
class Modules:
    """Names of the linear layers of an architecture, which lists of what is not quantised use.

    Attributes:
        attention: Below a layer's `self_attn`.
        ffn: Below a layer's `mlp`, and below its `shared_experts`.
        experts: Below a layer, of the first routed expert.
    """

    attention: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    ffn: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")
    experts: tuple[str, ...] = tuple(f"mlp.experts.0.{name}_proj" for name in ("gate", "up", "down"))


@dataclass(frozen=True, slots=True)
class _Scheme:
    """What is quantised.

    Attributes:
        format: In which format.
        kept: Patterns of the modules that are not.
        key: Which key lists them.
        kv: Format of the KV cache.
        quantizes_head: Whether the output head is quantised, too, unless it is among `kept`.
        only_experts: Whether only routed experts are ever quantised.
    """

    format: NumberFormat
    kept: tuple[str, ...]
    key: str
    kv: Literal["bf16", "fp8"] = "bf16"
    quantizes_head: bool = False
    only_experts: bool = False


def read_precision(
    model: ModelSpec,
    modules: Modules,
    given: Any,
    beside: Mapping[str, Any] | None,
    source: str,
) -> Precision:
    """In which numbers a checkpoint is kept.

    Args:
        model: Its sizes.
        modules: Names of its linear layers.
        given: `quantization_config` of its config.json; None if there is none.
        beside: What a hf_quant_config.json says; None if there is none.
        source: The file, for messages.

    Raises:
        ConfigError: The way of quantisation is not known, or a part is quantised only in part.
    """
    if given is None and beside is None:
        return PRECISIONS["bf16"]
    if given is None:
        keys = Keys(beside or {}, source, "hf_quant_config: ").part("quantization")
        scheme = _modelopt(keys)
    else:
        if not isinstance(given, Mapping):
            raise ConfigError(source, "quantization_config", f"must be a mapping, not {shortened(given)}")
        keys = Keys(given, source, "quantization_config.")
        scheme = _scheme(keys)
    keys.check_rest(_NOT_OF_SIZE)
    return _by_parts(model, modules, scheme, source)


# Ways of quantisation ------------------------------------------------------------------------------------------


def _scheme(keys: Keys) -> _Scheme:
    method = keys.take("quant_method")
    if method is None and keys.take("quant_algo") is not None:
        method = "modelopt"
    if str(method) not in _METHODS:
        keys.refuse(
            "quant_method", f"unknown way of quantisation {shortened(method)}: {nearest(str(method), _METHODS)}"
        )
    return _METHODS[str(method)](keys)


def _fp8(keys: Keys) -> _Scheme:
    key = "modules_to_not_convert" if keys.take("modules_to_not_convert") else "ignored_layers"
    return _Scheme(_fp8_format(keys, keys.take("weight_block_size"), "weight_block_size"), _names(keys, key), key)


def _fp8_format(keys: Keys, block: Any, key: str) -> NumberFormat:
    if block is None:
        return FORMATS["fp8"]
    if block != [_BLOCK, _BLOCK]:
        keys.refuse(key, f"{shortened(block)}: only [{_BLOCK}, {_BLOCK}] is known, or none for a scale per tensor")
    return FORMATS["fp8_block"]


def _four_bits(keys: Keys) -> _Scheme:
    """AWQ and GPTQ."""
    _expect(keys, "bits", keys.take("bits", keys.take("w_bit")), (4,))
    _expect(keys, "group_size", keys.take("group_size", keys.take("q_group_size")), (_BLOCK,))
    keys.only("lm_head", False, "the output head would be quantised")
    return _Scheme(FORMATS["int4"], _names(keys, "modules_to_not_convert"), "modules_to_not_convert")


def _compressed(keys: Keys) -> _Scheme:
    """compressed-tensors."""
    layout = keys.take("format")
    _expect(keys, "format", layout, ("pack-quantized", "float-quantized", "nvfp4-pack-quantized"))
    weights = _only_group(keys).part("weights")
    group, bits = weights.take("group_size"), weights.take("num_bits")
    if layout == "float-quantized":
        _expect(weights, "num_bits", bits, (8,))
        number_format = _fp8_format(weights, weights.take("block_structure"), "block_structure")
    elif layout == "pack-quantized":
        _expect(weights, "num_bits", bits, (4,))
        _expect(weights, "group_size", group, (32, _BLOCK))
        number_format = FORMATS["int4_g32" if group == 32 else "int4"]
    else:
        number_format = FORMATS["nvfp4"]
    for key in ("sparsity_config", "transform_config"):
        keys.only(key, {}, "weights would be sparse or rotated")
    kv = _kv(keys, "kv_cache_scheme")
    return _Scheme(number_format, _names(keys, "ignore"), "ignore", kv, quantizes_head=True)


def _only_group(keys: Keys) -> Keys:
    groups = keys.part("config_groups")
    if len(groups.config) != 1:
        keys.refuse("config_groups", f"{len(groups.config)} groups; one way of quantisation is understood")
    group = groups.part(next(iter(groups.config)))
    targets = group.take("targets", ["Linear"])
    if targets != ["Linear"]:
        group.refuse("targets", f"{shortened(targets)}; only ['Linear'] is understood, with all else in 'ignore'")
    return group


def _modelopt(keys: Keys) -> _Scheme:
    algorithm = keys.take("quant_algo")
    _expect(keys, "quant_algo", algorithm, ("FP8", "NVFP4"))
    key = "exclude_modules" if keys.take("exclude_modules") is not None else "ignore"
    kv_key = "kv_cache_scheme" if keys.take("kv_cache_scheme") is not None else "kv_cache_quant_algo"
    number_format = FORMATS[str(algorithm).lower()]
    return _Scheme(number_format, _names(keys, key), key, _kv(keys, kv_key), quantizes_head=True)


def _mxfp4(keys: Keys) -> _Scheme:
    """As gpt-oss ships: routed experts only, whatever else is listed."""
    key = "modules_to_not_convert"
    return _Scheme(FORMATS["mxfp4"], _names(keys, key), key, only_experts=True)


_METHODS = {
    "fp8": _fp8,
    "awq": _four_bits,
    "gptq": _four_bits,
    "compressed-tensors": _compressed,
    "modelopt": _modelopt,
    "mxfp4": _mxfp4,
}


_NOT_OF_SIZE = frozenset({
    "activation_scheme", "fmt", "scale_fmt",
    "backend", "do_fuse", "version", "zero_point",
    "checkpoint_format", "damp_percent", "dataset", "desc_act", "exllama_config", "is_marlin_format",
    "max_input_length", "meta", "model_seqlen", "pack_dtype", "static_groups", "sym", "true_sequential", "use_exllama",
    "global_compression_ratio", "quantization_status",
    "config_groups", "group_size", "producer", "quant_method",
})  # fmt: skip
"""Keys of a `quantization_config` that change no size beside those that were read: of fp8, AWQ, GPTQ, others."""


def _expect(keys: Keys, key: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        keys.refuse(key, f"unknown {shortened(value)}: {', '.join(map(str, allowed))} can be counted")


def _names(keys: Keys, key: str) -> tuple[str, ...]:
    given = keys.take(key, [])
    if not isinstance(given, Sequence) or isinstance(given, str) or not all(isinstance(name, str) for name in given):
        keys.refuse(key, f"must be a list of names of modules, not {shortened(given)}")
    return tuple(given)


def _kv(keys: Keys, key: str) -> Literal["bf16", "fp8"]:
    given = keys.take(key)
    if given is None:
        return "bf16"
    if given == "FP8" or (isinstance(given, Mapping) and (given.get("num_bits"), given.get("type")) == (8, "float")):
        return "fp8"
    keys.refuse(key, f"unknown format of the KV cache {shortened(given)}: FP8, or null for bf16")


# Which parts are quantised -------------------------------------------------------------------------------------


def _by_parts(model: ModelSpec, modules: Modules, scheme: _Scheme, source: str) -> Precision:
    kept = _Pattern(scheme.kept)
    if scheme.quantizes_head and not kept.matches("lm_head") and not model.tie_word_embeddings:
        raise ConfigError(source, scheme.key, "does not name lm_head: a quantised output head is not understood")
    total, in_bf16 = {}, {}
    for part in ("attention", "ffn", "experts"):
        sizes = [(kept.matches(name), size) for name, size in _linear_layers(model, modules, part)]
        total[part] = sum(size for _, size in sizes)
        in_bf16[part] = sum(size for is_kept, size in sizes if is_kept)
    if scheme.only_experts:
        in_bf16 |= {part: total[part] for part in ("attention", "ffn")}
    formats = {part: BF16 if 2 * in_bf16[part] > total[part] else scheme.format for part in total if total[part]}
    moved = sum(min(in_bf16[part], total[part] - in_bf16[part]) for part in total)
    precision = _precision(formats, scheme)
    spec_bytes = sum(formats[part].weight_bytes * total[part] for part in formats) + 2 * model.embedding_params
    if moved * (BF16.weight_bytes - scheme.format.weight_bytes) > MOST_MOVED * spec_bytes:
        mixed = [part for part in total if 0 < in_bf16[part] < total[part]]
        raise ConfigError(
            source,
            scheme.key,
            f"only some weights of {' and '.join(mixed)} are in {scheme.format.name}, the others in bf16; each of "
            "attention, ffn (dense layers and shared experts) and experts must be in one format",
        )
    return precision


def _precision(formats: Mapping[str, NumberFormat], scheme: _Scheme) -> Precision:
    """The precision of these formats, of which parts without weights take whatever has a name."""
    attention = formats["attention"]
    ffn = formats.get("ffn", attention)
    experts = formats.get("experts", ffn)
    for known in PRECISIONS.values():
        if (known.attention, known.ffn, known.experts) == (attention, ffn, experts):
            return known.with_kv(scheme.kv)
    name = f"{attention.name}-{ffn.name}-{experts.name}"
    if attention == BF16:
        name = f"{experts.name}_experts" if ffn == BF16 else f"{ffn.name}_ffn"
    return Precision(name, attention, ffn, experts).with_kv(scheme.kv)


def _linear_layers(model: ModelSpec, modules: Modules, part: str) -> Iterator[tuple[str, int]]:
    """(name, weights) of the linear layers of a part; the weights of a layer's are divided evenly or as they are."""
    for index in range(model.n_layers):
        layer, weights = f"model.layers.{index}", model.weights_of(index, 1)
        match part:
            case "attention":
                names = [f"{layer}.self_attn.{name}" for name in modules.attention]
            case "ffn":
                shared = "" if index < model.n_dense_layers else "shared_experts."
                names = [f"{layer}.mlp.{shared}{name}" for name in modules.ffn]
            case _:
                names = [f"{layer}.{name}" for name in modules.experts]
        sizes = _attention_sizes(model) if part == "attention" else {}
        total = getattr(weights, part)
        for name in names:
            size = sizes.get(name.rpartition(".")[2], 0) if sizes else total // len(names)
            if size:
                yield name, size


def _attention_sizes(model: ModelSpec) -> dict[str, int]:
    """Weights of the projections of one layer's attention."""
    hidden, heads, mla = model.hidden_size, model.n_heads, model.mla
    if mla is None:
        queries, values = heads * model.head_dim * hidden, model.n_kv_heads * model.head_dim * hidden
        fused = queries + 2 * values
        return {"q_proj": queries, "k_proj": values, "v_proj": values, "qkv_proj": fused, "o_proj": queries}
    query = heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
    rank = mla.q_lora_rank
    return {
        "q_proj": 0 if rank else query * hidden,
        "q_a_proj": (rank or 0) * hidden,
        "q_b_proj": (rank or 0) * query,
        "kv_a_proj_with_mqa": hidden * (mla.kv_lora_rank + mla.qk_rope_head_dim),
        "kv_b_proj": mla.kv_lora_rank * heads * (mla.qk_nope_head_dim + mla.v_head_dim),
        "o_proj": heads * mla.v_head_dim * hidden,
    }


class _Pattern:
    """Names of modules as such lists write them: `re:` before an expression, with stars, or parts of a dotted name."""

    def __init__(self, names: Sequence[str]) -> None:
        expressions = []
        for name in names:
            if name.startswith("re:"):
                expressions.append(name.removeprefix("re:"))
            elif "*" in name:
                expressions += [translate(name), translate(f"{name}.*")]
            else:
                expressions.append(rf"(?:.*\.)?{re.escape(name)}(?:\..*)?$")
        self._expressions = [re.compile(expression) for expression in expressions]

    def matches(self, name: str) -> bool:
        """Whether a module, or one that it is in, is among them; also below the language part of a larger model."""
        below = (name, f"language_model.{name}", name.replace("model.", "model.language_model.", 1))
        return any(expression.match(spelled) for expression in self._expressions for spelled in below)
