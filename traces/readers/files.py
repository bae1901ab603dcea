"""Opens files of requests as lazy tables: compression, encodings and dialects; what is wrong is said with its place."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from traces.errors import TraceError

PathLike = str | os.PathLike[str]

SEPARATORS = ",;\t|"
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
SNIFFED_BYTES = 1 << 16


@dataclass(frozen=True)
class Table:
    """A file as rows and columns, not read yet.

    Attributes:
        path: The file.
        scan: Its rows, with the columns' names of the file.
        schema: Types of the columns. In CSV files all are text, so that messages can show a cell as it is.
        has_decimal_commas: Whether numbers are written 1,5.
        kind: What the file is, for messages.
    """

    path: PathLike
    scan: pl.LazyFrame
    schema: Mapping[str, pl.DataType]
    has_decimal_commas: bool = False
    kind: Literal["CSV", "JSON", "JSON lines", "Parquet"] = "CSV"

    @classmethod
    def from_records(cls, path: PathLike, records: Sequence[Mapping[str, Any]]) -> Table:
        """A table of objects that were read from a document.

        Raises:
            TraceError: There is none.
        """
        if not records:
            msg = f"{path}: has no requests"
            raise TraceError(msg)
        columns = []
        for name in dict.fromkeys(name for record in records for name in record):
            values = [record.get(name) for record in records]
            try:
                columns.append(pl.Series(name, values, strict=False))
            except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
                msg = f"{path}: {name!r} holds values that are no column: {str(error).splitlines()[0]}"
                raise TraceError(msg) from None
        frame = pl.DataFrame(columns)
        return cls(path, frame.lazy(), frame.schema, kind="JSON")

    def column(self, name: str) -> pl.Expr | None:
        """A column by its name or path, as `usage.completion_tokens` or `choices.0.tokens`; None if there is none."""
        if name in self.schema:
            return pl.col(name)
        parts = name.split(".")
        for length in range(len(parts) - 1, 0, -1):
            outer = ".".join(parts[:length])
            if outer in self.schema:
                return _inner(pl.col(outer), self.schema[outer], parts[length:])
        return None

    def names(self) -> list[str]:
        """Names of columns and paths to what is nested in them."""
        return [name for column, dtype in self.schema.items() for name in (column, *_paths(column, dtype))]

    def collect(self, query: pl.LazyFrame) -> pl.DataFrame:
        """Read what a query asks for.

        Raises:
            TraceError: The file is damaged.
        """
        try:
            return query.collect(engine="streaming")
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise _damage(self.path, error, self.kind) from None


def _inner(expression: pl.Expr, dtype: pl.DataType, parts: Sequence[str]) -> pl.Expr | None:
    if not parts:
        return expression
    if isinstance(dtype, pl.Struct):
        fields = {field.name: field.dtype for field in dtype.fields}
        for length in range(len(parts), 0, -1):
            name = ".".join(parts[:length])
            if name in fields:
                return _inner(expression.struct.field(name), _instance(fields[name]), parts[length:])
    if isinstance(dtype, pl.List) and parts[0].isdigit():
        element = expression.list.get(int(parts[0]), null_on_oob=True)
        return _inner(element, _instance(dtype.inner), parts[1:])
    return None


def _instance(dtype: Any) -> pl.DataType:
    made: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return made


def _paths(prefix: str, dtype: pl.DataType) -> Iterator[str]:
    if isinstance(dtype, pl.Struct):
        for field in dtype.fields:
            path = f"{prefix}.{field.name}"
            yield path
            yield from _paths(path, _instance(field.dtype))


def open_csv(path: PathLike) -> Table:
    """Open a CSV file with a header line; separated by commas, semicolons, tabs or bars.

    Raises:
        TraceError: The file cannot be read, is empty, or has a column twice.
    """
    source, first_line = _open(path)
    separator = max(SEPARATORS, key=first_line.count)
    header = split_line(path, first_line, separator)
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        msg = f"{path}: the column {twice[0]!r} stands there {header.count(twice[0])} times"
        raise TraceError(msg)
    if not first_line.strip():
        msg = f"{path}: line 1: is empty, must name the columns"
        raise TraceError(msg)
    try:
        scan = pl.scan_csv(source, separator=separator, infer_schema=False, glob=False)
        schema = scan.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _damage(path, error, "CSV") from None
    return Table(path, scan, schema, has_decimal_commas=separator == ";")


def split_line(path: PathLike, line: str, separator: str) -> list[str]:
    """The cells of a line of a CSV file.

    Raises:
        TraceError: It is no such line.
    """
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error as error:
        msg = f"{path}: cannot be read as CSV: {error}"
        raise TraceError(msg) from None


def open_jsonl(path: PathLike) -> Table:
    """Open a file with one JSON object a line.

    Raises:
        TraceError: The file cannot be read, is empty, or a line is no object.
    """
    source, _ = _open(path)
    try:
        scan = pl.scan_ndjson(source, infer_schema_length=None)
        return Table(path, scan, scan.collect_schema(), kind="JSON lines")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _damage(path, error, "JSON lines") from None


def open_parquet(path: PathLike) -> Table:
    """Open a Parquet file.

    Raises:
        TraceError: The file cannot be read or is none.
    """
    _head(path)
    try:
        scan = pl.scan_parquet(Path(path), glob=False)
        return Table(path, scan, scan.collect_schema(), kind="Parquet")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        msg = f"{path}: cannot be read as Parquet: {str(error).splitlines()[0]}"
        raise TraceError(msg) from None


def read_json(path: PathLike) -> Any:
    """Read a file that is one JSON document.

    Raises:
        TraceError: The file cannot be read, is empty or no JSON; with its line.
    """
    text = "\n".join(_lines(path))
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        msg = f"{path}: line {error.lineno}: is not JSON: {error.msg}"
        raise TraceError(msg) from None
    except (RecursionError, ValueError) as error:
        msg = f"{path}: is not JSON: {error}"
        raise TraceError(msg) from None


def read_json_lines(path: PathLike) -> Iterator[tuple[int, Any]]:
    """The values of a file with one JSON value a line, each with the number of its row, from 0.

    Raises:
        TraceError: The file cannot be read, is empty, or a line is no JSON.
    """
    for row, line in enumerate(filter(str.strip, _lines(path))):
        try:
            yield row, json.loads(line)
        except (RecursionError, ValueError):
            msg = f"{path}: row {row}: {line[:60]!r} is not a JSON object"
            raise TraceError(msg) from None


def read_cells(path: PathLike) -> pl.DataFrame:
    """Read a CSV file with all cells as text, so that the check of the values can name row and value.

    Raises:
        TraceError: The file cannot be read, or has only a header.
    """
    table = open_csv(path)
    frame = table.collect(table.scan)
    if frame.is_empty():
        msg = f"{path}: has only a header"
        raise TraceError(msg)
    return frame


def beginning(path: PathLike) -> str:
    """The first 64 KiB or so as text, after decompression.

    Raises:
        TraceError: The file cannot be read or is empty.
    """
    head = _head(path, SNIFFED_BYTES)
    if head.startswith(ZSTD):
        return "\n".join(_zstd_lines(path, n_lines=100))
    if head.startswith((*UTF_16, codecs.BOM_UTF8)):
        return _text(path)[:SNIFFED_BYTES]
    head = _gunzip(path, SNIFFED_BYTES) if head.startswith(GZIP) else head
    if not head.strip():
        msg = f"{path}: the file is empty"
        raise TraceError(msg)
    return head.decode(errors="replace")


def _head(path: PathLike, n_bytes: int = 4) -> bytes:
    try:
        with Path(path).open("rb") as file:
            head = file.read(n_bytes)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror or error}"
        raise TraceError(msg) from None
    if not head:
        msg = f"{path}: the file is empty"
        raise TraceError(msg)
    return head


def _open(path: PathLike) -> tuple[Path | io.BytesIO, str]:
    """What polars can read, and the first line. A file stays on disk unless its encoding must be changed."""
    head = _head(path, SNIFFED_BYTES)
    if head.startswith(ZSTD):
        first_line = next(_zstd_lines(path, n_lines=1), "")
        if not first_line:
            msg = f"{path}: the file is empty"
            raise TraceError(msg)
        return Path(path), first_line
    if head.startswith(GZIP):
        head = _gunzip(path, SNIFFED_BYTES)
    if not head.strip():
        msg = f"{path}: the file is empty"
        raise TraceError(msg)
    if head.startswith((*UTF_16, codecs.BOM_UTF8)):
        text = _text(path)
        return io.BytesIO(text.encode()), text.partition("\n")[0].rstrip("\r")
    try:
        return Path(path), head.partition(b"\n")[0].rstrip(b"\r").decode()
    except UnicodeDecodeError:
        msg = f"{path}: line 1 is not UTF-8 text"
        raise TraceError(msg) from None


def _gunzip(path: PathLike, n_bytes: int = -1) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read(n_bytes)
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path}: cannot be read: the archive is damaged or cut off: {error}"
        raise TraceError(msg) from None


def _zstd_lines(path: PathLike, n_lines: int | None = None) -> Iterator[str]:
    """Lines of an archive: a table of one column whose separator stands in no text."""
    try:
        lines = pl.read_csv(
            Path(path), has_header=False, separator="\x1f", quote_char=None, infer_schema=False, n_rows=n_lines
        )
    except pl.exceptions.NoDataError:
        return
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"{path}: cannot be read: the archive is damaged or cut off: {str(error).splitlines()[0]}"
        raise TraceError(msg) from None
    yield from lines.to_series().fill_null("")


def _text(path: PathLike) -> str:
    head = _head(path)
    if head.startswith(ZSTD):
        return "\n".join(_zstd_lines(path))
    data = _gunzip(path) if head.startswith(GZIP) else Path(path).read_bytes()
    encoding = "utf-16" if data.startswith(UTF_16) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        msg = f"{path}: line {line} is not {encoding.removesuffix('-sig').upper()} text"
        raise TraceError(msg) from None
    if not text.strip():
        msg = f"{path}: the file is empty"
        raise TraceError(msg)
    return text


def _lines(path: PathLike) -> list[str]:
    return _text(path).splitlines()


def _damage(path: PathLike, error: BaseException, kind: str) -> TraceError:
    """Find out where a file is damaged; the slow way, only after it could not be read."""
    said = str(error).partition("\n")[0]
    try:
        if kind == "JSON lines":
            for row, value in read_json_lines(path):
                if not isinstance(value, dict):
                    return TraceError(f"{path}: row {row}: {json.dumps(value)[:60]!r} is not a JSON object")
        elif kind == "CSV":
            lines = _lines(path)
            rows = csv.reader(lines, delimiter=max(SEPARATORS, key=lines[0].count))
            width = len(next(rows, []))
            for row, cells in enumerate(rows):
                if len(cells) > width:
                    return TraceError(f"{path}: row {row}: {len(cells)} cells under {width} column names")
    except TraceError as located:
        return located
    except csv.Error as located:
        said = str(located)
    return TraceError(f"{path}: cannot be read as {kind}: {said}")
