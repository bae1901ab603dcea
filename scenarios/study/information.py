"""What it would be worth to know something before one decides.

Decisions lose something in each of many equally likely worlds. Who knows nothing takes the decision with the least mean
loss. Who knows x first takes the one with the least E[loss | x]: the difference of the two means is the expected value
of partial perfect information. E[loss | x] comes from a regression on x and its squares (M. Strong, J. Oakley,
A. Brennan, "Estimating multiparameter partial expected value of perfect information from a probabilistic sensitivity
analysis sample: a nonparametric regression approach", Medical Decision Making 34, 2014), but only to decide by: what is
saved are the losses of the worlds themselves, so that no x is worth more than to know everything. A regression finds
something in mere noise, too; so its answer counts only if it is above all answers with the worlds of x shuffled.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

N_SHUFFLED = 39
"""An answer that is above so many of mere noise is one by chance in one of forty cases."""

_SHUFFLE_STREAM = 402


def value_of_knowing(losses: Floats, known: Floats) -> float:
    """Mean loss that is saved by who knows something before he decides; 0 if that cannot be told from noise.

    Args:
        losses: Of each decision (rows) in each world (columns).
        known: What is known in each world (rows): one or more numbers (columns).

    Two decisions, of which each is right in half of the worlds: without knowledge half of them lose 1.

    >>> x = np.repeat([-1.0, 1.0], 20)
    >>> losses = np.array([x > 0, x < 0], dtype=float)
    >>> round(value_of_knowing(losses, x[:, None]), 9)
    0.5
    """
    return _unless_chance(lambda of_worlds: _saved(losses, of_worlds), known)


def _unless_chance(answer: Callable[[Floats], float], known: Floats) -> float:
    """An answer; 0 if it is not above all with the worlds of what is known shuffled."""
    found = answer(known)
    rng = np.random.default_rng(_SHUFFLE_STREAM)
    is_above = all(found > answer(rng.permutation(known, axis=0)) for _ in range(N_SHUFFLED))
    return found if is_above else 0.0


def _saved(losses: Floats, known: Floats) -> float:
    """Mean loss that is saved by who decides by the regression, in the same worlds."""
    decisions = _fitted(losses, known).argmin(axis=0)
    with_knowledge = losses[decisions, np.arange(losses.shape[1])]
    return max(0.0, float(losses.mean(axis=1).min() - with_knowledge.mean()))


def value_of_knowing_all(losses: Floats) -> float:
    """Mean loss that is saved by who knows in which world he is."""
    return float(losses.mean(axis=1).min() - losses.min(axis=0).mean())


def explained_share(values: Floats, known: Floats) -> float:
    """Share of the variance of values over worlds that a regression on what is known explains, less what noise would.

    The second argument is as for `value_of_knowing`; 0 if the share cannot be told from noise.
    """
    return _unless_chance(lambda of_worlds: _explained_share(values, of_worlds), known)


def _explained_share(values: Floats, known: Floats) -> float:
    n_worlds = len(values)
    total = float(np.var(values))
    n_terms = 2 * known.shape[1]
    if total == 0 or n_worlds <= n_terms + 1:
        return 0.0
    left = float(np.var(values - _fitted(values[None, :], known)[0]))
    adjusted = 1 - left / total * (n_worlds - 1) / (n_worlds - n_terms - 1)
    return float(max(0.0, adjusted))


def _fitted(values: Floats, known: Floats) -> Floats:
    """Least squares of each row on what is known and its squares."""
    terms = np.hstack([np.ones((len(known), 1)), known, known**2])
    coefficients = np.linalg.lstsq(terms, values.T, rcond=None)[0]
    return np.asarray((terms @ coefficients).T)
