"""Reads what load generators measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import polars as pl

from scenarios.errors import RunError
from scenarios.measurements import guidellm, inference_perf, nvidia, sglang, table, vllm_bench
from scenarios.measurements.measurement import Measurement
from scenarios.measurements.run import Load, Run
from traces import Trace, TraceError, nearest
from traces.readers import PathLike
from traces.readers.detect import PARQUET
from traces.readers.files import SEPARATORS as CSV_SEPARATORS
from traces.readers.files import SNIFFED_BYTES, beginning, open_parquet, read_json, read_json_lines, split_line
from traces.readers.prefixes import check_segments

FORMATS: Mapping[str, Callable[[PathLike, str | None], tuple[Run, ...]]] = {
    "aiperf": nvidia.read_records,
    "aiperf_summary": nvidia.read_summary,
    "csv": partial(table.read, "csv"),
    "genai_perf_timestamps": nvidia.refuse_timestamps,
    "guidellm": guidellm.read,
    "inference_perf": inference_perf.read_requests,
    "inference_perf_stage": inference_perf.read_stage,
    "jsonl": partial(table.read, "jsonl"),
    "parquet": partial(table.read, "parquet"),
    "sglang_bench": sglang.read,
    "vllm_bench": vllm_bench.read,
}
"""Name of a format -> its reader."""

SIGNATURES: Mapping[str, frozenset[str]] = {
    "aiperf": frozenset({"metadata", "metrics"}),
    "aiperf_summary": frozenset({"input_sequence_length", "output_sequence_length", "request_latency"}),
    "genai_perf_timestamps": frozenset({"experiments"}),
    "guidellm": frozenset({"benchmarks"}),
    "inference_perf": frozenset({"start_time", "end_time", "info"}),
    "inference_perf_stage": frozenset({"successes", "failures"}),
    "jsonl": frozenset({"arrival_s", "output_tokens"}),
    "sglang_bench": frozenset({"backend", "dataset_name", "total_input_tokens"}),
    "vllm_bench": frozenset({"num_prompts", "total_input_tokens", "total_output_tokens", "duration"}),
}
"""Of the formats in JSON: keys of the document, or of its first object, that make it certain."""

_OURS = frozenset({"arrival_s", "output_tokens"})


def read_measurement(
    path: PathLike,
    *,
    format: str = "auto",
    model: str | None = None,
    run: int | None = None,
    prefix_hashes: PathLike | None = None,
    prefix_segment_tokens: int = 16,
    concurrency: int | None = None,
    rate_rps: float | None = None,
) -> Measurement:
    """Read what a load generator measured.

    Args:
        path: The file.
        format: A key of `FORMATS`, or `auto`: found from the file itself.
        model: Name of the model of all requests, instead of the file's.
        run: Of a file with several runs (benchmarks of GuideLLM, lines of SGLang) the one to read, from 0. By default
            all of them: each is an aggregate then, unless there is only one.
        prefix_hashes: A JSON file with an array for each request of the file, in their order: ids of the segments of
            its prompt, equal ids for prompts that are equal up to there.
        prefix_segment_tokens: Tokens for which each of these ids stands, or of those that the file has itself.
        concurrency: Clients of a closed loop, where the file does not say how load was offered.
        rate_rps: Requests/s that were offered, where the file does not say it.

    Returns:
        The measurement: with requests where the file has them, else with aggregates.

    Raises:
        RunError: The format is not known, or something that was measured is missing or wrong.
        TraceError: The file cannot be read, or its requests are not valid.
    """
    # Long because its arguments are documented one by one.
    name = detect(path) if format == "auto" else format
    if name not in FORMATS:
        msg = f"unknown format {name!r}: {nearest(name, FORMATS)}"
        raise RunError(msg)
    runs = FORMATS[name](path, model)
    if run is not None and not 0 <= run < len(runs):
        msg = f"{path}: has no run {run}; it holds {len(runs)}, counted from 0"
        raise RunError(msg)
    chosen = runs if run is None else (runs[run],)
    source = f"{name}:{path}" if run is None else f"{name}:{path} (run {run})"
    found = _measurement(source, tuple(_offered(path, one, Load(concurrency, rate_rps)) for one in chosen))
    if prefix_hashes is None:
        return _with_segments(path, found, prefix_segment_tokens)
    if found.trace is None:
        msg = f"{path}: has no requests that prefix hashes could belong to"
        raise RunError(msg)
    return replace(found, trace=_with_hashes(found.trace, prefix_hashes, prefix_segment_tokens))


def _offered(path: PathLike, run: Run, load: Load) -> Run:
    """A run under the load that the user names, if any.

    Raises:
        RunError: The file says another.
    """
    if load == Load():
        return run
    stated = Load(run.aggregate.concurrency, run.aggregate.rate_rps)
    if stated not in (Load(), load):
        msg = f"{path}: says itself how load was offered: concurrency {stated.concurrency}, rate {stated.rate_rps}"
        raise RunError(msg)
    aggregate = replace(run.aggregate, concurrency=load.concurrency, rate_rps=load.rate_rps)
    return replace(run, aggregate=aggregate, concurrency=load.closed_loop)


def _measurement(source: str, runs: tuple[Run, ...]) -> Measurement:
    first = runs[0]
    if len(runs) == 1 and first.trace is not None:
        return Measurement(source, first.trace, first.real, first.concurrency, (), first.server)
    concurrency = first.concurrency if len(runs) == 1 else None
    return Measurement(source, None, None, concurrency, tuple(run.aggregate for run in runs), first.server)


def _with_segments(path: PathLike, found: Measurement, segment_tokens: int) -> Measurement:
    """What was read, with how many tokens its own prefix hashes stand for.

    Raises:
        TraceError: They do not fit the prompts.
    """
    trace = found.trace
    if trace is None or "prefix_hashes" not in trace.requests.columns:
        return found
    check_segments(trace.requests, segment_tokens, str(path))
    return replace(found, trace=replace(trace, prefix_segment_tokens=segment_tokens))


def _with_hashes(trace: Trace, path: PathLike, segment_tokens: int) -> Trace:
    """The trace with the prefix hashes of a file, whose arrays are in the order of the measured file's rows.

    Raises:
        RunError: The file is no array of arrays of whole numbers, or too short.
        TraceError: It cannot be read, or the hashes do not fit the prompts.
    """
    arrays = read_json(path)
    if not isinstance(arrays, list):
        msg = f"{path}: holds {type(arrays).__name__}, must hold an array with an array for each request"
        raise RunError(msg)
    rows = trace.requests["request_id"]
    if len(arrays) <= max(rows):
        msg = f"{path}: holds {len(arrays)} arrays, must have one for each request: {max(rows) + 1} or more"
        raise RunError(msg)
    for row in rows:
        ids = arrays[row]
        if not isinstance(ids, list) or not all(isinstance(one, int) for one in ids):
            msg = f"{path}: element {row} must be an array of whole numbers"
            raise RunError(msg)
    hashes = pl.Series("prefix_hashes", [arrays[row] or None for row in rows], dtype=pl.List(pl.Int64))
    frame = trace.requests.drop("prefix_hashes", strict=False).with_columns(hashes)
    check_segments(frame, segment_tokens, str(path))
    made = Trace.from_frame(frame, trace.source)
    return replace(made, notes=trace.notes, start=trace.start, prefix_segment_tokens=segment_tokens)


def detect(path: PathLike) -> str:
    """Find the format of a file from what is in it.

    Raises:
        RunError: It fits none; with what was found and what is allowed.
        TraceError: The file cannot be read.
    """
    text = beginning(path)
    if text.startswith(PARQUET):
        return _if_ours(path, "parquet", frozenset(open_parquet(path).schema))
    start = text.lstrip()
    if start[:1] not in ("{", "["):
        line = (start.splitlines() or [""])[0]
        separator = max(CSV_SEPARATORS, key=line.count)
        return _if_ours(path, "csv", frozenset(split_line(path, line, separator)))
    keys = _keys(path, start)
    fitting = [name for name, wanted in SIGNATURES.items() if wanted <= keys]
    if len(fitting) == 1:
        return fitting[0]
    raise _not_understood(path, keys, fitting)


def _keys(path: PathLike, start: str) -> frozenset[str]:
    """Keys of the document, or of the first of its objects or lines."""
    try:
        found, _ = json.JSONDecoder().raw_decode(start[start.index("{") :])
    except (ValueError, RecursionError):  # longer than the beginning, or damaged
        found = _first_value(path, start)
    found = found[0] if isinstance(found, list) and found else found
    return frozenset(found) if isinstance(found, dict) else frozenset()


def _first_value(path: PathLike, start: str) -> object:
    """The document or, where it is one of lines, the first of them."""
    try:
        return read_json(path)
    except TraceError:
        if len(start) < SNIFFED_BYTES // 2:  # all of the file was looked at
            raise
        return next(read_json_lines(path))[1]


def _if_ours(path: PathLike, kind: str, columns: frozenset[str]) -> str:
    if columns >= _OURS:
        return kind
    raise _not_understood(path, columns, [])


def _not_understood(path: PathLike, keys: frozenset[str], fitting: list[str]) -> RunError:
    shown = ", ".join(sorted(keys)[:12]) or "no names"
    likely = fitting or [name for name, wanted in SIGNATURES.items() if 2 * len(wanted & keys) > len(wanted)]
    guess = f"; likely: {', '.join(likely)}" if likely else ""
    allowed = ", ".join(FORMATS)
    return RunError(f"{path}: no measurement that is known ({shown}){guess}; formats: {allowed}")
