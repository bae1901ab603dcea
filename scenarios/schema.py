"""What a scenario file may say. Docstrings of fields become descriptions in `hetserve schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

NonNegativeInt = Annotated[int, Field(ge=0)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Model(_Part):
    """Architecture of a model that the catalog does not have."""

    n_layers: PositiveInt
    hidden_size: PositiveInt
    n_heads: PositiveInt
    n_kv_heads: PositiveInt
    head_dim: PositiveInt
    ffn_size: PositiveInt
    vocab_size: PositiveInt
    max_context_tokens: PositiveInt
    source: str
    """Where these numbers come from."""


class Gpu(_Part):
    """What the market offers of a GPU type; what is left out comes from the catalog."""

    available: NonNegativeInt
    """How many can be rented."""
    usd_per_h: NonNegativeFloat | None = None
    """Price of one."""
    memory_gib: PositiveFloat | None = None
    """Memory of one. A GPU type that the catalog does not have needs it and a price; then capacities must be given."""


class _Timeline(_Part):
    """What can be rented over time."""

    notice_s: NonNegativeFloat
    """Warning before GPUs are taken back."""
    boot_s: NonNegativeFloat
    """Time from renting a GPU until it can load a model."""
    outside: Literal["hold", "wrap", "end"] = "hold"
    """What is there after the end of the timeline: the last offers, the timeline again, or nothing."""


class Step(_Part):
    """A change of the market."""

    t_s: NonNegativeFloat
    gpus: dict[str, NonNegativeInt] = {}
    """How many can be rented from then on, of the types that change."""
    usd_per_h: dict[str, NonNegativeFloat] = {}
    """What one costs from then on, of the types that change."""


class ConstantTimeline(_Timeline):
    """What `cluster.gpus` says, always."""

    kind: Literal["constant"]


class StepsTimeline(_Timeline):
    """Changes one by one; before the first of them `cluster.gpus` counts."""

    kind: Literal["steps"]
    changes: tuple[Step, ...] = Field(min_length=1)
    """In order of time."""


class Drop(_Part):
    """A part of some types is gone for a while."""

    start_s: NonNegativeFloat
    stop_s: PositiveFloat
    share: dict[str, Share] = Field(min_length=1)
    """Which part of each type."""


class DropsTimeline(_Timeline):
    """GPUs that go at known times and come back."""

    kind: Literal["scheduled_drops"]
    drops: tuple[Drop, ...] = Field(min_length=1)
    """In order of time, apart from one another."""


class _Generated(_Timeline):
    end_s: PositiveFloat = 86400.0
    """Where the timeline ends."""
    seed: NonNegativeInt = 0
    """The market is the same for all seeds of the requests."""


class OnOffTimeline(_Generated):
    """Each type alone is there or not, for times that are exponentially distributed."""

    kind: Literal["on_off"]
    mean_up_s: PositiveFloat
    mean_down_s: PositiveFloat


class CorrelatedDropsTimeline(_Generated):
    """Shocks at exponentially distributed times that hit several types at once."""

    kind: Literal["correlated_drops"]
    mean_gap_s: PositiveFloat
    """Mean time between shocks."""
    mean_down_s: PositiveFloat
    """Mean time until what was taken is back."""
    share: Share
    """Part of a type that a shock takes."""
    correlation: Share
    """Probability that a shock hits a type."""


class DiurnalTimeline(_Timeline):
    """More GPUs at night: a cosine, in steps."""

    kind: Literal["diurnal"]
    trough_share: Share
    """Part of the GPUs that is left at the trough."""
    trough_hour: NonNegativeFloat = 15.0
    step_s: PositiveFloat = 900.0
    days: PositiveInt = 1


class FileTimeline(_Timeline):
    """A timeline from a file."""

    kind: Literal["file"]
    path: Path
    """Relative to the scenario file."""
    reader: Literal["csv", "gpu_market", "alibaba_spot_gpu", "spot_trace"]
    options: dict[str, Any] = {}
    """Options of the reader."""
    rename: dict[str, str] = {}
    """GPU types to keep, and what they are called here; by default all, as they are called there."""
    scale: NonNegativeFloat = 1.0
    """Counts are multiplied by it."""
    most: PositiveInt | None = None
    """Counts are cut at it."""


Timeline = Annotated[
    ConstantTimeline
    | StepsTimeline
    | DropsTimeline
    | OnOffTimeline
    | CorrelatedDropsTimeline
    | DiurnalTimeline
    | FileTimeline,
    Field(discriminator="kind"),
]


class Cluster(_Part):
    """The market."""

    gpus: dict[str, Gpu] = Field(min_length=1)
    """GPU types by name."""
    availability: Timeline | None = None
    """What can be rented over time; by default `gpus`, always."""
    market: Literal["on_demand", "spot"] = "on_demand"
    """On which market of the timeline GPUs are rented."""


class Poisson(_Part):
    """Independent arrivals at a constant rate."""

    kind: Literal["poisson"]
    rate_rps: PositiveFloat


class Gamma(_Part):
    """Gamma-distributed gaps: bursts if cv > 1, regular arrivals if cv < 1."""

    kind: Literal["gamma"]
    rate_rps: PositiveFloat
    cv: PositiveFloat
    """Coefficient of variation of the gaps."""


class Piecewise(_Part):
    """Poisson arrivals at a rate that changes in steps; the last rate goes on."""

    kind: Literal["piecewise"]
    times_s: tuple[NonNegativeFloat, ...]
    """Start of each step, from 0."""
    rates_rps: tuple[NonNegativeFloat, ...]


class Diurnal(_Part):
    """A rate that follows a sine over 24 hours."""

    kind: Literal["diurnal"]
    mean_rate_rps: PositiveFloat
    peak_to_trough: PositiveFloat
    peak_hour: NonNegativeFloat
    cv: PositiveFloat = 1.0


class AllAtOnce(_Part):
    """All requests at time 0, for makespans."""

    kind: Literal["all_at_once"]


Arrivals = Annotated[Poisson | Gamma | Piecewise | Diurnal | AllAtOnce, Field(discriminator="kind")]


class Grid(_Part):
    """Workload types: all pairs of a prompt length and an output length, both in descending order."""

    prompt_tokens: tuple[PositiveInt, ...]
    output_tokens: tuple[PositiveInt, ...]


class TypeLengths(_Part):
    """Requests of the workload types of a grid, each with exactly the type's lengths."""

    kind: Literal["types"]
    grid: Grid = Grid(prompt_tokens=(2455, 824, 496), output_tokens=(510, 253, 18))
    """By default the nine types of arXiv:2502.00722."""
    shares: tuple[Share, ...]
    """Share of each type."""
    order: Literal["row_major", "reversed"] = "row_major"
    """How the shares are listed: from the longest prompt and output down, prompts first, or the other way round."""


class LogNormalLengths(_Part):
    """Log-normal lengths by their median and 90 % quantile."""

    kind: Literal["lognormal"]
    prompt_tokens_p50: PositiveFloat
    prompt_tokens_p90: PositiveFloat
    output_tokens_p50: PositiveFloat
    output_tokens_p90: PositiveFloat


class HistogramLengths(_Part):
    """Lengths by their quantiles: pairs of a probability and a length, from 0 to 1."""

    kind: Literal["histogram"]
    prompt_knots: tuple[tuple[Share, PositiveFloat], ...]
    output_knots: tuple[tuple[Share, PositiveFloat], ...]
    rank_correlation: Annotated[float, Field(ge=-1, le=1)] = 0.0


Lengths = Annotated[TypeLengths | LogNormalLengths | HistogramLengths, Field(discriminator="kind")]


class AzureConvLike(_Part):
    """Requests like those of the Azure 2023 conversation trace."""

    kind: Literal["azure_conv_like"]
    model: str
    n_requests: PositiveInt
    rate_rps: PositiveFloat = 5.53


class Synthetic(_Part):
    """Generated requests."""

    kind: Literal["synthetic"]
    model: str
    n_requests: PositiveInt
    arrivals: Arrivals
    lengths: Lengths


class TraceFile(_Part):
    """Requests from a file."""

    kind: Literal["trace"]
    model: str | None = None
    """Which model serves them all; by default the one that the file names for each."""
    path: Path
    """Relative to the scenario file."""
    reader: str
    """See `hetserve list readers`."""
    options: dict[str, Any] = {}
    """Options of the reader."""
    head: PositiveInt | None = None
    """Only the first so many requests."""
    rate_factor: PositiveFloat = 1.0
    """Arrivals so many times as fast as in the file."""


Stream = Annotated[AzureConvLike | Synthetic | TraceFile, Field(discriminator="kind")]


class LatencyLimits(_Part):
    """Latency limits of a request; what is left out is not asked for."""

    ttft_s: PositiveFloat | None = None
    tpot_s: PositiveFloat | None = None
    e2e_s: PositiveFloat | None = None


class Slo(LatencyLimits):
    """Service-level objective of each request."""

    attainment: Share = 0.99
    """Share of requests that should meet it."""
    by_model: dict[str, LatencyLimits] = {}
    """Instead of these limits, those of single models."""


class GivenCandidate(_Part):
    """A replica configuration whose capacities are known."""

    gpus: dict[str, PositiveInt] = Field(min_length=1)
    """GPUs of each type that a replica takes."""
    capacity_rps: tuple[NonNegativeFloat, ...]
    """Requests/s of each workload type that a replica serves."""


class GivenCapacity(_Part):
    """Replica configurations and their capacities as a table, instead of from the service-time model."""

    kind: Literal["given"]
    requests: dict[str, NonNegativeFloat] = Field(min_length=1)
    """Number of requests of each workload type, or for the objective `cost` requests/s."""
    candidates: dict[str, GivenCandidate] = Field(min_length=1)
    """Replica configurations by name."""


class ClosedFormCapacity(_Part):
    """Capacities from the service-time model: the steady state of a batch that memory limits, in closed form."""

    kind: Literal["closed_form"] = "closed_form"
    beside_mix: bool = True
    """Whether they allow for the other types on a replica; false: as if each type were alone, as arXiv:2502.00722."""


class SimulatedCapacity(_Part):
    """Capacities measured in the simulator, and kept for the next time."""

    kind: Literal["simulated"]
    beside_mix: bool = True
    """As for the closed form."""


def _from_kind(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


Capacity = Annotated[
    GivenCapacity | ClosedFormCapacity | SimulatedCapacity, Field(discriminator="kind"), BeforeValidator(_from_kind)
]


class Replanning(_Part):
    """When a planner whose policy is to replan does so, and with what."""

    triggers: tuple[Literal["change", "period", "slo"], ...] = ("change",)
    """A change of the market, the end of a period, requests that miss the SLO."""
    delay_s: NonNegativeFloat = 30.0
    """From the trigger until the new plan takes effect."""
    period_s: PositiveFloat = 900.0
    """Time between two plans, for `period`."""
    window_s: PositiveFloat = 600.0
    """The requests of so much time are what the next plan is for, and whose SLO is looked at."""
    min_gap_s: NonNegativeFloat = 300.0
    """Shortest time between two plans for the SLO."""
    min_gain: NonNegativeFloat = 0.02
    """A fleet that can stay is changed only if that makes the objective so much better."""
    hold_s: PositiveFloat = 3600.0
    """How long `replan_sticky` expects a plan to stay: a start has to pay within that time."""


class PreviousFleet(_Part):
    """The fleet that runs already, and what is lost if it is changed."""

    replicas: dict[str, PositiveInt] = {}
    """Replicas that run, by the name of their configuration; those whose GPUs are gone are left out."""
    start_s: NonNegativeFloat = 0.0
    """Time from renting a replica until it serves; it is paid for meanwhile."""
    drain_s: NonNegativeFloat = 0.0
    """Time from stopping a replica until it is no longer paid for."""
    hold_s: PositiveFloat = 3600.0
    """How long the next fleet is to stay; what is lost is spread over it."""


class Planning(_Part):
    """What to plan for."""

    budget_usd_per_h: NonNegativeFloat
    """Most that the fleet may cost, with what it stops of the previous one."""
    objective: Literal["throughput", "makespan", "cost"] = "throughput"
    """The largest multiple of the offered mix carried, the shortest time for all requests, or the cheapest fleet."""
    grid: Grid = Grid(prompt_tokens=(2455, 824, 496), output_tokens=(510, 253, 18))
    """Workload types that planners tell apart; by default the nine of arXiv:2502.00722."""
    capacity: Capacity = ClosedFormCapacity()
    max_configurations: PositiveInt | None = None
    """Most replica configurations of which any may be rented; by default any number."""
    max_gpu_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Largest share of the fleet's GPUs that may be of one type, counted in GPUs."""
    previous: PreviousFleet | None = None
    """The fleet that runs already; by default nothing does, or nothing is lost by changes."""
    shed_usd_per_request: NonNegativeFloat | dict[str, NonNegativeFloat] | None = None
    """Penalty for a request that is not served, of all workload types or by their names; the others must be served."""
    cases: tuple[str, ...] = ()
    """Overrides that make other markets and mixes, for planners that look for one fleet for several cases."""
    time_limit_s: PositiveFloat = 60.0
    replanning: Replanning = Replanning()


class PlannerChoice(_Part):
    """A planner and its options; one without options may be given by its name alone."""

    name: str
    options: dict[str, Any] = {}
    policy: Literal["static", "replan", "replan_sticky", "oracle"] = "static"
    """What it does while the market changes: nothing; plan again; plan again, near the fleet that runs; or know it."""
    label: str = ""
    """What it is called in results, if one planner stands twice; by default its name, and a policy but `static`."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: object) -> object:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict) or "name" not in value:
            return value
        policy = value.get("policy", "static")
        return {"label": value["name"] if policy == "static" else f"{value['name']}-{policy}"} | value


class Limits(_Part):
    """Limits of each replica, named as in vLLM; what is left out is vLLM's default for the GPU."""

    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    block_tokens: PositiveInt = 16
    max_batched_tokens: PositiveInt | None = None
    max_seqs: PositiveInt | None = None
    max_context_tokens: PositiveInt | None = None
    reserve_whole_prompt: bool = True
    """Admit a request only if its whole prompt fits: vLLM's `scheduler_reserve_full_isl`, since March 2026."""
    kv_blocks: PositiveInt | None = None


class CompactTimes(_Part):
    """Iteration times from the compact service-time model."""

    kind: Literal["compact"] = "compact"
    step_overhead_s: NonNegativeFloat = 0.0
    """Scheduler, sampler and transport time of an iteration."""
    sequence_overhead_s: NonNegativeFloat = 0.0
    """The part of it that each sequence adds."""
    network_bandwidth_gb_per_s: PositiveFloat = 0.625
    """Between nodes; by default the 5 Gbit/s of arXiv:2502.00722."""


class TableTimes(_Part):
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
    step_overhead_s: NonNegativeFloat = 0.0
    """Added to each time: what the measured ones leave out."""


class AiconfiguratorTimes(_Part):
    """Iteration times from NVIDIA's kernel measurements, for the GPU types that `aiconfigurator-core` has."""

    kind: Literal["aiconfigurator"]
    backend: Literal["vllm", "sglang", "trtllm"] = "vllm"
    """Serving engine whose kernels were measured."""
    version: str = "current"
    """Its version: a number that the package offers, or `current`, `previous`, `next`."""
    step_overhead_s: NonNegativeFloat = 0.0
    """Added to each time: what kernel times leave out."""
    network_bandwidth_gb_per_s: PositiveFloat = 0.625
    """Between nodes; by default the 5 Gbit/s of arXiv:2502.00722."""


def _compact_by_default(value: object) -> object:
    return {"kind": "compact"} | value if isinstance(value, dict) else value


ServiceTime = Annotated[
    CompactTimes | TableTimes | AiconfiguratorTimes,
    Field(discriminator="kind"),
    BeforeValidator(_compact_by_default),
]


class Interruption(_Part):
    """What happens when GPUs are taken back."""

    victims: Literal["newest", "cheapest", "random"] = "newest"
    """Which replicas go first."""
    interrupted: Literal["restart", "resume", "drop"] = "restart"
    """Requests that were running begin again elsewhere, go on elsewhere after their tokens are recomputed, or end."""
    load_bandwidth_gb_per_s: PositiveFloat = 2.0
    """At which weights are loaded; by default about what an NVMe disk reads."""


class Failures(_Part):
    """Failures of replicas, each by itself, and their repair; both times are exponential."""

    mtbf_h: PositiveFloat
    """Mean time that a replica works until it fails."""
    mttr_s: PositiveFloat
    """Mean time of its repair; then it loads its weights again."""


class Clients(_Part):
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


class Sim(_Part):
    """How to simulate."""

    router: str = "plan_weighted"
    length_predictor: str = "oracle"
    stepping: Literal["macro", "iteration"] = "macro"
    horizon_s: PositiveFloat | None = None
    """End of the simulation; by default when all requests have ended."""
    warmup_s: NonNegativeFloat = 0.0
    """Metrics begin so long after the start."""
    cooldown_s: NonNegativeFloat = 0.0
    """Metrics end so long before the end."""
    prefix_caching: bool | None = None
    """Whether requests share the KV blocks that their prompts have in common; by default if traces have hashes."""
    prefix_segment_tokens: PositiveInt = 512
    """Prompt tokens for which each prefix hash of a trace stands; by default Mooncake's."""
    limits: Limits = Limits()
    interruption: Interruption = Interruption()
    failures: Failures | None = None
    """By default replicas do not fail."""
    clients: Clients | None = None
    """By default clients wait for ever."""
    max_queued_requests: PositiveInt | None = None
    """Most requests that may wait at a replica; whoever comes then is rejected. By default any number may."""
    service_time: ServiceTime = CompactTimes()


class Scenario(_Part):
    """A question: this market, this workload, this budget; which planner answers it best?"""

    schema_version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")]
    description: str = ""
    models: dict[str, Model] = {}
    """Models that the catalog does not have, by name."""
    cluster: Cluster
    workload: dict[str, Stream] = {}
    """Streams of requests by name, served together. May be left out only where capacities are given."""
    slo: Slo = Slo()
    planning: Planning
    planners: tuple[PlannerChoice, ...] = tuple(
        PlannerChoice(name=name) for name in ("homogeneous", "uniform", "greedy", "milp")
    )
    """Planners to compare; the first is the baseline."""
    sim: Sim = Sim()
    seeds: tuple[NonNegativeInt, ...] = (0,)
    """One run for each."""
    overrides: dict[str, dict[str, Any]] = {}
    """Named patches: for each a new value for dotted paths, as in `planning.budget_usd_per_h: 60`."""
    scenarios: dict[str, tuple[str, ...]] = {}
    """Named lists of overrides, applied together."""
    matrix: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = {}
    """Alternatives by axis: each combination, one override of each axis, is a scenario named `a-b-c` after them."""
