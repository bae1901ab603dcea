"""Finds the reader of a file from the file itself, where that is safe."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from traces.errors import TraceError
from traces.readers.files import SEPARATORS as CSV_SEPARATORS
from traces.readers.files import PathLike, beginning, open_parquet, read_json, split_line
from traces.readers.naming import name_columns
from traces.readers.times import ZONE

PARQUET = "PAR1"
_OUR_NAMES = frozenset({"arrival_s", "prompt_tokens", "output_tokens"})

SIGNATURES: Mapping[str, tuple[str, frozenset[str]]] = {
    "azure_2023": ("csv", frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"})),
    "azure_2025": ("csv", frozenset({"TIMESTAMP", "NumImages", "ContextTokens", "GeneratedTokens"})),
    "burstgpt": ("csv", frozenset({"Timestamp", "Model", "Request tokens", "Response tokens"})),
    "csv": ("csv", _OUR_NAMES),
    "guidellm": ("json", frozenset({"benchmarks"})),
    "inference_perf": ("json", frozenset({"start_time", "end_time", "request", "response", "info"})),
    "jsonl": ("json", _OUR_NAMES),
    "langfuse": ("csv json", frozenset({"startTime", "promptTokens", "completionTokens"})),
    "litellm": ("csv json", frozenset({"startTime", "prompt_tokens", "completion_tokens"})),
    "llmservingsim": ("json", frozenset({"input_toks", "output_toks"})),
    "mooncake": ("json", frozenset({"timestamp", "input_length", "output_length", "hash_ids"})),
    "openai_usage": ("json", frozenset({"created", "usage", "model"})),
    "otel_genai": ("json", frozenset({"resourceSpans"})),
    "parquet": ("parquet", _OUR_NAMES),
    "qwen_bailian": (
        "json",
        frozenset({"chat_id", "parent_chat_id", "timestamp", "input_length", "output_length", "hash_ids"}),
    ),
    "servegen": ("csv", frozenset({"arrival_s", "client_id", "input_tokens", "output_tokens"})),
    "servegen_offline": ("json", frozenset({"request_id", "type", "input_length", "output_length", "duration"})),
    "sharegpt": ("json", frozenset({"conversations"})),
    "splitwise_sim": ("csv", frozenset({"arrival_timestamp", "prompt_size", "token_size"})),
    "vidur": ("csv", frozenset({"num_prefill_tokens", "num_decode_tokens"})),
    "vllm_bench": ("json", frozenset({"num_prompts", "total_input_tokens", "total_output_tokens", "duration"})),
}
"""Reader -> the kinds of file it reads, and the columns that make it certain. Those that are not here must be named."""

ALIKE = {
    "guidellm_replay": ("json", frozenset({"timestamp", "input_length", "output_length"})),
    "mooncake (a table)": ("csv", frozenset({"timestamp_ms", "input_length", "output_length"})),
    "servegen (timestamp)": ("csv", frozenset({"timestamp", "input_tokens", "output_tokens"})),
}


def detect(path: PathLike) -> str:
    """Find the reader of a file.

    Args:
        path: The file.

    Returns:
        A key of `READERS`.

    Raises:
        TraceError: The file cannot be read, or its columns fit none or several; with the likely ones.
    """
    kind, names, first = _sniff(path)
    known = {**SIGNATURES, **ALIKE}
    fitting = {name: keys for name, (kinds, keys) in known.items() if kind in kinds.split() and keys <= set(names)}
    best = [name for name, keys in fitting.items() if not any(keys < other for other in fitting.values())]
    if len(best) == 1 and best[0].startswith("mooncake") and _is_whole(first):
        return "mooncake"
    if len(best) == 1 and best[0] in SIGNATURES and best[0] != "mooncake":
        is_2024 = best[0] == "azure_2023" and re.search(ZONE, str(first.get("TIMESTAMP", "")))
        return "azure_2024" if is_2024 else best[0]
    likely = best or sorted(
        (
            name
            for name, (kinds, keys) in known.items()
            if kind in kinds.split() and 2 * len(keys & set(names)) >= len(keys)
        ),
    )
    if "guidellm_replay" in likely or "mooncake" in likely:
        likely = ["guidellm_replay (seconds)", "mooncake (milliseconds)"]
    plain = {"csv": "csv", "json": "jsonl or json", "parquet": "parquet"}[kind]
    guess = f"likely: {', '.join(likely)}; or " if likely else ""
    remedy = name_columns(("arrival_s", "prompt_tokens", "output_tokens"), list(names))
    shown = ", ".join(list(names)[:12])
    msg = f"{path}: the reader cannot be told from its columns ({shown}): {guess}{plain} with {remedy}"
    raise TraceError(msg, [remedy])


def plain_reader(path: PathLike) -> str:
    """The reader of plain tables for the kind that a file is: csv, jsonl, json or parquet.

    Raises:
        TraceError: The file cannot be read.
    """
    kind, _, _ = _sniff(path)
    if kind != "json":
        return kind
    line = beginning(path).lstrip().partition("\n")[0]
    try:
        return "jsonl" if isinstance(json.loads(line), dict) else "json"
    except (ValueError, RecursionError):
        return "json"


def _is_whole(first: Mapping[str, Any]) -> bool:
    time = first.get("timestamp_ms", first.get("timestamp"))
    return isinstance(time, int) or (isinstance(time, str) and time.strip().isdigit())


def _sniff(path: PathLike) -> tuple[str, Collection[str], Mapping[str, Any]]:
    """The kind of a file, its columns or keys, and its first row."""
    text = beginning(path)
    if text.startswith(PARQUET):
        return "parquet", list(open_parquet(path).schema), {}
    start = text.lstrip()
    if start[:1] in ("{", "["):
        first = _first_object(path, start)
        return "json", list(first), first
    lines = start.splitlines() or [""]
    separator = max(CSV_SEPARATORS, key=lines[0].count)
    header, *rows = (split_line(path, line, separator) for line in lines[:2])
    return "csv", header, dict(zip(header, rows[0], strict=False)) if rows else {}


def _first_object(path: PathLike, start: str) -> Mapping[str, Any]:
    """The first object of JSON lines or of an array, or the document itself."""
    try:
        found, _ = json.JSONDecoder().raw_decode(start[start.index("{") :])
    except (ValueError, RecursionError):
        found = read_json(path)
    found = found[0] if isinstance(found, list) and found else found
    return found if isinstance(found, dict) else {}
