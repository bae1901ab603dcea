"""An offer: GPUs of a type as somebody rents them out, or as one has them already."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

from sim.errors import SettingsError

Tenure = Literal["on_demand", "spot", "reserved", "owned"]
"""How GPUs are had: rented while they are used, the same until somebody bids more, for a term, or for good."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What is said of GPUs beside their type and price, which `GpuType` has.

    Nodes are rented whole. The GPUs of a tensor-parallel group are in one node, where they take so many of it that
    groups always pack (`taken_by`): a fleet needs as many nodes as its GPUs fill.

    Attributes:
        name: Unique on a market.
        gpus_per_node: GPUs that are rented together; 1 where each is rented alone.
        tenure: How they are had. Who owns or has reserved GPUs pays no more for using them.
        provider: Who rents them out.
        region: Where they are. Stages of a replica are with one provider in one region.
        zone: Part of the region that fails together.
        min_term_s: For how long they are paid at least.
        notice_s: Warning before they are taken back; None for the market's.
        boot_s: Time from renting a node until it can load a model; None for the market's.
        reclaims_per_h: How often a node of it is taken back while it is rented, on average.

    Raises:
        SettingsError: `gpus_per_node` is below 1, or a time or rate is below 0.
    """

    name: str
    gpus_per_node: int = 1
    tenure: Tenure = "on_demand"
    provider: str = ""
    region: str = ""
    zone: str = ""
    min_term_s: float = 0.0
    notice_s: float | None = None
    boot_s: float | None = None
    reclaims_per_h: float = 0.0

    def __post_init__(self) -> None:
        if self.gpus_per_node < 1:
            msg = f"offer {self.name!r}: gpus_per_node is {self.gpus_per_node}; it must be at least 1"
            raise SettingsError(msg)
        for field in ("min_term_s", "notice_s", "boot_s", "reclaims_per_h"):
            value = getattr(self, field)
            if value is not None and not value >= 0:
                msg = f"offer {self.name!r}: {field} is {value}; it must be 0 or more"
                raise SettingsError(msg)

    @property
    def is_paid_by_use(self) -> bool:
        """Whether GPUs cost only while they are rented."""
        return self.tenure in ("on_demand", "spot")

    def taken_by(self, n_gpus: int) -> int:
        """GPUs of a node that a group takes: the next of the powers of two that divide a node, or the whole of it.

        Each of these sizes divides the next one, so that groups fill nodes without gaps in order of size. A group that
        is larger than a node takes whole nodes.

        >>> Offer("eight", gpus_per_node=8).taken_by(3), Offer("six", gpus_per_node=6).taken_by(4)
        (4, 6)
        """
        if self.gpus_per_node == 1:
            return n_gpus
        if n_gpus > self.gpus_per_node:
            return ceil(n_gpus / self.gpus_per_node) * self.gpus_per_node
        size = 1
        while size < n_gpus and self.gpus_per_node % (2 * size) == 0:
            size *= 2
        return size if size >= n_gpus else self.gpus_per_node
