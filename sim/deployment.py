"""What runs: replicas, their pipeline stages and limits, and which requests go to which replica."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from sim.catalog.gpus import GpuType
from sim.catalog.models import ModelSpec
from sim.catalog.precision import BF16
from sim.errors import DeploymentError
from sim.units import GIB
from traces.workload import WorkloadGrid, WorkloadMix

# Activations, CUDA context and graphs. Source: the vLLM 0.19 run of Llama-3.1-8B on an RTX 4090 that the
# engine is checked against got 2,588 blocks; 0.9 x 23.99 GiB - 14.957 GiB weights - 2,588 x 2 MiB leaves 1.579 GiB,
# of which 0.3 GiB are memory that PyTorch does not see: 23.65 GiB in all (QwenLM/Qwen3 issue 678).
DEFAULT_RESERVE_BYTES = int(1.578 * GIB)


FRACTION_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class ReplicaLimits:
    """Scheduler and memory limits of a replica; None means vLLM's default for its GPU.

    Attributes:
        gpu_memory_utilization: Share of a GPU's memory that the replica may use.
        reserve_bytes: Memory of each GPU kept for activations and the CUDA context.
        block_tokens: Tokens of one KV block.
        max_batched_tokens: Token budget of one iteration.
        max_seqs: Most requests running at once.
        max_context_tokens: Longest prompt plus output; the model's own maximum if None.
        reserve_whole_prompt: Whether a request is admitted only if the blocks of its whole prompt are free, though it
            takes only those of its first chunk: `scheduler_reserve_full_isl`, which vLLM has and sets since March 2026.
            Of a prompt with prefix hashes it is always the whole.
        kv_blocks: Number of KV blocks, instead of what memory gives.
    """

    gpu_memory_utilization: float = 0.9
    reserve_bytes: int = DEFAULT_RESERVE_BYTES
    block_tokens: int = 16
    max_batched_tokens: int | None = None
    max_seqs: int | None = None
    max_context_tokens: int | None = None
    reserve_whole_prompt: bool = True
    kv_blocks: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.gpu_memory_utilization <= 1:
            msg = f"gpu_memory_utilization is {self.gpu_memory_utilization}; it must be above 0 and at most 1"
            raise DeploymentError(msg)
        if self.reserve_bytes < 0:
            msg = f"reserve_bytes is {self.reserve_bytes}; it must be 0 or more"
            raise DeploymentError(msg)
        for name in ("block_tokens", "max_batched_tokens", "max_seqs", "max_context_tokens", "kv_blocks"):
            value = getattr(self, name)
            if value is not None and value < 1:
                msg = f"{name} is {value}; it must be at least 1"
                raise DeploymentError(msg)


class Refusal(NamedTuple):
    """Why a serving engine would not run a model on some GPUs.

    Attributes:
        rule: `kernels` of a number format are missing, the `heads` or `experts` are not divided, or the `blocks` of
            weights that share a scale are cut.
        reason: The same in a sentence, with numbers.
    """

    rule: str
    reason: str


class Layout(NamedTuple):
    """How a stage is split over its GPUs: see `Stage`."""

    tp: int
    dp: int = 1
    expert_parallel: bool = False

    def __str__(self) -> str:
        dp = f" dp{self.dp}" if self.dp > 1 else ""
        return f"tp{self.tp}{dp}{' ep' if self.expert_parallel else ''}"


@dataclass(frozen=True, slots=True)
class Stage:
    """One pipeline stage: GPUs of one type that hold some layers.

    Attributes:
        gpu_type: Their type.
        tp: Tensor parallelism: over how many GPUs each matrix of the attention is split.
        n_layers: Layers.
        dp: Data parallelism of the attention: so many groups of `tp` GPUs, each with requests and a KV cache of its
            own, which split the experts among all of them. Requests are taken to be spread evenly.
        expert_parallel: Whether experts are dealt out whole to the `tp` x `dp` GPUs, instead of each being split.
    """

    gpu_type: GpuType
    tp: int
    n_layers: int
    dp: int = 1
    expert_parallel: bool = False

    @property
    def n_gpus(self) -> int:
        """GPUs."""
        return self.tp * self.dp

    @property
    def n_taken(self) -> int:
        """GPUs that it takes of those that are rented: its own, and those of a node that nobody else can use then."""
        return self.gpu_type.taken_by(self.n_gpus)

    @property
    def layout(self) -> Layout:
        """How it is split over its GPUs."""
        return Layout(self.tp, self.dp, self.expert_parallel)

    @property
    def name(self) -> str:
        """Offer or GPU type, and parallelism within the stage."""
        return f"{self.gpu_type.pool} {self.layout}"

    def why_not(self, model: ModelSpec) -> Refusal | None:
        """The rule by which a serving engine would refuse to run a model so; None if there is none."""
        reasons = (
            ("kernels", self.gpu_type.why_not_precision(model.precision)),
            ("heads", model.why_not_tp(self.tp)),
            ("experts", self._why_not_experts(model)),
            ("blocks", model.why_not_blocks(self.tp, 1 if self.expert_parallel else self.n_gpus)),
        )
        return next((Refusal(rule, reason) for rule, reason in reasons if reason is not None), None)

    def _why_not_experts(self, model: ModelSpec) -> str | None:
        if model.moe is None:
            if self.dp > 1 or self.expert_parallel:
                return f"{model.name} has no experts: expert and data parallelism are for mixtures of experts"
            return None
        if self.expert_parallel and model.moe.n_experts % self.n_gpus:
            return f"ep {self.n_gpus} does not divide the {model.moe.n_experts} experts of {model.name}"
        return None


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """One copy of a model: its pipeline stages, in order, and its limits.

    Raises:
        DeploymentError: The stages' layers do not add up to the model's, or the limits contradict each other.
    """

    model: ModelSpec
    stages: tuple[Stage, ...]
    limits: ReplicaLimits = field(default_factory=ReplicaLimits)

    def __post_init__(self) -> None:
        for stage in self.stages:
            if min(stage.n_layers, stage.tp, stage.dp) < 1:
                msg = f"{self.name}: a stage has {stage.n_layers} layers, tp {stage.tp}, dp {stage.dp}"
                msg += "; all must be at least 1"
                raise DeploymentError(msg)
            refusal = stage.why_not(self.model)
            if refusal is not None:
                msg = f"{self.name}: {refusal.reason}"
                raise DeploymentError(msg)
        if len({stage.dp for stage in self.stages}) > 1:
            msg = f"{self.name}: all stages of a replica have the same data parallelism"
            raise DeploymentError(msg)
        n_layers = sum(stage.n_layers for stage in self.stages)
        if n_layers != self.model.n_layers:
            msg = f"{self.name}: the stages hold {n_layers} layers, {self.model.name} has {self.model.n_layers}"
            raise DeploymentError(msg)
        if self.max_seqs > self.max_batched_tokens:
            # vLLM refuses this too: a decoding request takes one token of the budget in each iteration.
            msg = f"{self.name}: max_seqs {self.max_seqs} exceeds max_batched_tokens {self.max_batched_tokens}"
            raise DeploymentError(msg)

    @classmethod
    def uniform(
        cls,
        model: ModelSpec,
        gpu_type: GpuType,
        tp: int = 1,
        pp: int = 1,
        limits: ReplicaLimits | None = None,
        *,
        dp: int = 1,
        expert_parallel: bool = False,
    ) -> ReplicaSpec:
        """A replica on one GPU type, its layers split over `pp` stages as evenly as they go.

        >>> from sim.catalog.read import gpu_type, model_spec
        >>> spec = ReplicaSpec.uniform(model_spec("Llama-3-70B"), gpu_type("L40"), tp=4, pp=2)
        >>> spec.name, spec.n_gpus, spec.usd_per_h
        ('L40 tp4 pp2', 8, 7.2)
        """
        stages = tuple(
            Stage(gpu_type, tp, model.n_layers // pp + (i < model.n_layers % pp), dp, expert_parallel)
            for i in range(pp)
        )
        return cls(model, stages, limits if limits is not None else ReplicaLimits())

    @property
    def pp(self) -> int:
        """Number of pipeline stages."""
        return len(self.stages)

    @property
    def dp(self) -> int:
        """Data parallelism of the attention."""
        return self.stages[0].dp

    def first_layer(self, index: int) -> int:
        """Layers on the stages before one."""
        return sum(stage.n_layers for stage in self.stages[:index])

    @property
    def n_gpus(self) -> int:
        """GPUs of all stages."""
        return sum(stage.n_gpus for stage in self.stages)

    @property
    def region(self) -> str:
        """Where it is; empty where nobody says."""
        return self.stages[0].gpu_type.place[1]

    @property
    def gpus(self) -> dict[str, int]:
        """GPUs that it takes, by offer or type name, sorted."""
        counts: Counter[str] = Counter()
        for stage in self.stages:
            counts[stage.gpu_type.pool] += stage.n_taken
        return dict(sorted(counts.items()))

    @property
    def usd_per_h(self) -> float:
        """Price of all GPUs that it takes."""
        return sum(stage.n_taken * stage.gpu_type.usd_per_h for stage in self.stages)

    @property
    def name(self) -> str:
        """Short name: GPU type, parallelism, and a precision that is not bf16; several parts with their layers."""
        parts = [list(part) for _, part in groupby(self.stages, lambda stage: stage.name)]
        names = [part[0].name + f" pp{len(part)}" * (len(part) > 1) for part in parts]
        precision = self.model.precision.name
        suffix = "" if precision == BF16.name else f" {precision}"
        if len(parts) == 1:
            return names[0] + suffix
        n_layers = (sum(stage.n_layers for stage in part) for part in parts)
        return " + ".join(f"{name} ({n} layers)" for name, n in zip(names, n_layers, strict=True)) + suffix

    @property
    def max_batched_tokens(self) -> int:
        """Token budget of one iteration, of all data-parallel groups; by default vLLM's for the weakest stage."""
        limit = self.limits.max_batched_tokens
        if limit is None:
            limit = min(stage.gpu_type.max_batched_tokens for stage in self.stages)
        return limit * self.dp

    @property
    def max_seqs(self) -> int:
        """Most requests running at once in all groups; by default vLLM's for the weakest stage, within the budget."""
        limit = self.limits.max_seqs
        if limit is not None:
            return limit * self.dp
        return min(self.max_batched_tokens, *(stage.gpu_type.max_seqs * self.dp for stage in self.stages))


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """Which share of each workload type goes to which replicas, for one model.

    Attributes:
        mix: The workload types, with their shares and mean lengths, that the table was made for.
        fractions: `fractions[i][w]` is the share of type w that entry i of `Deployment.replicas` serves;
            its `count` replicas divide it evenly. Zero for entries of other models.
            Each type's fractions sum to 1, or are all 0 if the plan did not expect it.
    """

    mix: WorkloadMix
    fractions: tuple[tuple[float, ...], ...]

    @property
    def grid(self) -> WorkloadGrid:
        """The workload types."""
        return self.mix.grid


@dataclass(frozen=True, slots=True)
class Deployment:
    """A fleet: replicas with their counts, and a routing table for each model that has one.

    Attributes:
        replicas: Pairs of a replica and how many of it run.
        routing: Routing tables by model name, for the router `plan_weighted`.
        router: Name of the router of this fleet, instead of the one that a run has for all fleets.

    Raises:
        DeploymentError: A count is below 1, or a routing table does not fit the replicas.
    """

    replicas: tuple[tuple[ReplicaSpec, int], ...]
    routing: tuple[tuple[str, RoutingTable], ...] = ()
    router: str | None = None

    def __post_init__(self) -> None:
        for spec, count in self.replicas:
            if count < 1:
                msg = f"{count} replicas of {spec.name}; there must be at least 1"
                raise DeploymentError(msg)
        for model, table in self.routing:
            n_types = table.grid.n_types
            rows = table.fractions
            if len(rows) != len(self.replicas) or any(len(row) != n_types for row in rows):
                msg = f"the routing table of {model} needs {len(self.replicas)} rows of {n_types} fractions"
                raise DeploymentError(msg)
            for kind, column in zip(table.grid.types, zip(*rows, strict=True), strict=True):
                if not all(0 <= fraction <= 1 + FRACTION_TOLERANCE for fraction in column):
                    msg = f"the routing table of {model} has a fraction below 0 or above 1 for {kind.name}"
                    raise DeploymentError(msg)
                if any(column) and abs(sum(column) - 1) > FRACTION_TOLERANCE:
                    msg = f"the routing table of {model}: the fractions of {kind.name} sum to {sum(column)}, not to 1"
                    raise DeploymentError(msg)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models served, sorted."""
        return tuple(sorted({spec.model.name for spec, _ in self.replicas}))

    @property
    def n_replicas(self) -> int:
        """Number of replicas."""
        return sum(count for _, count in self.replicas)

    @property
    def gpus(self) -> dict[str, int]:
        """GPUs that it takes, by offer or type name, sorted."""
        counts: Counter[str] = Counter()
        for spec, count in self.replicas:
            for name, n in spec.gpus.items():
                counts[name] += n * count
        return dict(sorted(counts.items()))

    @property
    def usd_per_h(self) -> float:
        """Price of the whole fleet."""
        return sum(spec.usd_per_h * count for spec, count in self.replicas)

    def routing_table(self, model: str) -> RoutingTable | None:
        """The routing table of a model, if there is one."""
        return dict(self.routing).get(model)
