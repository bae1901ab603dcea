"""A closed form of the steady state of a replica that always has work.

The replica has continuous batching with chunked prefill, and serves requests of one kind or of a mix of kinds. Kind w
has the share s of the requests, P prompt and O output tokens; E is the mean over the requests, E[x] = sum_w s x.
Let L be the requests that one batch starts per iteration. A request computes its prompt, which gives its first token,
and decodes O - 1 times, so an iteration of that batch holds on average

    D = L E[O - 1] decodes with L E[(O - 1)(P + O / 2)] tokens of context, and Q = L (E[P] + R) new tokens of prompts.

R are tokens computed again. When KV blocks are the limit, requests are admitted as soon as the blocks of their prompts
are free. The running ones then grow into blocks of those that end in the same iteration; if nobody has ended, which has
the probability exp(-4/3 L), they grow by preempting the last admitted, of whose prompt as many tokens are lost as they
take. So E[O] exp(-4/3 L) tokens are lost there, and R is the part of them that is not found again in the cache of
prefixes (`planners.capacity.preemption`).

A prompt is computed in chunks of S = min(P, max_batched_tokens - D) tokens, K = max(1, P / S) of them per prompt. L is
the largest value that keeps to the limits (n is the number of batches under way, pp at most):

    D + Q <= max_batched_tokens                          per batch
    n L E[O - 1 + K] <= max_seqs                         requests running
    n L E[(O - 1) blocks(P + O / 2) + K blocks((P + S) / 2)] <= KV blocks,   blocks(t) = t / block_tokens + 1/2

with half a block for rounding up. Where some layers have a sliding window, they read of each context no more than the
window, and hold of each sequence no more blocks than it touches (`sim.kv_cache.BlockRule`). An iteration holds Q / S
chunks on average. Their number is taken as binomial, with as many trials as chunks fit beside the decodes, or as
requests run; without any it is an iteration of pure decode. All chunks are taken to be alike: S = E[P] / E[K] tokens
that attend to E[P^2 / 2] / E[P] earlier ones, as the real ones do together. A batch goes through the stages in sum_s
t_s, and no batch overtakes another, so that n batches go round once in the time of the slowest of them, the one with
the most decodes and chunks; or, if that is longer, in the time that the slowest stage needs for all of them. A request
stays in its batch, so that sizes wander like Poisson numbers. The largest of n batches has D + z_n sqrt(D) decodes,
where z_n is the mean of the largest of n normal numbers, by Blom's approximation (Statistical Estimates and Transformed
Beta-Variables, 1958). Slow batches that overlap in part hold up each other: of n batches only 1 + (n - 1) (1 - 0.05 (n
- 2)) count, as simulations say. The chunks of one prompt follow each other through the pipeline, so that of K chunks
only 1 + (K - 1) / n make a round slow. Chunks of different sizes vary more than as many of one size: for the slowest
batch they count as fewer and larger ones, E[P^2 / K] E[K] / E[P]^2 to a lump, with which mean and variance of the
tokens in an iteration are right. Where KV blocks are the limit, requests are admitted in pairs as it were, since one
that ends often leaves room for more than one, and lumps come in pairs if more than two whole prompts fit into an
iteration. A round takes n times the mean time of the busiest stage at least. The capacity is n L over the mean time of
a round.

How many KV blocks those hold that all else lets run wanders with their contexts. It is taken as normal, of n L E[O - 1
+ K] contexts, independent of each other, each of a request at a random age. So blocks are short for a part of the time
even if they suffice on average, which is the part that preemption and pairs count with; and those that are held are the
mean of what is needed or there, whichever is less. Numbers that are whole in an iteration are interpolated, so that all
of it is continuous in the mix.

Against the simulator, 102 random pipelines for Llama-3-70B with two to eight stages of one and two GPU types, each with
a mix of one to nine kinds of which lengths vary by 30 %, were off by 2.7 % on average and 9.2 % at most, and 48
replicas of one stage by 1.2 and 5.0 %. Of replicas of plans for 17 scenarios of `paper`, each with its own mix, 31
pipelines were off by 1.8 and 5.2 %, and 45 of one stage by 0.9 and 2.4 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

from planners.capacity.extremes import alone_of, largest_normal, largest_of
from planners.capacity.preemption import caches_preempted, share_overwritten, shortage
from sim.catalog.engines import IDEAL_ENGINE, EngineProfile
from sim.deployment import ReplicaSpec
from sim.kv_cache import BlockRule, block_rule, kv_blocks, max_context_tokens
from sim.timing.means import mean_times
from sim.timing.overheads import EngineServiceTime
from sim.timing.service_time import ServiceTimeModel, StageTime

ENDED = 4 / 3
"""Iterations in which there is room to grow when a request ends, as simulations say: it leaves more than is taken."""
TOGETHER = 2.0
"""Requests that are admitted at a time where KV blocks are short."""


class Kind(NamedTuple):
    """Requests of one kind in a mix: their share, their mean prompt and output in tokens, and the largest of them.

    `largest_tokens` counts prompt and output together; 0 if all are alike.
    """

    share: float
    prompt_tokens: float
    output_tokens: float
    largest_tokens: float = 0.0

    @property
    def most_tokens(self) -> float:
        """Tokens that a replica must hold to serve any of them."""
        return max(self.prompt_tokens + self.output_tokens, self.largest_tokens)


class ReplicaFacts(NamedTuple):
    """What the steady state depends on of a replica: the times of its stages, its limits, and how it schedules."""

    stages: tuple[StageTime, ...]
    max_batched_tokens: int
    max_seqs: int
    max_context_tokens: int
    kv_blocks: int
    rule: BlockRule
    engine: EngineProfile

    @classmethod
    def of(cls, spec: ReplicaSpec, service_time: ServiceTimeModel) -> Self:
        """The facts of a replica.

        Raises:
            DeploymentError: The service-time model says nothing about it.
        """
        return cls(
            service_time.stage_times(spec),
            spec.max_batched_tokens,
            spec.max_seqs,
            max_context_tokens(spec),
            kv_blocks(spec),
            block_rule(spec),
            service_time.engine if isinstance(service_time, EngineServiceTime) else IDEAL_ENGINE,
        )

    def holds(self, kinds: Sequence[Kind]) -> bool:
        """Whether all requests of each kind fit on the replica."""
        return all(kind.most_tokens <= self.max_context_tokens for kind in kinds)

    def part_of(self, kinds: Sequence[Kind]) -> list[Kind]:
        """The mix without what does not fit on the replica; the shares of the rest sum to 1 again, if there is any."""
        fitting = [kind if self.holds([kind]) else kind._replace(share=0.0) for kind in kinds]
        total = math.fsum(kind.share for kind in fitting)
        return [kind._replace(share=kind.share / total) for kind in fitting] if total > 0 else fitting


class MeanChunk(NamedTuple):
    """What prompt chunks are like on average: tokens computed in them, and tokens of their sequences before them."""

    new_tokens: float
    past_tokens: float


class Batch(NamedTuple):
    """One batch in the steady state, per iteration.

    Attributes:
        starts: Requests that it starts, L.
        decodes: Decodes, D.
        context_tokens: Tokens that they read.
        chunk: A prompt chunk.
        chunks_per_prompt: K.
        n_chunks: Chunks, Q / S.
        dispersion: Mean square of the tokens of a chunk, over the square of their mean.
    """

    starts: float
    decodes: float
    context_tokens: float
    chunk: MeanChunk
    chunks_per_prompt: float
    n_chunks: float
    dispersion: float

    @property
    def running(self) -> float:
        """Requests in the batch."""
        return self.decodes + self.starts * self.chunks_per_prompt


class SteadyState:
    """A replica that always has work of a mix.

    Args:
        facts: The replica.
        kinds: The requests that it serves; shares above 0 that sum to 1.

    Attributes:
        kinds: The requests that it serves.
        batch: What a batch holds.
        n_batches: How many are under way.
        n_servers: How many requests share what limits L: those that run, or 1 if it is the token budget, on which
            prompts wait for each other.
        rps: Requests/s.
    """

    def __init__(self, facts: ReplicaFacts, kinds: Sequence[Kind]) -> None:
        self.kinds = kinds
        self._stages = tuple(mean_times(stage) for stage in facts.stages)
        self._schedules_ahead = facts.engine.schedules_ahead and len(facts.stages) == 1
        self._budget_tokens = facts.max_batched_tokens
        self._rule = facts.rule
        self._longest_prompt_tokens = max(kind.prompt_tokens for kind in kinds)
        # Means over the requests.
        self._prompt_tokens = math.fsum(s * p for s, p, *_ in kinds)
        self._decodes = math.fsum(s * (o - 1) for s, _, o, _ in kinds)
        self._context_tokens = math.fsum(s * (o - 1) * (p + o / 2) for s, p, o, _ in kinds)
        self._read_tokens = self._context_tokens
        if facts.rule.has_window:
            window_tokens, share = facts.rule.window_tokens, facts.rule.full_share
            windowed = math.fsum(s * (o - 1) * mean_within(p, o, window_tokens) for s, p, o, _ in kinds)
            self._read_tokens = share * self._context_tokens + (1 - share) * windowed
        self._pairs = math.fsum(s * p * p / 2 for s, p, *_ in kinds)
        self._together = 1.0
        self.batch, self.n_batches, self.n_servers = self._most(facts)
        self.rps = self.n_batches * self.batch.starts / self.round_s(self.batch)

    def at(self, starts: float, again: float = 0.0) -> Batch:
        """A batch that starts so many requests per iteration, and computes so many tokens of each again."""
        chunks_per_prompt, _, squares = self._chunks(starts)
        chunk_tokens = self._prompt_tokens / chunks_per_prompt
        past_tokens = self._pairs / self._prompt_tokens - chunk_tokens / 2
        return Batch(
            starts,
            starts * self._decodes,
            starts * self._read_tokens,
            MeanChunk(chunk_tokens, past_tokens),
            chunks_per_prompt,
            starts * (self._prompt_tokens + again) / chunk_tokens,
            squares / (self._prompt_tokens * chunk_tokens),
        )

    def round_s(self, batch: Batch) -> float:
        """Mean time in which all batches go round once; each request gets a token in it."""
        n = self.n_batches
        if len(self._stages) == 1:
            return self.stages_s(batch)[0]
        most = self._most_chunks(batch)
        pairs = 1 + (self._together - 1) * min(1.0, max(0.0, most - 2))
        lump = min(pairs * batch.dispersion, most)
        in_a_row = (1 + (batch.chunks_per_prompt - 1) / n) / batch.chunks_per_prompt
        often, n_lumps = largest_of(alone_of(n), batch.n_chunks * in_a_row / lump, most / lump)
        imbalance = 1 + largest_normal(n) / math.sqrt(max(batch.decodes, 1.0))
        slow = batch._replace(decodes=imbalance * batch.decodes, context_tokens=imbalance * batch.context_tokens)
        chunks, slow_chunks = self._mixed_s(batch, n_lumps * lump), self._mixed_s(slow, n_lumps * lump)
        plain, slow_plain = self._plain_s(batch), self._plain_s(slow)
        # Either the slowest batch holds up the others, or the busiest stage.
        with_chunks_s = max(sum(slow_chunks), max(map(lambda one, other: one + (n - 1) * other, chunks, plain)))
        without_s = max(sum(slow_plain), n * max(plain))
        round_s = often * with_chunks_s + (1 - often) * without_s
        return max(round_s, n * max(self.stages_s(batch)))

    def stages_s(self, batch: Batch) -> list[float]:
        """Mean time of an iteration on each stage."""
        share, n_chunks = largest_of(1.0, batch.n_chunks, self._most_chunks(batch))
        mixed, plain = self._mixed_s(batch, n_chunks), self._plain_s(batch)
        return [share * one + (1 - share) * other for one, other in zip(mixed, plain, strict=True)]

    def _mixed_s(self, batch: Batch, n_chunks: float) -> list[float]:
        """Mean time on each stage of an iteration with so many chunks."""
        held = batch.decodes, batch.context_tokens, *batch.chunk
        return [float(stage.mixed_s(*held, n_chunks)) for stage in self._stages]

    def _plain_s(self, batch: Batch) -> list[float]:
        """Mean time on each stage of an iteration without chunks."""
        return [float(stage.decode_s(batch.decodes, batch.context_tokens)) for stage in self._stages]

    def _most_chunks(self, batch: Batch) -> float:
        fit = (self._budget_tokens - batch.decodes) / batch.chunk.new_tokens
        return max(1.0, min(fit, batch.running))

    def _chunks(self, starts: float) -> tuple[float, float, float]:
        """Chunks per prompt, the blocks that they hold, one after the other, and the sum of their squared tokens."""
        left = self._budget_tokens - starts * self._decodes
        if left >= self._longest_prompt_tokens and not self._rule.has_window:  # the same, at once
            return 1.0, self._blocks(self._prompt_tokens, 1.0), 2 * self._pairs
        n_chunks = n_blocks = squares = 0.0
        for share, prompt_tokens, *_ in self.kinds:
            k = max(1.0, prompt_tokens / left)
            n_chunks += share * k
            n_blocks += self._blocks(share * k * (prompt_tokens + prompt_tokens / k) / 2, share * k)
            squares += share * prompt_tokens**2 / k
        return n_chunks, n_blocks, squares

    def _blocks(self, tokens: float, n: float) -> float:
        """Blocks of so many tokens of n sequences together, each with half a block for rounding up."""
        rule = self._rule
        n_blocks = tokens / rule.block_tokens + n / 2
        if not rule.has_window:
            return n_blocks
        return rule.full_groups * n_blocks + rule.window_groups * min(n_blocks, n * rule.window_blocks)

    def _computed_again(self, starts: float, facts: ReplicaFacts) -> float:
        """Tokens of a request that are computed again where KV blocks are short."""
        lost = (self._decodes + 1) * math.exp(-ENDED * starts)
        if not caches_preempted(facts.engine, facts.rule):
            return lost
        ahead = self._schedules_ahead
        return lost * float(share_overwritten(starts, self._decodes, self._prompt_tokens, schedules_ahead=ahead))

    def _blocks_of(self, kind: Kind) -> float:
        """Blocks that a request of a kind holds while it decodes, on average."""
        _, prompt_tokens, output_tokens, _ = kind
        rule = self._rule
        full = (prompt_tokens + output_tokens / 2) / rule.block_tokens + 0.5
        if not rule.has_window:
            return full
        within = mean_within(prompt_tokens, output_tokens, rule.block_tokens * (rule.window_blocks - 0.5))
        return rule.full_groups * full + rule.window_groups * (within / rule.block_tokens + 0.5)

    def _decode_blocks(self) -> tuple[float, float]:
        """Blocks of the decodes that one request started per iteration makes, and their variance."""
        n_blocks = squares = 0.0
        for kind in self.kinds:
            n = kind.share * (kind.output_tokens - 1)
            held, grown = self._blocks_of(kind), self._rule.full_groups * kind.output_tokens / self._rule.block_tokens
            n_blocks += n * held
            squares += n * (held**2 + grown**2 / 12)
        return n_blocks, squares - n_blocks**2 / self._decodes if self._decodes > 0 else 0.0

    def _most(self, facts: ReplicaFacts) -> tuple[Batch, float, float]:
        """A batch at the largest rate of starts that the limits allow, how many are under way, and who is served."""
        pp = len(facts.stages)
        decode_blocks, variance = self._decode_blocks()

        def within_budget(again: float = 0.0) -> float:
            return self._budget_tokens / (self._prompt_tokens + again + self._decodes)

        def slots_over(starts: float) -> float:
            return pp * starts * (self._decodes + self._chunks(starts)[0]) - facts.max_seqs

        def blocks_over(starts: float) -> float:
            return pp * starts * (decode_blocks + self._chunks(starts)[1]) - facts.kv_blocks

        most = within_budget()
        starts = _largest(slots_over, most)
        again = 0.0
        excess = blocks_over(starts)
        scarce, missing = map(float, shortage(excess, pp * starts * variance))
        if scarce > 0:
            starts = _largest(lambda x: blocks_over(x) - (excess - missing), starts)
            again = scarce * self._computed_again(starts, facts)
            self._together = 1 + scarce * (TOGETHER - 1)
            most = within_budget(again)
            starts = min(starts, most)
        batch = self.at(starts, again)
        if batch.running >= 1:
            return batch, pp, 1.0 if starts == most else max(1.0, pp * batch.running)
        # Less than one request per batch: fewer batches are under way, with one request each.
        n_batches = max(1.0, pp * batch.running)
        return self.at(1 / (self._decodes + batch.chunks_per_prompt), again), n_batches, n_batches


def mean_within(prompt_tokens: float, output_tokens: float, most: float) -> float:
    """Mean over the decodes of a request of its context, where more than `most` tokens count as `most`.

    >>> mean_within(100, 100, 1000), mean_within(100, 100, 100), mean_within(100, 100, 150)
    (150.0, 100.0, 137.5)
    """
    inside = min(max(most - prompt_tokens, 0.0), output_tokens)
    total = inside * (prompt_tokens + inside / 2) + (output_tokens - inside) * most
    return total / output_tokens


def _largest(over: Callable[[float], float], most: float) -> float:
    """The largest number up to `most` at which an increasing function is not above 0.

    >>> round(_largest(lambda x: x * x - 2, 8.0), 9), _largest(lambda x: x - 2, 1.0)
    (1.414213562, 1.0)
    """
    if over(most) <= 0:
        return most
    from scipy.optimize import brentq

    return float(brentq(over, 0.0, most, xtol=1e-12 * most))
