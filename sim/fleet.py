"""The replicas of a deployment at work: they serve the requests that come to them, and their records are kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sim.clock import Clock, Order
from sim.records import RequestLog
from sim.replica.batch import Sequence
from sim.replica.pipeline import PipelineReplica
from sim.replica.single_stage import SingleStageReplica
from sim.results.replicas import facts_of

if TYPE_CHECKING:
    from sim.deployment import ReplicaSpec
    from sim.progress import Meter
    from sim.replica.replica import Replica
    from sim.setting import Requests, Rows, Setting
    from sim.timing.service_time import ServiceTimeModel


@dataclass(slots=True)
class Records:
    """What is known after a simulation.

    Attributes:
        log: What happened to the requests.
        facts: What each replica did, by its number: a row of replicas.parquet without its bill
            (`sim.results.replicas`).
        n_events: Events made.
        n_steps: Iterations and macro-steps made.
        n_extrapolated: Service times given outside of what was measured.
    """

    log: RequestLog
    facts: dict[int, dict[str, Any]] = field(default_factory=dict)
    n_events: int = 0
    n_steps: int = 0
    n_extrapolated: int = 0

    def add(self, part: Records, rows: Rows) -> None:
        """Add the records of some replicas, whose log is of these rows."""
        self.log.replace(rows, part.log)
        self.facts |= part.facts
        self.n_events += part.n_events
        self.n_steps += part.n_steps
        self.n_extrapolated += part.n_extrapolated


class Fleet:
    """The replicas of a deployment, and their records.

    Args:
        setting: What they are, and how they are simulated.
        n_requests: Rows of the trace.
        only: Numbers of the replicas to make; all if None.

    Attributes:
        replicas: The replicas, by number.
        entries: For each of them, its entry in `Deployment.replicas`; the cluster changes it with the deployment.
        records: What they did.
    """

    def __init__(self, setting: Setting, n_requests: int, only: Container[int] | None = None) -> None:
        self._setting = setting
        self._horizon_s = setting.horizon_s
        self._service_time = setting.service_time
        self._n_extrapolated_before = _n_extrapolated(setting.service_time)
        self.records = Records(RequestLog(n_requests))
        self.replicas: dict[int, Replica] = {}
        self.entries: list[int] = []
        self._on_end: Callable[[int, float], None] | None = None
        for entry, (spec, count) in enumerate(setting.deployment.replicas):
            for _ in range(0 if setting.market is not None else count):
                if only is None or len(self.entries) in only:
                    self.add(spec, entry)
                else:
                    self.entries.append(entry)

    def add(self, spec: ReplicaSpec, entry: int) -> Replica:
        """Make one more replica, of an entry of the deployment."""
        setting = self._setting
        make = _maker(spec) if setting.observer is None else setting.observer.make
        replica = make(
            len(self.entries),
            spec,
            setting.service_time,
            self.records.log,
            is_macro=setting.is_macro,
            schedules_ahead=setting.engine.schedules_ahead,
            prefixes=setting.prefixes,
        )
        replica.on_end = self._on_end
        self.entries.append(entry)
        self.replicas[replica.replica_id] = replica
        return replica

    def tell_ends(self, on_end: Callable[[int, float], None]) -> None:
        """Let all replicas, those to come too, call this with the row and the time of each request that finishes."""
        self._on_end = on_end
        for replica in self.replicas.values():
            replica.on_end = on_end

    def serve_apart(self, requests: Requests, rows: Mapping[int, Rows], meter: Meter) -> None:
        """Run some replicas, each on a clock of its own.

        Args:
            requests: The requests.
            rows: By number of the replica, the rows of the requests that come to it.
            meter: Reports how far it is.
        """
        for replica_id, of_replica in rows.items():
            self.serve(Clock(), [self.replicas[replica_id]], meter.watch(requests.sequences(of_replica)))

    def serve(
        self, clock: Clock, replicas: Collection[Replica], arrivals: Iterable[tuple[float, Sequence]] = ()
    ) -> None:
        """Run some replicas on a clock to the end, once.

        Args:
            clock: Their clock; its events may submit requests.
            replicas: The replicas.
            arrivals: Requests that are known to come, if there is only one replica.
        """
        for replica in replicas:
            replica.start(clock, iter(arrivals))
        self.run(clock)
        self.close(replicas, clock)

    def run(self, clock: Clock) -> None:
        """Let time pass to the end."""
        horizon_s = self._horizon_s
        clock.run(until=None if horizon_s is None else clock.at(horizon_s, Order.HORIZON, lambda _: None))

    def close(self, replicas: Collection[Replica], clock: Clock, gone: Container[Replica] = ()) -> None:
        """Record what replicas did, once.

        Args:
            replicas: The replicas.
            clock: Their clock.
            gone: Those of them that were there no more at the end.
        """
        records, horizon_s = self.records, self._horizon_s
        for replica in replicas:
            if horizon_s is not None and replica not in gone:
                replica.stop(horizon_s)
            for batch in replica.batches:
                records.log.add_gaps(*batch.log.longest_of_requests())
            work = replica.work
            records.facts[replica.replica_id] = facts_of(replica, work)
            records.n_steps += work.n_steps
        records.n_events += clock.n_events
        records.n_extrapolated = _n_extrapolated(self._service_time) - self._n_extrapolated_before


def _maker(spec: ReplicaSpec) -> type[SingleStageReplica] | type[PipelineReplica]:
    return SingleStageReplica if spec.pp == 1 else PipelineReplica


def _n_extrapolated(service_time: ServiceTimeModel) -> int:
    return getattr(service_time, "n_extrapolated", 0)
