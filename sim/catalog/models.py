"""A model: the sizes of its architecture, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

from sim.catalog.precision import ACTIVATION_BYTES, PRECISIONS, Precision


@dataclass(frozen=True, slots=True)
class MoE:
    """A mixture of experts instead of the feed-forward layer, in all layers but the first few.

    Attributes:
        n_experts: Routed experts of a layer.
        experts_per_token: Of which a router chooses so many for each token.
        expert_ffn_size: Width of a routed expert.
        shared_ffn_size: Width of all shared experts together, which each token passes; 0 if there are none.
        n_dense_layers: First layers that have a dense feed-forward layer of the model's `ffn_size`.
    """

    n_experts: int
    experts_per_token: int
    expert_ffn_size: int
    shared_ffn_size: int = 0
    n_dense_layers: int = 0


@dataclass(frozen=True, slots=True)
class MLA:
    """Multi-head latent attention: the KV cache holds one compressed vector for all heads.

    Source: DeepSeek-V2, arXiv:2405.04434, section 2.1.

    Attributes:
        kv_lora_rank: Width of the compressed keys and values.
        qk_rope_head_dim: Width of the key that carries positions, which all heads share.
        qk_nope_head_dim: Width of the rest of a head's query and key.
        v_head_dim: Width of a head's value.
        q_lora_rank: Width of the compressed queries; None if they are not compressed.
    """

    kv_lora_rank: int
    qk_rope_head_dim: int
    qk_nope_head_dim: int
    v_head_dim: int
    q_lora_rank: int | None = None


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """Layers that attend to the last tokens only.

    Attributes:
        tokens: How many.
        full_every: Layers whose number, counted from 1, is a multiple of it attend to all tokens; 0 if none does.
    """

    tokens: int
    full_every: int

    def n_full_layers(self, first: int, n_layers: int) -> int:
        """How many of `n_layers` from `first` on, counted from 0, attend to all tokens.

        >>> SlidingWindow(1024, full_every=6).n_full_layers(0, 62)
        10
        """
        if self.full_every == 0:
            return 0
        return (first + n_layers) // self.full_every - first // self.full_every


class Weights(NamedTuple):
    """Numbers of weights of some layers, by part.

    Attributes:
        attention: Projections of queries, keys, values and outputs.
        ffn: Dense feed-forward layers and shared experts.
        router: Which chooses the experts.
        experts: Routed experts, all of them.
    """

    attention: int
    ffn: int
    router: int
    experts: int


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A decoder-only transformer with gated feed-forward layers: dense, or a mixture of experts.

    Attributes:
        name: What it is called.
        n_layers: Transformer layers.
        hidden_size: Width of what passes between layers.
        n_heads: Query heads.
        n_kv_heads: Heads of keys and values; with `mla` as many as query heads.
        head_dim: Width of a head; with `mla` of its query and key.
        ffn_size: Width of dense feed-forward layers.
        vocab_size: Rows of the embedding.
        max_context_tokens: Longest prompt plus output.
        source: Where these numbers come from.
        precision: In which numbers it is kept.
        tie_word_embeddings: Whether the output head is the embedding.
        moe: Its mixture of experts; None if it is dense.
        mla: Its latent attention; None if keys and values are cached by head.
        window: Its sliding window; None if all layers attend to all tokens.
        variants: Precisions in which it can be had, among which a plan chooses; only `precision` if empty.

    >>> from sim.catalog.read import model_spec
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
    precision: Precision = PRECISIONS["bf16"]
    tie_word_embeddings: bool = False
    moe: MoE | None = None
    mla: MLA | None = None
    window: SlidingWindow | None = None
    variants: tuple[Precision, ...] = ()

    def in_variants(self) -> tuple[ModelSpec, ...]:
        """The model in each precision in which it can be had."""
        return tuple(replace(self, precision=precision, variants=()) for precision in self.variants) or (self,)

    # What parallelism it allows -----------------------------------------------------------------------------

    def why_not_tp(self, tp: int) -> str | None:
        """Why vLLM would refuse tensor parallelism of so many GPUs; None if it would not.

        Source: vLLM refuses to start where "Total number of attention heads must be divisible by tensor parallel size"
        is broken; its QKVParallelLinear divides KV heads or copies them; its FP8 linear layers refuse parts that cut
        a block of weights with one scale.
        """
        if self.n_heads % tp:
            return f"tp {tp} does not divide the {self.n_heads} query heads of {self.name}"
        if self.mla is None and self.n_kv_heads % tp and tp % self.n_kv_heads:
            return f"tp {tp} neither divides the {self.n_kv_heads} KV heads of {self.name} nor is a multiple of them"
        return None

    def why_not_blocks(self, ffn_ranks: int, expert_ranks: int) -> str | None:
        """Why weights that share scales do not let themselves be divided; None if they do.

        Args:
            ffn_ranks: GPUs over which dense feed-forward layers and shared experts are split.
            expert_ranks: GPUs over which each routed expert is split.
        """
        ffn, experts = self.precision.ffn.block, self.precision.experts.block
        for what, size, block, ranks in (
            ("feed-forward layers", self.ffn_size if self.n_dense_layers else 0, ffn, ffn_ranks),
            ("shared experts", self.moe.shared_ffn_size if self.moe else 0, ffn, ffn_ranks),
            ("experts", self.moe.expert_ffn_size if self.moe else 0, experts, expert_ranks),
        ):
            if ranks > 1 and size % ranks == 0 and size // ranks % block:
                return f"{ranks} GPUs cut the {what} of {self.name}, {size} wide, within blocks of {block} weights"
            if ranks > 1 and size % ranks:
                return f"{ranks} GPUs do not divide the {what} of {self.name}, {size} wide"
        return None

    # Weights ------------------------------------------------------------------------------------------------

    @property
    def n_dense_layers(self) -> int:
        """Layers with a dense feed-forward layer."""
        return self.n_layers if self.moe is None else self.moe.n_dense_layers

    @property
    def attention_params(self) -> int:
        """Weights of the attention of one layer."""
        hidden, heads, mla = self.hidden_size, self.n_heads, self.mla
        if mla is None:
            return (2 * heads + 2 * self.n_kv_heads) * self.head_dim * hidden
        query = mla.qk_nope_head_dim + mla.qk_rope_head_dim
        queries = heads * query * hidden
        if mla.q_lora_rank is not None:
            queries = mla.q_lora_rank * (hidden + heads * query)
        compressed = hidden * (mla.kv_lora_rank + mla.qk_rope_head_dim)
        expanded = mla.kv_lora_rank * heads * (mla.qk_nope_head_dim + mla.v_head_dim)
        return queries + compressed + expanded + heads * mla.v_head_dim * hidden

    def weights_of(self, first: int, n_layers: int) -> Weights:
        """Weights of `n_layers` layers from `first` on, counted from 0."""
        n_dense = max(0, min(first + n_layers, self.n_dense_layers) - first)
        n_sparse = n_layers - n_dense
        ffn = 3 * self.hidden_size * self.ffn_size * n_dense
        router = experts = 0
        if self.moe is not None:
            ffn += 3 * self.hidden_size * self.moe.shared_ffn_size * n_sparse
            router = self.hidden_size * self.moe.n_experts * n_sparse
            experts = 3 * self.hidden_size * self.moe.expert_ffn_size * self.moe.n_experts * n_sparse
        return Weights(self.attention_params * n_layers, ffn, router, experts)

    @property
    def embedding_params(self) -> int:
        """Weights of the token embedding; the output head has as many."""
        return self.vocab_size * self.hidden_size

    @property
    def n_params(self) -> int:
        """All weights but norms and biases, which are less than one in 1,000."""
        embeddings = self.embedding_params * (1 if self.tie_word_embeddings else 2)
        return sum(self.weights_of(0, self.n_layers)) + embeddings

    @property
    def n_active_params(self) -> int:
        """Weights that a token is computed with: of the experts those that are chosen, and not the embedding.

        The output head counts. Source: gpt-oss model card, arXiv:2508.10925, section 2.
        """
        weights = self.weights_of(0, self.n_layers)
        chosen = 0
        if self.moe is not None:
            chosen = weights.experts * self.moe.experts_per_token // self.moe.n_experts
        return weights.attention + weights.ffn + weights.router + chosen + self.embedding_params

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        layers = self.bytes_of(self.weights_of(0, self.n_layers))
        return ceil(layers) + self.embedding_bytes * (1 if self.tie_word_embeddings else 2)

    @property
    def embedding_bytes(self) -> int:
        """Bytes of the token embedding, and of the output head."""
        return ACTIVATION_BYTES * self.embedding_params

    def bytes_of(self, weights: Weights) -> float:
        """Bytes of some layers' weights."""
        precision = self.precision
        return (
            precision.attention.weight_bytes * weights.attention
            + precision.ffn.weight_bytes * weights.ffn
            + ACTIVATION_BYTES * weights.router
            + precision.experts.weight_bytes * weights.experts
        )

    # Keys and values ----------------------------------------------------------------------------------------

    @property
    def kv_bytes_per_token_per_layer(self) -> int:
        """Bytes of the keys and values of one token in one layer."""
        if self.mla is not None:
            return self.precision.kv_bytes * (self.mla.kv_lora_rank + self.mla.qk_rope_head_dim)
        return 2 * self.precision.kv_bytes * self.n_kv_heads * self.head_dim

    def kv_bytes_of_rank(self, tp: int) -> int:
        """Of these, the bytes on each of `tp` GPUs: all of a latent; KV heads are copied where `tp` exceeds them."""
        if self.mla is not None:
            return self.kv_bytes_per_token_per_layer
        heads = max(1, -(-self.n_kv_heads // tp))
        return self.kv_bytes_per_token_per_layer * heads // self.n_kv_heads

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of the keys and values of one token in all layers, while no window has passed it."""
        return self.n_layers * self.kv_bytes_per_token_per_layer

    @property
    def n_full_layers(self) -> int:
        """Layers that attend to all tokens."""
        return self.n_layers if self.window is None else self.window.n_full_layers(0, self.n_layers)
