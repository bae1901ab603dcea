"""A small file of each kind that a reader reads, made here after the published schemas."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from traces import AllAtOnce


@dataclass(frozen=True)
class Sample:
    """A file and what it holds: arrival (s), prompt and output tokens, model of each request."""

    name: str
    data: bytes
    rows: list[tuple[float, int, int, str]]
    notes: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    is_recognised: bool = True

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        path.write_bytes(self.data)
        return path


def _lines(*records: dict[str, Any]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def _parquet() -> bytes:
    file = io.BytesIO()
    pl.DataFrame({"arrival_s": [1.0, 3.5], "prompt_tokens": [10, 20], "output_tokens": [5, 6]}).write_parquet(file)
    return file.getvalue()


def _span(start_ns: int, **attributes: object) -> dict[str, Any]:
    kinds = {str: "stringValue", int: "intValue"}
    listed = [
        {"key": key.replace("__", "."), "value": {kinds[type(value)]: str(value)}} for key, value in attributes.items()
    ]
    return {"name": "chat m", "startTimeUnixNano": str(start_ns), "attributes": listed}


_TWO = [(0.0, 10, 5, "default"), (2.5, 20, 6, "default")]
_LENGTHS = {"arrivals": AllAtOnce()}
_START_NS = 1_768_000_000_000_000_000

SAMPLES: dict[str, Sample] = {
    "azure_2023": Sample(
        "AzureLLMInferenceTrace_conv.csv",
        b"TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
        b"2023-11-16 18:15:46.6805900,10,5\r\n2023-11-16 18:15:49.1805901,20,6",
        [(0.0, 10, 5, "default"), (2.5000001, 20, 6, "default")],
        ("arrivals are counted from the first, at 2023-11-16 18:15:46.6805900",),
    ),
    "azure_2024": Sample(
        "AzureLLMInferenceTrace_code_1week.csv",
        b"TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.5+00:00,10,5\n2024-05-10 00:00:03+00:00,20,6\n",
        _TWO,
        ("arrivals are counted from the first, at 2024-05-10 00:00:00.5+00:00",),
    ),
    "azure_2025": Sample(
        "AzureLMMInferenceTrace_multimodal.csv",
        b"TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n"
        b"2024-10-15 10:00:00,2,10,5\n2024-10-15 10:00:02.5,0,20,6\n",
        _TWO,
        (
            "1 request has images: only context tokens are counted",
            "arrivals are counted from the first, at 2024-10-15 10:00:00",
        ),
    ),
    "burstgpt": Sample(
        "BurstGPT_1.csv",
        b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,10,5,15,API log\n"
        b"6,GPT-4,30,0,30,Conversation log\n9,GPT-4,20,6,26,Conversation log\n",
        [(0.0, 10, 5, "ChatGPT"), (4.0, 20, 6, "GPT-4")],
        (
            "left out: 1 failed requests (an error, or no answer)",
            "arrivals are counted from the first, at 5 s",
        ),
    ),
    "csv": Sample("t.csv", b"arrival_s,prompt_tokens,output_tokens\n0,10,5\n2.5,20,6\n", _TWO),
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
        _TWO,
        (
            "left out: 2 failed requests (an error, or no answer)",
            "arrivals are counted from the first, at 1768000000.5 s since 1970, 2026-01-09T23:06:40.500000+00:00",
        ),
    ),
    "guidellm_replay": Sample(
        "replay.jsonl",
        _lines(
            {"timestamp": 0, "input_length": 10, "output_length": 5},
            {"timestamp": 2.5, "input_length": 20, "output_length": 6},
        ),
        _TWO,
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
        _TWO,
        (
            "left out: 1 failed requests (an error, or no answer)",
            "arrivals are counted from the first, at 100.0 s",
        ),
    ),
    "json": Sample(
        "t.json",
        b'{"data": {"items": [{"t_ms": 0, "n": {"in": 10, "out": 5}}, {"t_ms": 2500, "n": {"in": 20, "out": 6}}]}}',
        _TWO,
        options={
            "records": "data.items",
            "columns": {"arrival_s": "t_ms", "prompt_tokens": "n.in", "output_tokens": "n.out"},
        },
        is_recognised=False,
    ),
    "jsonl": Sample(
        "t.jsonl",
        _lines(
            {"arrival_s": 0, "prompt_tokens": 10, "output_tokens": 5},
            {"arrival_s": 2.5, "prompt_tokens": 20, "output_tokens": 6},
        ),
        _TWO,
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
        _lines(
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
    "llmservingsim": Sample(
        "workload.jsonl",
        _lines(
            {"input_toks": 10, "output_toks": 5, "arrival_time_ns": 1, "input_tok_ids": [1, 2]},
            {"input_toks": 20, "output_toks": 6, "arrival_time_ns": 2_500_000_001, "input_tok_ids": [1, 2]},
        ),
        _TWO,
        ("arrivals are counted from the first, at 1 ns",),
    ),
    "mooncake": Sample(
        "toolagent_trace.jsonl",
        _lines(
            {"timestamp": 0, "input_length": 10, "output_length": 5, "hash_ids": [0]},
            {"timestamp": 2500, "input_length": 520, "output_length": 6, "hash_ids": [0, 1]},
        ),
        [(0.0, 10, 5, "default"), (2.5, 520, 6, "default")],
    ),
    "openai_usage": Sample(
        "completions.jsonl",
        _lines(
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
        _lines(
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
    "parquet": Sample("t.parquet", _parquet(), _TWO, ("arrivals are counted from the first, at 1.0 s",)),
    "qwen_bailian": Sample(
        "qwen_traceA_blksz_16.jsonl",
        _lines(
            {
                "chat_id": 159,
                "parent_chat_id": -1,
                "timestamp": 0.0,
                "input_length": 17,
                "output_length": 5,
                "type": "text",
                "turn": 1,
                "hash_ids": [7, 8],
            },
            {
                "chat_id": 160,
                "parent_chat_id": 159,
                "timestamp": 2.5,
                "input_length": 40,
                "output_length": 6,
                "type": "text",
                "turn": 2,
                "hash_ids": [7, 9, 10],
            },
        ),
        [(0.0, 17, 5, "default"), (2.5, 40, 6, "default")],
    ),
    "servegen": Sample(
        "servegen.csv",
        b"arrival_s,model,client_id,input_tokens,output_tokens\n0,m-large,3,10,5\n2.5,m-large,4,20,6\n",
        [(0.0, 10, 5, "m-large"), (2.5, 20, 6, "m-large")],
    ),
    "servegen_offline": Sample(
        "trace_d.jsonl",
        _lines(
            {"request_id": 0, "type": "text", "input_length": 10, "output_length": 5, "duration": 14000},
            {"request_id": 1, "type": "text", "input_length": 20, "output_length": 6, "duration": 11630},
        ),
        [(0.0, 10, 5, "default"), (0.0, 20, 6, "default")],
        ("arrivals are drawn: AllAtOnce()",),
        _LENGTHS,
    ),
    "sharegpt": Sample(
        "ShareGPT_V3_unfiltered_cleaned_split.json",
        json.dumps(
            [
                {
                    "id": "a",
                    "conversations": [{"from": "human", "value": "x" * 40}, {"from": "gpt", "value": "y" * 19}],
                },
                {"id": "b", "conversations": [{"from": "human", "value": "alone"}]},
            ]
        ).encode(),
        [(0.0, 10, 5, "default")],
        (
            "lengths are estimates: 4 characters a token",
            "left out: 1 conversations without a prompt and an answer",
            "arrivals are drawn: AllAtOnce()",
        ),
        {"chars_per_token": 4, **_LENGTHS},
    ),
    "splitwise_sim": Sample(
        "rr_code_50.csv",
        b"request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n"
        b"0,2,0,0,1,10,5\n1,2,0,2.5,1,20,6\n",
        _TWO,
    ),
    "vidur": Sample(
        "splitwise_conv.csv",
        b"arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,10,5\n2.5,20,6\n",
        _TWO,
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
