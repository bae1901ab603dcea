"""How far a run is: what it tells whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sim.replica.batch import Sequence

Progress = Callable[[float, int], None]

_PROGRESS_EVERY = 4096


class Meter:
    """Reports how far a simulation is, now and then.

    Replicas that have clocks of their own are served one after the other. So the simulated time reached is given as
    when so many requests have arrived, as it would be on one clock.

    Args:
        progress: Called with the simulated time reached and the number of requests that have arrived.
        arrival_s: When all requests arrive.
    """

    def __init__(self, progress: Progress | None = None, arrival_s: npt.ArrayLike = ()) -> None:
        self._progress = progress
        self._arrival_s = np.asarray(arrival_s)
        self._n_watched = 0
        self._n_elsewhere = 0

    def add(self, n_requests: int) -> None:
        """Count requests that did not come by here: rejected ones, and those that other processes have served."""
        self._n_elsewhere += n_requests

    def note(self, time_s: float) -> None:
        """Count a request that is sent now."""
        self._n_watched += 1
        if self._progress is not None and self._n_watched % _PROGRESS_EVERY == 0:
            self._progress(time_s, self._n_watched + self._n_elsewhere)

    def watch(self, arrivals: Iterator[tuple[float, Sequence]]) -> Iterator[tuple[float, Sequence]]:
        """The same arrivals, counted as they are asked for."""
        return arrivals if self._progress is None else self._count(arrivals, self._progress)

    def _count(
        self, arrivals: Iterator[tuple[float, Sequence]], progress: Progress
    ) -> Iterator[tuple[float, Sequence]]:
        for arrival in arrivals:
            self._n_watched += 1
            if self._n_watched % _PROGRESS_EVERY == 0:
                n = self._n_watched + self._n_elsewhere
                progress(float(self._arrival_s[n - 1]), n)
            yield arrival
