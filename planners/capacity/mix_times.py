"""The times of mixes by the closed form, for planners that linearise them where their plans are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from planners.capacity.candidates import kinds_of
from planners.capacity.load_curve import LoadCurves
from planners.capacity.rates import alone_rps_within, rps_of
from planners.capacity.rows import Places
from planners.capacity.steady_state import ReplicaFacts
from planners.capacity.tangents import LEAST, fits, tangents_s
from planners.capacity.within_slo import WithinSlo
from planners.problem.candidate import Candidate, Capacities, Demand
from sim.slo import SLO
from sim.timing.service_time import ServiceTimeModel

_STEP = 1e-2  # of a kind, as a share of the mix, to see what one more takes within an SLO
_BINDING = 1e-3  # by what share less may be late than is allowed where goals limit the rate
_NEAR_WORST = 0.5  # kinds of which fewer are late, by this in the logarithm, do not become the worst by a step
_DIGITS = 12  # of shares: the same mix comes back with other rounding errors
_MOST_KNOWN = 4096  # mixes that are kept
_LEAST_PART = 1e-3  # of the rate of a mix, beside a little more of a kind


Shares: TypeAlias = tuple[float, ...]
"""Of each type in a mix."""


class ClosedFormMixTimes:
    """The `planners.problem.mixes.MixTimes` of the closed form: T(f) = sum_w f_w / (the rate of the mix f).

    Args:
        service_time: Gives iteration times.
        demands: One per model, with a mix: the lengths of each type are those of the demand.
        slo: Goals that each rate keeps to.
        alone_rps: Requests/s of each type by itself, of candidates of which that is known already.
    """

    def __init__(
        self,
        service_time: ServiceTimeModel,
        demands: Sequence[Demand],
        slo: SLO | None = None,
        alone_rps: Mapping[str, tuple[float, ...]] | None = None,
    ) -> None:
        self._service_time = service_time
        self._alone_rps = dict(alone_rps or {})
        self._kinds = {demand.model: kinds_of(demand) for demand in demands}
        self._slo = slo
        self._facts: dict[str, ReplicaFacts] = {}
        self._request_s: dict[tuple[str, Shares], float] = {}
        self._capacities_rps: dict[tuple[str, Shares], tuple[float, ...]] = {}

    def time_s(self, candidate: Candidate, amounts: Sequence[float]) -> float:
        """See `planners.problem.mixes.MixTimes`."""
        total = math.fsum(amounts)
        if total <= 0:
            return 0.0
        return total * self._time_of_request_s(candidate, _shares(amounts))

    def capacity_rps(self, candidate: Candidate, amounts: Sequence[float]) -> tuple[float, ...]:
        """See `planners.problem.mixes.MixTimes`."""
        key = candidate.name, _shares(amounts)
        if key not in self._capacities_rps:
            _make_room(self._capacities_rps)
            self._capacities_rps[key] = self._capacity_rps(candidate, key[1])
        return self._capacities_rps[key]

    def _capacity_rps(self, candidate: Candidate, shares: Shares) -> tuple[float, ...]:
        request_s = self._time_of_request_s(candidate, shares)
        if not math.isfinite(request_s):
            return (0.0,) * len(shares)
        goals, kinds = self._goals(candidate), self._kinds[candidate.model]
        if goals is not None:
            beside = self._beside(candidate, goals, shares)
            if beside.log_late(np.arange(1), np.array([1 / request_s])).max() > -_BINDING:
                return self._within_goals_rps(candidate, beside, shares, 1 / request_s)
        full_s, times_s = tangents_s([self._facts_of(candidate)], kinds, np.array([shares]))
        return tuple((full_s[0] / request_s / times_s[0]).tolist())

    def alone_rps(self, candidates: Sequence[Candidate]) -> Capacities:
        """See `planners.problem.mixes.MixTimes`."""
        for model, kinds in self._kinds.items():
            new = [one for one in candidates if one.model == model and one.name not in self._alone_rps]
            if new:
                facts = [self._facts_of(candidate) for candidate in new]
                rows = alone_rps_within(facts, kinds, [self._goals(candidate) for candidate in new]).tolist()
                self._alone_rps |= {one.name: tuple(row) for one, row in zip(new, rows, strict=True)}
        return tuple(self._alone_rps[candidate.name] for candidate in candidates)

    def _within_goals_rps(
        self, candidate: Candidate, beside: WithinSlo, shares: Shares, rps: float
    ) -> tuple[float, ...]:
        """By differences, where goals limit the rate of a mix.

        At the rate r of the mix the logarithm G of what is late is 0. A little more of a kind changes it by dG, and the
        rate by -dG / (dG/dr).
        """
        late_of, late_below = beside.log_late(np.zeros(2, np.intp), np.array([rps, (1 - _STEP) * rps]))
        here = late_of.max()
        by_rate = (here - late_below.max()) / (_STEP * rps)
        fitting = self._fitting(candidate)
        is_near = (late_of > here - _NEAR_WORST) | np.eye(len(shares), dtype=bool)[fitting]
        changes = beside.log_late(1 + np.arange(len(fitting)), np.full(len(fitting), rps), is_near).max(axis=1) - here
        more_rps = np.maximum(rps - changes / by_rate, _LEAST_PART * rps) if by_rate > 0 else np.array(rps)
        times_s = np.full(len(shares), np.inf)
        times_s[fitting] = np.maximum(((1 + _STEP) / more_rps - 1 / rps) / _STEP, LEAST / rps)
        # Differences miss what they should add up to by a little.
        served = np.array(shares) > 0
        sum_s = math.fsum(np.array(shares)[served] * times_s[served])
        return tuple((sum_s * rps / times_s).tolist())

    def _beside(self, candidate: Candidate, goals: SLO, shares: Shares) -> WithinSlo:
        """A mix, then it with a little more of one kind after the other that fits."""
        more = (np.array(shares) + _STEP * np.eye(len(shares))[self._fitting(candidate)]) / (1 + _STEP)
        mixes = np.concatenate([np.array([shares]), more])
        facts = [self._facts_of(candidate)] * len(mixes)
        return WithinSlo(goals, LoadCurves.of_mixes(facts, self._kinds[candidate.model], mixes))

    def _fitting(self, candidate: Candidate) -> Places:
        """Kinds that fit on a candidate."""
        return np.flatnonzero(fits([self._facts_of(candidate)], self._kinds[candidate.model])[0])

    def _time_of_request_s(self, candidate: Candidate, shares: Shares) -> float:
        """Time of a request of a mix; infinite if some of it is never served."""
        key = candidate.name, shares
        if key not in self._request_s:
            kinds = zip(self._kinds[candidate.model], shares, strict=True)
            mix = [kind._replace(share=share) for kind, share in kinds if share > 0]
            rps = rps_of(self._facts_of(candidate), mix, self._goals(candidate))
            _make_room(self._request_s)
            self._request_s[key] = 1 / rps if rps > 0 else math.inf
        return self._request_s[key]

    def _goals(self, candidate: Candidate) -> SLO | None:
        """What is asked of a candidate; None if nothing is."""
        goals = (
            None
            if self._slo is None or candidate.spec is None
            else self._slo.of_place(candidate.model, candidate.spec.region)
        )
        return None if goals is None or goals.asks_for_nothing else goals

    def _facts_of(self, candidate: Candidate) -> ReplicaFacts:
        spec = candidate.spec
        if spec is None:
            msg = f"candidate {candidate.name!r} has no spec: nothing is known of its times"
            raise ValueError(msg)
        if candidate.name not in self._facts:
            self._facts[candidate.name] = ReplicaFacts.of(spec, self._service_time)
        return self._facts[candidate.name]


def _make_room(known: dict[tuple[str, Shares], Any]) -> None:
    if len(known) >= _MOST_KNOWN:
        known.clear()


def _shares(amounts: Sequence[float]) -> Shares:
    """What part of all each amount is; right for the smallest and the largest numbers too."""
    largest = max(amounts)
    parts = [amount / largest for amount in amounts]
    total = math.fsum(parts)
    return tuple(float(f"{part / total:.{_DIGITS}g}") for part in parts)
