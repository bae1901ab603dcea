"""Inter-token latencies: the times between consecutive tokens of a request, of all tokens of a batch.

The engine only notes steps and stays; lengths are counted by the bin, and each request's longest found, afterwards and
all at once.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import accumulate, repeat
from math import sqrt
from struct import Struct

import numpy as np
import numpy.typing as npt

GROWTH = 1.02
"""Each bin ends 2 % above where it begins, so that its middle is within 1 % of all that is in it."""

EDGES_S = tuple(accumulate(repeat(GROWTH, 1499), lambda edge, growth: edge * growth, initial=1e-7))
"""Where bins begin: bin i holds gaps from EDGES_S[i - 1] to below EDGES_S[i]; 0.1 microseconds to 9 days."""

Floats = npt.NDArray[np.float64]

_EDGES = np.asarray(EDGES_S)
_STEP = np.dtype(
    [
        ("end", np.int64),
        ("first_s", np.float64),
        ("growth_s", np.float64),
        ("start", np.int64),
        ("n_iterations", np.int64),
        ("n_decode", np.int64),
    ]
)
_FLUSH_AT = 4096 * _STEP.itemsize

pack_step = Struct("=qddqqq").pack
"""The bytes of a step: the iteration that ended it; first_s, growth_s, start, n_iterations: its gaps were
first_s + growth_s i long, for i from start to before start + n_iterations; how many requests decoded."""


def middle_s(index: int) -> float:
    """The (geometric) middle of a bin, in seconds.

    >>> gaps_s = (1.1e-7, 0.0305, 7.0, 1e5)
    >>> all(abs(middle_s(bisect_right(EDGES_S, gap_s)) / gap_s - 1) <= 0.01 for gap_s in gaps_s)
    True
    """
    return EDGES_S[max(index, 1) - 1] * sqrt(GROWTH)


class GapLog:
    """The gaps of a batch.

    Attributes:
        steps: The steps that are not counted yet (`pack_step`).
        stays: Three numbers for each stay of a request: its row in the trace, and the iteration counts of the batch
            when it began and stopped to decode.
        counts: Gaps by bin, of the steps that have been counted.
        longest_s: The longest of them, exactly; 0 if there was none.
    """

    __slots__ = ("_ends", "_longest_s", "counts", "longest_s", "stays", "steps")

    def __init__(self) -> None:
        self.steps = bytearray()
        self.stays = array("q")
        self.counts = np.zeros(len(EDGES_S) + 1, dtype=np.int64)
        self.longest_s = 0.0
        self._ends: list[npt.NDArray[np.int64]] = []
        self._longest_s: list[Floats] = []

    def add(self, gap_s: float) -> None:
        """Count a gap that was no step: a request was preempted in it."""
        self.counts[bisect_right(EDGES_S, gap_s)] += 1
        self.longest_s = max(self.longest_s, gap_s)

    def count_if_many(self) -> None:
        """Count the steps, if there are so many that it is worth while."""
        if len(self.steps) >= _FLUSH_AT:
            self.count()

    def count(self) -> None:
        """Count the gaps of the steps noted so far.

        >>> log, one_by_one = GapLog(), GapLog()
        >>> log.steps += pack_step(500, 0.01, 1e-4, 5, 495, 3)  # 495 iterations, three requests, up to 60 ms
        >>> log.count()
        >>> for i in range(5, 500):
        ...     for _ in range(3):
        ...         one_by_one.add(0.01 + 1e-4 * i)
        >>> bool((log.counts == one_by_one.counts).all()), log.longest_s == one_by_one.longest_s
        (True, True)
        """
        if not self.steps:
            return
        steps = np.frombuffer(self.steps, _STEP)
        first_s, growth_s, start = steps["first_s"], steps["growth_s"], steps["start"]
        n_iterations, n_decode = steps["n_iterations"], steps["n_decode"]
        self.steps = bytearray()
        longest_s = first_s + growth_s * (start + n_iterations - 1)
        self.longest_s = max(self.longest_s, float(longest_s.max()))
        low = np.searchsorted(_EDGES, first_s + growth_s * start, side="right")
        high = low.copy()
        grows = longest_s >= _EDGES[np.minimum(low, len(_EDGES) - 1)]
        high[grows] = np.searchsorted(_EDGES, longest_s[grows], side="right")
        counts = np.bincount(high, n_iterations * n_decode, len(self.counts))
        # All are counted in the last bin of their step: those below an edge belong one bin lower.
        n_edges = high - low
        step = np.repeat(np.arange(len(low)), n_edges)
        edge = np.arange(len(step)) - np.repeat(np.cumsum(n_edges) - n_edges - low, n_edges)
        n_below = _n_below(_EDGES[edge], first_s[step], growth_s[step], start[step]) * n_decode[step]
        counts += np.bincount(edge, n_below, len(counts)) - np.bincount(edge + 1, n_below, len(counts))
        self.counts += counts.astype(np.int64)
        self._ends.append(steps["end"].copy())
        self._longest_s.append(longest_s)

    def longest_of_requests(self) -> tuple[npt.NDArray[np.int64], Floats]:
        """(rows, longest gaps) of all stays in which there was a gap, once: it forgets steps and stays.

        >>> log = GapLog()
        >>> for end, gap_s in ((1, 0.5), (4, 0.2), (5, 0.3)):
        ...     log.steps += pack_step(end, gap_s, 0, 0, 1, 2)
        >>> log.stays.extend((7, 0, 5))
        >>> log.stays.extend((8, 1, 4))
        >>> log.stays.extend((9, 5, 5))
        >>> [column.tolist() for column in log.longest_of_requests()]
        [[7, 8], [0.5, 0.2]]
        """
        self.count()
        if not self._ends:
            return np.empty(0, dtype=np.int64), np.empty(0)
        ends, longest_s = np.concatenate(self._ends), np.concatenate(self._longest_s)
        rows, joined, left = np.array(self.stays).reshape(-1, 3).T
        self._ends, self._longest_s, self.stays = [], [], array("q")
        first = np.searchsorted(ends, joined, side="right")
        last = np.searchsorted(ends, left, side="right")
        some = first < last
        bounds = np.column_stack((first[some], last[some])).ravel()
        # Each second slice, from the end of one stay to the beginning of the next, is of no interest.
        maxima = np.maximum.reduceat(np.append(longest_s, 0.0), bounds)[::2] if bounds.size else np.empty(0)
        return rows[some], maxima


def _n_below(edge_s: Floats, first_s: Floats, growth_s: Floats, start: npt.NDArray[np.int64]) -> Floats:
    """How many gaps first + growth i, from i = start on, are below an edge that lies among them."""
    i = np.ceil((edge_s - first_s) / growth_s)
    # The quotient is rounded; the gaps decide.
    i -= first_s + growth_s * (i - 1) >= edge_s
    i += first_s + growth_s * i < edge_s
    return i - start
