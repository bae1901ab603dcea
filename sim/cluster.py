"""The replicas of a deployment on a market: rented, booting, serving, under notice, gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from sim.batching import Sequence
from sim.clock import Clock, Order
from sim.market import Prices

if TYPE_CHECKING:
    from sim.deployment import ReplicaSpec
    from sim.fleet import Fleet
    from sim.market import Market
    from sim.replica import Replica

_VICTIMS_STREAM = 201  # numbers of the random streams; 200 to 299 are this package's


@dataclass(slots=True, eq=False)
class Lease:
    """A replica that is or was rented.

    Attributes:
        replica: The replica.
        rented_s: Since when it costs.
        open_s: From when on it takes requests; None while it boots.
        notice_s: Since when it takes no more; None if it had no notice.
        released_s: When it was gone; None if it is still there.
    """

    replica: Replica
    rented_s: float
    open_s: float | None = None
    notice_s: float | None = None
    released_s: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether it takes requests."""
        return self.open_s is not None and self.notice_s is None


class Cluster:
    """Keeps what is rented within what the market offers.

    Args:
        market: The market and its rules.
        fleet: Makes replicas.
        clock: The simulation's clock.
        horizon_s: Until when the market is looked at.
        on_change: Called with the replicas that take requests whenever that changes.
        on_lost: Called with the requests of a replica that is gone, and the computed tokens that each has lost.

    Attributes:
        leases: All replicas ever rented, in the order of renting.
    """

    def __init__(
        self,
        market: Market,
        fleet: Fleet,
        clock: Clock,
        horizon_s: float,
        on_change: Callable[[list[Replica]], None],
        on_lost: Callable[[list[tuple[Sequence, int]], float], None],
    ) -> None:
        self._market = market
        self._fleet = fleet
        self._clock = clock
        self._on_change = on_change
        self._on_lost = on_lost
        self._wanted = fleet.wanted
        self._will_tell = False
        self._rng = np.random.Generator(
            np.random.PCG64(np.random.SeedSequence(entropy=market.seed, spawn_key=(_VICTIMS_STREAM,)))
        )
        self.leases: list[Lease] = []
        changes = market.timeline.until(horizon_s)
        changes = changes.filter(changes["market"] == market.kind)
        at_s: dict[float, dict[str, int]] = {}
        for t_s, gpu, _, count, _ in changes.iter_rows():
            at_s.setdefault(t_s, {})[gpu] = count
        self._offered = at_s.pop(0.0, {})
        self._rent_missing(is_start=True)
        for t_s, offered in at_s.items():
            self._at(t_s, partial(self._offer, offered))

    def _at(self, time_s: float, action: Callable[[], None]) -> None:
        self._clock.at(time_s, Order.AVAILABILITY, lambda _: action())

    def _offer(self, offered: dict[str, int]) -> None:
        """The market changes."""
        self._offered |= offered
        self._give_notice()
        self._rent_missing()

    # Taking back ------------------------------------------------------------------------------------------

    def _give_notice(self) -> None:
        """Give notice to replicas until the others fit in what is offered."""
        now_s, notice_s = self._clock.now, self._market.timeline.notice_s
        ending = []
        for gpu, count in self._offered.items():
            staying = [lease for lease in self._rented(gpu) if lease.notice_s is None]
            excess = sum(lease.replica.spec.gpus[gpu] for lease in staying) - count
            for lease in self._in_order_of_notice(staying):
                if excess <= 0:
                    break
                excess -= lease.replica.spec.gpus[gpu]
                lease.notice_s = now_s
                ending.append(lease)
        if ending:
            self._tell()
        for lease in ending:
            if notice_s > 0:
                self._at(now_s + notice_s, partial(self._reclaim, lease))
            else:
                self._reclaim(lease)

    def _in_order_of_notice(self, leases: list[Lease]) -> list[Lease]:
        match self._market.victims:
            case "newest":
                return leases[::-1]
            case "cheapest":
                return sorted(leases, key=lambda lease: (lease.replica.spec.usd_per_h, -lease.replica.replica_id))
            case "random":
                return [leases[index] for index in self._rng.permutation(len(leases))]

    def _reclaim(self, lease: Lease) -> None:
        now_s = self._clock.now
        lease.released_s = now_s
        self._on_lost(lease.replica.reclaim(now_s), now_s)
        self._rent_missing()

    # Renting ----------------------------------------------------------------------------------------------

    def _rented(self, gpu: str) -> list[Lease]:
        """Leases that hold GPUs of a type now."""
        return [lease for lease in self.leases if lease.released_s is None and gpu in lease.replica.spec.gpus]

    def _rent_missing(self, *, is_start: bool = False) -> None:
        """Rent what the deployment wants, is not there, and can be had."""
        for entry, (spec, count) in enumerate(self._wanted):
            there = sum(
                lease.notice_s is None and self._fleet.entries[lease.replica.replica_id] == entry
                for lease in self.leases
                if lease.released_s is None
            )
            for _ in range(count - there):
                if not self._is_offered(spec):
                    break
                self._rent(entry, is_up=is_start)
        if is_start:
            self._tell()

    def _is_offered(self, spec: ReplicaSpec) -> bool:
        for gpu, n in spec.gpus.items():
            offered = self._offered.get(gpu)
            if offered is not None and n + sum(lease.replica.spec.gpus[gpu] for lease in self._rented(gpu)) > offered:
                return False
        return True

    def _rent(self, entry: int, *, is_up: bool) -> None:
        now_s = self._clock.now
        lease = Lease(self._fleet.add(entry), now_s)
        self.leases.append(lease)
        lease.replica.start(self._clock, iter(()))
        if is_up:
            lease.open_s = now_s
        else:
            self._at(now_s + self._market.boot_s(lease.replica.spec), partial(self._open, lease))

    def _open(self, lease: Lease) -> None:
        if lease.notice_s is None and lease.released_s is None:
            lease.open_s = self._clock.now
            if not self._will_tell:  # once for all that open now
                self._will_tell = True
                self._at(self._clock.now, self._tell)

    def _tell(self) -> None:
        self._will_tell = False
        self._on_change([lease.replica for lease in self.leases if lease.is_open])

    def bill(self, end_s: float) -> dict[int, dict[str, float | None]]:
        """For each replica by its number: when it was rented and served, and what it cost until the end of the run.

        What happened after the end, while the clock ran on, is left out.
        """
        prices = Prices(self._market, end_s)

        def by_then(time_s: float | None) -> float | None:
            return None if time_s is None or time_s > end_s else time_s

        bill = {}
        for lease in self.leases:
            released_s = by_then(lease.released_s)
            if lease.rented_s < end_s:
                bill[lease.replica.replica_id] = {
                    "rented_s": lease.rented_s,
                    "open_s": by_then(lease.open_s),
                    "notice_s": by_then(lease.notice_s),
                    "released_s": released_s,
                    "usd": prices.usd(lease.replica.spec, lease.rented_s, end_s if released_s is None else released_s),
                }
        return bill
