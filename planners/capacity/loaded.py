"""Latencies of a replica that serves a mix at less than its full rate.

L requests are started per iteration, fewer than in the steady state of a replica that always has work. They come
independently of each other. How many run at a time varies. With a round of a + b N for N requests they come and go like
the customers of a processor that they share, and N has the negative binomial distribution with variance N / (1 - e),
where e = b N / (a + b N) is the elasticity of the round.

The first token takes the front end's time, half the time between two iterations of different batches, that of a whole
one more if the engine schedules ahead, the iterations of its chunks beside an average batch, and the time W that the
request waits to be admitted. That is the wait at m servers, by Sakasegawa's approximation (Ann. Inst. Stat. Math. 29,
1977): with the utilisation rho and the full capacity mu,

    P(W > t) = rho^(sqrt(2 (m + 1)) - 1) exp(-t / w),   w = (1 + Cs^2) / 2 / (mu (1 - rho)).

m is the number of requests that run at full load, if slots or KV blocks are its limit, and 1 if it is the token budget,
on which prompts wait for each other; Cs is the coefficient of variation of the iterations, or tokens, per request.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from planners.capacity.steady_state import SteadyState

    Floats = npt.NDArray[np.float64]

Metric = Literal["ttft", "tpot", "e2e"]
"""Time to the first token, per token after it, and to the last one."""

_N_STEPS = 6  # loads at which times are computed; they are linear in between
_N_CROWDS = 400  # equally likely numbers of requests that run
_STEP = 0.05  # relative, for the elasticity of a round


class LoadCurve:
    """Times of a replica at loads from none to full.

    Args:
        state: The replica at full load.
    """

    def __init__(self, state: SteadyState) -> None:
        self.state = state
        alone = state.alone()
        steps = np.linspace(alone.starts, state.batch.starts, _N_STEPS)
        batches = [state.at(0.0), alone, *map(state.at, steps[1:-1].tolist()), state.batch]
        self._starts = np.array([0.0, *steps])
        self._running = np.array([state.n_batches * batch.running for batch in batches])
        # A request that decodes is there itself: below one per batch they get rarer, not faster.
        rounds_s = [state.round_s(batch) for batch in batches[1:]]
        self._rounds_s = np.array([rounds_s[0], *rounds_s])
        self._rates = state.n_batches * self._starts / self._rounds_s
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
        self.squared_cv = math.fsum(share * (x / mean - 1) ** 2 for share, x in work)

    def starts(self, rps: float) -> float:
        """Requests started per iteration at a rate."""
        return float(np.interp(rps, self._rates, self._starts))

    def running(self, starts: float) -> float:
        """Requests that run on average."""
        return float(np.interp(starts, self._starts, self._running))

    def round_s(self, starts: float) -> float:
        """Time of a round."""
        return float(np.interp(starts, self._starts, self._rounds_s))

    def first_s(self, starts: float, kind: int) -> float:
        """Time to the first token of a request that is admitted at once."""
        return float(np.interp(starts, self._starts, self._firsts_s[kind]))


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
        self._state, self._curve = state, curve or LoadCurve(state)
        self.utilisation = rps / state.rps
        self._starts = self._curve.starts(rps)
        idle = max(0.0, 1 - self.utilisation)
        self._some_wait = self.utilisation ** (math.sqrt(2 * (state.n_servers + 1)) - 1)
        self._wait_s = (1 + self._curve.squared_cv) / 2 / (state.rps * idle) if idle > 0 else math.inf
        self._rounds_s = self._crowded_rounds_s()

    def mean_s(self, kind: int, metric: Metric) -> float:
        """Mean of a metric.

        Args:
            kind: Position in `state.kinds`.
            metric: Which one; `tpot` of a request with one token of output is 0.
        """
        first_s = self._curve.first_s(self._starts, kind) + self._some_wait * self._wait_s
        decodes = self._state.kinds[kind].output_tokens - 1
        round_s = float(np.mean(self._rounds_s)) if decodes > 0 else 0.0
        match metric:
            case "ttft":
                return first_s
            case "tpot":
                return round_s
            case "e2e":
                return first_s + decodes * round_s

    def late_share(self, kind: int, metric: Metric, limit_s: float) -> float:
        """Share of the requests of a kind of which a metric is above a limit.

        Args:
            kind: Position in `state.kinds`.
            metric: Which one; `tpot` of a request with one token of output is 0.
            limit_s: The limit.
        """
        spare_s = limit_s - self._curve.first_s(self._starts, kind)
        decodes = self._state.kinds[kind].output_tokens - 1
        match metric:
            case "ttft":
                return float(np.mean(self._waits_longer(np.array([spare_s]))))
            case "tpot":
                return float(np.mean(self._rounds_s > limit_s)) if decodes > 0 else 0.0
            case "e2e":
                return float(np.mean(self._waits_longer(spare_s - decodes * self._rounds_s)))

    def _crowded_rounds_s(self) -> Floats:
        """Rounds at equally likely numbers of requests that run."""
        starts = self._starts
        if starts <= 0:
            return np.full(_N_CROWDS, self._curve.round_s(0.0))
        more = starts * (1 + _STEP)
        growth = math.log(self._curve.round_s(more) / self._curve.round_s(starts)) / math.log(more / starts)
        running = self._curve.running(starts)
        shares = (np.arange(_N_CROWDS) + 0.5) / _N_CROWDS
        crowds = np.array([most_running(running, growth, share) for share in shares.tolist()])
        return np.array([self._curve.round_s(starts * crowd / running) for crowd in crowds.tolist()])

    def _waits_longer(self, times_s: Floats) -> Floats:
        """The shares of requests that wait longer than some times to be admitted."""
        tail = self._some_wait * np.exp(-np.maximum(times_s, 0.0) / self._wait_s)
        return np.asarray(np.where(times_s < 0, 1.0, tail))


def most_running(n_running: float, growth: float, share: float) -> float:
    """How many requests run at most for a share of the time, if so many do on average.

    >>> round(most_running(20.0, growth=0.3, share=0.9), 1)
    26.5
    """
    from scipy.special import nbdtrik  # quantile of the negative binomial distribution

    growth = min(max(growth, 0.01), 0.99)
    return float(nbdtrik(share, n_running * (1 - growth) / growth, 1 - growth))
