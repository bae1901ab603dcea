"""Azure's public traces of language-model inference."""

from __future__ import annotations

from typing import Any

import polars as pl

from traces.readers.files import PathLike, open_csv
from traces.readers.reading import Layout, Reading
from traces.readers.table import make_trace
from traces.trace import Trace

_COLUMNS = {"arrival_s": "TIMESTAMP", "prompt_tokens": "ContextTokens", "output_tokens": "GeneratedTokens"}


def read_azure_2023(path: PathLike, **options: Any) -> Trace:
    """Read a file of the Azure LLM inference trace 2023 (`AzureLLMInferenceTrace_{conv,code}.csv`).

    Schema: github.com/Azure/AzurePublicDataset, AzureLLMInferenceDataset2023.md (CC BY 4.0; cite Patel et al.,
    "Splitwise", ISCA 2024): `TIMESTAMP,ContextTokens,GeneratedTokens`. Timestamps are naive local times with seven
    fractional digits; arrivals are exact to their 100 ns, and clock changes are not corrected. The near-empty five
    minutes of the code trace stay as they are.

    Raises:
        TraceError: The file cannot be read, or does not hold valid requests.
    """
    return _read(path, "azure_2023", options)


def read_azure_2024(path: PathLike, **options: Any) -> Trace:
    """Read a file of the Azure LLM inference trace 2024 (`AzureLLMInferenceTrace_{conv,code}_1week.csv`).

    Schema: github.com/Azure/AzurePublicDataset, AzureLLMInferenceDataset2024.md (CC BY 4.0; cite Stojkovic et al.,
    "DynamoLLM", arXiv:2408.00741): the columns of 2023; times with an offset from UTC and up to six fractional digits.

    Raises:
        TraceError: The file cannot be read, or does not hold valid requests.
    """
    return _read(path, "azure_2024", options)


def read_azure_2025(path: PathLike, **options: Any) -> Trace:
    """Read the Azure LMM inference trace 2025 (`AzureLMMInferenceTrace_multimodal.csv.gz`).

    Schema: github.com/Azure/AzurePublicDataset, AzureLMMInferenceDataset2025.md (CC BY 4.0; cite Qiu et al.,
    "ModServe", SoCC 2025): `TIMESTAMP,NumImages,ContextTokens,GeneratedTokens`. Its page does not say whether context
    tokens include those of images; they are taken as they are, and how many requests have images is noted.

    Raises:
        TraceError: The file cannot be read, or does not hold valid requests.
    """
    table = open_csv(path)
    notes = []
    if "NumImages" in table.schema:
        n_images = pl.col("NumImages").cast(pl.Float64, strict=False) > 0
        with_images = table.collect(table.scan.select(n_images.sum())).item()
        count = "1 request has" if with_images == 1 else f"{with_images} requests have"
        notes = [f"{count} images: only context tokens are counted"] if with_images else []
    return make_trace(
        table, Layout("azure_2025", _COLUMNS, time_unit="iso", notes=tuple(notes)), Reading.of(path, options)
    )


def _read(path: PathLike, reader: str, options: dict[str, Any]) -> Trace:
    return make_trace(open_csv(path), Layout(reader, _COLUMNS, time_unit="iso"), Reading.of(path, options))
