"""Inputs of other simulators: LLMServingSim, Vidur, splitwise-sim."""

from __future__ import annotations

from typing import Any

import polars as pl

from traces.errors import TraceError
from traces.readers.files import PathLike, open_csv, open_jsonl
from traces.readers.reading import Layout, Reading
from traces.readers.table import make_trace
from traces.trace import Trace


def read_llmservingsim(path: PathLike, **options: Any) -> Trace:
    """Read a workload of LLMServingSim, or the `requests.jsonl` of its runs of vLLM.

    Schema: github.com/casys-kaist/LLMServingSim, docs/docs/workloads/jsonl-format.md: `input_toks`, `output_toks`,
    `arrival_time_ns`; token ids are ignored. In bench/examples: `request_id`, `input_toks`, `output_toks`,
    `arrival_time` (Unix s). Lines with `sub_requests` (agents: a call arrives when the one before it ends) are refused,
    since their arrivals are not known.

    Raises:
        TraceError: The file cannot be read, has sessions of agents, or does not hold valid requests.
    """
    table = open_jsonl(path)
    if "sub_requests" in table.schema:
        agents = table.collect(table.scan.select(pl.col("sub_requests").is_not_null()))["sub_requests"].arg_true()
        msg = (
            f"{path}: row {agents[0]}: sub_requests ({len(agents)} such rows): calls of agents arrive when the one "
            "before them ends, and their times are not in the file"
        )
        raise TraceError(msg)
    columns = {"prompt_tokens": "input_toks", "output_tokens": "output_toks", "arrival_s": "arrival_time_ns"}
    layout = Layout("llmservingsim", columns, time_unit="ns")
    if "arrival_time_ns" not in table.schema and "arrival_time" in table.schema:
        names = {"request_id": "request_id"} if "request_id" in table.schema else {}
        layout = Layout("llmservingsim", {**columns, **names, "arrival_s": "arrival_time"}, time_unit="s")
    return make_trace(table, layout, Reading.of(path, options))


def read_vidur(path: PathLike, **options: Any) -> Trace:
    """Read a trace of Vidur, with times or without.

    Schema: github.com/microsoft/vidur, data/processed_traces: `arrived_at` (s), `num_prefill_tokens`,
    `num_decode_tokens` (splitwise_conv.csv); without `arrived_at` (arxiv_summarization_...csv) it needs an arrival
    process. Other columns are ignored.

    Raises:
        TraceError: The file cannot be read, or does not hold valid requests.
    """
    table = open_csv(path)
    columns = {"prompt_tokens": "num_prefill_tokens", "output_tokens": "num_decode_tokens"}
    if "arrived_at" in table.schema:
        columns["arrival_s"] = "arrived_at"
    return make_trace(table, Layout("vidur", columns, time_unit="s"), Reading.of(path, options))


def read_splitwise_sim(path: PathLike, **options: Any) -> Trace:
    """Read a trace of splitwise-sim.

    Schema: github.com/Mutinifni/splitwise-sim, generate_trace.py and traces/test_trace.csv: `request_id`,
    `request_type`, `application_id`, `arrival_timestamp` (s), `batch_size`, `prompt_size`, `token_size`. Every row is
    one request: a `batch_size` above 1 is refused. Types and applications are ignored.

    Raises:
        TraceError: The file cannot be read, has batches, or does not hold valid requests.
    """
    table = open_csv(path)
    if "batch_size" in table.schema:
        sizes = table.collect(table.scan.select("batch_size"))["batch_size"]
        batches = (sizes.str.strip_chars().cast(pl.Float64, strict=False) != 1).fill_null(value=True).arg_true()
        if len(batches):
            row = batches[0]
            msg = f"{path}: batch_size: row {row}: {sizes[row]!r} is not 1 ({len(batches)} such rows)"
            raise TraceError(msg)
    columns = {
        "request_id": "request_id",
        "arrival_s": "arrival_timestamp",
        "prompt_tokens": "prompt_size",
        "output_tokens": "token_size",
    }
    return make_trace(table, Layout("splitwise_sim", columns, time_unit="s"), Reading.of(path, options))
