"""Workload types from the requests themselves: as few as stand for them.

A type stands for its requests with their mean prompt and mean output. What requests take is not linear in their lengths
(a long prompt attends to itself, a long output to all before it), so that types must be narrow where the tokens are. So
prompts are parted into classes with an equal share of all prompt tokens, and outputs likewise, and the types are the
pairs of both. How many classes: of all grids of `MIN_TYPES` to `MAX_TYPES` types the one with the fewest types whose
means give the time of the requests to `MAX_ERROR`, or where there is none the one with the least error. The caller
tells the time (planners have a closed form); that of the requests themselves is that of classes `REFERENCE_PER_OCTAVE`
to a doubling of each length. Requests of few different lengths get a type for each pair of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from traces.workload import WorkloadGrid, requests_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from traces.trace import Trace

    Whole = npt.NDArray[np.int64]

MAX_ERROR = 0.01
"""By which the time of types of mean lengths may miss that of the requests."""

MIN_TYPES = 9
"""Fewer types are not looked for, so that planners can tell short from long; a trace of few lengths has fewer."""

MAX_TYPES = 16
"""More types are not made: planning takes time with each."""

REFERENCE_PER_OCTAVE = 8
"""Classes to a doubling of a length that stand for the requests themselves: twice as many change times by 0.03 %."""

_MOST_CELLS = 36  # of a grid with a class for each length, most of them perhaps without requests
_LONGEST_LOG2 = 40


class Lengths(NamedTuple):
    """The share of some requests among all, and their mean lengths in tokens."""

    share: float
    prompt_tokens: float
    output_tokens: float


Times = Callable[[Sequence[Lengths]], Sequence[float]]
"""What a request of a mix takes in seconds on each of some replicas, if they serve nothing else."""


class TypesOfTrace(NamedTuple):
    """Workload types, and by what share the time of their mean lengths misses that of the requests at most."""

    grid: WorkloadGrid
    error: float


def types_of_trace(trace: Trace, times: Times, model: str | None = None) -> TypesOfTrace:
    """The workload types of a trace, or of the requests of one model: see the module.

    Args:
        trace: The requests.
        times: Tells what mixes take; without replicas the fewest types are taken.
        model: Look at this model's requests only.

    Raises:
        TraceError: If the trace has no request for `model`.

    >>> from traces.trace import Trace
    >>> trace = Trace.from_columns([0.0, 1.0, 2.0], [400, 600, 600], [20, 10, 20])
    >>> types_of_trace(trace, lambda mix: [sum(share * p * p for share, p, _ in mix)])
    TypesOfTrace(grid=WorkloadGrid(prompt_tokens=(600, 400), output_tokens=(20, 10)), error=0.0)
    """
    requests = requests_of(trace, model)
    prompt = _Axis(requests["prompt_tokens"].to_numpy())
    output = _Axis(requests["output_tokens"].to_numpy())
    if _are_few(prompt, output):
        return TypesOfTrace(_grid(prompt, prompt.distinct[1:], output, output.distinct[1:]), 0.0)
    steps = np.arange(_LONGEST_LOG2 * REFERENCE_PER_OCTAVE) / REFERENCE_PER_OCTAVE
    fine = np.unique(np.ceil(2**steps).astype(np.int64))
    reference = times(_lengths(prompt, fine, output, fine))

    def judged(rows: int, columns: int) -> tuple[int, float, int]:
        mix = _lengths(prompt, prompt.borders(rows), output, output.borders(columns))
        errors = [abs(time_s / true_s - 1) for time_s, true_s in zip(times(mix), reference, strict=True)]
        return len(mix), max(errors, default=0.0), rows

    most = range(2, MAX_TYPES // 2 + 1)
    shapes = [(rows, columns) for rows in most for columns in most if MIN_TYPES <= rows * columns <= MAX_TYPES]
    found = {judged(*shape): shape for shape in shapes}
    good = [key for key in found if key[1] <= MAX_ERROR]
    best = min(good) if good else min(found, key=lambda key: key[1])
    rows, columns = found[best]
    return TypesOfTrace(_grid(prompt, prompt.borders(rows), output, output.borders(columns)), best[1])


class _Axis:
    """Lengths of requests, in the order of the requests."""

    def __init__(self, tokens: Whole) -> None:
        self.tokens = tokens
        self.distinct, counts = np.unique(tokens, return_counts=True)
        self._below = np.cumsum(self.distinct * counts)  # tokens of all requests up to each length

    def borders(self, n_classes: int) -> Whole:
        """Shortest length of each class but the first, if all have the same share of the tokens, as far as they go."""
        parts = self._below[-1] * np.arange(1, n_classes) / n_classes
        firsts = np.searchsorted(self._below, parts) + 1
        return np.unique(self.distinct[firsts[firsts < len(self.distinct)]])

    def classes(self, borders: Whole) -> Whole:
        """The class of each request, the shortest first."""
        return np.searchsorted(borders, self.tokens, side="right")

    def means(self, borders: Whole) -> tuple[int, ...]:
        """Mean length of each class in whole tokens, the longest first."""
        of_request = self.classes(borders)
        means = np.bincount(of_request, self.tokens) / np.bincount(of_request)
        return tuple(round(mean) for mean in means[::-1].tolist())


def _are_few(prompt: _Axis, output: _Axis) -> bool:
    """Whether each pair of lengths can be a type of its own."""
    if len(prompt.distinct) * len(output.distinct) > _MOST_CELLS:
        return False
    return len(_lengths(prompt, prompt.distinct[1:], output, output.distinct[1:])) <= MAX_TYPES


def _grid(prompt: _Axis, prompt_borders: Whole, output: _Axis, output_borders: Whole) -> WorkloadGrid:
    return WorkloadGrid(
        prompt.means(prompt_borders),
        output.means(output_borders),
        tuple(prompt_borders.tolist()),
        tuple(output_borders.tolist()),
    )


def _lengths(prompt: _Axis, prompt_borders: Whole, output: _Axis, output_borders: Whole) -> list[Lengths]:
    """Shares and mean lengths of the classes that have requests."""
    kind = prompt.classes(prompt_borders) * (len(output_borders) + 1) + output.classes(output_borders)
    _, of_request, counts = np.unique(kind, return_inverse=True, return_counts=True)
    prompts = np.bincount(of_request, prompt.tokens) / counts
    outputs = np.bincount(of_request, output.tokens) / counts
    shares = counts / len(kind)
    return list(map(Lengths, shares.tolist(), prompts.tolist(), outputs.tolist()))
