"""Logs of servers and results of load generators."""

from __future__ import annotations

import json
from typing import Any

from tests.samples.sample import TWO, Sample, lines

_START_NS = 1_768_000_000_000_000_000


def _span(start_ns: int, **attributes: object) -> dict[str, Any]:
    kinds = {str: "stringValue", int: "intValue"}
    listed = [
        {"key": key.replace("__", "."), "value": {kinds[type(value)]: str(value)}} for key, value in attributes.items()
    ]
    return {"name": "chat m", "startTimeUnixNano": str(start_ns), "attributes": listed}


SAMPLES: dict[str, Sample] = {
    "guidellm": Sample(
        "benchmarks.json",
        json.dumps(
            {
                "benchmarks": [
                    {
                        "requests": {
                            "successful": [
                                {"request_start_time": 1768000000.5, "prompt_tokens": 10, "output_tokens": 5},
                                {"request_start_time": 1768000003.0, "prompt_tokens": 20, "output_tokens": 6},
                            ],
                            "errored": [
                                {"request_start_time": 1768000001.0, "prompt_tokens": 7, "output_tokens": None}
                            ],
                            "incomplete": [
                                {"request_start_time": 1768000004.0, "prompt_tokens": 7, "output_tokens": 2}
                            ],
                        }
                    }
                ]
            },
            indent=1,
        ).encode(),
        TWO,
        (
            "left out: 2 failed requests (an error, or no answer)",
            "arrivals are counted from the first, at 1768000000.5 s since 1970, 2026-01-09T23:06:40.500000+00:00",
        ),
    ),
    "guidellm_replay": Sample(
        "replay.jsonl",
        lines(
            {"timestamp": 0, "input_length": 10, "output_length": 5},
            {"timestamp": 2.5, "input_length": 20, "output_length": 6},
        ),
        TWO,
        is_recognised=False,
    ),
    "inference_perf": Sample(
        "per_request_lifecycle_metrics.json",
        json.dumps(
            [
                {
                    "start_time": 100.0,
                    "end_time": 101.0,
                    "request": "{}",
                    "response": "",
                    "info": {"input_tokens": 10, "output_tokens": 5, "output_token_times": []},
                    "error": None,
                },
                {
                    "start_time": 101.0,
                    "end_time": 101.5,
                    "request": "{}",
                    "response": None,
                    "info": {"input_tokens": 10, "response_metrics": None},
                    "error": {"error_type": "Timeout", "error_msg": "late"},
                },
                {
                    "start_time": 102.5,
                    "end_time": 103.0,
                    "request": "{}",
                    "response": "",
                    "info": {
                        "request_metrics": {"text": {"input_tokens": 20}},
                        "response_metrics": {"output_tokens": 6},
                    },
                    "error": None,
                },
            ]
        ).encode(),
        TWO,
        (
            "left out: 1 failed requests (an error, or no answer)",
            "arrivals are counted from the first, at 100.0 s",
        ),
    ),
    "langfuse": Sample(
        "observations.csv",
        b"id,type,startTime,model,promptTokens,completionTokens,level\n"
        b"b,GENERATION,2024-05-10T00:00:02.500Z,m,20,6,DEFAULT\nx,SPAN,2024-05-10T00:00:01.000Z,,,,DEFAULT\n"
        b"e,GENERATION,2024-05-10T00:00:01.000Z,m,30,1,ERROR\na,GENERATION,2024-05-10T00:00:00.000Z,m,10,5,DEFAULT\n",
        [(0.0, 10, 5, "m"), (2.5, 20, 6, "m")],
        (
            "left out: 1 observations that are no generations",
            "left out: 1 failed requests (an error, or no answer)",
            "1 row is earlier than one before it (row 3): sorted",
            "arrivals are counted from the first, at 2024-05-10T00:00:00.000Z",
        ),
    ),
    "litellm": Sample(
        "spend_logs.jsonl",
        lines(
            {
                "request_id": "chatcmpl-1",
                "startTime": "2026-01-10T10:00:00.000Z",
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "model": "hosted_vllm/m",
                "model_group": "m",
                "status": "success",
            },
            {
                "request_id": "chatcmpl-2",
                "startTime": "2026-01-10T10:00:01.000Z",
                "prompt_tokens": 0,
                "completion_tokens": 0,
                "model": "",
                "model_group": "m",
                "status": "failure",
            },
            {
                "request_id": "chatcmpl-3",
                "startTime": "2026-01-10T10:00:02.500Z",
                "prompt_tokens": 20,
                "completion_tokens": 6,
                "model": "hosted_vllm/m",
                "model_group": "m",
                "status": "success",
            },
        ),
        [(0.0, 10, 5, "m"), (2.5, 20, 6, "m")],
        (
            "left out: 1 failed requests (an error, or no answer)",
            "arrivals are counted from the first, at 2026-01-10T10:00:00.000Z",
        ),
    ),
    "openai_usage": Sample(
        "completions.jsonl",
        lines(
            {"id": "a", "created": 1768000000, "model": "m", "usage": {"prompt_tokens": 10, "completion_tokens": 5}},
            {"id": "b", "created": 1768000001, "model": "m", "usage": None},
            {"id": "c", "created": 1768000002, "model": "m", "usage": {"prompt_tokens": 20, "completion_tokens": 6}},
        ),
        [(0.0, 10, 5, "m"), (2.0, 20, 6, "m")],
        (
            "left out: 1 failed requests (an error, or no answer)",
            "arrivals are counted from the first, at 1768000000 s since 1970, 2026-01-09T23:06:40+00:00",
        ),
    ),
    "otel_genai": Sample(
        "spans.jsonl",
        lines(
            {
                "resourceSpans": [
                    {
                        "scopeSpans": [
                            {
                                "spans": [
                                    _span(_START_NS, gen_ai__operation__name="invoke_agent"),
                                    _span(
                                        _START_NS,
                                        gen_ai__request__model="m",
                                        gen_ai__usage__input_tokens=10,
                                        gen_ai__usage__output_tokens=5,
                                    ),
                                ]
                            }
                        ]
                    }
                ]
            },
            {
                "resourceSpans": [
                    {
                        "scopeSpans": [
                            {
                                "spans": [
                                    _span(
                                        _START_NS + 2_500_000_000,
                                        gen_ai__request__model="m",
                                        gen_ai__usage__input_tokens=20,
                                        gen_ai__usage__output_tokens=6,
                                    ),
                                    _span(
                                        _START_NS + 3_000_000_000,
                                        gen_ai__request__model="m",
                                        gen_ai__usage__input_tokens=20,
                                        error__type="timeout",
                                    ),
                                ]
                            }
                        ]
                    }
                ]
            },
        ),
        [(0.0, 10, 5, "m"), (2.5, 20, 6, "m")],
        (
            "left out: 1 spans that are no requests to a model",
            "left out: 1 failed requests (an error, or no answer)",
            "arrivals are counted from the first, at 1768000000000000000 ns since 1970, 2026-01-09T23:06:40+00:00",
        ),
    ),
    "vllm_bench": Sample(
        "openai-2.0qps-m.json",
        json.dumps(
            {
                "model_id": "m",
                "num_prompts": 3,
                "duration": 4.0,
                "total_input_tokens": 30,
                "total_output_tokens": 11,
                "input_lens": [10, 7, 20],
                "output_lens": [5, 0, 6],
                "start_times": [100.5, 101.0, 103.0],
                "errors": ["", "Bad Gateway", ""],
            }
        ).encode(),
        [(0.0, 10, 5, "m"), (2.5, 20, 6, "m")],
        (
            "left out: 1 failed requests (an error, or no answer)",
            "arrivals are counted from the first, at 100.5 s",
        ),
    ),
}
