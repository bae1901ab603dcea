"""The largest numbers at which nothing is late, of many rows at once.

What is late grows with the number, nearly. A row has several kinds, of which none may be late; those that are not late
at the upper end of what is left are not looked at any more. The zeros of the rest are found by Chandrupatla's method
(Adv. Eng. Software 28, 1997): inverse quadratic interpolation where it is safe, bisection elsewhere. A row drops out
once it is found, so that it makes no difference which others there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from planners.capacity.rows import Places
    from planners.capacity.steady_states import Floats

    Bools = npt.NDArray[np.bool_]


class Late(Protocol):
    """How late kinds are: above 0 if too late."""

    def __call__(self, rows: Places, x: Floats, asked: Bools | None = None) -> Floats:
        """Of rows, at a number each, the kinds asked for or all; [row, kind], minus infinity of the others."""
        ...


def largest(late: Late, least: Floats, most: Floats, at_most: Floats, near: float) -> Floats:
    """The largest number of each row, nearly, at which no kind is late; 0 where one is even at the least number.

    Args:
        late: How late kinds are.
        least: The least numbers; [row].
        most: Numbers at which some kind is late; [row].
        at_most: How late; [row, kind].
        near: How far from the zeros, relative, and how late or early at what is found.
    """
    found, rows = np.zeros(len(most)), np.arange(len(most))
    at_least = late(rows, least)
    rows = rows[at_least.max(axis=1, initial=-np.inf) <= 0]
    low, at_low, high, at_high = least[rows], at_least[rows], most[rows], at_most[rows]
    x = (low + high) / 2
    while len(rows) > 0:
        at_x = late(rows, x, at_high > 0)
        is_late = at_x.max(axis=1) > 0
        other, at_other = np.where(is_late, high, low), np.where(is_late[:, None], at_high, at_low)
        low, at_low = np.where(is_late, low, x), np.where(is_late[:, None], at_low, at_x)
        high, at_high = np.where(is_late, x, high), np.where(is_late[:, None], at_x, at_high)
        asked = at_high > 0
        by_low, by_high, by_other = (np.where(asked, at, -np.inf).max(axis=1) for at in (at_low, at_high, at_other))
        by_x = np.where(is_late, by_high, by_low)
        is_near = np.abs(by_x) <= near
        is_done = is_near | (high - low <= near * high)
        found[rows[is_done]] = np.where(is_near, x, low)[is_done]
        opposite = np.where(is_late, low, high), np.where(is_late, by_low, by_high)
        x = _between((x, by_x), opposite, (other, by_other), near)
        left = ~is_done
        rows, x, low, at_low, high, at_high = (one[left] for one in (rows, x, low, at_low, high, at_high))
    return found


def _between(
    newest: tuple[Floats, Floats], opposite: tuple[Floats, Floats], other: tuple[Floats, Floats], near: float
) -> Floats:
    """Where to look next between the newest number and the opposite end, by the values there and at another."""
    (x1, y1), (x2, y2), (x3, y3) = newest, opposite, other
    with np.errstate(all="ignore"):
        place, height = (x1 - x2) / (x3 - x2), (y1 - y2) / (y3 - y2)
        is_safe = (height**2 < place) & ((1 - height) ** 2 < 1 - place)
        share = y1 / (y2 - y1) * y3 / (y2 - y3) + (x3 - x1) / (x2 - x1) * y1 / (y3 - y1) * y2 / (y3 - y2)
    least = np.minimum(near / 2 * np.maximum(x1, x2) / np.abs(x2 - x1), 0.5)
    share = np.clip(np.where(is_safe, share, 0.5), least, 1 - least)
    return np.asarray(x1 + share * (x2 - x1))
