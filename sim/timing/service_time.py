"""How long one iteration of one replica takes, given what is in the batch.

An iteration with only decodes is affine in their total context, `base + slope * context_tokens`, for a fixed
number of them: the engine's macro-steps rest on that. All implementations are positive and non-decreasing in
every argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt
from typing import NamedTuple, Protocol

from sim.catalog.gpus import AllReduce
from sim.catalog.models import ModelSpec
from sim.deployment import ReplicaSpec, Stage
from sim.errors import DeploymentError, SettingsError
from sim.kv_cache import stage_kv_bytes_per_token

# On GPUs without FlashAttention 3 decodes read their KV more slowly when the iteration holds a prompt chunk too: at
# 0.34-0.47 of bandwidth with 4 query heads per KV head, at 0.25-0.27 with 8, instead of about 0.88. Source: mixed
# iterations of Llama-3.1-8B and Qwen3-32B on RTX 4090 and RTX PRO 6000 (LLMServingSim @5daddb2).
# 0.88 x group^-0.6 gives 0.38 and 0.25.
MIXED_KV_EXPONENT = 0.6

# Between nodes: the 5 Gbit/s Ethernet of arXiv:2502.00722.
NETWORK_BANDWIDTH_BYTES_PER_S = 5e9 / 8


class Chunk(NamedTuple):
    """A part of a prompt in an iteration: tokens computed now, and tokens of its sequence computed before."""

    new_tokens: int
    past_tokens: int


class StageTime(Protocol):
    """Time of one iteration on one pipeline stage of a replica, in seconds."""

    def decode(self, n_decode: int) -> tuple[float, float]:
        """(base, slope): `n_decode` decodes that hold `c` tokens in all take `base + slope * c`."""
        ...

    def mixed(self, n_decode: int, context_tokens: int, chunks: Sequence[Chunk]) -> float:
        """Time of an iteration with at least one prompt chunk, and perhaps decodes.

        Args:
            n_decode: Requests that decode one token each.
            context_tokens: Tokens whose keys and values the decodes read, in all.
            chunks: Prompt chunks.
        """
        ...


class ServiceTimeModel(Protocol):
    """Gives the stage times of a replica.

    A model that rests on measurements also has an `n_extrapolated`: times given so far outside of what was measured.
    """

    def stage_times(self, spec: ReplicaSpec) -> tuple[StageTime, ...]:
        """One `StageTime` for each pipeline stage.

        Raises:
            DeploymentError: The model says nothing about this replica.
        """
        ...


class CompactServiceTime:
    """A physical model with a few coefficients per GPU type, taken from the catalog.

    For T new tokens of S sequences, on the GPUs of one stage with L layers (all quantities of one GPU):

        t = L c0 + smax(W / (BW e_bw), F / (PF e_fl)) + head + KV / (BW e_kv) + AF / (PF e_af) + EW / (BW e_ew)
            + [tp > 1] 2 L (latency + 2 (tp - 1) / tp x 2 T hidden / BW_allreduce)
            + [not the last stage] 2 T hidden / BW_link + [last stage] step overhead + S x sequence overhead

    smax(a, b) = sqrt(a^2 + b^2); W: bytes of weights; F: FLOPs of the linear layers; head: the same maximum for
    the output head, on the last stage; KV: bytes of context read by decodes and by chunks with a past; AF: FLOPs
    of prefill attention, 4 x heads x head_dim x (new x past + new^2 / 2); EW: bytes of norms, residuals, rotary
    embedding and activation. In an iteration that holds chunks too, GPUs without FlashAttention 3 read the KV of
    decodes at a lower efficiency.

    Args:
        step_overhead_s: Scheduler, sampler and transport time of an iteration, which kernel measurements leave out.
            vLLM V1 with CUDA graphs: 0-1 ms, and hardly any where it schedules ahead, as it does by default.
        sequence_overhead_s: The part of that which grows with each sequence in the batch.
        network_bandwidth_bytes_per_s: Bandwidth between nodes, for pipelines that do not fit in one.

    Attributes:
        n_extrapolated: Times outside of what a GPU type's coefficients were fitted on (`GpuCoefficients.domain`):
            numbers of decodes met on each replica, and iterations with chunks; 0 where nothing was fitted.

    >>> from sim.catalog.read import gpu_type, model_spec
    >>> spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("H100-SXM"))
    >>> (stage,) = CompactServiceTime().stage_times(spec)
    >>> base, slope = stage.decode(32)
    >>> round(1e3 * (base + slope * 32 * 1024), 2)  # ms for 32 decodes with 1,024 tokens each
    8.05
    """

    def __init__(
        self,
        step_overhead_s: float = 0.0,
        sequence_overhead_s: float = 0.0,
        network_bandwidth_bytes_per_s: float = NETWORK_BANDWIDTH_BYTES_PER_S,
    ) -> None:
        self.step_overhead_s = step_overhead_s
        self.sequence_overhead_s = sequence_overhead_s
        self.network_bandwidth_bytes_per_s = network_bandwidth_bytes_per_s
        self.n_extrapolated = 0

    def stage_times(self, spec: ReplicaSpec) -> tuple[StageTime, ...]:
        """One `StageTime` for each pipeline stage.

        Raises:
            DeploymentError: A stage's GPU type has no coefficients, or none for its `tp`.
        """
        return tuple(self._stage_time(spec, index) for index in range(spec.pp))

    def _stage_time(self, spec: ReplicaSpec, index: int) -> _CompactStageTime:
        is_last = index == spec.pp - 1
        bandwidth = None if is_last else link_bandwidth(spec, index, self.network_bandwidth_bytes_per_s)
        return _CompactStageTime(
            self,
            spec.model,
            spec.stages[index],
            kv_bytes_per_token=stage_kv_bytes_per_token(spec, spec.stages[index]),
            is_first=index == 0,
            has_head=is_last,
            link_bandwidth=bandwidth,
            step_overhead_s=self.step_overhead_s if is_last else 0.0,
            sequence_overhead_s=self.sequence_overhead_s if is_last else 0.0,
        )


def link_bandwidth(spec: ReplicaSpec, index: int, network_bandwidth_bytes_per_s: float) -> float:
    """Bandwidth from a stage to the next: the node's link if all GPUs of the type fit in one node, else the network."""
    here, there = spec.stages[index].gpu_type, spec.stages[index + 1].gpu_type
    if here == there and spec.gpus[here.name] <= here.gpus_per_node:
        return here.link_bandwidth_bytes_per_s
    return network_bandwidth_bytes_per_s


class StageWork(NamedTuple):
    """What a stage computes, reads and sends: bytes and FLOPs of one of its GPUs.

    Attributes:
        weight_bytes: Weights of its layers (`weight_bytes_read`: of which an iteration reads so many).
        linear_flops_per_token: Of the linear layers.
        head_bytes: Weights of the output head; 0 on all stages but the last.
        head_flops_per_seq: Of the output head, which computes one token of each sequence.
        kv_bytes_per_token: Keys and values of a token of context.
        mixed_kv_factor: What grouped queries make of the efficiency of reading KV beside a chunk.
        attention_flops_per_pair: Of prefill attention, for a pair of a new token and one that it attends to.
        elementwise_bytes_per_token: Read and written by norms, residuals, rotary embedding and activation.
        n_allreduces: In an iteration; 0 if `tp` is 1.
        allreduce_bytes_per_token: That all of them send.
    """

    weight_bytes: float
    linear_flops_per_token: float
    head_bytes: float
    head_flops_per_seq: float
    kv_bytes_per_token: float
    mixed_kv_factor: float
    attention_flops_per_pair: float
    elementwise_bytes_per_token: float
    n_allreduces: int
    allreduce_bytes_per_token: float

    @classmethod
    def of(cls, model: ModelSpec, stage: Stage, *, kv_bytes_per_token: int, has_head: bool) -> StageWork:
        """The work of one GPU of a stage.

        >>> from sim.catalog.read import gpu_type, model_spec
        >>> spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("H100-SXM"))
        >>> work = StageWork.of(spec.model, spec.stages[0], kv_bytes_per_token=131_072, has_head=True)
        >>> round(work.weight_bytes / 1e9, 2), work.n_allreduces
        (13.96, 0)
        """
        tp, n_layers, hidden = stage.tp, stage.n_layers, model.hidden_size
        weight_bytes, activation_bytes = model.precision.weight_bytes, model.precision.activation_bytes
        layer_params = n_layers * model.layer_params / tp
        head_params = model.embedding_params / tp if has_head else 0.0
        # Per token and layer: two norms and two residual additions (8 x hidden), the gated activation (3 x ffn),
        # the rotary embedding of queries and keys.
        rotary = 2 * (model.n_heads + model.n_kv_heads) * model.head_dim / tp
        n_allreduces = 2 * n_layers if tp > 1 else 0
        return cls(
            weight_bytes=weight_bytes * layer_params,
            linear_flops_per_token=2 * layer_params,
            head_bytes=weight_bytes * head_params,
            head_flops_per_seq=2 * head_params,
            kv_bytes_per_token=kv_bytes_per_token,
            mixed_kv_factor=(model.n_heads / model.n_kv_heads) ** -MIXED_KV_EXPONENT,
            attention_flops_per_pair=4 * n_layers * model.n_heads * model.head_dim / tp,
            elementwise_bytes_per_token=activation_bytes * n_layers * (8 * hidden + 3 * model.ffn_size / tp + rotary),
            n_allreduces=n_allreduces,
            allreduce_bytes_per_token=n_allreduces * 2 * (tp - 1) / tp * activation_bytes * hidden,
        )

    def weight_bytes_read(self, n_tokens: int) -> float:
        """Bytes of weights that the layers read for so many tokens: of a dense model all, for any number."""
        return self.weight_bytes


class _CompactStageTime:
    """The compact model with everything but the batch multiplied out."""

    def __init__(
        self,
        owner: CompactServiceTime,
        model: ModelSpec,
        stage: Stage,
        *,
        kv_bytes_per_token: int,
        is_first: bool,
        has_head: bool,
        link_bandwidth: float | None,
        step_overhead_s: float,
        sequence_overhead_s: float,
    ) -> None:
        gpu = stage.gpu_type
        c = gpu.coefficients
        if c is None:
            msg = f"GPU type {gpu.name!r} has no service-time coefficients"
            raise DeploymentError(msg)
        read = gpu.memory_bandwidth_bytes_per_s
        flops = gpu.peak_flops_of(model.precision)
        work = StageWork.of(model, stage, kv_bytes_per_token=kv_bytes_per_token, has_head=has_head)

        self._fixed = stage.n_layers * c.layer_overhead_s + step_overhead_s
        self._work = work
        self._weights_per_s = read * c.weight_read_efficiency
        self._linear_per_token = work.linear_flops_per_token / (flops * c.linear_flops_efficiency)
        self._head_weights = work.head_bytes / (read * c.weight_read_efficiency)
        self._head_per_seq = work.head_flops_per_seq / (flops * c.linear_flops_efficiency)
        self._per_seq = sequence_overhead_s
        self._kv_per_token = kv_bytes_per_token / (read * c.kv_read_efficiency)
        self._mixed_kv_per_token = self._kv_per_token
        if c.mixed_kv_read_efficiency is not None:
            mixed_efficiency = c.mixed_kv_read_efficiency * work.mixed_kv_factor
            self._mixed_kv_per_token = kv_bytes_per_token / (read * min(c.kv_read_efficiency, mixed_efficiency))
        self._attention_per_pair = work.attention_flops_per_pair / (flops * c.attention_flops_efficiency)
        self._per_token = work.elementwise_bytes_per_token / (read * c.elementwise_efficiency)
        if stage.tp > 1:
            allreduce = _allreduce(stage)
            self._fixed += work.n_allreduces * allreduce.latency_s
            self._per_token += work.allreduce_bytes_per_token / allreduce.bandwidth_bytes_per_s
        if link_bandwidth is not None:
            self._per_token += model.precision.activation_bytes * model.hidden_size / link_bandwidth
        self._decode_cache: dict[int, tuple[float, float]] = {}
        self._owner = owner
        # The first stage counts for the replica.
        domain = c.domain if is_first else None
        self._max_decodes = domain.max_decodes if domain else inf
        self._max_new_tokens = domain.max_new_tokens if domain else inf
        self._max_context_tokens = domain.max_context_tokens if domain else inf

    def decode(self, n_decode: int) -> tuple[float, float]:
        """(base, slope) of `n_decode` decodes in their total context."""
        affine = self._decode_cache.get(n_decode)
        if affine is None:
            affine = (self._batch_time(n_decode, n_decode), self._kv_per_token)
            self._decode_cache[n_decode] = affine
            self._owner.n_extrapolated += n_decode > self._max_decodes
        return affine

    def mixed(self, n_decode: int, context_tokens: int, chunks: Sequence[Chunk]) -> float:
        """Time of an iteration with prompt chunks."""
        n_tokens = n_decode
        past_tokens = 0
        pairs = 0.0
        for new, past in chunks:
            n_tokens += new
            past_tokens += past
            pairs += new * (past + 0.5 * new)
        if n_tokens - n_decode > self._max_new_tokens or context_tokens > n_decode * self._max_context_tokens:
            self._owner.n_extrapolated += 1
        time_s = self._batch_time(n_tokens, n_decode + len(chunks)) + self._mixed_kv_per_token * context_tokens
        return time_s + self._kv_per_token * past_tokens + self._attention_per_pair * pairs

    def _batch_time(self, n_tokens: int, n_seqs: int) -> float:
        """All but attention."""
        weights = self._work.weight_bytes_read(n_tokens) / self._weights_per_s
        linear = self._linear_per_token * n_tokens
        head = self._head_per_seq * n_seqs
        return (
            self._fixed
            + sqrt(weights * weights + linear * linear)
            + sqrt(self._head_weights * self._head_weights + head * head)
            + self._per_token * n_tokens
            + self._per_seq * n_seqs
        )


def _allreduce(stage: Stage) -> AllReduce:
    c = stage.gpu_type.coefficients
    by_tp = dict(c.allreduce) if c is not None else {}
    if stage.tp not in by_tp:
        known = ", ".join(str(tp) for tp in [1, *by_tp])
        msg = f"GPU type {stage.gpu_type.name!r} has no all-reduce time for tp {stage.tp}; known: {known}"
        raise DeploymentError(msg)
    return by_tp[stage.tp]


class ConstantServiceTime:
    """Iteration times from four constants, the same for every replica; for tests against queueing theory.

    Args:
        iteration_s: Fixed time of an iteration. All four are divided evenly over the pipeline stages.
        per_prompt_token_s: Time of each new token of a prompt chunk.
        per_decode_s: Time of each decoding request.
        per_context_token_s: Time of each token of context that decodes read.

    Raises:
        SettingsError: `iteration_s` is not above 0, or another time below.
    """

    def __init__(
        self,
        iteration_s: float,
        *,
        per_prompt_token_s: float = 0.0,
        per_decode_s: float = 0.0,
        per_context_token_s: float = 0.0,
    ) -> None:
        others = (per_prompt_token_s, per_decode_s, per_context_token_s)
        if not iteration_s > 0 or not all(value >= 0 for value in others):
            msg = f"iteration_s is {iteration_s}, the other times {others}; one must be above 0, the others not below"
            raise SettingsError(msg)
        self.iteration_s = iteration_s
        self.per_prompt_token_s = per_prompt_token_s
        self.per_decode_s = per_decode_s
        self.per_context_token_s = per_context_token_s

    def stage_times(self, spec: ReplicaSpec) -> tuple[StageTime, ...]:
        """One `StageTime` for each pipeline stage."""
        return (_ConstantStageTime(self, 1 / spec.pp),) * spec.pp


class _ConstantStageTime:
    def __init__(self, model: ConstantServiceTime, share: float) -> None:
        self._model = model
        self._share = share

    def decode(self, n_decode: int) -> tuple[float, float]:
        m, share = self._model, self._share
        return share * (m.iteration_s + m.per_decode_s * n_decode), share * m.per_context_token_s

    def mixed(self, n_decode: int, context_tokens: int, chunks: Sequence[Chunk]) -> float:
        m = self._model
        base, slope = self.decode(n_decode)
        prompt_tokens = sum(chunk.new_tokens for chunk in chunks)
        return base + slope * context_tokens + self._share * m.per_prompt_token_s * prompt_tokens
