"""How many requests/s of one kind a replica serves when it always has work: the h[c,w] of the planning problem.

A closed form of the steady state of continuous batching with chunked prefill, for requests that all have P prompt and
O output tokens. Let L be the requests that one batch starts per iteration. A request computes its prompt, which gives
its first token, and decodes O - 1 times, so an iteration of that batch holds on average

    D = L (O - 1) decodes with D (P + O / 2) tokens of context, and Q = L (P + R) new tokens of prompts.

R are tokens computed again. When KV blocks are the limit, requests are admitted as soon as the blocks of their prompts
are free. The running ones then grow into blocks of those that end in the same iteration; if nobody ends, which has the
probability exp(-L), they grow by preempting the last admitted, of whose prompt as many tokens are lost as they take. So
R = O exp(-L) there, and 0 elsewhere.

A prompt is computed in chunks of S = min(P, max_batched_tokens - D) tokens, K = max(1, P / S) of them per prompt. L is
the largest value that keeps to the limits (n is the number of batches under way, pp at most):

    D + Q <= max_batched_tokens                          per batch
    n (D + L K) <= max_seqs                              requests running
    n (D blocks(P + O / 2) + L K blocks((P + S) / 2)) <= KV blocks,   blocks(t) = t / block_tokens + 1/2

with half a block for rounding up. An iteration holds Q / S chunks on average. Their number is taken as binomial, with
as many trials as chunks fit beside the decodes, or as requests run; without any it is an iteration of pure decode. A
batch goes through the stages in sum_s t_s, and no batch overtakes another, so that n batches go round once in the time
of the slowest of them, the one with the most decodes and chunks. A request stays in its batch, so sizes wander. The
largest of n batches has D decodes after an even split, and H_n D on average after a random one, with H_n = 1 + 1/2 +
... + 1/n (the longest of n pieces of a broken stick). The simulator lies between the two, the nearer to a random split
the more lengths vary; the mean of both is taken. The chunks of one prompt follow each other through the pipeline, so
that of K chunks only 1 + (K - 1) / n make a round slow. A round takes n times the mean time of the busiest stage at
least. The capacity is n L over the mean time of a round.

With an SLO, L is also small enough that a round takes no longer than the TPOT goal; a replica on which a prompt alone
takes longer than the TTFT goal has no capacity. Queues are not part of it.

Against the simulator: with one stage, for full replicas and lengths that vary by 30 %, it is within 6 %. With two or
four stages, for requests like those of the Azure 2023 conversation trace that come at 1.15 times the capacity, the mean
absolute error is 4 and 8 %, the largest overestimate 12 and 21 %. Types that share a replica are the planner's
business: it adds up the time they take, as arXiv:2502.00722 does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sim.deployment import ReplicaSpec
from sim.kv_cache import kv_blocks, max_context_tokens
from sim.metrics import SLO
from sim.service_time import Chunk, ServiceTimeModel, StageTime

_BISECTIONS = 60


class _Batch(NamedTuple):
    """One batch in the steady state, per iteration: L, D, S, K, and chunks Q / S."""

    starts: float
    decodes: float
    chunk_tokens: float
    chunks_per_prompt: float
    n_chunks: float


def capacity_rps(
    spec: ReplicaSpec,
    service_time: ServiceTimeModel,
    prompt_tokens: float,
    output_tokens: float,
    slo: SLO | None = None,
) -> float:
    """Requests/s that a replica sustains if all have these lengths; see the module for formula and assumptions.

    Args:
        spec: The replica.
        service_time: Gives the times of its iterations.
        prompt_tokens: Prompt of a request, 1 or more.
        output_tokens: Output of a request, 1 or more.
        slo: What a request should meet: its TPOT on average, and its TTFT if it does not have to wait.

    Returns:
        The rate; 0 if such a request does not fit on the replica, or never meets the SLO there.

    Raises:
        DeploymentError: The service-time model says nothing about this replica.

    64 requests at once, of 101 iterations with 0.1 s each:

    >>> from sim import ConstantServiceTime, ReplicaLimits, ReplicaSpec, gpu_type, model_spec
    >>> limits = ReplicaLimits(max_seqs=64, kv_blocks=100_000)
    >>> spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("L40"), limits=limits)
    >>> round(capacity_rps(spec, ConstantServiceTime(0.1), prompt_tokens=1, output_tokens=101), 3)
    6.337
    """
    if prompt_tokens + output_tokens > max_context_tokens(spec):
        return 0.0
    stages = service_time.stage_times(spec)
    batch, n_batches = _steady_state(spec, prompt_tokens, output_tokens)
    if slo is not None and slo.ttft_s is not None and _prompt_s(stages, batch, prompt_tokens) > slo.ttft_s:
        return 0.0

    def round_s(batch: _Batch) -> float:
        return _round_s(spec, stages, batch, n_batches, prompt_tokens, output_tokens)

    full_rps = n_batches * batch.starts / round_s(batch)
    if slo is None or slo.tpot_s is None or output_tokens <= 1 or round_s(batch) <= slo.tpot_s:
        return full_rps
    goal_s = slo.tpot_s

    def batch_at(starts: float) -> _Batch:
        return _batch_at(spec, starts, prompt_tokens, output_tokens)

    starts = _largest(lambda starts: round_s(batch_at(starts)) <= goal_s, batch.starts)
    if starts * (output_tokens - 1 + batch.chunks_per_prompt) < 1:
        return 0.0  # a request that is alone in its batch is too slow
    return min(full_rps, n_batches * starts / round_s(batch_at(starts)))


def _prompt_s(stages: Sequence[StageTime], batch: _Batch, prompt_tokens: float) -> float:
    """Time of a prompt on an idle replica: its chunks follow each other through the stages."""
    chunk = _mean_chunk(batch, prompt_tokens)
    times = [stage.mixed(0, 0, [chunk]) for stage in stages]
    return sum(times) + (batch.chunks_per_prompt - 1) * max(times)


def _mean_chunk(batch: _Batch, prompt_tokens: float) -> Chunk:
    return Chunk(round(batch.chunk_tokens), round((prompt_tokens - batch.chunk_tokens) / 2))


def _round_s(
    spec: ReplicaSpec,
    stages: Sequence[StageTime],
    batch: _Batch,
    n_batches: float,
    prompt_tokens: float,
    output_tokens: float,
) -> float:
    """Mean time in which all batches go round once; each request gets a token in it."""
    context = batch.decodes * (prompt_tokens + output_tokens / 2)
    chunk = _mean_chunk(batch, prompt_tokens)
    running = batch.decodes + batch.starts * batch.chunks_per_prompt
    most_chunks = max(1.0, min((spec.max_batched_tokens - batch.decodes) / prompt_tokens, running))
    in_a_row = (1 + (batch.chunks_per_prompt - 1) / n_batches) / batch.chunks_per_prompt
    slowest = _largest_of(n_batches, batch.n_chunks * in_a_row, most_chunks)
    anyone = _largest_of(1.0, batch.n_chunks, most_chunks)
    imbalance = (1 + sum(1 / k for k in range(1, round(n_batches) + 1))) / 2
    round_s = busiest_s = 0.0
    for stage in stages:
        round_s += _mean_time(stage, imbalance * batch.decodes, imbalance * context, chunk, *slowest)
        busiest_s = max(busiest_s, _mean_time(stage, batch.decodes, context, chunk, *anyone))
    return max(round_s, n_batches * busiest_s)


def _batch_at(
    spec: ReplicaSpec, starts: float, prompt_tokens: float, output_tokens: float, again: float = 0.0
) -> _Batch:
    """A batch that starts so many requests per iteration, and computes so many tokens of each again."""
    decodes = starts * (output_tokens - 1)
    chunk_tokens = min(prompt_tokens, spec.max_batched_tokens - decodes)
    n_chunks = starts * (prompt_tokens + again) / chunk_tokens
    return _Batch(starts, decodes, chunk_tokens, max(1.0, prompt_tokens / chunk_tokens), n_chunks)


def _steady_state(spec: ReplicaSpec, prompt_tokens: float, output_tokens: float) -> tuple[_Batch, float]:
    """A batch at the largest rate of starts that the limits allow, and how many such batches are under way."""
    block_tokens, n_blocks = spec.limits.block_tokens, kv_blocks(spec)
    decode_blocks = (prompt_tokens + output_tokens / 2) / block_tokens + 0.5

    def within_budget(again: float) -> float:
        return spec.max_batched_tokens / (prompt_tokens + again + output_tokens - 1)

    def batch_at(starts: float, again: float = 0.0) -> _Batch:
        return _batch_at(spec, starts, prompt_tokens, output_tokens, again)

    def has_slots(starts: float) -> bool:
        batch = batch_at(starts)
        return spec.pp * (batch.decodes + starts * batch.chunks_per_prompt) <= spec.max_seqs

    def has_blocks(starts: float) -> bool:
        batch = batch_at(starts)
        prompt_blocks = (prompt_tokens + batch.chunk_tokens) / 2 / block_tokens + 0.5
        prompts = starts * batch.chunks_per_prompt
        return spec.pp * (batch.decodes * decode_blocks + prompts * prompt_blocks) <= n_blocks

    starts = _largest(has_slots, within_budget(again=0.0))
    again = 0.0
    if not has_blocks(starts):
        starts = _largest(has_blocks, starts)
        again = output_tokens * math.exp(-starts)
        starts = min(starts, within_budget(again))
    batch = batch_at(starts, again)
    running = batch.decodes + starts * batch.chunks_per_prompt
    if running >= 1:
        return batch, spec.pp
    # Less than one request per batch: fewer batches are under way, with one request each.
    return batch_at(1 / (output_tokens - 1 + batch.chunks_per_prompt)), max(1.0, spec.pp * running)


def _largest(fits: Callable[[float], bool], most: float) -> float:
    """The largest number up to `most` that fits, if all smaller ones do."""
    if fits(most):
        return most
    low, high = 0.0, most
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _largest_of(n: float, mean: float, most: float) -> tuple[float, float]:
    """The largest of n binomial numbers of 0 to `most`: how often it is not 0, and its mean where it is not.

    >>> some, mean = _largest_of(2, mean=0.5, most=1)  # two coins, 1 if heads
    >>> round(some, 9), round(mean, 9)
    (0.75, 1.0)
    """
    if mean >= most * (1 - 1e-9):
        return 1.0, max(1.0, mean)
    trials = math.ceil(most)
    p = mean / trials
    spread = 8 * math.sqrt(mean * (1 - p)) + 8
    first, last = max(0, math.floor(mean - spread)), min(trials, math.ceil(mean + spread))
    log_choose = math.lgamma(trials + 1) - math.lgamma(first + 1) - math.lgamma(trials - first + 1)
    term = math.exp(log_choose + first * math.log(p) + (trials - first) * math.log1p(-p))
    cumulative, expected = 0.0, float(first)
    for k in range(first, last):
        cumulative = min(1.0, cumulative + term)
        expected += 1 - cumulative**n
        term *= (trials - k) / (k + 1) * p / (1 - p)
    some = -math.expm1(n * trials * math.log1p(-p))
    return some, max(1.0, expected / some)


def _mean_time(stage: StageTime, decodes: float, context: float, chunk: Chunk, share: float, n_chunks: float) -> float:
    """Mean time of iterations on a stage of which a share holds so many chunks, the others none."""

    def of(n_decode: int, k: int) -> float:
        tokens = context * n_decode / decodes if decodes > 0 else 0.0
        if k > 0:
            return stage.mixed(n_decode, round(tokens), [chunk] * k)
        base, slope = stage.decode(n_decode)
        return base + slope * tokens

    mixed = _between(lambda k: _between(lambda n_decode: of(n_decode, k), decodes), n_chunks)
    pure = _between(lambda n_decode: of(n_decode, 0), decodes) if share < 1 else 0.0
    return share * mixed + (1 - share) * pure


def _between(function: Callable[[int], float], x: float) -> float:
    """A function of whole numbers, linear in between."""
    low = math.floor(x)
    weight = x - low
    return function(low) if weight == 0 else (1 - weight) * function(low) + weight * function(low + 1)
