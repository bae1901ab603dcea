"""Traces that others published, and tables of requests."""

from __future__ import annotations

import io
import json

import polars as pl

from tests.samples.sample import LENGTHS, TWO, Sample, lines


def _parquet() -> bytes:
    file = io.BytesIO()
    pl.DataFrame({"arrival_s": [1.0, 3.5], "prompt_tokens": [10, 20], "output_tokens": [5, 6]}).write_parquet(file)
    return file.getvalue()


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
        TWO,
        ("arrivals are counted from the first, at 2024-05-10 00:00:00.5+00:00",),
    ),
    "azure_2025": Sample(
        "AzureLMMInferenceTrace_multimodal.csv",
        b"TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n"
        b"2024-10-15 10:00:00,2,10,5\n2024-10-15 10:00:02.5,0,20,6\n",
        TWO,
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
    "csv": Sample("t.csv", b"arrival_s,prompt_tokens,output_tokens\n0,10,5\n2.5,20,6\n", TWO),
    "json": Sample(
        "t.json",
        b'{"data": {"items": [{"t_ms": 0, "n": {"in": 10, "out": 5}}, {"t_ms": 2500, "n": {"in": 20, "out": 6}}]}}',
        TWO,
        options={
            "records": "data.items",
            "columns": {"arrival_s": "t_ms", "prompt_tokens": "n.in", "output_tokens": "n.out"},
        },
        is_recognised=False,
    ),
    "jsonl": Sample(
        "t.jsonl",
        lines(
            {"arrival_s": 0, "prompt_tokens": 10, "output_tokens": 5},
            {"arrival_s": 2.5, "prompt_tokens": 20, "output_tokens": 6},
        ),
        TWO,
    ),
    "llmservingsim": Sample(
        "workload.jsonl",
        lines(
            {"input_toks": 10, "output_toks": 5, "arrival_time_ns": 1, "input_tok_ids": [1, 2]},
            {"input_toks": 20, "output_toks": 6, "arrival_time_ns": 2_500_000_001, "input_tok_ids": [1, 2]},
        ),
        TWO,
        ("arrivals are counted from the first, at 1 ns",),
    ),
    "mooncake": Sample(
        "toolagent_trace.jsonl",
        lines(
            {"timestamp": 0, "input_length": 10, "output_length": 5, "hash_ids": [0]},
            {"timestamp": 2500, "input_length": 520, "output_length": 6, "hash_ids": [0, 1]},
        ),
        [(0.0, 10, 5, "default"), (2.5, 520, 6, "default")],
    ),
    "parquet": Sample("t.parquet", _parquet(), TWO, ("arrivals are counted from the first, at 1.0 s",)),
    "qwen_bailian": Sample(
        "qwen_traceA_blksz_16.jsonl",
        lines(
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
        lines(
            {"request_id": 0, "type": "text", "input_length": 10, "output_length": 5, "duration": 14000},
            {"request_id": 1, "type": "text", "input_length": 20, "output_length": 6, "duration": 11630},
        ),
        [(0.0, 10, 5, "default"), (0.0, 20, 6, "default")],
        ("arrivals are drawn: AllAtOnce()",),
        LENGTHS,
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
        {"chars_per_token": 4, **LENGTHS},
    ),
    "splitwise_sim": Sample(
        "rr_code_50.csv",
        b"request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n"
        b"0,2,0,0,1,10,5\n1,2,0,2.5,1,20,6\n",
        TWO,
    ),
    "vidur": Sample(
        "splitwise_conv.csv",
        b"arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,10,5\n2.5,20,6\n",
        TWO,
    ),
}
