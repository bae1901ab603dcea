"""Worlds in which service times are other than the model says, as far as it may be off.

What matters of an error is what all iterations of a GPU type share. So a world has two factors for each GPU type, of
its decodes and of its iterations with prompt chunks, and one for the CPU time of the engine. They are lognormal with
the median 1; those of different GPU types are independent. Each is drawn from a stream of its own and in strata (of n
worlds one has a factor in each n-th of the distribution), so that few worlds say much, and one more GPU type on the
market changes none of the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

from sim.catalog.engines import EngineProfile
from sim.catalog.gpus import Uncertainty
from sim.deployment import ReplicaSpec
from sim.timing.means import MeanStageTime, Real, column, larger, means_of_all, smaller
from sim.timing.service_time import Chunk, ServiceTimeModel, StageTime

WORLD_STREAM = 209
"""Number of the random stream of worlds; 200 to 299 are this package's."""

OVERHEADS = "overheads"
"""What the factor of the engine's CPU time is called beside the names of GPU types."""

OVERHEAD_UNCERTAINTY = 0.5
"""Standard deviation of the logarithm of the factor of overheads: neighbouring versions of vLLM differ by 1.7 times."""


@dataclass(frozen=True, slots=True)
class Factors:
    """By what iteration times of a GPU type are longer than the model says."""

    decode: float = 1.0
    prefill: float = 1.0


@dataclass(frozen=True, slots=True)
class World:
    """How the service times of a world differ from those of the model.

    Attributes:
        gpus: Pairs of a GPU type and its factors, sorted by name; for others the model is right.
        overheads: Factor of the engine's CPU time.
    """

    gpus: tuple[tuple[str, Factors], ...] = ()
    overheads: float = 1.0

    def of_gpu(self, name: str) -> Factors:
        """The factors of a GPU type."""
        return dict(self.gpus).get(name, Factors())

    def engine(self, engine: EngineProfile) -> EngineProfile:
        """A serving engine as it is in this world; its front end is as it was."""
        return replace(
            engine,
            step_overhead_s=self.overheads * engine.step_overhead_s,
            sequence_overhead_s=self.overheads * engine.sequence_overhead_s,
            request_overhead_s=self.overheads * engine.request_overhead_s,
        )


def draw_worlds(uncertainties: Mapping[str, Uncertainty], n: int, seed: int) -> tuple[World, ...]:
    """Draw worlds.

    Args:
        uncertainties: How far the model may be off, by GPU type.
        n: How many worlds.
        seed: Of their streams.

    >>> worlds = draw_worlds({"L4": Uncertainty(0.1, 0.2)}, 100, seed=0)
    >>> factors = [world.of_gpu("L4").decode for world in worlds]
    >>> sum(factor < 1 for factor in factors)  # strata: the median is 1 for any seed
    50
    """
    by_gpu = {name: _draw_factors(name, uncertainties[name], n, seed) for name in sorted(uncertainties)}
    overheads = np.exp(OVERHEAD_UNCERTAINTY * _normals(OVERHEADS, n, seed)).tolist()
    return tuple(World(tuple((name, factors[k]) for name, factors in by_gpu.items()), overheads[k]) for k in range(n))


def _draw_factors(name: str, uncertainty: Uncertainty, n: int, seed: int) -> list[Factors]:
    decode = _normals(f"{name} decode", n, seed)
    own = _normals(f"{name} prefill", n, seed)
    r = uncertainty.correlation
    prefill = r * decode + math.sqrt(1 - r**2) * own
    logs = zip((uncertainty.decode * decode).tolist(), (uncertainty.prefill * prefill).tolist(), strict=True)
    return [Factors(math.exp(of_decode), math.exp(of_prefill)) for of_decode, of_prefill in logs]


def _normals(name: str, n: int, seed: int) -> npt.NDArray[np.float64]:
    """Normal numbers, one in each n-th of their distribution, in any order."""
    rng = np.random.default_rng([WORLD_STREAM, seed, crc32(name.encode())])
    levels = (rng.permutation(n) + rng.uniform(size=n)) / n
    quantile = NormalDist().inv_cdf
    return np.array([quantile(min(max(level, 1e-12), 1 - 1e-12)) for level in levels.tolist()])


class WorldServiceTime:
    """A service-time model as it is in a world.

    Decodes take the factor of decodes, iterations with prompt chunks that of prefill; with decodes in them, too, they
    take no less time than the decodes alone. So times are still affine in the context and do not fall with more work.

    Args:
        service_time: The model, without overheads.
        world: The world.
    """

    def __init__(self, service_time: ServiceTimeModel, world: World) -> None:
        self._service_time = service_time
        self._factors = dict(world.gpus)

    @property
    def n_extrapolated(self) -> int:
        """Times given so far outside of what was measured, if the model counts them."""
        return int(getattr(self._service_time, "n_extrapolated", 0))

    def stage_times(self, spec: ReplicaSpec) -> tuple[StageTime, ...]:
        """One `StageTime` for each pipeline stage, with the factors of its GPU type.

        Raises:
            DeploymentError: The model says nothing about this replica.
        """
        stages = zip(self._service_time.stage_times(spec), spec.stages, strict=True)
        return tuple(
            _WorldStageTime(stage_time, self._factors.get(stage.gpu_type.name, Factors()))
            for stage_time, stage in stages
        )


class _WorldMeans(NamedTuple):
    """Mean times in a world."""

    means: MeanStageTime
    decode: Real
    prefill: Real

    def decode_s(self, n_decode: Real, context_tokens: Real) -> Real:
        return self.decode * self.means.decode_s(n_decode, context_tokens)

    def mixed_s(
        self, n_decode: Real, context_tokens: Real, new_tokens: Real, past_tokens: Real, n_chunks: Real
    ) -> Real:
        time_s = self.prefill * self.means.mixed_s(n_decode, context_tokens, new_tokens, past_tokens, n_chunks)
        some = smaller(n_decode, 1.0)  # decodes are there in as large a part of the iterations at least
        return time_s + some * larger(self.decode_s(n_decode, context_tokens) - time_s, 0.0)


class _WorldStageTime:
    def __init__(self, stage_time: StageTime, factors: Factors) -> None:
        self._stage_time = stage_time
        self._decode = factors.decode
        self._prefill = factors.prefill

    @classmethod
    def means_of(cls, stages: Sequence[_WorldStageTime]) -> _WorldMeans:
        """Mean times of these stages (`sim.timing.means`)."""
        return _WorldMeans(
            means_of_all([stage._stage_time for stage in stages]),
            column([stage._decode for stage in stages]),
            column([stage._prefill for stage in stages]),
        )

    def decode(self, n_decode: int) -> tuple[float, float]:
        base, slope = self._stage_time.decode(n_decode)
        return self._decode * base, self._decode * slope

    def mixed(self, n_decode: int, context_tokens: float, chunks: Sequence[Chunk]) -> float:
        time_s = self._prefill * self._stage_time.mixed(n_decode, context_tokens, chunks)
        if n_decode == 0 or self._decode <= self._prefill:
            return time_s
        base, slope = self.decode(n_decode)
        return max(time_s, base + slope * context_tokens)
