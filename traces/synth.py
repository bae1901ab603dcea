"""Synthetic traces: arrival processes, length distributions, and a look-alike of a published trace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Protocol

import numpy as np
import numpy.typing as npt

from traces.closed_loop import ClosedLoop
from traces.errors import TraceError
from traces.trace import Trace

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Knots = tuple[tuple[float, float], ...]

ARRIVALS_STREAM = 101  # numbers of the random streams; 100 to 199 are this package's
LENGTHS_STREAM = 102
DAY_S = 86_400.0
DIURNAL_STEP_S = 60.0
MAX_TOKENS = 2**31 - 1


class ArrivalProcess(Protocol):
    """Draws times of arrival."""

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw the first `n` arrivals: seconds from the start, non-decreasing, shape (n,)."""
        ...


class LengthSampler(Protocol):
    """Draws lengths of requests."""

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Draw prompt and output tokens of `n` requests, each >= 1 and of shape (n,)."""
        ...


def _require(owner: object, condition: bool, problem: str) -> None:
    if not condition:
        msg = f"{owner if isinstance(owner, str) else type(owner).__name__}: {problem}"
        raise TraceError(msg)


def generator(seed: int, stream: int) -> np.random.Generator:
    """A generator of its own for each seed and stream."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy=seed, spawn_key=(stream,))))


def _unit_arrivals(n: int, cv: float, rng: np.random.Generator) -> Floats:
    """Arrivals of a renewal process with gamma gaps of mean 1."""
    shape = 1 / cv**2
    return rng.standard_gamma(shape, n).cumsum() / shape


def _quantile(knots: Sequence[tuple[float, float]], probability: Floats) -> Ints:
    at, tokens = np.asarray(knots, float).T
    drawn: Ints = np.rint(np.interp(probability, at, tokens)).astype(np.int64)
    return drawn


@dataclass(frozen=True)
class PoissonArrivals:
    """Independent, exponential gaps: `rate_rps` requests/s."""

    rate_rps: float

    def __post_init__(self) -> None:
        _require(self, 0 < self.rate_rps < math.inf, f"rate_rps is {self.rate_rps!r}; allowed: > 0")

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw the first `n` arrivals, in seconds."""
        return rng.standard_exponential(n).cumsum() / self.rate_rps


@dataclass(frozen=True)
class GammaArrivals:
    """Independent, gamma-distributed gaps of mean 1 / `rate_rps`: bursty for `cv` > 1, even for `cv` < 1.

    `cv` is the standard deviation of the gaps over their mean; 1 gives Poisson arrivals.
    """

    rate_rps: float
    cv: float

    def __post_init__(self) -> None:
        _require(self, 0 < self.rate_rps < math.inf, f"rate_rps is {self.rate_rps!r}; allowed: > 0")
        _require(self, 0.01 <= self.cv <= 100, f"cv is {self.cv!r}; allowed: 0.01 to 100")

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw the first `n` arrivals, in seconds."""
        return _unit_arrivals(n, self.cv, rng) / self.rate_rps


@dataclass(frozen=True)
class PiecewiseArrivals:
    """Poisson arrivals whose rate is `rates_rps[i]` from `times_s[i]` on; the last rate holds for ever.

    `times_s` starts at 0 and rises. Rates may be 0, except the last.
    """

    times_s: tuple[float, ...]
    rates_rps: tuple[float, ...]

    def __post_init__(self) -> None:
        times, rates = np.asarray(self.times_s, float), np.asarray(self.rates_rps, float)
        _require(self, times.shape == rates.shape, f"{times.size} times_s for {rates.size} rates_rps")
        starts_at_0 = times.size > 0 and times[0] == 0 and math.isfinite(times[-1])
        _require(self, starts_at_0 and bool((np.diff(times) > 0).all()), "times_s must rise from 0")
        finite = bool((np.isfinite(rates) & (rates >= 0)).all())
        _require(self, finite and rates[-1] > 0, "rates_rps must be >= 0, the last > 0")

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw the first `n` arrivals, in seconds: a Poisson process of rate 1, its time changed."""
        unit = rng.standard_exponential(n).cumsum()
        times, rates = np.asarray(self.times_s, float), np.asarray(self.rates_rps, float)
        expected = np.concatenate(([0.0], np.cumsum(np.diff(times) * rates[:-1])))
        piece = np.searchsorted(expected, unit, side="right") - 1
        arrival_s: Floats = times[piece] + (unit - expected[piece]) / rates[piece]
        return arrival_s


@dataclass(frozen=True)
class DiurnalArrivals:
    """Arrivals whose rate follows a sine over 24 h.

    The rate peaks `peak_hour` hours after the start of the trace, averages `mean_rate_rps` over a day, and is
    `peak_to_trough` times as high at the peak as 12 h later. `cv` is that of gamma gaps in operational
    time, in which the rate is constant; 1 gives Poisson arrivals. The expected number of arrivals
    is exact at full minutes and linear between.
    """

    mean_rate_rps: float
    peak_to_trough: float
    peak_hour: float
    cv: float = 1.0

    def __post_init__(self) -> None:
        rate, ratio = self.mean_rate_rps, self.peak_to_trough
        _require(self, 0 < rate < math.inf, f"mean_rate_rps is {rate!r}; allowed: > 0")
        _require(self, 1 <= ratio < math.inf, f"peak_to_trough is {ratio!r}; allowed: >= 1")
        _require(self, 0 <= self.peak_hour < 24, f"peak_hour is {self.peak_hour!r}; allowed: 0 <= peak_hour < 24")
        _require(self, 0.01 <= self.cv <= 100, f"cv is {self.cv!r}; allowed: 0.01 to 100")

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw the first `n` arrivals, in seconds."""
        mean_rate_s = _unit_arrivals(n, self.cv, rng) / self.mean_rate_rps
        day, rest_s = np.divmod(mean_rate_s, DAY_S)
        clock_s = np.arange(0, DAY_S + DIURNAL_STEP_S, DIURNAL_STEP_S)
        swing = (self.peak_to_trough - 1) / (self.peak_to_trough + 1)
        turn = 2 * math.pi / DAY_S
        phase = turn * self.peak_hour * 3600
        operational_s = clock_s + swing / turn * (np.sin(turn * clock_s - phase) + math.sin(phase))
        arrival_s: Floats = day * DAY_S + np.interp(rest_s, operational_s, clock_s)
        return arrival_s


@dataclass(frozen=True)
class AllAtOnce:
    """All requests arrive at time 0."""

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Return `n` zeros."""
        return np.zeros(n)


@dataclass(frozen=True, repr=False)
class FixedTypes:
    """Requests of a few types: `types[i]` = (prompt, output) tokens, with probability `shares[i]`.

    Prompt and output of each request vary independently and evenly by up to `spread` of those of its type, with the
    same mean, rounded to whole tokens, at least 1. Without a spread all requests of a type are alike, so that those
    that begin together end together.
    """

    types: tuple[tuple[int, int], ...]
    shares: tuple[float, ...]
    spread: float = 0.0

    def __post_init__(self) -> None:
        matched = len(self.types) == len(self.shares) > 0
        _require(self, matched, f"{len(self.types)} types for {len(self.shares)} shares; at least one of each")
        whole = all(tokens == int(tokens) and 1 <= tokens <= MAX_TOKENS for pair in self.types for tokens in pair)
        _require(self, whole, f"types are {self.types!r}; tokens must be whole numbers >= 1")
        is_distribution = min(self.shares) >= 0 and abs(math.fsum(self.shares) - 1) <= 1e-6
        _require(self, is_distribution, f"shares are {self.shares!r}; they must be >= 0 and sum to 1")
        _require(self, 0 <= self.spread < 1, f"spread is {self.spread!r}; allowed: 0 <= spread < 1")

    def __repr__(self) -> str:
        spread = f", spread={self.spread!r}" if self.spread else ""
        return f"FixedTypes(types={self.types!r}, shares={self.shares!r}{spread})"

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Draw the lengths of `n` requests, in tokens."""
        cumulative = np.cumsum(self.shares)
        # One row a request, so that fewer requests are the first of more.
        which, *factors = rng.random((n, 3 if self.spread else 1)).T
        drawn = np.searchsorted(cumulative / cumulative[-1], which, side="right")
        lengths = np.asarray(self.types, np.int64).T[:, drawn]
        if factors:
            varied = lengths * (1 + self.spread * (2 * np.array(factors) - 1))
            lengths = np.maximum(1, np.floor(varied + 0.5)).astype(np.int64)
        return lengths[0], lengths[1]


@dataclass(frozen=True)
class LogNormalLengths:
    """Independent log-normal prompt and output lengths, each given by its median and 90 % quantile.

    Lengths are rounded, then clipped to the ranges.
    """

    prompt_tokens_p50: float
    prompt_tokens_p90: float
    output_tokens_p50: float
    output_tokens_p90: float
    prompt_tokens_range: tuple[int, int] = (1, 131_072)
    output_tokens_range: tuple[int, int] = (1, 131_072)

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "output_tokens"):
            p50, p90, (low, high) = self._describe(name)
            _require(self, 0 < p50 <= p90 < math.inf, f"{name}: p50 {p50!r}, p90 {p90!r}; allowed: 0 < p50 <= p90")
            _require(
                self,
                1 <= low <= high <= MAX_TOKENS,
                f"{name}_range is {(low, high)!r}; allowed: 1 <= low <= high",
            )

    def _describe(self, name: str) -> tuple[float, float, tuple[int, int]]:
        return getattr(self, f"{name}_p50"), getattr(self, f"{name}_p90"), getattr(self, f"{name}_range")

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Draw the lengths of `n` requests, in tokens."""
        normal = rng.standard_normal((n, 2)) / NormalDist().inv_cdf(0.9)
        lengths = []
        for side, name in enumerate(("prompt_tokens", "output_tokens")):
            p50, p90, (low, high) = self._describe(name)
            drawn = p50 * np.exp(normal[:, side] * math.log(p90 / p50))
            lengths.append(np.clip(np.rint(drawn), low, high).astype(np.int64))
        return lengths[0], lengths[1]


@dataclass(frozen=True)
class HistogramLengths:
    """Lengths given by quantiles, linear in between, rounded to whole tokens.

    Knots are (probability, tokens) pairs: probabilities rise from 0 to 1, tokens do not fall.
    `rank_correlation` is Spearman's, between prompt and output; a Gaussian copula realises it.
    """

    prompt_knots: Knots
    output_knots: Knots
    rank_correlation: float = 0.0

    def __post_init__(self) -> None:
        for name, knots in (("prompt_knots", self.prompt_knots), ("output_knots", self.output_knots)):
            probability, tokens = np.asarray(knots, float).reshape(-1, 2).T
            spans = probability.size > 1 and probability[0] == 0 and probability[-1] == 1
            rises = spans and bool((np.diff(probability) > 0).all() and (np.diff(tokens) >= 0).all())
            _require(self, rises, f"{name}: probabilities must rise from 0 to 1, tokens must not fall")
            _require(self, tokens[0] >= 1 and tokens[-1] <= MAX_TOKENS, f"{name}: tokens must be >= 1")
        correlation = self.rank_correlation
        _require(self, -1 <= correlation <= 1, f"rank_correlation is {correlation!r}; allowed: -1 to 1")

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Draw the lengths of `n` requests, in tokens."""
        normal = rng.standard_normal((n, 2))
        linear = 2 * math.sin(math.pi * self.rank_correlation / 6)  # Pearson's, of the two normals
        other = linear * normal[:, 0] + math.sqrt(max(0.0, 1 - linear**2)) * normal[:, 1]
        from scipy.special import ndtr  # takes long to import

        return _quantile(self.prompt_knots, ndtr(normal[:, 0])), _quantile(self.output_knots, ndtr(other))


def synthesize(
    arrivals: ArrivalProcess,
    lengths: LengthSampler,
    n_requests: int,
    *,
    seed: int,
    model: str = "default",
    slo_class: str = "default",
    source: str | None = None,
) -> Trace:
    """Draw a trace.

    Arrivals and lengths come from random streams of their own: changing one leaves the other as it was, and
    with the samplers of this module a shorter trace is the beginning of a longer one.

    Args:
        arrivals: Process that draws the times, or a closed loop.
        lengths: Sampler that draws prompt and output tokens.
        n_requests: Number of requests, >= 1.
        seed: Any integer >= 0.
        model: Model of all requests.
        slo_class: Service level of all requests.
        source: Provenance; a description of the arguments if not given.

    Returns:
        The trace.

    Raises:
        TraceError: If `n_requests` or `seed` is too small, or a sampler draws something invalid.

    Examples:
        >>> lengths = FixedTypes(types=((2455, 18), (496, 510)), shares=(0.5, 0.5))
        >>> trace = synthesize(PoissonArrivals(rate_rps=2.0), lengths, 1000, seed=1)
        >>> len(trace), round(trace.rate_rps, 1)
        (1000, 1.9)
    """
    _require("synthesize", n_requests >= 1, f"n_requests is {n_requests!r}; allowed: >= 1")
    _require("synthesize", seed >= 0, f"seed is {seed!r}; allowed: >= 0")
    arrival_s = arrivals.sample(n_requests, generator(seed, ARRIVALS_STREAM))
    prompt, output = lengths.sample(n_requests, generator(seed, LENGTHS_STREAM))
    source = source or f"synthesize({arrivals!r}, {lengths!r}, {n_requests}, seed={seed})"
    trace = Trace.from_columns(arrival_s, prompt, output, model=model, slo_class=slo_class, source=source)
    return replace(trace.sent_by(arrivals, seed), source=source) if isinstance(arrivals, ClosedLoop) else trace


def azure_conv_like(
    n_requests: int = 19_366, *, seed: int = 0, rate_rps: float = 5.53, model: str = "default"
) -> Trace:
    """Draw a trace like the conversation part of the Azure LLM inference trace 2023.

    Rate, CV of the gaps (1.09), length quantiles and Spearman's correlation of prompt and output (0.073) are
    those of the published file: AzureLLMInferenceTrace_conv.csv, github.com/Azure/AzurePublicDataset
    @ b469a113cedc, Creative Commons Attribution 4.0 (CC BY 4.0); see Patel et al., "Splitwise", ISCA 2024.
    Gaps and lengths are drawn independently; the slow drift of the real rate is not reproduced.

    Args:
        n_requests: Number of requests; the file has 19,366.
        seed: Any integer >= 0.
        rate_rps: Mean arrival rate in requests/s.
        model: Model of all requests.

    Returns:
        The trace.

    Raises:
        TraceError: If an argument is out of range.

    Examples:
        >>> azure_conv_like(seed=1).requests.select("prompt_tokens", "output_tokens").median().row(0)
        (1021.0, 131.0)
    """
    source = f"azure_conv_like({n_requests}, seed={seed}, rate_rps={rate_rps!r})"
    arrivals = GammaArrivals(rate_rps, AZURE_CONV_CV)
    return synthesize(arrivals, AZURE_CONV_LENGTHS, n_requests, seed=seed, model=model, source=source)


AZURE_CONV_CV = 1.09
# Quantiles of the file named in `azure_conv_like`; rounded to whole tokens.
# fmt: off
AZURE_CONV_LENGTHS = HistogramLengths(
    prompt_knots=(
        (0, 2), (0.01, 29), (0.02, 91), (0.05, 181), (0.1, 207), (0.15, 372), (0.2, 387), (0.3, 403),
        (0.38, 433), (0.4, 703), (0.42, 903), (0.45, 984), (0.5, 1020), (0.6, 1071), (0.7, 1130), (0.8, 1315),
        (0.85, 1876), (0.9, 2734), (0.93, 4076), (0.97, 4090), (0.99, 4142), (0.995, 4831), (0.999, 6179),
        (1, 14050),
    ),
    output_knots=(
        (0, 7), (0.01, 16), (0.02, 24), (0.05, 41), (0.1, 54), (0.2, 77), (0.3, 91), (0.4, 103), (0.45, 113),
        (0.5, 129), (0.55, 151), (0.6, 177), (0.64, 216), (0.66, 237), (0.68, 375), (0.7, 384), (0.8, 400),
        (0.9, 424), (0.95, 451), (0.97, 509), (0.99, 601), (0.995, 643), (0.999, 954), (0.9995, 1000),
        (1, 1000),
    ),
    rank_correlation=0.073,
)
# fmt: on
