"""One small run as each load generator would write it, made here after the schemas that the readers name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

SENT_S = (0.0, 0.5, 2.0)
PROMPTS, OUTPUTS = (10, 20, 30), (5, 1, 3)
TTFT_S, E2E_S = (0.0625, 0.125, 0.0625), (0.3125, 0.125, 0.1875)
TPOT_S = (0.0625, None, 0.0625)
N = len(SENT_S)
MODEL = "meta-llama/Llama-3.1-8B-Instruct"

AGGREGATES = {
    "ttft_s": {"mean": 0.25, "p50": 0.2, "p99": 0.5},
    "tpot_s": {"mean": 0.01, "p50": 0.009, "p99": 0.02},
    "e2e_s": {"mean": 1.25, "p50": 1.1, "p99": 2.5},
}
FIGURES = {f"{time}_{name}": value for time, values in AGGREGATES.items() for name, value in values.items()}


def _itls(row: int) -> list[float]:
    n_decodes = OUTPUTS[row] - 1
    return [(E2E_S[row] - TTFT_S[row]) / n_decodes] * n_decodes if n_decodes else []


def vllm_bench(**changes: Any) -> dict[str, Any]:
    """As `vllm bench serve --save-result --save-detailed`, with a request that failed; None takes a key out."""
    document = {
        "date": "20260110-101500",
        "backend": "openai",
        "model_id": MODEL,
        "num_prompts": N + 1,
        "request_rate": 1.5,
        "max_concurrency": None,
        "duration": 2.5,
        "completed": N,
        "total_input_tokens": sum(PROMPTS),
        "total_output_tokens": sum(OUTPUTS),
        "output_throughput": 4.0,
        "request_throughput": 1.25,
        "input_lens": [*PROMPTS, 7],
        "output_lens": [*OUTPUTS, 0],
        "ttfts": [*TTFT_S, 0.0],
        "itls": [*map(_itls, range(N)), []],
        "start_times": [*(100 + t for t in SENT_S), 103.0],
        "errors": ["", "", "", "Bad Gateway"],
        **{f"{_WORDS[p]}_{t.removesuffix('_s')}{'l' * (t == 'e2e_s')}_ms": 1e3 * v for t, vs in AGGREGATES.items()
           for p, v in vs.items()},
    }  # fmt: skip
    return {key: value for key, value in {**document, **changes}.items() if key not in changes or value is not None}


_WORDS = {"mean": "mean", "p50": "median", "p99": "p99"}
DETAILS = ("input_lens", "output_lens", "ttfts", "itls", "start_times", "errors")


def sglang_bench(**changes: Any) -> dict[str, Any]:
    """As a line of SGLang's bench_serving with --output-details, whose client is alone."""
    document = {
        "backend": "sglang",
        "dataset_name": "random",
        "request_rate": float("inf"),
        "max_concurrency": 1,
        "completed": N,
        "total_input_tokens": sum(PROMPTS),
        "total_output_tokens": sum(OUTPUTS),
        "output_throughput": 4.0,
        "request_throughput": 1.25,
        "input_lens": list(PROMPTS),
        "output_lens": list(OUTPUTS),
        "ttfts": list(TTFT_S),
        "itls": [_itls(row) for row in range(N)],
        "errors": [""] * N,
        **{f"{_WORDS[p]}_{'e2e_latency' if t == 'e2e_s' else t.removesuffix('_s')}_ms": 1e3 * v
           for t, vs in AGGREGATES.items() for p, v in vs.items()},
    }  # fmt: skip
    return {key: value for key, value in {**document, **changes}.items() if key not in changes or value is not None}


def guidellm_benchmark(**changes: Any) -> dict[str, Any]:
    """A benchmark in GuideLLM's report."""

    def request(row: int) -> dict[str, Any]:
        return {
            "request_start_time": 1.75e9 + SENT_S[row],
            "prompt_tokens": PROMPTS[row],
            "output_tokens": OUTPUTS[row],
            "time_to_first_token_ms": 1e3 * TTFT_S[row],
            "request_latency": E2E_S[row],
        }

    def of(values: Mapping[str, float], per_s: float = 1.0) -> dict[str, Any]:
        scaled = {name: value * per_s for name, value in values.items()}
        percentiles = {name: scaled[name] for name in scaled if name != "mean"}
        return {
            "successful": {"mean": scaled["mean"], "median": scaled.get("p50"), "percentiles": percentiles, "count": N}
        }

    return {
        "config": {"strategy": {"type_": "poisson", "rate": 1.5}, "backend": {"model": MODEL}},
        "requests": {"successful": [request(row) for row in range(N)], "errored": [], "incomplete": []},
        "metrics": {
            "time_to_first_token_ms": of(AGGREGATES["ttft_s"], 1e3),
            "inter_token_latency_ms": of(AGGREGATES["tpot_s"], 1e3),
            "request_latency": of(AGGREGATES["e2e_s"]),
            "prompt_token_count": of({"mean": 20.0}),
            "output_token_count": of({"mean": 3.0}),
            "output_tokens_per_second": of({"mean": 4.0}),
            "requests_per_second": of({"mean": 1.25}),
        },
        **changes,
    }


def inference_perf() -> list[dict[str, Any]]:
    """As inference-perf's per_request_lifecycle_metrics.json; the first with newer versions' own metrics."""

    def request(row: int) -> dict[str, Any]:
        start_s = 5000 + SENT_S[row]
        times = [start_s + TTFT_S[row]]
        for itl_s in _itls(row):
            times.append(times[-1] + itl_s)
        metrics = {"computed_metrics": {"time_to_first_token": TTFT_S[row]}} if row == 0 else {}
        return {
            "start_time": start_s,
            "end_time": start_s + E2E_S[row],
            "request": "{}",
            "response": "{}",
            "info": {"input_tokens": PROMPTS[row], "output_tokens": OUTPUTS[row], "output_token_times": times},
            "error": None,
            **metrics,
        }

    return [request(row) for row in range(N)]


def inference_perf_stage(**load: Any) -> dict[str, Any]:
    """As inference-perf's stage_0_lifecycle_metrics.json."""
    names = {"ttft_s": "time_to_first_token", "tpot_s": "time_per_output_token", "e2e_s": "request_latency"}
    latency = {names[t]: {_WORDS[p] if p == "p50" else p: v for p, v in vs.items()} for t, vs in AGGREGATES.items()}
    return {
        "load_summary": {"count": N, **load},
        "successes": {
            "count": N,
            "latency": latency,
            "throughput": {"output_tokens_per_sec": 4.0, "requests_per_sec": 1.25},
            "prompt_len": {"mean": 20.0},
            "output_len": {"mean": 3.0},
        },
        "failures": {"count": 0},
    }


def aiperf_records() -> list[dict[str, Any]]:
    """As AIPerf's profile_export.jsonl, with a request of the warm-up and one that was cancelled."""

    def record(row: int, **metadata: Any) -> dict[str, Any]:
        start_ns = 1_759_813_207_000_000_000 + int(SENT_S[row] * 1e9)
        values = {
            "input_sequence_length": (PROMPTS[row], "tokens"),
            "output_sequence_length": (OUTPUTS[row], "tokens"),
            "time_to_first_token": (TTFT_S[row] * 1e3, "ms"),
            "request_latency": (E2E_S[row] * 1e3, "ms"),
        }
        return {
            "metadata": {
                "request_start_ns": start_ns,
                "benchmark_phase": "profiling",
                "was_cancelled": False,
                **metadata,
            },
            "metrics": {name: {"value": value, "unit": unit} for name, (value, unit) in values.items()},
            "error": None,
        }

    cancelled = {**record(0), "metrics": {}, "error": {"code": 499}}
    return [record(0, benchmark_phase="warmup"), record(2), record(0), cancelled, record(1)]


def aiperf_summary(config: Mapping[str, Any]) -> dict[str, Any]:
    """As AIPerf's profile_export_aiperf.json, or GenAI-Perf's profile_export_genai_perf.json."""
    names = {"ttft_s": "time_to_first_token", "tpot_s": "inter_token_latency", "e2e_s": "request_latency"}
    return {
        **{names[t]: {"unit": "ms", **{"avg" if p == "mean" else p: 1e3 * v for p, v in vs.items()}}
           for t, vs in AGGREGATES.items()},
        "input_sequence_length": {"unit": "tokens", "avg": 20.0},
        "output_sequence_length": {"unit": "tokens", "avg": 3.0},
        "output_token_throughput": {"unit": "tokens/sec", "avg": 4.0},
        "request_throughput": {"unit": "requests/sec", "avg": 1.25},
        "request_count": {"unit": "requests", "avg": float(N)},
        "input_config": config,
    }  # fmt: skip


def own_table(**changes: Any) -> pl.DataFrame:
    """Our own columns."""
    columns = {
        "arrival_s": [0.25 + t for t in SENT_S],
        "input_tokens": PROMPTS,
        "output_tokens": OUTPUTS,
        "real_ttft_s": TTFT_S,
        "real_tpot_ms": [None if t is None else 1e3 * t for t in TPOT_S],
        "real_e2e_s": E2E_S,
    }
    return pl.DataFrame({key: value for key, value in {**columns, **changes}.items() if value is not None})


def _json(document: object) -> Callable[[Path], None]:
    return lambda path: path.write_text(json.dumps(document)) and None


def _lines(records: list[dict[str, Any]]) -> Callable[[Path], None]:
    return lambda path: path.write_text("".join(json.dumps(record) + "\n" for record in records)) and None


WITH_REQUESTS: Mapping[str, tuple[str, str, Callable[[Path], None]]] = {
    "vllm_bench": ("vllm_bench", "result.json", _json(vllm_bench())),
    "vllm_bench, newer": ("vllm_bench", "result.json", _json(vllm_bench(latencies=[*E2E_S, 0.0]))),
    "guidellm": ("guidellm", "benchmarks.json", _json({"benchmarks": [guidellm_benchmark()]})),
    "inference_perf": ("inference_perf", "per_request_lifecycle_metrics.json", _json(inference_perf())),
    "aiperf": ("aiperf", "profile_export.jsonl", _lines(aiperf_records())),
    "sglang": ("sglang_bench", "out.jsonl", _lines([sglang_bench(start_times=[9 + t for t in SENT_S])])),
    "csv": ("csv", "run.csv", lambda path: own_table().write_csv(path)),
    "csv, no tpot": ("csv", "run.csv", lambda path: own_table(real_tpot_ms=None).write_csv(path)),
    "csv, no e2e": ("csv", "run.csv", lambda path: own_table(real_e2e_s=None).write_csv(path)),
    "csv, no ttft": ("csv", "run.csv", lambda path: own_table(real_ttft_s=None).write_csv(path)),
    "jsonl": ("jsonl", "run.jsonl", lambda path: own_table().write_ndjson(path)),
    "parquet": (
        "parquet",
        "run.parquet",
        lambda path: own_table(real_tpot_ms=None, real_tpot_s=TPOT_S).write_parquet(path),
    ),
}
"""What it is -> its format, the name of its file, and what writes it."""

AGGREGATED: Mapping[str, tuple[str, str, Callable[[Path], None], int | None, float | None]] = {
    "vllm_bench, rate": ("vllm_bench", "r.json", _json(vllm_bench(**dict.fromkeys(DETAILS))), None, 1.5),
    "vllm_bench, clients": (
        "vllm_bench",
        "r.json",
        _json(vllm_bench(**dict.fromkeys(DETAILS), request_rate="inf", max_concurrency=8)),
        8,
        None,
    ),
    "sglang": ("sglang_bench", "r.jsonl", _lines([sglang_bench(**dict.fromkeys(DETAILS), max_concurrency=8)]), 8, None),
    "sglang, rate": (
        "sglang_bench",
        "r.jsonl",
        _lines([sglang_bench(request_rate=1.5, max_concurrency=None)]),
        None,
        1.5,
    ),
    "guidellm": (
        "guidellm",
        "b.json",
        _json(
            {
                "benchmarks": [
                    guidellm_benchmark(requests={}, config={"strategy": {"type_": "concurrent", "streams": 8}})
                ]
            }
        ),
        8,
        None,
    ),
    "inference_perf, rate": (
        "inference_perf_stage",
        "s.json",
        _json(inference_perf_stage(requested_rate=1.5)),
        None,
        1.5,
    ),
    "inference_perf, clients": (
        "inference_perf_stage",
        "s.json",
        _json(inference_perf_stage(requested_rate=99.0, concurrency=8)),
        8,
        None,
    ),
    "aiperf": ("aiperf_summary", "a.json", _json(aiperf_summary({"loadgen": {"concurrency": 8}})), 8, None),
    "genai_perf": (
        "aiperf_summary",
        "g.json",
        _json(aiperf_summary({"perf_analyzer": {"stimulus": {"concurrency": 8}}})),
        8,
        None,
    ),
    "genai_perf, rate": ("aiperf_summary", "g.json", _json(aiperf_summary({"request_rate": 1.5})), None, 1.5),
}
"""What it is -> its format, the name of its file, what writes it, concurrency and rate."""
