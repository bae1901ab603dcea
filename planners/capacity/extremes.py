"""The largest of several random numbers: of the chunks, decodes and times of the batches of a pipeline."""

from __future__ import annotations

import math
from statistics import NormalDist

OVERLAP = 0.05
"""Part of the batches of a pipeline that does not count, for each beyond two, when one of them is slow."""


def largest_of(n: float, mean: float, most: float) -> tuple[float, float]:
    """The largest of n binomial numbers of 0 to `most`: how often it is not 0, and its mean where it is not.

    >>> some, mean = largest_of(2, mean=0.5, most=1)  # two coins, 1 if heads
    >>> round(some, 9), round(mean, 9)
    (0.75, 1.0)
    """
    p = mean / most
    if p >= 1 - 1e-9:
        return 1.0, max(1.0, mean)
    low = math.floor(most)
    some, expected = _largest_whole(n, p, low)
    if most > low:
        weight = most - low
        more_often, more = _largest_whole(n, p, low + 1)
        some, expected = (1 - weight) * some + weight * more_often, (1 - weight) * expected + weight * more
    return some, max(1.0, expected / some)


def _largest_whole(n: float, p: float, trials: int) -> tuple[float, float]:
    """As `largest_of`, of so many trials with the probability p: how often it is not 0, and its mean."""
    some, mean = -math.expm1(n * trials * math.log1p(-p)), trials * p
    if n == 1:
        return some, mean
    spread = 8 * math.sqrt(mean * (1 - p)) + 8
    first, last = max(0, math.floor(mean - spread)), min(trials, math.ceil(mean + spread))
    log_choose = math.lgamma(trials + 1) - math.lgamma(first + 1) - math.lgamma(trials - first + 1)
    term = math.exp(log_choose + first * math.log(p) + (trials - first) * math.log1p(-p))
    cumulative, expected = 0.0, float(first)
    for k in range(first, last):
        cumulative = min(1.0, cumulative + term)
        expected += 1 - cumulative**n
        term *= (trials - k) / (k + 1) * p / (1 - p)
    return some, expected


def alone_of(n: float) -> float:
    """Of how many of n batches in a pipeline the slowest one counts.

    >>> alone_of(1), alone_of(2), round(alone_of(8), 2)
    (1, 2, 5.9)
    """
    return 1 + (n - 1) * (1 - OVERLAP * (n - 2)) if n > 2 else n


def largest_normal(n: float) -> float:
    """Mean of the largest of n normal numbers.

    >>> round(largest_normal(1), 9), round(largest_normal(2), 2), round(largest_normal(8), 2)
    (0.0, 0.59, 1.43)
    """
    return NormalDist().inv_cdf((n - 0.375) / (n + 0.25))
