"""One replica in simulated time: continuous batching with chunked prefill, as vLLM V1 does it.

The rules, once per iteration:

1. Running requests come first, in order of admission: a decode takes 1 token of the budget, the request in the
   middle of its prompt the next chunk.
2. A request that needs a KV block when none is free preempts the last admitted one, which goes to the head of the
   queue and will recompute its prompt and what it had generated. Nobody is admitted in such an iteration.
3. While budget, sequence slots and blocks last, waiting requests are admitted first come, first served; the last
   one perhaps with a part of its prompt. With `reserve_whole_prompt` the blocks of all of it must be free, though only
   those of the chunk are taken.
4. At the end of the iteration each decode has one more token, and a finished prompt has its first.

With prefix caching, whole blocks of prompts outlive their requests: a request that is admitted shares those that its
prompt begins with, and computes the rest (`sim.replica.prefix_cache`).

`Replica` holds these rules; the loops that let time pass are in `sim.replica.single_stage` and `sim.replica.pipeline`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from sim.clock import Alarm, Clock, Order
from sim.replica.batch import NEVER, Batch, Sequence
from sim.replica.memory import ReplicaMemory
from sim.replica.step_log import Work
from sim.timing.service_time import Chunk

if TYPE_CHECKING:
    import simpy

    from sim.deployment import ReplicaSpec
    from sim.records import RequestLog
    from sim.replica.prefix_cache import Prefixes
    from sim.timing.service_time import ServiceTimeModel


class Replica(ReplicaMemory, ABC):
    """One replica of a deployment.

    Args:
        replica_id: Its number in the deployment.
        spec: What it is.
        service_time: Gives the time of its iterations.
        log: Where it writes what happens to requests.
        is_macro: Whether it may jump over iterations in which nothing changes.
        schedules_ahead: Whether the next iteration is put together when one begins; pipelines never do.
        prefixes: What is known of the prompts' beginnings; None without prefix caching.
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
        super().__init__(spec, log, prefixes)
        self.replica_id = replica_id
        self.stages = service_time.stage_times(spec)
        self.n_outstanding = 0
        self.on_idle: Callable[[float], None] | None = None  # called with the time when its last request has ended
        self.on_end: Callable[[int, float], None] | None = (
            None  # called with the row and the time of each that finishes
        )
        # Facts for the replica's record.
        self.n_preemptions = 0
        self.prefill_tokens = 0
        self.worked_until_s = 0.0  # by when it was last emptied
        self._busy_s = 0.0  # beside what its batches log

        self._is_macro = is_macro
        self._max_batched_tokens = spec.max_batched_tokens
        self._max_seqs = spec.max_seqs
        self._waiting: deque[Sequence] = deque()
        # Scheduling ahead: who came, and when, after the iteration that comes next was put together.
        self._newcomers: deque[tuple[float, Sequence]] = deque()
        self._is_ahead = schedules_ahead and spec.pp == 1
        self._running: dict[Sequence, None] = {}  # in order of admission
        self._partial: Sequence | None = None  # in the middle of its prompt: the last admitted, if any
        self._n_admitted = 0
        self._alarm: Alarm | None = None

    @property
    def n_waiting(self) -> int:
        """Requests that wait to be admitted."""
        return len(self._waiting) + len(self._newcomers)

    @property
    @abstractmethod
    def batches(self) -> tuple[Batch, ...]:
        """Its batches."""

    @property
    def work(self) -> Work:
        """What it did; it is summed up when this is asked for."""
        work = Work(busy_s=self._busy_s, kv_token_s=self._kv_token_s)
        for batch in self.batches:
            batch.log.sum_up()
            work = work.plus(batch.log.work)
        return work

    # Time -------------------------------------------------------------------------------------------------

    def start(self, clock: Clock, arrivals: Iterator[tuple[float, Sequence]]) -> None:
        """Start the replica's process, for the first time or after it was emptied.

        Args:
            clock: The simulation's clock.
            arrivals: Requests that are known to come here, by time; others come by `submit`.
        """
        self._clock = clock
        self._process = self._run(clock, arrivals)
        self._wake_at(clock.now, Order.SCHEDULING)

    @abstractmethod
    def _run(self, clock: Clock, arrivals: Iterator[tuple[float, Sequence]]) -> Iterator[None]:
        """The process: it yields whenever something else comes first, after it has set an alarm."""

    def _wake_at(self, time_s: float, order: Order) -> None:
        self._alarm = self._clock.at(time_s, order, self._on_alarm)

    def _on_alarm(self, alarm: simpy.Event) -> None:
        if alarm is self._alarm:  # else there is a newer one
            self._alarm = None
            next(self._process)

    def submit(self, seq: Sequence, now_s: float) -> None:
        """Take in a request that fits (`max_context_tokens`)."""
        self.n_outstanding += 1
        if self._is_ahead:
            self._newcomers.append((now_s, seq))
        else:
            self._waiting.append(seq)
        self._on_submit(seq, now_s)

    @abstractmethod
    def _on_submit(self, seq: Sequence, now_s: float) -> None:
        """Wake up if the new request can change what happens next."""

    def stop(self, now_s: float) -> None:
        """Cut the run off: count the iterations completed by now, and a part of those under way."""
        self._settle(now_s, is_next_begun=True)
        self._cut(now_s)
        self._share(0, now_s)
        self._log_unfinished()

    def empty(self, now_s: float) -> list[tuple[Sequence, int]]:
        """Take everything from the replica, and stop it until it is started again.

        Returns:
            Its requests, those that run by admission and then those that wait, each with its computed tokens that are
            lost. They are as if preempted: with their tokens so far, and nothing in the cache.
        """
        worked_until_s = now_s if self._running else max(batch.end_s for batch in self.batches)
        self.worked_until_s = max(self.worked_until_s, min(worked_until_s, now_s))
        self._settle(now_s, is_next_begun=False)
        self._cut(now_s)
        self._fewest_free_blocks = min(self._fewest_free_blocks, self._free_blocks)
        lost = {}
        while self._running:
            seq, computed = self._evict_last(now_s)
            lost[seq] = computed
        self._share(0, now_s)
        sequences = self._all_waiting()
        self._waiting.clear()
        self._newcomers.clear()
        self.n_outstanding = 0
        self._alarm = None
        self._prefix_cache = self._empty_prefix_cache()
        self._stop_iterations()
        return [(seq, lost.get(seq, 0)) for seq in sequences]

    def withdraw(self, seq: Sequence, now_s: float) -> int:
        """Take out a request that is here. Its blocks are free at once; an iteration under way goes on to its end.

        Returns:
            Its computed tokens that are lost.
        """
        computed = held = 0
        if seq in self._running:
            self._settle(now_s, is_next_begun=False)
            self._fewest_free_blocks = min(self._fewest_free_blocks, self._free_blocks)
            computed, held = self._evict(seq, now_s)
            held = self.rule.kept_tokens(held)
        elif seq in self._waiting:
            self._waiting.remove(seq)
        else:
            others = [newcomer for newcomer in self._newcomers if newcomer[1] is not seq]
            self._newcomers.clear()
            self._newcomers.extend(others)
        self._on_withdrawal(held, now_s)
        self.n_outstanding -= 1
        if self.on_idle is not None and self.n_outstanding == 0:
            self.on_idle(now_s)
        return computed

    @abstractmethod
    def _settle(self, now_s: float, *, is_next_begun: bool) -> None:
        """Count the iterations of a macro-step completed by now, and leave the one under way.

        Args:
            now_s: What time it is.
            is_next_begun: Whether at the very end of an iteration the next one is under way; else none is.
        """

    @abstractmethod
    def _cut(self, now_s: float) -> None:
        """Count a part of the iterations under way."""

    @abstractmethod
    def _stop_iterations(self) -> None:
        """Forget the iterations under way."""

    @abstractmethod
    def _on_withdrawal(self, held: int, now_s: float) -> None:
        """Wake up if a withdrawn request, which had blocks of so many tokens, can change what happens next."""

    def _all_waiting(self) -> list[Sequence]:
        """Who waits, in order."""
        return [*self._waiting, *(seq for _, seq in self._newcomers)]

    def _log_unfinished(self) -> None:
        for seq in (*self._running, *self._all_waiting()):
            generated = seq.generated_tokens
            if seq.is_decoding and seq.batch is not None:
                seq.batch.note_stay(seq)
                generated = seq.batch.generated_tokens(seq)
            self._log.generated_tokens[seq.index] = generated

    # The beginning of an iteration ------------------------------------------------------------------------

    def _choose_chunks(self, batch: Batch, now_s: float, *, is_short: bool) -> list[Chunk]:
        """Choose the prompt chunks of the next iteration, after its decodes (rules 1 to 3)."""
        chunks: list[Chunk] = []
        waiting, running, cache = self._waiting, self._running, self._prefix_cache
        block_tokens, max_seqs = self._block_tokens, self._max_seqs
        budget = self._max_batched_tokens - batch.n_decode
        seq = self._partial
        while budget > 0:
            if seq is None:
                if is_short or not waiting or len(running) >= max_seqs:
                    break
                seq = waiting[0]
                if not self._has_blocks_for(seq, budget):
                    break
                waiting.popleft()
                running[seq] = None
                if cache is not None:
                    self._hit(cache, seq, now_s)
                if seq.admission == NEVER:
                    self._log.first_scheduled_s[seq.index] = now_s
                seq.admission = self._n_admitted
                self._n_admitted += 1
            past = seq.computed_tokens
            new = seq.target_tokens - past
            if new > budget:
                new = budget
            computed = past + new
            n_blocks = -past // block_tokens - -computed // block_tokens  # = blocks_for(computed) - blocks_for(past)
            if self._has_window:
                n_blocks = self.rule.blocks(computed) - self.rule.blocks(past)
            if n_blocks > self._free_blocks:  # of a part of a prompt: for the others there are enough
                self._preempt_last(now_s)  # itself: it was the last to be admitted
                return chunks
            self._free_blocks -= n_blocks
            self.prefill_tokens += new
            chunks.append(Chunk(new, past))
            seq.computed_tokens = computed
            if cache is not None:
                cache.register(seq, self._free_blocks)
            if computed == seq.target_tokens:
                seq.batch = batch
                batch.prefilled.append(seq)
                self._partial = None
            else:
                self._partial = seq
            budget -= new
            seq = None
        return chunks

    def _has_room(self, seq: Sequence, n_decode: int) -> bool:
        """Whether a request could be admitted beside so many decodes, if it were its turn."""
        budget = self._max_batched_tokens - n_decode
        return budget > 0 and len(self._running) < self._max_seqs and self._has_blocks_for(seq, budget)

    def _take_blocks_or_preempt(self, batch: Batch, now_s: float) -> None:
        """Give each decode of a batch its block, by admission; where none is free, preempt the last admitted."""
        for seq in list(self._running):
            if seq not in self._running:
                return  # preempted, and with it all that were admitted later
            if seq.batch is not batch or not seq.is_decoding:
                continue
            if (seq.prompt_tokens + batch.generated_tokens(seq) - 1) % self._block_tokens:
                continue
            n_blocks = batch.blocks_at_crossing(seq)
            while self._free_blocks < n_blocks:
                if self._preempt_last(now_s) is seq:
                    return
            self._free_blocks -= n_blocks

    def _preempt_last(self, now_s: float) -> Sequence:
        """Preempt the last admitted request: free its blocks and put it at the head of the queue."""
        seq, computed = self._evict_last(now_s)
        self.n_preemptions += 1
        self._log.n_preempted[seq.index] += 1
        self._log.recomputed_tokens[seq.index] += computed
        return seq

    def _evict_last(self, now_s: float) -> tuple[Sequence, int]:
        """Take the blocks of the last admitted request, and put it at the head of the queue.

        Returns:
            The request, and how many tokens of it had been computed.
        """
        seq = next(reversed(self._running))
        computed, _ = self._evict(seq, now_s)
        self._waiting.appendleft(seq)
        return seq, computed

    def _evict(self, seq: Sequence, now_s: float) -> tuple[int, int]:
        """Take the blocks of a running request.

        Returns:
            How many tokens of it had been computed, and of how many it had blocks.
        """
        del self._running[seq]
        if seq.is_decoding and seq.batch is not None:
            batch = seq.batch
            # While its batch is under way, it has the block of the token that is being generated, too.
            is_under_way = batch.n_iterations > 0
            seq.last_token_s = batch.start_s if is_under_way else now_s
            batch.remove(seq)
            computed = seq.prompt_tokens + seq.generated_tokens - 1
            held = computed + is_under_way
        else:
            computed = held = seq.computed_tokens
            seq.batch = None
        if self._partial is seq:
            self._partial = None
        self._release(seq, self.rule.blocks(held), now_s)
        seq.target_tokens = seq.prompt_tokens + seq.generated_tokens
        seq.computed_tokens = 0
        return computed, held

    # The end of an iteration ------------------------------------------------------------------------------

    def _complete_prompts(self, batch: Batch, now_s: float) -> None:
        """Give the requests whose prompts are computed their first token."""
        for seq in batch.prefilled:
            if seq.batch is not batch:
                continue  # it was preempted under way
            seq.batch = None
            seq.generated_tokens += 1
            if seq.generated_tokens == 1:
                self._log.first_token_s[seq.index] = now_s
            else:
                gap_s = now_s - seq.last_token_s
                batch.log.add(gap_s)
                self._log.itl_max_s[seq.index] = max(gap_s, self._log.itl_max_s[seq.index])
            if seq.generated_tokens == seq.output_tokens:
                self._finish(seq, now_s)
            else:
                batch.join(seq)
        batch.prefilled.clear()

    def _finish(self, seq: Sequence, now_s: float) -> None:
        # Its last token was never read, so its keys and values are not in the cache.
        n_blocks = -(-(seq.prompt_tokens + seq.output_tokens - 1) // self._block_tokens)  # = blocks_for
        if self._has_window:
            n_blocks = self.rule.blocks(seq.prompt_tokens + seq.output_tokens - 1)
        if self._prefix_cache is None:
            self._free_blocks += n_blocks
        else:
            self._prefix_cache.register_answer(seq, self._free_blocks)
            self._release(seq, n_blocks, now_s, is_over=True)
        del self._running[seq]
        self.n_outstanding -= 1
        self._log.finish_s[seq.index] = now_s
        if self.on_idle is not None and self.n_outstanding == 0:
            self.on_idle(now_s)
        if self.on_end is not None:
            self.on_end(seq.index, now_s)
