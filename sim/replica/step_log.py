"""The steps of a batch, noted while it runs; its work and its inter-token latencies are summed up afterwards, at once.

Inter-token latencies, the times between consecutive tokens of a request, are counted by the bin, all tokens of a batch
together, and each request's longest is found.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from struct import Struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sim.replica.itl import EDGES_S

Floats = npt.NDArray[np.float64]
Steps = npt.NDArray[np.void]

_EDGES = np.asarray(EDGES_S)
STEP = np.dtype(
    [
        ("end", np.int64),
        ("first_s", np.float64),
        ("growth_s", np.float64),
        ("start", np.int64),
        ("n_iterations", np.int64),
        ("n_decode", np.int64),
        ("held_tokens", np.int64),
        ("held_growth", np.int64),
    ]
)
"""What `pack_step` packs."""

_MANY_BYTES = 4096 * STEP.itemsize

pack_step = Struct("=qddqqqqq").pack
"""The bytes of a step: the iteration that ended it; first_s, growth_s, start, n_iterations: its iterations took
first_s + growth_s i, for i from start to before start + n_iterations; how many requests decoded; how many tokens had
keys and values in its first iteration, and how many more in each further one."""


class Work(NamedTuple):
    """What a batch or a replica did.

    Attributes:
        n_steps: Iterations and macro-steps.
        n_iterations: Iterations.
        decode_tokens: Tokens that decodes gave.
        busy_s: Time of all iterations.
        kv_token_s: Tokens that had keys and values, integrated over that time.
    """

    n_steps: int = 0
    n_iterations: int = 0
    decode_tokens: int = 0
    busy_s: float = 0.0
    kv_token_s: float = 0.0

    def plus(self, other: Work) -> Work:
        """Both together."""
        return Work(
            self.n_steps + other.n_steps,
            self.n_iterations + other.n_iterations,
            self.decode_tokens + other.decode_tokens,
            self.busy_s + other.busy_s,
            self.kv_token_s + other.kv_token_s,
        )


class StepLog:
    """The steps of a batch.

    Attributes:
        packed: The steps that are not summed up yet (`pack_step`).
        stays: Three numbers for each stay of a request: its row in the trace, and the iteration counts of the batch
            when it began and stopped to decode.
        work: What was done in the steps that have been summed up.
        counts: Their inter-token latencies by bin: each is the time of an iteration in which a request decoded.
        longest_s: The longest of them, exactly; 0 if there was none.
    """

    __slots__ = ("_ends", "_longest_s", "counts", "longest_s", "packed", "stays", "work")

    def __init__(self) -> None:
        self.packed = bytearray()
        self.stays = array("q")
        self.counts = np.zeros(len(EDGES_S) + 1, dtype=np.int64)
        self.longest_s = 0.0
        self.work = Work()
        self._ends: list[npt.NDArray[np.int64]] = []
        self._longest_s: list[Floats] = []

    def add(self, gap_s: float) -> None:
        """Count a gap that was no step: a request was preempted in it."""
        self.counts[bisect_right(EDGES_S, gap_s)] += 1
        self.longest_s = max(self.longest_s, gap_s)

    def sum_up_if_many(self) -> None:
        """Sum up the steps, if there are so many that it is worth while."""
        if len(self.packed) >= _MANY_BYTES:
            self.sum_up()

    def sum_up(self) -> None:
        """Sum up the steps noted so far.

        >>> log, one_by_one = StepLog(), StepLog()
        >>> log.packed += pack_step(500, 0.01, 1e-4, 5, 495, 3, 100, 3)  # 495 iterations, three requests, up to 60 ms
        >>> log.sum_up()
        >>> for i in range(5, 500):
        ...     one_by_one.packed += pack_step(i + 1, 0.01, 1e-4, i, 1, 3, 100 + 3 * (i - 5), 3)
        >>> one_by_one.sum_up()
        >>> bool((log.counts == one_by_one.counts).all()), log.longest_s == one_by_one.longest_s
        (True, True)
        >>> log.work.n_iterations, log.work.decode_tokens, round(log.work.busy_s, 4)
        (495, 1485, 17.424)
        >>> all(abs(a / b - 1) < 1e-12 for a, b in zip(log.work[1:], one_by_one.work[1:]))
        True
        """
        if not self.packed:
            return
        steps = np.frombuffer(self.packed, STEP)
        self.packed = bytearray()
        self._add_work(steps)
        decodes = steps[steps["n_decode"] > 0]
        if len(decodes):
            self._count_gaps(decodes)

    def _add_work(self, steps: Steps) -> None:
        n, n_decode, growth_s = (steps[k] for k in ("n_iterations", "n_decode", "growth_s"))
        tokens, grown = steps["held_tokens"], steps["held_growth"]
        first_s = steps["first_s"] + growth_s * steps["start"]
        # Sums over the iterations i of a step of (first + growth i) and (tokens + grown i) (first + growth i).
        sum_i = n * (n - 1) / 2
        sum_ii = sum_i * (2 * n - 1) / 3
        busy_s = n * first_s + sum_i * growth_s
        kv_token_s = n * tokens * first_s + sum_i * (grown * first_s + tokens * growth_s) + sum_ii * grown * growth_s
        n_iterations, decode_tokens = int(n.sum()), int((n * n_decode).sum())
        work = Work(len(steps), n_iterations, decode_tokens, float(busy_s.sum()), float(kv_token_s.sum()))
        self.work = self.work.plus(work)

    def _count_gaps(self, steps: Steps) -> None:
        first_s, growth_s, start = steps["first_s"], steps["growth_s"], steps["start"]
        n_iterations, n_decode = steps["n_iterations"], steps["n_decode"]
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

        >>> log = StepLog()
        >>> for end, gap_s in ((1, 0.5), (4, 0.2), (5, 0.3)):
        ...     log.packed += pack_step(end, gap_s, 0, 0, 1, 2, 0, 0)
        >>> log.stays.extend((7, 0, 5))
        >>> log.stays.extend((8, 1, 4))
        >>> log.stays.extend((9, 5, 5))
        >>> [column.tolist() for column in log.longest_of_requests()]
        [[7, 8], [0.5, 0.2]]
        """
        self.sum_up()
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
