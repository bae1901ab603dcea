"""The times of mixes by the closed form, for planners that linearise them where their plans are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from planners.capacity.candidates import kinds_of
from planners.capacity.rates import rps_of
from planners.capacity.steady_state import ReplicaFacts
from planners.capacity.tangents import LEAST, alone_rps, tangents_s
from planners.problem.candidate import Candidate, Capacities, Demand
from sim.slo import SLO
from sim.timing.service_time import ServiceTimeModel

_STEP = 1e-3  # of a kind, as a share of the mix, to see what one more takes within an SLO


class ClosedFormMixTimes:
    """The `planners.problem.mixes.MixTimes` of the closed form: T(f) = sum_w f_w / (the rate of the mix f).

    Args:
        service_time: Gives iteration times.
        demands: One per model, with a mix: the lengths of each type are those of the demand.
        slo: Goals that each rate keeps to.
    """

    def __init__(self, service_time: ServiceTimeModel, demands: Sequence[Demand], slo: SLO | None = None) -> None:
        self._service_time = service_time
        self._kinds = {demand.model: kinds_of(demand) for demand in demands}
        self._slo = slo
        self._facts: dict[str, ReplicaFacts] = {}

    def time_s(self, candidate: Candidate, amounts: Sequence[float]) -> float:
        """See `planners.problem.mixes.MixTimes`."""
        total = math.fsum(amounts)
        if total <= 0:
            return 0.0
        return total * self._request_s(candidate, _shares(amounts))

    def capacity_rps(self, candidate: Candidate, amounts: Sequence[float]) -> tuple[float, ...]:
        """See `planners.problem.mixes.MixTimes`."""
        shares = _shares(amounts)
        if not math.isfinite(self._request_s(candidate, shares)):
            return (0.0,) * len(amounts)
        if self._goals(candidate) is None:
            _, times_s = tangents_s([self._facts_of(candidate)], self._kinds[candidate.model], np.array([shares]))
            return tuple((1 / times_s[0]).tolist())
        return self._within_goals_rps(candidate, shares)

    def alone_rps(self, candidates: Sequence[Candidate]) -> Capacities:
        """See `planners.problem.mixes.MixTimes`."""
        rates: dict[int, tuple[float, ...]] = {}
        for model, kinds in self._kinds.items():
            mine = [c for c, candidate in enumerate(candidates) if candidate.model == model]
            if not mine:
                continue
            if self._goals(candidates[mine[0]]) is None:
                rows = alone_rps([self._facts_of(candidates[c]) for c in mine], kinds)
                rates |= dict(zip(mine, map(tuple, rows.tolist()), strict=True))
                continue
            ones = np.eye(len(kinds)).tolist()
            for c in mine:
                rates[c] = tuple(1 / self._request_s(candidates[c], one) for one in ones)
        return tuple(rates[c] for c in range(len(candidates)))

    def _within_goals_rps(self, candidate: Candidate, shares: Sequence[float]) -> tuple[float, ...]:
        """By differences: within goals, the time depends on each kind by itself."""
        mix_s = self._request_s(candidate, shares)
        times_s = []
        for w in range(len(shares)):
            more = [(share + (_STEP if k == w else 0.0)) / (1 + _STEP) for k, share in enumerate(shares)]
            more_s = (1 + _STEP) * self._request_s(candidate, more)
            times_s.append(max((more_s - mix_s) / _STEP, LEAST * mix_s))
        # Differences miss what they should add up to by a little.
        sum_s = math.fsum(share * time_s for share, time_s in zip(shares, times_s, strict=True) if share > 0)
        if not math.isfinite(sum_s):
            return tuple(1 / mix_s if share > 0 else 0.0 for share in shares)
        return tuple(sum_s / (mix_s * time_s) for time_s in times_s)

    def _request_s(self, candidate: Candidate, shares: Sequence[float]) -> float:
        """Time of a request of a mix; infinite if some of it is never served."""
        kinds = self._kinds[candidate.model]
        mix = [kind._replace(share=share) for kind, share in zip(kinds, shares, strict=True)]
        rps = rps_of(self._facts_of(candidate), mix, self._goals(candidate))
        return 1 / rps if rps > 0 else math.inf

    def _goals(self, candidate: Candidate) -> SLO | None:
        """The goals of a candidate's model; None without any."""
        goals = None if self._slo is None else self._slo.of_model(candidate.model)
        return None if goals is None or goals.asks_for_nothing else goals

    def _facts_of(self, candidate: Candidate) -> ReplicaFacts:
        spec = candidate.spec
        if spec is None:
            msg = f"candidate {candidate.name!r} has no spec: nothing is known of its times"
            raise ValueError(msg)
        if candidate.name not in self._facts:
            self._facts[candidate.name] = ReplicaFacts.of(spec, self._service_time)
        return self._facts[candidate.name]


def _shares(amounts: Sequence[float]) -> list[float]:
    """What part of all each amount is; right for the smallest and the largest numbers too."""
    largest = max(amounts)
    parts = [amount / largest for amount in amounts]
    total = math.fsum(parts)
    return [part / total for part in parts]
