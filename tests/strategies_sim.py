"""Hypothesis strategies for deployments and service times, and what every run must satisfy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl
from hypothesis import strategies as st

from sim import (
    CompactServiceTime,
    ConstantServiceTime,
    Deployment,
    ReplicaLimits,
    ReplicaSpec,
    ServiceTimeModel,
    SimulationResult,
    StageTime,
    gpu_names,
    gpu_type,
    kv_blocks,
    model_names,
    model_spec,
)
from sim.catalog import ModelSpec
from tests.strategies import traces
from traces import Trace

MODEL = model_spec("Llama-3-8B")
MIN_KV_BLOCKS = 52  # 832 tokens

FITTING_REPLICAS = [
    spec
    for model in map(model_spec, model_names())
    for gpu in map(gpu_type, gpu_names())
    for tp in (1, 2, 4, 8)
    for pp in (1, 2, 4)
    if kv_blocks(spec := ReplicaSpec.uniform(model, gpu, tp, pp)) > 0
]


@st.composite
def service_times(draw: st.DrawFn) -> ServiceTimeModel:
    """The compact model, or constants with and without dependence on batch and context."""
    if draw(st.booleans()):
        return CompactServiceTime()
    return ConstantServiceTime(
        draw(st.sampled_from([0.1, 0.05, 0.013])),
        per_prompt_token_s=draw(st.sampled_from([0.0, 1e-3])),
        per_decode_s=draw(st.sampled_from([0.0, 0.01])),
        per_context_token_s=draw(st.sampled_from([0.0, 1e-5])),
    )


@st.composite
def limits(draw: st.DrawFn) -> ReplicaLimits:
    """Small token budgets, sequence limits and KV caches, so that each of them binds now and then."""
    budget = draw(st.sampled_from([16, 64, 256, 2048]))
    return ReplicaLimits(
        kv_blocks=draw(st.integers(MIN_KV_BLOCKS, 120)),
        max_batched_tokens=budget,
        max_seqs=min(budget, draw(st.sampled_from([1, 2, 4, 16, 64]))),
        reserve_whole_prompt=draw(st.booleans()),
    )


@st.composite
def deployments(draw: st.DrawFn, model: ModelSpec = MODEL) -> Deployment:
    """One to four replicas of two kinds, with one to four stages."""
    entries = []
    for _ in range(draw(st.integers(1, 2))):
        gpu = gpu_type(draw(st.sampled_from(["A100-SXM-80GB", "H100-SXM", "L40"])))
        pp = draw(st.sampled_from([1, 1, 2, 4]))
        spec = ReplicaSpec.uniform(model, gpu, tp=1, pp=pp, limits=draw(limits()))
        entries.append((spec, draw(st.integers(1, 2))))
    return Deployment(tuple(entries))


def crowded_traces(max_size: int = 40) -> st.SearchStrategy[Trace]:
    """Requests that fit a cache of `MIN_KV_BLOCKS`, but few of them at once; many arrive at the same time."""
    return traces(
        max_size=max_size, max_gap_s=1.0, max_prompt_tokens=300, max_output_tokens=500, models=(MODEL.name,)
    ) | _traces_on_a_lattice(max_size)


@st.composite
def _traces_on_a_lattice(draw: st.DrawFn, max_size: int) -> Trace:
    """Arrivals at multiples of 0.1 s, which meet ends of iterations of constant service times."""
    ticks = sorted(draw(st.lists(st.integers(0, 40), min_size=1, max_size=max_size)))
    lengths = st.tuples(st.integers(1, 200), st.integers(1, 200))
    pairs = [draw(lengths) for _ in ticks]
    prompts, outputs = [p for p, _ in pairs], [o for _, o in pairs]
    return Trace.from_columns([0.1 * t for t in ticks], prompts, outputs, model=MODEL.name, source="lattice")


@st.composite
def traces_with_prefixes(draw: st.DrawFn, segment_tokens: int, max_size: int = 40) -> Trace:
    """Crowded traces whose prompts often begin alike: three ids, known for all of a prompt or for less of it."""
    trace = draw(crowded_traces(max_size))
    n_segments = 300 // segment_tokens + 1
    ids = st.lists(st.integers(0, 1) | st.integers(0, 2), max_size=n_segments)
    hashes = [draw(st.none() | ids | st.just([0] * n_segments)) for _ in range(len(trace))]
    prompts = trace.requests["prompt_tokens"]
    cut = [row and row[: -(-prompt // segment_tokens)] for row, prompt in zip(hashes, prompts, strict=True)]
    column = pl.Series("prefix_hashes", cut, dtype=pl.List(pl.Int64))
    return Trace(trace.requests.with_columns(column), trace.source)


def with_kv_blocks(spec: ReplicaSpec, kv_blocks: int) -> ReplicaSpec:
    """The same replica with another KV cache."""
    return replace(spec, limits=replace(spec.limits, kv_blocks=kv_blocks))


@dataclass(frozen=True)
class FixedStageTimes:
    """Each stage takes its own time for an iteration, whatever is in it."""

    stage_s: tuple[float, ...]

    def stage_times(self, spec: ReplicaSpec) -> tuple[StageTime, ...]:
        alone = ReplicaSpec.uniform(spec.model, gpu_type("A40"))
        return tuple(ConstantServiceTime(time_s).stage_times(alone)[0] for time_s in self.stage_s)


@dataclass(eq=False)
class FakeReplica:
    """What routers see of a replica; a request that is sent there stays."""

    max_context_tokens: int = 1_000
    n_outstanding: int = 0
    stage_s: tuple[float, ...] = (1.0,)

    @property
    def stages(self) -> tuple[StageTime, ...]:
        return FixedStageTimes(self.stage_s).stage_times(ReplicaSpec.uniform(MODEL, gpu_type("A40")))


def assert_conserved(result: SimulationResult, trace: Trace) -> None:
    """Requests, tokens and blocks are conserved in a run that went on until all requests had ended."""
    requests, replicas = result.requests, result.replicas
    assert requests.height == len(trace)
    assert requests["request_id"].to_list() == trace.requests["request_id"].to_list()
    completed = requests.filter(pl.col("status") == "completed")
    rejected = requests.filter(pl.col("status") == "rejected")
    assert completed.height + rejected.height == requests.height
    assert rejected["reason"].null_count() == 0
    assert rejected["replica_id"].null_count() == rejected.height
    assert (completed["generated_tokens"] == completed["output_tokens"]).all()
    assert (completed["first_scheduled_s"] >= completed["arrival_s"]).all()
    assert (completed["first_token_s"] > completed["first_scheduled_s"]).all()
    assert (completed["finish_s"] >= completed["first_token_s"]).all()
    # Every token but the last of each answer is computed once, and what preemption lost once more, or hit.
    needed = (completed["prompt_tokens"] + completed["output_tokens"] - 1).sum()
    computed = replicas["prefill_tokens"].sum() + replicas["decode_tokens"].sum()
    assert computed == needed + completed["recomputed_tokens"].sum() - replicas["cached_tokens"].sum()
    assert (completed["cached_prompt_tokens"] < completed["prompt_tokens"]).all()
    assert replicas["cached_tokens"].sum() >= completed["cached_prompt_tokens"].sum()
    capacity = replicas["kv_blocks"] * replicas["block_tokens"] * result.manifest["end_s"]
    assert (replicas["kv_token_s"] <= capacity * (1 + 1e-9)).all()
    assert replicas["n_preemptions"].sum() == completed["n_preempted"].sum()
    assert (replicas["kv_blocks_at_end"] == 0).all()
    assert (replicas["peak_kv_blocks"] <= replicas["kv_blocks"]).all()
