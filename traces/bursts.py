"""How requests come: evenly, or in bursts that a fleet must be made for.

A Poisson process has bursts, too, and closed forms of queues allow for these. What is measured here is the rest: the
rate of the Poisson process that asks as much of a fleet as the arrivals do. Two things are asked, of the share of
requests that should be served in time:

- *to wait no longer than a time*. The arrivals are let through a queue that serves so many requests/s, all alike, in
  order; C is the least rate at which the share waits no longer. Of Poisson arrivals at a rate r, served at C, the share
  that waits longer than t is (r / C) exp(-2 t (C - r)), as for one server with a constant service time in Sakasegawa's
  approximation (Ann. Inst. Stat. Math. 29, 1977); r is where that is the share that may be late.
- *to run beside no more than so many*. N is the number of others that come in the time that a request may run, of which
  the share of requests sees no more; r is the rate at which a Poisson process has no more than N in that time with that
  probability.

What chance does to the counts of a Poisson process is no burst: only where their index of dispersion is larger than
that of a Poisson process is once in a thousand times, the larger of the two rates counts. Else it is the mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_BY_CHANCE = 1e-3
_LEAST_WINDOWS = 2
_N_HALVINGS = 40
_MOST_SHARE = 1 - 1e-6


@dataclass(frozen=True, slots=True)
class Bursts:
    """How the requests of a trace come, and what to plan for.

    Attributes:
        mean_rps: Requests/s in the mean.
        window_s: Time in which what piles up must be worked off: windows are so long.
        busiest_rps: Requests/s of the busiest window.
        dispersion: Index of dispersion: variance over mean of the number of requests in a window; 1 for a Poisson
            process.
        trend: Rate of the second half of the time over that of the first; infinite if nothing comes in the first.
        planned_rps: Rate of the Poisson process that asks as much of a fleet; the mean if there are no bursts.
    """

    mean_rps: float
    window_s: float
    busiest_rps: float
    dispersion: float
    trend: float
    planned_rps: float

    @property
    def factor(self) -> float:
        """The rate to plan for over the mean; 1 at least."""
        return max(1.0, self.planned_rps / self.mean_rps)


def measure_bursts(
    arrival_s: Floats, share: float, *, wait_s: float | None = None, run_s: float | None = None
) -> Bursts | None:
    """Measure how requests come.

    Args:
        arrival_s: When they do, ascending.
        share: The share of requests that should be served in time.
        wait_s: Longest time that a request may wait; None: it does not matter.
        run_s: Longest time that a request may run; None: it does not matter.

    Returns:
        The measures, over windows of the shorter of the two times; None if there are no times, or too few requests to
        fill two windows.

    >>> import numpy as np
    >>> even = measure_bursts(np.arange(100.0), 0.95, wait_s=2.0)
    >>> round(even.factor, 3), even.busiest_rps
    (1.0, 1.0)
    >>> in_tens = measure_bursts(np.repeat(np.arange(0.0, 1000.0, 10.0), 10), 0.95, wait_s=2.0)
    >>> round(in_tens.mean_rps, 2), round(in_tens.planned_rps, 2), round(in_tens.dispersion, 1)
    (1.01, 3.79, 8.0)
    """
    times_s = [time_s for time_s in (wait_s, run_s) if time_s is not None and time_s > 0]
    duration_s = float(arrival_s[-1] - arrival_s[0]) if len(arrival_s) else 0.0
    if not times_s or len(_counts(arrival_s, min(times_s))) < _LEAST_WINDOWS:
        return None
    share, mean_rps = min(share, _MOST_SHARE), (len(arrival_s) - 1) / duration_s
    rates = [mean_rps]
    if wait_s is not None and _is_dispersed(arrival_s, wait_s):
        rates.append(_rate_by_wait(arrival_s, share, wait_s))
    if run_s is not None and _is_dispersed(arrival_s, run_s):
        rates += [_rate_by_wait(arrival_s, share, run_s), _rate_by_count(arrival_s, share, run_s)]
    window_s = min(times_s)
    first, second = _counts(arrival_s, duration_s / 2)[:2]
    return Bursts(
        mean_rps=mean_rps,
        window_s=window_s,
        busiest_rps=float(_followers(arrival_s, window_s).max() + 1) / window_s,
        dispersion=_dispersion(_counts(arrival_s, window_s)),
        trend=float(second / first),
        planned_rps=max(rates),
    )


def _counts(arrival_s: Floats, window_s: float) -> Floats:
    """How many requests come in each whole window, from the first request on."""
    import numpy as np

    if not len(arrival_s):
        return np.zeros(0)
    since_s = arrival_s - arrival_s[0]
    n_windows = int(since_s[-1] / window_s)
    windows = np.minimum((since_s / window_s).astype(np.int64), n_windows)
    return np.bincount(windows, minlength=n_windows)[:n_windows].astype(np.float64)


def _dispersion(counts: Floats) -> float:
    return float(counts.var(ddof=1) / counts.mean())


def _is_dispersed(arrival_s: Floats, window_s: float) -> bool:
    """Whether counts vary more than a Poisson process lets them do by chance."""
    from scipy.special import chdtri

    counts = _counts(arrival_s, window_s)
    n_free = len(counts) - 1
    return n_free > 0 and _dispersion(counts) > float(chdtri(n_free, _BY_CHANCE)) / n_free


def _followers(arrival_s: Floats, window_s: float) -> npt.NDArray[np.int64]:
    """How many requests come within so long after each."""
    import numpy as np

    return np.searchsorted(arrival_s, arrival_s + window_s) - np.arange(len(arrival_s)) - 1


def _rate_by_count(arrival_s: Floats, share: float, run_s: float) -> float:
    """Rate of the Poisson process of which the share of requests sees as few others in so long a time."""
    import numpy as np
    from scipy.special import chdtri

    n_others = float(np.quantile(_followers(arrival_s, run_s), share))
    return float(chdtri(2 * (n_others + 1), share)) / 2 / run_s


def _rate_by_wait(arrival_s: Floats, share: float, wait_s: float) -> float:
    """Rate of the Poisson process that needs to be served as fast for the share to wait no longer."""
    served_rps = _served_rps(arrival_s, share, wait_s)
    low, high = 0.0, 1.0
    for _ in range(_N_HALVINGS):
        load = (low + high) / 2
        is_late = load * math.exp(-2 * wait_s * served_rps * (1 - load)) > 1 - share
        low, high = (low, load) if is_late else (load, high)
    return low * served_rps


def _served_rps(arrival_s: Floats, share: float, wait_s: float) -> float:
    """The least rate at which requests must be served, one after the other, for the share to wait no longer."""
    import numpy as np

    n_before = np.arange(len(arrival_s), dtype=np.float64)
    low, high = 0.0, len(arrival_s) / wait_s
    for _ in range(_N_HALVINGS):
        rps = (low + high) / 2
        ahead_s = n_before / rps - arrival_s
        waits_s = ahead_s - np.minimum.accumulate(ahead_s)
        low, high = (low, rps) if (waits_s <= wait_s).mean() >= share else (rps, high)
    return high
