"""Latencies of a replica that serves a mix at less than its full rate.

Requests come independently of each other, r of them per second. A round takes r0(N) while N run and no prompt is
computed, and the prompts of those who come take the share b of the time, so that it is r0(N) / (1 - b) on average.
`planners.capacity.load_curve` has both.

How many run. Each round brings a request nearer to its end, so that with S rounds per request they come and go like the
customers of a processor that they share: P(N) / P(N - 1) = r S round(N) / N, up to the most that slots or KV blocks
allow, whatever the distribution of S (Cohen, Acta Informatica 12, 1979). Beyond it the others wait. Where KV blocks are
the limit, requests hold more or fewer of them; N and its limit are then counted in units of variance over mean of what
they hold (Hayward's approximation: Fredericks, Bell Syst. Tech. J. 59, 1980).

The wait to be admitted is exponential, with mean (1 + Cs^2) / 2 / (mu (1 - rho)), for those who find all places taken;
mu is the full capacity, rho the utilisation and Cs the coefficient of variation of S. Where an iteration cannot hold
all prompts, they wait for each other too: with tokens that come during a full iteration of mean a and variance v, and
room for B of them, the queue decays as exp(-t x) with x = 2 (B - a) / v, and somebody waits with probability
exp(-0.583 x sqrt(v)) (Siegmund's correction of a random walk for its overshoot, Adv. Appl. Prob. 11, 1979).

The first token comes after what is left of the iteration that is under way, one more if the engine schedules ahead, and
the iteration that the request is in, with the prompts of all who came during the one that it met. Who looks in at
random meets an iteration of mean E[X^2] / E[X].

The other tokens take a round each. Others make them longer: those who came before, while they still run, and those who
come meanwhile or while the first token was computed, by their prompts and then by running. These are jumps, as many as
requests come. Each makes the time longer in which more come, so that their variance grows by 1 / (1 - b)^2 for short
answers, as that of a busy period does, and by 1 / (1 - e)^2 for long ones, where e is the share of the time that is due
to the load, prompts and running requests together.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from planners.capacity.crowd import Crowd
from planners.capacity.load_curve import LoadCurve
from planners.capacity.random_time import Jumps, RandomTime, Smooth

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from planners.capacity.steady_state import SteadyState

    Floats = npt.NDArray[np.float64]

Metric = Literal["ttft", "tpot", "e2e"]
"""Time to the first token, per token after it, and to the last one."""

_LEAST_RATE = 1e-6  # of the full one
_NEVER = 1e-6
_MOST_USE = 0.999
_MOST_BUSY = 0.95
_LEAST_SCALE = 0.3  # of a prompt beside others, relative to one beside none
_OVERSHOOT = 0.583
_WAIT_EDGES = np.linspace(0.0, 8.0, 25)  # of an exponential distribution with mean 1
_WAITS = (_WAIT_EDGES[1:] + _WAIT_EDGES[:-1]) / 2
_WAIT_SHARES = -np.diff(np.exp(-_WAIT_EDGES))


class LoadedReplica:
    """A replica that serves a mix at less than its full rate.

    Args:
        state: The replica at full load, with the mix.
        rps: Requests/s of the whole mix; at most `state.rps`, at which requests wait without end.
        curve: Of the same state, for who asks at many rates.

    Attributes:
        utilisation: The rate as a share of the full one.
    """

    def __init__(self, state: SteadyState, rps: float, curve: LoadCurve | None = None) -> None:
        self.utilisation = rps / state.rps
        self._state = state
        self._rps = rps = max(rps, _LEAST_RATE * state.rps)
        self._curve = curve = LoadCurve(state) if curve is None else curve
        self._crowd = crowd = Crowd(curve, rps)

        plain_s = float(curve.shares @ curve.prompts_s)
        per_prompt_s = max(crowd.round_s - crowd.bare_s, 0.0) / (rps * crowd.round_s)
        scale = min(max(per_prompt_s / plain_s, _LEAST_SCALE), 1.0) if plain_s > 0 else 1.0
        self._prompts_s = p = scale * curve.prompts_s
        self._busy = busy = min(rps * float(curve.shares @ p), _MOST_BUSY)

        # An iteration, and the one that a request meets.
        second, third = (rps * float(curve.shares @ p**k) for k in (2, 3))
        self._iteration_s = iteration_s = crowd.round_s / state.n_batches
        self._variance_s2 = variance = iteration_s * second / (1 - busy**2)
        third_s3 = (iteration_s * third + 3 * busy * second * variance) / (1 - busy**3)
        self._met_s = iteration_s + variance / iteration_s
        self._met_s2 = iteration_s**2 + 3 * variance + third_s3 / iteration_s
        self._waits = self._all_waits()

    def mean_s(self, kind: int, metric: Metric) -> float:
        """Mean of a metric.

        Args:
            kind: Position in `state.kinds`.
            metric: Which one; `tpot` of a request with one token of output is 0.
        """
        if metric == "tpot":
            rounds = self._state.kinds[kind].output_tokens - 1
            return self._others(kind).mean_s / rounds if rounds > 0 else 0.0
        wait_s = math.fsum(chance * mean_s for chance, mean_s in self._waits)
        return wait_s + math.fsum(share * time.mean_s for share, time in self._times(kind, metric))

    def late_share(self, kind: int, metric: Metric, limit_s: float) -> float:
        """Share of the requests of a kind of which a metric is above a limit.

        Args:
            kind: Position in `state.kinds`.
            metric: Which one; `tpot` of a request with one token of output is 0.
            limit_s: The limit.
        """
        if metric == "tpot":
            rounds = self._state.kinds[kind].output_tokens - 1
            stall = self._stall(kind)
            if rounds <= 0 or (limit_s >= self._curve.longest_s and stall[0] == 0):
                return 0.0
            return self._later(self._others(kind), [stall], limit_s * rounds)
        waits = [*self._waits, self._stall(kind)] if metric == "e2e" else self._waits
        return math.fsum(share * self._later(time, waits, limit_s) for share, time in self._times(kind, metric))

    def by_moments(self, kind: int, metric: Metric) -> list[tuple[float, Smooth]]:
        """Distributions of a metric, with their shares, by three moments each: for who asks about many limits.

        Args:
            kind: Position in `state.kinds`.
            metric: Which one; `tpot` as the time of all tokens after the first.
        """
        if metric == "tpot":
            times = [(1.0, self._others(kind).by_moments())]
            waits = [self._stall(kind)]
        else:
            times = [(share, time.by_moments()) for share, time in self._times(kind, metric)]
            waits = [*self._waits, self._stall(kind)] if metric == "e2e" else self._waits
        first, second, third = (math.factorial(k) * math.fsum(p * m**k for p, m in waits) for k in (1, 2, 3))
        wait = Smooth(first, second - first**2, third - 3 * first * second + 2 * first**3)
        return [(share, time.plus(wait)) for share, time in times]

    def _later(self, time: RandomTime, waits: Sequence[tuple[float, float]], limit_s: float) -> float:
        at_once = max(0.0, 1 - math.fsum(chance for chance, _ in waits))
        late = at_once * float(time.longer_than(np.array(limit_s)))
        for chance, mean_s in waits:
            if chance > _NEVER:
                late += chance * float(time.longer_than(limit_s - mean_s * _WAITS) @ _WAIT_SHARES)
        return min(late, 1.0)

    def _times(self, kind: int, metric: Metric) -> list[tuple[float, RandomTime]]:
        """Times to the first or last token without the wait, of those who find an idle replica and of others."""
        firsts = [(self._crowd.idle, self._first_alone(kind)), (1 - self._crowd.idle, self._first(kind))]
        if metric == "ttft":
            return firsts
        others = self._others(kind)
        return [(share, first.plus(others)) for share, first in firsts]

    # Waits ------------------------------------------------------------------------------------------------------------

    def _all_waits(self) -> list[tuple[float, float]]:
        """Exponential waits: how many have to, and how long they do on average."""
        curve, state = self._curve, self._state
        idle = max(1 - self.utilisation, 1 - _MOST_USE)
        squared_cv = float(curve.shares @ (curve.lives / curve.life - 1) ** 2)
        for_place = self._crowd.full, (1 + squared_cv) / 2 / (state.rps * idle)
        return [for_place, self._wait_for_budget()]

    def _stall(self, kind: int) -> tuple[float, float]:
        """How many are preempted while they decode, and how long they are then."""
        curve, state = self._curve, self._state
        if not curve.is_memory_bound:
            return 0.0, 0.0
        return self._crowd.full, 1 / state.rps + float(curve.prompts_s[kind])

    def _wait_for_budget(self) -> tuple[float, float]:
        curve, state = self._curve, self._state
        tokens = np.array([kind.prompt_tokens for kind in state.kinds])
        mean_tokens = float(curve.shares @ tokens)
        budget_tokens = state.budget_tokens - self._crowd.running / state.n_batches
        if state.n_servers == 1:
            token_s = 1 / (state.rps * mean_tokens)
        else:
            plain_s = self._crowd.bare_s / state.n_batches
            token_s = plain_s / budget_tokens + float(curve.shares @ self._prompts_s) / mean_tokens
        use = min(self._rps * mean_tokens * token_s, _MOST_USE)
        variance = use * budget_tokens * float(curve.shares @ tokens**2) / mean_tokens
        decay = 2 * (1 - use) * budget_tokens / variance
        return math.exp(-_OVERSHOOT * decay * math.sqrt(variance)), token_s / decay

    # Tokens -----------------------------------------------------------------------------------------------------------

    def _first_alone(self, kind: int) -> RandomTime:
        """Time to the first token on an idle replica."""
        curve, state = self._curve, self._state
        begin_s = float(curve.bare_s(np.ones(1))[0])
        passes = 1 + (float(curve.chunks[kind]) - 1) / state.n_batches
        return RandomTime(Smooth(state.frontend_s + begin_s * passes + float(curve.prompts_s[kind]), 0.0, 0.0))

    def _first(self, kind: int) -> RandomTime:
        """Time to the first token of a request that is admitted at once."""
        curve, state, crowd, busy = self._curve, self._state, self._crowd, self._busy
        p, ahead = self._prompts_s, float(state.schedules_ahead)
        bare_s = crowd.bare_s / state.n_batches
        own_s = crowd.bare_s if state.n_batches == 1 else crowd.round_s
        own_s += float(curve.prompts_s[kind]) + (float(curve.chunks[kind]) - 1) * self._iteration_s
        met_s, met_s2 = (0.5 + busy) * self._met_s, (1 / 3 + busy + busy**2) * self._met_s2
        crowded_s2 = crowd.spread * crowd.running * (curve.growth_s / (1 - busy) / state.n_batches) ** 2
        variance = met_s2 - met_s**2 + self._rps * self._met_s * float(curve.shares @ p**2) + ahead * self._variance_s2

        waited_s = (0.5 + ahead) * bare_s
        # The rest of an iteration with the last chunk of a prompt goes to those who came during the chunks before.
        chunked_s = min(float(curve.chunks[kind]) - 1, 1.0) * (bare_s + float(curve.prompts_s[kind]))
        jumped_s = max(met_s + ahead * self._iteration_s + busy * chunked_s - waited_s, 0.0)
        first, second = (float(curve.shares @ p**k) for k in (1, 2))
        number = jumped_s / first / max(1 - crowd.idle, _NEVER) if first > 0 else 0.0
        more = max(0.0, (variance - bare_s**2 / 12 - number * second) / (number * first**2)) if number > 0 else 0.0
        smooth = Smooth(state.frontend_s + waited_s + own_s, bare_s**2 / 12 + (1.5 + ahead) ** 2 * crowded_s2, 0.0)
        return RandomTime(smooth, (Jumps(p, number * curve.shares, 1 + more),))

    def _others(self, kind: int) -> RandomTime:
        """Time from the first token to the last one."""
        rounds = self._state.kinds[kind].output_tokens - 1
        if rounds <= 0:
            return RandomTime(Smooth(0.0, 0.0, 0.0))
        curve, crowd, busy = self._curve, self._crowd, self._busy
        p, x, lives = self._prompts_s, curve.growths_s, curve.lives
        own_s = crowd.bare_s / self._state.n_batches + float(p[kind]) + busy * self._met_s
        own_s += math.prod(self._waits[-1])
        before = max(0.0, own_s / crowd.round_s - 1)  # rounds in which those come who have their prompts meanwhile
        mean_s = min(rounds * crowd.round_s + before * crowd.round_s * busy / (1 - busy), rounds * curve.longest_s)

        loaded = crowd.elasticity * crowd.freedom
        relaxation = float(curve.shares @ lives**2) / (2 * curve.life) / (1 - loaded)
        settled = 1 + math.expm1(-rounds / relaxation) * relaxation / rounds
        gain = (1 + settled * loaded / (1 - loaded)) / (1 - busy)
        inside = np.minimum(lives, rounds)
        sizes_s = p + crowd.freedom * x * inside * (1 - inside / (2 * rounds))
        per_round = self._rps * crowd.round_s * curve.shares
        numbers = per_round * (rounds + before)
        first, second = (float(numbers @ sizes_s**k) / float(numbers.sum()) for k in (1, 2))
        more = (gain**2 - 1) * second / first**2 if first > 0 else 0.0
        jumps = Jumps(sizes_s, numbers, 1 + more)

        # Those who run already: they are there for the rest of their lives.
        shared = np.where(lives <= rounds, lives**3 / 3, rounds**3 / 3 + rounds**2 * (lives - rounds))
        variance = float(per_round @ (x**2 * shared)) * crowd.spread / (1 - busy) ** 2
        skew_s = (1 + loaded) / (1 - loaded) * curve.growth_s * min(rounds, curve.life) / (1 - busy)
        return RandomTime(Smooth(mean_s - jumps.mean_s, variance, variance * skew_s), (jumps,))
