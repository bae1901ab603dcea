"""KV blocks in integers: how many a replica has, and how a batch of decodes uses them up."""

from __future__ import annotations

from dataclasses import asdict
from math import ceil
from typing import Any, NamedTuple, TypeVar

from sim.catalog.models import Weights
from sim.deployment import ReplicaSpec, Stage
from sim.errors import DeploymentError

Tokens = TypeVar("Tokens", int, float)
"""A number of tokens, or a mean of some."""

MANY_TOKENS = 2**62
"""Any number of tokens: of a model all of whose layers have a window."""


def blocks_for(tokens: int, block_tokens: int) -> int:
    """Blocks that hold so many tokens.

    >>> blocks_for(0, 16), blocks_for(16, 16), blocks_for(17, 16)
    (0, 1, 2)
    """
    return -(-tokens // block_tokens)


class BlockRule(NamedTuple):
    """How many KV blocks a sequence holds.

    A block holds the keys and values of some tokens in one group of layers. Layers that attend to all tokens are in
    groups of their own, and those with a sliding window in others, all groups alike in size, so that any group can use
    any block. What a window has passed is free as soon as the next block is taken.

    Source: vLLM's hybrid KV cache manager (docs.vllm.ai, design/hybrid_kv_cache_manager). It frees what is behind the
    window in the next iteration; up to then it holds one block more of each window group, and of a prompt all blocks of
    the chunk that it computes.

    Attributes:
        block_tokens: Tokens of a block.
        full_groups: Groups of layers that attend to all tokens.
        window_groups: Groups of layers with a window.
        window_blocks: Most blocks of a window group that a sequence holds.
        window_tokens: Tokens that layers with a window attend to.
        full_share: Share of the layers that attend to all tokens.
    """

    block_tokens: int
    full_groups: int = 1
    window_groups: int = 0
    window_blocks: int = 0
    window_tokens: int = 0
    full_share: float = 1.0

    @property
    def has_window(self) -> bool:
        """Whether some layers have a window."""
        return self.full_share < 1

    @property
    def n_groups(self) -> int:
        """Groups of layers."""
        return self.full_groups + self.window_groups

    def blocks(self, tokens: int) -> int:
        """Blocks that hold so many tokens of a sequence.

        >>> BlockRule(16, full_groups=1, window_groups=1, window_blocks=9).blocks(16 * 20)
        29
        """
        n_blocks = blocks_for(tokens, self.block_tokens)
        return self.full_groups * n_blocks + self.window_groups * min(n_blocks, self.window_blocks)

    def kept_tokens(self, tokens: Tokens) -> Tokens:
        """Tokens of a sequence that have keys and values, over all groups of layers.

        >>> BlockRule(16, 1, 2, window_blocks=9, window_tokens=128).kept_tokens(200)
        456
        """
        return self.full_groups * tokens + self.window_groups * min(tokens, self.window_tokens)

    def tokens_within(self, n_blocks: int) -> int:
        """Longest sequence that so many blocks hold.

        >>> BlockRule(16, full_groups=1, window_groups=1, window_blocks=9).tokens_within(29)
        320
        """
        within_window = n_blocks // self.n_groups
        if self.window_groups == 0 or within_window < self.window_blocks:
            return within_window * self.block_tokens
        if self.full_groups == 0:
            return MANY_TOKENS
        return (n_blocks - self.window_groups * self.window_blocks) // self.full_groups * self.block_tokens


def block_rule(spec: ReplicaSpec) -> BlockRule:
    """How many KV blocks a sequence holds on a replica.

    >>> from sim.catalog.models import SlidingWindow
    >>> from sim.catalog.read import gpu_type, model_spec
    >>> from dataclasses import replace
    >>> model = replace(model_spec("Llama-3-8B"), window=SlidingWindow(128, full_every=4))
    >>> rule = block_rule(ReplicaSpec.uniform(model, gpu_type("RTX4090")))
    >>> rule.full_groups, rule.window_groups, rule.window_blocks
    (1, 3, 9)
    """
    model, block_tokens = spec.model, spec.limits.block_tokens
    if model.window is None:
        return BlockRule(block_tokens)
    n_full = model.n_full_layers
    n_window = model.n_layers - n_full
    size = min(n for n in (n_full, n_window) if n)
    window_tokens = model.window.tokens
    # As many as a window touches that begins with the last token of a block.
    window_blocks = max(window_tokens - 2, 0) // block_tokens + 2
    return BlockRule(
        block_tokens,
        -(-n_full // size),
        -(-n_window // size),
        window_blocks,
        window_tokens,
        n_full / model.n_layers,
    )


def stage_weight_bytes(spec: ReplicaSpec, index: int) -> int:
    """Bytes of weights on each GPU of one stage: its layers, the embedding (first), the head (last).

    Attention, dense feed-forward layers and shared experts are split over `tp` GPUs; routed experts over all GPUs of
    the stage, each of them or whole ones. One copy of a tied embedding serves as the head, too, if both are on one
    stage.
    """
    stage, model = spec.stages[index], spec.model
    weights = model.weights_of(spec.first_layer(index), stage.n_layers)
    n_embeddings = (index == 0) + (index == spec.pp - 1)
    if spec.pp == 1 and model.tie_word_embeddings:
        n_embeddings = 1
    experts = model.bytes_of(Weights(0, 0, 0, weights.experts))
    rest = ceil(model.bytes_of(weights._replace(experts=0))) + n_embeddings * model.embedding_bytes
    return -(-rest // stage.tp) + ceil(experts / stage.n_gpus)


def stage_kv_bytes_per_token(spec: ReplicaSpec, stage: Stage) -> int:
    """Bytes of one token's keys and values in all layers of a stage, on each GPU that holds them."""
    return stage.n_layers * spec.model.kv_bytes_of_rank(stage.tp)


def kv_blocks(spec: ReplicaSpec) -> int:
    """KV blocks of a replica; the scarcest stage decides, and 0 means that the weights do not fit.

    Per stage: floor((utilisation x memory - weights - reserve) / bytes of a block), times the data parallelism. A block
    is one of a group of layers (`BlockRule`): of all, unless some have a sliding window.

    >>> from sim.catalog.read import gpu_type, model_spec
    >>> kv_blocks(ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("RTX4090")))
    2588
    """
    limits = spec.limits
    if limits.kv_blocks is not None:
        return limits.kv_blocks * spec.dp
    n_groups = block_rule(spec).n_groups
    scarcest: int | None = None
    for index, stage in enumerate(spec.stages):
        usable_bytes = int(limits.gpu_memory_utilization * stage.gpu_type.memory_bytes) - limits.reserve_bytes
        free_bytes = usable_bytes - stage_weight_bytes(spec, index)
        layers_of_group = -(-stage.n_layers // n_groups)
        block_bytes = limits.block_tokens * layers_of_group * spec.model.kv_bytes_of_rank(stage.tp)
        blocks = max(0, free_bytes // block_bytes)
        scarcest = blocks if scarcest is None else min(scarcest, blocks)
    if scarcest is None:
        msg = "a replica needs at least one stage"
        raise DeploymentError(msg)
    return scarcest * spec.dp


def max_context_tokens(spec: ReplicaSpec) -> int:
    """Longest prompt plus output that the replica can serve: the model's limit, the user's, or the KV cache's."""
    limit = spec.limits.max_context_tokens
    context = spec.model.max_context_tokens if limit is None else limit
    return min(context, block_rule(spec).tokens_within(kv_blocks(spec) // spec.dp))


def limits_in_force(spec: ReplicaSpec) -> dict[str, Any]:
    """A replica's limits with all defaults resolved, of one data-parallel rank, as vLLM counts them.

    >>> from sim.catalog.read import gpu_type, model_spec
    >>> limits = limits_in_force(ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("RTX4090")))
    >>> limits["max_seqs"], limits["max_batched_tokens"], limits["max_context_tokens"], limits["kv_blocks"]
    (256, 2048, 8192, 2588)
    """
    return asdict(spec.limits) | {
        "max_batched_tokens": spec.max_batched_tokens // spec.dp,
        "max_seqs": spec.max_seqs // spec.dp,
        "max_context_tokens": max_context_tokens(spec),
        "kv_blocks": kv_blocks(spec) // spec.dp,
    }
