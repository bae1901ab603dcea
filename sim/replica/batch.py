"""What is in a batch: its decoding requests, when the next one finishes, and the KV blocks they will need.

The work per iteration does not grow with the batch: finish iterations wait in a heap, contexts are one running
sum, and block growth is counted by the iteration, modulo the block size, at which each request crosses into a
new block.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from sim.kv_cache import blocks_for
from sim.replica.step_log import StepLog

NEVER = -1
"""`Sequence.admission` of a request that was never admitted."""

NOT_YET = -2
"""`Sequence.admission` of one that was admitted in an earlier attempt of its client, but not in this one."""


class Sequence:
    """A request on a replica, from its arrival there until it ends.

    Attributes:
        index: Row of the request in the trace.
        prompt_tokens: Length of its prompt.
        output_tokens: Length of its answer.
        generated_tokens: Tokens generated when it last joined or left a batch.
        target_tokens: Tokens whose keys and values it needs before it can decode: the prompt, and after a
            preemption also what it had generated.
        computed_tokens: How many of those are computed or on their way.
        admission: Running number of its admission; the largest is preempted first. Before it is admitted, `NEVER` or
            `NOT_YET`.
        batch: The batch it decodes in, or the one its last prompt chunk is in, or None.
        is_decoding: Whether it decodes.
        last_token_s: When it got its last token, if it was preempted after that.
        finish_iteration: Iteration count of its batch at which its last token is there.
    """

    __slots__ = (
        "admission",
        "batch",
        "computed_tokens",
        "finish_iteration",
        "generated_tokens",
        "index",
        "is_decoding",
        "last_token_s",
        "output_tokens",
        "prompt_tokens",
        "target_tokens",
    )

    def __init__(self, index: int, prompt_tokens: int, output_tokens: int) -> None:
        self.index = index
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.generated_tokens = 0
        self.target_tokens = prompt_tokens
        self.computed_tokens = 0
        self.admission = NEVER
        self.batch: Batch | None = None
        self.is_decoding = False
        self.finish_iteration = -1
        self.last_token_s = 0.0


class Batch:
    """Requests that go through a replica together, one iteration after the other.

    A replica with one stage has one batch; a pipeline has as many as stages, so that each stage has work.

    Attributes:
        iteration: Iterations completed.
        n_decode: Requests that decode.
        context_tokens: Tokens whose keys and values the next iteration's decodes read, in all.
        crossings: `crossings[i % block_tokens]` requests need a new block in iteration i. Twice over, so that any
            `block_tokens` consecutive iterations are one slice.
        finishes: Heap of (finish iteration, admission, request) of the decoding requests.
        log: Its steps, and who decoded when.
        prefilled: Requests whose last prompt chunk is in the iteration under way.
        n_iterations: Iterations under way: more than 1 in a macro-step.
        start_s: Start of the first of them.
        end_s: End of the last of them.
        work_s: GPU time of the iteration under way, averaged over the replica's GPUs.
        held_tokens: Tokens that have keys and values in the iteration under way.
    """

    __slots__ = (
        "block_tokens",
        "context_tokens",
        "crossings",
        "end_s",
        "finishes",
        "held_tokens",
        "iteration",
        "log",
        "n_decode",
        "n_iterations",
        "prefilled",
        "start_s",
        "work_s",
    )

    def __init__(self, block_tokens: int) -> None:
        self.block_tokens = block_tokens
        self.crossings = [0] * (2 * block_tokens)
        self.finishes: list[tuple[int, int, Sequence]] = []
        self.iteration = 0
        self.n_decode = 0
        self.context_tokens = 0
        self.log = StepLog()
        self.prefilled: list[Sequence] = []
        self.n_iterations = 0
        self.start_s = 0.0
        self.end_s = 0.0
        self.work_s = 0.0
        self.held_tokens = 0

    def join(self, seq: Sequence) -> None:
        """Take in a request with its prompt computed and a token or more; it decodes from the next iteration on."""
        generated = seq.generated_tokens
        context = seq.prompt_tokens + generated
        seq.batch = self
        seq.is_decoding = True
        seq.finish_iteration = self.iteration + seq.output_tokens - generated
        heappush(self.finishes, (seq.finish_iteration, seq.admission, seq))
        self.n_decode += 1
        self.context_tokens += context
        # With c - 1 tokens in the cache at iteration k, it needs a block in iteration i if c - 1 + i - k is a
        # multiple of the block size.
        phase = (self.iteration - context + 1) % self.block_tokens
        self.crossings[phase] += 1
        self.crossings[phase + self.block_tokens] += 1

    def note_stay(self, seq: Sequence) -> None:
        """Note for how long a request has been decoding here."""
        joined = seq.finish_iteration - seq.output_tokens + seq.generated_tokens
        self.log.stays.extend((seq.index, joined, self.iteration))

    def _leave(self, seq: Sequence) -> None:
        iteration = self.iteration
        joined = seq.finish_iteration - seq.output_tokens + seq.generated_tokens
        self.log.stays.extend((seq.index, joined, iteration))
        seq.generated_tokens = generated = seq.output_tokens - seq.finish_iteration + iteration
        context = seq.prompt_tokens + generated
        self.n_decode -= 1
        self.context_tokens -= context
        phase = (iteration - context + 1) % self.block_tokens
        self.crossings[phase] -= 1
        self.crossings[phase + self.block_tokens] -= 1
        seq.batch = None
        seq.is_decoding = False

    def generated_tokens(self, seq: Sequence) -> int:
        """Tokens that a decoding request has by now."""
        return seq.output_tokens - (seq.finish_iteration - self.iteration)

    def pop_finished(self) -> Sequence:
        """Let go the request that finishes first."""
        _, _, seq = heappop(self.finishes)
        self._leave(seq)
        return seq

    def remove(self, seq: Sequence) -> None:
        """Let go a request that is not finished. Work proportional to the batch."""
        self.finishes.remove((seq.finish_iteration, seq.admission, seq))
        heapify(self.finishes)
        self._leave(seq)

    def forget(self) -> None:
        """Forget the iterations under way; nobody is left."""
        self.n_iterations = 0
        self.end_s = 0.0
        self.prefilled.clear()

    def blocks_needed(self, n_iterations: int, skip: int = 0) -> int:
        """New blocks that the decodes need in the next iterations, after the first `skip`."""
        cycles, rest = divmod(n_iterations, self.block_tokens)
        first = (self.iteration + skip) % self.block_tokens
        return cycles * self.n_decode + sum(self.crossings[first : first + rest])

    def iterations_within(self, n_blocks: int, most: int, skip: int = 0) -> int:
        """Largest number of iterations, up to `most`, after the first `skip`, that need at most `n_blocks`."""
        size = self.block_tokens
        if self.n_decode * blocks_for(most, size) <= n_blocks:
            return most
        cycles, n_blocks = divmod(n_blocks, self.n_decode)
        n_iterations = cycles * size
        first = (self.iteration + skip) % size
        for crossing in self.crossings[first : first + size]:
            n_blocks -= crossing
            if n_blocks < 0:
                break
            n_iterations += 1
        return min(n_iterations, most)
