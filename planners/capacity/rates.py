"""How many requests/s of each type a replica serves: the h[c,w] of the planning problem.

Planners add up the time that types take on a replica, as arXiv:2502.00722 does: f requests of type w take f / h. One
type alone runs at the rate of `planners.capacity.steady_state`. But what a request takes depends on what else the
replica serves. Let T(f) be the time that requests f take together, by the same closed form. It is homogeneous, so that
beside the mix f in demand, one more request of type w takes dT/df_w, and T = sum_w f_w dT/df_w
(`planners.capacity.tangents`). With h = 1 / (dT/df_w), adding up is exact for that mix, as with the rate alone it is
for replicas of one type; but each misleads a planner that looks for the best use of a replica. On pipelines, short
requests take two or three times as long beside long ones as alone. On replicas with one stage they take less, and where
slots and KV blocks are short alike, some take next to nothing, as long as others make up for them: no replica of these
alone is as fast. So h is the smaller of both rates, and says no more of a replica than it can do with either.

On eight scenarios of `paper`, with an earlier form of the steady state, `milp` with these h promised a makespan that
was 1.3 % from T at the mixes of its plan in the mean of the absolute differences, 5.5 % at most. With the tangents
alone that was 757 %, with the larger of both times in a constant ratio, so that T is exact for the mix in demand, 17 %,
and with the times alone in such a ratio 19 %. Exact at the mixes that a plan uses are the tangents there
(`planners.capacity.mix_times`).

With an SLO, alone is the largest rate at which it is met (`planners.capacity.within_slo`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planners.capacity.load_curve import LoadCurves
from planners.capacity.rows import take
from planners.capacity.steady_state import Kind, ReplicaFacts, SteadyState
from planners.capacity.steady_states import Floats
from planners.capacity.tangents import alone_rps, fits, tangents_s
from planners.capacity.within_slo import NEAR, ROUGH, rps_within
from sim.deployment import ReplicaSpec
from sim.slo import SLO
from sim.timing.service_time import ServiceTimeModel


def capacity_rps(
    spec: ReplicaSpec,
    service_time: ServiceTimeModel,
    prompt_tokens: float,
    output_tokens: float,
    slo: SLO | None = None,
) -> float:
    """Requests/s that a replica sustains if all have these lengths; see the module for formula and assumptions.

    Args:
        spec: The replica.
        service_time: Gives the times of its iterations.
        prompt_tokens: Prompt of a request, 1 or more.
        output_tokens: Output of a request, 1 or more.
        slo: Goals that requests should meet, if they arrive independently of each other.

    Returns:
        The rate; 0 if such a request does not fit on the replica, or never meets the SLO there.

    Raises:
        DeploymentError: The service-time model says nothing about this replica.

    64 requests at once, of 101 iterations with 0.1 s each:

    >>> from sim import ConstantServiceTime, ReplicaLimits, ReplicaSpec, gpu_type, model_spec
    >>> limits = ReplicaLimits(max_seqs=64, kv_blocks=100_000)
    >>> spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("L40"), limits=limits)
    >>> round(capacity_rps(spec, ConstantServiceTime(0.1), prompt_tokens=1, output_tokens=101), 3)
    6.337
    """
    return capacity_of_mix_rps(spec, service_time, [Kind(1.0, prompt_tokens, output_tokens)], slo)


def capacity_of_mix_rps(
    spec: ReplicaSpec, service_time: ServiceTimeModel, kinds: Sequence[Kind], slo: SLO | None = None
) -> float:
    """Requests/s that a replica sustains of a mix.

    Args:
        spec: The replica.
        service_time: Gives the times of its iterations.
        kinds: What the mix is made of; shares that sum to 1.
        slo: Goals that requests should meet, if they arrive independently of each other.

    Returns:
        The rate of all kinds together; 0 if one of them does not fit on the replica, or the SLO is never met there.

    Raises:
        DeploymentError: The service-time model says nothing about this replica.

    A mix of one kind is that kind, and half of each of two equal kinds is one:

    >>> from sim import CompactServiceTime, ReplicaSpec, gpu_type, model_spec
    >>> spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("L40"))
    >>> times = CompactServiceTime()
    >>> two = capacity_of_mix_rps(spec, times, [Kind(0.5, 824, 253), Kind(0.5, 824, 253)])
    >>> round(two, 9) == round(capacity_rps(spec, times, 824, 253), 9)
    True
    """
    own = None if slo is None else slo.of_place(spec.model.name, spec.region)
    return rps_of(ReplicaFacts.of(spec, service_time), kinds, own)


def rps_of(facts: ReplicaFacts, kinds: Sequence[Kind], slo: SLO | None = None, near: float = NEAR) -> float:
    """As `capacity_of_mix_rps`, for a replica whose facts are known already and the SLO of its model."""
    kinds = [kind for kind in kinds if kind.share > 0]
    if not facts.holds(kinds):
        return 0.0
    if slo is None or slo.asks_for_nothing:
        return SteadyState(facts, kinds).rps
    return float(rps_within(slo, LoadCurves.of_mix(facts, kinds), near)[0])


def capacities_rps(
    facts: ReplicaFacts, kinds: Sequence[Kind], slo: SLO | None = None, *, beside_mix: bool = True
) -> tuple[float, ...]:
    """The h of one replica: requests/s of each kind of a mix, of which planners add up the time on a replica.

    Args:
        facts: The replica.
        kinds: What is demanded; shares that sum to 1.
        slo: Goals that requests of its model should meet, if they arrive independently of each other.
        beside_mix: Whether a kind counts as it does beside the mix demanded, or what fits of it on the replica; False:
            as if alone there.
    """
    rates = all_alone_rps([facts], kinds, slo)
    if beside_mix:
        rates = beside_mix_rps([facts], kinds, rates)
    return tuple(rates[0].tolist())


def alone_rps_within(facts: Sequence[ReplicaFacts], kinds: Sequence[Kind], goals: Sequence[SLO | None]) -> Floats:
    """As `all_alone_rps`, for replicas each of which has goals of its own."""
    rates = np.zeros((len(facts), len(kinds)))
    for goal in dict.fromkeys(goals):
        rows = [row for row, own in enumerate(goals) if own == goal]
        rates[rows] = all_alone_rps([facts[row] for row in rows], kinds, goal)
    return rates


def all_alone_rps(facts: Sequence[ReplicaFacts], kinds: Sequence[Kind], slo: SLO | None = None) -> Floats:
    """Requests/s of each kind by itself on each of several replicas; [replica, kind]."""
    if slo is None or slo.asks_for_nothing:
        return alone_rps(facts, kinds)
    rates, holds = np.zeros((len(facts), len(kinds))), fits(facts, kinds)
    rates[holds] = rps_within(slo, take(LoadCurves.alone(facts, kinds), np.flatnonzero(holds)), ROUGH)
    return rates


def beside_mix_rps(facts: Sequence[ReplicaFacts], kinds: Sequence[Kind], rates: Floats) -> Floats:
    """The h of several replicas beside a mix, of rates of each kind by itself; [replica, kind]."""
    longer = _times_longer(facts, kinds, alone_rps(facts, kinds))
    return np.asarray(rates / np.maximum(1.0, longer))


def _times_longer(facts: Sequence[ReplicaFacts], kinds: Sequence[Kind], alone: Floats) -> Floats:
    """How many times as long as alone another request of each kind takes beside the mix; [replica, kind]."""
    shares = np.where(alone > 0, [kind.share for kind in kinds], 0.0)
    total = shares.sum(axis=1)
    longer = np.ones_like(alone)
    rows: list[int] = np.flatnonzero(total > 0).tolist()
    if rows:
        _, times_s = tangents_s([facts[row] for row in rows], kinds, shares[rows] / total[rows, None])
        served = alone[rows] > 0
        longer[rows] = np.where(served, times_s, 1.0) * np.where(served, alone[rows], 1.0)
    return longer
