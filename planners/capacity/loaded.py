"""Latencies of a replica that serves a mix at less than its full rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from planners.capacity.load_curve import LoadCurve

if TYPE_CHECKING:
    import numpy.typing as npt

    from planners.capacity.steady_state import SteadyState

    Floats = npt.NDArray[np.float64]

Metric = Literal["ttft", "tpot", "e2e"]
"""Time to the first token, per token after it, and to the last one."""

_LEAST_SPARE = 0.02
_WAITS = -np.log1p(-(np.arange(64) + 0.5) / 64)  # equally likely values of an exponential distribution of mean 1


class Time(NamedTuple):
    """A random time, by its cumulants."""

    mean_s: float
    variance_s2: float
    third_s3: float

    def __add__(self, other: Time) -> Time:
        return Time(*(a + b for a, b in zip(self, other, strict=True)))

    def longer_than(self, limits_s: Floats) -> Floats:
        """Probabilities by the gamma distribution, shifted, that has the same cumulants."""
        from scipy.special import gammaincc

        deviation_s = math.sqrt(self.variance_s2)
        if deviation_s < 1e-9 * self.mean_s:
            return np.asarray(limits_s < self.mean_s, float)
        skewness = max(self.third_s3 / deviation_s**3, 0.02)
        shape = 4 / skewness**2
        x = shape + (limits_s - self.mean_s) / deviation_s * math.sqrt(shape)
        return np.asarray(gammaincc(shape, np.maximum(x, 0.0)))


class LoadedReplica:
    extra = True
    """A replica that serves a mix at less than its full rate.

    Args:
        state: The replica at full load, with the mix.
        rps: Requests/s of the whole mix; at most `state.rps`, at which requests wait without end.
        curve: Of the same state, for who asks at many rates.

    Attributes:
        utilisation: The rate as a share of the full one.
    """

    def __init__(self, state: SteadyState, rps: float, curve: LoadCurve | None = None) -> None:
        self._state, self._rps = state, rps
        self._curve = curve = curve or LoadCurve(state)
        self.utilisation = rps / state.rps
        self._set_crowd()
        self._set_prompts()
        self._set_waits()

    def _set_crowd(self) -> None:
        """How many run."""
        curve, state, rps = self._curve, self._state, self._rps
        most = curve.most_running
        is_capped = state.n_servers > 1
        unit = min(curve.peakedness, most / 2) if is_capped else 1.0
        last = most / unit if is_capped else 4 * most + 40
        customers = np.append(np.arange(math.ceil(last)), last)
        numbers = unit * customers
        rounds_s = curve.rounds_s(np.maximum(numbers, 1.0), rps)
        rounds_bare_s = curve.bare_s(np.maximum(numbers, 1.0))
        busy = np.clip(1 - rounds_bare_s / rounds_s, 0.0, 0.95)
        prompts_s = float(curve.shares @ curve.prompts_s)
        second = float(curve.shares @ curve.prompts_s**2)
        met_s = rounds_s + rps * second / (1 - busy**2)
        extra_s = busy / (1 - busy) * np.maximum(prompts_s + busy * met_s - rounds_s + rounds_bare_s, 0.0)
        lives_s = curve.life * rounds_s + (extra_s if self.extra else 0.0)
        logs = np.concatenate([[0.0], np.cumsum(np.log(rps * lives_s[1:] / numbers[1:]))])
        weights = np.exp(logs - logs.max())
        spare = max(1 - self.utilisation, 1e-6)
        beyond = weights[-1] * (1 / spare - 1) if is_capped else 0.0
        total = weights.sum() + beyond
        self._some_wait = (weights[-1] + beyond) / total if is_capped else 0.0
        shares = weights / total
        shares[-1] += beyond / total
        self._idle = shares[0]
        mean = shares @ numbers
        self._variance = max(float(shares @ (numbers - mean) ** 2), 1e-12)
        self._running = float(mean)
        self._extra_s = float(shares @ extra_s)
        self._round_s = float(self._running / rps - (self._extra_s if self.extra else 0.0)) / curve.life
        self._full_round_s = float(rounds_s[-1])
        self._bare_s = float(shares @ curve.bare_s(np.maximum(numbers, 1.0)))
        growth_s = float(curve.shares * curve.lives @ curve.growths_s / curve.life)
        elasticity = min(self._running * growth_s / self._bare_s, 0.98)
        self._spread = self._variance / self._running  # relative to a Poisson distribution
        self._freedom = min(1.0, self._spread * (1 - elasticity))
        self._elasticity = elasticity

    def _set_prompts(self) -> None:
        """By how much prompts make iterations longer, and how long are the iterations that requests meet."""
        curve, rps = self._curve, self._rps
        plain_s = float(curve.shares @ curve.prompts_s)
        per_prompt_s = max(self._round_s - self._bare_s, 0.0) / (rps * self._round_s)
        scale = min(max(per_prompt_s / plain_s, 0.3), 1.0) if plain_s > 0 else 1.0
        self._prompts_s = p = scale * curve.prompts_s
        self._busy = busy = min(rps * float(curve.shares @ p), 0.95)
        second, third = (float(curve.shares @ p**k) for k in (2, 3))
        r = self._round_s / self._state.n_batches
        self._variance_s2 = variance = rps * r * second / (1 - busy**2)
        third_s3 = rps * (r * third + 3 * busy * second * variance) / (1 - busy**3)
        self._met_s = r + variance / r
        self._met_s2 = r * r + 3 * variance + third_s3 / r

    def _set_waits(self) -> None:
        """Waits for admission, as a mixture of exponentials: how often and how long."""
        curve, state, rps = self._curve, self._state, self._rps
        idle = max(1 - self.utilisation, 1e-9)
        waits: list[tuple[float, float]] = []
        if state.n_servers > 1:
            squared_cv = float(curve.shares @ (curve.lives / curve.life - 1) ** 2)
            waits.append((self._some_wait, (1 + squared_cv) / 2 / (state.rps * idle)))
        waits.append(self._budget_wait())
        self._waits = waits

    def _budget_wait(self) -> tuple[float, float]:
        """Prompts wait for each other where an iteration cannot hold all of them."""
        curve, state, rps = self._curve, self._state, self._rps
        prompts = np.array([kind.prompt_tokens for kind in state.kinds])
        mean_tokens = float(curve.shares @ prompts)
        budget = state.budget_tokens - self._running / state.n_batches
        if state.n_servers == 1:
            token_s = 1 / (state.rps * mean_tokens)
        else:
            token_s = self._bare_s / state.n_batches / budget + float(curve.shares @ self._prompts_s) / mean_tokens
        use = min(rps * mean_tokens * token_s, 0.999)
        variance = use * budget * float(curve.shares @ prompts**2) / mean_tokens
        decay = 2 * (1 - use) * budget / variance
        return math.exp(-0.583 * decay * math.sqrt(variance)), token_s / decay

    def _shot(self, rounds: float, kind: int) -> Time:
        """What others add to the time of a request that decodes for so many rounds, beside a mean round each."""
        curve = self._curve
        p, x, lives = self._prompts_s, curve.growths_s, curve.lives
        per_round = self._rps * self._round_s * curve.shares
        relaxation = float(curve.shares @ lives**2) / (2 * curve.life) / (1 - self._elasticity * self._freedom)
        settled = 1 + math.expm1(-rounds / relaxation) / (rounds / relaxation)
        short = 1 / (1 - self._busy)
        long = short / (1 - self._elasticity * self._freedom)
        gain = short + (long - short) * settled
        nodes, node_weights = np.polynomial.legendre.leggauss(6)
        inner = np.minimum(lives, rounds)
        u = inner[:, None] * (nodes + 1) / 2
        own_s = self._bare_s / self._state.n_batches + float(p[kind] + self._busy * self._met_s)
        own_s += self._waits[-1][0] * self._waits[-1][1]
        more = max(0.0, own_s / self._round_s - 1) if self.extra else 0.0
        moments = []
        for k in (2, 3):
            ramp = (inner / 2) * (((p[:, None] + self._freedom * x[:, None] * u) ** k) @ node_weights)
            flat = np.maximum(rounds - lives, 0.0) * (p + self._freedom * x * lives) ** k
            moments.append(float(per_round @ (ramp + flat + more * p**k)))
        mean_s = rounds * self._round_s + more * self._round_s * self._busy / (1 - self._busy)
        mean_s = min(mean_s, rounds * self._curve.longest_s)
        second = moments[0] * gain**2
        third = moments[1] * gain**3 + 3 * moments[0] ** 2 * gain**4 / mean_s
        inside = np.where(lives <= rounds, lives**3 / 3, rounds**3 / 3 + rounds**2 * (lives - rounds))
        past = float(per_round @ (x**2 * inside)) * self._spread * short**2
        skew = (1 + self._elasticity) / (1 - self._elasticity) * min(1.0, self._freedom)
        past_third = past * float(curve.shares * lives @ x / curve.life) * min(rounds, curve.life) * short * skew
        return Time(mean_s, second + past, third + past_third)

    def _first(self, kind: int, *, idle: bool) -> Time:
        """Time to the first token once a request is admitted."""
        curve, state, rps = self._curve, self._state, self._rps
        own_s = float(curve.prompts_s[kind])
        chunks = float(curve.chunks[kind])
        n = state.n_batches
        begin_s = float(curve.bare_s(np.ones(1))[0])
        if idle:
            return Time(state.frontend_s + begin_s / n * chunks + own_s, 0.0, 0.0)
        p = self._prompts_s
        second, third = (float(curve.shares @ p**k) for k in (2, 3))
        r, busy = self._round_s / n, self._busy
        growth_s = float(curve.shares * curve.lives @ curve.growths_s / curve.life)
        crowd = self._variance * (growth_s / (1 - busy) / n) ** 2
        met_s, met_s2, variance = self._met_s, self._met_s2, self._variance_s2
        z, z2 = (0.5 + busy) * met_s, (1 / 3 + busy + busy**2) * met_s2
        ahead = 1.0 if state.schedules_ahead else 0.0
        mean_s = state.frontend_s + z + ahead * r + self._bare_s * (1 if n == 1 else 1) * 1.0 + own_s
        mean_s += (chunks - 1) * r
        total_variance = z2 - z * z + rps * met_s * second + ahead * variance + (1.5 + ahead) ** 2 * crowd
        return Time(mean_s, total_variance, rps * met_s * third * (1 + ahead))

    def _decode(self, kind: int) -> Time:
        rounds = self._state.kinds[kind].output_tokens - 1
        return self._shot(rounds, kind) if rounds > 0 else Time(0.0, 0.0, 0.0)

    def _time(self, kind: int, metric: Metric, *, idle: bool) -> Time:
        match metric:
            case "ttft":
                return self._first(kind, idle=idle)
            case "tpot":
                return self._decode(kind)
            case "e2e":
                return self._first(kind, idle=idle) + self._decode(kind)

    def mean_s(self, kind: int, metric: Metric) -> float:
        """Mean of a metric.

        Args:
            kind: Position in `state.kinds`.
            metric: Which one; `tpot` of a request with one token of output is 0.
        """
        rounds = self._state.kinds[kind].output_tokens - 1
        if metric == "tpot":
            return self._decode(kind).mean_s / rounds if rounds > 0 else 0.0
        wait_s = math.fsum(some * mean_s for some, mean_s in self._waits)
        busy_s, idle_s = (self._time(kind, metric, idle=idle).mean_s for idle in (False, True))
        return wait_s + self._idle * idle_s + (1 - self._idle) * busy_s

    def late_share(self, kind: int, metric: Metric, limit_s: float) -> float:
        """Share of the requests of a kind of which a metric is above a limit.

        Args:
            kind: Position in `state.kinds`.
            metric: Which one; `tpot` of a request with one token of output is 0.
            limit_s: The limit.
        """
        rounds = self._state.kinds[kind].output_tokens - 1
        if metric == "tpot":
            if rounds <= 0:
                return 0.0
            if limit_s >= self._curve.longest_s:
                return 0.0
            return float(self._decode(kind).longer_than(np.array(limit_s * rounds)))
        late = 0.0
        for idle, share in ((True, self._idle), (False, 1 - self._idle)):
            time = self._time(kind, metric, idle=idle)
            some = min(1.0, math.fsum(some for some, _ in self._waits))
            part = (1 - some) * float(time.longer_than(np.array(limit_s)))
            for chance, mean_s in self._waits:
                part += chance * float(time.longer_than(limit_s - mean_s * _WAITS).mean())
            late += share * part
        return late
