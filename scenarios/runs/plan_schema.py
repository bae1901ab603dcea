"""What a plans.json must look like: the deployment that ran, and the plan that it came from."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from planners import Objective, PlanStatus, Termination
from sim import ReplicaLimits
from traces import nearest

MAX_REPLICAS = 100_000
"""Most replicas of one kind: what is more is a mistake, and takes gigabytes to simulate."""

Share = Annotated[float, Field(ge=0, le=1 + 1e-6)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=1, le=10**9)]
Count = Annotated[int, Field(ge=1, le=MAX_REPLICAS)]
Name = Annotated[str, Field(min_length=1)]


def one_of(known: type[StrEnum]) -> AfterValidator:
    """Accept the values of an enumeration."""

    def check(value: str) -> str:
        names = [one.value for one in known]
        if value not in names:
            msg = f"unknown value {value!r}: {nearest(value, names)}"
            raise ValueError(msg)
        return value

    return AfterValidator(check)


def _something_promised(promised_rps: dict[str, float]) -> dict[str, float]:
    if promised_rps and sum(promised_rps.values()) == 0:
        msg = "promises nothing; requests/s of all models together must be more than 0"
        raise ValueError(msg)
    return promised_rps


class Part(BaseModel):
    """A part of the file: nothing is converted, and no key is unknown."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_DEFAULTS = ReplicaLimits()


class StageEntry(Part):
    """A pipeline stage."""

    gpu_type: Name
    tp: Whole
    n_layers: Whole
    dp: Whole = 1
    expert_parallel: bool = False


class LimitsEntry(Part):
    """Limits of a replica; what is left out is the default."""

    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = _DEFAULTS.gpu_memory_utilization
    reserve_bytes: Annotated[int, Field(ge=0)] = _DEFAULTS.reserve_bytes
    block_tokens: Whole = _DEFAULTS.block_tokens
    max_batched_tokens: Whole | None = None
    max_seqs: Whole | None = None
    max_context_tokens: Whole | None = None
    reserve_whole_prompt: bool = _DEFAULTS.reserve_whole_prompt
    kv_blocks: Whole | None = None


class ReplicaEntry(Part):
    """So many replicas of a kind."""

    model: Name
    precision: Name | None = None
    count: Count
    stages: Annotated[list[StageEntry], Field(min_length=1)]
    limits: LimitsEntry


class RoutingEntry(Part):
    """The routing table of a model."""

    prompt_tokens: Annotated[list[Whole], Field(min_length=1)]
    output_tokens: Annotated[list[Whole], Field(min_length=1)]
    share: list[Share]
    mean_prompt_tokens: list[NotNegative]
    mean_output_tokens: list[NotNegative]
    prompt_borders: list[Whole] = []
    output_borders: list[Whole] = []
    fractions: list[list[Share]]


class DeploymentEntry(Part):
    """A deployment."""

    replicas: Annotated[list[ReplicaEntry], Field(min_length=1)]
    routing: dict[str, RoutingEntry]
    router: Name | None = None


class FleetEntry(Part):
    """A line of a fleet."""

    name: Name
    count: Count
    model: Name | None = None
    gpus: dict[str, Whole] | None = None
    usd_per_h: NotNegative | None = None


class AssignmentEntry(Part):
    """Who serves a workload type."""

    model: Name
    type: Name
    share_by_replica: dict[str, Share]
    shed_share: Share


class OfferEntry(Part):
    """What is rented or paid for of an offer."""

    name: Name
    nodes: Whole
    gpus_per_node: Whole
    gpus: Whole
    idle: Annotated[int, Field(ge=0)]
    usd_per_h: NotNegative


class TypeEntry(Part):
    """The lengths of a workload type."""

    model: Name
    type: Name
    share: Share
    mean_prompt_tokens: NotNegative
    mean_output_tokens: NotNegative
    largest_prompt_tokens: Whole
    largest_output_tokens: Whole
    largest_tokens: Whole


class TooLongEntry(Part):
    """Requests that no replica could hold."""

    n_requests: Whole
    share: Share
    longest_tokens: Whole
    held_tokens: Whole
    goal: Share


class LatencyEntry(Part):
    """Which latency was made least."""

    metric: Name
    statistic: Name
    headroom: NotNegative


class PlanEntry(Part):
    """A plan, in the form of `plan --json`."""

    planner: Name
    options: dict[str, Any] = {}
    status: Annotated[str, one_of(PlanStatus)] = PlanStatus.OK.value
    termination: Annotated[str, one_of(Termination)] | None = None
    objective_name: Annotated[str, one_of(Objective)] | None = None
    objective: float | None = None
    latency: LatencyEntry | None = None
    bound: float | None = None
    gap: float | None = None
    solve_s: NotNegative = 0.0
    usd_per_h: NotNegative
    drain_usd_per_h: float = 0.0
    gpus: dict[str, Whole]
    offers: list[OfferEntry] = []
    fleet: list[FleetEntry]
    promised_rps: Annotated[dict[str, NotNegative], AfterValidator(_something_promised)] = {}
    types: list[TypeEntry] = []
    types_error: dict[str, NotNegative] = {}
    too_long: dict[str, TooLongEntry] = {}
    assignment: list[AssignmentEntry] = []
    corrected_capacity_rps: dict[str, list[NotNegative]] = {}
    diagnostics: list[str] = []


class PrintedPlan(PlanEntry):
    """A plan as `plan --json` prints it: what there was to choose from, what was measured, its check, its servers."""

    n_candidates: Annotated[int, Field(ge=0)] = 0
    left_out: dict[str, int] = {}
    n_extrapolated: Annotated[int, Field(ge=0)] = 0
    uncertainty: dict[str, Any] | None = None
    arrivals: dict[str, dict[str, Any] | None] = {}
    deployment: DeploymentEntry | None = None
    check: dict[str, Any] | None = None
    serving: dict[str, Any] | None = None


class StepEntry(Part):
    """What was to run from a time on."""

    t_s: NotNegative = 0.0
    plan: PlanEntry
    deployment: DeploymentEntry


PLANS: TypeAdapter[list[StepEntry]] = TypeAdapter(Annotated[list[StepEntry], Field(min_length=1)])
"""The whole file."""

PRINTED_PLAN: TypeAdapter[PrintedPlan] = TypeAdapter(PrintedPlan)
"""What `plan --json` prints."""
