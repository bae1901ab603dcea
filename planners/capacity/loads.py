"""Latencies of loaded replicas by the closed form, for planners that make them least.

`planners.capacity.loaded` is for requests that come independently of each other. A router that deals them out in turn,
type by type, makes them come more evenly: of a type of which a replica gets the share z, every 1/z-th is for it. Over a
time in which m of them come, their number varies z + (1 - z^2) / (6 m) times as much as if they were independent (the
index of dispersion of a renewal process with Erlang intervals: Cox, Renewal Theory, 1962). The means of latencies are
taken as they are, deviations from them are shortened by the root of that, averaged over the requests that run.

It also takes all requests of a type for equally long. One whose output is r times as long as the mean takes r times as
long from the first token to the last; where such ratios are known, shares of late requests are means over them. Each is
then by three moments of the distribution. Pipelines are judged at twice their rate, as for an SLO.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from planners.capacity.candidates import kinds_of
from planners.capacity.latencies import Latencies
from planners.capacity.load_curve import LoadCurves
from planners.capacity.loaded import LoadedReplicas
from planners.capacity.mix_times import ClosedFormMixTimes
from planners.capacity.rows import stack
from planners.capacity.steady_state import ReplicaFacts

if TYPE_CHECKING:
    import numpy.typing as npt

    from planners.capacity.random_time import Gamma
    from planners.problem.candidate import Candidate, Capacities, Demand
    from planners.problem.latency import Metric
    from sim.timing.service_time import ServiceTimeModel
    from traces.trace import Trace

    Floats = npt.NDArray[np.float64]
    Ratios = Sequence[Floats]

_MOST_CURVES = 4096
_PIPELINE_FACTOR = 2.0
"""Times the rate of a pipeline, at which its latencies are judged: calibrated on simulations."""
_MOST_UTILISATION = 0.98
_RATIO_SHARES = (np.arange(48) + 0.5) / 48


class ClosedFormLoads:
    """The `planners.problem.latency.Loads` of `planners.capacity.loaded`.

    Args:
        service_time: Gives iteration times.
        demands: One per model, with a mix: the lengths of each type are those of the demand, its rates all that come.
        in_turn: Whether the router deals requests out in turn.
        ratios: By model and type, equally likely ratios of outputs to their mean, as `output_ratios` gives them.
    """

    def __init__(
        self,
        service_time: ServiceTimeModel,
        demands: Sequence[Demand],
        *,
        in_turn: bool = True,
        ratios: Mapping[str, Ratios] | None = None,
    ) -> None:
        self._service_time, self._in_turn, self._ratios = service_time, in_turn, ratios or {}
        self._rates = {demand.model: demand.amounts for demand in demands}
        self._times = ClosedFormMixTimes(service_time, demands)
        self._kinds = {demand.model: kinds_of(demand) for demand in demands}
        self._curves: dict[tuple[str, tuple[float, ...]], LoadCurves] = {}

    def time_s(self, candidate: Candidate, amounts: Sequence[float]) -> float:
        """See `planners.problem.mixes.MixTimes`; no SLO lowers the rates."""
        return self._times.time_s(candidate, amounts)

    def capacity_rps(self, candidate: Candidate, amounts: Sequence[float]) -> tuple[float, ...]:
        """See `planners.problem.mixes.MixTimes`; no SLO lowers the rates."""
        return self._times.capacity_rps(candidate, amounts)

    def alone_rps(self, candidates: Sequence[Candidate]) -> Capacities:
        """See `planners.problem.mixes.MixTimes`; no SLO lowers the rates."""
        return self._times.alone_rps(candidates)

    def loaded(self, candidate: Candidate, mix: Sequence[float], utilisation: float) -> OfTypes:
        """See `planners.problem.latency.Loads`."""
        total = math.fsum(mix)
        shares = tuple(amount / total for amount in mix)
        curve = self._curve(candidate, shares)
        places = {w: place for place, w in enumerate(w for w, share in enumerate(shares) if share > 0)}
        full_rps = float(curve.rps[0])
        rps = utilisation * full_rps
        tokens = [kind.output_tokens for kind in self._kinds[candidate.model]]
        ratios = self._ratios.get(candidate.model, ())
        # Batches of pipelines drift apart in size, by more than the closed form knows at partial load.
        is_pipeline = candidate.spec is not None and len(candidate.spec.stages) > 1
        judged_rps = min(_PIPELINE_FACTOR * rps, _MOST_UTILISATION * full_rps) if is_pipeline else rps
        one = OfTypes(LoadedReplicas.at(curve, np.array([judged_rps])), places, tokens, ratios)
        if self._in_turn:
            one.unevenness = self._unevenness(one, self._rates[candidate.model], [rps * share for share in shares])
        return one

    def _unevenness(self, one: OfTypes, all_rps: Sequence[float], own_rps: Sequence[float]) -> float:
        """Standard deviation of the numbers that come, relative to that of independent requests."""
        weighted, running = 0.0, 0.0
        for w, (every, own) in enumerate(zip(all_rps, own_rps, strict=True)):
            if own > 0 and every > 0:
                m, z = own * one.mean_s(w, "e2e"), min(1.0, own / every)
                weighted += m * min(1.0, z + (1 - z * z) / (6 * m))
                running += m
        return math.sqrt(weighted / running) if running > 0 else 1.0

    def _curve(self, candidate: Candidate, shares: tuple[float, ...]) -> LoadCurves:
        key = candidate.name, shares
        if key not in self._curves:
            if candidate.spec is None:
                msg = f"candidate {candidate.name!r} has no spec: nothing is known of its latencies"
                raise ValueError(msg)
            kinds = self._kinds[candidate.model]
            mix = [kind._replace(share=share) for kind, share in zip(kinds, shares, strict=True) if share > 0]
            if len(self._curves) >= _MOST_CURVES:
                self._curves.clear()
            self._curves[key] = LoadCurves.of_mix(ReplicaFacts.of(candidate.spec, self._service_time), mix)
        return self._curves[key]


class OfTypes:
    """A loaded replica, asked by workload type: its mix has those only of which it serves any.

    Args:
        replica: The replica, as the only row.
        places: Of the types in its mix.
        output_tokens: By type.
        ratios: By type, equally likely ratios of outputs to their mean.

    Attributes:
        unevenness: By which factor deviations from the mean are shorter.
    """

    def __init__(
        self, replica: LoadedReplicas, places: dict[int, int], output_tokens: Sequence[float], ratios: Ratios = ()
    ) -> None:
        self._replica, self._places, self._output_tokens, self._ratios = replica, places, output_tokens, ratios
        self._latencies = Latencies(replica, np.zeros(len(places), np.intp), np.arange(len(places)))
        self.unevenness = 1.0
        self._means: dict[Metric, list[float]] = {}
        self._rough: dict[Metric, tuple[Floats, Gamma]] = {}

    def mean_s(self, w: int, metric: Metric) -> float:
        """See `planners.problem.latency.Loaded`."""
        if metric not in self._means:
            self._means[metric] = self._latencies.mean_s(metric).tolist()
        return self._means[metric][self._places[w]]

    def rough_late_share(self, w: int, metric: Metric, limit_s: float) -> float:
        """See `planners.problem.latency.Loaded`."""
        if metric not in self._rough:
            by_moments = self._latencies.by_moments(metric)
            of_times = np.array([share for share, _ in by_moments])
            self._rough[metric] = of_times, stack([time.gamma() for _, time in by_moments])
        n = max(0.0, self._output_tokens[w] - 1) if metric == "tpot" else 1.0
        if n == 0:
            return 0.0
        limits_s = np.maximum(self._as_if_alike_s(w, metric, limit_s), 0.0) * n
        shares, gamma = self._rough[metric]
        n_times, place = len(shares), self._places[w]
        of = np.repeat(place + len(self._places) * np.arange(n_times), len(limits_s))
        late = gamma.longer_than(of, np.tile(limits_s, n_times)).reshape(n_times, -1).mean(axis=1)
        return float(shares[:, place] @ late)

    def late_share(self, w: int, metric: Metric, limit_s: float) -> float:
        """See `planners.problem.latency.Loaded`."""
        limits_s = self._as_if_alike_s(w, metric, limit_s)
        if len(limits_s) > 1:
            return self.rough_late_share(w, metric, limit_s)
        of_type = Latencies(self._replica, np.zeros(1, np.intp), np.array([self._places[w]]))
        return float(of_type.late_share(metric, np.maximum(limits_s, 0.0))[0])

    def _as_if_alike_s(self, w: int, metric: Metric, limit_s: float) -> Floats:
        """The limits that as many miss, on average, if requests are independent and of the same length."""
        mean_s = self.mean_s(w, metric)
        more_s = np.zeros(1)
        if metric == "e2e" and self._ratios:
            more_s = (self._ratios[w] - 1.0) * (mean_s - self.mean_s(w, "ttft"))
        return np.asarray(mean_s + (limit_s - more_s - mean_s) / self.unevenness)


def output_ratios(trace: Trace, demands: Sequence[Demand]) -> dict[str, Ratios]:
    """By model and type, equally likely ratios of the outputs of a trace to their mean.

    Args:
        trace: The requests.
        demands: Their workload types.
    """
    ratios: dict[str, Ratios] = {}
    for demand in demands:
        if demand.mix is None:
            continue
        outputs = trace.requests.filter(pl.col("model") == demand.model)["output_tokens"].to_numpy()
        kinds = demand.mix.grid.classify(trace, demand.model).to_numpy()
        of_types = (outputs[kinds == w] for w in range(len(demand.amounts)))
        ratios[demand.model] = tuple(
            np.quantile(of_type / of_type.mean(), _RATIO_SHARES) if len(of_type) > 0 else np.ones(1)
            for of_type in of_types
        )
    return ratios
