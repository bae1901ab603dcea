"""The keys of a config.json: taken one by one, so that what nobody took can be told."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from sim.errors import ConfigError
from traces.errors import nearest

_MOST_SHOWN = 60

_IGNORED_PREFIXES = (
    "_", "attn_implementation", "audio_", "aux_loss", "beam_", "boa_", "boi_", "eoa_", "eoi_", "encoder_no_", "forced_",
    "image_", "initializer_", "media_", "mtp_", "num_mtp", "output_", "qk_norm", "rope_", "rotary_", "router_", "task_",
    "tokenizer", "topk_", "use_cache", "use_mrope", "use_qk_norm", "use_routing_bias", "use_unified_vision", "video_",
)  # fmt: skip
_IGNORED_SUFFIXES = (
    "_act", "_activation", "_bias", "_dropout", "_eps", "_id", "_ids", "_index", "_penalty", "_pdrop", "_softcapping",
    "_token", "_version",
)  # fmt: skip
_IGNORED = frozenset({
    "act", "add_cross_attention", "auto_map", "bad_words_ids", "begin_suppress_tokens", "cache_implementation",
    "chunk_size_feed_forward", "cross_attention_hidden_size", "do_sample", "dtype", "early_stopping",
    "ep_size", "finetuning_task", "id2label", "initial_context_length", "is_decoder", "is_encoder_decoder",
    "label2id", "max_length", "min_length",
    "mm_tokens_per_image", "model_type", "moe_router_activation_func", "n_group", "no_repeat_ngram_size",
    "norm_topk_prob", "num_beam_groups", "num_beams", "num_return_sequences", "original_max_position_embeddings",
    "partial_rotary_factor", "prefix", "pretraining_tp", "problem_type", "pruned_heads", "qkv_bias",
    "query_pre_attn_scalar", "remove_invalid_values", "return_dict", "return_dict_in_generate", "rope_theta",
    "routed_scaling_factor", "scoring_func", "seq_aux", "suppress_tokens", "swiglu_alpha", "swiglu_limit",
    "temperature",
    "tf_legacy_loss", "tie_encoder_decoder", "top_k", "top_p", "torch_dtype", "torchscript", "transformers.js_config",
    "typical_p", "unsloth_fixed", "unsloth_version", "use_bfloat16",
})  # fmt: skip


class Keys:
    """A config.json, or a part of it, of which each key is taken once it is understood.

    Args:
        config: What it says.
        where: The file or entry, for messages.
        prefix: In which part of it these keys stand, with a dot behind.
    """

    def __init__(self, config: Mapping[str, Any], where: str, prefix: str = "") -> None:
        self.config, self.where, self.prefix = config, where, prefix
        self._taken: set[str] = set()

    def refuse(self, key: str, problem: str) -> NoReturn:
        """Say what is wrong with a key.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(self.where, self.prefix + key, problem)

    def take(self, key: str, default: Any = None) -> Any:
        """The value of a key; the default where it is missing or null."""
        self._taken.add(key)
        value = self.config.get(key)
        return default if value is None else value

    def integer(self, key: str, *, default: int | None = None, least: int = 1, most: int = 10**9) -> int:
        """A whole number.

        Raises:
            ConfigError: It is missing without a default, or not a whole number from `least` to `most`.
        """
        value = self.take(key, default)
        if value is None:
            self.refuse(key, "is missing")
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self.refuse(key, f"must be a whole number from {least} to {most:,}, not {shortened(value)}")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false.

        Raises:
            ConfigError: It is neither.
        """
        value = self.take(key, default)
        if not isinstance(value, bool):
            self.refuse(key, f"must be true or false, not {shortened(value)}")
        return value

    def part(self, key: str) -> Keys:
        """The keys below a key.

        Raises:
            ConfigError: It is missing, or not a mapping.
        """
        value = self.take(key)
        if not isinstance(value, Mapping):
            self.refuse(key, "is missing" if value is None else f"must be a mapping, not {shortened(value)}")
        return Keys(value, self.where, f"{self.prefix}{key}.")

    def only(self, key: str, allowed: Any, why: str) -> None:
        """Make sure that a key has the one value that can be counted, or is missing.

        Raises:
            ConfigError: It has another; `why` says what that would mean.
        """
        value = self.take(key, allowed)
        if value != allowed:
            self.refuse(key, f"{shortened(value)}: {why}; only {allowed!r} is understood")

    def check_rest(self, ignored: Collection[str] = ()) -> None:
        """Make sure that no key is left that might change sizes or costs.

        Args:
            ignored: Keys that do not, beside those that never do.

        Raises:
            ConfigError: There is one; the message names the nearest of those that are known.
        """
        for key in self.config:
            if key not in self._taken and key not in ignored and not _is_ignored(key):
                hint = nearest(key, sorted(self._taken))
                self.refuse(key, f"unknown key, which may change sizes or costs: {hint}")


def shortened(value: Any) -> str:
    """A value as it is written, or its beginning."""
    shown = repr(value)
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}..."


def _is_ignored(key: str) -> bool:
    """Whether a key never changes the size of a model or what it costs to compute."""
    return key in _IGNORED or key.startswith(_IGNORED_PREFIXES) or key.endswith(_IGNORED_SUFFIXES)
