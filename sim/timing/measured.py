"""Reading measured iteration times: a table with one row for each kind of iteration that was timed.

| column | meaning |
| --- | --- |
| phase | prefill, decode, or mixed: decodes beside one prompt chunk |
| batch | sequences: prompts for prefill, decodes otherwise |
| new_tokens | prefill, mixed: prompt tokens of the whole iteration, evenly divided over the prompts |
| context_tokens | decode, mixed: context of each decode; prefill: tokens of each prompt computed before |
| past_tokens | mixed: tokens of the prompt computed before; without this column from `past=` in note, else 0 |
| time_ms | of one whole forward pass |
| gpu, model, tp | optional: the replica |
| precision | optional: number format of the weights of attention and dense layers; else bf16 |
| experts | optional: number format of the weights of experts; else the same |
| ep | optional: 1 if experts are dealt out whole, else 0 |
| note, flag, source | optional: remarks; why a row should not be used; where it comes from |
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from sim.catalog.precision import FORMATS
from sim.errors import ProfileError
from traces.errors import nearest

PHASES = ("prefill", "decode", "mixed")
REPLICA_COLUMNS = ("gpu", "model", "tp")

_TYPES: dict[str, type[pl.DataType]] = {
    "phase": pl.String,
    "batch": pl.Int64,
    "new_tokens": pl.Int64,
    "context_tokens": pl.Int64,
    "time_ms": pl.Float64,
    "gpu": pl.String,
    "model": pl.String,
    "tp": pl.Int64,
    "past_tokens": pl.Int64,
    "precision": pl.String,
    "experts": pl.String,
    "ep": pl.Int64,
    "note": pl.String,
    "flag": pl.String,
    "source": pl.String,
}
_REQUIRED = ("phase", "batch", "new_tokens", "context_tokens", "time_ms")


def read_profile(path: Path, required: Iterable[str] = ()) -> pl.DataFrame:
    """Read and check measured iteration times.

    Args:
        path: A CSV file (also gzipped), or Parquet if it is called so.
        required: Columns that have to be there besides phase, batch, new_tokens, context_tokens and time_ms.

    Returns:
        The columns above, those that are missing filled with nulls (past_tokens: 0), and `row`, the line of a CSV
        file or the row of a Parquet file, from 1.

    Raises:
        ProfileError: The file cannot be read, a column is missing, or a value is not allowed.
    """
    try:
        if path.suffix == ".parquet":
            frame, first_row = pl.read_parquet(path), 1
        else:
            # As text, so that a wrong value is ours to report.
            frame, first_row = pl.read_csv(path, infer_schema=False), 2
    except (OSError, pl.exceptions.PolarsError) as error:
        msg = f"{path}: cannot be read: {str(error).splitlines()[0]}"
        raise ProfileError(msg) from error
    missing = [name for name in (*_REQUIRED, *required) if name not in frame.columns]
    if missing:
        unknown = [name for name in frame.columns if name not in _TYPES]
        msg = f"{path}: no column {missing[0]!r}; {nearest(missing[0], unknown or frame.columns)}"
        raise ProfileError(msg)
    frame = frame.with_row_index("row", first_row)
    frame = frame.select(
        "row",
        *(_cast(path, frame, name) if name in frame.columns else pl.lit(None, kind).alias(name)
          for name, kind in _TYPES.items()),
    )  # fmt: skip
    past = pl.coalesce("past_tokens", pl.col("note").str.extract(r"past=(\d+)").cast(pl.Int64), pl.lit(0))
    frame = frame.with_columns(past_tokens=past)
    _check(path, frame, required)
    return frame


def _cast(path: Path, frame: pl.DataFrame, name: str) -> pl.Series:
    """A column as what it should be."""
    column = frame[name]
    text = column.str.strip_chars() if column.dtype == pl.String else column
    number = text.cast(pl.Float64, strict=False) if _TYPES[name] == pl.Int64 else text
    values = number.cast(_TYPES[name], strict=False)
    is_wrong = values.is_null() & text.is_not_null()
    if _TYPES[name] == pl.Int64:
        is_wrong |= (number != values).fill_null(value=False)
    if is_wrong.any():
        at = int(is_wrong.arg_true()[0])
        noun = "a whole number" if _TYPES[name] == pl.Int64 else "a number"
        msg = f"{path}: {name}: row {frame['row'][at]}: {column[at]!r} is not {noun}"
        raise ProfileError(msg)
    return values.alias(name)


def _check(path: Path, frame: pl.DataFrame, required: Iterable[str]) -> None:
    if frame.is_empty():
        msg = f"{path}: there are no rows"
        raise ProfileError(msg)
    for name in (*_REQUIRED, *required):
        _refuse(path, frame, name, pl.col(name).is_null(), "is missing")
    at = frame.filter(~pl.col("phase").is_in(PHASES))
    if at.height:
        phase = at["phase"][0]
        msg = f"{path}: phase: row {at['row'][0]}: unknown phase {phase!r}: {nearest(phase, PHASES)}"
        raise ProfileError(msg)
    for name in ("precision", "experts"):
        unknown = frame.filter(~pl.col(name).is_in(list(FORMATS)))
        if unknown.height:
            given = unknown[name][0]
            msg = f"{path}: {name}: row {unknown['row'][0]}: unknown number format {given!r}: {nearest(given, FORMATS)}"
            raise ProfileError(msg)
    has_chunk = pl.col("phase") != "decode"
    _refuse(path, frame, "ep", ~pl.col("ep").is_in([0, 1]), "must be 0 or 1")
    _refuse(path, frame, "time_ms", ~(pl.col("time_ms").is_finite() & (pl.col("time_ms") > 0)), "must be above 0")
    _refuse(path, frame, "batch", pl.col("batch") < 1, "must be 1 or more")
    _refuse(path, frame, "new_tokens", has_chunk & (pl.col("new_tokens") < 1), "must be 1 or more")
    _refuse(path, frame, "context_tokens", pl.col("context_tokens") < 0, "must be 0 or more")
    _refuse(path, frame, "past_tokens", pl.col("past_tokens") < 0, "must be 0 or more")
    _refuse(path, frame, "tp", pl.col("tp") < 1, "must be 1 or more")


def _refuse(path: Path, frame: pl.DataFrame, name: str, is_wrong: pl.Expr, message: str) -> None:
    wrong = frame.filter(is_wrong)
    if wrong.height:
        value = wrong[name][0]
        what = message if value is None else f"{value} {message}"
        msg = f"{path}: {name}: row {wrong['row'][0]}: {what}"
        raise ProfileError(msg)
