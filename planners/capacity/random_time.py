"""Random times: a smooth part, given by its cumulants, and jumps, of which a random number come.

Many times at once: arrays have one row for each. Who asks about limits says of which time each of them is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from planners.capacity.rows import take

if TYPE_CHECKING:
    import numpy.typing as npt

    from planners.capacity.rows import Places

    Floats = npt.NDArray[np.float64]

_N_CELLS = 128  # for sums of jumps
_N_DEVIATIONS = 8  # above the mean sum of jumps, up to which they are told apart
_LEAST_SKEWNESS = 0.02
_MANY_JUMPS = 40  # whose sum is as smooth as the rest
_NEARLY_POISSON = 1e-6
_NO_CHANCE = 1e-13  # of a cell
_RARE = 32  # a time is above the range that is looked at with a probability of exp(-32)


class Smooth(NamedTuple):
    """Random times by their means, variances and third central moments; [time]."""

    mean_s: Floats
    variance_s2: Floats
    third_s3: Floats

    def plus(self, other: Smooth) -> Smooth:
        """The sums of two independent times each."""
        return Smooth(*map(np.add, self, other))

    def times(self, factor: Floats) -> Smooth:
        """Cumulants times a factor: 0 of times that do not count."""
        return Smooth(*(factor * cumulant for cumulant in self))

    def gamma(self) -> Gamma:
        """Shifted gamma distributions with the same moments."""
        deviation_s = np.sqrt(np.maximum(self.variance_s2, 0.0))
        is_fixed = deviation_s < 1e-9 * np.abs(self.mean_s) + 1e-15
        deviation_s = np.where(is_fixed, 1.0, deviation_s)
        skewness = np.maximum(self.third_s3 / deviation_s**3, _LEAST_SKEWNESS)
        return Gamma(self.mean_s, 4 / skewness**2, 2 / skewness / deviation_s, is_fixed)


class Gamma(NamedTuple):
    """Shifted gamma distributions; [time].

    Attributes:
        mean_s: Their means.
        shape: Their shapes.
        per_s: One over their scales.
        is_fixed: Whether a time is always the same.
    """

    mean_s: Floats
    shape: Floats
    per_s: Floats
    is_fixed: npt.NDArray[np.bool_]

    def longer_than(self, of: Places, limits_s: Floats) -> Floats:
        """Probabilities that times are above limits.

        Args:
            of: The time of each limit.
            limits_s: Limits; [limit].

        An exponential time:

        >>> one = np.ones(1)
        >>> Smooth(one, one, 2 * one).gamma().longer_than(np.array([0, 0]), np.array([0.0, 1.0])).round(3).tolist()
        [1.0, 0.368]
        """
        from scipy.special import gammaincc

        shape, later_s = self.shape[of], limits_s - self.mean_s[of]
        chances = gammaincc(shape, np.maximum(shape + later_s * self.per_s[of], 0.0))
        return np.asarray(np.where(self.is_fixed[of], later_s < 0, chances))

    def range_s(self) -> tuple[Floats, Floats]:
        """Limits below which no time is, and above which next to none is.

        A gamma distribution is above its mean by sqrt(2 t) + t / 2 x skewness deviations with a probability of exp(-t)
        at most.
        """
        above = np.sqrt(2.0 * _RARE * self.shape) + _RARE
        below_s, above_s = (np.where(self.is_fixed, 0.0, x / self.per_s) for x in (self.shape, above))
        return self.mean_s - below_s, self.mean_s + above_s


class Jumps(NamedTuple):
    """Random numbers of jumps of random sizes.

    Attributes:
        sizes_s: The sizes that a jump may have; [time, size].
        numbers: How many of each there are on average; [time, size].
        dispersion: Variance of their number over that of a Poisson distribution; 1 or more. It is a negative binomial
            one; [time].
    """

    sizes_s: Floats
    numbers: Floats
    dispersion: Floats

    @property
    def n(self) -> Floats:
        """How many there are on average."""
        return np.asarray(self.numbers.sum(axis=1))

    @property
    def mean_s(self) -> Floats:
        """Means of their sums."""
        return np.asarray(np.einsum("tk,tk->t", self.numbers, self.sizes_s))

    def smooth(self) -> Smooth:
        """Their sums by their moments, those of compound negative binomial distributions."""
        n, more = self.n, self.dispersion - 1
        some = np.where(n > 0, n, 1.0)
        first, second, third = (np.einsum("tk,tk->t", self.numbers, self.sizes_s**k) / some for k in (1, 2, 3))
        variance = n * (second + more * first**2)
        return Smooth(n * first, variance, n * (third + 3 * more * first * second + 2 * more**2 * first**3))

    def cells(self) -> tuple[Floats, Floats]:
        """Sums of jumps on a grid: the width of its cells, and their probabilities [time, cell]."""
        whole, n, more = self.smooth(), self.n[:, None], self.dispersion[:, None] - 1
        width_s = (whole.mean_s + _N_DEVIATIONS * np.sqrt(whole.variance_s2)) / (_N_CELLS - 2)
        places = np.minimum(self.sizes_s / width_s[:, None], _N_CELLS - 2)
        low = np.floor(places)
        at = (low + _N_CELLS * np.arange(len(low))[:, None]).astype(np.intp)
        in_both = np.stack([self.numbers / n * (1 - places + low), self.numbers / n * (places - low)])
        size = np.bincount(np.stack([at, at + 1]).ravel(), in_both.ravel(), low.shape[0] * _N_CELLS)
        transformed = np.fft.rfft(size.reshape(-1, _N_CELLS), 2 * _N_CELLS) - 1
        is_poisson = more < _NEARLY_POISSON
        more = np.where(is_poisson, 1.0, more)
        logs = np.where(is_poisson, n * transformed, -n / more * np.log(1 - more * transformed))
        chances = np.fft.irfft(np.exp(logs))[:, :_N_CELLS].clip(0.0)
        return width_s, chances / chances.sum(axis=1, keepdims=True)


class RandomTime(NamedTuple):
    """Smooth times and jumps, independent of each other."""

    smooth: Smooth
    jumps: tuple[Jumps, ...] = ()

    @property
    def mean_s(self) -> Floats:
        """Their means."""
        return np.asarray(sum((jumps.mean_s for jumps in self.jumps), self.smooth.mean_s))

    def plus(self, other: RandomTime) -> Self:
        """The sums of two independent times each."""
        return type(self)(self.smooth.plus(other.smooth), self.jumps + other.jumps)

    def by_moments(self) -> Smooth:
        """The smooth times with the same means, variances and third central moments."""
        smooth = self.smooth
        for jumps in self.jumps:
            smooth = smooth.plus(jumps.smooth())
        return smooth

    def longer_than(self, of: Places, limits_s: Floats) -> Floats:
        """Probabilities that they are above limits.

        Args:
            of: The time of each limit.
            limits_s: Limits; [limit].
        """
        if not self.jumps:
            return self.smooth.gamma().longer_than(of, limits_s)
        smooth, few, has_few = self._fewest()
        gamma = smooth.gamma()
        chances = np.empty(len(of))
        is_celled = has_few[of]
        chances[~is_celled] = gamma.longer_than(of[~is_celled], limits_s[~is_celled])
        if is_celled.any():
            rows, place = np.flatnonzero(has_few), np.cumsum(has_few) - 1
            width_s, of_cells = take(few, rows).cells()
            celled = place[of[is_celled]], limits_s[is_celled]
            chances[is_celled] = _longer_with_cells(take(gamma, rows), width_s, of_cells, *celled)
        return chances

    def _fewest(self) -> tuple[Smooth, Jumps, npt.NDArray[np.bool_]]:
        """Of each time the jumps that are not smooth, the fewest; the rest; and whether there are any such jumps."""
        numbers = np.array([np.where(jumps.mean_s > 0, jumps.n, 0.0) for jumps in self.jumps])
        is_few = (numbers > 0) & (numbers < _MANY_JUMPS)
        has_few = np.asarray(is_few.any(axis=0))
        fewest = np.where(is_few, numbers, np.inf).argmin(axis=0)
        smooth, few = self.smooth, self.jumps[0]
        for place, jumps in enumerate(self.jumps):
            is_apart = has_few & (fewest == place)
            smooth = smooth.plus(jumps.smooth().times(np.where(is_apart, 0.0, 1.0)))
            by_size = is_apart[:, None]
            few = Jumps(
                np.where(by_size, jumps.sizes_s, few.sizes_s),
                np.where(by_size, jumps.numbers, few.numbers),
                np.where(is_apart, jumps.dispersion, few.dispersion),
            )
        return smooth, few, has_few


def _longer_with_cells(gamma: Gamma, width_s: Floats, chances: Floats, of: Places, limits_s: Floats) -> Floats:
    """Probabilities that a smooth time and a sum on a grid are above limits.

    Of a limit, cells that leave nothing of it count in full, and those that leave more than the smooth time ever takes
    not at all.
    """
    least_s, most_s = gamma.range_s()
    first, sure = (
        np.clip(np.floor((limits_s - bound_s[of]) / width_s[of]) + 1, 0, _N_CELLS).astype(np.intp)
        for bound_s in (most_s, least_s)
    )
    beyond = np.zeros((len(chances), _N_CELLS + 1))
    beyond[:, :-1] = chances[:, ::-1].cumsum(axis=1)[:, ::-1]
    n = sure - first
    limit = np.repeat(np.arange(len(of)), n)
    cell = np.arange(len(limit)) - np.repeat(n.cumsum() - n - first, n)
    chance = chances[of[limit], cell]
    counts = chance > _NO_CHANCE
    limit, cell, chance = limit[counts], cell[counts], chance[counts]
    late = gamma.longer_than(of[limit], limits_s[limit] - width_s[of[limit]] * cell) * chance
    return np.asarray(beyond[of, sure] + np.bincount(limit, late, len(of)))
