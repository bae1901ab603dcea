"""Tuples of arrays of which the first axis counts rows: one replica with one mix each."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Places: TypeAlias = npt.NDArray[np.intp]
"""Positions in an axis."""

_T = TypeVar("_T", bound=tuple[Any, ...])


def take(arrays: _T, rows: Places) -> _T:
    """Some of the rows, perhaps more than once.

    Args:
        arrays: A named tuple of arrays, or of such tuples.
        rows: Their positions.
    """
    return type(arrays)(*(one[rows] if isinstance(one, np.ndarray) else take(one, rows) for one in arrays))


def stack(parts: list[_T]) -> _T:
    """The rows of several named tuples of arrays, one after the other."""
    return type(parts[0])(*map(np.concatenate, zip(*parts, strict=True)))
