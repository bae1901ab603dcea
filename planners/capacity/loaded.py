"""Latencies of replicas that serve a mix each at less than their full rates.

Requests come independently of each other, r of them per second. A round takes r0(N) while N run and no prompt is
computed, and the prompts of those who come take the share b of the time, so that it is r0(N) / (1 - b) on average.
`planners.capacity.load_curve` has both.

How many run. Each round brings a request nearer to its end, so that with S rounds per request they come and go like the
customers of a processor that they share: P(N) / P(N - 1) = r S round(N) / N, up to the most that slots or KV blocks
allow, whatever the distribution of S (Cohen, Acta Informatica 12, 1979). Beyond it the others wait. Where KV blocks are
the limit, requests hold more or fewer of them; N and its limit are then counted in units of variance over mean of what
they hold (Hayward's approximation: Fredericks, Bell Syst. Tech. J. 59, 1980).

The wait to be admitted is exponential, with mean (1 + Cs^2) / 2 / (mu (1 - rho)), for those who find all places taken;
mu is the full capacity, rho the utilisation and Cs the coefficient of variation of S. Where an iteration cannot hold
all prompts, they wait for each other too: with tokens that come during a full iteration of mean a and variance v, and
room for B of them, the queue decays as exp(-t x) with x = 2 (B - a) / v, and somebody waits with probability
exp(-0.583 x sqrt(v)) (Siegmund's correction of a random walk for its overshoot, Adv. Appl. Prob. 11, 1979).

The first token comes after what is left of the iteration that is under way, one more if the engine schedules ahead, and
the iteration that the request is in, with the prompts of all who came during the one that it met. Who looks in at
random meets an iteration of mean E[X^2] / E[X].

The other tokens take a round each. Others make them longer: those who came before, while they still run, and those who
come meanwhile or while the first token was computed, by their prompts and then by running. These are jumps, as many as
requests come. Each makes the time longer in which more come, so that their variance grows by 1 / (1 - b)^2 for short
answers, as that of a busy period does, and by 1 / (1 - e)^2 for long ones, where e is the share of the time that is due
to the load, prompts and running requests together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from planners.capacity.crowd import Crowds
from planners.capacity.load_curve import LoadCurves

if TYPE_CHECKING:
    from planners.capacity.steady_states import Floats

_LEAST_RATE = 1e-6  # of the full one
_MOST_USE = 0.999
_MOST_BUSY = 0.95
_LEAST_SCALE = 0.3  # of a prompt beside others, relative to one beside none
_OVERSHOOT = 0.583


class Waits(NamedTuple):
    """Exponential waits: how many have to wait, and how long they do on average."""

    share: Floats
    mean_s: Floats


class LoadedReplicas(NamedTuple):
    """Replicas that serve a mix each at less than their full rates; [row] where nothing else is said.

    Attributes:
        curves: The replicas, with their mixes.
        crowds: Who runs.
        rps: Requests/s of the whole mix.
        prompts_s: By which a prompt of each kind makes the iterations longer in which it is, on average; [row, kind].
        busy: Share of the time that prompts take.
        iteration_s: An iteration, on average.
        variance_s2: Its variance.
        met_s: Mean of the iteration that a request meets.
        met_s2: Mean of its square.
        for_place: Waits to be admitted.
        for_budget: Waits of prompts for each other.
    """

    curves: LoadCurves
    crowds: Crowds
    rps: Floats
    prompts_s: Floats
    busy: Floats
    iteration_s: Floats
    variance_s2: Floats
    met_s: Floats
    met_s2: Floats
    for_place: Waits
    for_budget: Waits

    @classmethod
    def at(cls, curves: LoadCurves, rps: Floats) -> Self:
        """Replicas at some rates.

        Args:
            curves: The replicas, with their mixes.
            rps: Requests/s of the whole mix; at most those of full load, at which requests wait without end; [row].
        """
        utilisation = rps / curves.rps
        rps = np.maximum(rps, _LEAST_RATE * curves.rps)
        crowds = Crowds.of(curves, rps)
        plain_s = curves.mean(curves.prompts_s)
        per_prompt_s = np.maximum(crowds.round_s - crowds.bare_s, 0.0) / (rps * crowds.round_s)
        scale = np.clip(per_prompt_s / np.where(plain_s > 0, plain_s, np.inf), _LEAST_SCALE, 1.0)
        p = scale[:, None] * curves.prompts_s
        busy = np.minimum(rps * curves.mean(p), _MOST_BUSY)

        # An iteration, and the one that a request meets.
        second, third = rps * curves.mean(p**2), rps * curves.mean(p**3)
        iteration_s = crowds.round_s / curves.n_batches
        variance_s2 = iteration_s * second / (1 - busy**2)
        third_s3 = (iteration_s * third + 3 * busy * second * variance_s2) / (1 - busy**3)
        return cls(
            curves=curves,
            crowds=crowds,
            rps=rps,
            prompts_s=p,
            busy=busy,
            iteration_s=iteration_s,
            variance_s2=variance_s2,
            met_s=iteration_s + variance_s2 / iteration_s,
            met_s2=iteration_s**2 + 3 * variance_s2 + third_s3 / iteration_s,
            for_place=_for_place(curves, crowds, utilisation),
            for_budget=_for_budget(curves, crowds, rps, p),
        )


def _for_place(curves: LoadCurves, crowds: Crowds, utilisation: Floats) -> Waits:
    idle = np.maximum(1 - utilisation, 1 - _MOST_USE)
    squared_cv = curves.mean((curves.lives / curves.life[:, None] - 1) ** 2)
    return Waits(crowds.full, (1 + squared_cv) / 2 / (curves.rps * idle))


def _for_budget(curves: LoadCurves, crowds: Crowds, rps: Floats, prompts_s: Floats) -> Waits:
    mean_tokens = curves.mean(curves.prompt_tokens)
    budget_tokens = curves.budget_tokens - crowds.running / curves.n_batches
    plain_s = crowds.bare_s / curves.n_batches
    beside_others_s = plain_s / budget_tokens + curves.mean(prompts_s) / mean_tokens
    token_s = np.where(curves.is_capped, beside_others_s, 1 / (curves.rps * mean_tokens))
    use = np.minimum(rps * mean_tokens * token_s, _MOST_USE)
    variance = use * budget_tokens * curves.mean(curves.prompt_tokens**2) / mean_tokens
    decay = 2 * (1 - use) * budget_tokens / variance
    return Waits(np.exp(-_OVERSHOOT * decay * np.sqrt(variance)), token_s / decay)
