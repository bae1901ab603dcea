"""What became of a figure from one set of runs to another, with the interval that the seeds leave open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from scenarios.study.intervals import half_width, welch_half_width

_Sides = tuple[dict[int, float], dict[int, float]]
"""A figure by seed, on both sides."""

_ROUNDING = 1e-12
"""What is less, relative to the figures, is no change: it comes from the order of sums."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a figure.

    Attributes:
        base: By seed, what BASE has.
        new: By seed, what NEW has. The same seeds as in BASE are pairs.
        half_width: Of the 95 % interval of the difference; None: there is none.
        relative: Difference / BASE's mean; None if that is 0 and the difference is not.
        relative_half_width: Half width / BASE's mean; None likewise.
    """

    base: Mapping[int, float]
    new: Mapping[int, float]
    half_width: float | None
    relative: float | None
    relative_half_width: float | None

    @property
    def base_mean(self) -> float:
        """Mean over the seeds of BASE."""
        return fmean(self.base.values())

    @property
    def new_mean(self) -> float:
        """Mean over the seeds of NEW."""
        return fmean(self.new.values())

    @property
    def difference(self) -> float:
        """NEW - BASE, of the means."""
        if _are_pairs(self.base, self.new):
            return fmean(self.new[seed] - self.base[seed] for seed in self.base)
        return self.new_mean - self.base_mean

    @property
    def direction(self) -> float:
        """Above 0 if the figure rose: in relative terms, if there are such."""
        return self.difference if self.relative is None else self.relative

    @property
    def is_there(self) -> bool:
        """Whether anything changed, for any pair."""
        if not _are_pairs(self.base, self.new):
            return self.difference != 0
        return any(_differ(self.base[seed], self.new[seed]) for seed in self.base)

    @property
    def is_noise(self) -> bool:
        """Whether the interval holds 0: that of the relative difference, if there is one."""
        if self.relative is not None and self.relative_half_width is not None:
            return abs(self.relative) <= self.relative_half_width
        return self.half_width is not None and abs(self.difference) <= self.half_width

    @property
    def is_clear(self) -> bool:
        """Whether something changed, by more than the noise of the seeds."""
        return self.is_there and not self.is_noise

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "base": self.base_mean,
            "new": self.new_mean,
            "difference": self.difference,
            "half_width": self.half_width,
            "relative": self.relative,
            "relative_half_width": self.relative_half_width,
            "within_noise": self.is_there and self.is_noise,
            "base_by_seed": {str(seed): value for seed, value in self.base.items()},
            "new_by_seed": {str(seed): value for seed, value in self.new.items()},
        }


def _are_pairs(base: Mapping[int, float], new: Mapping[int, float]) -> bool:
    return base.keys() == new.keys()


def _differ(base: float, new: float) -> bool:
    return abs(new - base) > _ROUNDING * max(abs(base), abs(new))


def make_change(base: Mapping[int, float], new: Mapping[int, float], *, has_interval: bool) -> Change:
    """The change of a figure for one scenario and planner.

    Args:
        base: By seed.
        new: By seed; the same seeds, or none of them.
        has_interval: Whether the seeds say something of chance.
    """
    width = _half_width(base, new) if has_interval else None
    return _with_relative(Change(base, new, width, None, None))


def _with_relative(change: Change) -> Change:
    """With what it is relative to BASE's mean."""
    mean = abs(change.base_mean)
    if mean == 0:
        return change if change.difference else replace(change, relative=0.0)
    relative_width = None if change.half_width is None else change.half_width / mean
    return replace(change, relative=change.difference / mean, relative_half_width=relative_width)


def _half_width(base: Mapping[int, float], new: Mapping[int, float]) -> float | None:
    """Of the mean difference of pairs, or else of the difference of two means; None of a single run."""
    if min(len(base), len(new)) < 2:
        return None
    if not _are_pairs(base, new):
        return welch_half_width(list(base.values()), list(new.values()))
    width = half_width([new[seed] - base[seed] for seed in base])
    largest = max(map(abs, (*base.values(), *new.values())))
    return width if width > _ROUNDING * largest else 0.0


def mean_change(changes: Sequence[Change], *, is_share: bool) -> Change:
    """The mean over scenarios and planners, each counting once.

    The figures of one seed go together, so that the interval is over means by seed. Where the cases have
    different seeds it is as wide as theirs are in the mean, which is never too narrow.

    Args:
        changes: Of one figure.
        is_share: Whether its differences are compared as they are, in points; else the relative ones.
    """
    if len(changes) == 1:
        return changes[0]
    scales = [abs(change.base_mean) for change in changes]
    relatives = [change.relative for change in changes if change.relative is not None]
    has_interval = any(change.half_width is not None for change in changes)
    is_relative = has_interval and len(relatives) == len(changes)
    equal = [1.0] * len(changes)
    sides = _by_seed(changes, equal) or _means(changes)
    width = _mean_width(changes, equal) if has_interval else None
    if is_share:
        return _with_relative(Change(*sides, width, None, None))
    return Change(
        *sides,
        width,
        fmean(relatives) if len(relatives) == len(changes) else None,
        _mean_width(changes, scales) if is_relative else None,
    )


def _by_seed(changes: Sequence[Change], scales: Sequence[float]) -> _Sides | None:
    """By seed, BASE's and NEW's means over cases, each / its scale; None if cases have different seeds."""
    first = changes[0]
    if any(one.base.keys() != first.base.keys() or one.new.keys() != first.new.keys() for one in changes):
        return None
    pairs = [(one, scale or 1.0) for one, scale in zip(changes, scales, strict=True)]
    base = {seed: fmean(one.base[seed] / scale for one, scale in pairs) for seed in first.base}
    new = {seed: fmean(one.new[seed] / scale for one, scale in pairs) for seed in first.new}
    return base, new


def _means(changes: Sequence[Change]) -> _Sides:
    """BASE's and NEW's means over cases, for no seed in particular."""
    return {0: fmean(one.base_mean for one in changes)}, {0: fmean(one.new_mean for one in changes)}


def _mean_width(changes: Sequence[Change], scales: Sequence[float]) -> float | None:
    sides = _by_seed(changes, scales)
    if sides is not None:
        return _half_width(*sides)
    pairs = zip(changes, scales, strict=True)
    widths = [one.half_width / (scale or 1.0) for one, scale in pairs if one.half_width is not None]
    return fmean(widths) if len(widths) == len(changes) else None
