"""How many requests run on replicas at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    from planners.capacity.load_curve import LoadCurves
    from planners.capacity.steady_states import Floats

_MOST_BUSY = 0.95
_MOST_ELASTIC = 0.98
_LEAST_SPARE = 1e-6
_BEYOND = 4  # times as many run at most as at full load, where the token budget limits them and not their number


class Crowds(NamedTuple):
    """The requests that run on replicas, in a steady state at a rate; see `planners.capacity.loaded`. [row] each.

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

    running: Floats
    idle: Floats
    full: Floats
    round_s: Floats
    bare_s: Floats
    spread: Floats
    elasticity: Floats
    freedom: Floats

    @classmethod
    def of(cls, curves: LoadCurves, rps: Floats) -> Self:
        """The requests at a rate of the mix on each replica; [row]."""
        unit, most = units(curves)
        last = np.ceil(most).astype(np.intp)
        place = np.arange(last.max() + 1)
        numbers = unit[:, None] * np.minimum(place, most[:, None])
        rounds_s, bare_s, lives_s = _lives_s(curves, np.maximum(numbers, 1.0), rps)
        logs = np.zeros_like(numbers)
        logs[:, 1:] = np.log(rps[:, None] * lives_s[:, 1:] / numbers[:, 1:]).cumsum(axis=1)
        logs[place > last[:, None]] = -np.inf
        weights = np.exp(logs - logs.max(axis=1, keepdims=True))
        rows = np.arange(len(rps))
        spare = np.maximum(1 - rps / curves.rps, _LEAST_SPARE)
        queued = np.where(curves.is_capped, weights[rows, last] * (1 / spare - 1), 0.0)
        shares = weights / (weights.sum(axis=1) + queued)[:, None]
        shares[rows, last] += 1 - shares.sum(axis=1)

        running = np.einsum("rn,rn->r", shares, numbers)
        spread = np.einsum("rn,rn->r", shares, (numbers - running[:, None]) ** 2) / running
        mean_bare_s = np.einsum("rn,rn->r", shares, bare_s)
        elasticity = np.minimum(running * curves.growth_s / mean_bare_s, _MOST_ELASTIC)
        return cls(
            running=running,
            idle=shares[:, 0],
            full=np.where(curves.is_capped, np.maximum(0.0, shares[rows, last]), 0.0),
            round_s=np.einsum("rn,rn->r", shares * numbers, rounds_s) / running,
            bare_s=mean_bare_s,
            spread=spread,
            elasticity=elasticity,
            freedom=np.minimum(1.0, spread * (1 - elasticity)),
        )


def units(curves: LoadCurves) -> tuple[Floats, Floats]:
    """What requests are counted in, and how many of it run at most; [row] each."""
    unit = np.where(curves.is_capped, np.minimum(curves.peakedness, curves.most_running / 2), 1.0)
    return unit, np.where(curves.is_capped, curves.places / unit, _BEYOND * curves.most_running + 40)


def _lives_s(curves: LoadCurves, running: Floats, rps: Floats) -> tuple[Floats, Floats, Floats]:
    """Times of rounds, of those without prompts, and of requests while so many run; [row, number] each."""
    rounds_s, bare_s = curves.rounds_s(running, rps)
    busy = np.clip(1 - bare_s / rounds_s, 0.0, _MOST_BUSY)
    # A request is in an iteration with a prompt, and those who come meanwhile have their prompts while it decodes.
    met_s = rounds_s + (rps * curves.mean(curves.prompts_s**2))[:, None] / (1 - busy**2)
    own_s = bare_s + curves.mean(curves.prompts_s)[:, None] + busy * met_s
    late_s = np.maximum(own_s - rounds_s, 0.0)
    life = curves.life[:, None]
    most_s = (life + 1) * np.maximum(curves.longest_s[:, None], rounds_s)
    return rounds_s, bare_s, np.minimum(life * rounds_s + late_s / (1 - busy), most_s)
