from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sim.kv_cache import BlockRule
from sim.replica.batch import Batch, Sequence


@dataclass
class Member:
    """A decoding request as one would keep it without running sums."""

    seq: Sequence
    prompt: int
    output: int
    generated: int

    def new_blocks(self, iterations: range, block_rule: BlockRule) -> int:
        """Blocks that it takes in these iterations, counted from now: in each it stores one token more."""
        stored = self.prompt + self.generated - 1
        return sum(block_rule.blocks(stored + i + 1) - block_rule.blocks(stored + i) for i in iterations)

    def next_turn(self, block_rule: BlockRule) -> int:
        """Iterations until it finishes, reads for the first time less than it has, or holds as much as it ever will."""
        context = self.prompt + self.generated
        ahead = [self.output - self.generated]
        if block_rule.has_window:
            turns = (block_rule.window_tokens, block_rule.window_blocks * block_rule.block_tokens)
            ahead += [turn + 1 - context for turn in turns if turn >= context]
        return min(ahead)


class BatchAgainstBruteForce(RuleBasedStateMachine):
    """A batch keeps sums, residues and a heap; the model keeps each request's tokens and counts."""

    @initialize(
        block_tokens=st.sampled_from([1, 2, 16]),
        iteration=st.integers(0, 40),
        groups=st.sampled_from([(1, 0), (1, 0), (1, 1), (1, 3), (0, 1), (2, 1)]),
        window_tokens=st.integers(1, 60),
    )
    def start(self, block_tokens: int, iteration: int, groups: tuple[int, int], window_tokens: int) -> None:
        window_blocks = max(window_tokens - 2, 0) // block_tokens + 2
        self.block_rule = BlockRule(block_tokens, *groups, window_blocks, window_tokens, full_share=0.25)
        self.batch = Batch(self.block_rule)
        self.batch.iteration = iteration
        self.members: list[Member] = []  # in order of admission
        self.n_admitted = 0

    @rule(prompt=st.integers(1, 70), generated=st.integers(1, 20), left=st.integers(1, 70))
    def join(self, prompt: int, generated: int, left: int) -> None:
        seq = Sequence(0, prompt, generated + left)
        seq.generated_tokens = generated
        seq.admission = self.n_admitted
        self.n_admitted += 1
        self.batch.join(seq)
        assert seq.batch is self.batch
        assert seq.is_decoding
        self.members.append(Member(seq, prompt, generated + left, generated))

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def advance(self, data: st.DataObject) -> None:
        """Some iterations, at most until the first request turns; those that are done leave."""
        most = min(m.next_turn(self.block_rule) for m in self.members)
        n_iterations = data.draw(st.integers(1, most) | st.just(most), label="n_iterations")
        self.batch.advance(n_iterations)
        for member in self.members:
            member.generated += n_iterations
        done = [m for m in self.members if m.generated == m.output]
        self.members = [m for m in self.members if m.generated < m.output]
        popped = []
        while self.batch.turns and self.batch.turns[0][0] == self.batch.iteration:
            if not self.batch.pass_turn():
                popped.append(self.batch.pop_finished())
        assert popped == [m.seq for m in done]
        for member in done:
            assert member.seq.generated_tokens == member.output
            assert member.seq.batch is None
            assert not member.seq.is_decoding

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        member = self.members.pop(data.draw(st.integers(0, len(self.members) - 1), label="position"))
        self.batch.remove(member.seq)
        assert member.seq.generated_tokens == member.generated
        assert member.seq.batch is None
        assert not member.seq.is_decoding

    @precondition(lambda self: self.members)
    @rule(n_iterations=st.integers(0, 80), skip=st.integers(0, 40), n_blocks=st.integers(0, 60))
    def look_ahead(self, n_iterations: int, skip: int, n_blocks: int) -> None:
        if self.block_rule.has_window:  # nobody looks beyond a turn
            until_turn = min(m.next_turn(self.block_rule) for m in self.members)
            n_iterations = max(0, min(n_iterations, until_turn - skip))

        def needed(n: int) -> int:
            return sum(m.new_blocks(range(skip, skip + n), self.block_rule) for m in self.members)

        assert self.batch.blocks_needed(n_iterations, skip) == needed(n_iterations)
        within = max(n for n in range(n_iterations + 1) if needed(n) <= n_blocks)
        assert self.batch.iterations_within(n_blocks, n_iterations, skip) == within

    @rule(n_iterations=st.integers(0, 80), n_blocks=st.integers(0, 5))
    @precondition(lambda self: not self.members)
    def an_empty_batch_needs_nothing(self, n_iterations: int, n_blocks: int) -> None:
        assert self.batch.blocks_needed(n_iterations) == 0
        assert self.batch.iterations_within(n_blocks, n_iterations) == n_iterations

    @invariant()
    def sums_are_right(self) -> None:
        assert self.batch.n_decode == len(self.members)
        assert self.batch.context_tokens == sum(m.prompt + m.generated for m in self.members)
        assert [self.batch.generated_tokens(m.seq) for m in self.members] == [m.generated for m in self.members]
        turns = sorted((self.batch.iteration + m.next_turn(self.block_rule), m.seq.admission) for m in self.members)
        assert sorted(entry[:2] for entry in self.batch.turns) == turns
        contexts = [m.prompt + m.generated for m in self.members]
        assert self.batch.kept_tokens == sum(map(self.block_rule.kept_tokens, contexts))
        if self.block_rule.has_window:
            assert self.batch.window_tokens == sum(min(c, self.block_rule.window_tokens) for c in contexts)
            assert self.batch.n_inside == sum(c <= self.block_rule.window_tokens for c in contexts)
        next_iteration = self.batch.crossings[self.batch.iteration % self.block_rule.block_tokens]
        assert next_iteration == sum(m.new_blocks(range(1), self.block_rule) for m in self.members)


TestBatch = BatchAgainstBruteForce.TestCase
