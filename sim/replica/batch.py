"""What is in a batch: its decoding requests, when the next one finishes, and the KV blocks they will need.

The work per iteration does not grow with the batch: finish iterations wait in a heap, contexts are one running
sum, and block growth is counted by the iteration, modulo the block size, at which each request crosses into a
new block.

Where layers have a sliding window, a request turns twice before it finishes: when the window no longer reaches its
first token, from when on these layers read no more than the window; and when they hold as many blocks as they ever
will. These turns wait in the heap, too.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from sim.kv_cache import BlockRule, blocks_for
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
        turn_iteration: The next one at which something changes for it: it finishes, or a sliding window passes it by.
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
        "turn_iteration",
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
        self.turn_iteration = -1
        self.last_token_s = 0.0


class Batch:
    """Requests that go through a replica together, one iteration after the other.

    A replica with one stage has one batch; a pipeline has as many as stages, so that each stage has work.

    Attributes:
        rule: How many blocks a request holds.
        iteration: Iterations completed.
        n_decode: Requests that decode.
        context_tokens: Tokens of context of the next iteration's decodes, in all.
        n_inside: Those of them that a sliding window has not passed.
        window_tokens: Tokens that layers with a window read of them all.
        crossings: `crossings[i % block_tokens]` blocks are needed by decodes in iteration i. Twice over, so that any
            `block_tokens` consecutive iterations are one slice.
        cycle_blocks: Blocks that decodes need in `block_tokens` iterations.
        turns: Heap of (turn iteration, admission, request) of the decoding requests.
        log: Its steps, and who decoded when.
        prefilled: Requests whose last prompt chunk is in the iteration under way.
        n_iterations: Iterations under way: more than 1 in a macro-step.
        start_s: Start of the first of them.
        end_s: End of the last of them.
        work_s: GPU time of the iteration under way, averaged over the replica's GPUs.
        held_tokens: Tokens that have keys and values in the iteration under way (`BlockRule.kept_tokens`).
    """

    __slots__ = (
        "_block_tokens",
        "_has_window",
        "context_tokens",
        "crossings",
        "cycle_blocks",
        "end_s",
        "held_tokens",
        "iteration",
        "log",
        "n_decode",
        "n_inside",
        "n_iterations",
        "prefilled",
        "rule",
        "start_s",
        "turns",
        "window_tokens",
        "work_s",
    )

    def __init__(self, rule: BlockRule) -> None:
        self.rule = rule
        self._has_window = rule.has_window
        self._block_tokens = rule.block_tokens
        self.crossings = [0] * (2 * rule.block_tokens)
        self.cycle_blocks = 0
        self.turns: list[tuple[int, int, Sequence]] = []
        self.iteration = 0
        self.n_decode = 0
        self.context_tokens = 0
        self.n_inside = 0
        self.window_tokens = 0
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
        seq.finish_iteration = seq.turn_iteration = self.iteration + seq.output_tokens - generated
        self.n_decode += 1
        self.context_tokens += context
        n_blocks = self._join_window(seq, context) if self._has_window else 1
        heappush(self.turns, (seq.turn_iteration, seq.admission, seq))
        # With c - 1 tokens in the cache at iteration k, it needs a block in iteration i if c - 1 + i - k is a
        # multiple of the block size.
        block_tokens = self._block_tokens
        phase = (self.iteration - context + 1) % block_tokens
        self.crossings[phase] += n_blocks
        self.crossings[phase + block_tokens] += n_blocks
        self.cycle_blocks += n_blocks

    def _cross(self, context: int, n_blocks: int) -> None:
        """Let a request with so much context need more blocks, or fewer, whenever it crosses into new ones."""
        block_tokens = self._block_tokens
        phase = (self.iteration - context + 1) % block_tokens
        self.crossings[phase] += n_blocks
        self.crossings[phase + block_tokens] += n_blocks
        self.cycle_blocks += n_blocks

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
        n_blocks = self._leave_window(seq, context) if self._has_window else 1
        phase = (iteration - context + 1) % self._block_tokens
        self.crossings[phase] -= n_blocks
        self.crossings[phase + self._block_tokens] -= n_blocks
        self.cycle_blocks -= n_blocks
        seq.batch = None
        seq.is_decoding = False

    def generated_tokens(self, seq: Sequence) -> int:
        """Tokens that a decoding request has by now."""
        return seq.output_tokens - (seq.finish_iteration - self.iteration)

    def pop_finished(self) -> Sequence:
        """Let go the request that finishes first."""
        _, _, seq = heappop(self.turns)
        self._leave(seq)
        return seq

    def remove(self, seq: Sequence) -> None:
        """Let go a request that is not finished. Work proportional to the batch."""
        self.turns.remove((seq.turn_iteration, seq.admission, seq))
        heapify(self.turns)
        self._leave(seq)

    def forget(self) -> None:
        """Forget the iterations under way; nobody is left."""
        self.n_iterations = 0
        self.end_s = 0.0
        self.prefilled.clear()

    # Sliding windows ----------------------------------------------------------------------------------------

    def _next_turn(self, seq: Sequence, context: int) -> int:
        """The next iteration at which a request with so much context leaves a window, fills its blocks, or finishes."""
        rule = self.rule
        turns = (rule.window_tokens + 1, rule.window_blocks * rule.block_tokens + 1)
        ahead = [turn - context for turn in turns if turn > context]
        return min([self.iteration + n for n in ahead] + [seq.finish_iteration])

    def pass_turn(self) -> bool:
        """Let the request that turns first pass its turn, if it turns now and does not finish."""
        iteration, admission, seq = self.turns[0]
        if iteration != self.iteration or seq.finish_iteration == iteration:
            return False
        heappop(self.turns)
        context = seq.prompt_tokens + self.generated_tokens(seq)
        if context == self.rule.window_tokens + 1:
            self.n_inside -= 1
            self.window_tokens -= 1  # it has been counted as growing
        if context == self.rule.window_blocks * self.rule.block_tokens + 1:
            self._cross(context, -self.rule.window_groups)
        seq.turn_iteration = self._next_turn(seq, context)
        heappush(self.turns, (seq.turn_iteration, admission, seq))
        return True

    def _join_window(self, seq: Sequence, context: int) -> int:
        """Count what layers with a window read; how many blocks the request takes at a crossing."""
        self.window_tokens += min(context, self.rule.window_tokens)
        self.n_inside += context <= self.rule.window_tokens
        seq.turn_iteration = self._next_turn(seq, context)
        return self._blocks_at_crossing(context)

    def _leave_window(self, seq: Sequence, context: int) -> int:
        """The same, when it leaves."""
        # A turn that is due has not been passed if the request finishes, or is taken out at that very moment.
        is_due = seq.turn_iteration == self.iteration
        before = context - 1 if is_due else context
        is_inside = before <= self.rule.window_tokens
        self.n_inside -= is_inside
        self.window_tokens -= context if is_inside else self.rule.window_tokens
        return self._blocks_at_crossing(before)

    def _blocks_at_crossing(self, context: int) -> int:
        rule = self.rule
        is_filling = context <= rule.window_blocks * rule.block_tokens
        return rule.full_groups + (rule.window_groups if is_filling else 0)

    def blocks_at_crossing(self, seq: Sequence) -> int:
        """Blocks that a decoding request takes when it crosses into a new one."""
        if not self._has_window:
            return 1
        return self._blocks_at_crossing(seq.prompt_tokens + self.generated_tokens(seq))

    @property
    def kept_tokens(self) -> int:
        """Tokens of its decodes that have keys and values, over all groups of layers."""
        return self.rule.full_groups * self.context_tokens + self.rule.window_groups * self.window_tokens

    @property
    def kept_growth(self) -> int:
        """How many more there are after each iteration."""
        return self.rule.full_groups * self.n_decode + self.rule.window_groups * self.n_inside

    @property
    def read_tokens(self) -> float:
        """Tokens of context of its decodes that an average layer reads."""
        share = self.rule.full_share
        return share * self.context_tokens + (1 - share) * self.window_tokens

    @property
    def read_growth(self) -> float:
        """How many more they are in each further iteration."""
        share = self.rule.full_share
        return share * self.n_decode + (1 - share) * self.n_inside

    def advance(self, n_iterations: int) -> None:
        """Let iterations pass in which nobody turns."""
        self.iteration += n_iterations
        self.context_tokens += n_iterations * self.n_decode
        self.window_tokens += n_iterations * self.n_inside

    # Blocks -------------------------------------------------------------------------------------------------

    def blocks_needed(self, n_iterations: int, skip: int = 0) -> int:
        """New blocks that the decodes need in the next iterations, after the first `skip`."""
        size = self._block_tokens
        cycles, rest = divmod(n_iterations, size)
        first = (self.iteration + skip) % size
        return cycles * self.cycle_blocks + sum(self.crossings[first : first + rest])

    def iterations_within(self, n_blocks: int, most: int, skip: int = 0) -> int:
        """Largest number of iterations, up to `most`, after the first `skip`, that need at most `n_blocks`."""
        size = self._block_tokens
        if self.cycle_blocks * blocks_for(most, size) <= n_blocks:
            return most
        cycles, n_blocks = divmod(n_blocks, self.cycle_blocks)
        n_iterations = cycles * size
        first = (self.iteration + skip) % size
        for crossing in self.crossings[first : first + size]:
            n_blocks -= crossing
            if n_blocks < 0:
                break
            n_iterations += 1
        return min(n_iterations, most)
