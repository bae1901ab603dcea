"""A slow twin of the single-stage replica: vLLM V1's rules, token by token and block by block, on plain lists.

Written from the rules alone and sharing nothing with the engine but the service times: no SimPy, no running sums, no
residues, no macro-steps. Quadratic and proud of it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import pytest

from sim import Chunk, EngineProfile, ReplicaSpec, ServiceTimeModel, SimulationResult
from sim.catalog.engines import IDEAL_ENGINE
from sim.replica.itl import EDGES_S
from tests.naive_blocks import NaivePool, block_keys
from traces import Trace


@dataclass
class Request:
    arrival_s: float
    prompt: int
    output: int
    generated: int = 0
    computed: int = 0
    blocks: list[int] = field(default_factory=list)
    keys: list[Hashable] = field(default_factory=list)
    is_hashed: bool = False
    first_scheduled_s: float | None = None
    n_preempted: int = 0
    n_recomputed: int = 0
    n_cached: int = 0  # prompt tokens that it hit when it was first admitted
    target: int = 0  # tokens of its prompt, and of what it had generated when it was last admitted
    times: list[float] = field(default_factory=list)


@dataclass
class Served:
    """What a run must have recorded."""

    requests: list[Request]
    n_iterations: int = 0
    busy_s: float = 0.0
    kv_token_s: float = 0.0
    peak_kv_blocks: int = 0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    cached_tokens: int = 0


def groups_of(spec: ReplicaSpec) -> tuple[int, int]:
    """Groups of layers with full attention and with a sliding window, as large as the smaller kind has layers."""
    window, n_layers = spec.model.window, spec.model.n_layers
    if window is None:
        return 1, 0
    n_full = sum(1 for layer in range(n_layers) if window.full_every and (layer + 1) % window.full_every == 0)
    size = min(n for n in (n_full, n_layers - n_full) if n > 0)
    return (n_full + size - 1) // size, (n_layers - n_full + size - 1) // size


def n_blocks_of(spec: ReplicaSpec, tokens: int) -> int:
    """Blocks of a sequence: each window group has those that its window touches at the worst place of its beginning."""
    size, (full, windowed) = spec.limits.block_tokens, groups_of(spec)
    n_blocks = (tokens + size - 1) // size
    if spec.model.window is None:
        return n_blocks
    span = spec.model.window.tokens
    touched = max(1, *((offset + span + size - 1) // size for offset in range(size))) if span > 1 else 2
    return full * n_blocks + windowed * min(n_blocks, max(touched, 2))


def kept_of(spec: ReplicaSpec, tokens: int) -> int:
    """Tokens of a sequence with keys and values, over all groups."""
    full, windowed = groups_of(spec)
    return tokens if spec.model.window is None else full * tokens + windowed * min(tokens, spec.model.window.tokens)


def read_of(spec: ReplicaSpec, tokens: int) -> float:
    """Tokens that an average layer reads of a sequence."""
    if spec.model.window is None:
        return tokens
    share = spec.model.n_full_layers / spec.model.n_layers
    return share * tokens + (1 - share) * min(tokens, spec.model.window.tokens)


def serve(
    trace: Trace,
    spec: ReplicaSpec,
    service_time: ServiceTimeModel,
    segment_tokens: int = 512,
    engine: EngineProfile = IDEAL_ENGINE,
) -> Served:
    """Serve a trace on one replica of so many KV blocks, with prefix caching if it has hashes."""
    (stage,) = service_time.stage_times(spec)
    assert spec.limits.kv_blocks is not None
    kv_blocks, block_tokens = spec.limits.kv_blocks * spec.dp, spec.limits.block_tokens
    rows = trace.requests.select("arrival_s", "prompt_tokens", "output_tokens").iter_rows()
    requests = [Request(arrival_s + engine.frontend_s, *lengths) for arrival_s, *lengths in rows]
    if "prefix_hashes" in trace.requests.columns:
        for request, hashes in zip(requests, trace.requests["prefix_hashes"].to_list(), strict=True):
            request.keys = block_keys(hashes or [], request.prompt, block_tokens, segment_tokens)
            request.is_hashed = bool(hashes)
    if any(request.is_hashed for request in requests) and spec.model.window is not None:
        # Blocks behind a window are kept, so that all groups are one.
        kv_blocks //= sum(groups_of(spec))
        as_one = replace(spec, model=replace(spec.model, window=None))
        blocks_of, kept = partial(n_blocks_of, as_one), partial(kept_of, as_one)
    else:
        blocks_of, kept = partial(n_blocks_of, spec), partial(kept_of, spec)
    pool = NaivePool(kv_blocks)
    served = Served(requests)
    to_come, waiting, running = list(requests), [], []
    now = began = 0.0
    while to_come or waiting or running:
        # What is put together ahead knows of nobody who came while the iteration before was under way.
        while to_come and to_come[0].arrival_s <= (began if engine.schedules_ahead else now):
            waiting.append(to_come.pop(0))
        if not (waiting or running):  # nothing was put together
            waiting = [request for request in to_come if request.arrival_s <= now]
            to_come = to_come[len(waiting) :]
        budget, scheduled, preempted = spec.max_batched_tokens, [], False

        position = 0
        while position < len(running) and budget > 0:
            request = running[position]
            new = min(request.prompt + request.generated - request.computed, budget)
            while True:
                extra = blocks_of(request.computed + new) - len(request.blocks)
                if extra <= len(pool.free):
                    break
                victim = running.pop()
                pool.give_back(victim.blocks)
                victim.n_recomputed += victim.computed
                victim.blocks, victim.computed = [], 0
                victim.n_preempted += 1
                waiting.insert(0, victim)
                preempted = True
                if victim is request:
                    break
            if position >= len(running) or running[position] is not request:
                break
            request.blocks += pool.take(extra)
            if request.computed < request.target:  # a block that was refused is not offered again by each decode
                pool.cache(request.blocks, request.keys[: (request.computed + new) // block_tokens])
            scheduled.append((request, new))
            budget -= new
            position += 1

        while not preempted and waiting and budget > 0 and len(running) < spec.max_seqs:
            request = waiting[0]
            whole = request.prompt + request.generated
            hit = pool.find(request.keys, whole, block_tokens)
            new = min(whole - len(hit) * block_tokens, budget)
            is_whole = spec.limits.reserve_whole_prompt or request.is_hashed
            reserved = whole if is_whole else len(hit) * block_tokens + new
            if blocks_of(reserved) - pool.n_held(hit) > len(pool.free):
                break
            waiting.pop(0)
            pool.touch(hit)
            request.computed = len(hit) * block_tokens
            served.cached_tokens += request.computed
            if request.n_preempted == 0:
                request.first_scheduled_s = now
                request.n_cached = request.computed
            request.target = whole
            request.blocks = hit + pool.take(blocks_of(request.computed + new) - len(hit))
            pool.cache(request.blocks, request.keys[: (request.computed + new) // block_tokens])
            running.append(request)
            scheduled.append((request, new))
            budget -= new

        if not scheduled:
            now = max(now, to_come[0].arrival_s)
            continue
        decodes = [r for r, _ in scheduled if r.computed >= r.target]
        chunks = [Chunk(new, r.computed) for r, new in scheduled if r not in decodes]
        context = sum(read_of(spec, r.prompt + r.generated) for r in decodes)
        if chunks:
            took_s = stage.mixed(len(decodes), context, chunks)
        else:
            base, slope = stage.decode(len(decodes))
            took_s = base + slope * context
        began, now = now, now + took_s
        held = sum(kept(r.computed + new) for r, new in scheduled)
        held -= block_tokens * sum(n - 1 for n in pool.n_holders.values() if n > 1)
        served.n_iterations += 1
        served.busy_s += took_s
        served.kv_token_s += held * took_s
        served.peak_kv_blocks = max(served.peak_kv_blocks, kv_blocks - len(pool.free))
        served.prefill_tokens += sum(chunk.new_tokens for chunk in chunks)
        served.decode_tokens += len(decodes)
        for request, new in scheduled:
            request.computed += new
            if request.computed == request.prompt + request.generated:
                request.generated += 1
                request.times.append(now)
                if request.generated == request.output:
                    running.remove(request)
                    pool.give_back(request.blocks)
                    request.blocks = []
    return served


def assert_agrees(result: SimulationResult, served: Served) -> None:
    """All facts that a run on one replica has recorded, of requests and of the replica, are those of its twin."""
    requests, twins = result.requests, served.requests
    assert requests["n_preempted"].to_list() == [twin.n_preempted for twin in twins]
    assert requests["recomputed_tokens"].to_list() == [twin.n_recomputed for twin in twins]
    assert requests["cached_prompt_tokens"].to_list() == [twin.n_cached for twin in twins]
    for name, times in (
        ("first_scheduled_s", [twin.first_scheduled_s for twin in twins]),
        ("first_token_s", [twin.times[0] for twin in twins]),
        ("finish_s", [twin.times[-1] for twin in twins]),
    ):
        assert requests[name].to_list() == pytest.approx(times, rel=1e-9), name
    replica = result.replicas.row(0, named=True)
    for name in ("n_iterations", "peak_kv_blocks", "prefill_tokens", "decode_tokens", "cached_tokens"):
        assert replica[name] == getattr(served, name), name
    for name in ("busy_s", "kv_token_s"):
        assert replica[name] == pytest.approx(getattr(served, name), rel=1e-9), name
    assert replica["n_preemptions"] == sum(twin.n_preempted for twin in twins)
    assert_same_gaps(result, [twin.times for twin in twins])


def assert_same_gaps(result: SimulationResult, times: Iterable[list[float]]) -> None:
    """The inter-token latencies of a run on one replica are those between the tokens of each request."""
    gaps = [[after - before for before, after in pairwise(of_request)] for of_request in times]
    longest = [max(of_request, default=None) for of_request in gaps]
    # Of small differences of large times rounding leaves less than nine digits.
    close = {"rel": 1e-9, "abs": 1e-12 * result.manifest["end_s"]}
    assert [value is None for value in result.requests["itl_max_s"]] == [value is None for value in longest]
    recorded = result.requests["itl_max_s"].drop_nulls().to_list()
    assert recorded == pytest.approx([value for value in longest if value is not None], **close)
    # It may also put a gap at the edge of a bin on the other side of it.
    bins = sorted(bisect_right(EDGES_S, gap_s) for of_request in gaps for gap_s in of_request)
    row = result.replicas.row(0, named=True)
    recorded_bins = [i for i, n in zip(row["itl_bin"], row["itl_count"], strict=True) for _ in range(n)]
    assert len(recorded_bins) == len(bins)
    assert all(abs(i - j) <= 1 for i, j in zip(recorded_bins, bins, strict=True))
