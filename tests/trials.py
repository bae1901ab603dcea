"""Planning problems whose candidates can be simulated, and whose true capacities are known."""

from __future__ import annotations

from collections.abc import Sequence

from planners import Candidate, Demand, Objective, PlanningProblem, Trial
from sim import SLO, ConstantServiceTime, ReplicaLimits, ReplicaSpec, gpu_type, model_spec
from traces import Trace, WorkloadGrid, WorkloadMix

GRID = WorkloadGrid((100,), (20, 4))
GPUS = ("A40", "A6000", "L40")


def slots_problem(
    slots: Sequence[int],
    errors: Sequence[float],
    amounts: tuple[float, float] = (1000.0, 3000.0),
    *,
    objective: Objective = Objective.MAKESPAN,
    usd_per_h: Sequence[float] = (1.0, 1.0, 1.0),
    available: Sequence[int] = (1, 1, 1),
    budget_usd_per_h: float = 10.0,
    slo: SLO | None = None,
    **trial: str,
) -> PlanningProblem:
    """Candidates that serve so many requests at once, in iterations of 1 s.

    A request with 20 or 4 output tokens has a slot for 20 or 4 s, so that a replica with n slots serves n / 20 or n / 4
    of them per second; the problem says so many times as many as `errors` has.
    """
    total = sum(amounts)
    mix = WorkloadMix.from_shares(GRID, [amount / total for amount in amounts])
    candidates = []
    for gpu, n, error, price in zip(GPUS, slots, errors, usd_per_h, strict=False):
        spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type(gpu), limits=ReplicaLimits(max_seqs=n))
        capacity_rps = (error * n / 20, error * n / 4)
        candidates.append(Candidate(gpu, "Llama-3-8B", ((gpu, 1),), price, capacity_rps, spec))
    requests = Trace.from_columns([0.0, 1.0], [100, 100], [20, 4], model="Llama-3-8B")
    return PlanningProblem(
        demands=(Demand.from_requests("Llama-3-8B", mix, total),),
        candidates=tuple(candidates),
        available=tuple(zip(GPUS, available, strict=False)),
        budget_usd_per_h=budget_usd_per_h,
        objective=objective,
        trial=Trial(ConstantServiceTime(1.0), requests, slo, **trial),
    )
