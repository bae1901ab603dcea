"""Results of AIPerf and of GenAI-Perf, which came before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scenarios.errors import RunError
from scenarios.measurements.measurement import Aggregate, Server
from scenarios.measurements.run import (
    Load,
    Run,
    aggregate_of,
    count_of,
    figures_of,
    is_number,
    mapping,
    measured_times,
    number,
    part,
    rate_of,
    trace_of,
)
from traces.readers import PathLike
from traces.readers.files import read_json, read_json_lines

_PER_S = {"s": 1.0, "sec": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_TIMES = {"time_to_first_token": "ttft_s", "inter_token_latency": "tpot_s", "request_latency": "e2e_s"}
_TTFT_AND_E2E = ("time_to_first_token", "request_latency")
_RATES = {"output_token_throughput": "output_tokens_per_s", "request_throughput": "requests_per_s"}


def read_records(path: PathLike, model: str | None) -> tuple[Run, ...]:
    """Read a `profile_export.jsonl` of AIPerf.

    Schema: github.com/ai-dynamo/aiperf, docs/tutorials/working-with-profile-exports.md: a line for each request, with
    `metadata.request_start_ns` and `benchmark_phase`, `error`, and `metrics`, each with `value` and `unit`:
    `input_sequence_length`, `output_sequence_length`, `time_to_first_token`, `request_latency`. Requests of a phase
    other than profiling, cancelled ones and those with an error are left out.

    Raises:
        RunError: A line is no record, or a time is wrong.
        TraceError: The requests are not valid.
    """
    records = [(row, mapping(path, line, f"line {row + 1}")) for row, line in read_json_lines(path)]
    profiled = [(row, record) for row, record in records if _phase(path, row, record) == "profiling"]
    n_others = len(records) - len(profiled)
    notes = (f"left out: {n_others} requests of the warm-up",) if n_others else ()
    trace = trace_of(path, "aiperf", [_request(path, *pair) for pair in profiled], "ns", model, notes)
    ttft_s, e2e_s = ([_seconds(path, *pair, name) for pair in profiled] for name in _TTFT_AND_E2E)
    real = measured_times(path, trace, ttft_s, e2e_s)
    return (Run(trace, real, aggregate_of(trace, real, Load())),)


def _phase(path: PathLike, row: int, record: Mapping[str, Any]) -> object:
    return part(path, record, "metadata", f"line {row + 1}: ").get("benchmark_phase", "profiling")


def _request(path: PathLike, row: int, record: Mapping[str, Any]) -> dict[str, Any]:
    metadata = part(path, record, "metadata", f"line {row + 1}: ")
    is_whole = record.get("error") is None and not metadata.get("was_cancelled")
    return {
        "arrival_s": metadata.get("request_start_ns"),
        "prompt_tokens": _metric(path, row, record, "input_sequence_length").get("value") if is_whole else None,
        "output_tokens": _metric(path, row, record, "output_sequence_length").get("value") if is_whole else None,
        "error": "" if is_whole else "error",
    }


def _metric(path: PathLike, row: int, record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    metrics = part(path, record, "metrics", f"line {row + 1}: ")
    return part(path, metrics, name, f"line {row + 1}: metrics.")


def _seconds(path: PathLike, row: int, record: Mapping[str, Any], name: str) -> object:
    metric = _metric(path, row, record, name)
    value = metric.get("value")
    return value / _per_s(path, metric, f"line {row + 1}: metrics.{name}") if is_number(value) else value


def _per_s(path: PathLike, metric: Mapping[str, Any], what: str) -> float:
    unit = metric.get("unit", "ms")
    if not isinstance(unit, str) or unit not in _PER_S:
        msg = f"{path}: {what}.unit is {unit!r}, must be one of {', '.join(_PER_S)}"
        raise RunError(msg)
    return _PER_S[unit]


def read_summary(path: PathLike, model: str | None) -> tuple[Run, ...]:
    """Read a `profile_export_aiperf.json` of AIPerf or a `profile_export_genai_perf.json` of GenAI-Perf.

    Schema: docs.nvidia.com/aiperf/reference/json-export-schema: an object for each metric, with `unit`, `avg`, `p50`,
    `p90`, `p99`; github.com/triton-inference-server/perf_analyzer, genai-perf/genai_perf/export_data/json_exporter.py:
    the same. Load stands in `input_config`: `loadgen.concurrency` or `.request_rate` (AIPerf), `perf_analyzer.stimulus`
    or `concurrency`, `request_rate` (GenAI-Perf). `inter_token_latency` is per request, after the first token: a TPOT.

    Raises:
        RunError: An aggregate is missing or wrong.
    """
    document = mapping(path, read_json(path), "the document")
    figures: dict[str, float] = {}
    for theirs, ours in _TIMES.items():
        metric = document.get(theirs)
        if isinstance(metric, Mapping):
            figures |= figures_of(ours, metric, _per_s(path, metric, theirs))
    for theirs, ours in _RATES.items():
        value = part(path, document, theirs).get("avg")
        figures |= {ours: float(value)} if is_number(value) else {}
    lengths = [
        number(path, mapping(path, document.get(name), name), "avg", f"{name}.avg")
        for name in ("input_sequence_length", "output_sequence_length")
    ]
    config = part(path, document, "input_config")
    load = _load(path, config)
    n = count_of(part(path, document, "request_count").get("avg"))
    aggregate = Aggregate(lengths[0], lengths[1], load.concurrency, load.rate_rps, n, figures)
    return (Run(None, None, aggregate, load.closed_loop, Server(model=model or _model(path, config))),)


def _load(path: PathLike, config: Mapping[str, Any]) -> Load:
    loadgen, analyzer = (part(path, config, name, "input_config.") for name in ("loadgen", "perf_analyzer"))
    stimulus = part(path, analyzer, "stimulus", "input_config.perf_analyzer.")
    for place in (loadgen, stimulus, config):
        load = Load(count_of(place.get("concurrency")), rate_of(place.get("request_rate")))
        if load != Load():
            return load
    return Load()


def _model(path: PathLike, config: Mapping[str, Any]) -> str | None:
    endpoint = part(path, config, "endpoint", "input_config.")
    names = endpoint.get("model_names") or config.get("model_names") or config.get("model")
    first = names[0] if isinstance(names, list) and names else names
    return first if isinstance(first, str) else None


def refuse_timestamps(path: PathLike, model: str | None) -> tuple[Run, ...]:
    """Say why a `profile_export.json` of GenAI-Perf cannot be used: it has texts and times, but no numbers of tokens.

    Schema: github.com/triton-inference-server/perf_analyzer: `experiments` with `requests` with `timestamp` and
    `response_timestamps`.

    Raises:
        RunError: Always.
    """
    msg = (
        f"{path}: has times of answers, but no numbers of tokens: those need the model's tokenizer; use "
        "profile_export_genai_perf.json beside it, or AIPerf, whose profile_export.jsonl has both"
    )
    raise RunError(msg)
