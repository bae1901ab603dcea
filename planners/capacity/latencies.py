"""Latencies of requests of kinds on loaded replicas; `planners.capacity.loaded` has the account."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from planners.capacity.loaded import LoadedReplicas, Waits
from planners.capacity.random_time import Jumps, RandomTime, Smooth
from planners.capacity.rows import take

if TYPE_CHECKING:
    from planners.capacity.rows import Places
    from planners.capacity.steady_states import Floats

Metric = Literal["ttft", "tpot", "e2e"]
"""Time to the first token, per token after it, and to the last one."""

_NEVER = 1e-6
_NOBODY = 1e-14
_WAIT_EDGES = np.linspace(0.0, 8.0, 25)  # of an exponential distribution with mean 1
_WAITS = (_WAIT_EDGES[1:] + _WAIT_EDGES[:-1]) / 2
_WAIT_SHARES = -np.diff(np.exp(-_WAIT_EDGES))


class Latencies:
    """Latencies of requests of one kind each on one loaded replica each; arrays have a row for each request.

    Args:
        replicas: The replicas, at their rates.
        rows: Of `replicas`; the replica of each request.
        kinds: The kind of each, as its position in the mix of the replica.
    """

    def __init__(self, replicas: LoadedReplicas, rows: Places, kinds: Places) -> None:
        self._on = on = take(replicas, rows)
        curves, self._n = on.curves, np.arange(len(kinds))
        of_kinds = curves.prompts_s, on.prompts_s, curves.chunks, curves.output_tokens
        self._prompt_s, self._mean_prompt_s, self._chunks, outputs = (of_kind[self._n, kinds] for of_kind in of_kinds)
        self._decodes = np.maximum(outputs - 1, 0.0)

    def mean_s(self, metric: Metric) -> Floats:
        """Means of a metric; `tpot` of a request with one token of output is 0."""
        if metric == "tpot":
            return np.asarray(self._others.mean_s / np.where(self._decodes > 0, self._decodes, 1.0))
        waits_s = sum((wait.share * wait.mean_s for wait in self._waits("ttft")), np.zeros(len(self._n)))
        return np.asarray(waits_s + sum(share * time.mean_s for share, time in self._times(metric)))

    def late_share(self, metric: Metric, limits_s: Floats) -> Floats:
        """Shares of the requests of which a metric is above a limit; `tpot` of one with one token of output is 0."""
        waits = self._waits(metric)
        if metric == "tpot":
            is_never = (self._decodes == 0) | ((limits_s >= self._on.curves.longest_s) & (waits[0].share == 0))
            late = self._later(self._others, np.where(is_never, 0.0, 1.0), waits, limits_s * self._decodes)
            return np.minimum(late, 1.0)
        return sum(
            (np.minimum(self._later(time, share, waits, limits_s), share) for share, time in self._times(metric)),
            np.zeros(len(self._n)),
        )

    def by_moments(self, metric: Metric) -> list[tuple[Floats, Smooth]]:
        """Distributions of a metric, with their shares, by three moments each: for who asks about many limits.

        `tpot` is the time of all tokens after the first.
        """
        waits = self._waits(metric)
        shares, means_s = (np.array(values) for values in zip(*waits, strict=True))
        first, second, third = (math.factorial(k) * (shares * means_s**k).sum(axis=0) for k in (1, 2, 3))
        wait = Smooth(first, second - first**2, third - 3 * first * second + 2 * first**3)
        times = [(np.ones(len(self._n)), self._others)] if metric == "tpot" else self._times(metric)
        return [(share, time.by_moments().plus(wait)) for share, time in times]

    def _later(self, time: RandomTime, share: Floats, waits: list[Waits], limits_s: Floats) -> Floats:
        """Shares that are later than limits after their waits, of requests that are a share of all."""
        at_once = np.maximum(0.0, 1 - sum(wait.share for wait in waits))
        shares = [(share * at_once)[:, None]]
        shares += [np.where(one.share > _NEVER, share * one.share, 0.0)[:, None] * _WAIT_SHARES for one in waits]
        left_s = [limits_s[:, None], *(limits_s[:, None] - one.mean_s[:, None] * _WAITS for one in waits)]
        weights = np.concatenate(shares, axis=1)
        asked = weights > _NOBODY
        of = np.nonzero(asked)[0]
        chances = time.longer_than(of, np.concatenate(left_s, axis=1)[asked])
        return np.asarray(np.bincount(of, chances * weights[asked], len(self._n)), np.float64)

    def _times(self, metric: Metric) -> list[tuple[Floats, RandomTime]]:
        """Times to the first or last token without the wait, of those who find an idle replica and of others."""
        idle = self._on.crowds.idle
        firsts = [(idle, self._first_alone), (1 - idle, self._first)]
        if metric == "ttft":
            return firsts
        return [(share, first.plus(self._others)) for share, first in firsts]

    def _waits(self, metric: Metric) -> list[Waits]:
        on, curves = self._on, self._on.curves
        if metric == "ttft":
            return [on.for_place, on.for_budget]
        # Some are preempted while they decode.
        stalled = np.where(curves.is_memory_bound, on.crowds.full, 0.0)
        stall = Waits(stalled, 1 / curves.rps + self._prompt_s)
        return [stall] if metric == "tpot" else [on.for_place, on.for_budget, stall]

    @cached_property
    def _first_alone(self) -> RandomTime:
        """Time to the first token on an idle replica."""
        curves = self._on.curves
        passes = 1 + (self._chunks - 1) / curves.n_batches
        mean_s = curves.frontend_s + curves.single_s * passes + self._prompt_s
        return RandomTime(Smooth(mean_s, np.zeros_like(mean_s), np.zeros_like(mean_s)))

    @cached_property
    def _first(self) -> RandomTime:
        """Time to the first token of a request that is admitted at once."""
        on, curves, crowds, busy = self._on, self._on.curves, self._on.crowds, self._on.busy
        p, ahead, chunks = on.prompts_s, curves.ahead, self._chunks
        bare_s = crowds.bare_s / curves.n_batches
        own_s = np.where(curves.n_batches == 1, crowds.bare_s, crowds.round_s)
        own_s = own_s + self._prompt_s + (chunks - 1) * on.iteration_s
        met_s, met_s2 = (0.5 + busy) * on.met_s, (1 / 3 + busy + busy**2) * on.met_s2
        crowded_s2 = crowds.spread * crowds.running * (curves.growth_s / (1 - busy) / curves.n_batches) ** 2
        variance = met_s2 - met_s**2 + on.rps * on.met_s * curves.mean(p**2) + ahead * on.variance_s2

        waited_s = (0.5 + ahead) * bare_s
        # The rest of an iteration with the last chunk of a prompt goes to those who came during the chunks before.
        chunked_s = np.minimum(chunks - 1, 1.0) * (bare_s + self._prompt_s)
        jumped_s = np.maximum(met_s + ahead * on.iteration_s + busy * chunked_s - waited_s, 0.0)
        first, second = curves.mean(p), curves.mean(p**2)
        number = jumped_s / np.where(first > 0, first, np.inf) / np.maximum(1 - crowds.idle, _NEVER)
        own_s2 = bare_s**2 / 12
        more = np.maximum(0.0, variance - own_s2 - number * second) / np.where(number > 0, number * first**2, np.inf)
        smooth_s2 = own_s2 + (1.5 + ahead) ** 2 * crowded_s2
        smooth = Smooth(curves.frontend_s + waited_s + own_s, smooth_s2, np.zeros_like(smooth_s2))
        return RandomTime(smooth, (Jumps(p, number[:, None] * curves.shares, 1 + more),))

    @cached_property
    def _others(self) -> RandomTime:
        """Time from the first token to the last one."""
        on, curves, crowds, busy = self._on, self._on.curves, self._on.crowds, self._on.busy
        p, x, lives = on.prompts_s, curves.growths_s, curves.lives
        there = np.where(self._decodes > 0, 1.0, 0.0)  # 0 where there are no other tokens
        rounds = np.where(self._decodes > 0, self._decodes, 1.0)
        own_s = crowds.bare_s / curves.n_batches + self._mean_prompt_s + busy * on.met_s
        own_s = own_s + on.for_budget.share * on.for_budget.mean_s
        # Rounds in which those come who have their prompts meanwhile.
        before = np.maximum(0.0, own_s / crowds.round_s - 1)
        mean_s = rounds * crowds.round_s + before * crowds.round_s * busy / (1 - busy)
        mean_s = np.minimum(mean_s, rounds * curves.longest_s)

        loaded = crowds.elasticity * crowds.freedom
        relaxation = curves.mean(lives**2) / (2 * curves.life) / (1 - loaded)
        settled = 1 + np.expm1(-rounds / relaxation) * relaxation / rounds
        gain = (1 + settled * loaded / (1 - loaded)) / (1 - busy)
        whole = rounds[:, None]
        inside = np.minimum(lives, whole)
        sizes_s = p + crowds.freedom[:, None] * x * inside * (1 - inside / (2 * whole))
        per_round = (on.rps * crowds.round_s)[:, None] * curves.shares
        first, second = curves.mean(sizes_s), curves.mean(sizes_s**2)
        more = (gain**2 - 1) * second / np.where(first > 0, first**2, np.inf)
        jumps = Jumps(sizes_s, (there * (rounds + before))[:, None] * per_round, 1 + more)

        # Those who run already: they are there for the rest of their lives.
        shared = np.where(lives <= whole, lives**3 / 3, whole**3 / 3 + whole**2 * (lives - whole))
        variance = np.einsum("rk,rk->r", per_round, x**2 * shared) * crowds.spread / (1 - busy) ** 2
        skew_s = (1 + loaded) / (1 - loaded) * curves.growth_s * np.minimum(rounds, curves.life) / (1 - busy)
        smooth = Smooth(mean_s - jumps.mean_s, variance, variance * skew_s).times(there)
        return RandomTime(smooth, (jumps,))
