"""What sessions tell about prompts: each begins with the one before and what was answered, if it is long enough."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from collections.abc import Sequence as Rows
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from sim.replica.prefix_cache import Prefixes
from traces.closed_loop import Sessions

if TYPE_CHECKING:
    from traces.trace import Trace


def with_sessions(known: Prefixes | None, trace: Trace, segment_tokens: int) -> Prefixes | None:
    """The same, and what sessions tell.

    The ids of a request go on over its answer and are those of the next prompt of its session, if that is as long as
    both together and begins with the same whole segments. Prompts that have none get some of their own.

    Args:
        known: What the trace tells; None for nothing.
        trace: The requests.
        segment_tokens: Tokens of a segment.

    >>> from traces import Trace
    >>> turns = Trace.from_columns([0.0, 1.0, 2.0], [100, 700, 90], [60, 5, 5], session_id=[1, 1, 1])
    >>> prefixes = with_sessions(None, turns.sent_by(Sessions()), 64)
    >>> prefixes.hashes[0], prefixes.hashes[1][:3], prefixes.hashes[2], prefixes.with_answers
    ([-4, -5, -6], [-4, -5, -6], (), {0})
    """
    if not any(isinstance(loop, Sessions) for loop in trace.loops):
        return known
    requests = trace.requests
    prompts, outputs = requests["prompt_tokens"].to_list(), requests["output_tokens"].to_list()
    known = known or Prefixes([()] * len(trace), segment_tokens)
    hashes: list[Rows[int]] = list(known.hashes)
    own = itertools.count(-len(trace) - 1, -1)  # those of traces are 0 or more; replicas use -1 to -len(trace)
    with_answers: set[int] = set()
    for turns in _sessions(trace):
        for following, row in itertools.pairwise(reversed(turns)):
            ids, theirs = hashes[row], hashes[following]
            n_whole, n_tokens = prompts[row] // segment_tokens, prompts[row] + outputs[row]
            is_alike = not ids or (bool(theirs) and list(ids[:n_whole]) == list(theirs[:n_whole]))
            if prompts[following] < n_tokens or not is_alike:
                continue
            if not theirs:
                theirs = list(itertools.islice(own, -(-prompts[following] // segment_tokens)))
                hashes[following] = theirs
            hashes[row] = theirs[: -(-n_tokens // segment_tokens)]
            with_answers.add(row)
    if not with_answers:
        return known if known.of_itself or any(hashes) else None
    return replace(known, hashes=hashes, has_ids=True, with_answers=with_answers)


def _sessions(trace: Trace) -> Iterator[list[int]]:
    """For each session, the rows of its requests in order."""
    chained = [index for index, loop in enumerate(trace.loops) if isinstance(loop, Sessions)]
    rows = trace.requests.with_row_index("row").filter(pl.col("loop").is_in(chained))
    yield from rows.group_by("loop", "session_id", maintain_order=True).agg("row")["row"].to_list()
