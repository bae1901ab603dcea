"""What a serving engine takes beside the GPU's kernels, on top of any service times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sim.catalog.engines import EngineProfile
from sim.deployment import ReplicaSpec
from sim.timing.means import MeanStageTime, Real, between, column, groups, means_of_all
from sim.timing.service_time import Chunk, ServiceTimeModel, StageTime


class EngineServiceTime:
    """Service times with the overheads of a serving engine.

    An iteration takes the time of its kernels and, on the last stage, the engine's time per iteration, per sequence and
    per prompt chunk. Decodes without chunks take the kernel time of the next larger batch for which there is a CUDA
    graph, with the context of those that are really there.

    Args:
        kernels: Gives the times of kernels.
        engine: The serving engine.

    >>> from sim.catalog.engines import engine_profile
    >>> from sim.catalog.read import gpu_type, model_spec
    >>> from sim.timing.service_time import ConstantServiceTime
    >>> spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("H100-SXM"))
    >>> model = EngineServiceTime(ConstantServiceTime(0.010), engine_profile("vllm", "0.19"))
    >>> round(1e3 * model.stage_times(spec)[0].decode(100)[0], 3)  # ms
    11.6
    """

    def __init__(self, kernels: ServiceTimeModel, engine: EngineProfile) -> None:
        self.kernels = kernels
        self.engine = engine

    @property
    def n_extrapolated(self) -> int:
        """Kernel times given so far outside of what was measured."""
        return getattr(self.kernels, "n_extrapolated", 0)

    def stage_times(self, spec: ReplicaSpec) -> tuple[StageTime, ...]:
        """One `StageTime` for each pipeline stage.

        Raises:
            DeploymentError: The kernels' times of this replica are not known.
        """
        stages = self.kernels.stage_times(spec)
        last = len(stages) - 1
        return tuple(_EngineStageTime(stage, self.engine, spec.dp, is_last=i == last) for i, stage in enumerate(stages))


class _EngineStageTime:
    def __init__(self, kernels: StageTime, engine: EngineProfile, dp: int, *, is_last: bool) -> None:
        self._kernels = kernels
        self._engine = engine
        self._dp = dp
        self._per_step_s = engine.step_overhead_s if is_last else 0.0
        self._per_sequence_s = engine.sequence_overhead_s if is_last else 0.0
        self._per_chunk_s = engine.request_overhead_s if is_last else 0.0

    @classmethod
    def means_of(cls, stages: Sequence[_EngineStageTime]) -> _EngineMeans:
        """Mean times of these stages, all of one engine (`sim.timing.means`)."""
        return _EngineMeans(
            means_of_all([stage._kernels for stage in stages]),
            stages[0]._engine,
            column([float(stage._dp) for stage in stages]),
            column([stage._per_step_s for stage in stages]),
            column([stage._per_sequence_s for stage in stages]),
            column([stage._per_chunk_s for stage in stages]),
        )

    def decode(self, n_decode: int) -> tuple[float, float]:
        n_of_group = -(-n_decode // self._dp)  # data-parallel groups wait for the one with the most
        n_computed = self._engine.padded(n_of_group) * self._dp if self._engine.graph_sizes else n_decode
        base_s, slope_s = self._kernels.decode(n_computed)
        return base_s + self._per_step_s + self._per_sequence_s * n_of_group, slope_s

    def mixed(self, n_decode: int, context_tokens: float, chunks: Sequence[Chunk]) -> float:
        n_chunks = -(-len(chunks) // self._dp)
        n_of_group = -(-(n_decode + len(chunks)) // self._dp)
        overhead_s = self._per_step_s + self._per_sequence_s * n_of_group + self._per_chunk_s * n_chunks
        return self._kernels.mixed(n_decode, context_tokens, chunks) + overhead_s


class _EngineMeans(NamedTuple):
    """Mean times with the overheads of an engine."""

    kernels: MeanStageTime
    engine: EngineProfile
    dp: Real
    per_step_s: Real
    per_sequence_s: Real
    per_chunk_s: Real

    def decode_s(self, n_decode: Real, context_tokens: Real) -> Real:
        n_of_group = groups(n_decode, self.dp)
        n_computed = n_decode
        if self.engine.graph_sizes:
            n_computed = between(self._padded, n_of_group) * self.dp
        overhead_s = self.per_step_s + self.per_sequence_s * n_of_group
        return self.kernels.decode_s(n_computed, context_tokens) + overhead_s

    def mixed_s(
        self, n_decode: Real, context_tokens: Real, new_tokens: Real, past_tokens: Real, n_chunks: Real
    ) -> Real:
        overhead_s = self.per_step_s + self.per_sequence_s * groups(n_decode + n_chunks, self.dp)
        overhead_s = overhead_s + self.per_chunk_s * groups(n_chunks, self.dp)
        return self.kernels.mixed_s(n_decode, context_tokens, new_tokens, past_tokens, n_chunks) + overhead_s

    def _padded(self, n_decode: Real) -> Real:
        """As `EngineProfile.padded`, of an array too."""
        sizes = self.engine.graph_sizes
        if isinstance(n_decode, float):
            return float(self.engine.padded(int(n_decode)))
        import numpy as np

        index = np.searchsorted(sizes, n_decode)
        padded = np.where(index < len(sizes), np.take(sizes, index, mode="clip"), n_decode)
        return np.where(n_decode > 0, padded, 0.0)
