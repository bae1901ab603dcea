"""Results of `vllm bench serve`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from scenarios.errors import RunError
from scenarios.measurements.measurement import Aggregate
from scenarios.measurements.run import Load, Run, aggregate_of, count_of, is_number, mapping, measured_times, number
from scenarios.measurements.run import rate_of as offered_rate
from scenarios.measurements.settings import server_from
from traces.readers import PathLike, read_vllm_bench
from traces.readers.files import read_json

_FIGURE = re.compile(r"(mean|median|p\d+)_(ttft|tpot|e2el|e2e_latency)_ms")
_OURS = {"ttft": "ttft_s", "tpot": "tpot_s", "e2el": "e2e_s", "e2e_latency": "e2e_s"}


def read(path: PathLike, model: str | None) -> tuple[Run, ...]:
    """Read the result of `vllm bench serve --save-result`, per request if it was made with `--save-detailed`.

    Schema: github.com/vllm-project/vllm, vllm/benchmarks/serve.py: beside the arrays of lengths and `start_times`,
    `ttfts` and `latencies` (s; older versions have only `itls`, whose sum after the first token is the rest),
    `max_concurrency`, `request_rate` (a number, or "inf"), and `mean_`, `median_` and `p99_` of `ttft_ms`, `tpot_ms`,
    `e2el_ms`. What was given as `--metadata KEY=VALUE` stands beside them: server settings are taken from there.

    Raises:
        TraceError: The requests are not valid.
        RunError: A time or aggregate is missing or wrong.
    """
    result = mapping(path, read_json(path), "the document")
    load = load_of(result)
    server = server_from(path, result)
    if not isinstance(result.get("input_lens"), list):
        return (Run(None, None, flat_aggregate(path, result, load), load.closed_loop, server),)
    trace = read_vllm_bench(path, **({} if model is None else {"model": model}))
    real = measured_times(path, trace, *first_and_last(path, result))
    return (Run(trace, real, aggregate_of(trace, real, load), load.closed_loop, server),)


def load_of(result: Mapping[str, Any]) -> Load:
    """How load was offered, in the words of vLLM's and SGLang's benchmarks."""
    clients, rate_rps = count_of(result.get("max_concurrency")), offered_rate(result.get("request_rate"))
    return Load(clients, None if clients and rate_rps == math.inf else rate_rps)


def first_and_last(path: PathLike, result: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """When each request had its first and its last token, in seconds from its start.

    Raises:
        RunError: An array is missing or not as long as that of the prompts.
    """
    names = ("ttfts", "latencies" if "latencies" in result else "itls")
    check_lengths(path, {name: result.get(name) for name in names}, len(result["input_lens"]))
    ttfts = result["ttfts"]
    if "latencies" in result:
        return ttfts, result["latencies"]
    return ttfts, [_end(path, row, *pair) for row, pair in enumerate(zip(ttfts, result["itls"], strict=True))]


def check_lengths(path: PathLike, arrays: Mapping[str, Any], n: int) -> None:
    """Make sure that arrays have an element for each of n requests.

    Raises:
        RunError: One is no array, or has another length.
    """
    for name, array in arrays.items():
        if not isinstance(array, list) or len(array) != n:
            found = f"{len(array)} elements" if isinstance(array, list) else "no array"
            msg = f"{path}: {name} has {found}, must have one for each of the {n} requests"
            raise RunError(msg)


def _end(path: PathLike, row: int, ttft_s: object, itls: object) -> float | None:
    if not is_number(ttft_s):
        return None
    if not isinstance(itls, list) or not all(map(is_number, itls)):
        msg = f"{path}: request {row}: itls must be an array of seconds"
        raise RunError(msg)
    return float(ttft_s) + float(sum(itls))


def flat_aggregate(path: PathLike, result: Mapping[str, Any], load: Load) -> Aggregate:
    """A run without details: totals, and statistics in ms under names as `p99_ttft_ms`.

    Raises:
        RunError: A total is missing.
    """
    completed = number(path, result, "completed")
    figures: dict[str, float] = {}
    for name, value in result.items():
        found = _FIGURE.fullmatch(name)
        if found and is_number(value):
            statistic = "p50" if found[1] == "median" else found[1]
            figures[f"{_OURS[found[2]]}_{statistic}"] = value / 1e3
    rates = {"output_throughput": "output_tokens_per_s", "request_throughput": "requests_per_s"}
    figures |= {ours: float(result[theirs]) for theirs, ours in rates.items() if is_number(result.get(theirs))}
    if not any(name.startswith(("ttft_s", "tpot_s", "e2e_s")) for name in figures):
        msg = f"{path}: has neither times of requests nor aggregates such as mean_ttft_ms"
        raise RunError(msg)
    return Aggregate(
        number(path, result, "total_input_tokens") / completed,
        number(path, result, "total_output_tokens") / completed,
        load.concurrency,
        load.rate_rps,
        int(completed),
        figures,
    )
