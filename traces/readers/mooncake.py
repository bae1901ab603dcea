"""Traces with prefix hashes: Mooncake's, GuideLLM's replay files and Qwen-Bailian's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from traces.errors import TraceError
from traces.readers.files import PathLike, Table, open_csv, open_jsonl
from traces.readers.reading import Layout, Reading
from traces.readers.table import UNITS, make_trace
from traces.trace import Trace

MOONCAKE_TICK_S = 3.0  # 1,174 of the conversation trace's 1,179 distances between times are within 1 ms of it
MOONCAKE_SEGMENT_TOKENS = 512
BAILIAN_SEGMENT_TOKENS = 16

_LENGTHS = {"prompt_tokens": "input_length", "output_tokens": "output_length"}


def read_mooncake(path: PathLike, *, spread_ticks: bool = False, **options: Any) -> Trace:
    """Read a Mooncake trace (conversation, tool and agent, synthetic), as published (`.jsonl`) or as a table (`.csv`).

    Schema: github.com/kvcache-ai/Mooncake, FAST25-release/README.md and traces (Apache-2.0; cite Qin et al.,
    "Mooncake", FAST 2025): `timestamp` (`timestamp_ms` in a table) in whole ms, `input_length`, `output_length` and, in
    the JSON lines, `hash_ids`, one per 512 tokens of the prompt, which become `prefix_hashes`. Other columns are
    ignored. Times with fractions are not what is published: their `time_unit` must be said.

    Times are recorded in ticks of about 3 s, so requests come in batches of about ten. They are left so
    unless `spread_ticks` is set: then the k requests of a tick keep their order and arrive at equal
    distances, the first at the tick, over the time to the next tick, at most 3 s.

    Raises:
        TraceError: The file cannot be read, or does not hold valid requests.
    """
    is_table = ".jsonl" not in Path(path).suffixes
    table = open_csv(path) if is_table else open_jsonl(path)
    columns = {"arrival_s": "timestamp_ms" if is_table else "timestamp", **_LENGTHS}
    if not is_table and "hash_ids" in table.schema:
        columns["prefix_hashes"] = "hash_ids"
    reading = Reading.of(path, options)
    if reading.time_unit is None:
        _require_whole(table, columns["arrival_s"])
    layout = Layout("mooncake", columns, time_unit="ms", segment_tokens=MOONCAKE_SEGMENT_TOKENS)
    trace = make_trace(table, layout, reading)
    return _spread(trace) if spread_ticks else trace


def read_guidellm_replay(path: PathLike, **options: Any) -> Trace:
    """Read a file that GuideLLM replays: JSON lines in Mooncake's columns, but in seconds.

    Schema: github.com/vllm-project/guidellm, src/guidellm/schemas/data/deserializers/trace_common.py: `timestamp` (s),
    `input_length`, `output_length`; with `hash_ids` (of 512 tokens unless `prefix_segment_tokens` says otherwise) in
    Mooncake's variant.

    Raises:
        TraceError: The file cannot be read, or does not hold valid requests.
    """
    table = open_jsonl(path)
    columns = {"arrival_s": "timestamp", **_LENGTHS}
    if "hash_ids" in table.schema:
        columns["prefix_hashes"] = "hash_ids"
    layout = Layout("guidellm_replay", columns, time_unit="s", segment_tokens=MOONCAKE_SEGMENT_TOKENS)
    return make_trace(table, layout, Reading.of(path, options))


def read_qwen_bailian(path: PathLike, **options: Any) -> Trace:
    """Read a Qwen-Bailian trace (`qwen_trace{A,B}_blksz_16.jsonl`).

    Schema: github.com/alibaba-edu/qwen-bailian-usagetraces-anon, README.md (Apache-2.0; cite Wang et al., "KVCache
    Cache in the Wild", USENIX ATC 2025): `timestamp` (s), `input_length`, `output_length`, `hash_ids`, one per 16
    tokens of the prompt, and conversations as `chat_id` and `parent_chat_id` (-1: the first turn). A conversation is
    a session, numbered by the `chat_id` of its first turn; a turn whose parent is not in the file begins one. `type`,
    `turn` are ignored.

    Raises:
        TraceError: The file cannot be read, or does not hold valid requests.
    """
    table = open_jsonl(path)
    reading = Reading.of(path, options)
    columns = {"arrival_s": "timestamp", **_LENGTHS, "prefix_hashes": "hash_ids"}
    notes: tuple[str, ...] = ()
    if {"chat_id", "parent_chat_id"} <= set(table.schema):
        table, notes = _with_sessions(table)
        columns["session_id"] = "session"
    layout = Layout("qwen_bailian", columns, time_unit="s", segment_tokens=BAILIAN_SEGMENT_TOKENS, notes=notes)
    return make_trace(table, layout, reading)


def _with_sessions(table: Table) -> tuple[Table, tuple[str, ...]]:
    """Follow each turn to the first of its conversation."""
    turns = table.collect(table.scan.select("chat_id", "parent_chat_id"))
    parent = dict(turns.iter_rows())
    first: dict[Any, Any] = {}
    for chat in parent:
        path = [chat]
        while path[-1] not in first and parent.get(path[-1], -1) in parent and len(path) <= len(parent):
            path.append(parent[path[-1]])
        if len(path) > len(parent):
            msg = f"{table.path}: chat {chat} is its own ancestor"
            raise TraceError(msg)
        root = first.get(path[-1], path[-1])
        first.update(dict.fromkeys(path, root))
    lost = {above for above in parent.values() if above not in (None, -1) and above not in parent}
    notes = (f"{len(lost)} conversations begin before the file: their later turns are sessions of their own",)
    sessions = pl.Series("session", [first[chat] for chat in turns["chat_id"]])
    scan = pl.concat([table.scan, pl.LazyFrame({"session": sessions})], how="horizontal")
    return replace(table, scan=scan, schema={**table.schema, "session": sessions.dtype}), notes if lost else ()


def _require_whole(table: Table, name: str) -> None:
    """Milliseconds are published as whole numbers; with fractions they are likely seconds."""
    if name not in table.schema or table.schema[name] == pl.String:
        return
    times = table.collect(table.scan.select(pl.col(name)))[name]
    if not times.dtype.is_float():
        return
    fractions = (times != times.floor()).fill_null(value=False).arg_true()
    if len(fractions):
        row = fractions[0]
        msg = (
            f"{table.path}: {name}: row {row}: {times[row]} is not whole, and Mooncake's times are whole milliseconds: "
            "say time_unit: s or ms (the reader guidellm_replay takes seconds)"
        )
        raise TraceError(msg, UNITS)


def _spread(trace: Trace) -> Trace:
    """Move the requests of one tick apart; see `read_mooncake`."""
    arrival, later = pl.col("arrival_s"), pl.col("arrival_s").shift(-1)
    next_tick = pl.when(later > arrival).then(later).fill_null(strategy="backward")
    width_s = (next_tick - arrival).fill_null(MOONCAKE_TICK_S).clip(upper_bound=MOONCAKE_TICK_S)
    tick = arrival.rle_id()
    position = pl.int_range(pl.len()).over(tick) / pl.len().over(tick)
    requests = trace.requests.with_columns(arrival + position * width_s)
    return replace(trace, requests=requests.sort("arrival_s", "request_id"), source=f"{trace.source} | spread_ticks")
