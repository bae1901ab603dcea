"""The bins in which inter-token latencies, the times between consecutive tokens of a request, are counted."""

from __future__ import annotations

from itertools import accumulate, repeat
from math import sqrt

GROWTH = 1.02
"""Each bin ends 2 % above where it begins, so that its middle is within 1 % of all that is in it."""

EDGES_S = tuple(accumulate(repeat(GROWTH, 1499), lambda edge, growth: edge * growth, initial=1e-7))
"""Where bins begin: bin i holds gaps from EDGES_S[i - 1] to below EDGES_S[i]; 0.1 microseconds to 9 days."""


def middle_s(index: int) -> float:
    """The (geometric) middle of a bin, in seconds.

    >>> from bisect import bisect_right
    >>> gaps_s = (1.1e-7, 0.0305, 7.0, 1e5)
    >>> all(abs(middle_s(bisect_right(EDGES_S, gap_s)) / gap_s - 1) <= 0.01 for gap_s in gaps_s)
    True
    """
    return EDGES_S[max(index, 1) - 1] * sqrt(GROWTH)
