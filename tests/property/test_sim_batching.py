from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sim.kv_cache import blocks_for
from sim.replica.batch import Batch, Sequence


@dataclass
class Member:
    """A decoding request as one would keep it without running sums."""

    seq: Sequence
    prompt: int
    output: int
    generated: int

    def new_blocks(self, iterations: range, block_tokens: int) -> int:
        """Blocks that it takes in these iterations, counted from now: in each it stores one token more."""
        stored = self.prompt + self.generated - 1
        return sum(blocks_for(stored + i + 1, block_tokens) - blocks_for(stored + i, block_tokens) for i in iterations)


class BatchAgainstBruteForce(RuleBasedStateMachine):
    """A batch keeps sums, residues and a heap; the model keeps each request's tokens and counts."""

    @initialize(block_tokens=st.sampled_from([1, 2, 16]), iteration=st.integers(0, 40))
    def start(self, block_tokens: int, iteration: int) -> None:
        self.block_tokens = block_tokens
        self.batch = Batch(block_tokens)
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
        """Some iterations, at most until the first request is done; those that are done leave."""
        most = min(m.output - m.generated for m in self.members)
        n_iterations = data.draw(st.integers(1, most) | st.just(most), label="n_iterations")
        self.batch.iteration += n_iterations
        self.batch.context_tokens += n_iterations * self.batch.n_decode
        for member in self.members:
            member.generated += n_iterations
        done = [m for m in self.members if m.generated == m.output]
        self.members = [m for m in self.members if m.generated < m.output]
        popped = []
        while self.batch.finishes and self.batch.finishes[0][0] == self.batch.iteration:
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
        def needed(n: int) -> int:
            return sum(m.new_blocks(range(skip, skip + n), self.block_tokens) for m in self.members)

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
        finishes = sorted((self.batch.iteration + m.output - m.generated, m.seq.admission) for m in self.members)
        assert sorted(entry[:2] for entry in self.batch.finishes) == finishes
        next_iteration = self.batch.crossings[self.batch.iteration % self.block_tokens]
        assert next_iteration == sum(m.new_blocks(range(1), self.block_tokens) for m in self.members)


TestBatch = BatchAgainstBruteForce.TestCase
