"""The loop of a replica with several pipeline stages.

Up to as many batches are under way as there are stages. Each passes the stages in turn, and a stage takes the next
batch when it is done with the one before. A request belongs to one batch at a time; the chunks of a long prompt may
go into successive batches, which follow each other through the stages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING

from sim.clock import Order
from sim.replica.batch import Batch, Sequence
from sim.replica.replica import Replica
from sim.replica.step_log import Work, pack_step

if TYPE_CHECKING:
    from sim.clock import Clock
    from sim.deployment import ReplicaSpec
    from sim.records import RequestLog
    from sim.replica.prefix_cache import PrefixCache, Prefixes
    from sim.timing.service_time import Chunk, ServiceTimeModel


class PipelineReplica(Replica):
    """A replica with two stages or more."""

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
        self._gpu_shares = [stage.n_gpus / spec.n_gpus for stage in spec.stages]
        self._stage_free_s = [0.0] * spec.pp
        self._idle = [Batch(self.rule) for _ in range(spec.pp)]
        self._under_way: deque[Batch] = deque()
        self._held_tokens = 0
        self._held_since_s = 0.0

    @property
    def batches(self) -> tuple[Batch, ...]:
        """Its batches, under way or not."""
        return (*self._under_way, *self._idle)

    @property
    def work(self) -> Work:
        """What it did; the times of its batches overlap, so that those of the replica are taken apart."""
        return super().work._replace(busy_s=self._busy_s, kv_token_s=self._kv_token_s)

    def _run(self, clock: Clock, arrivals: Iterator[tuple[float, Sequence]]) -> Iterator[None]:
        waiting, idle, under_way = self._waiting, self._idle, self._under_way
        nobody = (inf, Sequence(-1, 1, 1))
        arrival_s, arrived = next(arrivals, nobody)
        now_s, next_event_s = clock.now, clock.peek()
        while True:
            while arrival_s <= now_s:
                waiting.append(arrived)
                self.n_outstanding += 1
                arrival_s, arrived = next(arrivals, nobody)
            while idle and self._start_iteration(idle[-1], now_s):
                under_way.append(idle.pop())
            if self._is_macro and under_way and self._is_steady():
                self._run_steadily(arrival_s if self._may_admit(arrived) else inf, next_event_s)

            # Whatever comes first: the end of the oldest iteration, or somebody for whom there is a batch.
            wake_s = under_way[0].end_s if under_way else inf
            is_completion = wake_s < inf and (not idle or wake_s <= arrival_s)
            if idle and not is_completion:
                wake_s = arrival_s
            if wake_s >= next_event_s or not self._is_macro:
                if wake_s < inf:
                    self._wake_at(wake_s, Order.COMPLETION if is_completion else Order.ARRIVAL)
                yield
                # Somebody may have been submitted before that.
                is_completion = is_completion and wake_s <= clock.now
                wake_s = clock.now
            now_s = wake_s
            if is_completion:
                batch = under_way.popleft()
                self._complete(batch)
                idle.append(batch)
                if clock.peek() <= now_s:  # all else that happens now comes before scheduling
                    self._wake_at(now_s, Order.SCHEDULING)
                    yield
            next_event_s = clock.peek()

    def _start_iteration(self, batch: Batch, now_s: float) -> bool:
        """Choose the tokens of the next iteration of a batch and send it off; False if there are none."""
        # What other batches took since the last completion may be freed now, by preemption.
        self._fewest_free_blocks = min(self._fewest_free_blocks, self._free_blocks)
        n_blocks = batch.blocks_needed(1)
        is_short = n_blocks > self._free_blocks
        if is_short:
            self._take_blocks_or_preempt(batch, now_s)
        else:
            self._free_blocks -= n_blocks
        n_decode, context = batch.n_decode, self._read_tokens(batch)
        chunks = self._choose_chunks(batch, now_s, is_short=is_short)
        if chunks:
            times = [stage.mixed(n_decode, context, chunks) for stage in self.stages]
        elif n_decode:
            times = [base + slope * context for base, slope in (stage.decode(n_decode) for stage in self.stages)]
        else:
            return False
        self._hold(batch.kept_growth + sum(self._kept_by(chunk) for chunk in chunks), now_s)
        batch.n_iterations = 1
        self._pass_stages(batch, times, now_s)
        return True

    def _pass_stages(self, batch: Batch, times: list[float], now_s: float) -> None:
        free_s = self._stage_free_s
        end_s = now_s
        work_s = 0.0
        for index, time_s in enumerate(times):
            if free_s[index] > end_s:
                end_s = free_s[index]
            end_s += time_s
            free_s[index] = end_s
            work_s += self._gpu_shares[index] * time_s
        batch.start_s = now_s
        batch.end_s = end_s
        batch.work_s = work_s

    def _complete(self, batch: Batch) -> None:
        """Account for an iteration that ends now, and let go whoever is finished."""
        self._account(batch)
        batch.n_iterations = 0
        turns = batch.turns
        while turns and turns[0][0] == batch.iteration:
            if self._has_window and batch.pass_turn():
                continue
            self._finish(batch.pop_finished(), batch.end_s)
            batch.log.sum_up_if_many()
        if batch.prefilled:
            self._complete_prompts(batch, batch.end_s)

    def _account(self, batch: Batch) -> None:
        self._busy_s += batch.work_s
        batch.advance(1)
        batch.log.packed += pack_step(batch.iteration, batch.end_s - batch.start_s, 0.0, 0, 1, batch.n_decode, 0, 0)
        if self._free_blocks < self._fewest_free_blocks:
            self._fewest_free_blocks = self._free_blocks

    def _read_tokens(self, batch: Batch) -> float:
        return batch.read_tokens if self._has_window else batch.context_tokens

    # Tokens in the cache ----------------------------------------------------------------------------------

    def _hold(self, n_tokens: int, now_s: float) -> None:
        """Count the tokens that have keys and values over time: batches under way overlap."""
        self._kv_token_s += self._held_tokens * (now_s - self._held_since_s)
        self._held_since_s = now_s
        self._held_tokens += n_tokens

    def _kept_by(self, chunk: Chunk) -> int:
        kept_tokens = self.rule.kept_tokens
        return kept_tokens(chunk.past_tokens + chunk.new_tokens) - kept_tokens(chunk.past_tokens)

    def _hit(self, cache: PrefixCache, seq: Sequence, now_s: float) -> None:
        super()._hit(cache, seq, now_s)
        self._hold(seq.computed_tokens, now_s)

    def _finish(self, seq: Sequence, now_s: float) -> None:
        self._hold(-self.rule.kept_tokens(seq.prompt_tokens + seq.output_tokens - 1), now_s)
        super()._finish(seq, now_s)

    def _evict(self, seq: Sequence, now_s: float) -> tuple[int, int]:
        computed, held = super()._evict(seq, now_s)
        self._hold(-self.rule.kept_tokens(held), now_s)
        return computed, held

    # Macro-steps ------------------------------------------------------------------------------------------

    def _is_steady(self) -> bool:
        """Whether only decodes are under way, and nobody who waits is admitted before somebody leaves."""
        if self._partial is not None:
            return False
        if not all(batch.n_decode and not batch.prefilled for batch in self._under_way):
            return False
        return not (self._waiting and self._may_admit(self._waiting[0]))

    def _may_admit(self, seq: Sequence) -> bool:
        """Whether there is room for a request in some batch; the fuller the batch, the smaller the chunk."""
        return any(self._has_room(seq, batch.n_decode) for batch in self.batches)

    def _run_steadily(self, arrival_s: float, next_event_s: float) -> None:
        """Let decodes go round until a request finishes, blocks run out, or somebody comes."""
        under_way = self._under_way
        until_s = min(arrival_s, next_event_s)
        while True:
            batch = under_way[0]
            now_s = batch.end_s
            iteration = batch.iteration + 1
            n_blocks = batch.crossings[iteration % self._block_tokens]  # = blocks_needed(1) once it is accounted for
            if now_s >= until_s or batch.turns[0][0] == iteration or n_blocks > self._free_blocks:
                return
            self._account(batch)
            self._free_blocks -= n_blocks
            context = self._read_tokens(batch)
            self._hold(batch.kept_growth, now_s)
            times = []
            for stage in self.stages:
                base, slope = stage.decode(batch.n_decode)
                times.append(base + slope * context)
            self._pass_stages(batch, times, now_s)
            under_way.rotate(-1)

    # Others -----------------------------------------------------------------------------------------------

    def _on_submit(self, seq: Sequence, now_s: float) -> None:
        if self._idle:
            self._wake_at(now_s, Order.SCHEDULING)

    def _on_withdrawal(self, held: int, now_s: float) -> None:
        if self._idle:
            self._wake_at(now_s, Order.SCHEDULING)

    def _settle(self, now_s: float, *, is_next_begun: bool) -> None:
        """Nothing to do: it skips events, not iterations."""

    def _stop_iterations(self) -> None:
        for batch in self._under_way:
            batch.forget()
        self._idle += self._under_way
        self._under_way.clear()
        self._stage_free_s = [0.0] * self.spec.pp

    def _cut(self, now_s: float) -> None:
        for batch in self._under_way:
            elapsed_s = now_s - batch.start_s
            self._busy_s += batch.work_s * elapsed_s / (batch.end_s - batch.start_s)
        self._hold(0, now_s)
