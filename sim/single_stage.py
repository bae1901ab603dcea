"""The loop of a replica with one pipeline stage: the only hot loop of the project.

With `is_macro` it jumps over iterations in which only decodes run and nobody can come or go, and makes an event only
if something else comes first: a replica that is alone on its clock, because its router does not look at the load
and its arrivals are known, makes hardly any. Without, each iteration is an event. Both compute the end of an
iteration by one formula from one starting point, the start of the steady run, so that they agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, inf, sqrt
from typing import TYPE_CHECKING

from sim.batching import Batch, Sequence
from sim.clock import Order
from sim.itl import pack_step
from sim.replica import Replica

if TYPE_CHECKING:
    from sim.clock import Clock
    from sim.deployment import ReplicaSpec
    from sim.prefix_cache import Prefixes
    from sim.records import RequestLog
    from sim.service_time import Chunk, ServiceTimeModel


class SingleStageReplica(Replica):
    """A replica with one stage.

    In a steady run the same requests decode. Its first iteration takes `first`, and each takes `growth` longer than
    the one before, because every request holds one token more; so iteration j ends at

        start + j first + growth j (j - 1) / 2.
    """

    def __init__(
        self,
        replica_id: int,
        spec: ReplicaSpec,
        service_time: ServiceTimeModel,
        log: RequestLog,
        *,
        is_macro: bool,
        prefixes: Prefixes | None = None,
    ) -> None:
        super().__init__(replica_id, spec, service_time, log, is_macro=is_macro, prefixes=prefixes)
        self._batch = Batch(self._block_tokens)
        self._is_idle = False
        self._is_steady = False
        self._steady_iteration = 0
        self._steady_start_s = 0.0
        self._first_s = 0.0
        self._growth_s = 0.0

    @property
    def batches(self) -> tuple[Batch, ...]:
        """Its only batch."""
        return (self._batch,)

    def _run(self, clock: Clock, arrivals: Iterator[tuple[float, Sequence]]) -> Iterator[None]:
        batch, waiting, finishes = self._batch, self._waiting, self._batch.finishes
        crossings, block_tokens = batch.crossings, self._block_tokens
        is_macro, stage = self._is_macro, self.stages[0]
        no_chunks: list[Chunk] = []
        nobody = (inf, Sequence(-1, 1, 1))
        arrival_s, arrived = next(arrivals, nobody)
        now_s, next_event_s = clock.now, clock.peek()
        while True:
            while arrival_s <= now_s:
                waiting.append(arrived)
                self.n_outstanding += 1
                arrival_s, arrived = next(arrivals, nobody)

            # What goes into the next iteration.
            iteration = batch.iteration
            n_preemptions = self.n_preemptions
            n_blocks = crossings[iteration % block_tokens]
            is_short = n_blocks > self._free_blocks
            if is_short:
                self._take_blocks_or_preempt(batch, now_s)
                self._is_steady = False
            else:
                self._free_blocks -= n_blocks
            chunks = no_chunks
            if waiting or self._partial is not None:
                chunks = self._choose_chunks(batch, now_s, is_short=is_short)
            n_decode = batch.n_decode

            # When it ends.
            n_iterations = 1
            held_tokens = batch.context_tokens
            if chunks:
                self._is_steady = False
                end_s = now_s + stage.mixed(n_decode, held_tokens, chunks)
                for new, past in chunks:
                    held_tokens += new + past
            elif n_decode:
                if not self._is_steady:
                    self._begin_steady_run(now_s)
                if is_macro and self.n_preemptions == n_preemptions:
                    # Nobody waits, or whoever does is not admitted before somebody leaves: blocks only get fewer.
                    n_iterations = finishes[0][0] - iteration
                    if n_iterations > 1 and n_decode * (n_iterations // block_tokens + 1) > self._free_blocks:
                        n_iterations = 1 + batch.iterations_within(self._free_blocks, n_iterations - 1, skip=1)
                end_s = self._steady_end_s(iteration + n_iterations)
                if arrival_s < end_s and n_iterations > 1 and not waiting and self._has_room(arrived, n_decode):
                    n_iterations = self._steady_iteration_at(arrival_s) - iteration
                    end_s = self._steady_end_s(iteration + n_iterations)
            else:
                if arrival_s < next_event_s and is_macro:
                    now_s = arrival_s
                    continue
                self._is_idle = True
                if arrival_s < inf:
                    self._wake_at(arrival_s, Order.ARRIVAL)
                yield
                self._is_idle = False
                now_s, next_event_s = clock.now, clock.peek()
                continue

            # Let it pass.
            batch.start_s = now_s
            batch.held_tokens = held_tokens
            batch.n_iterations = n_iterations
            if end_s < next_event_s and is_macro:
                self._complete(n_iterations, end_s)
                now_s = end_s
                continue
            batch.end_s = end_s
            self._wake_at(end_s, Order.COMPLETION)
            yield
            now_s = batch.end_s  # perhaps it was shortened
            self._complete(batch.n_iterations, now_s)
            if clock.peek() <= now_s:  # all else that happens now comes before scheduling
                self._wake_at(now_s, Order.SCHEDULING)
                yield
            next_event_s = clock.peek()

    def _complete(self, n_iterations: int, end_s: float) -> None:
        """Account for iterations that end now, and let go whoever is finished."""
        batch = self._batch
        n_decode = batch.n_decode
        iteration = batch.iteration + n_iterations
        took_s = end_s - batch.start_s
        self.n_steps += 1
        self.n_iterations += n_iterations
        self.busy_s += took_s
        if n_decode:
            if self._is_steady:
                start = batch.iteration - self._steady_iteration
                step = pack_step(iteration, self._first_s, self._growth_s, start, n_iterations, n_decode)
            else:
                step = pack_step(iteration, took_s, 0.0, 0, 1, n_decode)
            batch.gaps.steps += step
        if n_iterations == 1:
            self.kv_token_s += batch.held_tokens * took_s
        else:
            self._free_blocks -= batch.blocks_needed(n_iterations - 1, skip=1)
            # Sum over its iterations i of (context + n i) (first + growth i), counted from the start of this step.
            context, growth = batch.context_tokens, self._growth_s
            first = self._first_s + growth * (batch.iteration - self._steady_iteration)
            sum_i = n_iterations * (n_iterations - 1) / 2
            sum_ii = sum_i * (2 * n_iterations - 1) / 3
            self.kv_token_s += (
                n_iterations * context * first
                + sum_i * (n_decode * first + context * growth)
                + sum_ii * n_decode * growth
            )
        used_blocks = self.kv_blocks - self._free_blocks
        if used_blocks > self.peak_kv_blocks:
            self.peak_kv_blocks = used_blocks
        batch.n_iterations = 0
        batch.iteration = iteration
        if n_decode:
            n_tokens = n_iterations * n_decode
            self.decode_tokens += n_tokens
            batch.context_tokens += n_tokens
            finishes = batch.finishes
            while finishes and finishes[0][0] == iteration:
                self._is_steady = False
                self._finish(batch.pop_finished(), end_s)
                batch.gaps.count_if_many()
        if batch.prefilled:
            self._complete_prompts(batch, end_s)

    # Macro-steps ------------------------------------------------------------------------------------------

    def _begin_steady_run(self, now_s: float) -> None:
        batch = self._batch
        base_s, slope_s = self.stages[0].decode(batch.n_decode)
        self._is_steady = True
        self._steady_iteration = batch.iteration
        self._steady_start_s = now_s
        self._first_s = base_s + slope_s * batch.context_tokens
        self._growth_s = slope_s * batch.n_decode

    def _steady_end_s(self, iteration: int) -> float:
        """When the steady run has completed this iteration."""
        j = iteration - self._steady_iteration
        return self._steady_start_s + j * self._first_s + self._growth_s * (j * (j - 1) // 2)

    def _steady_iteration_at(self, time_s: float) -> int:
        """The first iteration of the steady run that is completed at this time or later."""
        elapsed_s = time_s - self._steady_start_s
        half_growth_s = 0.5 * self._growth_s
        if half_growth_s > 0.0:
            linear_s = self._first_s - half_growth_s
            guess = (sqrt(linear_s * linear_s + 4.0 * half_growth_s * elapsed_s) - linear_s) / self._growth_s
        else:
            guess = elapsed_s / self._first_s
        iteration = self._steady_iteration + ceil(guess)
        # The root is rounded; the ends of iterations decide.
        while self._steady_end_s(iteration) < time_s:
            iteration += 1
        while self._steady_end_s(iteration - 1) >= time_s:
            iteration -= 1
        return iteration

    def _on_submit(self, seq: Sequence, now_s: float) -> None:
        batch = self._batch
        if self._is_idle:
            self._is_idle = False
            self._wake_at(now_s, Order.SCHEDULING)
        elif batch.n_iterations > 1 and len(self._waiting) == 1 and self._has_room(seq, batch.n_decode):
            n_iterations = self._steady_iteration_at(now_s) - batch.iteration
            if n_iterations < batch.n_iterations:
                batch.n_iterations = n_iterations
                batch.end_s = self._steady_end_s(batch.iteration + n_iterations)
                self._wake_at(batch.end_s, Order.COMPLETION)

    # The end ----------------------------------------------------------------------------------------------

    def stop(self, now_s: float) -> None:
        """Cut the run off: count the iterations completed by now, and a part of the one under way."""
        batch = self._batch
        if batch.n_iterations > 1:
            iteration = self._steady_iteration_at(now_s)
            if self._steady_end_s(iteration) > now_s:
                iteration -= 1
            n_iterations = iteration - batch.iteration
            if n_iterations > 0:
                end_s = self._steady_end_s(iteration)
                self._complete(n_iterations, end_s)
                batch.start_s, batch.held_tokens, batch.n_iterations = end_s, batch.context_tokens, 1
                self._free_blocks -= batch.blocks_needed(1)
        if batch.n_iterations:
            elapsed_s = now_s - batch.start_s
            self.busy_s += elapsed_s
            self.kv_token_s += batch.held_tokens * elapsed_s
        self._share(0, now_s)
        self._count_used_blocks()
        self._log_unfinished()
