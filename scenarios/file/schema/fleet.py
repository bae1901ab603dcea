"""What a scenario file may say of a fleet that somebody has, or has in mind."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from scenarios.file.schema.part import Part, Share

OTHER_TYPES = "others"
"""Stands for the workload types that a routing does not name."""


class FleetReplica(Part):
    """Replicas of one kind."""

    model: str
    """Which model they serve."""
    gpu: str
    """GPU type or offer, one of `cluster.gpus` or `cluster.offers`."""
    tp: PositiveInt = 1
    """Tensor parallelism."""
    pp: PositiveInt = 1
    """Pipeline stages, with as many layers each as can be."""
    dp: PositiveInt = 1
    """Data parallelism of the attention, for mixtures of experts."""
    expert_parallel: bool = False
    """Whether experts are dealt out whole to the GPUs."""
    precision: str | None = None
    """One of the model's precisions; by default its own."""
    count: PositiveInt = 1
    """How many there are."""


class Fleet(Part):
    """A fleet that is simulated as it is, instead of one that a planner chose."""

    replicas: tuple[FleetReplica, ...] = Field(min_length=1)
    router: str | None = None
    """Router of this fleet; by default `sim.router`."""
    routing: dict[str, dict[str, dict[str, Share]]] | None = None
    """By model and workload type (`others`: those not named), the share of each kind of replica, by its name; by
    default the shares with which the fleet carries most."""
