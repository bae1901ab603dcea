"""How many requests run on a replica at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from planners.capacity.load_curve import LoadCurve

_MOST_BUSY = 0.95
_MOST_ELASTIC = 0.98
_LEAST_SPARE = 1e-6
_BEYOND = 4  # times as many run at most as at full load, where the token budget limits them and not their number


class Crowd:
    """The requests that run on a replica, in a steady state at a rate; see `planners.capacity.loaded`.

    Args:
        curve: Times of rounds.
        rps: Requests/s of the mix.

    Attributes:
        running: How many run on average.
        idle: Share of the time in which none does.
        full: Share of the requests that find as many as can run.
        round_s: A round as a request meets it, on average.
        bare_s: The same without prompts.
        spread: Variance over mean of how many run.
        elasticity: Relative growth of a round without prompts with the number that run.
        freedom: Variance over what it would be if any number could run.
    """

    def __init__(self, curve: LoadCurve, rps: float) -> None:
        state = curve.state
        is_capped = state.n_servers > 1
        unit = min(curve.peakedness, curve.most_running / 2) if is_capped else 1.0
        most = curve.places / unit if is_capped else _BEYOND * curve.most_running + 40
        numbers = unit * np.append(np.arange(math.ceil(most)), most)
        there = np.maximum(numbers, 1.0)
        rounds_s, bare_s = curve.rounds_s(there, rps), curve.bare_s(there)
        busy = np.clip(1 - bare_s / rounds_s, 0.0, _MOST_BUSY)
        # A request is in an iteration with a prompt, and those who come meanwhile have their prompts while it decodes.
        met_s = rounds_s + rps * float(curve.shares @ curve.prompts_s**2) / (1 - busy**2)
        own_s = bare_s + float(curve.shares @ curve.prompts_s) + busy * met_s
        late_s = np.maximum(own_s - rounds_s, 0.0)
        lives_s = curve.life * rounds_s + late_s / (1 - busy)
        lives_s = np.minimum(lives_s, (curve.life + 1) * np.maximum(curve.longest_s, rounds_s))
        logs = np.concatenate([[0.0], np.cumsum(np.log(rps * lives_s[1:] / numbers[1:]))])
        weights = np.exp(logs - logs.max())
        queued = weights[-1] * (1 / max(1 - rps / state.rps, _LEAST_SPARE) - 1) if is_capped else 0.0
        shares = weights / (weights.sum() + queued)
        shares[-1] += 1 - shares.sum()

        self.idle = float(shares[0])
        self.full = max(0.0, float(shares[-1])) if is_capped else 0.0
        self.running = float(shares @ numbers)
        variance = float(shares @ (numbers - self.running) ** 2)
        self.round_s = float((shares * numbers) @ rounds_s) / self.running
        self.bare_s = float(shares @ bare_s)
        self.spread = variance / self.running
        self.elasticity = min(self.running * curve.growth_s / self.bare_s, _MOST_ELASTIC)
        self.freedom = min(1.0, self.spread * (1 - self.elasticity))
