"""Random times: a smooth part, given by its cumulants, and jumps, of which a random number come."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_N_CELLS = 128  # for sums of jumps
_N_DEVIATIONS = 8  # above the mean sum of jumps, up to which they are told apart
_LEAST_SKEWNESS = 0.02
_MANY_JUMPS = 40  # whose sum is as smooth as the rest


class Smooth(NamedTuple):
    """A random time by its mean, variance and third central moment."""

    mean_s: float
    variance_s2: float
    third_s3: float

    def plus(self, other: Smooth) -> Smooth:
        """The sum of two independent times."""
        return Smooth(*map(sum, zip(self, other, strict=True)))

    def longer_than(self, limits_s: Floats) -> Floats:
        """Probabilities, by the shifted gamma distribution with the same moments.

        >>> Smooth(1.0, 1.0, 2.0).longer_than(np.array([0.0, 1.0])).round(3).tolist()  # exponential
        [1.0, 0.368]
        """
        from scipy.special import gammaincc

        deviation_s = math.sqrt(max(self.variance_s2, 0.0))
        if deviation_s < 1e-9 * abs(self.mean_s) + 1e-15:
            return np.asarray(limits_s < self.mean_s, float)
        skewness = max(self.third_s3 / deviation_s**3, _LEAST_SKEWNESS)
        shape = 4 / skewness**2
        x = shape + (limits_s - self.mean_s) / deviation_s * math.sqrt(shape)
        return np.asarray(gammaincc(shape, np.maximum(x, 0.0)))


class Jumps(NamedTuple):
    """A random number of jumps of random sizes.

    Attributes:
        sizes_s: The sizes that a jump may have.
        numbers: How many of each there are on average.
        dispersion: Variance of their number over that of a Poisson distribution; 1 or more. It is a negative binomial
            one.
    """

    sizes_s: Floats
    numbers: Floats
    dispersion: float

    @property
    def mean_s(self) -> float:
        """Mean of their sum."""
        return float(self.numbers @ self.sizes_s)

    def smooth(self) -> Smooth:
        """Their sum by its moments, those of a compound negative binomial distribution."""
        n, more = float(self.numbers.sum()), self.dispersion - 1
        if n <= 0:
            return Smooth(0.0, 0.0, 0.0)
        first, second, third = (float(self.numbers @ self.sizes_s**k) / n for k in (1, 2, 3))
        variance = n * (second + more * first**2)
        return Smooth(n * first, variance, n * (third + 3 * more * first * second + 2 * more**2 * first**3))

    def cells(self) -> tuple[Floats, Floats]:
        """Sums of the jumps and their probabilities, on a grid."""
        whole, n = self.smooth(), float(self.numbers.sum())
        width_s = (whole.mean_s + _N_DEVIATIONS * math.sqrt(whole.variance_s2)) / (_N_CELLS - 2)
        places = np.minimum(self.sizes_s / width_s, _N_CELLS - 2)
        low = np.floor(places).astype(int)
        size = np.zeros(_N_CELLS)
        np.add.at(size, low, self.numbers / n * (1 - places + low))
        np.add.at(size, low + 1, self.numbers / n * (places - low))
        transformed = np.fft.rfft(size, 2 * _N_CELLS) - 1
        more = self.dispersion - 1
        logs = n * transformed if more < 1e-6 else -n / more * np.log(1 - more * transformed)
        chances = np.fft.irfft(np.exp(logs))[:_N_CELLS].clip(0.0)
        return np.asarray(width_s * np.arange(_N_CELLS)), np.asarray(chances / chances.sum())


class RandomTime(NamedTuple):
    """A smooth time and jumps, independent of each other."""

    smooth: Smooth
    jumps: tuple[Jumps, ...] = ()

    @property
    def mean_s(self) -> float:
        """Its mean."""
        return self.smooth.mean_s + math.fsum(jumps.mean_s for jumps in self.jumps)

    def plus(self, other: RandomTime) -> Self:
        """The sum of two independent times."""
        return type(self)(self.smooth.plus(other.smooth), self.jumps + other.jumps)

    def by_moments(self) -> Smooth:
        """The smooth time with the same mean, variance and third central moment."""
        smooth = self.smooth
        for jumps in self.jumps:
            smooth = smooth.plus(jumps.smooth())
        return smooth

    def longer_than(self, limits_s: Floats) -> Floats:
        """Probabilities that it is above limits."""
        smooth = self.smooth
        few = [jumps for jumps in self.jumps if 0 < jumps.numbers.sum() < _MANY_JUMPS]
        for jumps in self.jumps:
            if jumps.numbers.sum() >= _MANY_JUMPS:
                smooth = smooth.plus(jumps.smooth())
        while len(few) > 1:  # the most numerous are the smoothest
            few.sort(key=lambda jumps: float(jumps.numbers.sum()))
            smooth = smooth.plus(few.pop().smooth())
        if not few:
            return smooth.longer_than(limits_s)
        sums_s, chances = few[0].cells()
        return np.asarray(smooth.longer_than(limits_s[..., None] - sums_s) @ chances)
