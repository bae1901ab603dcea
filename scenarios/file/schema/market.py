"""What a scenario file may say of the market: GPU types, and what can be rented over time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from scenarios.file.schema.hardware import AllReduceCost, Datasheet
from scenarios.file.schema.moment import Moment
from scenarios.file.schema.part import NonNegativeFloat, NonNegativeInt, Part, Share


class Gpu(Part):
    """What the market offers of a GPU type; what is left out comes from the catalog."""

    available: NonNegativeInt
    """How many can be rented."""
    usd_per_h: NonNegativeFloat | None = None
    """Price of one."""
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

    gpus: dict[str, Gpu] = Field(min_length=1)
    """GPU types by name."""
    availability: Timeline | None = None
    """What can be rented over time; by default `gpus`, always."""
    market: Literal["on_demand", "spot"] = "on_demand"
    """On which market of the timeline GPUs are rented."""
