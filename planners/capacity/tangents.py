"""Rates of many replicas at once, and what one more request takes on each: the tangent of the time of a mix.

Let G(m) be the time of a request of a mix by the closed form, which depends on means m over its requests only. Requests
f, sum_w f_w = F, take T(f) = F G(m), where the means are m = sum_w f_w m_w / F. So one more request of kind w takes

    t_w = dT / df_w = G + sum_i dG/dm_i (m_wi - m_i),

and sum_w f_w t_w = T for whatever dG/dm_i are, since the mean of m_w - m is 0. They are central differences; where the
closed form has a kink, the mean of both sides. A kind that is not in the mix takes what a first request of it takes.
No kind takes less than `LEAST` of its share of the tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from planners.capacity.steady_state import Kind, ReplicaFacts
from planners.capacity.steady_states import (
    CHUNK_BLOCKS,
    CHUNK_SQUARES,
    CHUNKS,
    DECODES,
    PAIRS,
    PROMPT,
    Floats,
    Mixes,
    SteadyStates,
    kind_means,
)

NUDGE = 1e-5  # relative, of a mean
LEAST = 0.01


def alone_rps(facts: Sequence[ReplicaFacts], kinds: Sequence[Kind]) -> Floats:
    """Requests/s of each kind by itself on each replica, 0 where it does not fit; [replica, kind]."""
    rps = np.zeros((len(facts), len(kinds)))
    for rows in alike(facts):
        some = [facts[row] for row in rows]
        states = SteadyStates(some, Mixes.alone(kinds, some[0].rule))
        rps[rows] = np.where(fits(some, kinds), states.rps, 0.0)
    return rps


def mixes_rps(facts: Sequence[ReplicaFacts], kinds: Sequence[Kind], shares: Floats) -> Floats:
    """Requests/s of a mix on each replica, 0 where some of it does not fit; shares [replica, kind] that sum to 1."""
    rps = np.zeros(len(facts))
    for rows in alike(facts):
        some = [facts[row] for row in rows]
        states = SteadyStates(some, Mixes.of(kinds, shares[rows], some[0].rule))
        holds = (fits(some, kinds) | (shares[rows] == 0)).all(axis=1)
        rps[rows] = np.where(holds, states.rps[:, 0], 0.0)
    return rps


def mean_stages_s(facts: Sequence[ReplicaFacts], kinds: Sequence[Kind], shares: Floats) -> list[list[float]]:
    """Mean time of an iteration on each stage of each replica with its mix; shares [replica, kind] that sum to 1."""
    times_s: list[list[float]] = [[] for _ in facts]
    for rows in alike(facts):
        some = [facts[row] for row in rows]
        states = SteadyStates(some, Mixes.of(kinds, shares[rows], some[0].rule))
        for row, own in zip(rows, states.stages_s(states.batch)[:, :, 0].T.tolist(), strict=True):
            times_s[row] = own
    return times_s


def tangents_s(facts: Sequence[ReplicaFacts], kinds: Sequence[Kind], shares: Floats) -> tuple[Floats, Floats]:
    """Time of a request of a mix on each replica, and what one more of each kind takes beside it.

    Args:
        facts: The replicas.
        kinds: The kinds; their shares do not count.
        shares: Of the mix; [replica, kind], sum to 1; 0 of what does not fit.

    Returns:
        Seconds [replica], and [replica, kind]; the latter are infinite where a kind does not fit.
    """
    mix_s, times_s = np.zeros(len(facts)), np.zeros((len(facts), len(kinds)))
    for rows in alike(facts):
        mix_s[rows], times_s[rows] = _tangents_s([facts[row] for row in rows], kinds, shares[rows])
    return mix_s, times_s


def _tangents_s(facts: Sequence[ReplicaFacts], kinds: Sequence[Kind], shares: Floats) -> tuple[Floats, Floats]:
    """As `tangents_s`, for replicas with as many stages."""
    rule = facts[0].rule
    mix = Mixes.of(kinds, shares, rule)
    of_kinds = kind_means(kinds, rule)
    # A mean that is 0 here may not be beside another kind.
    steps = NUDGE * np.maximum(mix.means[:, :, 0], 1e-3 * of_kinds.max(axis=1)[:, None])
    steps[CHUNKS], steps[CHUNK_BLOCKS] = NUDGE, NUDGE
    steps[CHUNK_SQUARES] = NUDGE * mix.means[PAIRS, :, 0]
    nudged = mix.nudged(steps)
    states = SteadyStates(facts, nudged)
    with np.errstate(divide="ignore", invalid="ignore"):
        request_s = 1 / states.rps
        n = len(steps)
        apart = np.einsum("iri->ri", nudged.means[:, :, 1 : n + 1] - nudged.means[:, :, n + 1 :])
        differences = request_s[:, 1 : n + 1] - request_s[:, n + 1 :]
        slopes = np.where(apart > 0, differences / apart, 0.0)  # what no kind has makes no difference
    mean_of = np.repeat(of_kinds[:, None, :], len(facts), axis=1)
    for mean, of in zip((CHUNKS, CHUNK_BLOCKS, CHUNK_SQUARES), states.chunks_at(), strict=True):
        mean_of[mean] = of[:, 0, :]
    means = np.einsum("irk,rk->ir", mean_of, shares)
    times_s = request_s[:, :1] + np.einsum("ri,irk->rk", slopes, mean_of - means[:, :, None])
    tokens = of_kinds[PROMPT] + of_kinds[DECODES]
    least_s = LEAST * request_s[:, :1] * tokens / (shares @ tokens)[:, None]
    held = np.maximum(times_s, least_s)
    held *= (request_s[:, 0] / np.einsum("rk,rk->r", shares, held))[:, None]
    return request_s[:, 0], np.where(fits(facts, kinds), held, np.inf)


def fits(facts: Sequence[ReplicaFacts], kinds: Sequence[Kind]) -> np.ndarray:
    """Whether a request of each kind fits on each replica; [replica, kind]."""
    most = np.array([one.max_context_tokens for one in facts])
    tokens = np.array([kind.most_tokens for kind in kinds])
    return tokens[None, :] <= most[:, None]


def alike(facts: Sequence[ReplicaFacts]) -> Iterator[list[int]]:
    """Positions of replicas that can be computed together."""
    groups: dict[object, list[int]] = {}
    for row, one in enumerate(facts):
        groups.setdefault((len(one.stages), one.rule, one.engine), []).append(row)
    yield from groups.values()
