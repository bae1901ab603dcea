"""What can be rented on a market to serve models: the candidates, and the capacity of each."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from planners.capacity.dominance import without_dominated
from planners.capacity.pipelines import best_splits, mixed_pipelines, uniform_replicas
from planners.capacity.rates import alone_rps_within, beside_mix_rps, capacities_rps, rps_of
from planners.capacity.steady_state import Kind, ReplicaFacts
from planners.errors import PlannerError
from planners.problem.candidate import Candidate, Capacities, Demand
from planners.problem.terms import replica_usd_per_h
from sim.catalog.gpus import GpuType
from sim.catalog.models import ModelSpec
from sim.deployment import Refusal, ReplicaLimits, ReplicaSpec
from sim.errors import DeploymentError
from sim.kv_cache import max_context_tokens
from sim.slo import SLO
from sim.timing.service_time import ServiceTimeModel
from sim.units import GIB

Measure = Callable[[ReplicaSpec, Sequence[Kind]], float]
"""Requests/s of a mix that a replica sustains."""


class Found(NamedTuple):
    """What can be rented for some models.

    Attributes:
        candidates: With their capacities.
        left_out: Pairs of a rule and how many configurations it kept from being candidates.
        alone_rps: By candidate, requests/s of each workload type by itself, by the closed form.
    """

    candidates: tuple[Candidate, ...]
    left_out: tuple[tuple[str, int], ...]
    alone_rps: Mapping[str, tuple[float, ...]]


def find_candidates(
    models: Sequence[ModelSpec],
    demands: Sequence[Demand],
    available: Mapping[str, float],
    gpu_types: Mapping[str, GpuType],
    service_time: ServiceTimeModel,
    budget_usd_per_h: float,
    *,
    limits: ReplicaLimits | None = None,
    slo: SLO | None = None,
    measure: Measure | None = None,
    beside_mix: bool = True,
    keep_dominated: bool = False,
) -> Found:
    """What can be rented to serve models on GPUs, and the capacity of each for each workload type.

    Candidates of a model are its replicas in any of its variants, of one and of two GPU types
    (`planners.capacity.pipelines`), that hold any
    request of a type demanded, that the service-time model knows, that availability and budget allow, and that no
    other one dominates (`planners.capacity.dominance`). If availability and budget leave a model without a candidate
    for its longest type, all of one GPU type are kept, so that planners can say what is missing.

    Args:
        models: The models, in any order.
        demands: One per model, with a mix.
        available: GPUs to rent, by type; `math.inf` for any number.
        gpu_types: The GPU types by name, with the prices to pay; all that `available` names.
        service_time: Gives iteration times.
        budget_usd_per_h: Most that a fleet may cost; `math.inf` for any price.
        limits: Limits of all replicas.
        slo: What requests should meet; capacities are within it.
        measure: Gives the rate of a type alone instead of the closed form, for the candidates that this one leaves; how
            much the SLO and the other types lower it is still the closed form's.
        beside_mix: Whether capacities allow for the other types on a replica; False: each type as if alone there.
        keep_dominated: Whether to keep candidates that no best plan needs, to say why.

    Raises:
        PlannerError: A model and its longest workload type fit on no GPU type that is available, or the arguments
            contradict each other.
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
    search = _Search(
        service_time, limits, slo, measure, beside_mix, keep_dominated, available, gpu_types, budget_usd_per_h
    )
    candidates: list[Candidate] = []
    for demand in demands:
        prefix = f"{demand.model} on " if len(demands) > 1 else ""
        candidates += search.candidates(by_name[demand.model], demand, prefix)
    left_out = tuple((rule, n) for rule, n in search.left_out.items() if n > 0)
    return Found(tuple(candidates), left_out, search.alone_rps)


def capacities_of(
    candidates: Sequence[Candidate],
    demands: Sequence[Demand],
    service_time: ServiceTimeModel,
    slo: SLO | None = None,
    *,
    beside_mix: bool = True,
) -> Capacities:
    """What candidates can do with other service times, by the closed form.

    Args:
        candidates: With a `spec`.
        demands: One per model, with a mix.
        service_time: Gives iteration times.
        slo: What requests should meet.
        beside_mix: As for `find_candidates`.

    Raises:
        DeploymentError: The service-time model says nothing about one of them.
    """
    kinds = {demand.model: kinds_of(demand) for demand in demands}
    return tuple(
        capacities_rps(
            ReplicaFacts.of(candidate.spec, service_time),
            kinds[candidate.model],
            None if slo is None else slo.of_place(candidate.model, candidate.spec.region),
            beside_mix=beside_mix,
        )
        for candidate in candidates
        if candidate.spec is not None
    )


def require_candidates(
    models: Mapping[str, ModelSpec],
    demands: Sequence[Demand],
    gpu_types: Mapping[str, GpuType],
    service_time: ServiceTimeModel,
    limits: ReplicaLimits | None = None,
) -> None:
    """Make sure that each model has a candidate, without working out what candidates can do.

    Args:
        models: The models by name.
        demands: One per model, with a mix.
        gpu_types: The GPU types by name; any number of each.
        service_time: Gives iteration times.
        limits: Limits of all replicas.

    Raises:
        PlannerError, DeploymentError: See `find_candidates`.
    """
    any_number = dict.fromkeys(gpu_types, math.inf)
    search = _Search(service_time, limits, None, None, True, True, any_number, gpu_types, math.inf)
    for demand in demands:
        search.uniform(models[demand.model], _tokens_of(kinds_of(demand)))


def held_tokens(
    model: ModelSpec,
    available: Mapping[str, float],
    gpu_types: Mapping[str, GpuType],
    service_time: ServiceTimeModel,
    budget_usd_per_h: float,
    wanted_tokens: float,
    limits: ReplicaLimits | None = None,
) -> int:
    """Prompt and output of the longest request that a replica can hold, of those that availability and budget allow.

    The arguments are those of `find_candidates`; more than `wanted_tokens` is not looked for.

    Returns:
        The tokens; if no replica is allowed, those that any number of GPUs hold; 0 if none holds the model.
    """
    any_number = dict.fromkeys(available, math.inf)
    for most, most_usd_per_h in ((available, budget_usd_per_h), (any_number, math.inf)):
        search = _Search(service_time, limits, None, None, True, True, most, gpu_types, most_usd_per_h)
        held = search.held_tokens(model, wanted_tokens)
        if held > 0:
            return held
    return 0


@dataclass(slots=True)
class _Search:
    """Finds the candidates of each model, and counts what it leaves out by the reason."""

    service_time: ServiceTimeModel
    limits: ReplicaLimits | None
    slo: SLO | None
    measure: Measure | None
    beside_mix: bool
    keep_dominated: bool
    available: Mapping[str, float]
    gpu_types: Mapping[str, GpuType]
    budget_usd_per_h: float
    left_out: Counter[str] = field(default_factory=Counter)
    alone_rps: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def candidates(self, model: ModelSpec, demand: Demand, prefix: str) -> tuple[Candidate, ...]:
        """The candidates of a model, their names after a prefix.

        Raises:
            PlannerError: There is none; the message says what is missing.
        """
        kinds = kinds_of(demand)
        demanded = [kind for kind in kinds if kind.share > 0]
        tokens = _tokens_of(kinds)
        shortest_tokens, longest_tokens = min(tokens), max(tokens)
        gpus = self._gpus()
        uniform = self.uniform(model, tokens)
        specs = [spec for spec in uniform if self._is_allowed(spec)]
        for variant in model.in_variants():
            pipelines = [
                pipeline
                for pipeline in mixed_pipelines(variant, gpus, self.limits)
                if self._may_be(pipeline.by_memory(), shortest_tokens)
            ]
            specs += best_splits(pipelines, self.service_time, demanded)
        if not any(max_context_tokens(spec) >= longest_tokens for spec in specs):
            specs = uniform
        made = self._candidates(specs, kinds, prefix)
        kept = made if self.keep_dominated else without_dominated(made)
        self.left_out["dominance"] += len(made) - len(kept)
        return kept if self.measure is None else tuple(self._measured(candidate, kinds) for candidate in kept)

    def held_tokens(self, model: ModelSpec, wanted_tokens: float) -> int:
        """Prompt and output of the longest request that a replica holds, as far as is asked; 0 if there is none."""
        held = 0
        gpus = self._gpus()
        for variant in model.in_variants():
            uniform = uniform_replicas(variant, gpus, self.limits)
            mixed = (pipeline.by_memory() for pipeline in mixed_pipelines(variant, gpus, self.limits))
            for spec in itertools.chain(uniform, mixed):
                if held >= wanted_tokens:
                    return held
                most = max_context_tokens(spec)
                if most > held and self._is_known(spec) and self._is_allowed(spec):
                    held = most
        return held

    def _gpus(self) -> list[GpuType]:
        return [self.gpu_types[gpu] for gpu in sorted(self.available)]

    def uniform(self, model: ModelSpec, tokens: Sequence[float]) -> list[ReplicaSpec]:
        """Its replicas of one GPU type that hold a request of any type, and that the service-time model knows.

        Args:
            model: The model.
            tokens: Of each type that is demanded, those of a request.

        Raises:
            PlannerError: There is none; the message says what is missing.
        """
        gpus, shortest_tokens, longest_tokens = self._gpus(), min(tokens), max(tokens)
        refusals: list[Refusal] = []
        tried = [
            spec
            for variant in model.in_variants()
            for spec in uniform_replicas(variant, gpus, self.limits, refused=refusals.append)
        ]
        self.left_out.update(refusal.rule for refusal in refusals)
        if not tried and refusals:
            msg = f"{model.name} runs on no available GPU type: {refusals[0].reason}"
            raise PlannerError(msg)
        if not any(max_context_tokens(spec) >= longest_tokens for spec in tried):
            raise PlannerError(_why_too_small(model, tried, longest_tokens))
        large_enough = [spec for spec in tried if self._holds(spec, shortest_tokens)]
        known = [spec for spec in large_enough if self._is_known(spec)]
        if not known:
            msg = f"{model.name}: the service-time model knows none of its {len(large_enough)} replicas on "
            msg += f"{', '.join(gpu.name for gpu in gpus)}: {self._why_unknown(large_enough[0])}"
            raise PlannerError(msg)
        return known

    def _may_be(self, spec: ReplicaSpec, tokens: float) -> bool:
        """Whether a replica may be a candidate."""
        return self._holds(spec, tokens) and self._is_known(spec) and self._is_allowed(spec)

    def _holds(self, spec: ReplicaSpec, tokens: float) -> bool:
        return self._count("memory", max_context_tokens(spec) >= tokens)

    def _is_known(self, spec: ReplicaSpec) -> bool:
        return self._count("service time", self._why_unknown(spec) is None)

    def _why_unknown(self, spec: ReplicaSpec) -> str | None:
        try:
            self.service_time.stage_times(spec)
        except DeploymentError as error:
            return str(error)
        return None

    def _is_allowed(self, spec: ReplicaSpec) -> bool:
        is_available = all(n <= self.available[gpu] for gpu, n in spec.gpus.items())
        return self._count("availability", is_available) and self._count(
            "budget", replica_usd_per_h(spec) <= self.budget_usd_per_h
        )

    def _count(self, rule: str, is_kept: bool) -> bool:
        self.left_out[rule] += not is_kept
        return is_kept

    def _candidates(self, specs: Sequence[ReplicaSpec], kinds: Sequence[Kind], prefix: str) -> tuple[Candidate, ...]:
        """The candidates of one model."""
        facts = [ReplicaFacts.of(spec, self.service_time) for spec in specs]
        goals = [None if self.slo is None else self.slo.of_place(spec.model.name, spec.region) for spec in specs]
        rates = alone_rps_within(facts, kinds, goals)
        self.alone_rps |= {prefix + spec.name: tuple(row) for spec, row in zip(specs, rates.tolist(), strict=True)}
        capacities = beside_mix_rps(facts, kinds, rates) if self.beside_mix else rates
        named = zip(specs, capacities.tolist(), strict=True)
        return tuple(Candidate.from_spec(spec, own, prefix + spec.name) for spec, own in named)

    def _measured(self, candidate: Candidate, kinds: Sequence[Kind]) -> Candidate:
        spec, measure = candidate.spec, self.measure
        if spec is None or measure is None:
            return candidate
        facts = ReplicaFacts.of(spec, self.service_time)
        alone = [[kind._replace(share=1.0)] for kind in kinds]
        rates = (
            measure(spec, kind) * capacity / rps_of(facts, kind) if capacity > 0 else 0.0
            for kind, capacity in zip(alone, candidate.capacity_rps, strict=True)
        )
        return replace(candidate, capacity_rps=tuple(rates))


def _tokens_of(kinds: Sequence[Kind]) -> list[float]:
    """Tokens of the largest request of each kind that is demanded."""
    return [kind.most_tokens for kind in kinds if kind.share > 0]


def kinds_of(demand: Demand) -> list[Kind]:
    """Share and lengths of each type; all types have equal shares if nothing is demanded.

    Raises:
        PlannerError: The demand has no mix.
    """
    if demand.mix is None:
        msg = f"demand for {demand.model!r} has no mix; without the lengths of its requests there are no capacities"
        raise PlannerError(msg)
    n_types = len(demand.amounts)
    shares = [amount / demand.total for amount in demand.amounts] if demand.total > 0 else [1 / n_types] * n_types
    largest_tokens = [float(largest.tokens) for largest in demand.mix.largest]
    return list(map(Kind, shares, demand.mix.mean_prompt_tokens, demand.mix.mean_output_tokens, largest_tokens))


def _why_too_small(model: ModelSpec, tried: Sequence[ReplicaSpec], longest_tokens: float) -> str:
    if not tried:
        return f"{model.name}: no GPU type is given, or none has as many GPUs in a node as it needs"
    tokens = math.ceil(longest_tokens)
    context = tried[0].limits.max_context_tokens or model.max_context_tokens
    if context < longest_tokens:
        remedy = "leave out requests as long as these, or serve them with a model of a longer context"
        if context < model.max_context_tokens:
            remedy = f"raise max_context_tokens of the limits, up to the model's {model.max_context_tokens}"
        return (
            f"{model.name} serves prompt and output of {context} tokens in all; a workload type has {tokens}: {remedy}"
        )
    needed_bytes = min(one.weight_bytes + tokens * one.kv_bytes_per_token for one in model.in_variants())
    largest = max(tried, key=_usable_bytes)
    return (
        f"{model.name} fits on no available GPU type: its weights and one request of {tokens} tokens take "
        f"{needed_bytes / GIB:.1f} GiB; the largest replica, {largest.name}, has {_usable_bytes(largest) / GIB:.1f} GiB"
    )


def _usable_bytes(spec: ReplicaSpec) -> float:
    limits = spec.limits
    return sum(
        stage.n_gpus * (limits.gpu_memory_utilization * stage.gpu_type.memory_bytes - limits.reserve_bytes)
        for stage in spec.stages
    )
