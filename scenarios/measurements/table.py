"""Our own tables of measured requests: CSV, JSON lines, Parquet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from scenarios.errors import RunError
from scenarios.measurements.run import Load, Run, aggregate_of, measured_times
from traces import Trace, nearest
from traces.readers import PathLike, read_csv, read_jsonl, read_parquet
from traces.readers.files import Table, open_csv, open_jsonl, open_parquet

OPENERS: Mapping[str, tuple[Callable[[PathLike], Table], Callable[..., Trace]]] = {
    "csv": (open_csv, read_csv),
    "jsonl": (open_jsonl, read_jsonl),
    "parquet": (open_parquet, read_parquet),
}
TIMES: Mapping[str, tuple[tuple[str, float], ...]] = {
    "ttft_s": (("real_ttft_s", 1.0), ("real_ttft_ms", 1e3)),
    "tpot_s": (("real_tpot_s", 1.0), ("real_tpot_ms", 1e3)),
    "e2e_s": (("real_e2e_s", 1.0), ("real_e2e_ms", 1e3)),
}
"""Our name of a time -> the columns that it may stand in, and how many of their units are a second."""
_LENGTHS = ("input_tokens", "prompt_tokens")


def read(kind: str, path: PathLike, model: str | None) -> tuple[Run, ...]:
    """Read a table with `arrival_s`, `prompt_tokens` or `input_tokens`, `output_tokens` and the measured times.

    These are `real_ttft_s`, `real_tpot_s` or `real_tpot_ms` (over the tokens after the first) and `real_e2e_s`. Two of
    them are enough, as each follows from the others. `prefix_hashes` are read as they are in traces.

    Args:
        kind: csv, jsonl or parquet.
        path: The file.
        model: Model of all requests, where the file has no such column.

    Raises:
        TraceError: The requests are not those of a trace.
        RunError: A measured time is missing or wrong.
    """
    opened, read_trace = OPENERS[kind]
    table = opened(path)
    length = next((name for name in _LENGTHS if name in table.schema), _LENGTHS[0])
    columns = {"prompt_tokens": length} | ({"request_id": None} if "request_id" in table.schema else {})
    options: dict[str, Any] = {} if model is None else {"model": model}
    trace = read_trace(path, columns=columns, **options)
    times = _times(path, table)
    real = measured_times(path, trace, *_all_three(times, trace))
    return (Run(trace, real, aggregate_of(trace, real, Load())),)


def _times(path: PathLike, table: Table) -> dict[str, list[float | None]]:
    """The times that the file has, in seconds, of each of its rows."""
    found = {}
    for ours, places in TIMES.items():
        for name, per_s in places:
            if name in table.schema and ours not in found:
                found[ours] = _column(path, table, name, per_s)
    if len(found) < 2:
        missing = [places[0][0] for ours, places in TIMES.items() if ours not in found]
        msg = (
            f"{path}: no column {missing[0]!r}: {nearest(missing[0], table.schema)}; two of "
            f"{', '.join(places[0][0] for places in TIMES.values())} are needed"
        )
        raise RunError(msg)
    return found


def _column(path: PathLike, table: Table, name: str, per_s: float) -> list[float | None]:
    cells = table.collect(table.scan.select(pl.col(name)))[name]
    numbers = cells
    if cells.dtype == pl.String:
        texts = cells.str.replace(",", ".") if table.has_decimal_commas else cells
        numbers = texts.str.strip_chars().replace("", None).cast(pl.Float64, strict=False)
    is_bad = cells.is_not_null() & (numbers.is_null() if numbers.dtype.is_numeric() else True)
    is_bad &= cells.cast(pl.String, strict=False) != "" if cells.dtype == pl.String else True
    bad = is_bad.arg_true()
    if len(bad):
        msg = f"{path}: row {bad[0]}: {name} is {cells[bad[0]]!r}, must be a number"
        raise RunError(msg)
    return (numbers.cast(pl.Float64) / per_s).to_list()


def _all_three(
    times: Mapping[str, list[float | None]], trace: Trace
) -> tuple[list[float | None], list[float | None], list[float | None] | None]:
    """To the first token, to the last one, and per token, by the rows of the file; what is missing from the rest."""
    if "tpot_s" not in times:
        return times["ttft_s"], times["e2e_s"], None
    n_decodes: dict[int, int] = dict(
        zip(trace.requests["request_id"], trace.requests["output_tokens"].cast(pl.Int64) - 1, strict=True)
    )
    decode_s = [None if t is None else t * n_decodes.get(row, 0) for row, t in enumerate(times["tpot_s"])]
    if "e2e_s" not in times:
        e2e_s = [None if a is None else a + (b or 0.0) for a, b in zip(times["ttft_s"], decode_s, strict=True)]
        return times["ttft_s"], e2e_s, times["tpot_s"]
    if "ttft_s" not in times:
        ttft_s = [None if a is None else a - (b or 0.0) for a, b in zip(times["e2e_s"], decode_s, strict=True)]
        return ttft_s, times["e2e_s"], times["tpot_s"]
    return times["ttft_s"], times["e2e_s"], times["tpot_s"]
