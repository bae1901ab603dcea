"""A run on a market: replicas come and go, and another deployment may take the place of the first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from sim.arrivals import Arrivals
from sim.clock import Clock
from sim.cluster import Cluster
from sim.protocols import Situation
from sim.replanning import Moves, Replan, Replanning

if TYPE_CHECKING:
    from sim.deployment import Deployment
    from sim.dispatch import Dispatcher
    from sim.fleet import Fleet
    from sim.market import Market
    from sim.nodes import Node
    from sim.progress import Meter
    from sim.replica.batch import Sequence
    from sim.replica.replica import Replica
    from sim.results.replicas import Bill
    from sim.setting import Requests, Setting


class MarketRun:
    """Serves the requests on what the market lets be rented; tells the parts what the others must know.

    Args:
        setting: The settings of the run.
        market: Its market.
        fleet: The replicas; none yet.
        dispatcher: Sends requests to them.
        requests: The requests.
        meter: Reports how far it is.
    """

    def __init__(
        self,
        setting: Setting,
        market: Market,
        fleet: Fleet,
        dispatcher: Dispatcher,
        requests: Requests,
        meter: Meter,
    ) -> None:
        self._wanted = setting.deployment  # that is to run; its replicas may not be there yet
        self._fleet = fleet
        self._dispatcher = dispatcher
        self._clock = clock = Clock()
        self._arrivals = Arrivals(setting, requests, dispatcher, clock, meter)
        self._replanning: Replanning | None = None
        until_s = market.timeline.end_s if setting.horizon_s is None else setting.horizon_s
        self._cluster = Cluster(self._wanted.replicas, market, fleet, clock, until_s, self)
        if setting.replanner is not None:
            self._replanning = Replanning(setting.replanner, clock, self._look, self._adopt, self._is_over)

    def serve(self) -> None:
        """Let time pass to the end, and record what the replicas did."""
        self._arrivals.begin()
        self._fleet.run(self._clock)
        gone = {lease.replica for lease in self._cluster.leases if lease.released_s is not None}
        self._fleet.close(self._fleet.replicas.values(), self._clock, gone)
        log = self._fleet.records.log
        for seq in self._dispatcher.held:
            log.generated_tokens[seq.index] = seq.generated_tokens

    def bills(self, end_s: float) -> Mapping[int, Bill]:
        """The bill of each replica that was rented before the end of the run, by its number."""
        return self._cluster.bills(end_s)

    @property
    def nodes(self) -> list[Node]:
        """All nodes that were rented."""
        return self._cluster.nodes.all

    @property
    def replans(self) -> list[Replan]:
        """The changes of the deployment."""
        return [] if self._replanning is None else self._replanning.replans

    # What the cluster tells and asks ----------------------------------------------------------------------

    def on_change(self, replicas: list[Replica]) -> None:
        """These replicas take requests now."""
        self._dispatcher.reconnect(replicas, self._clock.now)

    def on_lost(self, lost: list[tuple[Sequence, int]], now_s: float) -> None:
        """A replica is gone that had these requests, each with its computed tokens that are lost."""
        self._dispatcher.lose(lost, now_s)

    def on_market(self) -> None:
        """The market has changed."""
        if self._replanning is not None:
            self._replanning.on_change()

    def is_at_rest(self) -> bool:
        """Whether all requests have ended, but for those that wait for what never comes."""
        dispatcher = self._dispatcher
        may_be_served = bool(dispatcher.held) and self._cluster.may_serve(dispatcher.fits_who_is_held)
        return not may_be_served and self._is_quiet()

    # What replanning asks ---------------------------------------------------------------------------------

    def _look(self, cause: Literal["change", "check"]) -> Situation:
        return Situation(
            self._clock.now,
            cause,
            self._cluster.offers,
            self._wanted,
            self._cluster.running,
            self._arrivals.n_arrived,
            self._fleet.records.log,
        )

    def _adopt(self, deployment: Deployment) -> Moves:
        self._wanted = deployment
        return self._cluster.adopt(deployment.replicas, lambda: self._dispatcher.adopt(deployment))

    def _is_over(self) -> bool:
        """Whether all requests have ended."""
        return not self._dispatcher.held and self._is_quiet()

    def _is_quiet(self) -> bool:
        """Whether no more requests come, and no replica has any."""
        if self._arrivals.is_any_to_come:
            return False
        return not any(replica.n_outstanding for replica in self._fleet.replicas.values())
