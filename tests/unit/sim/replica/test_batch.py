from __future__ import annotations

import pytest

from sim.kv_cache import BlockRule
from sim.replica.batch import Batch, Sequence


def decoding(batch: Batch, prompt: int, output: int, generated: int = 1, admission: int = 0) -> Sequence:
    seq = Sequence(admission, prompt, output)
    seq.generated_tokens = generated
    seq.admission = admission
    batch.join(seq)
    return seq


def advance(batch: Batch, n_iterations: int) -> None:
    batch.advance(n_iterations)


def test_a_new_request_has_its_whole_prompt_to_compute() -> None:
    seq = Sequence(7, 100, 20)
    assert (seq.index, seq.target_tokens, seq.computed_tokens, seq.generated_tokens) == (7, 100, 0, 0)
    assert seq.batch is None
    assert not seq.is_decoding


@pytest.mark.parametrize(
    ("prompt", "first_crossing"),
    [
        (15, 1),  # 15 tokens stored: the next one fills the block, the one after that needs a new one
        (16, 0),  # the block is full: a new one at once
        (17, 15),  # one token in the second block: room for 15 more
        (1, 15),
        (31, 1),
        (32, 0),
    ],
)
def test_a_decode_needs_a_block_when_its_last_is_full(prompt: int, first_crossing: int) -> None:
    batch = Batch(BlockRule(16))
    decoding(batch, prompt, 1_000)
    needed = [batch.blocks_needed(n) for n in range(40)]
    assert needed == [sum(i % 16 == first_crossing for i in range(n)) for n in range(40)]


def test_iterations_within_blocks() -> None:
    batch = Batch(BlockRule(16))
    decoding(batch, 16, 1_000, admission=0)  # needs blocks in iterations 0, 16, 32, ...
    decoding(batch, 14, 1_000, admission=1)  # in 2, 18, 34, ...
    assert [batch.iterations_within(n, 1_000) for n in range(6)] == [0, 2, 16, 18, 32, 34]
    assert [batch.iterations_within(n, 1_000, skip=1) for n in range(5)] == [1, 15, 17, 31, 33]
    assert batch.iterations_within(3, 17) == 17
    assert batch.iterations_within(10**9, 1_000) == 1_000


def test_context_is_prompt_plus_generated() -> None:
    batch = Batch(BlockRule(16))
    first = decoding(batch, 100, 10, admission=0)
    advance(batch, 3)
    decoding(batch, 50, 20, generated=5, admission=1)
    assert batch.n_decode == 2
    assert batch.context_tokens == 104 + 55
    assert batch.generated_tokens(first) == 4


def test_requests_finish_by_iteration_then_admission() -> None:
    batch = Batch(BlockRule(16))
    late = decoding(batch, 10, 9, admission=2)
    second = decoding(batch, 10, 5, admission=1)
    first = decoding(batch, 10, 5, admission=0)
    advance(batch, 4)
    assert batch.turns[0][0] == batch.iteration
    assert [batch.pop_finished(), batch.pop_finished()] == [first, second]
    assert batch.turns[0] == (8, 2, late)
    assert (first.generated_tokens, second.generated_tokens) == (5, 5)
    assert (batch.n_decode, batch.context_tokens) == (1, 15)


def test_a_removed_request_keeps_what_it_generated_and_can_join_again() -> None:
    batch = Batch(BlockRule(16))
    seq = decoding(batch, 16, 30)
    advance(batch, 7)
    batch.remove(seq)
    assert seq.generated_tokens == 8
    assert (batch.n_decode, batch.context_tokens, batch.turns, set(batch.crossings)) == (0, 0, [], {0})
    advance(batch, 5)
    batch.join(seq)
    assert batch.context_tokens == 24
    assert seq.finish_iteration == 12 + 22
    assert batch.iterations_within(0, 100) == 9  # 23 tokens stored, 9 fill the second block
