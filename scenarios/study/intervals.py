"""95 % intervals of means over seeds, by Student's t."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import stdev

CONFIDENCE = 0.95


def half_width(values: Sequence[float]) -> float:
    """Half the width of the interval of a mean, from two or more values that were drawn independently.

    The mean of n values has the standard error s / sqrt(n) and Student's t distribution with n - 1 degrees of freedom.

    >>> round(half_width([1.0, 2.0, 3.0]), 3)
    2.484
    """
    standard_error = stdev(values) / sqrt(len(values))
    return _quantile(len(values) - 1) * standard_error


def welch_half_width(one: Sequence[float], other: Sequence[float]) -> float:
    """Half the width of the interval of the difference of two means, of two or more values each.

    The samples may have different variances: B. L. Welch, "The generalization of 'Student's' problem when several
    different population variances are involved", Biometrika 34, 1947.

    >>> round(welch_half_width([1.0, 2.0, 3.0], [4.0, 6.0, 8.0]), 3)
    4.155
    """
    errors = [stdev(values) ** 2 / len(values) for values in (one, other)]
    both = sum(errors)
    if both == 0:
        return 0.0
    degrees = both**2 / sum(error**2 / (len(values) - 1) for error, values in zip(errors, (one, other), strict=True))
    return _quantile(degrees) * sqrt(both)


def _quantile(degrees_of_freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, degrees_of_freedom))
