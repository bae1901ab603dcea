"""Replica configurations worth considering, and the planning problem that they make."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from planners.base import Candidate, Demand, Objective, PlanningProblem
from planners.capacity import capacity_rps
from planners.errors import PlannerError
from sim.catalog import GpuType, ModelSpec
from sim.deployment import ReplicaLimits, ReplicaSpec
from sim.errors import DeploymentError
from sim.kv_cache import max_context_tokens
from sim.metrics import SLO
from sim.service_time import ServiceTimeModel
from sim.units import GIB

TP = (1, 2, 4, 8)
PP = (1, 2, 4)


def build_problem(
    models: Sequence[ModelSpec],
    demands: Sequence[Demand],
    available: Mapping[str, int],
    gpu_types: Mapping[str, GpuType],
    service_time: ServiceTimeModel,
    budget_usd_per_h: float,
    objective: Objective = Objective.MAKESPAN,
    *,
    limits: ReplicaLimits | None = None,
    slo: SLO | None = None,
    time_limit_s: float = 60.0,
    seed: int = 0,
) -> PlanningProblem:
    """The planning problem of serving models on GPUs: candidates, and the capacity of each for each workload type.

    Candidates of a model are its replicas on one GPU type with tp of 1, 2, 4, 8 (within a node) and pp of 1, 2, 4 that
    hold the longest workload type demanded, that the service-time model knows, and that availability and budget allow.
    If these leave a model without a candidate, all that hold it are kept, so that planners can say what is missing.

    Args:
        models: The models, in any order.
        demands: One per model, with a mix.
        available: GPUs to rent, by type.
        gpu_types: The GPU types by name, with the prices to pay; all that `available` names.
        service_time: Gives iteration times.
        budget_usd_per_h: Most that the fleet may cost.
        objective: What to make best.
        limits: Limits of all replicas.
        slo: What requests should meet; capacities are within it.
        time_limit_s: Most time that a planner should take.
        seed: For planners that draw random numbers.

    Raises:
        PlannerError: A model fits on no GPU type that is available, or the arguments contradict each other.
        DeploymentError: The limits contradict each other on a GPU type.
    """
    by_name = {model.name: model for model in models}
    names = [demand.model for demand in demands]
    if sorted(by_name) != sorted(names) or len(by_name) != len(models):
        msg = f"models are {', '.join(model.name for model in models)}; demands are for {', '.join(names)}"
        raise PlannerError(msg)
    missing = [gpu for gpu in sorted(available) if gpu not in gpu_types]
    if missing:
        msg = f"GPU types without a description: {', '.join(missing)}; described: {', '.join(sorted(gpu_types))}"
        raise PlannerError(msg)
    candidates: list[Candidate] = []
    for demand in demands:
        model = by_name[demand.model]
        longest = _longest_tokens(demand)
        specs = replicas(model, [gpu_types[gpu] for gpu in sorted(available)], service_time, longest, limits)
        allowed = [spec for spec in specs if _is_allowed(spec, available, budget_usd_per_h)]
        prefix = f"{model.name} on " if len(demands) > 1 else ""
        candidates += [_candidate(spec, demand, service_time, slo, prefix) for spec in allowed or specs]
    return PlanningProblem(
        demands=tuple(demands),
        candidates=tuple(candidates),
        available=tuple(sorted(available.items())),
        budget_usd_per_h=budget_usd_per_h,
        objective=objective,
        time_limit_s=time_limit_s,
        seed=seed,
    )


def replicas(
    model: ModelSpec,
    gpu_types: Iterable[GpuType],
    service_time: ServiceTimeModel,
    longest_tokens: float,
    limits: ReplicaLimits | None = None,
) -> tuple[ReplicaSpec, ...]:
    """All replicas of a model on one of these GPU types that hold a request of the longest length.

    Args:
        model: The model.
        gpu_types: The GPU types, in the order of the result.
        service_time: Replicas that it knows nothing about are left out.
        longest_tokens: Prompt plus output of the longest request.
        limits: Limits of the replicas.

    Raises:
        PlannerError: There is none; the message says what is missing.
    """
    gpus = tuple(gpu_types)
    tried = [
        ReplicaSpec.uniform(model, gpu, tp, pp, limits)
        for gpu in gpus
        for pp in PP
        for tp in TP
        if tp <= gpu.gpus_per_node and model.n_heads % tp == 0 and pp <= model.n_layers
    ]
    large_enough = [spec for spec in tried if max_context_tokens(spec) >= longest_tokens]
    if not large_enough:
        raise PlannerError(_why_too_small(model, tried, longest_tokens))
    known, reasons = [], []
    for spec in large_enough:
        try:
            service_time.stage_times(spec)
            known.append(spec)
        except DeploymentError as error:
            reasons.append(str(error))
    if not known:
        msg = f"{model.name}: the service-time model knows none of its {len(large_enough)} replicas on "
        msg += f"{', '.join(gpu.name for gpu in gpus)}: {reasons[0]}"
        raise PlannerError(msg)
    return tuple(known)


def _is_allowed(spec: ReplicaSpec, available: Mapping[str, int], budget_usd_per_h: float) -> bool:
    return spec.usd_per_h <= budget_usd_per_h and all(n <= available[gpu] for gpu, n in spec.gpus.items())


def _candidate(
    spec: ReplicaSpec, demand: Demand, service_time: ServiceTimeModel, slo: SLO | None, prefix: str
) -> Candidate:
    lengths = _lengths(demand)
    capacities = (capacity_rps(spec, service_time, prompt, output, slo) for prompt, output in lengths)
    return Candidate.from_spec(spec, capacities, prefix + spec.name)


def _lengths(demand: Demand) -> list[tuple[float, float]]:
    """Mean prompt and output tokens of each type."""
    if demand.mix is None:
        msg = f"demand for {demand.model!r} has no mix; without the lengths of its requests there are no capacities"
        raise PlannerError(msg)
    return list(zip(demand.mix.mean_prompt_tokens, demand.mix.mean_output_tokens, strict=True))


def _longest_tokens(demand: Demand) -> float:
    """Prompt plus output of the longest type that is demanded; of all types if nothing is."""
    lengths = [prompt + output for prompt, output in _lengths(demand)]
    asked = [tokens for tokens, amount in zip(lengths, demand.amounts, strict=True) if amount > 0]
    return max(asked or lengths)


def _why_too_small(model: ModelSpec, tried: Sequence[ReplicaSpec], longest_tokens: float) -> str:
    if not tried:
        return f"{model.name}: no GPU type is given, or none has as many GPUs in a node as it needs"
    tokens = math.ceil(longest_tokens)
    context = tried[0].limits.max_context_tokens or model.max_context_tokens
    if context < longest_tokens:
        return f"{model.name} serves prompt and output of {context} tokens in all; a workload type has {tokens}"
    needed_bytes = model.weight_bytes + tokens * model.kv_bytes_per_token
    largest = max(tried, key=_usable_bytes)
    return (
        f"{model.name} fits on no available GPU type: its weights and one request of {tokens} tokens take "
        f"{needed_bytes / GIB:.1f} GiB; the largest replica, {largest.name}, has {_usable_bytes(largest) / GIB:.1f} GiB"
    )


def _usable_bytes(spec: ReplicaSpec) -> float:
    limits = spec.limits
    return sum(
        stage.tp * (limits.gpu_memory_utilization * stage.gpu_type.memory_bytes - limits.reserve_bytes)
        for stage in spec.stages
    )
