"""What can be rented while a deployment runs, and what happens when it is taken back."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from math import fsum, inf
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from sim.errors import SettingsError, check_name
from sim.kv_cache import stage_weight_bytes
from sim.units import HOUR_S

if TYPE_CHECKING:
    import polars as pl

    from sim.catalog.gpus import GpuType
    from sim.deployment import ReplicaSpec
    from sim.failures import Failures
    from sim.nodes import Node
    from traces.availability import AvailabilityTimeline

_RECLAIMS_STREAM = 204  # number of the random stream; 200 to 299 are this package's

Victims = Literal["newest", "cheapest", "random"]
Interrupted = Literal["restart", "resume", "drop"]


@dataclass(frozen=True, slots=True)
class Market:
    """What can be rented over time, and the rules of taking it back.

    When fewer GPUs of a type can be had than are rented, replicas on it get notice, in the order of a rule, until the
    others fit. From then on they get no requests, and `timeline.notice_s` later they are gone. When there are enough
    again, the replicas that the deployment lacks are rented anew, in its order; they take requests after
    `timeline.boot_s` and the time that it takes to load the weights of their fullest GPU. Of an offer, nodes are rented
    and taken back whole, with notice and boot times of its own, if it has any (`sim.nodes`).

    Attributes:
        timeline: GPUs and prices by type or offer; those that it does not name are always there, at the catalog's
            price.
        kind: The market on which all GPUs are rented: `on_demand` or `spot`.
        victims: Who gets notice first: the `newest` replicas, the `cheapest`, or `random` ones.
        interrupted: What becomes of requests that were running on a replica that is gone. `restart`: they begin again
            on another one, and what they had generated is lost; `resume`: they go on there after their prompt and what
            they had generated has been computed again; `drop`: they end. Those that had not begun are sent elsewhere.
        load_bandwidth_bytes_per_s: At which weights are loaded. The default is 2 GB/s: about what an NVMe disk reads.
        seed: For `random`.
        failures: Failures of replicas beside all that; None: there are none. The rule `interrupted` is for them, too.
        reserved: GPU types with offers that are paid, used or not, and how many GPUs, if the timeline does not say it.
        reclaims_seed: For when nodes of offers with `reclaims_per_h` are taken back.

    Raises:
        SettingsError: A rule is unknown, or the bandwidth is not above 0.
    """

    timeline: AvailabilityTimeline
    kind: str = "on_demand"
    victims: Victims = "newest"
    interrupted: Interrupted = "restart"
    load_bandwidth_bytes_per_s: float = 2e9
    seed: int = 0
    failures: Failures | None = None
    reserved: tuple[tuple[GpuType, int], ...] = ()
    reclaims_seed: int = 0

    def __post_init__(self) -> None:
        check_name("victim rule", self.victims, get_args(Victims))
        check_name("rule for interrupted requests", self.interrupted, get_args(Interrupted))
        if not self.load_bandwidth_bytes_per_s > 0:
            msg = f"load_bandwidth_bytes_per_s is {self.load_bandwidth_bytes_per_s}; it must be more than 0"
            raise SettingsError(msg)

    def changes(self, until_s: float) -> pl.DataFrame:
        """What of the timeline counts here up to and at a time: the columns of `AVAILABILITY_SCHEMA`."""
        changes = self.timeline.until(until_s)
        return changes.filter(changes["market"] == self.kind)

    def boot_s(self, spec: ReplicaSpec) -> float:
        """Time from renting a replica until it takes requests."""
        return max(self.node_boot_s(stage.gpu_type) for stage in spec.stages) + self.load_s(spec)

    def node_boot_s(self, gpu_type: GpuType) -> float:
        """Time from renting a node of an offer until it can load a model."""
        own_s = None if gpu_type.offer is None else gpu_type.offer.boot_s
        return self.timeline.boot_s if own_s is None else own_s

    def notice_s(self, gpu_type: GpuType) -> float:
        """Warning before a node of an offer is taken back."""
        own_s = None if gpu_type.offer is None else gpu_type.offer.notice_s
        return self.timeline.notice_s if own_s is None else own_s

    def reclaim_after_s(self, node: Node) -> float:
        """Time from renting a node until it is taken back again, whatever the timeline says; infinite if never."""
        rate_per_h = 0.0 if node.gpu_type.offer is None else node.gpu_type.offer.reclaims_per_h
        if rate_per_h == 0:
            return inf
        sequence = np.random.SeedSequence(entropy=self.reclaims_seed, spawn_key=(_RECLAIMS_STREAM, *node.number))
        return float(np.random.Generator(np.random.PCG64(sequence)).exponential(HOUR_S / rate_per_h))

    def load_s(self, spec: ReplicaSpec) -> float:
        """Time to load the weights of a replica: of its fullest GPU."""
        fullest_bytes = max(stage_weight_bytes(spec, index) for index in range(spec.pp))
        return fullest_bytes / self.load_bandwidth_bytes_per_s


class Prices:
    """What GPUs cost over time.

    Args:
        market: The market; None where prices do not move.
        horizon_s: Until when prices are asked for.
    """

    def __init__(self, market: Market | None, horizon_s: float) -> None:
        self._steps: dict[str, tuple[list[float], list[float | None]]] = {}
        for t_s, gpu, _, _, usd_per_h in () if market is None else market.changes(horizon_s).iter_rows():
            times, prices = self._steps.setdefault(gpu, ([], []))
            times.append(t_s)
            prices.append(usd_per_h)

    def usd(self, spec: ReplicaSpec, start_s: float, end_s: float) -> float:
        """Price of a replica that is rented from one time to another: the integral of its GPUs' prices."""
        total = 0.0
        for stage in spec.stages:
            for part in self._parts(stage.gpu_type, stage.n_taken, start_s, end_s):
                total += part
        return total / HOUR_S

    def gpu_usd(self, gpu_type: GpuType, n_gpus: int, start_s: float, end_s: float) -> float:
        """Price of GPUs of a type that are rented from one time to another."""
        return fsum(self._parts(gpu_type, n_gpus, start_s, end_s)) / HOUR_S

    def _parts(self, gpu_type: GpuType, n_gpus: int, start_s: float, end_s: float) -> Iterator[float]:
        """Price per hour times seconds, from each change of the price to the next."""
        times, prices = self._steps.get(gpu_type.pool, ([0.0], [None]))
        index = max(0, bisect_right(times, start_s) - 1)
        at_s = start_s
        while at_s < end_s:
            next_s = min(end_s, times[index + 1] if index + 1 < len(times) else inf)
            price = prices[index]
            yield n_gpus * (gpu_type.usd_per_h if price is None else price) * (next_s - at_s)
            at_s, index = next_s, index + 1
