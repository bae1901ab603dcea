"""Prefix caching: the pool against its twin, and runs against the naive twin."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from polars.testing import assert_frame_equal

from sim import (
    ConstantServiceTime,
    Deployment,
    ReplicaLimits,
    ReplicaSpec,
    ServiceTimeModel,
    gpu_type,
    simulate,
)
from sim.kv_cache import blocks_for
from sim.replica.batch import Sequence
from sim.replica.prefix_cache import PrefixCache, Prefixes
from tests.naive_blocks import NaivePool, block_keys
from tests.naive_vllm import assert_agrees, serve
from tests.strategies_sim import (
    MODEL,
    SEGMENT_TOKENS,
    any_router,
    crowded_traces,
    deployments,
    replica_specs,
    service_times,
    with_prefixes,
)
from traces import Trace

BLOCK = 16
any_trace = with_prefixes(crowded_traces())


# Runs -----------------------------------------------------------------------------------------------------------


@st.composite
def exact_service_times(draw: st.DrawFn) -> ServiceTimeModel:
    """Times that floats add up exactly, so that ties with arrivals at multiples of 1/8 s are ties for everybody."""
    return ConstantServiceTime(
        0.125,
        per_prompt_token_s=draw(st.sampled_from([0.0, 2.0**-10])),
        per_decode_s=draw(st.sampled_from([0.0, 2.0**-7])),
        per_context_token_s=draw(st.sampled_from([0.0, 2.0**-17])),
    )


NO_HASHES = Trace.from_columns([0.0, 0.0], [1, 11], [433, 407], model=MODEL.name)
CHUNKED = ReplicaLimits(kv_blocks=52, max_batched_tokens=16, max_seqs=2, reserve_whole_prompt=False)


ONE_HASH = Trace.from_columns([0.0, 0.0, 90.0], [1, 11, 1], [433, 407, 1], model=MODEL.name)
ONE_HASH = Trace(ONE_HASH.requests.with_columns(prefix_hashes=pl.Series([[], [], [1]])), "one hash")


# Without hashes nothing is cached, and a chunk may be enough to be admitted, whatever others have.
@example(ReplicaSpec.uniform(MODEL, gpu_type("L40"), limits=CHUNKED), NO_HASHES, ConstantServiceTime(0.125))
@example(ReplicaSpec.uniform(MODEL, gpu_type("L40"), limits=CHUNKED), ONE_HASH, ConstantServiceTime(0.125))
@given(replica_specs(pps=(1,)), any_trace, exact_service_times())
def test_one_stage_agrees_with_a_naive_twin(spec: ReplicaSpec, trace: Trace, service_time: ServiceTimeModel) -> None:
    trace = Trace(trace.requests.with_columns(arrival_s=(8 * pl.col("arrival_s")).round() / 8), trace.source)
    result = simulate(
        Deployment(((spec, 1),)),
        trace,
        service_time=service_time,
        router="round_robin",
        prefix_segment_tokens=SEGMENT_TOKENS,
    )
    assert_agrees(result, serve(trace, spec, service_time, SEGMENT_TOKENS))


@given(replica_specs(pps=(1,)), crowded_traces() | any_trace, exact_service_times())
def test_who_has_no_hashes_begins_like_itself(spec: ReplicaSpec, trace: Trace, service_time: ServiceTimeModel) -> None:
    """Caching of nothing but what is let go early is as if each prompt had ids of its own."""
    spec = replace(spec, limits=replace(spec.limits, reserve_whole_prompt=True))
    trace = Trace(trace.requests.with_columns(arrival_s=(8 * pl.col("arrival_s")).round() / 8), trace.source)
    settings: dict[str, Any] = {"service_time": service_time, "prefix_segment_tokens": SEGMENT_TOKENS}
    deployment = Deployment(((spec, 1),))
    requests, n_segments = trace.requests, pl.col("prompt_tokens") // SEGMENT_TOKENS + 1
    if "prefix_hashes" not in requests.columns:
        requests = requests.with_columns(prefix_hashes=pl.lit([], pl.List(pl.Int64)))
    own = (10**6 + pl.col("request_id")).repeat_by(n_segments)
    has_none = pl.col("prefix_hashes").list.len().fill_null(0) == 0
    named = Trace(requests.with_columns(prefix_hashes=pl.when(has_none).then(own).otherwise("prefix_hashes")), "named")
    if spec.model.window is not None and requests.select(has_none.all()).item():
        return  # blocks behind a window are worth more than what a preempted request finds again
    unnamed, twin = (
        simulate(deployment, Trace(one.requests, "one"), prefix_caching=True, **settings) for one in (trace, named)
    )
    records = [run.requests.drop("prefix_hashes", strict=False) for run in (unnamed, twin)]
    assert_frame_equal(*records, check_exact=True)
    assert_frame_equal(unnamed.replicas, twin.replicas, check_exact=True)


@given(deployments(), any_trace, service_times(), any_router)
def test_prompts_that_have_nothing_in_common_hit_nothing(
    deployment: Deployment, trace: Trace, service_time: ServiceTimeModel, router: str
) -> None:
    """Only what preemption lost can come back; where nobody is preempted, caching changes nothing."""
    deployment = Deployment(
        tuple(
            (replace(spec, limits=replace(spec.limits, reserve_whole_prompt=True)), count)
            for spec, count in deployment.replicas
        )
    )
    apart = Trace(trace.requests.with_columns(prefix_hashes=pl.concat_list("request_id")), trace.source)
    with_cache, without = (
        simulate(
            deployment,
            apart,
            service_time=service_time,
            router=router,
            prefix_caching=prefix_caching,
            prefix_segment_tokens=SEGMENT_TOKENS,
        )
        for prefix_caching in (None, False)
    )
    assert (with_cache.requests["cached_prompt_tokens"] == 0).all()
    assert (without.replicas["cached_tokens"] == 0).all()
    # With a cache, blocks behind a window are kept.
    has_window = any(spec.model.window is not None for spec, _ in deployment.replicas)
    if without.requests["n_preempted"].sum() == 0 and not has_window:
        assert_frame_equal(with_cache.requests, without.requests, check_exact=True)
        assert_frame_equal(with_cache.replicas, without.replicas, check_exact=True)


# The pool -------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Running:
    seq: Sequence
    keys: list[Hashable]
    blocks: list[int] = field(default_factory=list)


class PoolMachine(RuleBasedStateMachine):
    """Requests are admitted, prefilled one after the other, decode and go, as in a replica."""

    @initialize(n_blocks=st.integers(4, 40))
    def start(self, n_blocks: int) -> None:
        self.hashes: list[list[int]] = []
        self.n_blocks = self.n_free = n_blocks
        self.cache = PrefixCache(Prefixes(self.hashes, SEGMENT_TOKENS), n_blocks, BLOCK)
        self.pool = NaivePool(n_blocks)
        self.running: list[Running] = []
        self.partial: Running | None = None

    @precondition(lambda self: self.partial is None)
    @rule(
        hashes=st.lists(st.integers(0, 1), max_size=4),
        prompt=st.integers(1, 300) | st.integers(1, 18).map(lambda n: n * BLOCK),
        generated=st.just(0) | st.integers(0, 40),
    )
    def admit(self, hashes: list[int], prompt: int, generated: int) -> None:
        self.hashes.append(hashes)
        seq = Sequence(len(self.hashes) - 1, prompt, 10**6)
        seq.target_tokens = prompt + generated
        keys = block_keys(hashes, prompt, BLOCK, SEGMENT_TOKENS)
        hit = self.pool.find(keys, seq.target_tokens, BLOCK)
        n_held = self.pool.n_held(hit)
        assert self.cache.n_held_by_others(seq) == n_held
        if blocks_for(seq.target_tokens, BLOCK) - n_held > self.n_free:
            return
        assert self.cache.admit(seq, self.n_free) == (len(hit), n_held)
        self.n_free -= len(hit) - n_held
        self.pool.touch(hit)
        seq.computed_tokens = len(hit) * BLOCK
        self.partial = Running(seq, keys, hit)
        self.running.append(self.partial)

    @precondition(lambda self: self.partial is not None)
    @rule(new=st.just(10**6) | st.integers(1, 100))
    def compute(self, new: int) -> None:
        request = self.partial
        assert request is not None
        seq = request.seq
        new = min(new, seq.target_tokens - seq.computed_tokens)
        n_blocks = blocks_for(seq.computed_tokens + new, BLOCK) - len(request.blocks)
        if n_blocks > self.n_free:
            return
        self.n_free -= n_blocks
        seq.computed_tokens += new
        self.cache.register(seq, self.n_free)
        request.blocks += self.pool.take(n_blocks)
        self.pool.cache(request.blocks, request.keys[: seq.computed_tokens // BLOCK])
        if seq.computed_tokens == seq.target_tokens:
            self.partial = None

    @precondition(lambda self: self.n_free > 0 and any(r is not self.partial for r in self.running))
    @rule(data=st.data())
    def decode(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from([r for r in self.running if r is not self.partial]))
        self.n_free -= 1
        request.blocks += self.pool.take(1)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), is_over=st.booleans())
    def release(self, data: st.DataObject, is_over: bool) -> None:
        request = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        n_before = len(self.pool.free)
        self.pool.give_back(request.blocks)
        n_freed = len(self.pool.free) - n_before
        n_blocks = len(request.blocks)
        assert self.cache.release(request.seq, n_blocks, is_over=is_over) == (n_freed, n_blocks - n_freed)
        self.n_free += n_freed
        if request is self.partial:
            self.partial = None

    @rule()
    def look(self) -> None:
        """What is cached, block by block: used, free and known, free and unknown blocks are all there are."""
        self.cache._evict(self.n_free)
        cached: dict[Hashable, bool] = {}
        segments = [((key,), segment) for key, segment in self.cache._root.children.items()]
        for path, segment in segments:
            first = SEGMENT_TOKENS // BLOCK * (len(path) - 1)
            for n in range(segment.n_cached):
                cached[path, first + n] = n < segment.n_held
            assert segment.n_cached > 0
            assert segment.n_cached == SEGMENT_TOKENS // BLOCK or not segment.children
            segments += [((*path, key), child) for key, child in segment.children.items()]
        assert cached == {key: self.pool.n_holders[block] > 0 for key, block in self.pool.block_of.items()}
        n_in_runs = sum(run.stop - run.start for run in self.cache._runs)
        n_known = sum(run.stop - run.start for run in self.cache._runs if run.segment is not None)
        assert n_in_runs == self.n_free
        assert n_known == sum(not is_held for is_held in cached.values())

    @invariant()
    def blocks_are_conserved(self) -> None:
        if hasattr(self, "pool"):
            assert self.n_free == len(self.pool.free)
            assert len({block for r in self.running for block in r.blocks}) + self.n_free == self.n_blocks

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            for request in self.running:
                self.n_free += self.cache.release(request.seq, len(request.blocks), is_over=True)[0]
            assert self.n_free == self.n_blocks
            assert not self.cache._holdings


TestPool = PoolMachine.TestCase
