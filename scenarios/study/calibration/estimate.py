"""Least squares with a simulation inside: a few bounded parameters, their intervals, and which of them data identify.

A simulated latency is not smooth in a parameter: an iteration that takes a little longer lets a request in that had to
wait before. So what is fitted are a few moments of the residuals, not each of them: their mean and their slopes in what
requests are like. Gauss-Newton steps with bounds, from differences over wide steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Predict = Callable[[Floats, int], Floats]
"""From the values of all parameters to the logarithms of latencies, means over so many simulations."""

CONFIDENCE = 0.95
_MOST_ROUNDS = 10
_DRAWS = 8
"""Simulations of which the mean is taken: chance in them adds little to the noise of the data then."""
_DRAWS_OF_SLOPES = 4
"""The same at both ends of a difference."""
_NEAR = 0.5
"""Slopes are kept as long as no parameter is further off than this share of the step of its difference."""
_MOST_HALVINGS = 4
_LEAST_EFFECT = 0.05
"""Of the step of a difference: what it changes in a latency, as a share, in the mean."""
_WIDEST_STEP = 64.0
"""The same in resolutions of a parameter."""
_CONVERGED = 0.1
"""Steps below this share of the standard error end the search."""
_LEAST_NOISE = 1e-4
_LEAST = 1e-9
_PULL = 0.02
"""A parameter is drawn to where it starts with a standard deviation of 1 / _PULL resolutions."""
_USEFUL = 0.3
"""A half width of this share of the value is of use, whatever the resolution."""
_ALIKE = 0.6
"""Estimates with this correlation, in either direction, are mistaken for one another."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What may be fitted.

    Attributes:
        name: What it is called.
        start: Its value without a fit.
        lower: Least value that is physically sensible.
        upper: Largest.
        resolution: An interval of more than this to either side says nothing of use.
    """

    name: str
    start: float
    lower: float
    upper: float
    resolution: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A parameter after the fit.

    Attributes:
        name: Of the parameter.
        start: Before the fit.
        value: After it.
        low: Of its 95 % interval; None if not identified.
        high: The same.
        at_bound: Whether it is at the `lower` or the `upper` bound of what is physically sensible.
        is_fitted: Whether `value` is not `start`. One of several that cannot be told apart is, and stands for all.
        why_not: Why the data do not identify it; empty if they do.
    """

    name: str
    start: float
    value: float
    low: float | None = None
    high: float | None = None
    at_bound: str = ""
    is_fitted: bool = True
    why_not: str = ""

    @property
    def is_identified(self) -> bool:
        """Whether the data say what it is."""
        return not self.why_not


class Target(NamedTuple):
    """What is to be met: logarithms of latencies, of several metrics.

    Attributes:
        observed: As measured.
        metric: Which metric each is of, from 0: each has a noise of its own.
        features: Orthonormal columns, of which each is of one metric: the moments are sums with them.
        block: Neighbours in time have the same number, from 0: their errors may be alike.
    """

    observed: Floats
    metric: NDArray[np.int64]
    features: Floats
    block: NDArray[np.int64]

    def noise(self, residuals: Floats) -> Floats:
        """Standard deviation of each residual: that of its metric."""
        squares = np.bincount(self.metric, residuals**2) / np.maximum(1, np.bincount(self.metric))
        noise: Floats = np.sqrt(np.maximum(squares, _LEAST_NOISE**2))[self.metric]
        return noise


class _Linear(NamedTuple):
    """Residuals and their slopes at some values, in units of the noise."""

    residuals: Floats
    slopes: Floats  # of the moments
    moments: Floats


def estimate(predict: Predict, target: Target, parameters: Sequence[Parameter]) -> tuple[Estimate, ...]:
    """Fit parameters; those that the data do not identify are left where they start, one after the other.

    Args:
        predict: The simulation.
        target: What was measured.
        parameters: What to fit.
    """
    values = np.array([p.start for p in parameters])
    half, beyond = np.zeros(len(parameters)), np.zeros(len(parameters))
    notes: dict[int, str] = {}
    free = list(range(len(parameters)))
    while free:
        values, linear = _Search(predict, target, parameters, free).run()
        widths = _widths(linear, target)
        half[free], beyond[free] = widths.half, widths.beyond
        useful = np.array([max(parameters[j].resolution, _USEFUL * abs(values[j])) for j in free])
        relative = np.where(_is_pushed(values[free], widths, [parameters[j] for j in free]), 0.0, widths.half / useful)
        worst = int(np.argmax(relative))
        if relative[worst] <= 1:
            break
        alike = _alike(widths, worst, useful)
        names = " and ".join(parameters[free[k]].name for k in alike)
        left = free[worst]
        notes[left] = f"cannot be told apart from {names}" if alike else "the data say too little of it"
        for k in alike:
            notes.setdefault(free[k], f"stands for {parameters[left].name}, too: they cannot be told apart")
        del free[worst]
    found = values if free else np.array([p.start for p in parameters])
    return tuple(
        _as_estimate(p, found[j], half[j], beyond[j], notes.get(j, ""), is_fitted=j in free)
        for j, p in enumerate(parameters)
    )


def _alike(widths: _Widths, worst: int, useful: Floats) -> list[int]:
    """The parameters but for which the data would say what this one is."""
    correlation = np.abs(widths.correlation[worst])
    correlation[worst] = 0.0
    if widths.alone[worst] > useful[worst]:
        return []
    return [int(k) for k in np.flatnonzero(correlation >= _ALIKE)]


def _bound(p: Parameter, value: float) -> str:
    near = 1e-6 * p.resolution
    return "lower" if value <= p.lower + near else "upper" if value >= p.upper - near else ""


def _is_pushed(values: Floats, widths: _Widths, parameters: Sequence[Parameter]) -> list[bool]:
    """Whether each is at a bound that the data would have it beyond."""
    sign = {"lower": -1.0, "upper": 1.0, "": 0.0}
    signs = [sign[_bound(p, value)] for p, value in zip(parameters, values, strict=True)]
    return [s * step > half for s, step, half in zip(signs, widths.beyond, widths.half, strict=True)]


def _as_estimate(
    p: Parameter, value: float, half_width: float, beyond: float, note: str, *, is_fitted: bool
) -> Estimate:
    if note or not is_fitted:
        return Estimate(p.name, p.start, float(value) if is_fitted else p.start, is_fitted=is_fitted, why_not=note)
    at_bound = _bound(p, value)
    centre = value + beyond if at_bound else value
    low, high = (min(p.upper, max(p.lower, end)) for end in (centre - half_width, centre + half_width))
    return Estimate(p.name, p.start, float(value), float(low), float(high), at_bound)


class _Search:
    """Gauss-Newton steps within bounds, from where the parameters start.

    Args:
        predict: The simulation.
        target: What was measured.
        parameters: All parameters.
        free: Which of them to fit.
    """

    def __init__(self, predict: Predict, target: Target, parameters: Sequence[Parameter], free: Sequence[int]) -> None:
        self._predict = predict
        self._target = target
        self._free = [parameters[j] for j in free]
        self._index = list(free)
        self._start = np.array([p.start for p in parameters])
        self._scale = np.array([p.resolution for p in self._free])
        self._bounds = np.array([(p.lower, p.upper) for p in self._free])
        self._at: Floats | None = None
        self._columns = np.zeros((len(target.observed), len(self._free)))
        here = predict(self._start, _DRAWS_OF_SLOPES)
        self._steps = np.array([self._step(here, p, j) for j, p in zip(free, self._free, strict=True)])

    def run(self) -> tuple[Floats, _Linear]:
        """The values of all parameters, and residuals and slopes there."""
        values = self._start.copy()
        residuals = self._residuals(values)
        for _ in range(_MOST_ROUNDS):
            linear = self._linear(values, residuals)
            change, widths = self._change(values, linear)
            there, residuals = self._go(values, residuals, change)
            is_near = np.all(np.abs(there - values)[self._index] <= _CONVERGED * widths)
            values = there
            if is_near:
                break
        return values, self._linear(values, residuals)

    def _residuals(self, values: Floats) -> Floats:
        return self._predict(values, _DRAWS) - self._target.observed

    def _linear(self, values: Floats, residuals: Floats) -> _Linear:
        noise = self._target.noise(residuals)
        by_noise = self._target.features / noise[:, None]
        return _Linear(residuals / noise, by_noise.T @ self._slopes(values), by_noise.T @ residuals)

    def _slopes(self, values: Floats) -> Floats:
        """Of the latencies: those of before as long as the values are near to those."""
        if self._at is None or np.any(np.abs(values - self._at)[self._index] > _NEAR * self._steps):
            self._at = values.copy()
            columns = []
            for j, p, step in zip(self._index, self._free, self._steps, strict=True):
                low, high = values.copy(), values.copy()
                low[j], high[j] = max(p.lower, values[j] - step), min(p.upper, values[j] + step)
                change = self._predict(high, _DRAWS_OF_SLOPES) - self._predict(low, _DRAWS_OF_SLOPES)
                columns.append(change / (high[j] - low[j]))
            self._columns = np.array(columns).T
        return self._columns

    def _change(self, values: Floats, linear: _Linear) -> tuple[Floats, Floats]:
        """The next step, and standard errors."""
        from scipy.optimize import lsq_linear

        own = values[self._index]
        matrix = np.concatenate([linear.slopes * self._scale, _PULL * np.eye(len(own))])
        pull = -_PULL * (own - self._start[self._index]) / self._scale
        room = (self._bounds - own[:, None]) / self._scale[:, None] + np.array([-_LEAST, _LEAST])
        found = lsq_linear(matrix, np.concatenate([-linear.moments, pull]), bounds=(room[:, 0], room[:, 1]))
        widths = np.sqrt(np.diag(np.linalg.pinv(matrix.T @ matrix)))
        return found.x * self._scale, widths * self._scale

    def _go(self, values: Floats, residuals: Floats, change: Floats) -> tuple[Floats, Floats]:
        """Where a step leads, and the residuals there: a shorter one where the whole one makes it worse."""
        by_noise = self._target.features / self._target.noise(residuals)[:, None]
        before = float(np.linalg.norm(by_noise.T @ residuals))
        for _ in range(_MOST_HALVINGS):
            there = values.copy()
            there[self._index] = np.clip(values[self._index] + change, self._bounds[:, 0], self._bounds[:, 1])
            found = self._residuals(there)
            if float(np.linalg.norm(by_noise.T @ found)) <= before:
                return there, found
            change = change / 2
        return values, residuals

    def _step(self, here: Floats, p: Parameter, j: int) -> float:
        """How far to go for a difference: until a change is seen beside what is chance in a simulation."""
        step = p.resolution
        while step < _WIDEST_STEP * p.resolution:
            there = self._start.copy()
            there[j] = p.start + step if p.start + step <= p.upper else max(p.lower, p.start - step)
            effect = self._target.features.T @ (self._predict(there, _DRAWS_OF_SLOPES) - here)
            if np.linalg.norm(effect) >= _LEAST_EFFECT * np.sqrt(len(here)):
                break
            step *= 2
        return step


class _Widths(NamedTuple):
    """What is known of parameters after a search.

    Attributes:
        half: Half widths of the 95 % intervals.
        alone: The same if nothing else had to be fitted.
        beyond: The step that would follow if there were no bounds.
        correlation: Of the estimates.
    """

    half: Floats
    alone: Floats
    beyond: Floats
    correlation: Floats


def _widths(linear: _Linear, target: Target) -> _Widths:
    """Half widths from the variance of the residuals, wider as far as those of neighbours in time are alike."""
    from scipy.stats import t

    slopes = linear.slopes / np.maximum(np.linalg.norm(linear.slopes, axis=0), _LEAST)
    scale = 1 / np.maximum(np.linalg.norm(linear.slopes, axis=0), _LEAST)
    n, k = len(linear.residuals), slopes.shape[1]
    left = max(1, n - k)
    level = 0.5 + CONFIDENCE / 2
    spread = t.ppf(level, left) * np.sqrt(linear.residuals @ linear.residuals / left)
    eigenvalues, vectors = np.linalg.eigh(slopes.T @ slopes)
    covariance = (vectors / np.maximum(eigenvalues, _LEAST)) @ vectors.T
    deviations = np.sqrt(np.diag(covariance))
    half = spread * deviations * np.sqrt(_inflation(linear, target, slopes, covariance)) * scale
    beyond = -(covariance @ slopes.T @ linear.moments) * scale
    return _Widths(half, spread * scale, beyond, covariance / np.outer(deviations, deviations))


def _inflation(linear: _Linear, target: Target, slopes: Floats, covariance: Floats) -> Floats:
    """By how much the variance of each estimate is larger than from residuals of one size that are independent.

    Where the latencies that tell a parameter are further off than others, so is the parameter. Where residuals of
    neighbours in time are alike, all parameters are: by the mean over them of the variance from sums over blocks, over
    that from single residuals.
    """
    n, k = len(linear.residuals), slopes.shape[1]
    gradients = (target.features @ slopes @ covariance) * linear.residuals[:, None]
    single = (gradients**2).sum(axis=0)
    even = np.diag(covariance) * float(linear.residuals @ linear.residuals) / n
    sizes: Floats = np.maximum(1.0, single / even)
    n_blocks = int(target.block.max()) + 1
    if n_blocks <= k:
        return sizes
    sums = np.array([np.bincount(target.block, column, n_blocks) for column in gradients.T])
    of_blocks = (sums**2).sum(axis=1) * n_blocks / (n_blocks - 1)
    alike: Floats = sizes * max(1.0, float(np.mean(of_blocks / np.maximum(single, _LEAST**2))))
    return alike
