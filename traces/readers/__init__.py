"""Readers of requests: published traces, results of benchmarks, inputs of simulators, logs of gateways, plain tables.

All readers take `options`; see `Reading`. They raise `TraceError` for what a user can mend, with file, row and column.
What they leave out, sort or take for granted stands in the `notes` of the trace. docs/reference/readers.md has a row
for each kind, with the source of its schema.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from traces.errors import TraceError, nearest
from traces.readers.azure import read_azure_2023, read_azure_2024, read_azure_2025
from traces.readers.benchmarks import read_guidellm, read_inference_perf, read_vllm_bench
from traces.readers.burstgpt import read_burstgpt
from traces.readers.detect import detect, plain_reader
from traces.readers.files import PathLike, read_cells
from traces.readers.gateways import read_langfuse, read_litellm, read_openai_usage, read_otel_genai
from traces.readers.generic import read_csv, read_json_document, read_jsonl, read_parquet
from traces.readers.mooncake import read_guidellm_replay, read_mooncake, read_qwen_bailian
from traces.readers.reading import Reading
from traces.readers.servegen import read_servegen, read_servegen_offline
from traces.readers.sharegpt import read_sharegpt
from traces.readers.simulators import read_llmservingsim, read_splitwise_sim, read_vidur
from traces.trace import Trace

READERS: dict[str, Callable[..., Trace]] = {
    "azure_2023": read_azure_2023,
    "azure_2024": read_azure_2024,
    "azure_2025": read_azure_2025,
    "burstgpt": read_burstgpt,
    "csv": read_csv,
    "guidellm": read_guidellm,
    "guidellm_replay": read_guidellm_replay,
    "inference_perf": read_inference_perf,
    "json": read_json_document,
    "jsonl": read_jsonl,
    "langfuse": read_langfuse,
    "litellm": read_litellm,
    "llmservingsim": read_llmservingsim,
    "mooncake": read_mooncake,
    "openai_usage": read_openai_usage,
    "otel_genai": read_otel_genai,
    "parquet": read_parquet,
    "qwen_bailian": read_qwen_bailian,
    "servegen": read_servegen,
    "servegen_offline": read_servegen_offline,
    "sharegpt": read_sharegpt,
    "splitwise_sim": read_splitwise_sim,
    "vidur": read_vidur,
    "vllm_bench": read_vllm_bench,
}


def read(path: PathLike, reader: str = "auto", **options: object) -> Trace:
    """Read a trace with the reader of that name.

    Args:
        path: The file.
        reader: A key of `READERS`, or "auto": found from the file itself, where that is safe; if `columns` are given,
            that of a plain table.
        **options: Keyword arguments of that reader.

    Returns:
        The trace.

    Raises:
        TraceError: Unknown reader or option, no safe guess, or what the reader raises.
    """
    if reader == "auto":
        reader = plain_reader(path) if options.get("columns") is not None else detect(path)
    if reader not in READERS:
        msg = f"unknown reader {reader!r}: {nearest(reader, READERS)}"
        raise TraceError(msg)
    own = [name for name in inspect.signature(READERS[reader]).parameters if name not in ("path", "options")]
    known = [*own, *Reading.model_fields]
    for name in options:
        if name not in known:
            msg = f"reader {reader!r} has no option {name!r}: {nearest(name, known)}"
            raise TraceError(msg)
    return READERS[reader](path, **options)


__all__ = [
    "READERS",
    "PathLike",
    "Reading",
    "detect",
    "read",
    "read_azure_2023",
    "read_azure_2024",
    "read_azure_2025",
    "read_burstgpt",
    "read_cells",
    "read_csv",
    "read_guidellm",
    "read_guidellm_replay",
    "read_inference_perf",
    "read_json_document",
    "read_jsonl",
    "read_langfuse",
    "read_litellm",
    "read_llmservingsim",
    "read_mooncake",
    "read_openai_usage",
    "read_otel_genai",
    "read_parquet",
    "read_qwen_bailian",
    "read_servegen",
    "read_servegen_offline",
    "read_sharegpt",
    "read_splitwise_sim",
    "read_vidur",
    "read_vllm_bench",
]
