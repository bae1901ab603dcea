"""What a scenario file may say of the simulation: limits, service times, failures, clients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt

from scenarios.file.schema.moment import Moment
from scenarios.file.schema.part import NonNegativeFloat, NonNegativeInt, Part, Share
from sim.catalog.engines import DEFAULT_ENGINE
from sim.deployment import DEFAULT_RESERVE_BYTES


class Limits(Part):
    """Limits of each replica, named as in vLLM; what is left out is vLLM's default for the GPU."""

    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    reserve_bytes: NonNegativeInt = DEFAULT_RESERVE_BYTES
    """Of that, what each GPU keeps for activations, CUDA graphs and the CUDA context."""
    block_tokens: PositiveInt = 16
    max_batched_tokens: PositiveInt | None = None
    max_seqs: PositiveInt | None = None
    max_context_tokens: PositiveInt | None = None
    reserve_whole_prompt: bool | None = None
    """Admit a request only if its whole prompt fits (vLLM's `scheduler_reserve_full_isl`); by default as the engine."""
    kv_blocks: PositiveInt | None = None


def _as_text(version: object) -> object:
    """A version that YAML took for a number, unless a zero at its end may have been lost."""
    if not isinstance(version, float):
        return version
    text = str(version)
    if len(text.partition(".")[2]) < 2:
        msg = f"is the number {text}, which may be {text} or {text}0: write it in quotes"
        raise ValueError(msg)
    return text


class Engine(Part):
    """The serving engine; what is left out is as the catalog says of its version."""

    name: str = DEFAULT_ENGINE
    """`vllm`, `sglang`, or `ideal`: no time beside that of kernels, and nothing is scheduled ahead."""
    version: Annotated[str | None, BeforeValidator(_as_text)] = None
    """Its version, as text; by default the newest that the catalog has, which takes the nearest for others."""
    step_overhead_s: NonNegativeFloat | None = None
    """Time of each iteration beside the GPU's kernels."""
    sequence_overhead_s: NonNegativeFloat | None = None
    """The part of it that each sequence adds."""
    request_overhead_s: NonNegativeFloat | None = None
    """The part of it that each prompt chunk adds."""
    frontend_s: NonNegativeFloat | None = None
    """From a client's sending to the engine's queue, and back."""
    schedules_ahead: bool | None = None
    """Whether the next iteration is put together when one begins."""
    graph_sizes: tuple[PositiveInt, ...] | None = None
    """Batches of decodes for which there are CUDA graphs: others take as long as the next larger one."""


class CompactTimes(Part):
    """Iteration times from the compact service-time model."""

    kind: Literal["compact"] = "compact"
    network_bandwidth_gb_per_s: PositiveFloat = 0.625
    """Between nodes; by default the 5 Gbit/s of arXiv:2502.00722."""


class TableTimes(Part):
    """Iteration times from a table of measured ones, for replicas with one pipeline stage."""

    kind: Literal["table"]
    path: Path
    """CSV or Parquet; relative to the scenario file."""
    gpu: str | None = None
    """GPU type of all rows, where the file does not say; by default any."""
    model: str | None = None
    """Model of all rows, where the file does not say; by default any."""
    tp: PositiveInt | None = None
    """Tensor-parallel degree of all rows, where the file does not say; by default any."""


class AiconfiguratorTimes(Part):
    """Iteration times from NVIDIA's kernel measurements, for the GPU types that `aiconfigurator-core` has."""

    kind: Literal["aiconfigurator"]
    backend: Literal["vllm", "sglang", "trtllm"] = "vllm"
    """Serving engine whose kernels were measured."""
    version: str = "current"
    """Its version: a number that the package offers, or `current`, `previous`, `next`."""
    network_bandwidth_gb_per_s: PositiveFloat = 0.625
    """Between nodes; by default the 5 Gbit/s of arXiv:2502.00722."""


def _compact_by_default(value: object) -> object:
    return {"kind": "compact"} | value if isinstance(value, dict) else value


ServiceTime = Annotated[
    CompactTimes | TableTimes | AiconfiguratorTimes,
    Field(discriminator="kind"),
    BeforeValidator(_compact_by_default),
]


class Interruption(Part):
    """What happens when GPUs are taken back."""

    victims: Literal["newest", "cheapest", "random"] = "newest"
    """Which replicas go first."""
    interrupted: Literal["restart", "resume", "drop"] = "restart"
    """Requests that were running begin again elsewhere, go on elsewhere after their tokens are recomputed, or end."""
    load_bandwidth_gb_per_s: PositiveFloat = 2.0
    """At which weights are loaded; by default about what an NVMe disk reads."""


class Failures(Part):
    """Failures of replicas, each by itself, and their repair; both times are exponential."""

    mtbf_h: PositiveFloat
    """Mean time that a replica works until it fails."""
    mttr_s: PositiveFloat
    """Mean time of its repair; then it loads its weights again."""


class Clients(Part):
    """Clients that give up and try again."""

    ttft_timeout_s: PositiveFloat | None = None
    """Longest time from sending a request, for the first time or again, to its first token."""
    e2e_timeout_s: PositiveFloat | None = None
    """Longest time from then to its last token."""
    max_retries: NonNegativeInt = 2
    """How often a request is sent again at most."""
    backoff_s: NonNegativeFloat = 0.5
    """Wait before the first retry."""
    backoff_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 2.0
    """By which each further wait is longer."""
    jitter: Share = 0.25
    """Largest share that is taken off a wait, at random."""


class Sim(Part):
    """How to simulate."""

    router: str = "plan_weighted"
    length_predictor: str = "oracle"
    stepping: Literal["macro", "iteration"] = "macro"
    horizon_s: Annotated[Moment, Field(gt=0)] | None = None
    """End of the simulation; by default when all requests have ended."""
    warmup_s: NonNegativeFloat = 0.0
    """Metrics begin so long after the first arrival."""
    cooldown_s: NonNegativeFloat = 0.0
    """Metrics end so long before the last arrival."""
    prefix_caching: bool | None = None
    """Whether requests share the KV blocks that their prompts have in common; by default as the engine does."""
    prefix_segment_tokens: PositiveInt | None = None
    """Prompt tokens for which each prefix hash of a trace stands; by default as its format says, or Mooncake's 512."""
    limits: Limits = Limits()
    interruption: Interruption = Interruption()
    failures: Failures | None = None
    """By default replicas do not fail."""
    clients: Clients | None = None
    """By default clients wait for ever."""
    max_queued_requests: PositiveInt | None = None
    """Most requests that may wait at a replica; whoever comes then is rejected. By default any number may."""
    engine: Engine = Engine()
    service_time: ServiceTime = CompactTimes()
