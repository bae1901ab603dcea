"""Block accounting of a replica while requests are admitted, grow, are preempted and finish."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sim import ReplicaSpec, ServiceTimeModel, kv_blocks
from sim.clock import Clock, Order
from sim.records import RequestLog
from sim.replica.batch import Sequence
from sim.replica.pipeline import PipelineReplica
from sim.replica.prefix_cache import PrefixCache, Prefixes
from sim.replica.replica import Replica
from sim.replica.single_stage import SingleStageReplica
from tests.naive_vllm import n_blocks_of
from tests.strategies_sim import SEGMENT_TOKENS, replica_specs, service_times

MAX_REQUESTS = 400
requests = st.tuples(st.integers(1, 300), st.integers(1, 500), st.lists(st.integers(0, 1), max_size=5))


class Subject:
    """A replica on its clock, and its log."""

    def __init__(
        self, spec: ReplicaSpec, service_time: ServiceTimeModel, prefixes: Prefixes | None, *, is_macro: bool
    ) -> None:
        make = SingleStageReplica if spec.pp == 1 else PipelineReplica
        # With prefix caching, blocks behind a window are kept.
        self.counted = spec if prefixes is None else replace(spec, model=replace(spec.model, window=None))
        self.clock = Clock()
        self.log = RequestLog(MAX_REQUESTS)
        self.replica: Replica = make(0, spec, service_time, self.log, is_macro=is_macro, prefixes=prefixes)
        self.replica.start(self.clock, iter(()))

    def submit(self, time_s: float, sequences: list[Sequence]) -> None:
        for seq in sequences:
            self.clock.at(time_s, Order.ARRIVAL, lambda _, seq=seq: self.replica.submit(seq, time_s))
        self.run_until(time_s)

    def withdraw(self, time_s: float, which: int) -> list[int]:
        gone: list[int] = []

        def go(_: object) -> None:
            here = sorted((*self.replica._running, *self.replica._waiting), key=lambda seq: seq.index)
            if here:
                seq = here[which % len(here)]
                gone.extend((seq.index, self.replica.withdraw(seq, time_s), seq.generated_tokens))

        self.clock.at(time_s, Order.ARRIVAL, go)
        self.run_until(time_s)
        return gone

    def break_down(self, time_s: float) -> list[tuple[int, int]]:
        lost: list[tuple[Sequence, int]] = []

        def fail(_: object) -> None:
            lost.extend(self.replica.empty(time_s))
            assert self.replica.used_kv_blocks == self.replica.n_outstanding == 0
            self.replica.start(self.clock, iter(()))
            for seq, _computed in lost:
                self.replica.submit(seq, time_s)

        self.clock.at(time_s, Order.AVAILABILITY, fail)
        self.run_until(time_s)
        return [(seq.index, computed) for seq, computed in lost]

    def run_until(self, time_s: float) -> None:
        self.clock.run(until=self.clock.at(time_s, Order.HORIZON, lambda _: None))

    def blocks_by_request(self) -> dict[Sequence, int]:
        """Blocks that each running request needs for its tokens, that of the iteration under way included."""
        blocks = {}
        for seq in self.replica._running:
            tokens = seq.computed_tokens
            if seq.is_decoding:
                assert seq.batch is not None
                tokens = seq.prompt_tokens + seq.batch.generated_tokens(seq) - 1 + (seq.batch.n_iterations > 0)
            blocks[seq] = n_blocks_of(self.counted, tokens)
        return blocks

    def facts(self) -> list[object]:
        log, replica = self.log, self.replica
        records = [getattr(log, name).tolist() for name in ("n_preempted", "recomputed_tokens", "cached_prompt_tokens")]
        # Times that never came are nan.
        times = [list(map(str, column)) for column in (log.first_scheduled_s, log.first_token_s, log.finish_s)]
        exact = [records, times, replica.peak_kv_blocks, replica.prefill_tokens, replica.cached_tokens]
        for batch in replica.batches:
            log.add_gaps(*batch.log.longest_of_requests())
        return [*exact, replica.work.n_iterations, replica.work.decode_tokens, list(map(str, log.itl_max_s))]

    def sums(self) -> list[float]:
        return [self.replica.work.busy_s, self.replica.work.kv_token_s]


class BlockAccounting(RuleBasedStateMachine):
    """Two replicas get the same requests, one with macro-steps, one without."""

    @initialize(
        spec=replica_specs(),
        service_time=service_times(),
        is_caching=st.booleans(),
        has_answers=st.booleans(),
    )
    def start(self, spec: ReplicaSpec, service_time: ServiceTimeModel, is_caching: bool, has_answers: bool) -> None:
        self.hashes: list[list[int]] = []
        self.with_answers: set[int] = set()
        self.has_answers = has_answers
        self.now_s = 0.0
        prefixes = Prefixes(self.hashes, SEGMENT_TOKENS, with_answers=self.with_answers) if is_caching else None
        self.subjects = [Subject(spec, service_time, prefixes, is_macro=is_macro) for is_macro in (True, False)]

    @rule(
        gap_s=st.floats(1e-3, 2.0) | st.integers(1, 20).map(lambda tick: 0.1 * tick),
        together=st.lists(requests, min_size=1, max_size=8),
    )
    def submit(self, gap_s: float, together: list[tuple[int, int, list[int]]]) -> None:
        self.now_s += gap_s
        first = len(self.hashes)
        self.hashes += [hashes for _, _, hashes in together]
        if self.has_answers:
            self.with_answers |= {first + n for n, (_, _, hashes) in enumerate(together) if hashes}
        for subject in self.subjects:
            lengths = [(prompt, output) for prompt, output, _ in together]
            subject.submit(self.now_s, [Sequence(first + n, *pair) for n, pair in enumerate(lengths)])

    @rule(gap_s=st.floats(1e-3, 2.0) | st.integers(1, 20).map(lambda tick: 0.1 * tick), which=st.integers(0, 7))
    def withdraw(self, gap_s: float, which: int) -> None:
        """Somebody's client goes, if anybody is there by then."""
        self.now_s += gap_s
        gone = [subject.withdraw(self.now_s, which) for subject in self.subjects]
        assert gone[0] == gone[1]

    @rule(gap_s=st.floats(1e-3, 2.0) | st.integers(1, 20).map(lambda tick: 0.1 * tick))
    def break_down(self, gap_s: float) -> None:
        """The replica loses all that it has and starts anew; its requests come again."""
        self.now_s += gap_s
        lost = [subject.break_down(self.now_s) for subject in self.subjects]
        assert lost[0] == lost[1]

    @rule(gap_s=st.floats(1e-3, 20.0))
    def wait(self, gap_s: float) -> None:
        self.now_s += gap_s
        for subject in self.subjects:
            subject.run_until(self.now_s)

    @invariant()
    def used_blocks_are_those_that_running_requests_need(self) -> None:
        for subject in getattr(self, "subjects", ()):
            replica, blocks = subject.replica, subject.blocks_by_request()
            cache = replica._prefix_cache
            n_needed = sum(blocks.values()) if cache is None else n_distinct(cache, blocks)
            assert replica.used_kv_blocks == n_needed
            assert n_needed <= replica.peak_kv_blocks <= kv_blocks(replica.spec)

    @invariant()
    def whoever_waits_has_nothing(self) -> None:
        for subject in getattr(self, "subjects", ()):
            replica = subject.replica
            assert replica.n_outstanding == len(replica._running) + len(replica._waiting)
            assert len(replica._running) <= replica.spec.max_seqs
            admissions = [seq.admission for seq in replica._running]
            assert admissions == sorted(admissions)
            assert replica._partial is None or replica._partial is list(replica._running)[-1]
            assert all(seq.batch is None and seq.computed_tokens == 0 for seq in replica._waiting)

    def teardown(self) -> None:
        for subject in getattr(self, "subjects", ()):
            subject.clock.run()
            assert subject.replica.n_outstanding == subject.replica.used_kv_blocks == 0
        if hasattr(self, "subjects"):
            macro, iteration = self.subjects
            assert macro.facts() == iteration.facts()
            assert macro.sums() == pytest.approx(iteration.sums(), rel=1e-9, abs=1e-9)


def n_distinct(cache: PrefixCache, blocks: dict[Sequence, int]) -> int:
    """Blocks of all requests; those that several share count once."""
    held = {index: holding.n_blocks for index, holding in cache._holdings.items()}  # of prompts that have ids
    n_blocks = sum(n - held.get(seq.index, 0) for seq, n in blocks.items())
    segments = list(cache._root.children.values())
    for segment in segments:
        n_blocks += segment.n_held
        segments += segment.children.values()
    return n_blocks


TestBlockAccounting = BlockAccounting.TestCase
TestBlockAccounting.settings = settings(stateful_step_count=20)
