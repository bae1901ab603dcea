"""Readers of request traces: published files and plain tables.

All readers take arrivals as they are, in order, unless a keyword below says otherwise, and raise
`TraceError` for what a user can mend. Files compressed with gzip are read as well. Arguments they share:

- `path`: the file.
- `model`, `slo_class`: used for all requests of a file that has no such column.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import inspect
import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import polars as pl

from traces.errors import TraceError, nearest
from traces.schema import REQUEST_SCHEMA, validate_requests, with_defaults
from traces.trace import Trace, divide_arrivals

PathLike = str | os.PathLike[str]
TimeUnit = Literal["s", "ms"]

UNITS_PER_S = {"s": 1, "ms": 1000}
AZURE_TIME_FORMAT = "%Y-%m-%d %H:%M:%S%.f"
MOONCAKE_TICK_S = 3.0  # 1,174 of the file's 1,179 distances between times are within 1 ms of it


def read_azure_2023(path: PathLike, *, model: str = "default", slo_class: str = "default") -> Trace:
    """Read a file of the Azure LLM inference trace 2023 (`AzureLLMInferenceTrace_{conv,code}.csv`).

    The format is that of github.com/Azure/AzurePublicDataset (CC BY 4.0; cite Patel et al., "Splitwise",
    ISCA 2024): `TIMESTAMP,ContextTokens,GeneratedTokens`. Timestamps are naive local times with seven
    fractional digits. They become seconds since the first row, exact to their 100 ns; clock changes are not
    corrected. The near-empty five minutes of the code trace stay as they are.

    Raises:
        TraceError: The file cannot be read, or does not hold valid requests.
    """
    frame = _rename(read_cells(path), _AZURE_COLUMNS, path)
    text = frame["arrival_s"]
    time = text.str.strip_chars().str.to_datetime(AZURE_TIME_FORMAT, time_unit="ns", strict=False)
    bad = time.is_null().arg_true()
    if len(bad):
        example = "2023-11-16 18:15:46.6805900"
        msg = f"{path}: TIMESTAMP: row {bad[0]}: {text[bad[0]]!r} is not a time like {example}"
        raise TraceError(msg)
    time_ns = time.dt.timestamp("ns")  # whole numbers: a difference to a Python datetime would drop the 100 ns
    frame = divide_arrivals(frame.with_columns(arrival_s=time_ns - time_ns[0]), 10**9)
    return _trace(frame, path, "azure_2023", _AZURE_COLUMNS, model=model, slo_class=slo_class)


def read_mooncake(
    path: PathLike, *, model: str = "default", slo_class: str = "default", spread_ticks: bool = False
) -> Trace:
    """Read the Mooncake conversation trace, as published (`.jsonl`) or as a table (`.csv`).

    The format is that of github.com/kvcache-ai/Mooncake, FAST25-release (Apache-2.0; cite Qin et al.,
    "Mooncake", FAST 2025): a time in ms, `input_length`, `output_length` and, in the JSON lines, `hash_ids`,
    one per 512 tokens of the prompt, which become `prefix_hashes`. Other columns are ignored.

    Times are recorded in ticks of about 3 s, so requests come in batches of about ten. They are left so
    unless `spread_ticks` is set: then the k requests of a tick keep their order and arrive at equal
    distances, the first at the tick, over the time to the next tick, at most 3 s.

    Raises:
        TraceError: The file cannot be read, or does not hold valid requests.
    """
    columns = {"prompt_tokens": "input_length", "output_tokens": "output_length"}
    if ".jsonl" in Path(path).suffixes:
        frame = _read_jsonl(path)
        columns["arrival_s"] = "timestamp"
        if "hash_ids" in frame.columns:
            columns["prefix_hashes"] = "hash_ids"
    else:
        frame = read_cells(path)
        columns["arrival_s"] = "timestamp_ms"
    frame = _rename(frame, columns, path)
    trace = _trace(frame, path, "mooncake", columns, model=model, slo_class=slo_class, time_unit="ms")
    return _spread(trace) if spread_ticks else trace


def read_csv(
    path: PathLike,
    *,
    columns: Mapping[str, str] | None = None,
    time_unit: TimeUnit = "s",
    model: str = "default",
    slo_class: str = "default",
    sort: bool = False,
    rebase: bool = False,
) -> Trace:
    """Read a CSV file with a header line.

    Times are numbers, not dates. They are kept to the precision of a 64-bit float: microseconds and less
    survive in times since the start of a trace, but not in seconds since 1970 (steps of 0.24 us).

    Args:
        path: The file.
        columns: Our name of a column -> its name in the file. Columns that are not named here are found
            under our own names; see `REQUEST_SCHEMA`.
        time_unit: Unit of the file's arrival times, "s" or "ms".
        model: Used where the file has no `model` column.
        slo_class: Used where the file has no `slo_class` column.
        sort: Accept arrivals in any order and sort them. Otherwise disorder is an error.
        rebase: Subtract the first arrival from all, as for times since 1970.

    Returns:
        The trace.

    Raises:
        TraceError: The file cannot be read, an argument is wrong, or requests are not valid.
    """
    frame = _rename(read_cells(path), columns, path)
    return _trace(frame, path, "csv", columns, model, slo_class, time_unit, sort=sort, rebase=rebase)


def read_jsonl(
    path: PathLike,
    *,
    columns: Mapping[str, str] | None = None,
    time_unit: TimeUnit = "s",
    model: str = "default",
    slo_class: str = "default",
    sort: bool = False,
    rebase: bool = False,
) -> Trace:
    """Read a file with one JSON object a line; arguments and behaviour are those of `read_csv`.

    Raises:
        TraceError: The file cannot be read, an argument is wrong, or requests are not valid.
    """
    frame = _rename(_read_jsonl(path), columns, path)
    return _trace(frame, path, "jsonl", columns, model, slo_class, time_unit, sort=sort, rebase=rebase)


def read_parquet(
    path: PathLike,
    *,
    columns: Mapping[str, str] | None = None,
    time_unit: TimeUnit = "s",
    model: str = "default",
    slo_class: str = "default",
    sort: bool = False,
    rebase: bool = False,
) -> Trace:
    """Read a Parquet file; arguments and behaviour are those of `read_csv`.

    Raises:
        TraceError: The file cannot be read, an argument is wrong, or requests are not valid.
    """
    try:
        frame = pl.read_parquet(_read_bytes(path))
    except pl.exceptions.PolarsError as error:
        raise _unreadable(path, "Parquet", error) from None
    frame = _rename(frame, columns, path)
    return _trace(frame, path, "parquet", columns, model, slo_class, time_unit, sort=sort, rebase=rebase)


READERS: dict[str, Callable[..., Trace]] = {
    "azure_2023": read_azure_2023,
    "csv": read_csv,
    "jsonl": read_jsonl,
    "mooncake": read_mooncake,
    "parquet": read_parquet,
}


def read(path: PathLike, reader: str, **options: object) -> Trace:
    """Read a trace with the reader of that name.

    Args:
        path: The file.
        reader: A key of `READERS`.
        **options: Keyword arguments of that reader.

    Returns:
        The trace.

    Raises:
        TraceError: Unknown reader or option, or what the reader raises.
    """
    if reader not in READERS:
        msg = f"unknown reader {reader!r}: {nearest(reader, READERS)}"
        raise TraceError(msg)
    known = [name for name in inspect.signature(READERS[reader]).parameters if name != "path"]
    for name in options:
        if name not in known:
            msg = f"reader {reader!r} has no option {name!r}: {nearest(name, known)}"
            raise TraceError(msg)
    return READERS[reader](path, **options)


_AZURE_COLUMNS = {
    "arrival_s": "TIMESTAMP",
    "prompt_tokens": "ContextTokens",
    "output_tokens": "GeneratedTokens",
}


def _read_bytes(path: PathLike) -> bytes:
    try:
        data = Path(path).read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        raise TraceError(msg) from None
    if not data.strip():
        msg = f"{path}: the file is empty"
        raise TraceError(msg)
    return data


def read_cells(path: PathLike) -> pl.DataFrame:
    """Read a CSV file with all cells as text, so that the check of the values can name row and value.

    Raises:
        TraceError: The file cannot be read, or has only a header.
    """
    data = _read_bytes(path)
    try:
        frame = pl.read_csv(data, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        with contextlib.suppress(csv.Error):
            rows = csv.reader(_lines(data, path))
            width = len(next(rows, []))
            for row, cells in enumerate(rows):
                if len(cells) > width:
                    msg = f"{path}: row {row}: {len(cells)} cells under {width} column names"
                    raise TraceError(msg) from None
        raise _unreadable(path, "CSV", error) from None
    if frame.is_empty():
        msg = f"{path}: has only a header"
        raise TraceError(msg)
    return frame


def _read_jsonl(path: PathLike) -> pl.DataFrame:
    data = _read_bytes(path)
    try:
        return pl.read_ndjson(data, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        for row, line in enumerate(filter(str.strip, _lines(data, path))):
            try:
                is_object = isinstance(json.loads(line), dict)
            except ValueError:
                is_object = False
            if not is_object:
                msg = f"{path}: row {row}: {line[:60]!r} is not a JSON object"
                raise TraceError(msg) from None
        raise _unreadable(path, "JSON lines", error) from None


def _lines(data: bytes, path: PathLike) -> list[str]:
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        msg = f"{path}: line {line} is not UTF-8 text"
        raise TraceError(msg) from None


def _unreadable(path: PathLike, kind: str, error: Exception) -> TraceError:
    return TraceError(f"{path}: cannot be read as {kind}: {str(error).splitlines()[0]}")


def _rename(frame: pl.DataFrame, columns: object, path: PathLike) -> pl.DataFrame:
    """Give the file's columns our names, if what a user gave is a mapping of these."""
    if columns is not None and not isinstance(columns, Mapping):
        msg = f"{path}: columns: {columns!r} is not a mapping of our names to the file's, as {{prompt_tokens: n_in}}"
        raise TraceError(msg)
    known = [column.name for column in REQUEST_SCHEMA]
    problems = []
    for ours, theirs in (columns or {}).items():
        if ours not in known:
            problems.append(f"columns: there is no {ours!r}: {nearest(str(ours), known)}")
        elif theirs not in frame.columns:
            problems.append(f"no column {theirs!r} for {ours}: {nearest(str(theirs), frame.columns)}")
    if problems:
        raise TraceError("\n  ".join([f"{path}: columns do not match", *problems]))
    return frame.with_columns(pl.col(theirs).alias(ours) for ours, theirs in (columns or {}).items())


def _trace(
    frame: pl.DataFrame,
    path: PathLike,
    reader: str,
    columns: Mapping[str, str] | None,
    model: str,
    slo_class: str,
    time_unit: TimeUnit = "s",
    *,
    sort: bool = False,
    rebase: bool = False,
) -> Trace:
    """Validate in the file's unit, so that messages show its values, then convert to seconds."""
    if time_unit not in UNITS_PER_S:
        msg = f"{path}: unknown time_unit {time_unit!r}: {nearest(str(time_unit), UNITS_PER_S)}"
        raise TraceError(msg)
    filled = with_defaults(frame, model, slo_class)
    requests = validate_requests(filled, str(path), sort=sort, file_columns=columns)
    if rebase:
        requests = requests.with_columns(pl.col("arrival_s") - pl.col("arrival_s").first())
    requests = divide_arrivals(requests, UNITS_PER_S[time_unit])
    return Trace(requests.sort("arrival_s", "request_id"), f"{reader}:{path}")


def _spread(trace: Trace) -> Trace:
    """Move the requests of one tick apart; see `read_mooncake`."""
    arrival, later = pl.col("arrival_s"), pl.col("arrival_s").shift(-1)
    next_tick = pl.when(later > arrival).then(later).fill_null(strategy="backward")
    width_s = (next_tick - arrival).fill_null(MOONCAKE_TICK_S).clip(upper_bound=MOONCAKE_TICK_S)
    tick = arrival.rle_id()
    position = pl.int_range(pl.len()).over(tick) / pl.len().over(tick)
    requests = trace.requests.with_columns(arrival + position * width_s)
    return Trace(requests.sort("arrival_s", "request_id"), f"{trace.source} | spread_ticks")
