"""Results of SGLang's bench_serving."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from typing import Any

from scenarios.measurements.run import Load, Run, aggregate_of, is_number, mapping, measured_times, part, trace_of
from scenarios.measurements.settings import server_from
from scenarios.measurements.vllm_bench import check_lengths, first_and_last, flat_aggregate, load_of
from traces.readers import PathLike
from traces.readers.files import read_json_lines


def read(path: PathLike, model: str | None) -> tuple[Run, ...]:
    """Read the JSON lines of SGLang's `bench_serving --output-file`, per request with `--output-details`.

    Schema: github.com/sgl-project/sglang, python/sglang/bench_serving.py: a line for each run, with `request_rate`,
    `max_concurrency`, totals, and `mean_`, `median_`, `p99_` of `ttft_ms`, `tpot_ms`, `e2e_latency_ms`; with details
    also `input_lens`, `output_lens`, `ttfts`, `itls` (s), `errors`. When requests were sent is in there only in newer
    versions (`start_times`). Else it follows for those that were sent at once, or as soon as one of `max_concurrency`
    had ended; of runs with a rate, or
    with failed requests, only the aggregates can be had.

    Raises:
        RunError: A line is no result, or a time or aggregate is missing or wrong.
        TraceError: The requests are not valid.
    """
    return tuple(_run(path, mapping(path, line, f"line {row + 1}"), model) for row, line in read_json_lines(path))


def _run(path: PathLike, result: Mapping[str, Any], model: str | None) -> Run:
    load = load_of(result)
    server = server_from(path, {**part(path, result, "server_info"), **result, "engine": "sglang"})
    starts_s = _starts(path, result, load)
    if starts_s is None:
        return Run(None, None, flat_aggregate(path, result, load), load.closed_loop, server)
    columns = {"prompt_tokens": result["input_lens"], "output_tokens": result.get("output_lens"), "arrival_s": starts_s}
    columns["error"] = result.get("errors") or [""] * len(starts_s)
    check_lengths(path, columns, len(starts_s))
    rows = zip(*columns.values(), strict=True)
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    trace = trace_of(path, "sglang_bench", records, "s", model or server.model)
    real = measured_times(path, trace, *first_and_last(path, result))
    return Run(trace, real, aggregate_of(trace, real, load), load.closed_loop, server)


def _is_at_once(load: Load) -> bool:
    """Whether requests were sent as soon as the clients could."""
    return load.rate_rps == math.inf or (load.rate_rps is None and load.concurrency is not None)


def _starts(path: PathLike, result: Mapping[str, Any], load: Load) -> list[Any] | None:
    """When each request was sent, as far as it is said or follows; None if it does not."""
    if not isinstance(result.get("input_lens"), list):
        return None
    if isinstance(result.get("start_times"), list):
        return list(result["start_times"])
    _, e2e_s = first_and_last(path, result)
    errors = result.get("errors") or []
    check_lengths(path, {"errors": errors or e2e_s}, len(e2e_s))
    has_failed = any(errors) or not all(map(is_number, e2e_s))
    if not _is_at_once(load) or has_failed:  # after a failure a client was free nobody knows when
        return None
    free_s = [0.0] * min(load.concurrency or len(e2e_s), len(e2e_s))
    starts_s = []
    for length_s in e2e_s:
        starts_s.append(heapq.heappop(free_s))
        heapq.heappush(free_s, starts_s[-1] + length_s)
    return starts_s
