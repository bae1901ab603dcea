"""The compact service-time model: physics with a few coefficients for each GPU type."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, inf
from typing import NamedTuple

from sim.catalog.gpus import AllReduce, FormatCoefficients, GpuCoefficients, GpuType
from sim.catalog.precision import ACTIVATION_BYTES, NumberFormat
from sim.deployment import ReplicaSpec, Stage
from sim.errors import DeploymentError
from sim.timing.compact_means import CompactMeans
from sim.timing.linear import overlapped, sustained
from sim.timing.links import NETWORK_BANDWIDTH_BYTES_PER_S, link_bandwidth
from sim.timing.service_time import Chunk, StageTime
from sim.timing.work import StageWork, window_pairs


class CompactServiceTime:
    """A physical model with a few coefficients per GPU type, taken from the catalog.

    For T new tokens of S sequences, on the GPUs of one stage with L layers (all quantities of one GPU):

        t = L c0 + [chunks] L c_p + sum over formats (L c_f + lin(W / (BW e_bw), s F / (PF e_fl))) + head
            + [experts] L_e c_e + X u(T) / (BW e_xbw) + k XF / (PF e_xfl)
            + KV / (BW e_kv) + [latent attention] L c_l + AF / (PF e_af) + EW / (BW e_ew)
            + [tp > 1] N_r (latency + 2 (tp - 1) / tp x 2 T hidden / BW_allreduce)
            + [experts, dp > 1] 2 L_e (latency + (dp - 1) / dp x 2 T_all hidden / BW_allreduce)
            + [not the last stage] 2 T hidden / BW_link

    lin(a, b) = max(a + x_f b, b + x_r a): reading and computing go on at the same time, but for a share of each
    (`sim.timing.linear`); s: 1, and up to 1 + slow-down in layers that compute for long; c_p: attention of chunks is a
    kernel of its own; W: bytes of weights of a format; F: FLOPs of the linear layers with them; PF: peak of the
    operations in which the GPU computes with the format; c_f: fixed time of a layer whose attention is in it; head: the
    same for the output head in bf16, on the last stage, with s = 1; KV: bytes of context read by decodes and by chunks
    with a past; AF: FLOPs of prefill attention, 2 x heads x (width of keys + of values) x (new x past + new^2 / 2); EW:
    bytes of norms, residuals, rotary embedding and activation; N_r: two all-reduces in each layer, but one in a layer
    with experts if dp > 1. In an iteration that holds chunks too, GPUs without FlashAttention 3 read the KV of decodes
    at a lower efficiency.

    Experts: those with few tokens wait for their weights, those with many for FLOPs, so that times add up. L_e layers
    have them; X: bytes of all of a GPU's; u(T) = 1 - (1 - k/E)^T: the share of E that T tokens with k each are expected
    to choose; XF: FLOPs of the chosen ones; k: where experts are dealt out whole, what the GPU with the most tokens
    has, over the mean, else 1. EW holds the results of the chosen experts, written, read and added.

    Latent attention: KV / (BW e_kv) is sqrt((KV / (BW e_kv))^2 + (LF / (PF e_lf))^2), LF: FLOPs of all heads, or of as
    many as a kernel computes at least, with the compressed vectors that they read.

    Data parallelism: T and S are those of one of dp equal groups, but T_all, and T of experts, those of all; KV and AF
    are divided by dp.

    Args:
        network_bandwidth_bytes_per_s: Bandwidth between nodes, for pipelines that do not fit in one.

    Attributes:
        n_extrapolated: Times outside of what a GPU type's coefficients were fitted on (`GpuCoefficients.domain`):
            numbers of decodes met on each replica, and iterations with chunks; 0 where nothing was fitted.

    >>> from sim.catalog.read import gpu_type, model_spec
    >>> spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("H100-SXM"))
    >>> (stage,) = CompactServiceTime().stage_times(spec)
    >>> base, slope = stage.decode(32)
    >>> round(1e3 * (base + slope * 32 * 1024), 2)  # ms for 32 decodes with 1,024 tokens each
    8.03
    """

    def __init__(
        self,
        network_bandwidth_bytes_per_s: float = NETWORK_BANDWIDTH_BYTES_PER_S,
    ) -> None:
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
        return _CompactStageTime(self, spec, index, link_bandwidth=bandwidth)


class _Products(NamedTuple):
    """Matrix products in weights of a format: bytes/s and FLOP/s that a GPU type reaches, and its time of a layer."""

    bytes_per_s: float
    flops_per_s: float
    layer_overhead_s: float

    @classmethod
    def of(cls, gpu: GpuType, coefficients: FormatCoefficients, number_format: NumberFormat) -> _Products:
        peak = gpu.peak_flops_of(gpu.operations_of(number_format))
        return cls(
            gpu.memory_bandwidth_bytes_per_s * coefficients.weight_read_efficiency,
            peak * coefficients.flops_efficiency,
            coefficients.layer_overhead_s,
        )


class _CompactStageTime:
    """The compact model with everything but the batch multiplied out."""

    def __init__(
        self,
        owner: CompactServiceTime,
        spec: ReplicaSpec,
        index: int,
        *,
        link_bandwidth: float | None,
    ) -> None:
        model, stage = spec.model, spec.stages[index]
        gpu = stage.gpu_type
        c = gpu.coefficients
        if c is None:
            msg = f"GPU type {gpu.name!r} has no service-time coefficients"
            raise DeploymentError(msg)
        read = gpu.memory_bandwidth_bytes_per_s
        flops = gpu.peak_flops_per_s
        work = StageWork.of(spec, index)

        self.fixed = stage.n_layers * c.layer_overhead_s
        self.chunks_fixed = stage.n_layers * c.chunk_overhead_s
        self.dp = stage.dp
        self._set_products(work, stage, c)
        self.head_weights = work.head_bytes / (read * c.weight_read_efficiency)
        self.head_per_seq = work.head_flops_per_seq / (flops * c.linear_flops_efficiency)
        self._set_attention(work, stage, c)
        self.per_token = work.elementwise_bytes_per_token / (read * c.elementwise_efficiency)
        if work.n_allreduces:
            allreduce = _allreduce(stage)
            self.fixed += work.n_allreduces * allreduce.latency_s
            self.per_token += work.allreduce_bytes_per_token / allreduce.bandwidth_bytes_per_s
        self.per_token_of_all = 0.0
        if work.n_alltoalls:
            alltoall = _alltoall(stage)
            self.fixed += work.n_alltoalls * alltoall.latency_s
            self.per_token_of_all = work.alltoall_bytes_per_token / alltoall.bandwidth_bytes_per_s
        if link_bandwidth is not None:
            self.per_token += ACTIVATION_BYTES * model.hidden_size / link_bandwidth
        self._decode_cache: dict[int, tuple[float, float]] = {}
        self.owner = owner
        self.window = model.window
        self.full_share = model.n_full_layers / model.n_layers
        # The first stage counts for the replica.
        domain = c.domain if index == 0 else None
        self.max_decodes = domain.max_decodes if domain else inf
        self.max_new_tokens = domain.max_new_tokens if domain else inf
        self.max_context_tokens = domain.max_context_tokens if domain else inf

    def _set_products(self, work: StageWork, stage: Stage, c: GpuCoefficients) -> None:
        """Matrix products in weights: seconds of the weights, and of a token."""
        gpu = stage.gpu_type
        self.exposed = c.exposed_flops_share, c.exposed_read_share
        self.slowdown = c.sustained_slowdown
        self.linear: list[tuple[float, float, float]] = []
        for linear in work.linear:
            products = _Products.of(gpu, c.of_format(linear.number_format.name), linear.number_format)
            weights_s = linear.weight_bytes / products.bytes_per_s
            peak = gpu.peak_flops_of(gpu.operations_of(linear.number_format))
            layer_s = linear.flops_per_token / peak / stage.n_layers
            self.linear.append((weights_s, linear.flops_per_token / products.flops_per_s, layer_s))
            self.fixed += linear.n_layers * products.layer_overhead_s
        self.experts = work.experts
        if work.experts is not None:
            number_format = work.experts.number_format
            products = _Products.of(gpu, c.of_experts(number_format.name), number_format)
            skew = c.expert_skew if stage.expert_parallel and stage.n_gpus > 1 else 1.0
            self._expert_bytes_per_s = products.bytes_per_s
            self._expert_per_token = skew * work.experts.flops_per_token / products.flops_per_s
            self.fixed += work.experts.n_layers * products.layer_overhead_s

    def _set_attention(self, work: StageWork, stage: Stage, c: GpuCoefficients) -> None:
        """Seconds of a token of context, and of a pair of prefill attention."""
        read, flops = stage.gpu_type.memory_bandwidth_bytes_per_s, stage.gpu_type.peak_flops_per_s
        self.kv_per_token = work.kv_bytes_per_token / (read * c.kv_read_efficiency) / stage.dp
        self.mixed_kv_per_token = self.kv_per_token
        if work.n_latent_layers:
            padded = max(1.0, c.of_mla.least_heads / work.n_latent_heads)
            latent_flops = padded * work.latent_flops_per_token
            latent_s = latent_flops / (flops * c.of_mla.decode_flops_efficiency) / stage.dp
            self.kv_per_token = self.mixed_kv_per_token = hypot(self.kv_per_token, latent_s)
            self.fixed += work.n_latent_layers * c.of_mla.layer_overhead_s
        elif c.mixed_kv_read_efficiency is not None:
            mixed_efficiency = c.mixed_kv_read_efficiency * work.mixed_kv_factor
            efficiency = min(c.kv_read_efficiency, mixed_efficiency)
            self.mixed_kv_per_token = work.kv_bytes_per_token / (read * efficiency) / stage.dp
        self.attention_per_pair = work.attention_flops_per_pair / (flops * c.attention_flops_efficiency) / stage.dp

    @classmethod
    def means_of(cls, stages: Sequence[_CompactStageTime]) -> CompactMeans:
        """Mean times of these stages (`sim.timing.means`)."""
        return CompactMeans.of(stages)

    @property
    def expert_seconds(self) -> tuple[float, float, float]:
        """Seconds of the weights of all experts, and of a token that chooses some; the share that it leaves alone."""
        if self.experts is None:
            return 0.0, 0.0, 0.0
        weights_s = self.experts.weight_bytes / self._expert_bytes_per_s
        return weights_s, self._expert_per_token, self.experts.untouched_by_token

    def decode(self, n_decode: int) -> tuple[float, float]:
        """(base, slope) of `n_decode` decodes in their total context."""
        affine = self._decode_cache.get(n_decode)
        if affine is None:
            affine = (self._batch_time(n_decode, n_decode), self.kv_per_token)
            self._decode_cache[n_decode] = affine
            self.owner.n_extrapolated += n_decode > self.max_decodes
        return affine

    def mixed(self, n_decode: int, context_tokens: float, chunks: Sequence[Chunk]) -> float:
        """Time of an iteration with prompt chunks."""
        n_tokens = n_decode
        past_tokens: float = 0
        pairs = 0.0
        for new, past in chunks:
            n_tokens += new
            past_tokens += past
            pairs += new * (past + 0.5 * new)
        if self.window is not None:
            windowed, share = self.window.tokens, self.full_share
            past_tokens = share * past_tokens + (1 - share) * sum(min(past, windowed) for _, past in chunks)
            pairs = share * pairs + (1 - share) * sum(window_pairs(chunk, windowed) for chunk in chunks)
        if n_tokens - n_decode > self.max_new_tokens or context_tokens > n_decode * self.max_context_tokens:
            self.owner.n_extrapolated += 1
        time_s = self._batch_time(n_tokens, n_decode + len(chunks)) + self.mixed_kv_per_token * context_tokens
        time_s += self.chunks_fixed if chunks else 0.0
        return time_s + self.kv_per_token * past_tokens + self.attention_per_pair * pairs

    def _batch_time(self, n_tokens: int, n_seqs: int) -> float:
        """All but attention."""
        own_tokens, own_seqs = n_tokens, n_seqs
        if self.dp > 1:  # as many as the group with the most
            own_tokens, own_seqs = -(-n_tokens // self.dp), -(-n_seqs // self.dp)
        head = self.head_per_seq * own_seqs
        time_s = self.fixed
        for weights, per_token, layer_per_token in self.linear:
            slower = sustained(layer_per_token * own_tokens, self.slowdown)
            time_s += overlapped(weights, slower * per_token * own_tokens, *self.exposed)
        if self.experts is not None:
            weights = self.experts.bytes_read(n_tokens) / self._expert_bytes_per_s
            linear = self._expert_per_token * n_tokens
            time_s += weights + linear + self.per_token_of_all * n_tokens
        return time_s + overlapped(self.head_weights, head, *self.exposed) + self.per_token * own_tokens


def _allreduce(stage: Stage) -> AllReduce:
    by_tp = stage.gpu_type.allreduce
    if stage.tp not in by_tp:
        known = ", ".join(str(tp) for tp in [1, *by_tp])
        msg = f"GPU type {stage.gpu_type.name!r} has no all-reduce time for tp {stage.tp}; known: {known}"
        raise DeploymentError(msg)
    return by_tp[stage.tp]


def _alltoall(stage: Stage) -> AllReduce:
    """Of all GPUs of a stage: latency and bandwidth of their all-reduce, or of the largest that is known."""
    by_tp = stage.gpu_type.allreduce
    if not by_tp:
        msg = f"GPU type {stage.gpu_type.name!r} has no all-reduce time, of which all-to-alls are estimated"
        raise DeploymentError(msg)
    return by_tp[min(by_tp, key=lambda tp: abs(tp - stage.n_gpus))]
