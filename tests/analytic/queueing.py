"""What queueing theory says, and how a simulation is held to it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import t

Floats = npt.NDArray[np.float64]


def erlang_b(n_servers: int, load: float) -> float:
    """Probability that all servers of M/G/c/c are busy, by the recursion over c.

    >>> erlang_b(1, 1.0), round(erlang_b(2, 1.0), 6)
    (0.5, 0.2)
    """
    blocking = 1.0
    for n in range(1, n_servers + 1):
        blocking = load * blocking / (n + load * blocking)
    return blocking


def erlang_c(n_servers: int, load: float) -> float:
    """Probability that a customer of M/M/c waits.

    >>> round(erlang_c(1, 0.7), 6), round(erlang_c(2, 1.0), 6)
    (0.7, 0.333333)
    """
    blocking = erlang_b(n_servers, load)
    return blocking / (1 - load / n_servers * (1 - blocking))


def assert_mean(samples: Floats, theory: float, *, half_width: float) -> None:
    """The 99.9 % confidence interval of the samples' mean holds the theory, and is narrow in proportion to it."""
    half = t.ppf(0.9995, len(samples) - 1) * samples.std(ddof=1) / len(samples) ** 0.5
    assert half < half_width * theory
    assert abs(samples.mean() - theory) < half
