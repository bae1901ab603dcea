"""Mean times of iterations: of means that are no whole numbers, and of many replicas at once.

What an iteration holds is whole: decodes, tokens, chunks. Its means are not, and a planner asks for those of thousands
of replicas. `mean_times` gives times that agree with those of the stages where all is whole, and do not jump between.
The last but one axis of arrays counts replicas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from sim.timing.service_time import Chunk, StageTime

Real: TypeAlias = Any
"""A float, or an array of floats."""


class MeanStageTime(Protocol):
    """Mean times of one pipeline stage of a replica, or of many along the last but one axis, in seconds."""

    def decode_s(self, n_decode: Real, context_tokens: Real) -> Real:
        """Of iterations without chunks; the arguments are those of `StageTime`, at the mean."""
        ...

    def mixed_s(
        self, n_decode: Real, context_tokens: Real, new_tokens: Real, past_tokens: Real, n_chunks: Real
    ) -> Real:
        """Of iterations with so many chunks, 1 or more, each of so many tokens after so many others."""
        ...


def mean_times(stage: StageTime) -> MeanStageTime:
    """The mean times of a stage, of floats."""
    means_of: Callable[[Sequence[StageTime]], MeanStageTime] | None = getattr(type(stage), "means_of", None)
    return Interpolated(stage) if means_of is None else means_of([stage])


def stacked(stages: Sequence[StageTime]) -> MeanStageTime:
    """The mean times of a stage of each of several replicas, of arrays.

    A class of stages that knows its means has a class method `means_of`, which takes several of them.
    """
    first = type(stages[0])
    means_of: Callable[[Sequence[StageTime]], MeanStageTime] | None = getattr(first, "means_of", None)
    if means_of is not None and all(type(stage) is first for stage in stages):
        return means_of(stages)
    return _OneByOne(tuple(map(mean_times, stages)))


def means_of_all(stages: Sequence[StageTime]) -> MeanStageTime:
    """Of one stage its `mean_times`, of several their `stacked` ones: what lies below others that do the same."""
    return mean_times(stages[0]) if len(stages) == 1 else stacked(stages)


def column(values: Sequence[float]) -> Real:
    """A value, or an array of one row for each of several.

    >>> column([2.0]), column([2.0, 3.0]).tolist()
    (2.0, [[2.0], [3.0]])
    """
    if len(values) == 1:
        return values[0]
    import numpy as np

    return np.array(values, dtype=np.float64)[:, None]


def between(function: Callable[[Real], Real], x: Real) -> Real:
    """A function of whole numbers, linear in between; of a float, or of each of an array.

    >>> between(lambda n: n * n, 2.5)
    6.5
    """
    low = x // 1
    weight = x - low
    if isinstance(x, float) and weight == 0:
        return function(low)
    return (1 - weight) * function(low) + weight * function(low + 1)


def groups(n: Real, n_groups: Real) -> Real:
    """What the largest of some groups has of n, as evenly as they can have whole ones; linear in between.

    >>> groups(7.0, 2), groups(8.0, 2), groups(7.5, 1)
    (4.0, 4.0, 7.5)
    """
    return between(lambda whole: -(-whole // n_groups), n)


class Interpolated(NamedTuple):
    """The means of one stage that knows only of whole numbers."""

    stage: StageTime

    def decode_s(self, n_decode: Real, context_tokens: Real) -> Real:
        """See `MeanStageTime`."""
        if _has_rows(n_decode, context_tokens):
            return _OneByOne((self,)).decode_s(n_decode, context_tokens)

        def of(n: float) -> float:
            base_s, slope_s = self.stage.decode(int(n))
            return base_s + slope_s * _part(context_tokens, n, n_decode)

        return float(between(of, float(n_decode)))

    def mixed_s(
        self, n_decode: Real, context_tokens: Real, new_tokens: Real, past_tokens: Real, n_chunks: Real
    ) -> Real:
        """See `MeanStageTime`."""
        mean = n_decode, context_tokens, new_tokens, past_tokens, n_chunks
        if _has_rows(*mean):
            return _OneByOne((self,)).mixed_s(*mean)
        past = max(round(past_tokens), 0)

        def of(n: float, k: float, new: float) -> float:
            return self.stage.mixed(int(n), _part(context_tokens, n, n_decode), [Chunk(int(new), past)] * int(k))

        def of_decodes(n: float) -> Real:
            return between(lambda k: between(lambda new: of(n, k, new), float(new_tokens)), float(n_chunks))

        return float(between(of_decodes, float(n_decode)))


def _has_rows(*values: Real) -> bool:
    return any(getattr(value, "ndim", 0) > 0 for value in values)


def _part(tokens: float, n: float, of: float) -> float:
    return tokens * n / of if of > 0 else 0.0


class _OneByOne(NamedTuple):
    """Stages of several replicas, one after the other."""

    stages: tuple[MeanStageTime, ...]

    def decode_s(self, *mean: Real) -> Real:
        return self._each("decode_s", mean)

    def mixed_s(self, *mean: Real) -> Real:
        return self._each("mixed_s", mean)

    def _each(self, name: str, mean: Sequence[Real]) -> Real:
        import numpy as np

        values = np.moveaxis(np.array(np.broadcast_arrays(*mean)), -2, 1)
        times = [
            [getattr(stage, name)(*one) for one in of_stage.reshape(len(mean), -1).T.tolist()]
            for stage, of_stage in zip(self.stages, np.moveaxis(values, 1, 0), strict=True)
        ]
        return np.moveaxis(np.array(times, dtype=np.float64).reshape(values.shape[1:]), 0, -2)


def smaller(a: Real, b: Real) -> Real:
    """The smaller of two numbers, or of each two of arrays."""
    if isinstance(a, float) and isinstance(b, (float, int)):
        return min(a, b)
    import numpy as np

    return np.minimum(a, b)


def larger(a: Real, b: Real) -> Real:
    """The larger of two numbers, or of each two of arrays."""
    if isinstance(a, float) and isinstance(b, (float, int)):
        return max(a, b)
    import numpy as np

    return np.maximum(a, b)


def count(is_so: Any) -> int:
    """How often something is so: a bool, or an array of them."""
    return int(is_so.sum()) if hasattr(is_so, "sum") else int(is_so)
