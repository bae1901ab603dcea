"""The steady states of many replicas with many mixes at once, by the formulas of `planners.capacity.steady_state`.

Arrays have an axis of replicas and one of mixes. The time of a request depends on a mix only through a few means over
its requests (`Mixes.means`) and the chunks that its prompts are computed in. So the derivatives by these say what one
more request of any kind takes, however many kinds there are (`Mixes.nudged`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from planners.capacity.extremes import OVERLAP
from planners.capacity.preemption import caches_preempted, share_overwritten, shortage
from planners.capacity.steady_state import ENDED, TOGETHER, Kind, ReplicaFacts
from sim.kv_cache import BlockRule
from sim.timing.means import stacked

Floats: TypeAlias = npt.NDArray[np.float64]

PROMPT, DECODES, READ, PAIRS, BLOCKS, BLOCK_SQUARES, CHUNKS, CHUNK_BLOCKS, CHUNK_SQUARES = range(9)
"""Means over the requests of a mix: prompt tokens, decodes, tokens that these read, pairs of tokens in prefill
attention, KV blocks of decodes and their squares; chunks of prompts, their KV blocks and the sum of their squared
tokens beyond what follows from the kinds."""

_MOST_STEPS = 100
_NEAR = 1e-15
_FULL = 1 - 1e-9  # a batch as full as that holds the same chunks in each iteration


@dataclass(frozen=True)
class Mixes:
    """What each of several replicas serves, in each of several mixes.

    Attributes:
        shares: Of the kinds; [replica or 1, mix or 1, kind].
        prompt_tokens: Of the kinds; [mix or 1, kind].
        output_tokens: Of the kinds; [mix or 1, kind].
        means: [mean, replica or 1, mix].
    """

    shares: Floats
    prompt_tokens: Floats
    output_tokens: Floats
    means: Floats

    @classmethod
    def of(cls, kinds: Sequence[Kind], shares: Floats, rule: BlockRule) -> Self:
        """One mix of kinds on each replica; shares [replica or 1, kind] that sum to 1."""
        of_kinds = kind_means(kinds, rule)
        means = np.einsum("rk,mk->mr", shares, of_kinds)[:, :, None]
        return cls(shares[:, None, :], of_kinds[None, PROMPT], of_kinds[None, DECODES] + 1, means)

    @classmethod
    def alone(cls, kinds: Sequence[Kind], rule: BlockRule) -> Self:
        """Each kind by itself as a mix, the same on all replicas."""
        of_kinds = kind_means(kinds, rule)
        lengths = of_kinds[PROMPT, :, None], of_kinds[DECODES, :, None] + 1
        return cls(np.ones((1, 1, 1)), *lengths, of_kinds[:, None, :])

    def nudged(self, steps: Floats) -> Self:
        """One mix; then it with one mean after the other larger by a step, then smaller; steps [mean, replica].

        What a request has stays 0 or more.
        """
        by = np.eye(len(steps))[:, None, :] * steps[:, :, None]
        least = np.zeros((len(steps), 1, 1))
        least[CHUNKS:] = -np.inf
        means = np.concatenate([self.means, self.means + by, np.maximum(self.means - by, least)], axis=2)
        return type(self)(self.shares, self.prompt_tokens, self.output_tokens, means)


def kind_means(kinds: Sequence[Kind], rule: BlockRule) -> Floats:
    """What one request of each kind adds to the sums of which `Mixes.means` are the means; [mean, kind]."""
    prompt = np.array([kind.prompt_tokens for kind in kinds], dtype=np.float64)
    output = np.array([kind.output_tokens for kind in kinds], dtype=np.float64)
    decodes = output - 1
    context = decodes * (prompt + output / 2)
    read, n_blocks = context, context / rule.block_tokens + decodes / 2
    if rule.has_window:
        windowed = decodes * _mean_within(prompt, output, rule.window_tokens)
        read = rule.full_share * context + (1 - rule.full_share) * windowed
        within = decodes * _mean_within(prompt, output, rule.block_tokens * (rule.window_blocks - 0.5))
        n_blocks = rule.full_groups * n_blocks + rule.window_groups * (within / rule.block_tokens + decodes / 2)
    grown = rule.full_groups * output / rule.block_tokens
    held = np.divide(n_blocks, decodes, out=np.zeros_like(prompt), where=decodes > 0)
    squares = decodes * (held**2 + grown**2 / 12)
    none = np.zeros_like(prompt)
    return np.array([prompt, decodes, read, prompt**2 / 2, n_blocks, squares, none, none, none])


class Batches(NamedTuple):
    """As `planners.capacity.steady_state.Batch`, [replica, mix] each; or with further axes before these."""

    starts: Floats
    decodes: Floats
    context_tokens: Floats
    new_tokens: Floats
    past_tokens: Floats
    chunks_per_prompt: Floats
    n_chunks: Floats
    dispersion: Floats

    @property
    def running(self) -> Floats:
        """Requests in the batch."""
        return np.asarray(self.decodes + self.starts * self.chunks_per_prompt)


class _Chunks(NamedTuple):
    """Chunks of a prompt, or the blocks that they hold; and by how much less they are with one token more in each."""

    n: Floats
    slope: Floats


class SteadyStates:
    """Replicas that always have work of a mix.

    Args:
        facts: The replicas: with as many stages, the same rule of blocks and the same service-time model.
        mixes: What they serve.

    Attributes:
        batch: What a batch holds.
        n_batches: How many are under way.
        n_servers: How many requests share what limits L: those that run, or 1 if it is the token budget, on which
            prompts wait for each other.
        rps: Requests/s; [replica, mix].
        budget_tokens: Most new tokens in an iteration; [replica, 1].
        max_seqs: Most requests that run at once, if memory holds so many; [replica, 1].
    """

    def __init__(self, facts: Sequence[ReplicaFacts], mixes: Mixes) -> None:
        self._mixes = mixes
        self._rule = facts[0].rule
        self._engine = facts[0].engine
        self._stages = [stacked([one.stages[i] for one in facts]) for i in range(len(facts[0].stages))]
        self.budget_tokens = _column([one.max_batched_tokens for one in facts])
        self.max_seqs = _column([one.max_seqs for one in facts])
        self._kv_blocks = _column([one.kv_blocks for one in facts])
        self._means = mixes.means
        self._together: Floats | float = 1.0
        with np.errstate(all="ignore"):  # on replicas that hold no request of a mix
            self.batch, self.n_batches, self.n_servers = self._most()
            self.rps: Floats = self.n_batches * self.batch.starts / self.rounds_s(self.batch)

    def stages_s(self, batch: Batches) -> Floats:
        """Mean time of an iteration on each stage; [stage, replica, mix]."""
        share, n_chunks = largest_of(np.ones(1), batch.n_chunks, self._most_chunks(batch))
        return np.asarray(share * self._mixed_s(batch, n_chunks) + (1 - share) * self._plain_s(batch))

    def chunks_at(self) -> tuple[Floats, Floats, Floats]:
        """Of prompts of each kind beside the batch: chunks, their KV blocks and squares; [replica, mix, kind]."""
        k, n_blocks, _, _ = self._chunks_of_kinds(self.budget_tokens - self.batch.decodes)
        return k, n_blocks, self._mixes.prompt_tokens**2 / k

    def rounds_s(self, batch: Batches) -> Floats:
        """Mean time in which all batches go round once; each request gets a token in it; [replica, mix]."""
        stages_s, n = self.stages_s(batch), self.n_batches
        if len(self._stages) == 1:
            only: Floats = stages_s[0]
            return only
        from scipy.special import ndtri

        k = batch.chunks_per_prompt
        most = self._most_chunks(batch)
        pairs = 1 + (self._together - 1) * np.clip(most - 2, 0.0, 1.0)
        lump = np.minimum(pairs * batch.dispersion, most)
        of = np.where(n > 2, 1 + (n - 1) * (1 - OVERLAP * (n - 2)), n)
        often, n_lumps = largest_of(of, batch.n_chunks * (1 + (k - 1) / n) / k / lump, most / lump)
        imbalance = 1 + ndtri((n - 0.375) / (n + 0.25)) / np.sqrt(np.maximum(batch.decodes, 1.0))
        slow = batch._replace(decodes=imbalance * batch.decodes, context_tokens=imbalance * batch.context_tokens)
        chunks, slow_chunks = self._mixed_s(batch, n_lumps * lump), self._mixed_s(slow, n_lumps * lump)
        plain, slow_plain = self._plain_s(batch), self._plain_s(slow)
        with_chunks_s = np.maximum(slow_chunks.sum(axis=0), (chunks + (n - 1) * plain).max(axis=0))
        without_s = np.maximum(slow_plain.sum(axis=0), n * plain.max(axis=0))
        return np.asarray(np.maximum(often * with_chunks_s + (1 - often) * without_s, n * stages_s.max(axis=0)))

    def prompts_s(self, batch: Batches, prompt_tokens: Floats) -> Floats:
        """Time of a prompt beside a batch, once it has begun: its chunks follow each other through the stages."""
        new_tokens = np.minimum(prompt_tokens, self.budget_tokens - batch.decodes)
        chunk = batch._replace(new_tokens=new_tokens, past_tokens=(prompt_tokens - new_tokens) / 2)
        n_chunks = np.clip(1 + batch.n_chunks, 1.0, self._most_chunks(batch))  # others have theirs in the iteration
        stages_s = self._mixed_s(chunk, n_chunks)
        return np.asarray(stages_s.sum(axis=0) + (prompt_tokens / new_tokens - 1) * stages_s.max(axis=0))

    def _mixed_s(self, batch: Batches, n_chunks: Floats) -> Floats:
        """Mean times of iterations with so many chunks; [stage, replica, mix]."""
        held = batch.decodes, batch.context_tokens, batch.new_tokens, batch.past_tokens
        return np.array([stage.mixed_s(*held, n_chunks) for stage in self._stages])

    def _plain_s(self, batch: Batches) -> Floats:
        """Mean times of iterations without chunks; [stage, replica, mix]."""
        return np.array([stage.decode_s(batch.decodes, batch.context_tokens) for stage in self._stages])

    def _most_chunks(self, batch: Batches) -> Floats:
        fit = (self.budget_tokens - batch.decodes) / batch.new_tokens
        return np.asarray(np.maximum(1.0, np.minimum(fit, batch.running)))

    def _at(self, starts: Floats, again: Floats) -> Batches:
        prompt = self._means[PROMPT]
        decodes = starts * self._means[DECODES]
        left = self.budget_tokens - decodes
        chunks_per_prompt = self._chunks(left)[0].n
        new_tokens = prompt / chunks_per_prompt
        squares = (self._mixes.shares * self._mixes.prompt_tokens**2 / self._chunks_of_kinds(left)[0]).sum(axis=2)
        dispersion = (squares + self._means[CHUNK_SQUARES]) / (prompt * new_tokens)
        past_tokens = self._means[PAIRS] / prompt - new_tokens / 2
        n_chunks = starts * (prompt + again) / new_tokens
        read = starts * self._means[READ]
        return Batches(starts, decodes, read, new_tokens, past_tokens, chunks_per_prompt, n_chunks, dispersion)

    def _chunks(self, left: Floats) -> tuple[_Chunks, _Chunks]:
        """Chunks per prompt, and the blocks that they hold one after the other, if an iteration has so many left."""
        k, n_blocks, slope, blocks_slope = (
            (self._mixes.shares * of_kinds).sum(axis=2) for of_kinds in self._chunks_of_kinds(left)
        )
        return _Chunks(k + self._means[CHUNKS], slope), _Chunks(n_blocks + self._means[CHUNK_BLOCKS], blocks_slope)

    def _chunks_of_kinds(self, left: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        rule, prompt = self._rule, self._mixes.prompt_tokens
        k = prompt / left[:, :, None]
        slope = np.where(k > 1, -k / left[:, :, None], 0.0)
        k = np.maximum(k, 1.0)
        n_blocks = (k + 1) * prompt / (2 * rule.block_tokens) + k / 2
        by_k = prompt / (2 * rule.block_tokens) + 0.5
        if rule.has_window:
            most = k * rule.window_blocks
            windowed, windowed_by_k = np.minimum(n_blocks, most), np.where(n_blocks < most, by_k, rule.window_blocks)
            n_blocks = rule.full_groups * n_blocks + rule.window_groups * windowed
            by_k = rule.full_groups * by_k + rule.window_groups * windowed_by_k
        return k, n_blocks, slope, by_k * slope

    def _most(self) -> tuple[Batches, Floats, Floats]:
        """As `planners.capacity.steady_state.SteadyState`."""
        pp, means, budget = len(self._stages), self._means, self.budget_tokens
        most = budget / (means[PROMPT] + means[DECODES])
        most = np.broadcast_to(most, np.broadcast_shapes(most.shape, means[PROMPT].shape)).copy()
        slots = self._largest(means[DECODES], lambda left: self._chunks(left)[0], self.max_seqs / pp, most)
        held = means[BLOCKS] + self._chunks(budget - slots * means[DECODES])[1].n
        excess = pp * slots * held - self._kv_blocks
        variance = np.where(means[DECODES] > 0, means[BLOCK_SQUARES] - means[BLOCKS] ** 2 / means[DECODES], 0.0)
        scarce, missing = shortage(excess, pp * slots * variance)
        starts, again = slots, np.zeros_like(slots)
        if (scarce > 0).any():
            n_blocks = np.where(scarce > 0, self._kv_blocks + excess - missing, np.inf)
            starts = self._largest(means[BLOCKS], lambda left: self._chunks(left)[1], n_blocks / pp, slots)
            again = scarce * self._computed_again(starts)
            self._together = 1 + scarce * (TOGETHER - 1)
            most = budget / (means[PROMPT] + again + means[DECODES])
            starts = np.minimum(starts, most)
        batch = self._at(starts, again)
        running = batch.running
        n_batches = np.clip(pp * running, 1.0, pp)
        few = running < 1
        if few.any():
            alone = self._at(1 / (means[DECODES] + batch.chunks_per_prompt), again)
            batch = Batches(*(np.where(few, one, many) for one, many in zip(alone, batch, strict=True)))
        n_servers = np.where(few, n_batches, np.where(starts == most, 1.0, np.maximum(1.0, pp * running)))
        return batch, np.where(few, n_batches, float(pp)), n_servers

    def _computed_again(self, starts: Floats) -> Floats:
        """As `planners.capacity.steady_state.SteadyState`."""
        decodes, prompt_tokens = self._means[DECODES], self._means[PROMPT]
        lost = (decodes + 1) * np.exp(-ENDED * starts)
        if not caches_preempted(self._engine, self._rule):
            return np.asarray(lost)
        ahead = self._engine.schedules_ahead and len(self._stages) == 1
        return np.asarray(lost * share_overwritten(starts, decodes, prompt_tokens, schedules_ahead=ahead))

    def _largest(self, fixed: Floats, chunks: Callable[[Floats], _Chunks], limit: Floats, most: Floats) -> Floats:
        """The largest x up to `most` at which x (fixed + chunks) is within a limit; Newton's method within bounds."""
        decodes, budget = self._means[DECODES], self.budget_tokens
        low, high, x = np.zeros_like(most), most, most
        for _ in range(_MOST_STEPS):
            found = chunks(budget - x * decodes)
            over = x * (fixed + found.n) - limit
            low, high = np.where(over <= 0, x, low), np.where(over > 0, x, high)
            step = x - over / (fixed + found.n - x * decodes * found.slope)
            step = np.where((step >= low) & (step <= high), step, (low + high) / 2)
            if (np.abs(step - x) <= _NEAR * most).all():
                break
            x = step
        return x


def largest_of(n: Floats, mean: Floats, most: Floats) -> tuple[Floats, Floats]:
    """As `planners.capacity.extremes.largest_of`, of arrays."""
    p = mean / most
    is_full = ~(p < _FULL)
    p = np.where(is_full, 0.5, p)
    low = np.floor(most)
    weight = most - low
    some, expected = _largest_whole(n, p, low)
    more_often, more = _largest_whole(n, p, low + 1)
    some = np.where(is_full, 1.0, (1 - weight) * some + weight * more_often)
    expected = np.where(is_full, mean, (1 - weight) * expected + weight * more)
    return some, np.maximum(1.0, expected / some)


def _largest_whole(n: Floats, p: Floats, trials: Floats) -> tuple[Floats, Floats]:
    """As `planners.capacity.extremes._largest_whole`, of arrays."""
    some, mean = -np.expm1(n * trials * np.log1p(-p)), trials * p
    if (n == 1).all():
        return some, mean
    n, trials = np.broadcast_to(n, mean.shape), np.broadcast_to(trials, mean.shape)
    from scipy.special import gammaln

    spread = 8 * np.sqrt(mean * (1 - p)) + 8
    first, last = np.maximum(0, np.floor(mean - spread)), np.minimum(trials, np.ceil(mean + spread))
    order = np.argsort(first - last, axis=None)  # those with most terms come first
    n, p, trials, first, last = (array.ravel()[order] for array in (n, p, trials, first, last))
    log_choose = gammaln(trials + 1) - gammaln(first + 1) - gammaln(trials - first + 1)
    term = np.exp(log_choose + first * np.log(p) + (trials - first) * np.log1p(-p))
    odds = p / (1 - p)
    cumulative, expected = np.zeros_like(term), first.copy()
    n_terms = last - first
    n_with = len(n_terms) - np.searchsorted(n_terms[::-1], np.arange(n_terms.max(initial=0)), side="right")
    for j, m in enumerate(n_with.tolist()):
        cumulative[:m] = np.minimum(1.0, cumulative[:m] + term[:m])
        expected[:m] += 1 - _power(cumulative[:m], n[:m])
        k = first[:m] + j
        term[:m] *= (trials[:m] - k) / (k + 1) * odds[:m]
    back = np.empty_like(expected)
    back[order] = expected
    return some, back.reshape(mean.shape)


def _power(base: Floats, exponent: Floats) -> Floats:
    n = float(exponent[0])
    if not n.is_integer() or not (exponent == n).all():
        return np.asarray(base**exponent)
    power = base
    for _ in range(int(n) - 1):
        power = power * base
    return power


def _mean_within(prompt: Floats, output: Floats, most: float) -> Floats:
    """As `planners.capacity.steady_state.mean_within`."""
    inside = np.clip(most - prompt, 0.0, output)
    return np.asarray((inside * (prompt + inside / 2) + (output - inside) * most) / output)


def _column(values: Sequence[float]) -> Floats:
    return np.array(values, dtype=np.float64)[:, None]
