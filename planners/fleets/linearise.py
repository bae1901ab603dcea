r"""Linearising again: a given fleet with capacities at the mixes that its own replicas serve.

Planners add up the time that types take on a replica, with capacities h that are exact for one mix
(`planners.problem.mixes`). A plan gives each candidate a mix of its own. With T_c(f) the time that a replica of
candidate c takes for amounts f, what the plan takes is

.. math:: T(x) = \max_c T_c(x_{c,1} f_1, x_{c,2} f_2, \dots) / y_c

and the tangents of T_c at these amounts are capacities with which adding up gives just that. The shares that are best
with these tangents show where T may be less; the step towards them is as long as that makes T least. Where T_c is
convex, as on replicas of one stage for the most part, this is the method of Frank and Wolfe (Naval Research Logistics
Quarterly 3, 1956), and the value of the linear program is a lower bound of the least T of the fleet. On pipelines it
need not be: there it ends at shares that no small change makes better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from planners.fleets.assignment import RATE_TOLERANCE, evaluate
from planners.fleets.shedding import best_shares, value_with
from planners.problem.problem import Feature, Objective

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from planners.problem.candidate import Candidate, Capacities, Fractions
    from planners.problem.mixes import MixTimes
    from planners.problem.problem import PlanningProblem

AGREED = 0.003
"""Relative difference between what capacities promise and what the closed form says at which both count as equal."""

_MOST_STEPS = 20
_STEPS = (1.0, 0.5, 0.25, 0.125, 0.0625)
_ROUNDING = 1e-9
_WORTH = 1e-4  # a step that makes T less by a smaller share is none


@dataclass(frozen=True, slots=True)
class Linearised:
    """A fleet and its shares, with capacities at its own mixes.

    Attributes:
        problem: The problem with the tangents at the mixes of this plan as capacities of the candidates that serve.
        counts: Replicas of each candidate.
        fractions: Shares by candidate and type.
        makespan: T by the closed form (see `planners.fleets.assignment`), and by the capacities of the problem.
        value: What planners minimise.
    """

    problem: PlanningProblem
    counts: tuple[int, ...]
    fractions: Fractions
    makespan: float
    value: float


def capacities_of(problem: PlanningProblem) -> Capacities:
    """The capacities of the candidates of a problem."""
    return tuple(candidate.capacity_rps for candidate in problem.candidates)


def with_rates(problem: PlanningProblem, rates: Mapping[int, tuple[float, ...]]) -> PlanningProblem:
    """The problem with other capacities of some candidates."""
    rows = (rates.get(c, candidate.capacity_rps) for c, candidate in enumerate(problem.candidates))
    return problem.with_capacities(tuple(rows))


def alone(problem: PlanningProblem) -> PlanningProblem:
    """The problem with the capacities that types have by themselves; itself if nothing is known of mixes."""
    return problem if problem.mixes is None else problem.with_capacities(problem.mixes.alone_rps(problem.candidates))


def adjusted(problem: PlanningProblem, plan: Linearised) -> dict[int, tuple[float, ...]]:
    """Of each candidate that serves something, the capacities of a problem, made right for what a plan gives it.

    With these, as with a tangent, adding up is exact at the mix. But nothing says what a tangent misses far from it. So
    types keep the times known where these add up to enough, all by one factor if they add up to more. Where they add
    up to less, each has a part of what its tangent says beyond that, the same part for all; and a type that is no part
    of the mix has what its tangent says, if that is more.
    """
    mixes = problem.mixes
    if mixes is None:
        return {}
    return {
        c: _adjusted_rps(mixes, problem.candidates[c], _amounts(problem, plan.fractions, c))
        for c in _serving(problem, plan.counts, plan.fractions)
    }


def _adjusted_rps(mixes: MixTimes, candidate: Candidate, amounts: Sequence[float]) -> tuple[float, ...]:
    known = candidate.capacity_rps
    time_s, rates = mixes.time_s(candidate, amounts), mixes.capacity_rps(candidate, amounts)
    if time_s == math.inf or any(f > 0 and not min(pair) > 0 for f, *pair in zip(amounts, known, rates, strict=True)):
        return _scaled_rps(mixes, candidate, amounts)
    more_s = [max(1 / h - 1 / most, 0.0) if min(h, most) > 0 else 0.0 for h, most in zip(rates, known, strict=True)]
    missing_s = time_s - math.fsum(f / most for f, most in zip(amounts, known, strict=True) if f > 0)
    said_s = math.fsum(f * more for f, more in zip(amounts, more_s, strict=True))
    is_between = -_ROUNDING * time_s <= missing_s <= said_s + _ROUNDING * time_s
    if not is_between:
        return _scaled_rps(mixes, candidate, amounts)
    part = min(max(missing_s / said_s, 0.0), 1.0) if said_s > 0 else 0.0
    parts = (part if f > 0 else 1.0 for f in amounts)
    return tuple(1 / (1 / h + x * more) if h > 0 else 0.0 for h, x, more in zip(known, parts, more_s, strict=True))


def at_own_mixes(problem: PlanningProblem, counts: Sequence[int], fractions: Fractions) -> PlanningProblem:
    """The problem with capacities at the mixes that a plan gives each candidate; itself if none are known."""
    if problem.mixes is None:
        return problem
    tangents = {}
    for c in _serving(problem, counts, fractions):
        amounts = _amounts(problem, fractions, c)
        tangents[c] = _tangent_rps(problem, c, amounts)
    return with_rates(problem, tangents)


def linearised(problem: PlanningProblem, counts: Sequence[int], fractions: Fractions) -> Linearised:
    """A fleet with these shares, judged by the closed form where the problem knows it."""
    there = at_own_mixes(problem, counts, fractions)
    makespan = evaluate(there, counts, fractions, may_shed=True)
    return Linearised(there, tuple(counts), fractions, makespan, value_with(there, counts, fractions))


def assigned_again(problem: PlanningProblem, counts: Sequence[int], first: Fractions | None = None) -> Linearised:
    """The shares of a given fleet that linearising again leads to.

    T is never more than with the first shares. For the objective `cost` it stops where the fleet carries the rates.

    Args:
        problem: The problem, of which a capacity is what a type has at most where it is no part of a mix. Without
            `mixes` the shares are those that are best with these capacities.
        counts: Replicas of each candidate.
        first: Shares to begin with; those that are best with the capacities given if None.
    """
    best = linearised(problem, counts, best_shares(problem, counts).fractions if first is None else first)
    if problem.mixes is None or best.makespan == math.inf:
        return best
    if problem.objective is Objective.COST and Feature.SHEDDING in problem.needs:
        return _shed_again(problem, best)
    for _ in range(_MOST_STEPS):
        if problem.objective is Objective.COST and best.makespan <= 1 + RATE_TOLERANCE:
            break
        ahead = best_shares(best.problem, counts)
        if ahead.makespan >= best.makespan * (1 - AGREED):
            break
        found = linearised(problem, counts, _step(problem, best, ahead.fractions))
        if not found.makespan < best.makespan * (1 - _WORTH):
            break
        best = found
    return best


def _shed_again(problem: PlanningProblem, first: Linearised) -> Linearised:
    """For `cost` with penalties: shares that shed so much that the rest is carried at the mixes that are left."""
    best, last, margin = first, first, 1.0
    for _ in range(_MOST_STEPS):
        slower = with_rates(
            last.problem, {c: tuple(h / margin for h in row) for c, row in enumerate(capacities_of(last.problem))}
        )
        last = linearised(problem, first.counts, best_shares(slower, first.counts).fractions)
        if last.value < best.value or best.value == math.inf:
            is_settled = best.value - last.value <= AGREED * best.value
            best = last
            if is_settled:
                break
        elif last.makespan <= 1 + RATE_TOLERANCE:
            break
        if last.makespan < math.inf:
            margin *= max(1.0, last.makespan)
    return best


def _step(problem: PlanningProblem, best: Linearised, ahead: Fractions) -> Fractions:
    """The shares on the way from the best ones to others, of each model those with which it takes the least time."""
    rows = list(best.fractions)
    for demand in problem.demands:
        mine = problem.candidates_of(demand.model)
        least = math.inf
        for share in _STEPS:
            mixed = {c: _between(best.fractions[c], ahead[c], share) for c in mine}
            time_s = max((_time_s(problem, best.counts, c, mixed[c]) for c in mine), default=0.0)
            if time_s < least * (1 - _WORTH):
                least = time_s
                for c in mine:
                    rows[c] = mixed[c]
    return tuple(rows)


def _between(first: Sequence[float], second: Sequence[float], share: float) -> tuple[float, ...]:
    return tuple(a + share * (b - a) if share < 1 else b for a, b in zip(first, second, strict=True))


def _time_s(problem: PlanningProblem, counts: Sequence[int], c: int, shares: Sequence[float]) -> float:
    """T_c of a candidate with these shares, over its replicas."""
    candidate = problem.candidates[c]
    amounts = problem.demand(candidate.model).amounts
    served = [x * f for x, f in zip(shares, amounts, strict=True)]
    if not any(served) or problem.mixes is None:
        return 0.0
    working = problem.working(counts)[c]
    return problem.mixes.time_s(candidate, served) / working if working > 0 else math.inf


def _amounts(problem: PlanningProblem, fractions: Fractions, c: int) -> list[float]:
    """Of each type, what the replicas of a candidate serve together; T is homogeneous, so that only the mix counts."""
    amounts = problem.demand(problem.candidates[c].model).amounts
    return [x * f for x, f in zip(fractions[c], amounts, strict=True)]


def _serving(problem: PlanningProblem, counts: Sequence[int], fractions: Fractions) -> list[int]:
    return [c for c, count in enumerate(counts) if count > 0 and any(_amounts(problem, fractions, c))]


def _tangent_rps(problem: PlanningProblem, c: int, amounts: Sequence[float]) -> tuple[float, ...]:
    """The capacities of a candidate at a mix: of types that are no part of it, no more than those known.

    What a first request takes beside others may be far less than what the tenth takes. Where the tangent says nothing
    of a type in the mix, it is the capacities known, by the factor that makes adding up right.
    """
    candidate, mixes = problem.candidates[c], problem.mixes
    if mixes is None:
        return candidate.capacity_rps
    known = candidate.capacity_rps
    rates = mixes.capacity_rps(candidate, amounts)
    if all(h > 0 for f, h in zip(amounts, rates, strict=True) if f > 0):
        return tuple(h if f > 0 else min(h, most) for f, h, most in zip(amounts, rates, known, strict=True))
    return _scaled_rps(mixes, candidate, amounts)


def _scaled_rps(mixes: MixTimes, candidate: Candidate, amounts: Sequence[float]) -> tuple[float, ...]:
    """The capacities known of a candidate, by the factor with which adding up is right at a mix."""
    known = candidate.capacity_rps
    time_s = mixes.time_s(candidate, amounts)
    if time_s == math.inf or any(h == 0 for f, h in zip(amounts, known, strict=True) if f > 0):
        return tuple(0.0 if f > 0 else h for f, h in zip(amounts, known, strict=True))
    factor = math.fsum(f / h for f, h in zip(amounts, known, strict=True) if f > 0) / time_s
    return tuple(factor * h for h in known)


def without_mixes(problem: PlanningProblem) -> PlanningProblem:
    """The problem in which the capacities are all that is known."""
    return problem if problem.mixes is None else replace(problem, mixes=None)
