"""Replicas that note what they do.

They run the loops of `sim.replica` as they are: what changes is noted in the methods that those loops call, and the
steps are those that they log anyway. So a replica that nobody observes does nothing for it, not even a comparison.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING

from sim.observe.notes import KeptLog, Notes
from sim.replica.pipeline import PipelineReplica
from sim.replica.replica import Replica
from sim.replica.single_stage import SingleStageReplica

if TYPE_CHECKING:
    from sim.clock import Clock
    from sim.deployment import ReplicaSpec
    from sim.records import RequestLog
    from sim.replica.batch import Batch, Sequence
    from sim.replica.prefix_cache import Prefixes
    from sim.timing.service_time import Chunk, ServiceTimeModel


class Observed(Replica):
    """A replica that notes what it does.

    Attributes:
        notes: What it did.
    """

    def __init__(
        self,
        replica_id: int,
        spec: ReplicaSpec,
        service_time: ServiceTimeModel,
        log: RequestLog,
        *,
        is_macro: bool,
        schedules_ahead: bool = False,
        prefixes: Prefixes | None = None,
    ) -> None:
        super().__init__(
            replica_id, spec, service_time, log, is_macro=is_macro, schedules_ahead=schedules_ahead, prefixes=prefixes
        )
        self._logs = {batch: KeptLog() for batch in self.batches}
        for batch, kept in self._logs.items():
            batch.log = kept
        self.notes = Notes(self._logs.values())
        self._last_log = self.notes.logs[0]  # of the batch whose step ended last

    def _note_blocks(self, now_s: float) -> None:
        self.notes.use(now_s, self.used_kv_blocks)

    # Who comes and goes -----------------------------------------------------------------------------------

    def start(self, clock: Clock, arrivals: Iterator[tuple[float, Sequence]]) -> None:
        """Start, and note arrivals that are known."""
        self._known = self._noted(arrivals)
        super().start(clock, self._known)

    def stop(self, now_s: float) -> None:
        """Cut the run off, and note who came while nobody looked at arrivals."""
        for _ in takewhile(lambda arrival: arrival[0] <= now_s, self._known):
            pass
        super().stop(now_s)

    def _noted(self, arrivals: Iterator[tuple[float, Sequence]]) -> Iterator[tuple[float, Sequence]]:
        for arrival_s, seq in arrivals:
            self.notes.count(arrival_s, 1, 0)
            yield arrival_s, seq

    def submit(self, seq: Sequence, now_s: float) -> None:
        """Take in a request."""
        self.notes.count(now_s, 1, 0)
        super().submit(seq, now_s)

    def withdraw(self, seq: Sequence, now_s: float) -> int:
        """Take out a request."""
        n_waiting = self.n_waiting
        computed = super().withdraw(seq, now_s)
        self.notes.count(now_s, self.n_waiting - n_waiting, 0)
        self._note_blocks(now_s)
        return computed

    def empty(self, now_s: float) -> list[tuple[Sequence, int]]:
        """Take everything."""
        lost = super().empty(now_s)
        self.notes.count(now_s, -len(lost), 0)
        self._note_blocks(now_s)
        return lost

    def _evict_last(self, now_s: float) -> tuple[Sequence, int]:
        evicted = super()._evict_last(now_s)
        self.notes.count(now_s, 1, 0)
        return evicted

    def _evict(self, seq: Sequence, now_s: float) -> tuple[int, int]:
        evicted = super()._evict(seq, now_s)
        self.notes.count(now_s, 0, -1)
        return evicted

    # Steps ------------------------------------------------------------------------------------------------

    def _choose_chunks(self, batch: Batch, now_s: float, *, is_short: bool) -> list[Chunk]:
        n_before = self._n_admitted
        chunks = super()._choose_chunks(batch, now_s, is_short=is_short)
        log = self._logs[batch]
        n_admitted = self._n_admitted - n_before
        if n_admitted:
            self.notes.count(now_s, -n_admitted, n_admitted)
            for seq in takewhile(lambda seq: seq.admission >= n_before, reversed(self._running)):
                self.notes.visit(seq.index, log, log.n_steps)
        if chunks:
            log.compute(chunks)
        # Without either there is no step; a pipeline looks for one at arrivals that its decodes have gone past.
        if chunks or batch.n_decode:
            self._note_blocks(now_s)
        return chunks

    def _finish(self, seq: Sequence, now_s: float) -> None:
        self._note_blocks(now_s)
        super()._finish(seq, now_s)
        self._note_blocks(now_s)
        self.notes.count(now_s, 0, -1)
        self.notes.visit(seq.index, self._last_log, self._last_log.n_steps - 1)


class ObservedSingleStage(Observed, SingleStageReplica):
    """A replica with one stage.

    Its steps follow one another, but for times when it is idle. After these, the next step computes a prompt.
    """

    def _choose_chunks(self, batch: Batch, now_s: float, *, is_short: bool) -> list[Chunk]:
        chunks = super()._choose_chunks(batch, now_s, is_short=is_short)
        if chunks:
            self._logs[batch].begin(now_s)
        return chunks

    def _take_blocks_or_preempt(self, batch: Batch, now_s: float) -> None:
        self._note_blocks(now_s)  # decodes have taken them since
        super()._take_blocks_or_preempt(batch, now_s)

    def _settle(self, now_s: float, *, is_next_begun: bool) -> None:
        super()._settle(now_s, is_next_begun=is_next_begun)
        self._note_blocks(now_s)

    def _cut(self, now_s: float) -> None:
        batch = self._batch
        if batch.n_iterations:
            self._logs[batch].cut(now_s - batch.start_s, batch.n_decode)
        super()._cut(now_s)


class ObservedPipeline(Observed, PipelineReplica):
    """A replica with several stages: the steps of its batches overlap, and each is an iteration."""

    def _pass_stages(self, batch: Batch, times: list[float], now_s: float) -> None:
        super()._pass_stages(batch, times, now_s)
        log = self._logs[batch]
        log.begin(now_s)
        log.work_s.append(batch.work_s)

    def _account(self, batch: Batch) -> None:
        super()._account(batch)
        self._last_log = self._logs[batch]
        self._note_blocks(batch.end_s)

    def _settle(self, now_s: float, *, is_next_begun: bool) -> None:
        super()._settle(now_s, is_next_begun=is_next_begun)
        self._note_blocks(now_s)

    def _cut(self, now_s: float) -> None:
        for batch in self._under_way:
            elapsed_s = now_s - batch.start_s
            log = self._logs[batch]
            log.cut(elapsed_s, batch.n_decode)
            log.work_s[-1] *= elapsed_s / (batch.end_s - batch.start_s)
        super()._cut(now_s)
