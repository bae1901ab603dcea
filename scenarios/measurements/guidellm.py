"""Reports of GuideLLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scenarios.errors import RunError
from scenarios.measurements.measurement import Aggregate
from scenarios.measurements.run import (
    Load,
    Run,
    aggregate_of,
    count_of,
    figures_of,
    is_number,
    mapping,
    measured_times,
    part,
    rate_of,
)
from scenarios.measurements.settings import server_from
from traces.readers import PathLike, read_guidellm
from traces.readers.files import read_json

_TIMES = {
    "time_to_first_token_ms": ("ttft_s", 1e3),
    "inter_token_latency_ms": ("tpot_s", 1e3),
    "request_latency": ("e2e_s", 1.0),
}


def read(path: PathLike, model: str | None) -> tuple[Run, ...]:
    """Read a report of GuideLLM (`benchmarks.json`): a run for each of its benchmarks.

    Schema: github.com/vllm-project/guidellm, src/guidellm/schemas/base/request_stats.py: of each request
    `time_to_first_token_ms` and `request_latency` (s); src/guidellm/benchmark/schemas/base.py: `config.strategy` with
    `type_` (concurrent, synchronous, throughput, constant, poisson) and `streams`, `max_concurrency` or `rate`, and
    `config.backend.model`; generative/metrics.py: `metrics`, whose distributions of the `successful` are used where a
    report holds no requests. Its `inter_token_latency_ms` is a mean over tokens, not over requests.

    Raises:
        RunError: It holds no benchmarks, or a time or aggregate is missing or wrong.
        TraceError: The requests are not valid.
    """
    document = mapping(path, read_json(path), "the document")
    benchmarks = document.get("benchmarks")
    if not isinstance(benchmarks, list) or not benchmarks:
        msg = f"{path}: benchmarks must be an array with an object for each benchmark"
        raise RunError(msg)
    return tuple(
        _run(path, index, mapping(path, found, f"benchmark {index}"), model) for index, found in enumerate(benchmarks)
    )


def _run(path: PathLike, index: int, benchmark: Mapping[str, Any], model: str | None) -> Run:
    config = part(path, benchmark, "config")
    load = _load(part(path, config, "strategy", "config."))
    backend = part(path, config, "backend", "config.")
    server = server_from(path, {key: backend.get(key) for key in ("model", "version")})
    requests = part(path, benchmark, "requests")
    if not requests.get("successful"):
        return Run(None, None, _aggregate(path, index, benchmark, load), load.closed_loop, server)
    trace = read_guidellm(path, benchmark=index, model=model or server.model or "default")
    entries = requests["successful"]  # the reader's first rows
    ttft_s = [_in_seconds(entry.get("time_to_first_token_ms")) for entry in entries]
    real = measured_times(path, trace, ttft_s, [entry.get("request_latency") for entry in entries])
    return Run(trace, real, aggregate_of(trace, real, load), load.closed_loop, server)


def _load(strategy: Mapping[str, Any]) -> Load:
    kind = strategy.get("type_")
    if kind == "synchronous":
        return Load(concurrency=1)
    if kind in ("constant", "poisson", "async"):  # its max_concurrency is a ceiling of the client
        return Load(rate_rps=rate_of(strategy.get("rate")))
    return Load(count_of(strategy.get("streams")) or count_of(strategy.get("max_concurrency")))


def _in_seconds(ms: object) -> object:
    return ms / 1e3 if is_number(ms) else ms


def _aggregate(path: PathLike, index: int, benchmark: Mapping[str, Any], load: Load) -> Aggregate:
    metrics = mapping(path, benchmark.get("metrics"), f"metrics of benchmark {index}")

    def successful(name: str) -> Mapping[str, Any]:
        found = metrics.get(name)
        inner = found.get("successful") if isinstance(found, Mapping) else None
        return inner if isinstance(inner, Mapping) else {}

    figures: dict[str, float] = {}
    for name, (ours, per_s) in _TIMES.items():
        figures |= figures_of(ours, successful(name), per_s)
    rates = {"output_tokens_per_second": "output_tokens_per_s", "requests_per_second": "requests_per_s"}
    for name, ours in rates.items():
        value = successful(name).get("mean")
        figures |= {ours: float(value)} if is_number(value) else {}
    prompt, output = (successful(name).get("mean") for name in ("prompt_token_count", "output_token_count"))
    if not is_number(prompt) or not is_number(output) or not figures:
        msg = f"{path}: benchmark {index} has neither requests nor prompt_token_count, output_token_count and latencies"
        raise RunError(msg)
    n = count_of(successful("request_latency").get("count"))
    return Aggregate(prompt, output, load.concurrency, load.rate_rps, n, figures)
