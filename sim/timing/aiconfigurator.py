"""Iteration times from NVIDIA's own measurements: the tables of kernels in the package `aiconfigurator-core`."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sim.catalog.gpus import GpuType
from sim.catalog.models import ModelSpec
from sim.catalog.precision import ACTIVATION_BYTES
from sim.deployment import ReplicaSpec
from sim.errors import DeploymentError, SettingsError
from sim.timing.links import NETWORK_BANDWIDTH_BYTES_PER_S, link_bandwidth
from sim.timing.monotone import DecodeLines, level, line, segment
from sim.timing.service_time import Chunk, StageTime
from traces.errors import nearest

if TYPE_CHECKING:
    from aiconfigurator_core.sdk import EngineHandle

REQUIREMENT = "aiconfigurator-core>=0.12,<0.13"
NOT_INSTALLED = f"needs a package that is not installed: pip install '{REQUIREMENT}'"
BACKENDS = ("vllm", "sglang", "trtllm")
# The package's name for each GPU type that it and the catalog have.
SYSTEMS = {
    "L40S": "l40s",
    "A100-SXM-80GB": "a100_sxm",
    "H100-SXM": "h100_sxm",
    "H200-SXM": "h200_sxm",
    "B200-SXM": "b200_sxm",
}
# Of these, the ones linked by PCIe. The package composes an iteration with the all-reduce of the serving engine; vLLM
# does not use its own among more than two GPUs over PCIe (custom_all_reduce.py), but NCCL's, which the package has
# measured too. The same is assumed of the other engines.
PCIE = ("l40s",)
TP = (1, 2, 4, 8)
# The name that a checkpoint has for the numbers of a precision.
TORCH_DTYPES = {"bf16": "bfloat16"}

# What the tables of 0.12.0 cover for all these GPU types and backends; a test compares.
MAX_DECODES = 2048
MAX_NEW_TOKENS = 8192
MAX_PROMPT_TOKENS = 16384
MAX_CONTEXT_TOKENS_TIMES_HEADS = 2**23
MAX_KV_HEADS = 8  # of a GPU

MS = 1e-3


class AiconfiguratorServiceTime:
    """Times of iterations composed of NVIDIA's kernel measurements, as `aiconfigurator-core` itself composes them.

    An iteration of n decodes that hold c tokens in all, with chunks of N new tokens in all, takes

        layers(n + N) + head(sequences) + base(n) + slope(n) c + [with chunks] floor + sum of excess(new, past)

    layers: the linear layers, norms, activations, all-reduces and the embedding; head: the output head; base and slope:
    attention of decodes; floor and excess: attention of chunks, with the fixed part once for all. A stage of a pipeline
    takes its share of the layers, and sends 2 x hidden bytes for each token to the next.

    The package is asked when a replica is met first, on a grid; between the points everything is linear. Where noise
    would make a time fall with more work it is levelled out; attention of decodes is fitted with lines in c of which
    neither base nor slope falls with n, by least squares on errors relative to the whole iteration.

    Args:
        backend: The serving engine whose kernels were measured: `vllm`, `sglang` or `trtllm`.
        version: Its version, as the package offers them for a GPU type: a number, or `current`, `previous`, `next`.
        step_overhead_s: Added to each iteration: scheduler, sampler and transport, which kernel times leave out.
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
        step_overhead_s: float = 0.0,
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
        self.step_overhead_s = step_overhead_s
        self.network_bandwidth_bytes_per_s = network_bandwidth_bytes_per_s
        self.n_extrapolated = 0
        self._kernels: dict[tuple[ModelSpec, GpuType, int], _Kernels] = {}

    def stage_times(self, spec: ReplicaSpec) -> tuple[StageTime, ...]:
        """One `StageTime` for each pipeline stage.

        Raises:
            DeploymentError: The package has no times for a stage's GPU type, this model or `tp`, or not this version.
        """
        return tuple(_StageTime(self, spec, index, self._kernels_of(spec, index)) for index in range(spec.pp))

    def _kernels_of(self, spec: ReplicaSpec, index: int) -> _Kernels:
        stage = spec.stages[index]
        key = spec.model, stage.gpu_type, stage.tp
        if key not in self._kernels:
            self._kernels[key] = _Kernels.measured(*key, self.backend, self.version)
        return self._kernels[key]


def is_installed() -> bool:
    """Whether the package is there."""
    return find_spec("aiconfigurator_core") is not None


class _Kernels(NamedTuple):
    """Times of a whole model on `tp` GPUs of one type, in seconds: what `AiconfiguratorServiceTime` interpolates in."""

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
    def measured(cls, model: ModelSpec, gpu: GpuType, tp: int, backend: str, version: str) -> _Kernels:
        """Ask the package."""
        ask = _Questions(model, gpu, tp, backend, version)
        # Kernels work in tiles: times jump from a multiple of 16, ..., 256 tokens to the next number.
        tokens = sorted({n + step for n in _grid(2 * MAX_NEW_TOKENS, 8) for step in (0, 1)})
        layers_s = level(np.array([ask.layers_s(n) for n in tokens]))
        sequences = _grid(MAX_DECODES, 8)
        head_s = level(np.array([ask.head_s(n) for n in sequences]))

        # Decodes that fit in the memory of these GPUs; two contexts at least.
        fitting_tokens = tp * gpu.memory_bytes / model.kv_bytes_per_token
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


class _Questions:
    """What the package is asked about a model on `tp` GPUs of one type; all answers in seconds.

    Raises:
        DeploymentError: It has no answers.
    """

    def __init__(self, model: ModelSpec, gpu: GpuType, tp: int, backend: str, version: str) -> None:
        self._of = f"{model.name} on {gpu.name} tp{tp}"
        system = SYSTEMS.get(gpu.name)
        if system is None:
            msg = f"aiconfigurator-core has no times of GPU type {gpu.name!r}: {nearest(gpu.name, SYSTEMS)}"
            raise DeploymentError(msg)
        if tp not in TP or model.n_heads % tp:
            known = ", ".join(str(known) for known in TP if model.n_heads % known == 0)
            msg = f"aiconfigurator-core has no times of {self._of}; known tp: {known}"
            raise DeploymentError(msg)
        if model.precision.name not in TORCH_DTYPES:
            known = nearest(model.precision.name, TORCH_DTYPES)
            msg = f"aiconfigurator-core has no times of {model.name} in {model.precision.name!r}: {known}"
            raise DeploymentError(msg)
        logging.getLogger("aiconfigurator_core").setLevel(logging.ERROR)  # it warns about tables of other models
        from aiconfigurator_core.sdk.errors import PerfDataNotAvailableError
        from aiconfigurator_core.sdk.perf_database import get_version_slots

        slots = get_version_slots(system, backend) or {}
        versions = {name for slot in slots.items() for name in slot if name}
        if version not in versions:
            msg = f"aiconfigurator-core has no {backend} {version!r} for {gpu.name}: {nearest(version, versions)}"
            raise DeploymentError(msg)
        engine = _engine(model, system, tp, backend, version)
        try:
            names = [name for name, *_ in engine.run_static_per_op(batch_size=1, isl=1, osl=1, mode="static_ctx")[0]]
            generation = [name for name, *_ in engine.decode_step_per_op(1, 1, 1)]
        except PerfDataNotAvailableError as error:
            reason = str(error).partition(": tried")[0]
            msg = f"aiconfigurator-core has no times of {self._of}: {reason}"
            raise DeploymentError(msg) from error
        self._engine = engine
        self._chunk_attention = names.index("context_attention")
        self._layers = [i for i, name in enumerate(names) if name not in ("context_attention", "context_logits_gemm")]
        self._head = generation.index("generation_logits_gemm")
        self._decode_attention = generation.index("generation_attention")
        self._nccl: str | None = None
        if system in PCIE and tp > 2:
            self._layers = [i for i in self._layers if not names[i].endswith(("_ar", "_ar_1", "_ar_2"))]
            self._nccl = _nccl(model, tp)

    def layers_s(self, n_tokens: int) -> float:
        """All layers but attention, and the embedding."""
        times = self._engine.evaluate_context_ops(self._layers, batch_size=1, s=n_tokens)
        if self._nccl is not None:
            times += self._engine.evaluate_ops_json(self._nccl, is_context=True, batch_size=1, s=n_tokens)
        return _total_s(times)

    def head_s(self, n_sequences: int) -> float:
        """The output head."""
        return _total_s(self._engine.evaluate_generation_ops([self._head], batch_size=n_sequences, s=1))

    def decode_attention_s(self, n_decode: int, context_tokens: int) -> float:
        """Attention of decodes with so much context each."""
        indices = [self._decode_attention]
        return _total_s(self._engine.evaluate_generation_ops(indices, batch_size=n_decode, s=context_tokens))

    def chunk_attention_s(self, new: int, past: int) -> float:
        """Attention of a chunk."""
        return _total_s(self._engine.evaluate_context_ops([self._chunk_attention], batch_size=1, s=new, prefix=past))


def _engine(model: ModelSpec, system: str, tp: int, backend: str, version: str) -> EngineHandle:
    """The package's engine for a model, which it wants as the folder of a checkpoint."""
    import tempfile

    from aiconfigurator_core.sdk import EngineHandle

    config = {
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": model.n_layers,
        "hidden_size": model.hidden_size,
        "num_attention_heads": model.n_heads,
        "num_key_value_heads": model.n_kv_heads,
        "head_dim": model.head_dim,
        "intermediate_size": model.ffn_size,
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.max_context_tokens,
        "torch_dtype": TORCH_DTYPES[model.precision.name],
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        return EngineHandle.compile(folder, system, backend, backend_version=version, tp_size=tp)


def _nccl(model: ModelSpec, tp: int) -> str:
    """The all-reduces of an iteration with NCCL: two in each layer, one after the embedding."""
    from aiconfigurator_core.sdk.common import CommQuantMode
    from aiconfigurator_core.sdk.engine import build_ops_json
    from aiconfigurator_core.sdk.operations import NCCL

    n_allreduces = 2 * model.n_layers + 1
    return build_ops_json([NCCL("nccl", float(n_allreduces), "all_reduce", model.hidden_size, tp, CommQuantMode.half)])


def _total_s(times: list[tuple[str, float, float, str]]) -> float:
    return MS * sum(time_ms for _, time_ms, *_ in times)


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
        self._step_overhead_s = owner.step_overhead_s if self._is_last else 0.0
        self._send_per_token_s = 0.0
        if not self._is_last:
            bandwidth = link_bandwidth(spec, index, owner.network_bandwidth_bytes_per_s)
            self._send_per_token_s = ACTIVATION_BYTES * spec.model.hidden_size / bandwidth
        is_measured = spec.model.n_kv_heads <= MAX_KV_HEADS * stage.tp
        self._max_decodes = MAX_DECODES if is_measured else 0
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
            chunk_s += kernels.excess_of(new, past)
        if self._is_first and (
            n_tokens - n_decode > self._max_new_tokens
            or longest > MAX_PROMPT_TOKENS
            or context_tokens > self._max_context_tokens
        ):
            self._owner.n_extrapolated += 1
        base, slope = self._attention(n_decode)
        return (
            self._batch_time(n_tokens, n_decode + len(chunks)) + self._share * chunk_s + base + slope * context_tokens
        )

    def _attention(self, n_decode: int) -> tuple[float, float]:
        """(base, slope) of the attention of decodes."""
        affine = self._attention_cache.get(n_decode)
        if affine is None:
            base, slope = self._kernels.decodes.at(n_decode)
            affine = self._attention_cache[n_decode] = self._share * base, self._share * slope
        return affine

    def _batch_time(self, n_tokens: int, n_sequences: int) -> float:
        """All but attention."""
        kernels = self._kernels
        time_s = self._step_overhead_s + self._send_per_token_s * n_tokens
        time_s += self._share * line(kernels.tokens, kernels.layers_s, n_tokens)
        if self._is_last:
            time_s += line(kernels.sequences, kernels.head_s, n_sequences)
        return time_s
