"""The loop of a replica with one pipeline stage: the only hot loop of the project.

With `is_macro` it jumps over iterations in which only decodes run and nobody can come or go, and makes an event only
if something else comes first: a replica that is alone on its clock, because its router does not look at the load
and its arrivals are known, makes hardly any. Without, each iteration is an event. Both compute the end of an
iteration by one formula from one starting point, the start of the steady run, so that they agree to the last bit.

`docs/explanation/engine.md` draws the states of the loop and the four ways out of a steady run: *turn*, *shortage*,
*arrival*, *interruption*. The steady run is in local variables while the loop has it, and in `_steady` while others may
cut it short. Lines marked `=` are the same expression as what they name, written out for speed; they must stay so to
the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, inf, sqrt
from typing import TYPE_CHECKING, NamedTuple

from sim.clock import Order
from sim.replica.batch import Batch, Sequence
from sim.replica.replica import Replica
from sim.replica.step_log import pack_step

if TYPE_CHECKING:
    from sim.clock import Clock
    from sim.deployment import ReplicaSpec
    from sim.records import RequestLog
    from sim.replica.prefix_cache import Prefixes
    from sim.timing.service_time import Chunk, ServiceTimeModel


class SteadyRun(NamedTuple):
    """Iterations in which the same requests decode.

    The first of them takes `first_s`, and each takes `growth_s` longer than the one before, because every request holds
    one token more; so the j-th ends at

        start_s + j first_s + growth_s j (j - 1) / 2.

    Attributes:
        iteration: Iterations of the batch before it began.
        start_s: When it began.
        first_s: Time of its first iteration.
        growth_s: By which each takes longer.
    """

    iteration: int
    start_s: float
    first_s: float
    growth_s: float

    def end_s(self, iteration: int) -> float:
        """When the batch has completed so many iterations."""
        j = iteration - self.iteration
        return self.start_s + j * self.first_s + self.growth_s * (j * (j - 1) // 2)

    def iteration_at(self, time_s: float) -> int:
        """Iterations of the batch with the first one that is completed at this time or later.

        >>> SteadyRun(10, 0.0, 1.0, 0.5).iteration_at(2.5), SteadyRun(10, 0.0, 1.0, 0.5).iteration_at(2.6)
        (12, 13)
        """
        before, start_s, first_s, growth_s = self
        elapsed_s = time_s - start_s
        if growth_s > 0.0:
            linear_s = first_s - 0.5 * growth_s
            j = ceil((sqrt(linear_s * linear_s + 2.0 * growth_s * elapsed_s) - linear_s) / growth_s)
        else:
            j = ceil(elapsed_s / first_s)
        # The root is rounded; the ends of iterations decide.
        while start_s + j * first_s + growth_s * (j * (j - 1) // 2) < time_s:  # = end_s(before + j)
            j += 1
        while start_s + (j - 1) * first_s + growth_s * ((j - 1) * (j - 2) // 2) >= time_s:  # = end_s(before + j - 1)
            j -= 1
        return before + j


class SingleStageReplica(Replica):
    """A replica with one stage."""

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
        self._batch = Batch(self.rule)
        self._decode_times: dict[int, tuple[float, float]] = {}
        self._is_idle = False
        self._is_disturbed = False  # somebody was withdrawn who was running
        self._steady = SteadyRun(0, 0.0, 0.0, 0.0)

    @property
    def batches(self) -> tuple[Batch, ...]:
        """Its only batch."""
        return (self._batch,)

    def _run(self, clock: Clock, arrivals: Iterator[tuple[float, Sequence]]) -> Iterator[None]:
        # Long because a call costs as much as the work of an iteration: what is inlined is marked with its twin.
        batch, waiting, turns, log = self._batch, self._waiting, self._batch.turns, self._batch.log
        crossings, block_tokens = batch.crossings, self._block_tokens
        is_macro, stage, decode_times = self._is_macro, self.stages[0], self._decode_times
        is_ahead, newcomers = self._is_ahead, self._newcomers
        began_s = inf  # when the last iteration began
        has_window, is_heard = self._has_window, self.on_end is not None
        no_chunks: list[Chunk] = []
        nobody = (inf, Sequence(-1, 1, 1))
        arrival_s, arrived = next(arrivals, nobody)
        now_s, next_event_s = clock.now, clock.peek()
        is_steady = False
        steady_iteration, steady_start_s, first_s, growth_s = 0, 0.0, 0.0, 0.0
        while True:
            while arrival_s <= now_s:
                if is_ahead:
                    newcomers.append((arrival_s, arrived))
                else:
                    waiting.append(arrived)
                self.n_outstanding += 1
                arrival_s, arrived = next(arrivals, nobody)
            if newcomers:
                self._see_newcomers(batch, began_s)

            # What goes into the next iteration.
            iteration = batch.iteration
            n_preemptions = self.n_preemptions
            n_blocks = crossings[iteration % block_tokens]  # = batch.blocks_needed(1)
            is_short = n_blocks > self._free_blocks
            if is_short:
                self._take_blocks_or_preempt(batch, now_s)
                is_steady = False
            else:
                self._free_blocks -= n_blocks
            chunks = no_chunks
            if waiting or self._partial is not None:
                chunks = self._choose_chunks(batch, now_s, is_short=is_short)
            n_decode = batch.n_decode

            # When it ends.
            n_iterations = 1
            held_tokens, held_growth = batch.context_tokens, n_decode  # = batch.kept_tokens, kept_growth
            if has_window:
                held_tokens, held_growth = batch.kept_tokens, batch.kept_growth
            if chunks:
                is_steady = False
                read_tokens = batch.read_tokens if has_window else held_tokens
                end_s = now_s + stage.mixed(n_decode, read_tokens, chunks)
                for new, past in chunks:
                    held_tokens += self.rule.kept_tokens(new + past) if has_window else new + past
            elif n_decode:
                if not is_steady:
                    is_steady = True
                    base_s, slope_s = decode_times.get(n_decode) or self._decode_time(n_decode)
                    steady_iteration, steady_start_s = iteration, now_s
                    first_s, growth_s = base_s + slope_s * held_tokens, slope_s * n_decode
                    if has_window:
                        first_s, growth_s = base_s + slope_s * batch.read_tokens, slope_s * batch.read_growth
                if (
                    is_macro
                    and self.n_preemptions == n_preemptions
                    and not (newcomers and self._is_next_admitted(n_decode))
                ):
                    # Nobody waits, or whoever does is not admitted before somebody leaves: blocks only get fewer.
                    # The ways out: a finish or another turn, or a shortage of blocks.
                    n_iterations = turns[0][0] - iteration
                    if n_iterations > 1 and batch.cycle_blocks * (n_iterations // block_tokens + 1) > self._free_blocks:
                        n_iterations = 1 + batch.iterations_within(self._free_blocks, n_iterations - 1, skip=1)
                j = iteration + n_iterations - steady_iteration
                end_s = steady_start_s + j * first_s + growth_s * (j * (j - 1) // 2)  # = SteadyRun.end_s
                # The third way out: an arrival that is known, of somebody who may be admitted.
                is_known = arrival_s < end_s and n_iterations > 1 and not waiting and not newcomers
                if is_known and self._has_room(arrived, n_decode):
                    steady = SteadyRun(steady_iteration, steady_start_s, first_s, growth_s)
                    n_iterations = steady.iteration_at(arrival_s) - iteration
                    end_s = steady.end_s(iteration + n_iterations)
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
            is_alone = end_s < next_event_s and is_macro
            if not is_alone:
                batch.start_s, batch.end_s, batch.n_iterations, batch.held_tokens = (
                    now_s,
                    end_s,
                    n_iterations,
                    held_tokens,
                )
                self._steady = SteadyRun(steady_iteration, steady_start_s, first_s, growth_s)
                self._wake_at(end_s, Order.COMPLETION)
                yield
                # The fourth way out: others have cut it short (`_shorten`, `_settle`).
                n_iterations, end_s = batch.n_iterations, batch.end_s
                batch.n_iterations = 0
                if self._is_disturbed:
                    self._is_disturbed = is_steady = False
                    iteration, now_s = batch.iteration, batch.start_s
                    n_decode, held_tokens, held_growth = batch.n_decode, batch.held_tokens, batch.kept_growth
                    if not n_iterations:  # it was at the very end of an iteration
                        now_s, next_event_s = clock.now, clock.peek()
                        began_s = self._steady.end_s(iteration - 1)
                        continue

            # Account for it, and let go whoever is finished.
            start = iteration - steady_iteration
            iteration += n_iterations
            if is_steady:
                log.packed += pack_step(
                    iteration, first_s, growth_s, start, n_iterations, n_decode, held_tokens, held_growth
                )
            else:
                log.packed += pack_step(iteration, end_s - now_s, 0.0, 0, 1, n_decode, held_tokens, held_growth)
            began_s, now_s = now_s, end_s
            if n_iterations > 1:
                if is_ahead:
                    j = iteration - 1 - steady_iteration
                    began_s = steady_start_s + j * first_s + growth_s * (j * (j - 1) // 2)  # = SteadyRun.end_s
                self._free_blocks -= batch.blocks_needed(n_iterations - 1, skip=1)
            if self._free_blocks < self._fewest_free_blocks:
                self._fewest_free_blocks = self._free_blocks
            batch.iteration = iteration
            batch.context_tokens += n_iterations * n_decode
            if has_window:
                batch.window_tokens += n_iterations * batch.n_inside
            while turns and turns[0][0] == iteration:
                is_steady = False
                if has_window and batch.pass_turn():
                    continue
                self._finish(batch.pop_finished(), now_s)
                log.sum_up_if_many()
            if chunks:
                self._complete_prompts(batch, now_s)
            if not is_alone or is_heard:  # whoever hears of an end may send the next request
                if clock.peek() <= now_s:  # all else that happens now comes before scheduling
                    self._wake_at(now_s, Order.SCHEDULING)
                    yield
                    if self._is_disturbed:
                        self._is_disturbed = is_steady = False
                next_event_s = clock.peek()

    def _see_newcomers(self, batch: Batch, began_s: float) -> None:
        """Let those wait for the next iteration who came before it was put together, when the last one began.

        If there was nothing to put together, nothing was, and they come at once.
        """
        waiting, newcomers = self._waiting, self._newcomers
        while newcomers and newcomers[0][0] <= began_s:
            waiting.append(newcomers.popleft()[1])
        if not (waiting or batch.n_decode or self._partial is not None):
            waiting.extend(seq for _, seq in newcomers)
            newcomers.clear()

    def _is_next_admitted(self, n_decode: int) -> bool:
        """Whether somebody comes into the iteration after the next one who could not come into this."""
        return not self._waiting and self._has_room(self._newcomers[0][1], n_decode)

    def _decode_time(self, n_decode: int) -> tuple[float, float]:
        affine = self._decode_times[n_decode] = self.stages[0].decode(n_decode)
        return affine

    def _on_submit(self, seq: Sequence, now_s: float) -> None:
        if self._is_idle:
            self._is_idle = False
            self._wake_at(now_s, Order.SCHEDULING)
        elif self._batch.n_iterations > 1 and self.n_waiting == 1:
            self._shorten(now_s)

    def _shorten(self, now_s: float) -> None:
        """End a macro-step with the iteration under way, if whoever waits first can be admitted then."""
        batch = self._batch
        first = self._waiting[0] if self._waiting else self._newcomers[0][1]
        if batch.n_iterations > 1 and self._has_room(first, batch.n_decode):
            n_iterations = self._steady.iteration_at(now_s) - batch.iteration
            if n_iterations < batch.n_iterations:
                batch.n_iterations = n_iterations
                batch.end_s = self._steady.end_s(batch.iteration + n_iterations)
                self._wake_at(batch.end_s, Order.COMPLETION)

    def _on_withdrawal(self, held: int, now_s: float) -> None:
        batch = self._batch
        self._is_disturbed = self._is_disturbed or held > 0
        if not held:
            if self.n_waiting:
                self._shorten(now_s)
        elif batch.n_iterations:
            self._kv_token_s += held * (now_s - batch.start_s)
            batch.held_tokens -= held
            self._wake_at(batch.end_s, Order.COMPLETION)
        else:
            self._wake_at(now_s, Order.SCHEDULING)

    # Interruptions ----------------------------------------------------------------------------------------

    def _settle(self, now_s: float, *, is_next_begun: bool) -> None:
        batch, steady = self._batch, self._steady
        if batch.n_iterations <= 1:
            return
        iteration, n_under_way = steady.iteration_at(now_s), 1
        if steady.end_s(iteration) > now_s:
            iteration -= 1
        elif not is_next_begun and iteration > batch.iteration:
            n_under_way = 0
        n_iterations = iteration - batch.iteration
        if n_iterations > 0:
            start = batch.iteration - steady.iteration
            batch.log.packed += pack_step(
                iteration,
                steady.first_s,
                steady.growth_s,
                start,
                n_iterations,
                batch.n_decode,
                batch.held_tokens,
                batch.kept_growth,
            )
            self._free_blocks -= batch.blocks_needed(n_iterations - 1 + n_under_way, skip=1)
            batch.advance(n_iterations)
            batch.start_s, batch.held_tokens = steady.end_s(iteration), batch.kept_tokens
        batch.n_iterations, batch.end_s = n_under_way, steady.end_s(batch.iteration + n_under_way)

    def _cut(self, now_s: float) -> None:
        batch = self._batch
        if batch.n_iterations:
            elapsed_s = now_s - batch.start_s
            self._busy_s += elapsed_s
            self._kv_token_s += batch.held_tokens * elapsed_s

    def _stop_iterations(self) -> None:
        self._batch.forget()
        self._is_idle = self._is_disturbed = False
