"""Leaving out candidates that no best plan needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

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
    kept: list[int] = []
    for model in {candidate.model for candidate in candidates}:
        rows = [i for i, candidate in enumerate(candidates) if candidate.model == model]
        needed = _needed([candidates[i] for i in rows])
        kept += [i for i, is_needed in zip(rows, needed, strict=True) if is_needed]
    return tuple(candidates[i] for i in sorted(kept))


def _needed(candidates: Sequence[Candidate]) -> list[bool]:
    """Which of the candidates of one model no other one dominates."""
    names = sorted({gpu for candidate in candidates for gpu, _ in candidate.gpus})
    gpus = np.array([[dict(candidate.gpus).get(name, 0) for name in names] for candidate in candidates])
    usd_per_h = np.array([candidate.usd_per_h for candidate in candidates])
    rates = np.array([candidate.capacity_rps for candidate in candidates])

    def dominate(j: int) -> npt.NDArray[np.bool_]:
        """Which candidates serve no less than one with no more, itself among them."""
        some = np.flatnonzero((usd_per_h <= usd_per_h[j] * (1 + _ROUNDING)) & (gpus <= gpus[j]).all(axis=1))
        better = np.zeros(len(candidates), dtype=np.bool_)
        better[some] = (rates[some] >= rates[j]).all(axis=1)
        return better

    better_than = np.array([dominate(j) for j in range(len(candidates))])
    # Of two that dominate each other the first stays.
    is_superfluous = np.tril(better_than, -1) | np.triu(better_than & ~better_than.T, 1)
    return [not any(row) for row in is_superfluous.tolist()]
