"""What a scenario file may say of planning: the problem, its capacities, and the planners."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from scenarios.file.schema.part import NonNegativeFloat, NonNegativeInt, Part
from scenarios.file.schema.workload import AnyGrid, GridOfTrace


class GivenCandidate(Part):
    """A replica configuration whose capacities are known."""

    gpus: dict[str, PositiveInt] = Field(min_length=1)
    """GPUs of each type that a replica takes."""
    capacity_rps: tuple[NonNegativeFloat, ...]
    """Requests/s of each workload type that a replica serves."""


class GivenCapacity(Part):
    """Replica configurations and their capacities as a table, instead of from the service-time model."""

    kind: Literal["given"]
    requests: dict[str, NonNegativeFloat] = Field(min_length=1)
    """Number of requests of each workload type, or for the objective `cost` requests/s."""
    candidates: dict[str, GivenCandidate] = Field(min_length=1)
    """Replica configurations by name."""


class ClosedFormCapacity(Part):
    """Capacities from the service-time model: the steady state of a batch that memory limits, in closed form."""

    kind: Literal["closed_form"] = "closed_form"
    beside_mix: bool = True
    """Whether they allow for the other types on a replica; false: as if each type were alone, as arXiv:2502.00722."""


class SimulatedCapacity(Part):
    """Capacities measured in the simulator, and kept for the next time."""

    kind: Literal["simulated"]
    beside_mix: bool = True
    """As for the closed form."""


def _from_kind(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


Capacity = Annotated[
    GivenCapacity | ClosedFormCapacity | SimulatedCapacity, Field(discriminator="kind"), BeforeValidator(_from_kind)
]


class Replanning(Part):
    """When a planner whose policy is to replan does so, and with what."""

    triggers: tuple[Literal["change", "period", "slo"], ...] = ("change",)
    """A change of the market, the end of a period, requests that miss the SLO."""
    delay_s: NonNegativeFloat = 30.0
    """From the trigger until the new plan takes effect."""
    period_s: PositiveFloat = 900.0
    """Time between two plans, for `period`."""
    window_s: PositiveFloat = 600.0
    """The requests of so much time are what the next plan is for, and whose SLO is looked at."""
    drain_backlog_s: PositiveFloat | None = None
    """Time within which requests that wait when it is planned are to be worked off, beside those that come; by default
    `period_s`."""
    stabilization_s: NonNegativeFloat = 600.0
    """How long less must have been asked for before a fleet gets smaller: the plan is for the window in which most
    requests came, of those that ended within so long. Not for `throughput`, which takes the mix of late."""
    min_gap_s: NonNegativeFloat = 300.0
    """Shortest time between two plans for the SLO."""
    min_gain: NonNegativeFloat = 0.02
    """A fleet that can stay is changed only if that makes the objective so much better."""
    hold_s: PositiveFloat = 3600.0
    """How long `replan_sticky` expects a plan to stay: a start has to pay within that time."""


class PreviousFleet(Part):
    """The fleet that runs already, and what is lost if it is changed."""

    replicas: dict[str, PositiveInt] = {}
    """Replicas that run, by the name of their configuration; those whose GPUs are gone are left out."""
    start_s: NonNegativeFloat = 0.0
    """Time from renting a replica until it serves; it is paid for meanwhile."""
    drain_s: NonNegativeFloat = 0.0
    """Time from stopping a replica until it is no longer paid for."""
    hold_s: PositiveFloat = 3600.0
    """How long the next fleet is to stay; what is lost is spread over it."""


class Latency(Part):
    """What the objective `latency` makes least, over the requests of all models."""

    metric: Literal["e2e", "ttft", "tpot"] = "e2e"
    """Time from arrival to the last token, to the first, or per token after it."""
    statistic: Literal["mean", "p50", "p90", "p99"] = "p99"
    headroom: NonNegativeFloat = 0.1
    """By which share the rates could grow until some replica has no time left."""


Objective = Literal["throughput", "makespan", "cost", "latency"]


class Planning(Part):
    """What to plan for."""

    budget_usd_per_h: NonNegativeFloat
    """Most that the fleet may cost, with what it stops of the previous one."""
    objective: Objective = "throughput"
    """The largest multiple of the offered mix carried, the shortest time for all requests, the cheapest fleet, or the
    least latency."""
    latency: Latency = Latency()
    """What the objective `latency` makes least."""
    grid: AnyGrid = GridOfTrace(kind="auto")
    """Workload types that planners tell apart; by default those of the requests themselves."""
    capacity: Capacity = ClosedFormCapacity()
    max_configurations: PositiveInt | None = None
    """Most replica configurations of which any may be rented; by default any number."""
    max_gpu_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Largest share of the fleet's GPUs that may be of one type, counted in GPUs."""
    min_replicas: PositiveInt | None = None
    """Least replicas of each model; by default any number."""
    max_spot_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Largest share of each model's capacity, on the mix of its requests, that may be on spot offers."""
    survive: Literal["node", "offer", "zone"] | None = None
    """The rates must be carried by what is left when any one of these is lost; not for `makespan`, which has none."""
    previous: PreviousFleet | None = None
    """The fleet that runs already; by default nothing does, or nothing is lost by changes."""
    shed_usd_per_request: NonNegativeFloat | dict[str, NonNegativeFloat] | None = None
    """Penalty for a request that is not served, of all workload types or by their names; the others must be served."""
    cases: tuple[str, ...] = ()
    """Overrides that make other markets and mixes, for planners that look for one fleet for several cases."""
    uncertain_cases: NonNegativeInt = 0
    """Worlds in which service times are as far off as they may be, as further cases."""
    time_limit_s: PositiveFloat = 60.0
    replanning: Replanning = Replanning()


Policy = Literal["static", "replan", "replan_sticky", "oracle"]


DEPLOYMENT = "deployment"
"""Stands among the planners for the fleet that a scenario gives; one of several after a colon."""


class PlannerChoice(Part):
    """A planner and its options; one without options may be given by its name alone, or as name-policy."""

    name: str
    options: dict[str, Any] = {}
    policy: Policy = "static"
    """What it does while the market changes: nothing; plan again; plan again, near the fleet that runs; or know it."""
    objective: Objective | None = None
    """What it plans for, if not for `planning.objective`."""
    label: str = ""
    """What it is called in results, if one planner stands twice; by default its name, and a policy but `static`."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: object) -> object:
        if isinstance(value, str):
            name, _, policy = value.rpartition("-")
            value = {"name": name, "policy": policy} if name and policy in get_args(Policy) else {"name": value}
        if not isinstance(value, dict) or "name" not in value:
            return value
        policy = value.get("policy", "static")
        return {"label": value["name"] if policy == "static" else f"{value['name']}-{policy}"} | value

    @property
    def is_fleet(self) -> bool:
        """Whether it stands for a fleet that the scenario gives."""
        return self.name.partition(":")[0] == DEPLOYMENT
