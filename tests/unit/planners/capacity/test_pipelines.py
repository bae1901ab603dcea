from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np
import pytest

from planners import Kind, SimulatedCapacity, capacity_of_mix_rps, capacity_rps
from planners.capacity.pipelines import (
    MAX_MIXED_MEMORY,
    MAX_MIXED_STAGES,
    MixedPipeline,
    mixed_pipelines,
    uniform_replicas,
)
from planners.capacity.steady_state import ReplicaFacts, SteadyState
from sim import (
    CompactServiceTime,
    Deployment,
    GpuType,
    ReplicaLimits,
    ReplicaSpec,
    Stage,
    gpu_type,
    kv_blocks,
    model_spec,
    simulate,
)
from traces import azure_conv_like

LLAMA = model_spec("Llama-3-70B")
TIMES = CompactServiceTime()
MIX = [Kind(0.4, 2455, 510), Kind(0.4, 824, 253), Kind(0.2, 496, 18)]
GPUS = [gpu_type(name) for name in ("RTX4090", "A40", "L40", "A100-SXM-80GB", "H100-SXM")]


def some_pipelines() -> list[MixedPipeline]:
    """Every 20th that holds the longest kind of the mix."""
    holding = [p for p in mixed_pipelines(LLAMA, GPUS) if kv_blocks(p.by_memory()) * 16 >= 2965]
    assert len(holding) > 100
    return holding[::20]


def pipeline(first: tuple[str, int, int], last: tuple[str, int, int]) -> MixedPipeline:
    """By GPU type, tp and pp of both parts."""
    for found in mixed_pipelines(LLAMA, GPUS):
        if [(part.gpu.name, part.tp, part.pp) for part in (found.first, found.last)] == [first, last]:
            return found
    raise AssertionError


def test_uniform_replicas_are_all_of_tp_and_pp() -> None:
    specs = uniform_replicas(LLAMA, [gpu_type("A40")])
    shapes = [(len({stage.n_layers for stage in spec.stages}) <= 2, spec.stages[0].tp, spec.pp) for spec in specs]
    assert set(shapes) == set(itertools.product([True], (1, 2, 4, 8), range(1, 9)))
    shallow = dataclasses.replace(LLAMA, n_layers=3)
    assert max(spec.pp for spec in uniform_replicas(shallow, [gpu_type("A40")])) == 3


def test_mixed_pipelines_keep_to_their_bounds() -> None:
    limits = ReplicaLimits()
    seen = set()
    for found in mixed_pipelines(LLAMA, GPUS):
        spec = found.by_memory()
        usable = sum(s.tp * (0.9 * s.gpu_type.memory_bytes - limits.reserve_bytes) for s in spec.stages)
        assert usable <= MAX_MIXED_MEMORY * LLAMA.weight_bytes
        assert spec.pp <= MAX_MIXED_STAGES
        assert len(spec.gpus) == 2
        bandwidths = [stage.gpu_type.memory_bandwidth_bytes_per_s for stage in spec.stages]
        assert bandwidths == sorted(bandwidths)
        seen.add(tuple((stage.gpu_type.name, stage.tp) for stage in spec.stages))
    assert len(seen) == len(list(mixed_pipelines(LLAMA, GPUS)))
    assert not list(mixed_pipelines(LLAMA, GPUS[:1]))


def test_split_by_memory_holds_the_most() -> None:
    """Against all splits; the layers of one stage are whole, so that a neighbouring split may hold a little more."""
    for found in some_pipelines():
        spec = found.by_memory()
        n_first = sum(stage.n_layers for stage in spec.stages[: found.first.pp])
        blocks = {n: kv_blocks(found.split(n)) for n in range(found.first.pp, LLAMA.n_layers - found.last.pp + 1)}
        best = max(blocks, key=lambda n: blocks[n])
        assert abs(n_first - best) <= 2
        assert sum(stage.n_layers for stage in spec.stages) == LLAMA.n_layers


def test_best_split_is_hardly_worse_than_any_other() -> None:
    shortfalls = []
    for found in some_pipelines():
        rates = [
            capacity_of_mix_rps(found.split(n), TIMES, MIX)
            for n in range(found.first.pp, LLAMA.n_layers - found.last.pp + 1)
        ]
        shortfalls.append(1 - capacity_of_mix_rps(found.best(TIMES, MIX), TIMES, MIX) / max(rates))
    assert max(shortfalls) < 0.1
    assert np.mean(shortfalls) < 0.02


def test_where_memory_is_scarce_the_split_is_by_memory_where_it_is_not_by_time() -> None:
    scarce = pipeline(("L40", 2, 1), ("H100-SXM", 1, 1))
    assert scarce.best(TIMES, MIX) == scarce.by_memory()
    ample = pipeline(("RTX4090", 4, 1), ("H100-SXM", 2, 1))
    short = [Kind(1.0, 100, 10)]
    assert unevenness(ample.best(TIMES, short), short) < 1.1 < unevenness(ample.by_memory(), short)


def unevenness(spec: ReplicaSpec, kinds: list[Kind]) -> float:
    """Time of the slowest stage over that of the fastest."""
    state = SteadyState(ReplicaFacts.of(spec, TIMES), kinds)
    times_s = state.stages_s(state.batch)
    return max(times_s) / min(times_s)


def renamed(spec: ReplicaSpec, names: Iterable[str]) -> ReplicaSpec:
    stages = (
        Stage(dataclasses.replace(stage.gpu_type, name=name), stage.tp, stage.n_layers)
        for stage, name in zip(spec.stages, names, strict=True)
    )
    return dataclasses.replace(spec, stages=tuple(stages))


@pytest.mark.parametrize("names", [("one", "other"), ("one", "one"), ("other", "one")])
def test_types_that_are_equal_up_to_the_name_make_a_uniform_replica(names: tuple[str, str]) -> None:
    """On a network as fast as the node's link: the same blocks, capacity and records."""
    uniform = ReplicaSpec.uniform(LLAMA, gpu_type("A100-SXM-80GB"), tp=2, pp=2)
    mixed = renamed(uniform, names)
    fast = CompactServiceTime(network_bandwidth_bytes_per_s=gpu_type("A100-SXM-80GB").link_bandwidth_bytes_per_s)
    assert kv_blocks(mixed) == kv_blocks(uniform)
    assert capacity_rps(mixed, fast, 824, 253) == capacity_rps(uniform, fast, 824, 253)
    trace = azure_conv_like(200, seed=0, rate_rps=4, model=LLAMA.name)
    one, other = (
        simulate(Deployment(((spec, 1),)), trace, service_time=fast, router="round_robin") for spec in (uniform, mixed)
    )
    assert other.requests.equals(one.requests)


def test_best_split_of_equal_types_is_as_good_as_an_even_one() -> None:
    gpu = gpu_type("A100-SXM-80GB")
    twin = dataclasses.replace(gpu, name="twin")
    for found in mixed_pipelines(LLAMA, [gpu, twin]):
        if found.first.tp == found.last.tp and found.first.pp == found.last.pp == 1:
            even = found.split(LLAMA.n_layers // 2)
            best = capacity_of_mix_rps(found.best(TIMES, MIX), TIMES, MIX)
            assert best >= capacity_of_mix_rps(even, TIMES, MIX) * 0.99


def test_names_of_gpu_types_do_not_matter() -> None:
    def shapes(gpus: Iterable[GpuType]) -> list[tuple[tuple[int, int], ...]]:
        return [tuple((s.tp, s.n_layers) for s in found.best(TIMES, MIX).stages) for found in holding(gpus)]

    def holding(gpus: Iterable[GpuType]) -> list[MixedPipeline]:
        return [p for p in mixed_pipelines(LLAMA, gpus) if kv_blocks(p.by_memory()) * 16 >= 2965]

    two = [gpu_type("L40"), gpu_type("H100-SXM")]
    swapped = [dataclasses.replace(gpu, name=name) for gpu, name in zip(two, ("z", "a"), strict=True)]
    assert shapes(two) == shapes(swapped) == shapes(swapped[::-1])


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (("RTX4090", 2, 1), ("A100-SXM-80GB", 2, 1)),
        (("L40", 2, 1), ("H100-SXM", 1, 1)),
        (("A40", 2, 2), ("RTX4090", 2, 1)),
    ],
)
def test_capacity_of_a_mixed_pipeline_is_that_of_the_simulator(
    first: tuple[str, int, int], last: tuple[str, int, int]
) -> None:
    spec = pipeline(first, last).best(TIMES, MIX)
    for kinds in ([Kind(1.0, 496, 18)], MIX):
        simulated_rps = SimulatedCapacity(TIMES).rps(spec, kinds)
        assert capacity_of_mix_rps(spec, TIMES, kinds) == pytest.approx(simulated_rps, rel=0.15)


@pytest.mark.parametrize(
    ("gpu", "prompt", "output"), [("A40", 503, 509), ("A40", 480, 480), ("A40", 540, 560), ("L40", 503, 509)]
)
def test_where_slots_and_kv_blocks_are_short_alike_they_preempt_for_a_part_of_the_time(
    gpu: str, prompt: int, output: int
) -> None:
    """256 requests of about 1,000 tokens need about the blocks that there are: now more, now less."""
    (spec,) = (s for s in uniform_replicas(model_spec("Llama-3-8B"), [gpu_type(gpu)]) if s.n_gpus == 1)
    mix = [Kind(1.0, prompt, output)]
    measured_rps = SimulatedCapacity(TIMES).rps(spec, mix)
    assert capacity_of_mix_rps(spec, TIMES, mix) == pytest.approx(measured_rps, rel=0.05)
