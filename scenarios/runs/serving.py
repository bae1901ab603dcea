"""What a plan's servers are to be told: the limits that were simulated, with all defaults resolved."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from scenarios.file.loaded import LoadedScenario
from scenarios.inputs.settings import make_engine, make_slo
from sim import Deployment, ReplicaSpec, Stage
from sim.catalog.models import ModelSpec
from sim.catalog.offers import Offer
from sim.catalog.precision import BF16
from sim.catalog.read import Catalog
from sim.kv_cache import limits_in_force
from traces import WorkloadGrid

Name = Annotated[str, Field(min_length=1)]
Whole = Annotated[int, Field(ge=1, le=10**9)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(?=$|[ ,])")


class Part(BaseModel):
    """A part of it: nothing is converted, and no key is unknown."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ServedOffer(Part):
    """Where GPUs are from; empty is what nobody says.

    Attributes:
        name: Of the offer.
        per_node: How many are rented together.
        tenure: How they are had.
        provider: Who rents them out.
        region: Where they are.
        zone: Part of the region.
    """

    name: Name
    per_node: Whole
    tenure: Literal["on_demand", "spot", "reserved", "owned"]
    provider: str
    region: str
    zone: str


class ServedStage(Part):
    """A pipeline stage.

    Attributes:
        gpu_type: Type of its GPUs.
        offer: Where they are from; null where a market has nothing but types.
        gpus_per_node: How many of them a node has.
        tp: Tensor parallelism.
        n_layers: Layers.
    """

    gpu_type: Name
    offer: ServedOffer | None
    gpus_per_node: Whole
    tp: Whole
    n_layers: Whole


class ServedReplica(Part):
    """So many replicas of a kind. Limits are those of one data-parallel rank, as vLLM counts them.

    Attributes:
        name: As the plan calls it.
        model: Name of the model.
        checkpoint: Repository of its weights, where the catalog or the scenario names one.
        formats: Number formats of its weights, each once.
        checkpoint_formats: The same of the checkpoint, which may be quantised when it is loaded.
        kv_cache: Number format of the KV cache.
        count: How many.
        stages: Its pipeline stages.
        dp: Data parallelism of the attention.
        expert_parallel: Whether experts are dealt out whole.
        gpu_memory_utilization: Share of a GPU's memory that it may use.
        max_context_tokens: Longest prompt plus output.
        max_seqs: Most requests running at once.
        max_batched_tokens: Token budget of an iteration.
        block_tokens: Tokens of a KV block.
        kv_blocks: KV blocks that were simulated.
        are_blocks_given: Whether the scenario gave their number, instead of what memory gives.
        reserve_whole_prompt: Whether a request is admitted only if its whole prompt has room.
    """

    name: Name
    model: Name
    checkpoint: Name | None
    formats: list[Name]
    checkpoint_formats: list[Name]
    kv_cache: Literal["bf16", "fp8"]
    count: Whole
    stages: Annotated[list[ServedStage], Field(min_length=1)]
    dp: Whole
    expert_parallel: bool
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)]
    max_context_tokens: Whole
    max_seqs: Whole
    max_batched_tokens: Whole
    block_tokens: Whole
    kv_blocks: Whole
    are_blocks_given: bool
    reserve_whole_prompt: bool


class ServedSlo(Part):
    """What is asked of the requests of a model; null is no limit."""

    ttft_s: Seconds | None
    tpot_s: Seconds | None
    e2e_s: Seconds | None
    attainment: Annotated[float, Field(ge=0, le=1)]


class ServedTypes(Part):
    """The workload types of a model: a grid of prompt lengths and answer lengths (`traces.WorkloadGrid`).

    Attributes:
        prompt_tokens: Nominal prompt lengths, longest first.
        output_tokens: Nominal answer lengths, longest first.
        prompt_borders: Shortest prompt of each of them but the last, ascending.
        output_borders: Shortest answer of each of them but the last, ascending.
    """

    prompt_tokens: list[Whole]
    output_tokens: list[Whole]
    prompt_borders: list[Whole]
    output_borders: list[Whole]


class Serving(Part):
    """All of a plan's servers.

    Attributes:
        scenario: What was planned.
        engine: Name of the serving engine that was simulated.
        engine_version: Its version; empty for `ideal`.
        prefix_caching: Whether it caches prefixes.
        router: Which chose replicas in the simulation.
        slo: By model.
        types: By model, of those that the plan routes by type.
        replicas: In the plan's order.
    """

    scenario: Name
    engine: Name
    engine_version: str
    prefix_caching: bool
    router: Name
    slo: dict[str, ServedSlo]
    types: dict[str, ServedTypes]
    replicas: list[ServedReplica]


def serving_of(loaded: LoadedScenario, deployment: Deployment) -> Serving:
    """What the servers of a deployment are to be told, so that they are what was simulated."""
    engine, slo = make_engine(loaded), make_slo(loaded.scenario)
    wishes = {model: slo.of_model(model) for model in deployment.models}
    return Serving(
        scenario=loaded.label,
        engine=engine.name,
        engine_version=loaded.scenario.sim.engine.version or engine.version,
        prefix_caching=bool(engine.prefix_caching),
        router=deployment.router or loaded.scenario.sim.router,
        slo={
            model: ServedSlo(ttft_s=own.ttft_s, tpot_s=own.tpot_s, e2e_s=own.e2e_s, attainment=own.attainment)
            for model, own in wishes.items()
        },
        types={model: _types(table.grid) for model, table in deployment.routing},
        replicas=[
            _replica(spec, count, _as_published(loaded.catalog.models[spec.model.name]))
            for spec, count in deployment.replicas
        ],
    )


def checkpoint_of(model: ModelSpec) -> str | None:
    """The repository of weights that the source of a model's numbers names, as `organisation/name`.

    >>> from sim.catalog.read import model_spec
    >>> checkpoint_of(model_spec("Llama-3-70B"))
    'meta-llama/Meta-Llama-3-70B'
    """
    found = _REPOSITORY.match(model.source)
    return None if found is None else found[0]


def _types(grid: WorkloadGrid) -> ServedTypes:
    return ServedTypes(
        prompt_tokens=list(grid.prompt_tokens),
        output_tokens=list(grid.output_tokens),
        prompt_borders=list(grid.prompt_borders),
        output_borders=list(grid.output_borders),
    )


def _as_published(model: ModelSpec) -> ModelSpec:
    """A model in the number formats of the checkpoint that its source names."""
    known = Catalog.default().models.get(model.name)
    return known if known is not None and known.source == model.source else model


def _replica(spec: ReplicaSpec, count: int, as_published: ModelSpec) -> ServedReplica:
    model, limits = spec.model, limits_in_force(spec)
    return ServedReplica(
        name=spec.name,
        model=model.name,
        checkpoint=checkpoint_of(as_published),
        formats=_formats(model),
        checkpoint_formats=_formats(as_published),
        kv_cache=model.precision.kv,
        count=count,
        stages=[_stage(stage) for stage in spec.stages],
        dp=spec.dp,
        expert_parallel=any(stage.expert_parallel for stage in spec.stages),
        gpu_memory_utilization=limits["gpu_memory_utilization"],
        max_context_tokens=limits["max_context_tokens"],
        max_seqs=limits["max_seqs"],
        max_batched_tokens=limits["max_batched_tokens"],
        block_tokens=limits["block_tokens"],
        kv_blocks=limits["kv_blocks"],
        are_blocks_given=spec.limits.kv_blocks is not None,
        reserve_whole_prompt=limits["reserve_whole_prompt"],
    )


def _formats(model: ModelSpec) -> list[str]:
    names = [number_format.name for number_format in model.precision.formats]
    return [name for name in names if name != BF16.name] or [BF16.name]


def _stage(stage: Stage) -> ServedStage:
    gpu = stage.gpu_type
    return ServedStage(
        gpu_type=gpu.name,
        offer=None if gpu.offer is None else _offer(gpu.offer),
        gpus_per_node=gpu.gpus_per_node,
        tp=stage.tp,
        n_layers=stage.n_layers,
    )


def _offer(offer: Offer) -> ServedOffer:
    return ServedOffer(
        name=offer.name,
        per_node=offer.gpus_per_node,
        tenure=offer.tenure,
        provider=offer.provider,
        region=offer.region,
        zone=offer.zone,
    )
