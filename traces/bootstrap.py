"""Other traces like a recorded one: blocks of its time, drawn with replacement."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl

from traces.errors import TraceError
from traces.readers.prefixes import number_ids
from traces.synth import generator
from traces.trace import Trace

BLOCKS_STREAM = 103  # number of the random stream; 100 to 199 are this package's
MOST_BLOCKS = 10_000_000  # so many fit into memory: three years in blocks of 10 s


def block_bootstrap(trace: Trace, block_s: float, seed: int) -> Trace:
    """Put a trace of the same length together of blocks of the recorded time, drawn with replacement.

    The circular block bootstrap of Politis and Romano ("A circular block-resampling procedure for stationary data",
    in: Exploring the Limits of Bootstrap, 1992), in continuous time. The time from the first arrival to the last is
    closed to a circle, and each block begins anywhere on it with equal probability; the last one is cut short where
    the recorded time ends. So each request is expected once, which moving blocks (Künsch, Annals of Statistics 17,
    1989) do not grant those near the ends. Inside a block, arrivals keep their order, their gaps and their lengths.

    Requests are numbered anew. Each block has conversations and prefixes of its own: `session_id` and
    `prefix_hashes` are equal only where they were and are in one block, so that a block that is drawn twice does not
    ask the same twice. A conversation that a border cuts becomes two, and a prefix that two blocks have in common,
    perhaps a system prompt, is shared no longer.

    Args:
        trace: The recorded requests.
        block_s: Length of a block in seconds.
        seed: Any integer >= 0.

    Returns:
        The trace: arrivals lie between the first and the last recorded one.

    Raises:
        TraceError: `block_s` is not above 0, too short or longer than the trace, `seed` is below 0, or no request
            arrives in any of the blocks drawn.

    Examples:
        >>> trace = Trace.from_columns([0.0, 1.0, 5.0, 6.0], [10, 11, 12, 13], [1, 1, 1, 1])
        >>> block_bootstrap(trace, block_s=3.0, seed=0).requests["prompt_tokens"].to_list()
        [11, 12, 13, 10, 11]
    """
    duration_s = trace.duration_s
    _check(trace, block_s, seed)
    first_s, last_s = trace.requests["arrival_s"][0], trace.requests["arrival_s"][-1]
    since_first_s = trace.requests["arrival_s"].to_numpy() - first_s

    n_blocks = math.ceil(duration_s / block_s)
    length_s = np.clip(duration_s - np.arange(n_blocks) * block_s, 0, block_s)
    drawn_s = duration_s * (1 - generator(seed, BLOCKS_STREAM).random(n_blocks))  # above 0, up to the duration

    beyond_s = drawn_s - (duration_s - length_s)  # how far a block goes on from the beginning of the circle
    start = np.searchsorted(since_first_s, drawn_s)
    inside = np.searchsorted(since_first_s, drawn_s + length_s)
    stop = np.where(beyond_s > 0, len(trace) + np.searchsorted(since_first_s, beyond_s), inside)
    position, block = _positions(start, stop)
    if not len(position):
        drawn = f"the {n_blocks} blocks of {block_s:g} s drawn with seed {seed}"
        msg = f"{trace.source}: no request arrives in {drawn}; take longer blocks"
        raise TraceError(msg)

    row = position % len(trace)
    wrapped_s = np.where(position < len(trace), -drawn_s[block], duration_s - drawn_s[block])
    edge_s = np.minimum(first_s + np.arange(n_blocks + 1) * block_s, last_s)
    arrival_s = np.minimum(edge_s[block] + (since_first_s[row] + wrapped_s), edge_s[block + 1])
    requests = _number_apart(trace.requests, row, block).with_columns(arrival_s=pl.Series(arrival_s))
    return replace(trace, requests=requests, source=f"{trace.source} | block_bootstrap({block_s!r}, seed={seed})")


def _check(trace: Trace, block_s: float, seed: int) -> None:
    duration_s = trace.duration_s
    if seed < 0:
        msg = f"{trace.source}: seed is {seed!r}; allowed: >= 0"
        raise TraceError(msg)
    if duration_s == 0:
        msg = f"{trace.source}: all requests arrive at one time: there is no time to cut into blocks"
        raise TraceError(msg)
    if not 0 < block_s <= duration_s:
        allowed = f"above 0, up to {duration_s!r}, the time from the first arrival to the last"
        msg = f"{trace.source}: block_s is {block_s!r}; allowed: {allowed}"
        raise TraceError(msg)
    if duration_s / block_s > MOST_BLOCKS:
        allowed = f"from {duration_s / MOST_BLOCKS:g}, for {MOST_BLOCKS} blocks, to {duration_s!r}"
        msg = f"{trace.source}: block_s is {block_s!r}; allowed: {allowed}"
        raise TraceError(msg)


def _positions(start: npt.NDArray[np.int64], stop: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
    """All numbers from each start to its stop, and which pair each comes from."""
    counts = stop - start
    pair = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return np.arange(len(pair)) - before[pair] + start[pair], pair


def _number_apart(requests: pl.DataFrame, row: npt.NDArray[np.int64], block: npt.NDArray[np.int64]) -> pl.DataFrame:
    """The rows named, numbered anew; no two blocks have an id of a conversation or of a prefix in common."""
    ids = [name for name in ("session_id", "prefix_hashes") if name in requests.columns]
    dense = requests.with_columns(number_ids(requests[name]) for name in ids)
    blocks = pl.Series("block", block)
    drawn = dense[row].with_columns(blocks, request_id=pl.int_range(pl.len(), dtype=pl.Int64))
    apart = [pl.col(name) + pl.col("block") * _count_ids(dense[name]) for name in ids]
    return drawn.with_columns(apart).drop("block")


def _count_ids(ids: pl.Series) -> int:
    """At least as many as there are different ids."""
    return ids.explode().n_unique() if isinstance(ids.dtype, pl.List) else ids.n_unique()
