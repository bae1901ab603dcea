"""Iteration times from NVIDIA's own measurements: the tables of kernels in the package `aiconfigurator-core`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from sim.catalog.gpus import GpuType
from sim.catalog.models import ModelSpec
from sim.catalog.precision import ACTIVATION_BYTES
from sim.deployment import Layout, ReplicaSpec
from sim.errors import SettingsError
from sim.timing.kernel_questions import Questions, max_kv_heads, n_folds
from sim.timing.links import NETWORK_BANDWIDTH_BYTES_PER_S, link_bandwidth
from sim.timing.monotone import DecodeLines, level, line, segment
from sim.timing.service_time import Chunk, StageTime
from traces.errors import nearest

REQUIREMENT = "aiconfigurator-core>=0.12,<0.13"
NOT_INSTALLED = f"needs a package that is not installed: pip install '{REQUIREMENT}'"
BACKENDS = ("vllm", "sglang", "trtllm")
# What the tables of 0.12.0 cover for all these GPU types and backends; a test compares.
MAX_DECODES = 2048
MAX_NEW_TOKENS = 8192
MAX_PROMPT_TOKENS = 16384
MAX_CONTEXT_TOKENS_TIMES_HEADS = 2**23


class AiconfiguratorServiceTime:
    """Times of iterations composed of NVIDIA's kernel measurements, as `aiconfigurator-core` itself composes them.

    An iteration of n decodes that hold c tokens in all, with chunks of N new tokens in all, takes

        layers(n + N) + head(sequences) + base(n) + slope(n) c + [with chunks] floor + sum of excess(new, past)

    layers: the linear layers, norms, activations, all-reduces and the embedding; head: the output head; base and slope:
    attention of decodes; floor and excess: attention of chunks, with the fixed part once for all. A stage of a pipeline
    takes its share of the layers, and sends 2 x hidden bytes for each token to the next. Latent attention is measured
    with its projections, which base and floor then hold too. With a sliding window, slope is that of a model without,
    since c is what an average layer reads; a chunk is cut in parts as long as the window, each with one before it. With
    data parallelism of the attention, n, N and sequences are those of one of the groups, c is divided by their number.

    The package is asked when a replica is met first, on a grid; between the points everything is linear. Where noise
    would make a time fall with more work it is levelled out; attention of decodes is fitted with lines in c of which
    neither base nor slope falls with n, by least squares on errors relative to the whole iteration.

    Args:
        backend: The serving engine whose kernels were measured: `vllm`, `sglang` or `trtllm`.
        version: Its version, as the package offers them for a GPU type: a number, or `current`, `previous`, `next`.
        network_bandwidth_bytes_per_s: Bandwidth between nodes, for pipelines that do not fit in one.

    Attributes:
        n_extrapolated: Times outside of what was measured: numbers of decodes met on each replica, and iterations with
            chunks.

    Raises:
        SettingsError: The package is not installed, or has no such backend.
    """

    def __init__(
        self,
        backend: str = "vllm",
        version: str = "current",
        *,
        network_bandwidth_bytes_per_s: float = NETWORK_BANDWIDTH_BYTES_PER_S,
    ) -> None:
        if not is_installed():
            msg = f"AiconfiguratorServiceTime {NOT_INSTALLED}"
            raise SettingsError(msg)
        if backend not in BACKENDS:
            msg = f"unknown backend {backend!r}: {nearest(backend, BACKENDS)}"
            raise SettingsError(msg)
        self.backend = backend
        self.version = version
        self.network_bandwidth_bytes_per_s = network_bandwidth_bytes_per_s
        self.n_extrapolated = 0
        self._kernels: dict[tuple[ModelSpec, GpuType, Layout], _Kernels] = {}

    def stage_times(self, spec: ReplicaSpec) -> tuple[StageTime, ...]:
        """One `StageTime` for each pipeline stage.

        Raises:
            DeploymentError: The package has no times for a stage's GPU type, this model or `tp`, or not this version.
        """
        return tuple(_StageTime(self, spec, index, self._kernels_of(spec, index)) for index in range(spec.pp))

    def _kernels_of(self, spec: ReplicaSpec, index: int) -> _Kernels:
        stage = spec.stages[index]
        key = spec.model, stage.gpu_type, stage.layout
        if key not in self._kernels:
            self._kernels[key] = _Kernels.measured(*key, self.backend, self.version)
        return self._kernels[key]


def is_installed() -> bool:
    """Whether the package is there."""
    return find_spec("aiconfigurator_core") is not None


class _Kernels(NamedTuple):
    """Times of a whole model on GPUs of one type, in seconds: what `AiconfiguratorServiceTime` interpolates in."""

    tokens: list[int]
    layers_s: list[float]
    sequences: list[int]
    head_s: list[float]
    decodes: DecodeLines
    news: list[int]
    pasts: list[int]
    excess_s: list[list[float]]
    floor_s: float

    @classmethod
    def measured(cls, model: ModelSpec, gpu: GpuType, layout: Layout, backend: str, version: str) -> _Kernels:
        """Ask the package."""
        ask = Questions(model, gpu, layout, backend, version)
        # Kernels work in tiles: times jump from a multiple of 16, ..., 256 tokens to the next number.
        tokens = sorted({n + step for n in _grid(2 * MAX_NEW_TOKENS, 8) for step in (0, 1)})
        layers_s = level(np.array([ask.layers_s(n) for n in tokens]))
        sequences = _grid(MAX_DECODES, 8)
        head_s = level(np.array([ask.head_s(n) for n in sequences]))

        # Decodes that fit in the memory of these GPUs; two contexts at least.
        fitting_tokens = gpu.memory_bytes / (model.n_layers * model.kv_bytes_of_rank(layout.tp))
        cells = [
            (n, context)
            for n in _grid(MAX_DECODES, 1)
            for context in _grid(model.max_context_tokens, 1)[4:]
            if n * context <= fitting_tokens or context <= 32
        ]
        n, context = np.array(cells, dtype=np.float64).T
        attention_s = np.array([ask.decode_attention_s(*cell) for cell in cells])
        rest_s = np.interp(n, tokens, layers_s) + np.interp(n, sequences, head_s)

        news, pasts = _grid(MAX_PROMPT_TOKENS, 4), [0, *_grid(model.max_context_tokens, 4)]
        chunk_s = np.array([[ask.chunk_attention_s(new, past) for past in pasts] for new in news])
        floor_s = float(chunk_s[0, 0])
        return cls(
            tokens,
            layers_s.tolist(),
            sequences,
            head_s.tolist(),
            DecodeLines.fit(n, n * context, attention_s, attention_s + rest_s),
            news,
            pasts,
            level(np.maximum(chunk_s - floor_s, 0.0)).tolist(),
            floor_s,
        )

    def excess_of(self, new: int, past: int) -> float:
        """What attention of a chunk takes above `floor_s`: bilinear on the grid, proportional to both beyond."""
        news, pasts = self.news, self.pasts
        beyond = 1.0
        if new > news[-1]:
            beyond, new = new / news[-1], news[-1]
        if past > pasts[-1]:
            beyond, past = beyond * past / pasts[-1], pasts[-1]
        i = segment(news, new)
        weight = (new - news[i]) / (news[i + 1] - news[i])
        low, high = self.excess_s[i], self.excess_s[i + 1]
        if past == 0:
            return beyond * (low[0] + weight * (high[0] - low[0]))
        return beyond * ((1 - weight) * line(pasts, low, past) + weight * line(pasts, high, past))


def _grid(most: int, n_steps: int) -> list[int]:
    """Whole numbers from 1 to `most`, so many between a power of two and the next."""
    numbers = {2**power * (n_steps + step) // n_steps for power in range(most.bit_length()) for step in range(n_steps)}
    return [*sorted(n for n in numbers if n < most), most]


class _StageTime:
    def __init__(self, owner: AiconfiguratorServiceTime, spec: ReplicaSpec, index: int, kernels: _Kernels) -> None:
        stage = spec.stages[index]
        self._owner = owner
        self._kernels = kernels
        self._share = stage.n_layers / spec.model.n_layers
        self._is_first = index == 0
        self._is_last = index == spec.pp - 1
        self._send_per_token_s = 0.0
        if not self._is_last:
            bandwidth = link_bandwidth(spec, index, owner.network_bandwidth_bytes_per_s)
            self._send_per_token_s = ACTIVATION_BYTES * spec.model.hidden_size / bandwidth
        self._dp = stage.dp
        self._window = spec.model.window
        self._full_share = spec.model.n_full_layers / spec.model.n_layers
        folds = n_folds(spec.model, stage.gpu_type, stage.tp, owner.backend)
        most_kv_heads = folds * max_kv_heads(stage.gpu_type, owner.backend) * stage.tp
        is_measured = spec.model.mla is not None or spec.model.n_kv_heads <= most_kv_heads
        self._max_decodes = MAX_DECODES // folds if is_measured else 0
        self._max_new_tokens = MAX_NEW_TOKENS if is_measured else 0
        self._max_context_tokens = MAX_CONTEXT_TOKENS_TIMES_HEADS * stage.tp / spec.model.n_heads
        self._decode_cache: dict[int, tuple[float, float]] = {}
        self._attention_cache: dict[int, tuple[float, float]] = {0: (0.0, 0.0)}

    def decode(self, n_decode: int) -> tuple[float, float]:
        affine = self._decode_cache.get(n_decode)
        if affine is None:
            base, slope = self._attention(n_decode)
            affine = self._decode_cache[n_decode] = self._batch_time(n_decode, n_decode) + base, slope
            self._owner.n_extrapolated += self._is_first and n_decode > self._max_decodes
        return affine

    def mixed(self, n_decode: int, context_tokens: float, chunks: Sequence[Chunk]) -> float:
        kernels = self._kernels
        n_tokens = n_decode
        longest = 0
        chunk_s = kernels.floor_s if chunks else 0.0
        for new, past in chunks:
            n_tokens += new
            longest = max(longest, new + past)
            chunk_s += self._chunk_excess_s(new, past)
        if self._is_first and (
            n_tokens - n_decode > self._max_new_tokens
            or longest > MAX_PROMPT_TOKENS
            or context_tokens > self._max_context_tokens
        ):
            self._owner.n_extrapolated += 1
        base, slope = self._attention(n_decode)
        return (
            self._batch_time(n_tokens, n_decode + len(chunks))
            + self._share * chunk_s / self._dp
            + base
            + slope * context_tokens
        )

    def _chunk_excess_s(self, new: int, past: int) -> float:
        """What attention of a chunk takes above the fixed part, in all layers of the model."""
        excess_of, share = self._kernels.excess_of, self._full_share
        if self._window is None:
            return excess_of(new, past)
        window = self._window.tokens
        first = min(new, window)
        windowed_s = excess_of(first, min(past, window)) + (new - first) / window * excess_of(window, window)
        return share * excess_of(new, past) + (1 - share) * windowed_s

    def _attention(self, n_decode: int) -> tuple[float, float]:
        """(base, slope) of the attention of decodes."""
        affine = self._attention_cache.get(n_decode)
        if affine is None:
            base, slope = self._kernels.decodes.at(-(-n_decode // self._dp))
            affine = self._attention_cache[n_decode] = self._share * base, self._share * slope / self._dp
        return affine

    def _batch_time(self, n_tokens: int, n_sequences: int) -> float:
        """All but attention."""
        kernels = self._kernels
        n_tokens, n_sequences = -(-n_tokens // self._dp), -(-n_sequences // self._dp)
        time_s = self._send_per_token_s * n_tokens
        time_s += self._share * line(kernels.tokens, kernels.layers_s, n_tokens)
        if self._is_last:
            time_s += line(kernels.sequences, kernels.head_s, n_sequences)
        return time_s
