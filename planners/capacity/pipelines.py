"""Replicas worth considering: of one GPU type, and pipelines of two.

Of one type: tensor parallelism of 1, 2, 4, 8 within a node and one to eight pipeline stages, layers split evenly. Of a
mixture of experts also, on one stage, expert parallelism, and data parallelism of the attention within a node. What a
serving engine would refuse is left out (`sim.deployment.Stage.why_not`).

Of two types: tensor parallelism stays within a node of one type, and stages of one type follow each other, those of the
type with less memory bandwidth first, since the last stage has the output head too. Layers are split evenly over the
stages of a type. Between the types there are two natural splits: the one that gives all stages as much time per
iteration, by the steady state of the demanded mix, and the one that gives them as much memory for KV per layer. The
better one depends on whether memory or time is the limit; of five splits from the one to the other, the one with the
largest capacity for the demanded mix is taken.

Such a pipeline can use GPUs that would hold no replica on their own, but pays for it with activations on the network
between nodes. So it is considered up to three stages, and up to twice the memory that the weights take: with more, its
GPUs could as well hold two replicas. Left out are pipelines of three types and more, and those in which stages of one
type have different tensor parallelism. On `paper_70b`, four stages and any amount of memory gave 732 more pipelines and
no better plan for any mix at 15, 30 or 60 $/h.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from planners.capacity.steady_state import Kind, ReplicaFacts
from planners.capacity.tangents import mean_stages_s, mixes_rps
from sim.catalog.gpus import GpuType
from sim.catalog.models import ModelSpec
from sim.deployment import Layout, Refusal, ReplicaLimits, ReplicaSpec, Stage
from sim.timing.service_time import ServiceTimeModel

TP = (1, 2, 4, 8)
PP = range(1, 9)
MAX_MIXED_STAGES = 3
MAX_MIXED_MEMORY = 2.0
N_SPLITS = 5


def uniform_replicas(
    model: ModelSpec,
    gpu_types: Iterable[GpuType],
    limits: ReplicaLimits | None = None,
    *,
    refused: Callable[[Refusal], None] | None = None,
) -> list[ReplicaSpec]:
    """All replicas on one of these GPU types, in their order, whether they hold the model or not.

    Args:
        model: The model.
        gpu_types: The GPU types.
        limits: Limits of all replicas.
        refused: Told of each layout that a serving engine would refuse, and why.
    """
    return [
        ReplicaSpec.uniform(model, gpu, layout.tp, pp, limits, dp=layout.dp, expert_parallel=layout.expert_parallel)
        for gpu in gpu_types
        for pp in PP
        if pp <= model.n_layers
        for layout in _layouts(model, gpu, pp, refused)
    ]


def _layouts(model: ModelSpec, gpu: GpuType, pp: int, refused: Callable[[Refusal], None] | None) -> list[Layout]:
    """The layouts of a stage that a serving engine would run."""
    layouts = [Layout(tp) for tp in TP]
    if model.moe is not None and pp == 1:
        layouts += [Layout(tp, expert_parallel=True) for tp in TP if tp > 1]
        layouts += [Layout(tp, dp, expert_parallel=True) for tp in TP for dp in TP if dp > 1]
    runs = []
    for layout in layouts:
        if layout.tp * layout.dp > gpu.gpus_per_node:
            continue
        refusal = Stage(gpu, layout.tp, 1, layout.dp, layout.expert_parallel).why_not(model)
        if refusal is None:
            runs.append(layout)
        elif refused is not None:
            refused(refusal)
    return runs


def _tps(model: ModelSpec, gpu: GpuType) -> list[int]:
    return [tp for tp in TP if tp <= gpu.gpus_per_node and Stage(gpu, tp, 1).why_not(model) is None]


class _Part(NamedTuple):
    """The stages of one GPU type in a pipeline."""

    gpu: GpuType
    tp: int
    pp: int

    def usable_bytes(self, limits: ReplicaLimits) -> float:
        of_gpu = limits.gpu_memory_utilization * self.gpu.memory_bytes - limits.reserve_bytes
        return self.tp * self.pp * of_gpu

    def stages(self, n_layers: int) -> list[Stage]:
        return [Stage(self.gpu, self.tp, n_layers // self.pp + (i < n_layers % self.pp)) for i in range(self.pp)]


class MixedPipeline(NamedTuple):
    """A pipeline of two GPU types without its split of layers."""

    model: ModelSpec
    limits: ReplicaLimits
    first: _Part
    last: _Part

    def split(self, n_first: int) -> ReplicaSpec:
        """The replica with so many layers on the stages of the first type, or as near as each stage has one."""
        n_layers = self.model.n_layers
        n_first = self.nearest(n_first)
        stages = (*self.first.stages(n_first), *self.last.stages(n_layers - n_first))
        return ReplicaSpec(self.model, stages, self.limits)

    def nearest(self, n_first: int) -> int:
        """So many layers, or as near as each stage has one."""
        return min(max(n_first, self.first.pp), self.model.n_layers - self.last.pp)

    @property
    def gpus(self) -> dict[str, int]:
        """GPUs that it takes, by offer or type name."""
        return {part.gpu.pool: part.pp * part.gpu.taken_by(part.tp) for part in (self.first, self.last)}

    def by_memory(self) -> ReplicaSpec:
        """The split that leaves each stage as much memory per layer for KV: the one that holds most of it."""
        # The embedding is on the first stage, the head, which is as large, on the last.
        embedding_bytes = self.model.embedding_bytes
        first, last = (part.usable_bytes(self.limits) - embedding_bytes for part in (self.first, self.last))
        return self.split(_share_of(self.model.n_layers, first, last))

    def best(self, service_time: ServiceTimeModel, kinds: Sequence[Kind]) -> ReplicaSpec:
        """See `best_splits`."""
        return best_splits([self], service_time, kinds)[0]

    def as_fast(self, n_first: int, stages_s: Sequence[float]) -> int:
        """Layers of the first type at which all stages take as long, by their times with so many."""
        n_first, pp = self.nearest(n_first), self.first.pp
        first_layers_per_s = pp * n_first / sum(stages_s[:pp])
        last_layers_per_s = self.last.pp * (self.model.n_layers - n_first) / sum(stages_s[pp:])
        return _share_of(self.model.n_layers, first_layers_per_s, last_layers_per_s)

    def n_first(self, spec: ReplicaSpec) -> int:
        """Layers of the first type in a split."""
        return sum(stage.n_layers for stage in spec.stages[: self.first.pp])


def best_splits(
    pipelines: Sequence[MixedPipeline], service_time: ServiceTimeModel, kinds: Sequence[Kind]
) -> list[ReplicaSpec]:
    """Of each pipeline the split with the largest capacity for a mix without goals, or for what fits of the mix.

    Args:
        pipelines: The pipelines; the split of equal memory holds a request of some kind.
        service_time: Gives iteration times.
        kinds: The mix; shares that sum to 1.

    Raises:
        DeploymentError: The service-time model says nothing about one of them.
    """
    if not pipelines:
        return []
    tried = [_Tried(pipeline, service_time) for pipeline in pipelines]
    at = [one.pipeline.n_first(one.pipeline.by_memory()) for one in tried]
    n_memory = at
    shares = np.array([[kind.share for kind in one.facts(n).part_of(kinds)] for one, n in zip(tried, at, strict=True)])
    for _ in range(2):  # a stage takes some time whatever its layers, for the network or the head
        stages_s = mean_stages_s([one.facts(n) for one, n in zip(tried, at, strict=True)], kinds, shares)
        at = [one.pipeline.as_fast(n, own) for one, n, own in zip(tried, at, stages_s, strict=True)]
    splits = [_between(*ends) for ends in zip(n_memory, at, strict=True)]
    rows = [(row, n) for row, own in enumerate(splits) for n in own]
    rates = mixes_rps([tried[row].facts(n) for row, n in rows], kinds, shares[[row for row, _ in rows]]).tolist()
    best: dict[int, tuple[float, int]] = {}
    for (row, n), rps in zip(rows, rates, strict=True):
        if row not in best or rps > best[row][0]:
            best[row] = rps, n
    return [one.spec(best[row][1]) for row, one in enumerate(tried)]


class _Tried:
    """Splits of a pipeline that are looked at, by their layers of the first type."""

    def __init__(self, pipeline: MixedPipeline, service_time: ServiceTimeModel) -> None:
        self.pipeline = pipeline
        self._service_time = service_time
        self._known: dict[int, tuple[ReplicaSpec, ReplicaFacts]] = {}

    def spec(self, n_first: int) -> ReplicaSpec:
        return self._split(n_first)[0]

    def facts(self, n_first: int) -> ReplicaFacts:
        return self._split(n_first)[1]

    def _split(self, n_first: int) -> tuple[ReplicaSpec, ReplicaFacts]:
        n_first = self.pipeline.nearest(n_first)
        if n_first not in self._known:
            spec = self.pipeline.split(n_first)
            self._known[n_first] = spec, ReplicaFacts.of(spec, self._service_time)
        return self._known[n_first]


def _between(n_memory: int, n_time: int) -> list[int]:
    """Some splits between that of equal memory and that of equal times."""
    tried = (round(n_memory + (n_time - n_memory) * step / (N_SPLITS - 1)) for step in range(N_SPLITS))
    return list(dict.fromkeys(tried))


def _share_of(n: int, one: float, other: float) -> int:
    return round(n * one / (one + other)) if one > 0 and other > 0 else n // 2


def mixed_pipelines(
    model: ModelSpec, gpu_types: Iterable[GpuType], limits: ReplicaLimits | None = None
) -> Iterator[MixedPipeline]:
    """All pipelines of two of these GPU types, offered in one place, within the bounds of the module."""
    limits = ReplicaLimits() if limits is None else limits
    ordered = sorted(gpu_types, key=lambda gpu: (gpu.memory_bandwidth_bytes_per_s, gpu.pool))
    for first, last in itertools.combinations(ordered, 2):
        if first.name == last.name or first.place != last.place:
            continue
        for n_first, n_last in itertools.product(PP, PP):
            if n_first + n_last > min(MAX_MIXED_STAGES, model.n_layers):
                continue
            for first_tp, last_tp in itertools.product(_tps(model, first), _tps(model, last)):
                pipeline = MixedPipeline(model, limits, _Part(first, first_tp, n_first), _Part(last, last_tp, n_last))
                usable_bytes = pipeline.first.usable_bytes(limits) + pipeline.last.usable_bytes(limits)
                if usable_bytes <= MAX_MIXED_MEMORY * model.weight_bytes:
                    yield pipeline
