"""A slow twin of the single-stage replica: vLLM V1's rules, token by token and block by block, on plain lists.

Written from the rules alone and sharing nothing with the engine but the service times: no SimPy, no running sums, no
residues, no macro-steps. Quadratic and proud of it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from sim import Chunk, StageTime
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
    n_preempted: int = 0
    n_cached: int = 0  # prompt tokens that it hit when it was first admitted
    target: int = 0  # tokens of its prompt, and of what it had generated when it was last admitted
    times: list[float] = field(default_factory=list)


def serve(
    trace: Trace,
    stage: StageTime,
    *,
    kv_blocks: int,
    max_batched_tokens: int,
    max_seqs: int,
    reserve_whole_prompt: bool,
    block_tokens: int = 16,
    segment_tokens: int = 512,
) -> list[Request]:
    """Serve a trace on one replica, with prefix caching if it has hashes; `times` are those of the tokens."""
    rows = trace.requests.select("arrival_s", "prompt_tokens", "output_tokens").iter_rows()
    requests = [Request(*row) for row in rows]
    if "prefix_hashes" in trace.requests.columns:
        for request, hashes in zip(requests, trace.requests["prefix_hashes"].to_list(), strict=True):
            request.keys = block_keys(hashes or [], request.prompt, block_tokens, segment_tokens)
    pool = NaivePool(kv_blocks)
    to_come, waiting, running = list(requests), [], []
    now = 0.0
    while to_come or waiting or running:
        while to_come and to_come[0].arrival_s <= now:
            waiting.append(to_come.pop(0))
        budget, scheduled, preempted = max_batched_tokens, [], False

        position = 0
        while position < len(running) and budget > 0:
            request = running[position]
            new = min(request.prompt + request.generated - request.computed, budget)
            while True:
                extra = -(-(request.computed + new) // block_tokens) - len(request.blocks)
                if extra <= len(pool.free):
                    break
                victim = running.pop()
                pool.give_back(victim.blocks)
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

        while not preempted and waiting and budget > 0 and len(running) < max_seqs:
            request = waiting[0]
            whole = request.prompt + request.generated
            hit = pool.find(request.keys, whole, block_tokens)
            new = min(whole - len(hit) * block_tokens, budget)
            reserved = whole if reserve_whole_prompt else len(hit) * block_tokens + new
            if -(-reserved // block_tokens) - pool.n_held(hit) > len(pool.free):
                break
            waiting.pop(0)
            pool.touch(hit)
            request.computed = len(hit) * block_tokens
            if request.n_preempted == 0:
                request.n_cached = request.computed
            request.target = whole
            request.blocks = hit + pool.take(-(-(request.computed + new) // block_tokens) - len(hit))
            pool.cache(request.blocks, request.keys[: (request.computed + new) // block_tokens])
            running.append(request)
            scheduled.append((request, new))
            budget -= new

        if not scheduled:
            now = to_come[0].arrival_s
            continue
        decodes = [r for r, _ in scheduled if r.computed >= r.target]
        chunks = [Chunk(new, r.computed) for r, new in scheduled if r not in decodes]
        context = sum(r.prompt + r.generated for r in decodes)
        if chunks:
            now += stage.mixed(len(decodes), context, chunks)
        else:
            base, slope = stage.decode(len(decodes))
            now += base + slope * context
        for request, new in scheduled:
            request.computed += new
            if request.computed == request.prompt + request.generated:
                request.generated += 1
                request.times.append(now)
                if request.generated == request.output:
                    running.remove(request)
                    pool.give_back(request.blocks)
                    request.blocks = []
    return requests
