"""Models that a scenario describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from scenarios.file.schema.part import NoSize, Part, Size


class InPrecisions(Part):
    """In which numbers a model is kept."""

    precision: str | None = None
    """Formats of its weights, by name; by default what the config.json says, or bf16."""
    kv_cache: Literal["bf16", "fp8"] | None = None
    """Format of its KV cache, whatever the precision."""
    variants: tuple[str, ...] = ()
    """Precisions in which it can be had, among which a plan chooses; `+kv8` behind a name: and its KV cache in FP8."""


class Experts(Part):
    """A mixture of experts instead of the feed-forward layer."""

    n_experts: Size
    """Routed experts of a layer."""
    experts_per_token: Size
    """Of which a router chooses so many for each token."""
    expert_ffn_size: Size
    """Width of a routed expert."""
    shared_ffn_size: NoSize = 0
    """Width of all shared experts together."""
    n_dense_layers: NoSize = 0
    """First layers that have a dense feed-forward layer, `ffn_size` wide."""


class LatentAttention(Part):
    """Attention whose KV cache holds one compressed vector for all heads."""

    kv_lora_rank: Size
    qk_rope_head_dim: Size
    qk_nope_head_dim: Size
    v_head_dim: Size
    q_lora_rank: Size | None = None


class Window(Part):
    """Layers that attend to the last tokens only."""

    tokens: Size
    """How many."""
    full_every: NoSize
    """Layers whose number is a multiple of it attend to all tokens; 0 if none does."""


class Model(InPrecisions):
    """Architecture of a model that the catalog does not have."""

    n_layers: Size
    hidden_size: Size
    n_heads: Size
    n_kv_heads: Size
    head_dim: Size
    ffn_size: Size
    vocab_size: Size
    max_context_tokens: Size
    tie_word_embeddings: bool = False
    """Whether the output head is the embedding."""
    moe: Experts | None = None
    mla: LatentAttention | None = None
    window: Window | None = None
    n_params: Annotated[int, Field(gt=0, le=10**15)] | None = None
    """The published number of parameters, with which the sizes must agree."""
    source: str
    """Where these numbers come from."""


class ConfigModel(InPrecisions):
    """A model whose config.json stands in a file."""

    config: str
    """The file, or the folder in which it is."""
    n_params: Annotated[int, Field(gt=0, le=10**15)] | None = None
    """The published number of parameters, with which the sizes must agree."""


class InlineModel(InPrecisions):
    """A model by the keys of its config.json, whatever they are."""

    model_config = ConfigDict(extra="allow")

    architectures: tuple[str, ...]
    n_params: Annotated[int, Field(gt=0, le=10**15)] | None = None
    """The published number of parameters, with which the sizes must agree."""
    source: str = "config.json"
    """Where these numbers come from."""


class CatalogModel(InPrecisions):
    """A model of the catalog in other numbers."""


def kind_of_model(entry: Any) -> str:
    """Which of the four an entry is."""
    if isinstance(entry, Part):
        return type(entry).__name__
    keys = set(entry) if isinstance(entry, Mapping) else set()
    if "config" in keys:
        return "ConfigModel"
    if keys & {"architectures", "model_type", "num_attention_heads", "num_hidden_layers"}:
        return "InlineModel"
    return "CatalogModel" if keys and keys <= set(CatalogModel.model_fields) else "Model"


AnyModel = Annotated[
    Annotated[Model, Tag("Model")]
    | Annotated[ConfigModel, Tag("ConfigModel")]
    | Annotated[InlineModel, Tag("InlineModel")]
    | Annotated[CatalogModel, Tag("CatalogModel")],
    Discriminator(kind_of_model),
    Field(description="A model: its sizes, its config.json, or one of the catalog in other numbers."),
]
