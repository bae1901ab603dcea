from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import Chunk, Deployment, ReplicaLimits, ReplicaSpec, ServiceTimeModel, compute_metrics, gpu_type, simulate
from sim import kv_blocks as blocks_of
from tests.naive_vllm import assert_same_gaps, kept_of, n_blocks_of, read_of
from tests.strategies_sim import (
    MODEL,
    FixedStageTimes,
    any_stepping,
    assert_conserved,
    crowded_traces,
    replica_specs,
    service_times,
)
from traces import Trace


@dataclass
class Request:
    arrival_s: float
    prompt: int
    output: int
    generated: int = 0
    computed: int = 0  # tokens with keys and values, those under way included
    blocks: int = 0
    is_decoding: bool = False
    first_scheduled_s: float | None = None
    n_preempted: int = 0
    n_recomputed: int = 0
    times: list[float] = field(default_factory=list)


class NaivePipeline:
    """vLLM V1's rules for several batches under way, token by token: batches are not kept, but found each time.

    Whenever fewer batches are under way than there are stages, the scheduler is asked for one. It takes, in order of
    admission, everybody who has tokens to compute that are not under way, then those who wait.
    """

    def __init__(self, spec: ReplicaSpec, service_time: ServiceTimeModel) -> None:
        self.stages = service_time.stage_times(spec)
        self.spec = spec
        self.free = blocks_of(spec)
        self.free_s = [0.0] * spec.pp
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []
        self.under_way: deque[tuple[float, list[tuple[Request, int]]]] = deque()
        # Facts for the replica's record.
        self.n_iterations = 0
        self.prefill_tokens = 0
        self.decode_tokens = 0
        self.peak_kv_blocks = 0
        self.busy_s = 0.0
        self.kv_token_s = 0.0

    def serve(self, trace: Trace) -> list[Request]:
        rows = trace.requests.select("arrival_s", "prompt_tokens", "output_tokens").iter_rows()
        requests = [Request(*row) for row in rows]
        to_come = deque(requests)
        now_s = 0.0
        while to_come or self.under_way:
            before_s = now_s
            now_s = min(
                to_come[0].arrival_s if to_come else float("inf"),
                self.under_way[0][0] if self.under_way else float("inf"),
            )
            kept_tokens = sum(kept_of(self.spec, request.computed) for request in self.running)
            self.kv_token_s += kept_tokens * (now_s - before_s)
            if self.under_way and self.under_way[0][0] == now_s:
                self.complete(now_s, self.under_way.popleft()[1])
            while to_come and to_come[0].arrival_s <= now_s:
                self.waiting.append(to_come.popleft())
            while len(self.under_way) < self.spec.pp and self.schedule(now_s):
                pass
        assert not self.waiting
        assert not self.running
        return requests

    def preempt(self) -> Request:
        victim = self.running.pop()
        self.free += victim.blocks
        victim.n_recomputed += victim.prompt + victim.generated - 1 if victim.is_decoding else victim.computed
        victim.blocks = victim.computed = 0
        victim.is_decoding = False
        victim.n_preempted += 1
        self.waiting.appendleft(victim)
        return victim

    def schedule(self, now_s: float) -> bool:
        budget = self.spec.max_batched_tokens
        batch: list[tuple[Request, int]] = []
        is_short = False
        for request in list(self.running):
            new = min(request.prompt + request.generated - request.computed, budget)
            if new == 0 or request not in self.running:
                continue
            extra = n_blocks_of(self.spec, request.computed + new) - request.blocks
            while extra > self.free and request in self.running:
                is_short = True
                self.preempt()
            if request in self.running:
                self.take(request, new, extra, batch)
                budget -= new
        while self.waiting and budget > 0 and len(self.running) < self.spec.max_seqs and not is_short:
            request = self.waiting[0]
            whole = request.prompt + request.generated
            new = min(whole, budget)
            reserved = whole if self.spec.limits.reserve_whole_prompt else new
            if n_blocks_of(self.spec, reserved) > self.free:
                break
            if request.first_scheduled_s is None:
                request.first_scheduled_s = now_s
            self.running.append(self.waiting.popleft())
            self.take(request, new, n_blocks_of(self.spec, new), batch)
            budget -= new
        if not batch:
            return False
        self.peak_kv_blocks = max(self.peak_kv_blocks, blocks_of(self.spec) - self.free)
        self.send(now_s, batch)
        return True

    def take(self, request: Request, new: int, extra: int, batch: list[tuple[Request, int]]) -> None:
        self.free -= extra
        request.blocks += extra
        request.computed += new
        batch.append((request, new))

    def send(self, now_s: float, batch: list[tuple[Request, int]]) -> None:
        decodes = [request for request, _ in batch if request.is_decoding]
        context = sum(read_of(self.spec, request.prompt + request.generated) for request in decodes)
        chunks = [Chunk(new, request.computed - new) for request, new in batch if not request.is_decoding]
        self.prefill_tokens += sum(chunk.new_tokens for chunk in chunks)
        end_s = now_s
        for index, stage in enumerate(self.stages):
            base, slope = stage.decode(len(decodes))
            time_s = stage.mixed(len(decodes), context, chunks) if chunks else base + slope * context
            end_s = self.free_s[index] = max(end_s, self.free_s[index]) + time_s
            self.busy_s += time_s * self.spec.stages[index].n_gpus / self.spec.n_gpus
        complete = [
            (request, request.n_preempted)
            for request, _ in batch
            if request.computed == request.prompt + request.generated
        ]
        self.under_way.append((end_s, complete))

    def complete(self, now_s: float, batch: list[tuple[Request, int]]) -> None:
        self.n_iterations += 1
        for request, n_preempted in batch:
            if request.n_preempted > n_preempted:
                continue
            self.decode_tokens += request.is_decoding
            request.generated += 1
            request.is_decoding = True
            request.times.append(now_s)
            if request.generated == request.output:
                self.running.remove(request)
                self.free += request.blocks


@given(replica_specs(pps=(2, 3, 4)), crowded_traces(25), service_times(), any_stepping)
def test_pipelines_agree_with_a_naive_twin(
    spec: ReplicaSpec, trace: Trace, service_time: ServiceTimeModel, stepping: Any
) -> None:
    result = simulate(
        Deployment(((spec, 1),)), trace, service_time=service_time, router="round_robin", stepping=stepping
    )
    naive = NaivePipeline(spec, service_time)
    twins = naive.serve(trace)
    requests, replica = result.requests, result.replicas.row(0, named=True)
    assert requests["n_preempted"].to_list() == [twin.n_preempted for twin in twins]
    assert requests["recomputed_tokens"].to_list() == [twin.n_recomputed for twin in twins]
    assert requests["first_scheduled_s"].to_list() == [twin.first_scheduled_s for twin in twins]
    assert requests["first_token_s"].to_list() == [twin.times[0] for twin in twins]
    assert requests["finish_s"].to_list() == [twin.times[-1] for twin in twins]
    assert_same_gaps(result, [twin.times for twin in twins])
    for name in ("n_iterations", "prefill_tokens", "decode_tokens", "peak_kv_blocks"):
        assert replica[name] == getattr(naive, name), name
    for name in ("busy_s", "kv_token_s"):
        assert replica[name] == pytest.approx(getattr(naive, name), rel=1e-9), name
    occupancy = compute_metrics(result)["kv_occupancy"]
    assert occupancy is not None
    assert 0 < occupancy <= 1 + 1e-9
    assert_conserved(result, trace)


@given(st.sampled_from([2, 4]), crowded_traces(25))
def test_a_pipeline_of_one_batch_is_a_single_stage_that_takes_as_long(pp: int, trace: Trace) -> None:
    """With one sequence slot at most one batch has work, so the stages only add up."""
    slot = ReplicaLimits(kv_blocks=100, max_batched_tokens=2_048, max_seqs=1)
    gpu = gpu_type("L40")
    pipeline, single = (ReplicaSpec.uniform(MODEL, gpu, pp=n, limits=slot) for n in (pp, 1))
    stage_s = tuple(0.5 / 2**i for i in range(pp))
    slow = simulate(Deployment(((pipeline, 1),)), trace, service_time=FixedStageTimes(stage_s), router="round_robin")
    fast = simulate(
        Deployment(((single, 1),)), trace, service_time=FixedStageTimes((sum(stage_s),)), router="round_robin"
    )
    for name in ("first_scheduled_s", "first_token_s", "finish_s"):
        assert slow.requests[name].to_list() == pytest.approx(fast.requests[name].to_list(), rel=1e-9)
    assert slow.replicas["kv_token_s"][0] == pytest.approx(fast.replicas["kv_token_s"][0])
