"""Curves through measured times that never fall, however noisy the measurements are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# What counts as a fall rather than as rounding: half the rise of the squared relative error per relative change.
ROUNDING = 1e-9


class DecodeLines(NamedTuple):
    """Times of decodes, affine in their total context; neither base nor slope falls with the number of decodes.

    Attributes:
        batches: Numbers of decodes that were measured.
        bases: For each of them, the time without context.
        slopes: For each of them, the time of a token of context.
        n_held: Steps from one of them to the next that would have been falls.
    """

    batches: list[int]
    bases: list[float]
    slopes: list[float]
    n_held: int

    @classmethod
    def fit(cls, n: Floats, context: Floats, time_s: Floats, whole_s: Floats | None = None) -> DecodeLines:
        """Least squares on errors relative to `whole_s`, by default to the times themselves.

        >>> n, context = np.array([1.0, 1.0, 4.0, 4.0]), np.array([10.0, 20.0, 40.0, 80.0])
        >>> lines = DecodeLines.fit(n, context, 2.0 + n + 0.1 * context)
        >>> [round(base, 9) for base in lines.bases], [round(slope, 9) for slope in lines.slopes]
        ([3.0, 6.0], [0.1, 0.1])
        """
        batches = np.unique(n)
        steps = (n[:, None] >= batches).astype(np.float64)
        # Unknowns: what each batch size adds to base and slope. None is negative, so neither falls.
        added, n_held = fit_nonnegative(np.hstack([steps, steps * context[:, None]]), time_s, whole_s)
        base, slope = np.split(added, 2)
        return cls([int(x) for x in batches], np.cumsum(base).tolist(), np.cumsum(slope).tolist(), n_held)

    def at(self, n: float) -> tuple[float, float]:
        """(base, slope) of n decodes, linear between and beyond those that were measured."""
        return line(self.batches, self.bases, n), line(self.batches, self.slopes, n)


def fit_nonnegative(design: Floats, time_s: Floats, whole_s: Floats | None = None) -> tuple[Floats, int]:
    """Least squares on errors relative to `whole_s`, by default to `time_s`, over unknowns that are not negative.

    Returns:
        The unknowns, and how many of them are held at 0.
    """
    from scipy.optimize import nnls

    whole_s = time_s if whole_s is None else whole_s
    relative, goal = design / whole_s[:, None], time_s / whole_s
    scale = np.maximum(np.abs(relative).max(axis=0, initial=0.0), 1e-300)
    found = nnls(relative / scale, goal, maxiter=100 * design.shape[1])[0]
    # A held unknown would lower the error if it were negative.
    pull = (relative / scale).T @ (goal - relative @ (found / scale))
    return np.asarray(found / scale, dtype=np.float64), int(((found == 0) & (pull < -ROUNDING)).sum())


def level(times: Floats) -> Floats:
    """The mean of the closest times, from above and from below, that fall along no axis.

    >>> level(np.array([1.0, 3.0, 2.0, 4.0])).tolist()
    [1.0, 2.5, 2.5, 4.0]
    """
    above, below = times, np.flip(times)
    for axis in range(times.ndim):
        above = np.maximum.accumulate(above, axis=axis)
        below = np.minimum.accumulate(below, axis=axis)
    return np.asarray((above + np.flip(below)) / 2, dtype=np.float64)


def segment(knots: Sequence[float], x: float) -> int:
    """The index of the knot from which a line leads to x; the first or last segment outside."""
    return min(max(bisect_right(knots, x) - 1, 0), len(knots) - 2)


def line(knots: Sequence[float], values: Sequence[float], x: float) -> float:
    """Linear between knots and beyond them."""
    i = segment(knots, x)
    return values[i] + (values[i + 1] - values[i]) * (x - knots[i]) / (knots[i + 1] - knots[i])
