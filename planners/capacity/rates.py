"""How many requests/s of each type a replica serves: the h[c,w] of the planning problem.

Planners add up the time that types take on a replica, as arXiv:2502.00722 does: f requests of type w take f / h. One
type alone runs at the rate of `planners.capacity.steady_state`. But what a request takes depends on what else the
replica serves. Let T(f) be the time that requests f take together, by the same closed form. It is homogeneous, so that
beside the mix f in demand, one more request of type w takes dT/df_w, and T = sum_w f_w dT/df_w. With h = 1 / (dT/df_w),
adding up is exact for that mix, as with the rate alone it is for replicas of one type; but each misleads a planner that
looks for the best use of a replica. On pipelines, short requests take two or three times as long beside long ones as
alone; on replicas with one stage, they take less. So h is the smaller of both rates.

With an SLO, alone is the largest rate at which it is met (`planners.capacity.within_slo`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from planners.capacity.steady_state import Kind, ReplicaFacts, SteadyState
from planners.capacity.within_slo import rps_within
from sim.deployment import ReplicaSpec
from sim.results.metrics import SLO
from sim.timing.service_time import ServiceTimeModel

MORE = 0.05  # of a kind, as a share of the mix, to see what one more takes


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
    own = None if slo is None else slo.of_model(spec.model.name)
    return rps_of(ReplicaFacts.of(spec, service_time), kinds, own)


def rps_of(facts: ReplicaFacts, kinds: Sequence[Kind], slo: SLO | None = None) -> float:
    """As `capacity_of_mix_rps`, for a replica whose facts are known already and the SLO of its model."""
    kinds = [kind for kind in kinds if kind.share > 0]
    if not facts.holds(kinds):
        return 0.0
    state = SteadyState(facts, kinds)
    if slo is None or (slo.ttft_s is None and slo.tpot_s is None and slo.e2e_s is None):
        return state.rps
    return rps_within(slo, state)


def capacities_rps(
    facts: ReplicaFacts, kinds: Sequence[Kind], slo: SLO | None = None, *, beside_mix: bool = True
) -> tuple[float, ...]:
    """The h of one replica: requests/s of each kind of a mix, of which planners add up the time on a replica.

    Args:
        facts: The replica.
        kinds: What is demanded; shares that sum to 1.
        slo: Goals that requests of its model should meet, if they arrive independently of each other.
        beside_mix: Whether a kind counts as it does beside the mix demanded, or what fits of it on the replica, where
            that takes longer than alone.
    """
    alone = [rps_of(facts, [kind._replace(share=1.0)]) for kind in kinds]
    rates = alone if slo is None else [rps_of(facts, [kind._replace(share=1.0)], slo) for kind in kinds]
    mix = facts.part_of(kinds)
    if not beside_mix or all(kind.share == 0 for kind in mix):
        return tuple(rates)
    times_s = _beside_s(facts, mix, alone)
    return tuple(
        rate / max(1.0, time_s * rps) if rps > 0 else 0.0
        for rate, rps, time_s in zip(rates, alone, times_s, strict=True)
    )


def _beside_s(facts: ReplicaFacts, kinds: Sequence[Kind], alone: Sequence[float]) -> list[float]:
    """Time that another request of each kind takes beside the mix: the derivative of the time that the mix takes."""
    mix_s = 1 / rps_of(facts, kinds)
    times_s = []
    for added, rps in enumerate(alone):
        if rps == 0:
            times_s.append(0.0)
            continue
        more = [
            kind._replace(share=(kind.share + (MORE if k == added else 0.0)) / (1 + MORE))
            for k, kind in enumerate(kinds)
        ]
        times_s.append(((1 + MORE) / rps_of(facts, more) - mix_s) / MORE)
    # The time that a mix takes is homogeneous in its requests, so that (Euler) these times add up to it. Steps of the
    # closed form, as of whole chunks, make them miss it a little.
    total_s = math.fsum(kind.share * time_s for kind, time_s in zip(kinds, times_s, strict=True))
    return [time_s * mix_s / total_s for time_s in times_s] if total_s > 0 else times_s
