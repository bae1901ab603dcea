"""KV blocks in integers: how many a replica has, and how a batch of decodes uses them up."""

from __future__ import annotations

from sim.deployment import ReplicaSpec, Stage
from sim.errors import DeploymentError


def blocks_for(tokens: int, block_tokens: int) -> int:
    """Blocks that hold so many tokens.

    >>> blocks_for(0, 16), blocks_for(16, 16), blocks_for(17, 16)
    (0, 1, 2)
    """
    return -(-tokens // block_tokens)


def stage_weight_bytes(spec: ReplicaSpec, index: int) -> int:
    """Bytes of weights on each GPU of one stage: its layers, the embedding (first), the head (last)."""
    stage = spec.stages[index]
    params = stage.n_layers * spec.model.layer_params
    params += spec.model.embedding_params * ((index == 0) + (index == spec.pp - 1))
    return -(-spec.model.weight_bytes_of(params) // stage.tp)


def stage_kv_bytes_per_token(spec: ReplicaSpec, stage: Stage) -> int:
    """Bytes of one token's keys and values on each GPU of a stage; KV heads are copied where tp exceeds them."""
    heads = max(1, -(-spec.model.n_kv_heads // stage.tp))
    return stage.n_layers * spec.model.kv_bytes_per_token_per_layer * heads // spec.model.n_kv_heads


def kv_blocks(spec: ReplicaSpec) -> int:
    """KV blocks of a replica; the scarcest stage decides, and 0 means that the weights do not fit.

    Per stage: floor((utilisation x memory - weights - reserve) / bytes of a block).

    >>> from sim.catalog.read import gpu_type, model_spec
    >>> kv_blocks(ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("RTX4090")))
    2582
    """
    limits = spec.limits
    if limits.kv_blocks is not None:
        return limits.kv_blocks
    scarcest: int | None = None
    for index, stage in enumerate(spec.stages):
        usable_bytes = int(limits.gpu_memory_utilization * stage.gpu_type.memory_bytes) - limits.reserve_bytes
        free_bytes = usable_bytes - stage_weight_bytes(spec, index)
        block_bytes = limits.block_tokens * stage_kv_bytes_per_token(spec, stage)
        blocks = max(0, free_bytes // block_bytes)
        scarcest = blocks if scarcest is None else min(scarcest, blocks)
    if scarcest is None:
        msg = "a replica needs at least one stage"
        raise DeploymentError(msg)
    return scarcest


def max_context_tokens(spec: ReplicaSpec) -> int:
    """Longest prompt plus output that the replica can serve: the model's limit, the user's, or the KV cache's."""
    limit = spec.limits.max_context_tokens
    context = spec.model.max_context_tokens if limit is None else limit
    return min(context, kv_blocks(spec) * spec.limits.block_tokens)
