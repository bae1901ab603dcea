"""Results of SGLang's bench_serving."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import Any

from scenarios.errors import RunError
from scenarios.measurements.run import Load, Run, aggregate_of, is_number, mapping, measured_times
from scenarios.measurements.settings import server_from
from scenarios.measurements.vllm_bench import first_and_last, flat_aggregate, load_of
from traces import Trace
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
    stated = result.get("server_info")
    server = server_from(path, {**(stated if isinstance(stated, Mapping) else {}), **result, "engine": "sglang"})
    knows_starts = isinstance(result.get("start_times"), list)
    if not isinstance(result.get("input_lens"), list) or not (knows_starts or _is_at_once(load)):
        return Run(None, None, flat_aggregate(path, result, load), load.closed_loop, server)
    ttft_s, e2e_s = first_and_last(path, result)
    kept = _succeeded(path, result, ttft_s, e2e_s)
    if not knows_starts and len(kept) < len(ttft_s):  # a client was free after a failure nobody knows when
        return Run(None, None, flat_aggregate(path, result, load), load.closed_loop, server)
    starts_s = result["start_times"] if knows_starts else _starts([e2e_s[row] for row in kept], load)
    sent_s = [starts_s[row] for row in kept] if knows_starts else starts_s
    first_s = min(sent_s)
    requests = sorted(zip(sent_s, kept, strict=True))
    rows = [row for _, row in requests]
    trace = Trace.from_columns(
        [start_s - first_s for start_s, _ in requests],
        [result["input_lens"][row] for row in rows],
        [result["output_lens"][row] for row in rows],
        model=model or server.model or "default",
        source=f"sglang_bench:{path}",
    )
    real = measured_times(path, trace, [ttft_s[row] for row in rows], [e2e_s[row] for row in rows])
    return Run(trace, real, aggregate_of(trace, real, load), load.closed_loop, server)


def _is_at_once(load: Load) -> bool:
    """Whether requests were sent as soon as the clients could."""
    return load.rate_rps == math.inf or (load.rate_rps is None and load.concurrency is not None)


def _succeeded(
    path: PathLike, result: Mapping[str, Any], ttft_s: Sequence[object], e2e_s: Sequence[object]
) -> list[int]:
    """The requests with an answer.

    Raises:
        RunError: There is none, or an array has another length.
    """
    n = len(ttft_s)
    errors = result.get("errors") or [""] * n
    outputs = result.get("output_lens")
    arrays = {"errors": errors, "output_lens": outputs, "start_times": result.get("start_times", outputs)}
    for name, array in arrays.items():
        if not isinstance(array, list) or len(array) != n:
            msg = f"{path}: {name} must have an element for each of the {n} requests"
            raise RunError(msg)
    kept = [row for row in range(n) if not errors[row] and outputs[row] and is_number(e2e_s[row])]  # type: ignore[index]
    if not kept:
        msg = f"{path}: no request has an answer"
        raise RunError(msg)
    return kept


def _starts(e2e_s: Sequence[float], load: Load) -> list[float]:
    """When requests were sent that all wait for one of the clients, in their order."""
    n_clients = load.concurrency or len(e2e_s)
    free_s = [0.0] * n_clients
    starts_s = []
    for length_s in e2e_s:
        start_s = heapq.heappop(free_s)
        starts_s.append(start_s)
        heapq.heappush(free_s, start_s + length_s)
    return starts_s
