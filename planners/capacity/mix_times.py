"""The times of mixes by the closed form, for planners that linearise them where their plans are."""

from __future__ import annotations

import math
from collections.abc import Sequence

from planners.capacity.candidates import kinds_of
from planners.capacity.rates import rps_of
from planners.capacity.steady_state import Kind, ReplicaFacts
from planners.problem.candidate import Candidate, Demand
from sim.slo import SLO
from sim.timing.service_time import ServiceTimeModel

_STEP = 1e-3  # of a kind, as a share of the mix, to see what one more takes


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
        rps = self._rps(candidate, self._mix(candidate, amounts)) if total > 0 else math.inf
        return total / rps if rps > 0 else math.inf

    def capacity_rps(self, candidate: Candidate, amounts: Sequence[float]) -> tuple[float, ...]:
        """See `planners.problem.mixes.MixTimes`."""
        mix_s = self.time_s(candidate, amounts)
        total = math.fsum(amounts)
        times_s = []
        for w in range(len(amounts)):
            more = [amount + (total * _STEP if k == w else 0.0) for k, amount in enumerate(amounts)]
            times_s.append((self.time_s(candidate, more) - mix_s) / (total * _STEP))
        sum_s = math.fsum(f * t for f, t in zip(amounts, times_s, strict=True) if f > 0)
        return tuple(sum_s / (mix_s * time_s) if 0 < time_s < math.inf else 0.0 for time_s in times_s)

    def _mix(self, candidate: Candidate, amounts: Sequence[float]) -> list[Kind]:
        total = math.fsum(amounts)
        kinds = self._kinds[candidate.model]
        return [kind._replace(share=amount / total) for kind, amount in zip(kinds, amounts, strict=True)]

    def _rps(self, candidate: Candidate, mix: Sequence[Kind]) -> float:
        spec = candidate.spec
        if spec is None:
            msg = f"candidate {candidate.name!r} has no spec: nothing is known of its times"
            raise ValueError(msg)
        if spec.name not in self._facts:
            self._facts[spec.name] = ReplicaFacts.of(spec, self._service_time)
        own = None if self._slo is None else self._slo.of_model(spec.model.name)
        return rps_of(self._facts[spec.name], mix, own)
