"""The replicas of a deployment on a market: rented, booting, serving, under notice, gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import inf
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sim.clock import Clock, Order
from sim.leases import Lease, VictimOrder, Wanted, match_leases
from sim.market import Prices
from sim.nodes import Node, Nodes
from sim.replanning import Moves
from sim.replica.batch import Sequence
from sim.results.replicas import Bill
from traces.availability import Supply

if TYPE_CHECKING:
    from sim.deployment import ReplicaSpec
    from sim.fleet import Fleet
    from sim.market import Market
    from sim.replica.replica import Replica


class _Next(NamedTuple):
    """The deployment that is to run once its replicas are there, and what to call then."""

    wanted: Wanted
    on_switch: Callable[[], None]


class Run(Protocol):
    """What a cluster tells the run that it belongs to, and asks of it."""

    def on_change(self, replicas: list[Replica]) -> None:
        """These replicas take requests now, and no others."""
        ...

    def on_lost(self, lost: list[tuple[Sequence, int]], now_s: float) -> None:
        """A replica is gone that had these requests, each with its computed tokens that are lost."""
        ...

    def on_market(self) -> None:
        """The market has changed."""
        ...

    def is_at_rest(self) -> bool:
        """Whether no replica will have anything to do any more, so that none need fail."""
        ...


class Cluster:
    """Keeps what is rented within what the market offers.

    Args:
        wanted: The replicas that are to run, and how many of each.
        market: The market and its rules.
        fleet: Makes replicas.
        clock: The simulation's clock.
        horizon_s: Until when the market is looked at.
        run: The run that they serve: it is told of what happens.

    Attributes:
        leases: All replicas ever rented, in the order of renting, which is that of their numbers.
        nodes: The nodes that they are on.
    """

    def __init__(
        self,
        wanted: Wanted,
        market: Market,
        fleet: Fleet,
        clock: Clock,
        horizon_s: float,
        run: Run,
    ) -> None:
        self._market = market
        self._fleet = fleet
        self._clock = clock
        self._run = run
        self._wanted = wanted
        self._next: _Next | None = None
        self._will_tell = False
        self._victims = VictimOrder(market.victims, market.seed)
        self.leases: list[Lease] = []
        self.nodes = Nodes(market.node_boot_s, self._await_reclaim)
        at_s: dict[float, dict[str, Supply]] = {}
        for t_s, gpu, _, count, usd_per_h in market.changes(horizon_s).iter_rows():
            at_s.setdefault(t_s, {})[gpu] = Supply(count, usd_per_h)
        self._offers = {gpu_type.pool: Supply(n, None) for gpu_type, n in market.reserved} | at_s.pop(0.0, {})
        self._rent_reserved(is_start=True)
        self._rent_missing(is_start=True)
        self._n_changes = len(at_s)
        for t_s, offers in at_s.items():
            self._at(t_s, partial(self._offer, offers))

    def _at(self, time_s: float, action: Callable[[], None]) -> None:
        self._clock.at(time_s, Order.AVAILABILITY, lambda _: action())

    @property
    def offers(self) -> Mapping[str, Supply]:
        """What can be rented now, with what is, by GPU type."""
        return self._offers

    @property
    def running(self) -> Wanted:
        """Replicas that serve or boot, without those that are under notice or drain, and how many of each."""
        return tuple(Counter(lease.replica.spec for lease in self._staying()).items())

    def _staying(self) -> list[Lease]:
        return [lease for lease in self.leases if lease.released_s is None and lease.notice_s is None]

    def _offer(self, offers: dict[str, Supply]) -> None:
        """The market changes."""
        self._n_changes -= 1
        self._offers = self._offers | offers
        self._give_notice()
        self._rent_reserved()
        self._rent_missing()
        self._run.on_market()

    # Taking back ------------------------------------------------------------------------------------------

    def _give_notice(self) -> None:
        """Give notice to nodes, and replicas on them, until the others fit in what is offered."""
        now_s = self._clock.now
        ending = []
        for pool, (count, _) in self._offers.items():
            staying = [lease for lease in self._rented(pool) if lease.notice_s is None]
            draining = [lease for lease in self._rented(pool) if lease.is_draining]
            order = [*draining, *self._victims.in_order(staying)]
            numbers = [lease.replica.replica_id for lease in order]
            for node in self.nodes.beyond(pool, count, numbers, now_s):
                ending += self._warn(node)
        self._end(ending)

    def _await_reclaim(self, node: Node) -> None:
        """Have a node that is rented taken back some time, whatever the timeline says."""
        after_s = self._market.reclaim_after_s(node)
        if after_s < inf:
            self._at(self._clock.now + after_s, partial(self._take_back, node))

    def _take_back(self, node: Node) -> None:
        if node.is_there(self._clock.now) and node.notice_s is None and not self._run.is_at_rest():
            self._end(self._warn(node))
            self._rent_reserved()

    def _warn(self, node: Node) -> list[Lease]:
        """Give notice to a node: which leases end by that, earlier than they would have."""
        now_s = self._clock.now
        ends_s = now_s + self._market.notice_s(node.gpu_type)
        on_it = [self.leases[replica_id] for replica_id in node.taken if ends_s < self.leases[replica_id].ends_s]
        for lease in on_it:
            lease.ends_s = ends_s
            lease.notice_s = now_s if lease.notice_s is None else lease.notice_s
            lease.is_draining = False
        self.nodes.give_notice(node, now_s)
        return on_it

    def _end(self, leases: list[Lease]) -> None:
        """Let leases end when their notice does."""
        if leases:
            self._tell()
        for lease in leases:
            if lease.ends_s > self._clock.now:
                self._at(lease.ends_s, partial(self._reclaim, lease))
            else:
                self._reclaim(lease)

    def _reclaim(self, lease: Lease) -> None:
        if lease.released_s is None:
            now_s = self._clock.now
            lease.released_s = now_s
            self.nodes.leave(lease.replica.replica_id)
            if not lease.is_draining or lease.is_down:
                self.nodes.give_back(now_s)
            self._run.on_lost(lease.replica.empty(now_s), now_s)
            self._switch_if_ready()
            self._rent_reserved()
            self._rent_missing()
            self.nodes.give_back(now_s)

    # Another deployment -----------------------------------------------------------------------------------

    def adopt(self, wanted: Wanted, on_switch: Callable[[], None]) -> Moves:
        """Make other replicas the ones that are to run.

        What is missing is rented beside what runs, as far as the market allows it. Once that can take requests, the
        others drain: they take no more, and go when theirs have ended. What could not be had beside them follows as
        GPUs become free; on GPUs that a replica leaves at that moment, only weights have to be loaded.

        Args:
            wanted: The replicas, and how many of each.
            on_switch: Called when requests are to go by the new deployment, before replicas drain.
        """
        self._next = _Next(wanted, on_switch)
        staying = self._staying()
        places, missing = match_leases(staying, wanted)
        for (spec, _), n in zip(wanted, missing, strict=True):
            for _ in range(n):
                if self._is_offered(spec):
                    self._rent(spec, 0, is_ahead=True)
        self._switch_if_ready()
        return Moves(kept=len(places), started=sum(missing), drained=len(staying) - len(places))

    def _switch_if_ready(self) -> None:
        if self._next is not None and all(lease.open_s is not None for lease in self._staying()):
            self._switch()

    def _switch(self) -> None:
        """Let the next deployment be the one that runs."""
        assert self._next is not None
        self._wanted, on_switch = self._next
        self._next = None
        staying = self._staying()
        places, _ = match_leases(staying, self._wanted)
        for lease in staying:
            lease.is_ahead = False
            self._fleet.entries[lease.replica.replica_id] = places.get(lease.replica.replica_id, 0)
        on_switch()
        leaving = [lease for lease in staying if lease.replica.replica_id not in places]
        for lease in leaving:
            lease.notice_s = self._clock.now
            lease.is_draining = True
        for lease in leaving:
            if lease.replica.n_outstanding == 0:
                self._reclaim(lease)
            else:
                lease.replica.on_idle = partial(self._release_at, lease)
        self._rent_missing()
        self._tell()

    def _release_at(self, lease: Lease, time_s: float) -> None:
        self._at(time_s, partial(self._reclaim, lease))

    # Renting ----------------------------------------------------------------------------------------------

    def _rented(self, pool: str) -> list[Lease]:
        """Leases that hold GPUs of an offer now."""
        return [lease for lease in self.leases if lease.released_s is None and pool in lease.replica.spec.gpus]

    def _rent_reserved(self, *, is_start: bool = False) -> None:
        """Rent what is paid, used or not."""
        for gpu_type, _ in self._market.reserved:
            n_gpus = self._offers[gpu_type.pool].n_gpus
            self.nodes.reserve(gpu_type, n_gpus, self._clock.now, is_up=is_start)

    def _rent_missing(self, *, is_start: bool = False) -> None:
        """Rent what is to run, is not there, and can be had."""
        if self._next is not None:
            return  # there is another deployment soon
        for entry, (spec, count) in enumerate(self._wanted):
            there = sum(
                lease.notice_s is None and self._fleet.entries[lease.replica.replica_id] == entry
                for lease in self.leases
                if lease.released_s is None
            )
            for _ in range(count - there):
                if not self._is_offered(spec):
                    break
                self._rent(spec, entry, is_up=is_start)
        if is_start:
            self._tell()

    def _is_offered(self, spec: ReplicaSpec) -> bool:
        return self.nodes.have_room(spec, self._offers, self._clock.now)

    def _rent(self, spec: ReplicaSpec, entry: int, *, is_up: bool = False, is_ahead: bool = False) -> None:
        now_s = self._clock.now
        lease = Lease(self._fleet.add(spec, entry), now_s, is_ahead=is_ahead)
        number = lease.replica.replica_id
        self.leases.append(lease)
        self.nodes.place(spec, number, now_s, is_up=is_up)
        lease.replica.start(self._clock, iter(()))
        if is_up:
            lease.open_s = now_s
            self._let_fail(lease)
        else:
            ready_s = now_s + (self.nodes.boot_left_s(number, now_s) + self._market.load_s(spec))
            self._at(ready_s, partial(self._open, lease))

    def _open(self, lease: Lease) -> None:
        if lease.notice_s is None and lease.released_s is None:
            lease.open_s = self._clock.now
            self.nodes.have_booted(lease.replica.replica_id)
            self._let_fail(lease)
            self._switch_if_ready()
            self._tell_soon()

    def _tell_soon(self) -> None:
        if not self._will_tell:  # once for all that open now
            self._will_tell = True
            self._at(self._clock.now, self._tell)

    def _tell(self) -> None:
        self._will_tell = False
        self._run.on_change([lease.replica for lease in self.leases if lease.is_open])

    # Failing ----------------------------------------------------------------------------------------------

    def _let_fail(self, lease: Lease) -> None:
        """Have a replica that begins to take requests fail, again and again."""
        if self._market.failures is not None:
            self._wait_for_failure(lease, self._market.failures.of_replica(lease.replica.replica_id))

    def _wait_for_failure(self, lease: Lease, times: Iterator[tuple[float, float]]) -> None:
        up_s, repair_s = next(times)
        self._at(self._clock.now + up_s, partial(self._fail, lease, repair_s, times))

    def _fail(self, lease: Lease, repair_s: float, times: Iterator[tuple[float, float]]) -> None:
        if lease.released_s is not None or self._run.is_at_rest():
            return
        now_s = self._clock.now
        back_s = now_s + repair_s + self._market.load_s(lease.replica.spec)
        lease.outages.append((now_s, back_s))
        lease.is_down = True
        lost = lease.replica.empty(now_s)
        self._tell()
        self._run.on_lost(lost, now_s)
        if lease.is_draining:
            self._reclaim(lease)
        else:
            self._at(back_s, partial(self._come_back, lease, times))

    def _come_back(self, lease: Lease, times: Iterator[tuple[float, float]]) -> None:
        if lease.released_s is None:
            lease.is_down = False
            lease.replica.start(self._clock, iter(()))
            self._wait_for_failure(lease, times)
            self._tell_soon()

    def may_serve(self, fits: Callable[[Replica], bool]) -> bool:
        """Whether a replica for which `fits` is true may yet come, or come back."""
        staying = [lease for lease in self.leases if lease.released_s is None]
        return (
            self._n_changes > 0
            or any(lease.notice_s is not None for lease in staying)
            or any(not lease.is_open and fits(lease.replica) for lease in staying)
        )

    def bills(self, end_s: float) -> dict[int, Bill]:
        """The bill of each replica that was rented when the run began, or before its end, by its number."""
        prices = Prices(self._market, end_s)
        return {
            lease.replica.replica_id: Bill.of_lease(lease, prices, end_s)
            for lease in self.leases
            if lease.rented_s < end_s or lease.rented_s == 0
        }
