"""Leaving out candidates that no best plan needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planners.problem.candidate import Candidate

_ROUNDING = 1e-9  # sums of prices are not exact


def without_dominated(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates without those that another one of the same model makes superfluous.

    c' dominates c if it takes no more GPUs of any type, costs no more, and serves no less of any workload type. It can
    take the place of c in any plan, so that there is always a best plan without c; also one with as few replicas and as
    few different configurations. Of candidates that are equal in all that, the first stays.

    >>> from planners.problem.candidate import Candidate
    >>> one = Candidate("one", "m", (("L40", 1),), 1.0, (3.0,))
    >>> slow = Candidate("slow", "m", (("A40", 1), ("L40", 1)), 1.5, (2.9,))
    >>> [candidate.name for candidate in without_dominated([slow, one])]
    ['one']
    """
    gpus = [dict(candidate.gpus) for candidate in candidates]

    def dominates(i: int, j: int) -> bool:
        better, worse = candidates[i], candidates[j]
        if better.model != worse.model or any(n > gpus[j].get(gpu, 0) for gpu, n in better.gpus):
            return False
        if better.usd_per_h > worse.usd_per_h * (1 + _ROUNDING):
            return False
        if any(low > high for low, high in zip(worse.capacity_rps, better.capacity_rps, strict=True)):
            return False
        return i < j or not dominates(j, i)

    indices = range(len(candidates))
    kept = (j for j in indices if not any(i != j and dominates(i, j) for i in indices))
    return tuple(candidates[j] for j in kept)
