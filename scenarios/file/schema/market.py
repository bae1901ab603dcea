"""What a scenario file may say of the market: GPU types, and what can be rented over time."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from scenarios.file.schema.hardware import AllReduceCost, Datasheet
from scenarios.file.schema.moment import Moment
from scenarios.file.schema.part import NonNegativeFloat, NonNegativeInt, Part, Share
from sim.catalog.offers import Tenure


class Gpu(Part):
    """What the market offers of a GPU type; what is left out comes from the catalog."""

    available: NonNegativeInt | None = None
    """How many can be rented; left out where only `offers` have it."""
    usd_per_h: NonNegativeFloat | None = None
    """Price of one."""
    per_node: PositiveInt | None = None
    """GPUs that are rented together, as a node; by default each alone."""
    memory_gib: PositiveFloat | None = None
    """Memory of one. A GPU type that the catalog does not have needs a price, too, and a datasheet, a table of service
    times or given capacities."""
    datasheet: Datasheet | None = None
    """Of a GPU type that the catalog does not have, or instead of what the catalog says."""
    coefficients: Path | None = None
    """A file of coefficients as `hetserve profile fit --out` writes it, relative to the scenario file."""
    peer_to_peer: bool | None = None
    """Whether GPUs of a node read each other's memory over their link; without, all-reduces go through the host's."""
    allreduce: dict[Annotated[int, Field(ge=2)], AllReduceCost] | None = None
    """Cost of one all-reduce on this host, by tensor-parallel degree."""


class Offer(Part):
    """GPUs of a type as somebody rents them out, or as one has them already; prices are those of one GPU or a node."""

    gpu: str
    """Their type."""
    available: NonNegativeInt | None = None
    """How many GPUs can be rented; or `nodes`."""
    nodes: NonNegativeInt | None = None
    """How many nodes can be rented; or `available`."""
    per_node: PositiveInt | None = None
    """GPUs that are rented together: no group goes beyond. By default each is rented alone, on hosts that have more."""
    usd_per_h: NonNegativeFloat | None = None
    """Price of a GPU, by default the catalog's, or nothing where GPUs are owned."""
    usd_per_node_h: NonNegativeFloat | None = None
    """Price of a node, instead of `usd_per_h`."""
    tenure: Tenure = "on_demand"
    """How they are had. Those that are reserved cost the same whether they are used or not."""
    provider: str = ""
    """Who rents them out. All stages of a replica are with one provider in one region."""
    region: str = ""
    """Where they are."""
    zone: str = ""
    """Part of the region that fails together."""
    min_term_h: NonNegativeFloat = 0.0
    """For how long they are paid at least."""
    notice_s: NonNegativeFloat | None = None
    """Warning before they are taken back, instead of the timeline's."""
    boot_s: NonNegativeFloat | None = None
    """Time from renting a node until it can load a model, instead of the timeline's."""
    reclaims_per_h: Annotated[float, Field(ge=0, le=60)] = 0.0
    """How often a node is taken back while it is rented, on average; once a minute at most."""
    source: str = ""
    """Where the price is from."""
    as_of: date | None = None
    """Of which day the price is."""

    @property
    def rented_together(self) -> int:
        """GPUs that are rented together: those of a node, or 1."""
        return self.per_node or 1

    @property
    def n_gpus(self) -> int:
        """How many GPUs can be rented."""
        return self.available or 0 if self.nodes is None else self.nodes * self.rented_together

    @property
    def gpu_usd_per_h(self) -> float | None:
        """Price of a GPU; None for the catalog's."""
        if self.usd_per_node_h is not None:
            return self.usd_per_node_h / self.rented_together
        if self.usd_per_h is None and self.tenure == "owned":
            return 0.0
        return self.usd_per_h


class _Timeline(Part):
    """What can be rented over time."""

    notice_s: NonNegativeFloat
    """Warning before GPUs are taken back."""
    boot_s: NonNegativeFloat
    """Time from renting a GPU until it can load a model."""
    outside: Literal["hold", "wrap", "end"] = "hold"
    """What is there after the end of the timeline: the last offers, the timeline again, or nothing."""


class Step(Part):
    """A change of the market."""

    t_s: Moment
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


class Drop(Part):
    """A part of some types is gone for a while."""

    start_s: Moment
    stop_s: Moment
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


class Cluster(Part):
    """The market."""

    gpus: dict[str, Gpu] = {}
    """GPU types by name: the short form of offers of GPUs that are rented alone, and what is said of their hardware."""
    offers: dict[str, Offer] = {}
    """What is offered, by a name that timelines and tables use: several offers may have one GPU type."""
    availability: Timeline | None = None
    """What can be rented over time; by default `gpus`, always."""
    market: Literal["on_demand", "spot"] = "on_demand"
    """On which market of the timeline GPUs are rented."""
    latency_s: dict[str, dict[str, NonNegativeFloat]] = {}
    """Round trip from each region of clients (`region` of a stream) to each region of offers."""

    @property
    def all_offers(self) -> dict[str, Offer]:
        """What is offered, by name: GPU types of which some are available, and `offers`."""
        short = {
            name: Offer(gpu=name, available=gpu.available, per_node=gpu.per_node, usd_per_h=gpu.usd_per_h)
            for name, gpu in self.gpus.items()
            if gpu.available is not None
        }
        return short | self.offers
