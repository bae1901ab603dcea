"""What a stage of a replica computes, reads and sends in an iteration: bytes and FLOPs of one of its GPUs."""

from __future__ import annotations

from typing import NamedTuple

from sim.catalog.models import ModelSpec
from sim.catalog.precision import ACTIVATION_BYTES, BF16, NumberFormat
from sim.deployment import ReplicaSpec, Stage
from sim.kv_cache import stage_kv_bytes_per_token
from sim.timing.service_time import Chunk

# On GPUs without FlashAttention 3 decodes read their KV more slowly when the iteration holds a prompt chunk too: at
# 0.34-0.47 of bandwidth with 4 query heads per KV head, at 0.25-0.27 with 8, instead of about 0.88. Source: mixed
# iterations of Llama-3.1-8B and Qwen3-32B on RTX 4090 and RTX PRO 6000 (LLMServingSim @5daddb2).
# 0.88 x group^-0.6 gives 0.38 and 0.25.
MIXED_KV_EXPONENT = 0.6


class LinearWork(NamedTuple):
    """Matrix products in weights of one format, on one of a stage's GPUs.

    Attributes:
        number_format: Of the weights.
        weight_bytes: Of all of them.
        flops_per_token: Of a token.
        n_layers: Layers whose attention has weights of this format.
    """

    number_format: NumberFormat
    weight_bytes: float
    flops_per_token: float
    n_layers: int


class ExpertWork(NamedTuple):
    """The routed experts of a stage, on one of its GPUs.

    Attributes:
        number_format: Of their weights.
        weight_bytes: Of all of them.
        flops_per_token: Of a token.
        untouched_by_token: Share of the experts that a token leaves alone.
        n_layers: Layers with experts.
    """

    number_format: NumberFormat
    weight_bytes: float
    flops_per_token: float
    untouched_by_token: float
    n_layers: int

    def bytes_read(self, n_tokens: int) -> float:
        """Bytes of the experts that so many tokens choose: of E experts E (1 - (1 - k/E)^T) are expected."""
        untouched: float = self.untouched_by_token**n_tokens
        return self.weight_bytes * (1.0 - untouched)


class StageWork(NamedTuple):
    """What a stage computes, reads and sends: bytes and FLOPs of one of its GPUs.

    With data parallelism of the attention, tokens and sequences are those of one of the groups, but for experts and
    all-to-alls, where they are those of all.

    Attributes:
        linear: Attention, dense feed-forward layers and shared experts, by format.
        experts: Routed experts; None in a stage without.
        head_bytes: Weights of the output head; 0 on all stages but the last.
        head_flops_per_seq: Of the output head, which computes one token of each sequence.
        kv_bytes_per_token: Keys and values of a token of context.
        mixed_kv_factor: What grouped queries make of the efficiency of reading KV beside a chunk.
        attention_flops_per_pair: Of prefill attention, for a pair of a new token and one that it attends to.
        elementwise_bytes_per_token: Read and written by norms, residuals, rotary embedding and activation.
        n_allreduces: In an iteration; 0 if `tp` is 1.
        allreduce_bytes_per_token: That all of them send.
        n_alltoalls: In an iteration, to bring tokens to their experts and back; 0 without expert or data parallelism.
        alltoall_bytes_per_token: That one GPU sends in all of them, for a token of all groups.
        n_latent_layers: Layers with latent attention.
        latent_flops_per_token: Of decodes with latent attention, for a token of context: all heads compute scores and
            sums with the compressed vector itself, 2 x heads x (2 x kv_lora_rank + qk_rope_head_dim) in a layer.
        n_latent_heads: Heads of it; 0 without.
    """

    linear: tuple[LinearWork, ...]
    experts: ExpertWork | None
    head_bytes: float
    head_flops_per_seq: float
    kv_bytes_per_token: float
    mixed_kv_factor: float
    attention_flops_per_pair: float
    elementwise_bytes_per_token: float
    n_allreduces: int
    allreduce_bytes_per_token: float
    n_alltoalls: int
    alltoall_bytes_per_token: float
    n_latent_layers: int = 0
    latent_flops_per_token: float = 0.0
    n_latent_heads: float = 0.0

    @classmethod
    def of(cls, spec: ReplicaSpec, index: int) -> StageWork:
        """The work of one GPU of a stage.

        >>> from sim.catalog.read import gpu_type, model_spec
        >>> work = StageWork.of(ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("H100-SXM")), 0)
        >>> round(work.linear[0].weight_bytes / 1e9, 2), work.n_allreduces
        (13.96, 0)
        """
        model, stage = spec.model, spec.stages[index]
        tp, n_layers, hidden = stage.tp, stage.n_layers, model.hidden_size
        first = spec.first_layer(index)
        head_params = model.embedding_params / tp if index == spec.pp - 1 else 0.0
        # Per token and layer: two norms and two residual additions (8 x hidden), the gated activation (3 x width),
        # the rotary embedding of queries and keys; what experts add.
        rotary = 2 * (model.n_heads + model.n_kv_heads) * model.head_dim / tp
        activation = 3 * _ffn_width(model, first, n_layers) / n_layers / tp
        routed = _routed_width(model, stage, first) / n_layers
        n_allreduces = 2 * n_layers if tp > 1 else 0
        n_alltoalls = 0
        if stage.dp > 1 and model.moe is not None:
            # They take the place of the all-reduce behind the experts.
            n_sparse = _n_sparse(model, first, n_layers)
            n_alltoalls = 2 * n_sparse
            n_allreduces -= n_sparse if tp > 1 else 0
        mla = model.mla
        value_dim = mla.v_head_dim if mla else model.head_dim
        latent_flops = 2 * model.n_heads * (2 * mla.kv_lora_rank + mla.qk_rope_head_dim) / tp if mla else 0.0
        return cls(
            linear=_linear_work(model, stage, first),
            experts=_expert_work(model, stage, first),
            head_bytes=ACTIVATION_BYTES * head_params,
            head_flops_per_seq=2 * head_params,
            kv_bytes_per_token=stage_kv_bytes_per_token(spec, stage),
            mixed_kv_factor=(model.n_heads / model.n_kv_heads) ** -MIXED_KV_EXPONENT,
            attention_flops_per_pair=2 * n_layers * model.n_heads * (model.head_dim + value_dim) / tp,
            elementwise_bytes_per_token=ACTIVATION_BYTES * n_layers * (8 * hidden + activation + rotary + routed),
            n_allreduces=n_allreduces,
            allreduce_bytes_per_token=n_allreduces * 2 * (tp - 1) / tp * ACTIVATION_BYTES * hidden,
            n_alltoalls=n_alltoalls,
            alltoall_bytes_per_token=n_alltoalls * (stage.dp - 1) / stage.dp * ACTIVATION_BYTES * hidden,
            n_latent_layers=n_layers if mla else 0,
            latent_flops_per_token=n_layers * latent_flops,
            n_latent_heads=model.n_heads / tp if mla else 0.0,
        )


def _n_sparse(model: ModelSpec, first: int, n_layers: int) -> int:
    return n_layers - max(0, min(first + n_layers, model.n_dense_layers) - first)


def _ffn_width(model: ModelSpec, first: int, n_layers: int) -> int:
    """Width of the feed-forward layers that a token passes, of all layers of a stage together."""
    n_sparse = _n_sparse(model, first, n_layers)
    width = (n_layers - n_sparse) * model.ffn_size
    if model.moe is not None:
        chosen = model.moe.experts_per_token * model.moe.expert_ffn_size
        width += n_sparse * (model.moe.shared_ffn_size + chosen)
    return width


def _routed_width(model: ModelSpec, stage: Stage, first: int) -> float:
    """Numbers that a GPU moves of a token because of experts: the results of each chosen one, written, read and added.

    Each GPU has a part of all chosen experts, or the whole of some.
    """
    if model.moe is None:
        return 0
    ranks = stage.n_gpus if stage.expert_parallel else 1
    return 3 * model.moe.experts_per_token * model.hidden_size * _n_sparse(model, first, stage.n_layers) / ranks


def _linear_work(model: ModelSpec, stage: Stage, first: int) -> tuple[LinearWork, ...]:
    weights, precision = model.weights_of(first, stage.n_layers), model.precision
    copied = _copied_params(model) * stage.n_layers
    params: dict[NumberFormat, float] = {}
    for number_format, n_params in (
        (precision.attention, (weights.attention - copied) / stage.tp + copied),
        (precision.ffn, weights.ffn / stage.tp),
        (BF16, weights.router / stage.tp),
    ):
        if n_params:
            params[number_format] = params.get(number_format, 0.0) + n_params
    return tuple(
        LinearWork(
            number_format,
            number_format.weight_bytes * n_params,
            2 * n_params,
            stage.n_layers if number_format == precision.attention else 0,
        )
        for number_format, n_params in params.items()
    )


def _copied_params(model: ModelSpec) -> int:
    """Weights of a layer that each GPU has whole: the projections to what all heads share in latent attention."""
    mla = model.mla
    return 0 if mla is None else model.hidden_size * ((mla.q_lora_rank or 0) + mla.kv_lora_rank + mla.qk_rope_head_dim)


def _expert_work(model: ModelSpec, stage: Stage, first: int) -> ExpertWork | None:
    n_sparse = _n_sparse(model, first, stage.n_layers)
    if model.moe is None or n_sparse == 0:
        return None
    n_params = model.weights_of(first, stage.n_layers).experts / stage.n_gpus
    chosen = model.moe.experts_per_token / model.moe.n_experts
    number_format = model.precision.experts
    return ExpertWork(number_format, number_format.weight_bytes * n_params, 2 * n_params * chosen, 1 - chosen, n_sparse)


def window_pairs(chunk: Chunk, window_tokens: int) -> float:
    """Pairs of a new token of a chunk and one that it attends to, in a layer with a sliding window.

    >>> window_pairs(Chunk(4, 0), 100), window_pairs(Chunk(4, 100), 100)
    (8.0, 400.0)
    """
    new, past = chunk
    inside = min(max(window_tokens - past, 0), new)  # new tokens that the window has not passed
    return inside * (past + 0.5 * inside) + (new - inside) * window_tokens
