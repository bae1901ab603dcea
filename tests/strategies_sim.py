"""Hypothesis strategies for deployments, service times and traces, and what every run must satisfy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, get_args

import polars as pl
from hypothesis import strategies as st

from sim import (
    LENGTH_PREDICTORS,
    ROUTERS,
    CompactServiceTime,
    ConstantServiceTime,
    Deployment,
    EngineProfile,
    ReplicaLimits,
    ReplicaSpec,
    RoutingTable,
    ServiceTimeModel,
    SimulationResult,
    Stage,
    StageTime,
    gpu_names,
    gpu_type,
    kv_blocks,
    model_names,
    model_spec,
)
from sim.catalog.models import MLA, ModelSpec, MoE, SlidingWindow
from sim.catalog.precision import PRECISIONS
from sim.kv_cache import block_rule
from sim.setting import Stepping
from tests.strategies import traces
from traces import ClosedLoop, Sessions, Trace, WorkloadGrid, WorkloadMix

MODEL = model_spec("Llama-3-8B")
MISTRAL = model_spec("Mistral-7B")
GRID = WorkloadGrid((200, 20), (300, 30))
SEGMENT_TOKENS = 64  # of prompts with prefix hashes
MIN_KV_TOKENS = 832

any_stepping = st.sampled_from(get_args(Stepping))
any_router = st.sampled_from(sorted(ROUTERS))
oblivious = st.sampled_from(["plan_weighted", "round_robin"])
predictors = st.sampled_from(sorted(LENGTH_PREDICTORS))
horizons = st.none() | st.floats(0.05, 8.0) | st.integers(1, 60).map(lambda tick: 0.1 * tick)

DENSE_MODELS = [model for model in map(model_spec, model_names()) if model.moe is None]
FITTING_REPLICAS = [
    spec
    for model in DENSE_MODELS
    for gpu in map(gpu_type, gpu_names())
    for tp in (1, 2, 4, 8)
    for pp in (1, 2, 4)
    if kv_blocks(spec := ReplicaSpec.uniform(model, gpu, tp, pp)) > 0
]


_OTHER_KINDS = [
    *(model_spec(name) for name in ("gpt-oss-120b", "Qwen3-235B-A22B", "DeepSeek-V3", "Mixtral-8x7B", "Gemma-3-27B")),
    *(
        replace(model_spec("Llama-3.3-70B"), precision=PRECISIONS[name].with_kv("fp8"))
        for name in ("fp8", "int4", "nvfp4")
    ),
]
OTHER_REPLICAS = [
    spec
    for model in _OTHER_KINDS
    for gpu in map(gpu_type, ("L40S", "A100-SXM-80GB", "H100-SXM", "H200-SXM", "B200-SXM", "MI300X"))
    for tp, dp, is_ep in ((1, 1, False), (4, 1, False), (8, 1, False), (8, 1, True), (1, 8, True), (2, 4, True))
    if Stage(gpu, tp, 1, dp, is_ep).why_not(model) is None
    if kv_blocks(spec := ReplicaSpec.uniform(model, gpu, tp, dp=dp, expert_parallel=is_ep)) > 0
]
"""Replicas of quantised models, mixtures of experts, latent attention and sliding windows that fit."""


any_engine = st.builds(
    EngineProfile,
    frontend_s=st.sampled_from([0.0, 0.0, 0.1, 0.0123]),
    schedules_ahead=st.booleans(),
    prefix_caching=st.none() | st.booleans(),
)
"""How requests come to replicas and into iterations; its overheads are for `EngineServiceTime`."""


@st.composite
def service_times(draw: st.DrawFn) -> ServiceTimeModel:
    """The compact model, or a constant, or constants with and without dependence on batch and context."""
    kind = draw(st.sampled_from(["compact", "compact", "constant", "constants"]))
    if kind == "compact":
        return CompactServiceTime()
    iteration_s = draw(st.sampled_from([0.1, 0.05, 0.013]))
    if kind == "constant":
        return ConstantServiceTime(iteration_s)
    return ConstantServiceTime(
        iteration_s,
        per_prompt_token_s=draw(st.sampled_from([0.0, 1e-3])),
        per_decode_s=draw(st.sampled_from([0.0, 0.01])),
        per_context_token_s=draw(st.sampled_from([0.0, 1e-5])),
    )


@st.composite
def limits(draw: st.DrawFn) -> ReplicaLimits:
    """Small token budgets, sequence limits and KV caches, so that each of them binds now and then."""
    budget = draw(st.sampled_from([16, 64, 256, 2048]))
    block_tokens = draw(st.sampled_from([16, 16, 8, 64]))
    return ReplicaLimits(
        block_tokens=block_tokens,
        kv_blocks=draw(st.integers(MIN_KV_TOKENS, 1920)) // block_tokens,
        max_batched_tokens=budget,
        max_seqs=min(budget, draw(st.sampled_from([1, 2, 4, 16, 64]))),
        reserve_whole_prompt=draw(st.booleans()),
    )


@st.composite
def stages(draw: st.DrawFn, n_layers: int, pp: int) -> tuple[Stage, ...]:
    """Pipeline stages that differ in GPU type, tensor parallelism and number of layers, or in none of them."""
    gpus = st.sampled_from(["A100-SXM-80GB", "H100-SXM", "L40"]).map(gpu_type)
    first = Stage(draw(gpus), draw(st.sampled_from([1, 1, 2])), n_layers // pp)
    if draw(st.booleans()):
        return (replace(first, n_layers=first.n_layers + n_layers % pp), *[first] * (pp - 1))
    others = [Stage(draw(gpus), draw(st.integers(1, 2)), draw(st.integers(1, 8))) for _ in range(pp - 1)]
    return (replace(first, n_layers=n_layers - sum(stage.n_layers for stage in others)), *others)


@st.composite
def kinds(draw: st.DrawFn, model: ModelSpec) -> ModelSpec:
    """A model of this name, perhaps with sliding windows, experts, latent attention, or FP8 keys and values."""
    window = draw(
        st.none() | st.builds(SlidingWindow, st.sampled_from([1, 5, 40, 128, 1000]), st.sampled_from([0, 2, 5]))
    )
    moe = draw(st.none() | st.sampled_from([MoE(8, 2, 1024), MoE(64, 6, 256, shared_ffn_size=512, n_dense_layers=3)]))
    mla = draw(st.none() | st.just(MLA(512, 64, 128, 128, q_lora_rank=1536)))
    kv = draw(st.sampled_from(["bf16", "fp8"]))
    n_kv_heads = model.n_heads if mla else model.n_kv_heads
    precision = model.precision.with_kv(kv)
    return replace(model, window=window, moe=moe, mla=mla, precision=precision, n_kv_heads=n_kv_heads)


@st.composite
def replica_specs(draw: st.DrawFn, model: ModelSpec = MODEL, pps: tuple[int, ...] = (1, 1, 2, 4)) -> ReplicaSpec:
    """Replicas of any kind."""
    kind = draw(st.just(model) | kinds(model))
    of_one_group = draw(limits())
    parts = draw(stages(kind.n_layers, draw(st.sampled_from(pps))))
    if kind.moe is not None and draw(st.booleans()):
        parts = tuple(replace(part, dp=2, expert_parallel=True) for part in parts)
    spec = ReplicaSpec(kind, parts, of_one_group)
    # As many tokens in blocks of all groups of layers.
    return with_kv_blocks(spec, (of_one_group.kv_blocks or 1) * block_rule(spec).n_groups)


@st.composite
def deployments(draw: st.DrawFn) -> Deployment:
    """One to four replicas of two kinds."""
    specs = draw(st.lists(replica_specs(), min_size=1, max_size=2))
    return Deployment(tuple((spec, draw(st.integers(1, 2))) for spec in specs))


@st.composite
def tables(draw: st.DrawFn, model: str, replicas: tuple[tuple[ReplicaSpec, int], ...]) -> tuple[str, RoutingTable]:
    """Any fractions over the entries of the model."""
    weight = st.integers(0, 4)
    weights = [[draw(weight) if spec.model.name == model else 0 for _ in range(4)] for spec, _ in replicas]
    sums = [sum(column) or 1 for column in zip(*weights, strict=True)]
    fractions = tuple(tuple(w / s for w, s in zip(row, sums, strict=True)) for row in weights)
    shares = draw(st.lists(st.integers(1, 5), min_size=4, max_size=4))
    return model, RoutingTable(WorkloadMix.from_shares(GRID, [s / sum(shares) for s in shares]), fractions)


@st.composite
def fleets(draw: st.DrawFn) -> Deployment:
    """Two models, one or two kinds of replicas of each, routing tables for none, one or both."""
    entries = [
        (draw(replica_specs(model)), draw(st.integers(1, 2)))
        for model in (MODEL, MISTRAL)
        for _ in range(draw(st.integers(1, 2)))
    ]
    replicas = tuple(draw(st.permutations(entries)))
    with_table = [name for name in (MODEL.name, MISTRAL.name) if draw(st.booleans())]
    return Deployment(replicas, tuple(draw(tables(name, replicas)) for name in with_table))


def crowded_traces(max_size: int = 40) -> st.SearchStrategy[Trace]:
    """Requests that fit a cache of `MIN_KV_TOKENS`, but few of them at once."""
    return _requests(max_size, max_prompt_tokens=300, max_output_tokens=500, models=(MODEL.name,))


def fleet_traces() -> st.SearchStrategy[Trace]:
    """Requests of two models and of one that nobody serves; some fit nowhere."""
    names = (MODEL.name, MODEL.name, MODEL.name, MISTRAL.name, MISTRAL.name, "Nobody")
    return _requests(40, max_prompt_tokens=500, max_output_tokens=400, models=names)


def _requests(max_size: int, **arguments: Any) -> st.SearchStrategy[Trace]:
    """Many or few; they arrive together, one after the other or on a lattice.

    Lists that are drawn are short, most of them, if nobody asks for more; then hardly anybody waits or is preempted.
    """
    return st.sampled_from([1, max_size // 3, 2 * max_size // 3, max_size]).flatmap(
        lambda min_size: st.one_of(
            traces(min_size=min_size, max_size=max_size, max_gap_s=0.02, **arguments),
            traces(min_size=min_size, max_size=max_size, max_gap_s=1.0, **arguments),
            traces(min_size=min_size, max_size=max_size, max_gap_s=1.0, **arguments).map(_on_a_lattice),
        )
    )


def _on_a_lattice(trace: Trace) -> Trace:
    """Arrivals at multiples of 0.1 s, which meet ends of iterations of constant service times."""
    ticks = (4 * pl.col("arrival_s")).floor()
    return Trace(trace.requests.with_columns(arrival_s=0.1 * ticks), "lattice")


@st.composite
def with_prefixes(draw: st.DrawFn, plain: st.SearchStrategy[Trace]) -> Trace:
    """Traces whose prompts often begin alike: three ids, known for all of a prompt or for less of it."""
    trace = draw(plain)
    n_segments = 300 // SEGMENT_TOKENS + 1
    ids = st.lists(st.integers(0, 1) | st.integers(0, 2), max_size=n_segments)
    hashes = [draw(st.none() | ids | st.just([0] * n_segments)) for _ in range(len(trace))]
    prompts = trace.requests["prompt_tokens"]
    cut = [row and row[: -(-prompt // SEGMENT_TOKENS)] for row, prompt in zip(hashes, prompts, strict=True)]
    column = pl.Series("prefix_hashes", cut, dtype=pl.List(pl.Int64))
    return Trace(trace.requests.with_columns(column), trace.source)


think_times = st.sampled_from([0.0, 0.1, 0.5]) | st.floats(0.0, 3.0)
think_kinds = st.sampled_from(["constant", "constant", "exponential"])


@st.composite
def closed_loops(draw: st.DrawFn) -> ClosedLoop:
    """A few users, who begin together or on a lattice of times."""
    ramp_s = draw(st.sampled_from([0.0, 0.4, 3.0]))
    return ClosedLoop(draw(st.integers(1, 8)), draw(think_times), ramp_s, draw(think_kinds))  # type: ignore[arg-type]


@st.composite
def in_loops(draw: st.DrawFn, plain: st.SearchStrategy[Trace]) -> Trace:
    """Some requests at their times, others sent by users of one or two closed loops or in sessions."""
    trace = draw(plain)
    senders = [None, draw(closed_loops()), draw(closed_loops()), Sessions(draw(think_times), draw(think_kinds))]
    n = len(trace)
    sender = pl.Series(draw(st.lists(st.sampled_from([0, 1, 1, 1, 2, 3, 3]), min_size=n, max_size=n)))
    sessions = draw(st.lists(st.none() | st.integers(0, 3), min_size=n, max_size=n))
    sessions[int((sender == 3).arg_max() or 0)] = 0  # one at least is in a session
    requests = trace.requests.with_columns(session_id=pl.Series(sessions, dtype=pl.Int64))
    parts = []
    for index, loop in enumerate(senders):
        part = requests.filter(sender == index)
        if part.height:
            alone = Trace(part, f"part {index}")
            parts.append(alone if loop is None else alone.sent_by(loop, seed=draw(st.integers(0, 3))))
    return parts[0].merge(*parts[1:])


def horizon_after(trace: Trace, horizon_s: float | None) -> float | None:
    """A horizon so much later than the first arrival."""
    return None if horizon_s is None else float(trace.requests["arrival_s"][0]) + horizon_s


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
