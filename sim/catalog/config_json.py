"""Models from their config.json, as model hubs ship it: what changes size or cost and is not understood is an error."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sim.catalog.config_keys import Keys, shortened
from sim.catalog.models import MLA, ModelSpec, MoE, SlidingWindow
from sim.catalog.quantization import Modules, read_precision
from sim.errors import ConfigError
from traces.errors import nearest

_MOST_LAYERS = 10_000


@dataclass(frozen=True, slots=True)
class _Family:
    """What is known of an architecture.

    Attributes:
        moe: Reads its mixture of experts.
        window: Reads its sliding window.
        is_tied: Whether the output head is the embedding where the file does not say.
        has_mla: Whether it has latent attention.
        head_dim: Of a head where the file does not say; None for `hidden_size` over heads.
        modules: Names of its modules, which lists of what is not quantised use.
    """

    moe: Callable[[Keys], MoE | None] = lambda keys: None
    window: Callable[[Keys, int], SlidingWindow | None] = lambda keys, n_layers: _window_everywhere(keys)
    is_tied: bool = False
    has_mla: bool = False
    head_dim: int | None = None
    modules: Modules = field(default_factory=Modules)


def read_config(path: Path | str, name: str | None = None) -> ModelSpec:
    """The model of a config.json.

    A `hf_quant_config.json` beside it counts, too; where the file is called `NAME_config.json`, one that is called
    `NAME_hf_quant_config.json`.

    Args:
        path: The file, or the folder in which it is.
        name: What the model is called; by default after the file or its folder.

    Raises:
        ConfigError: The file cannot be read, or something that changes size or cost is not understood.
    """
    path = Path(path)
    try:
        file = path / "config.json" if path.is_dir() else path
        quantization = file.with_name(file.name.removesuffix("config.json") + "hf_quant_config.json")
        has_quantization = quantization != file and quantization.is_file()
    except (OSError, ValueError):
        raise ConfigError(shortened(str(path)), "", "cannot be the name of a file") from None
    beside = _load(quantization) if has_quantization else None
    own = file.name.removesuffix(".json").removesuffix("config").rstrip("_-.")
    called = name or (own or file.resolve().parent.name).rpartition("--")[2]
    return model_from_config(_load(file), called, str(file), quantization=beside)


def model_from_config(
    config: Mapping[str, Any], name: str, source: str, *, quantization: Mapping[str, Any] | None = None
) -> ModelSpec:
    """The model that the keys of a config.json describe.

    Args:
        config: The keys.
        name: What the model is called.
        source: Where they come from; errors start with it.
        quantization: What a hf_quant_config.json says.

    Raises:
        ConfigError: Something that changes size or cost is not understood.
    """
    keys = Keys(config, source)
    left_out: list[str] = []
    architecture = _architecture(keys)
    text = keys
    if architecture in _NESTED:
        left_out.append("vision tower")
        text = keys.part("text_config")
        keys.take("vision_config")
        architecture = _NESTED[architecture]
        text.take("architectures")
    family = _FAMILIES[architecture]
    if text.integer("num_nextn_predict_layers", default=0, least=0) or text.flag("use_mtp", default=False):
        left_out.append("layers that predict further tokens")
    model = _sizes(text, family, name, keys.take("tie_word_embeddings"))
    given = keys.take("quantization_config") or text.take("quantization_config")
    precision = read_precision(model, family.modules, given, quantization, source)
    for part in dict.fromkeys((text, keys)):
        part.check_rest()
    without = f", without {' and '.join(left_out)}" if left_out else ""
    return replace(model, precision=precision, source=source + without)


def _load(file: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(file), "", f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(file), "", f"is not JSON: {error}") from None
    if not isinstance(config, Mapping):
        raise ConfigError(str(file), "", "must be a mapping of keys, as a config.json is")
    return config


def _architecture(keys: Keys) -> str:
    given = keys.take("architectures")
    known = (*_FAMILIES, *_NESTED)
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 1:
        keys.refuse("architectures", f"must be a list of one name, not {shortened(given)}; known: {', '.join(known)}")
    if given[0] not in known:
        keys.refuse("architectures", f"unknown architecture {shortened(given[0])}: {nearest(str(given[0]), known)}")
    return str(given[0])


def _sizes(keys: Keys, family: _Family, name: str, is_tied: bool | None) -> ModelSpec:
    n_layers = keys.integer("num_hidden_layers", most=_MOST_LAYERS)
    hidden, n_heads = keys.integer("hidden_size"), keys.integer("num_attention_heads")
    n_kv_heads = keys.integer("num_key_value_heads", default=n_heads)
    if n_heads % n_kv_heads:
        keys.refuse("num_key_value_heads", f"{n_kv_heads} do not divide the {n_heads} query heads")
    mla = _mla(keys) if family.has_mla else None
    head_dim = mla.qk_nope_head_dim + mla.qk_rope_head_dim if mla else _head_dim(keys, family, hidden, n_heads)
    tie = keys.flag("tie_word_embeddings", default=family.is_tied if is_tied is None else is_tied)
    ffn_size = keys.integer("intermediate_size")
    return ModelSpec(
        name=name,
        n_layers=n_layers,
        hidden_size=hidden,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        ffn_size=ffn_size,
        vocab_size=keys.integer("vocab_size"),
        max_context_tokens=keys.integer("max_position_embeddings"),
        tie_word_embeddings=tie,
        moe=family.moe(keys),
        mla=mla,
        window=family.window(keys, n_layers),
    )


def _head_dim(keys: Keys, family: _Family, hidden: int, n_heads: int) -> int:
    given = keys.take("head_dim", family.head_dim)
    if given is None and hidden % n_heads:
        keys.refuse("head_dim", f"is missing, and {n_heads} heads do not divide hidden_size {hidden}")
    return keys.integer("head_dim", default=family.head_dim or hidden // n_heads)


def _mla(keys: Keys) -> MLA:
    for size in ("head_dim", "qk_head_dim"):
        keys.take(size)  # newer files repeat what the others give
    sizes = {
        size: keys.integer(size) for size in ("kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim")
    }
    compressed = None if keys.take("q_lora_rank") is None else keys.integer("q_lora_rank")
    return MLA(**sizes, q_lora_rank=compressed)


# Mixtures of experts ------------------------------------------------------------------------------------------


def _moe(keys: Keys, n_experts: int, size: str, *, shared_ffn_size: int = 0, n_dense_layers: int = 0) -> MoE:
    chosen = keys.integer("num_experts_per_tok")
    if chosen > n_experts:
        keys.refuse("num_experts_per_tok", f"{chosen} are more than the {n_experts} experts")
    return MoE(n_experts, chosen, keys.integer(size), shared_ffn_size, n_dense_layers)


def _moe_of_local_experts(keys: Keys) -> MoE:
    keys.take("experts_per_token")
    keys.only("shared_intermediate_size", 0, "would be shared experts")
    return _moe(keys, keys.integer("num_local_experts"), "intermediate_size")


def _moe_of_qwen3(keys: Keys) -> MoE:
    keys.only("decoder_sparse_step", 1, "only some layers would have experts")
    keys.only("mlp_only_layers", [], "some layers would have no experts")
    keys.only("shared_expert_intermediate_size", 0, "would be shared experts")
    return _moe(keys, keys.integer("num_experts"), "moe_intermediate_size")


def _moe_of_deepseek(keys: Keys) -> MoE:
    keys.only("moe_layer_freq", 1, "only some layers would have experts")
    n_shared = keys.integer("n_shared_experts", default=0, least=0)
    return _moe(
        keys,
        keys.integer("n_routed_experts"),
        "moe_intermediate_size",
        shared_ffn_size=n_shared * keys.integer("moe_intermediate_size"),
        n_dense_layers=keys.integer("first_k_dense_replace", default=0, least=0),
    )


def _moe_of_minimax(keys: Keys) -> MoE:
    kinds = keys.take("attn_type_list", [])
    if any(kind != 1 for kind in kinds):
        keys.refuse("attn_type_list", "some layers have linear attention; only layers of kind 1 are understood")
    return _moe_of_local_experts(keys)


# Sliding windows ----------------------------------------------------------------------------------------------


def _window_everywhere(keys: Keys) -> SlidingWindow | None:
    """In all layers, as in the first Mistral-7B."""
    tokens = keys.take("sliding_window")
    if tokens is None or keys.integer("sliding_window") >= keys.integer("max_position_embeddings"):
        return None
    return SlidingWindow(tokens, full_every=0)


def _window_stated(keys: Keys, n_layers: int) -> SlidingWindow | None:
    """As before, of architectures that have one where the file does not say null."""
    if "sliding_window" not in keys.config:
        keys.refuse("sliding_window", "is missing; null if there is none")
    return _window_everywhere(keys)


def _window_where_used(keys: Keys, n_layers: int) -> SlidingWindow | None:
    """In Qwen's models the window is there, but not used, or only by the last layers."""
    tokens, first = keys.take("sliding_window"), keys.integer("max_window_layers", default=n_layers, least=0)
    keys.take("layer_types")
    if not keys.flag("use_sliding_window", default=False) or tokens is None or first >= n_layers:
        return None
    keys.refuse("use_sliding_window", f"true: only the layers from {first} on would slide; only false is understood")


def _window_by_layers(default: int) -> Callable[[Keys, int], SlidingWindow | None]:
    """A window in all layers but each n-th, which `layer_types` or `sliding_window_pattern` may say."""

    def read(keys: Keys, n_layers: int) -> SlidingWindow | None:
        keys.only("use_bidirectional_attention", False, "attention would not be causal")
        full_every = keys.integer("sliding_window_pattern", default=default)
        kinds = keys.take("layer_types")
        if kinds is not None:
            full_every = _full_every(keys, kinds, n_layers)
        if "sliding_window" not in keys.config:
            keys.refuse("sliding_window", "is missing; null if there is none")
        if keys.take("sliding_window") is None or full_every == 1:
            return None
        return SlidingWindow(keys.integer("sliding_window"), full_every)

    return read


def _full_every(keys: Keys, kinds: Any, n_layers: int) -> int:
    full, sliding = "full_attention", "sliding_attention"
    if not isinstance(kinds, Sequence) or len(kinds) != n_layers:
        keys.refuse("layer_types", f"must name the kind of each of the {n_layers} layers")
    for kind in kinds:
        if kind not in (full, sliding):
            keys.refuse("layer_types", f"unknown kind {shortened(kind)}: {nearest(str(kind), (full, sliding))}")
    full_every = kinds.index(full) + 1 if full in kinds else 0
    regular = [full if full_every and number % full_every == 0 else sliding for number in range(1, n_layers + 1)]
    if list(kinds) != regular:
        keys.refuse("layer_types", "layers that see all tokens must come at regular distances, the last of each")
    return full_every


_DEEPSEEK = Modules(
    attention=("q_proj", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"),
)
_BLOCK_SPARSE = Modules(experts=tuple(f"block_sparse_moe.experts.0.w{number}" for number in (1, 2, 3)))

# Defaults and names of modules: the configuration and modeling files of huggingface/transformers.
_FAMILIES = {
    "LlamaForCausalLM": _Family(),
    "MistralForCausalLM": _Family(window=_window_stated),
    "Phi3ForCausalLM": _Family(modules=Modules(attention=("qkv_proj", "o_proj"), ffn=("gate_up_proj", "down_proj"))),
    "Qwen2ForCausalLM": _Family(window=_window_where_used),
    "Qwen3ForCausalLM": _Family(window=_window_where_used, head_dim=128),
    "Qwen3MoeForCausalLM": _Family(moe=_moe_of_qwen3, window=_window_where_used),
    "MixtralForCausalLM": _Family(moe=_moe_of_local_experts, modules=_BLOCK_SPARSE),
    "MiniMaxM2ForCausalLM": _Family(moe=_moe_of_minimax, modules=_BLOCK_SPARSE),
    "GptOssForCausalLM": _Family(moe=_moe_of_local_experts, window=_window_by_layers(2), head_dim=64),
    "DeepseekV3ForCausalLM": _Family(moe=_moe_of_deepseek, has_mla=True, modules=_DEEPSEEK),
    "Gemma2ForCausalLM": _Family(window=_window_by_layers(2), is_tied=True, head_dim=256),
    "Gemma3ForCausalLM": _Family(window=_window_by_layers(6), is_tied=True, head_dim=256),
}
_NESTED = {
    "Gemma3ForConditionalGeneration": "Gemma3ForCausalLM",
    "KimiK25ForConditionalGeneration": "DeepseekV3ForCausalLM",
}
