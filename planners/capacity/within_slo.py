"""The largest rate at which a replica meets an SLO.

L requests are started per iteration, fewer than in the steady state of a replica that always has work: as many as leave
the share of requests asked for within the goals, if they arrive independently of each other.

A request gets a token per round, so a round must not take longer than the TPOT goal, for that share of the time. How
many requests run at a time varies. With a round of a + b N for N requests they come and go like the customers of a
processor that they share, and N has the negative binomial distribution with variance N / (1 - e), where
e = b N / (a + b N) is the elasticity of the round.

The first token takes the front end's time, half the time between two iterations of different batches, that of a whole
one more if the engine schedules ahead, the iterations of its chunks beside an average batch, and the time W that the
request waits to be admitted. That is the wait at m servers, by Sakasegawa's approximation (Ann. Inst. Stat. Math. 29,
1977): with the utilisation rho and the full capacity mu,

    P(W > t) = rho^(sqrt(2 (m + 1)) - 1) exp(-t / w),   w = (1 + Cs^2) / 2 / (mu (1 - rho)).

m is the number of requests that run at full load, if slots or KV blocks are its limit, and 1 if it is the token budget,
on which prompts wait for each other; Cs is the coefficient of variation of the iterations, or tokens, per request. The
share of requests that are late for the TTFT or the end-to-end goal must not exceed 1 - attainment either.

In the simulator, with one stage, TTFT goals of 2 and 5 s are met by the share asked for, to 1 %; TPOT goals of 60 and
100 ms by 83 % and more of requests of one kind, where 99 % are asked for. (At the rate where a round takes as long as
the goal on average, it is about half.) Short requests in a mix fare worse, since few tokens are no average; so do
pipelines, whose first tokens vary more.
"""

from __future__ import annotations

import math

import numpy as np

from planners.capacity.steady_state import SteadyState
from sim.slo import SLO

_N_STEPS = 6  # loads at which times are computed; they are linear in between
_N_HALVINGS = 13  # to 0.01 % of the rate without goals
_STEP = 0.05  # relative, for the elasticity of a round
_MOST_ATTAINMENT = 1 - 1e-6


def rps_within(slo: SLO, state: SteadyState) -> float:
    """The largest rate at which the goals are met; 0 if they never are.

    Args:
        slo: The goals; an end-to-end goal is for requests of the mean lengths of their kind.
        state: The replica at full load.
    """
    has_deadline = slo.ttft_s is not None or slo.e2e_s is not None
    if not has_deadline and (slo.tpot_s is None or not state.has_decodes or state.round_s(state.batch) <= slo.tpot_s):
        return state.rps
    if slo.tpot_s is not None and state.has_decodes and state.round_s(state.alone()) > slo.tpot_s:
        return 0.0
    loads = _Loads(slo, state)
    best = loads.rps_at(loads.full / 2**_N_HALVINGS)
    if best is None:
        return 0.0
    low, high = 0.0, loads.full
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2
        rps = loads.rps_at(middle)
        if rps is None:
            high = middle
        else:
            best, low = rps, middle
    return min(best, state.rps)


class _Loads:
    """Times of a replica at loads from none to full."""

    def __init__(self, slo: SLO, state: SteadyState) -> None:
        self._slo, self._state = slo, state
        self.full = state.batch.starts
        alone = state.alone()
        steps = np.linspace(alone.starts, self.full, _N_STEPS)
        batches = [state.at(0.0), alone, *map(state.at, steps[1:-1].tolist()), state.batch]
        self._starts = np.array([0.0, *steps])
        self._running = np.array([state.n_batches * batch.running for batch in batches])
        # A request that decodes is there itself: below one per batch they get rarer, not faster.
        rounds_s = [state.round_s(batch) for batch in batches[1:]]
        self._rounds_s = np.array([rounds_s[0], *rounds_s])
        busy_s = [min(1.0, batch.running) * round_s for batch, round_s in zip(batches, self._rounds_s, strict=True)]
        waited_rounds = 1.5 if state.schedules_ahead else 0.5
        self._firsts_s = [
            state.frontend_s
            + np.array(
                [
                    waited_rounds * round_s / state.n_batches + state.prompt_s(batch, kind.prompt_tokens, round_s)
                    for batch, round_s in zip(batches, busy_s, strict=True)
                ]
            )
            for kind in state.kinds
        ]
        n_servers = state.n_servers
        work = [(kind.share, kind.output_tokens + (n_servers == 1) * kind.prompt_tokens) for kind in state.kinds]
        mean = math.fsum(share * x for share, x in work)
        self._squared_cv = math.fsum(share * (x / mean - 1) ** 2 for share, x in work)

    def rps_at(self, starts: float) -> float | None:
        """The rate at which a batch starts so many requests per iteration; None if the goals are not met then."""
        slo, state = self._slo, self._state
        round_s = self._round_s(starts)
        more = starts * (1 + _STEP)
        growth = math.log(self._round_s(more) / round_s) / math.log(more / starts)
        n_running = float(np.interp(starts, self._starts, self._running))
        crowded_s = self._round_s(starts * max(1.0, most_running(n_running, growth, slo.attainment) / n_running))
        if slo.tpot_s is not None and state.has_decodes and crowded_s > slo.tpot_s:
            return None
        rps = state.n_batches * starts / round_s
        return rps if self._late_share(starts, crowded_s, rps / state.rps) <= 1 - slo.attainment else None

    def _round_s(self, starts: float) -> float:
        return float(np.interp(starts, self._starts, self._rounds_s))

    def _late_share(self, starts: float, crowded_s: float, utilisation: float) -> float:
        """Share of requests whose first or last token is late."""
        slo, state = self._slo, self._state
        if slo.ttft_s is None and slo.e2e_s is None:
            return 0.0
        if utilisation >= 1:
            return 1.0
        some_wait = utilisation ** (math.sqrt(2 * (state.n_servers + 1)) - 1)
        mean_wait_s = (1 + self._squared_cv) / 2 / (state.rps * (1 - utilisation))
        late = 0.0
        for kind, firsts_s in zip(state.kinds, self._firsts_s, strict=True):
            first_s = float(np.interp(starts, self._starts, firsts_s))
            spare_s = math.inf if slo.ttft_s is None else slo.ttft_s - first_s
            if slo.e2e_s is not None:
                spare_s = min(spare_s, slo.e2e_s - first_s - (kind.output_tokens - 1) * crowded_s)
            late += kind.share * (1.0 if spare_s < 0 else some_wait * math.exp(-spare_s / mean_wait_s))
        return late


def most_running(n_running: float, growth: float, share: float) -> float:
    """How many requests run at most for a share of the time, if so many do on average.

    >>> round(most_running(20.0, growth=0.3, share=0.9), 1)
    26.5
    """
    from scipy.special import nbdtrik  # quantile of the negative binomial distribution

    growth = min(max(growth, 0.01), 0.99)
    return float(nbdtrik(min(share, _MOST_ATTAINMENT), n_running * (1 - growth) / growth, 1 - growth))
