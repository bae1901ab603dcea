"""Prefix caching as in vLLM V1: whole KV blocks of prompts are shared by requests that begin alike.

A block that nobody holds any more stays cached until it is the least recently freed and a block is needed. A request
frees its blocks in reverse order, so the end of a prefix goes before its beginning, and what is cached of a prompt is
always a leading part of it.

Nothing here is done per block or per token. The unit is the segment, the tokens that one id of the trace's
`prefix_hashes` stands for; of each the leading blocks are cached, and of those the leading ones held. Free blocks lie
in runs that were freed together. And the blocks that decodes take are evicted only when somebody looks: the replica
says how many blocks are free, and the difference is what has been taken since, from the least recently freed on.

Source of the rules: vLLM, vllm/v1/core/kv_cache_manager.py and block_pool.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterable
from collections.abc import Sequence as Rows
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sim.errors import DeploymentError

if TYPE_CHECKING:
    from sim.replica.batch import Sequence
    from traces.trace import Trace

DEFAULT_SEGMENT_TOKENS = 512  # Source: Mooncake's traces, FAST25-release, have one hash id per 512 tokens.

_OWN_SEGMENT_BLOCKS = 32  # of prompts without ids; any number does


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What a trace tells about which prompts begin alike.

    Attributes:
        hashes: For each request the ids of its prompt's segments, in order. An id stands for its segment and all
            before it; the last segment may be cut short by the end of the prompt.
        segment_tokens: Tokens of a segment.
        of_itself: Whether a prompt without ids begins like itself, should it be computed again.
        has_ids: Whether any prompt has ids.
        with_answers: Requests whose ids go on over what is answered, since the next prompt of their session holds it.
    """

    hashes: Rows[Rows[int]]
    segment_tokens: int = DEFAULT_SEGMENT_TOKENS
    of_itself: bool = False
    has_ids: bool = True
    with_answers: Container[int] = ()

    @classmethod
    def from_trace(cls, trace: Trace, segment_tokens: int = DEFAULT_SEGMENT_TOKENS) -> Prefixes | None:
        """The ids in a trace's column `prefix_hashes`; None if there are none.

        >>> from traces import Trace
        >>> Prefixes.from_trace(Trace.from_columns([0.0], [100], [1], model="llama")) is None
        True
        """
        if "prefix_hashes" not in trace.requests.columns:
            return None
        hashes: list[list[int] | None] = trace.requests["prefix_hashes"].to_list()
        return cls([row or [] for row in hashes], segment_tokens) if any(hashes) else None

    @classmethod
    def of_all(cls, trace: Trace, segment_tokens: int = DEFAULT_SEGMENT_TOKENS) -> Prefixes:
        """The same, with what prompts without ids have in common with themselves: a preempted one finds its own blocks.

        >>> from traces import Trace
        >>> Prefixes.of_all(Trace.from_columns([0.0, 1.0], [1000, 100], [1, 1], model="llama"))
        Prefixes(hashes=[[], []], segment_tokens=512, of_itself=True, has_ids=False, with_answers=())
        """
        known = cls.from_trace(trace, segment_tokens)
        if known is None:
            return cls([[]] * len(trace), segment_tokens, of_itself=True, has_ids=False)
        return cls(known.hashes, segment_tokens, of_itself=True)

    def take(self, rows: Iterable[int]) -> Prefixes:
        """Those of some requests, none of them in a session."""
        return replace(self, hashes=[self.hashes[row] for row in rows])


class PrefixCache:
    """The KV blocks of one replica.

    Args:
        prefixes: Which prompts begin alike.
        n_blocks: Blocks of the replica.
        block_tokens: Tokens of a block.

    Raises:
        DeploymentError: A segment is not a whole number of blocks.
    """

    def __init__(self, prefixes: Prefixes, n_blocks: int, block_tokens: int) -> None:
        if not prefixes.has_ids:
            prefixes = replace(prefixes, segment_tokens=_OWN_SEGMENT_BLOCKS * block_tokens)
        if prefixes.segment_tokens < 1 or prefixes.segment_tokens % block_tokens:
            msg = f"prefix caching: {prefixes.segment_tokens} tokens per hash are not whole blocks of {block_tokens}"
            raise DeploymentError(msg)
        self._prefix_hashes = prefixes.hashes
        self._with_answers = prefixes.with_answers
        self._is_of_itself = prefixes.of_itself
        self._own_hashes: dict[int, Rows[int]] = {}  # of prompts without any that may be computed again
        self._block_tokens = block_tokens
        self._segment_blocks = prefixes.segment_tokens // block_tokens
        self._root = _Segment(None, 0)
        self._holdings: dict[int, _Holding] = {}  # by index of the request
        unused = _Run(None, 0, n_blocks)
        self._runs: OrderedDict[_Run, None] = OrderedDict({unused: None})  # free blocks, the next to be taken first
        self._n_in_runs = n_blocks

    def may_hit(self, seq: Sequence) -> bool:
        """Whether anything is known of what a prompt begins with. Then its blocks must all be free, less the held ones.

        For a chunk of it, so many would be needed as are cached, and these may be evicted while it waits.
        """
        return bool(self._hashes(seq))

    def n_held_by_others(self, seq: Sequence) -> int:
        """Cached blocks of a request that is to be admitted that running requests hold: it needs no others for them.

        Cached blocks that nobody holds are among the free ones, and admitting the request takes them out. So this
        many less than all of its blocks must be free, however many of them are evicted before.
        """
        most = self._most_hits(seq)
        n_blocks = 0
        children = self._root.children
        for key in self._hashes(seq):
            segment = children.get(key)
            if segment is None:
                break
            n_blocks += segment.n_held
            if segment.n_held < self._segment_blocks or n_blocks >= most:
                break
            children = segment.children
        return min(n_blocks, most)

    def admit(self, seq: Sequence, n_free: int) -> tuple[int, int]:
        """Let a request hold what is cached of its prompt.

        Args:
            seq: The request.
            n_free: Free blocks of the replica.

        Returns:
            How many blocks it hits, and how many of these others hold too; the rest are free no more.
        """
        hashes = self._hashes(seq)
        if not hashes:
            return 0, 0
        self._evict(n_free)
        most = self._most_hits(seq)
        holding = self._holdings[seq.index] = _Holding()
        n_shared = 0
        children = self._root.children
        for key in hashes:
            segment = children.get(key)
            if segment is None or holding.n_blocks == most:
                break
            n_blocks = min(segment.n_cached, most - holding.n_blocks)
            n_shared += min(n_blocks, segment.n_held)
            self._hold(segment, 0, n_blocks)
            holding.segments.append(segment)
            holding.n_blocks += n_blocks
            if n_blocks < self._segment_blocks:
                break
            children = segment.children
        return holding.n_blocks, n_shared

    def register(self, seq: Sequence, n_free: int) -> None:
        """Cache the blocks of a running request that its chunks have filled by now.

        vLLM does so when a chunk is scheduled: whoever hits the blocks runs in the same batch or in a later one.
        A block that is cached already is not cached twice.

        Args:
            seq: The request.
            n_free: Free blocks of the replica.
        """
        hashes = self._hashes(seq)
        if hashes:
            self._evict(n_free)
            self._cache(seq, hashes, min(seq.computed_tokens // self._block_tokens, self._n_hashed(seq)))

    def register_answer(self, seq: Sequence, n_free: int) -> None:
        """Cache the blocks that the answer of a request has filled, if the next prompt of its session begins with it.

        vLLM does so as they fill. Nobody asks for them before the answer is there: the last token of it, which was
        never read, is in none of them.

        Args:
            seq: A running request that has all of its tokens.
            n_free: Free blocks of the replica.
        """
        if seq.index in self._with_answers:
            hashes = self._hashes(seq)
            n_full = (seq.prompt_tokens + seq.output_tokens - 1) // self._block_tokens
            self._evict(n_free)
            self._cache(seq, hashes, min(n_full, len(hashes) * self._segment_blocks))

    def _cache(self, seq: Sequence, hashes: Rows[int], n_full: int) -> None:
        """Cache so many leading blocks of a running request, and let it hold them."""
        holding = self._holdings[seq.index]
        while holding.n_blocks < n_full:
            index, n_before = divmod(holding.n_blocks, self._segment_blocks)
            if n_before:
                segment = holding.segments[-1]
            else:
                parent = holding.segments[-1] if holding.segments else self._root
                segment = parent.children.get(hashes[index]) or _Segment(parent, hashes[index])
            if segment.n_cached > n_before:
                return
            n_blocks = min(self._segment_blocks, n_before + n_full - holding.n_blocks)
            segment.n_cached = n_blocks
            self._hold(segment, n_before, n_blocks)
            if not n_before:
                segment.attach()
                holding.segments.append(segment)
            holding.n_blocks += n_blocks - n_before

    def release(self, seq: Sequence, n_blocks: int, *, is_over: bool) -> tuple[int, int]:
        """Let a request go, with all of its blocks.

        Of one without ids nothing is cached until it is let go before it is over: nobody else could hit it.

        Args:
            seq: The request.
            n_blocks: Its blocks.
            is_over: Whether it will not be computed again.

        Returns:
            How many blocks are free now, and how many others go on holding.
        """
        if not self._hashes(seq):
            if is_over or not self._is_of_itself:
                self._runs[_Run(None, 0, n_blocks)] = None
                self._n_in_runs += n_blocks
                return n_blocks, 0
            n_segments = -(-seq.prompt_tokens // (self._segment_blocks * self._block_tokens))
            own = self._own_hashes[seq.index] = [-1 - seq.index] * n_segments  # those of traces are 0 or more
            self._holdings[seq.index] = _Holding()
            self._cache(seq, own, min(seq.computed_tokens // self._block_tokens, self._n_hashed(seq)))
        holding = self._holdings.pop(seq.index)
        n_freed = n_blocks - holding.n_blocks
        if n_freed:
            self._runs[_Run(None, 0, n_freed)] = None
        n_last = holding.n_blocks - self._segment_blocks * (len(holding.segments) - 1)
        for segment in reversed(holding.segments):
            n_freed += self._let_go(segment, n_last)
            n_last = self._segment_blocks
        self._n_in_runs += n_freed
        return n_freed, n_blocks - n_freed

    def _hashes(self, seq: Sequence) -> Rows[int]:
        """Ids of what a prompt begins with, as far as somebody may begin like it."""
        return self._prefix_hashes[seq.index] or self._own_hashes.get(seq.index, ())

    def _n_hashed(self, seq: Sequence) -> int:
        """Whole blocks of a prompt that the trace has ids for."""
        n_segments = len(self._hashes(seq))
        return min(n_segments * self._segment_blocks, seq.prompt_tokens // self._block_tokens)

    def _most_hits(self, seq: Sequence) -> int:
        """Most blocks that a request can hit: one token at least must be computed, for its logits."""
        return min(self._n_hashed(seq), (seq.target_tokens - 1) // self._block_tokens)

    # Holding and freeing ----------------------------------------------------------------------------------

    def _hold(self, segment: _Segment, n_before: int, n_blocks: int) -> None:
        """A request that held some leading cached blocks of a segment, perhaps none, holds more."""
        holders = segment.holders
        if n_before:
            _decrement(holders, n_before)
        holders[n_blocks] = holders.get(n_blocks, 0) + 1
        if n_blocks <= segment.n_held:
            return
        segment.n_held = n_blocks
        while segment.runs and segment.runs[-1].start < n_blocks:
            run = segment.runs[-1]
            stop = min(run.stop, n_blocks)
            self._n_in_runs -= stop - run.start
            run.start = stop
            if run.start == run.stop:
                del self._runs[segment.runs.pop()]

    def _let_go(self, segment: _Segment, n_blocks: int) -> int:
        """A request that held some leading blocks of a segment holds none; returns how many nobody holds any more."""
        holders = segment.holders
        _decrement(holders, n_blocks)
        n_held = max(holders, default=0)
        n_freed = segment.n_held - n_held
        if n_freed:
            run = _Run(segment, n_held, segment.n_held)
            segment.n_held = n_held
            segment.runs.append(run)
            self._runs[run] = None
        return n_freed

    def _evict(self, n_free: int) -> None:
        """Take blocks, the least recently freed first, until so many are free."""
        excess = self._n_in_runs - n_free
        self._n_in_runs = n_free
        while excess > 0:
            run = next(iter(self._runs))
            n_blocks = min(excess, run.stop - run.start)
            excess -= n_blocks
            run.stop -= n_blocks
            segment = run.segment
            if segment is not None:
                segment.n_cached = run.stop
            if run.start == run.stop:
                del self._runs[run]
                if segment is not None:
                    segment.runs.pop(0)
                    if segment.n_cached == 0:
                        segment.detach()


class _Segment:
    """Blocks of one segment of a prompt, behind all the segments before it.

    Attributes:
        children: Cached segments that follow, by their ids.
        n_cached: Leading blocks that are cached; all of them if there are children.
        n_held: Leading blocks that are held.
        holders: How many requests hold so many of its leading blocks.
        runs: The rest of the cached blocks, from the last to the first.
    """

    __slots__ = ("children", "holders", "key", "n_cached", "n_held", "parent", "runs")

    def __init__(self, parent: _Segment | None, key: int) -> None:
        self.parent = parent
        self.key = key
        self.children: dict[int, _Segment] = {}
        self.n_cached = 0
        self.n_held = 0
        self.holders: dict[int, int] = {}
        self.runs: list[_Run] = []

    def attach(self) -> None:
        """Make the segment known to those who look for it."""
        if self.parent is not None:
            self.parent.children[self.key] = self

    def detach(self) -> None:
        """Forget a segment of which nothing is cached."""
        if self.parent is not None:
            del self.parent.children[self.key]


class _Run:
    """Blocks [start, stop) of a segment, or blocks without an id, that were freed together; the last is taken first."""

    __slots__ = ("segment", "start", "stop")

    def __init__(self, segment: _Segment | None, start: int, stop: int) -> None:
        self.segment = segment
        self.start = start
        self.stop = stop


class _Holding:
    """The cached blocks that a running request holds: the leading ones of its prompt."""

    __slots__ = ("n_blocks", "segments")

    def __init__(self) -> None:
        self.segments: list[_Segment] = []
        self.n_blocks = 0


def _decrement(counts: dict[int, int], key: int) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
