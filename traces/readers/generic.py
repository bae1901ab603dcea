"""Readers of plain tables: any file with a row, a line or an object for each request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from traces.errors import TraceError, nearest
from traces.readers.files import PathLike, Table, open_csv, open_jsonl, open_parquet, read_json
from traces.readers.outcomes import holds_messages
from traces.readers.reading import Layout, Reading
from traces.readers.table import make_trace
from traces.trace import Trace

Columns = Mapping[str, str | None]


def read_csv(path: PathLike, *, columns: Columns | None = None, **options: Any) -> Trace:
    """Read a CSV file with a header line, separated by commas, semicolons (with decimal commas), tabs or bars.

    It may be compressed (gzip, zstd), begin with a byte-order mark or be UTF-16. Rows may stand in any order; arrivals
    are counted from the first. Only the columns that are needed are read.

    Args:
        path: The file.
        columns: Our name of a column -> its name in the file, or null to leave it out. Columns that are not named here
            are found under our own names; see `REQUEST_SCHEMA`. Besides these, `error`, for a status or an error
            message: where it says neither nothing nor success (`traces.readers.outcomes`) the request failed, and is
            left out and counted. A status that is not known is an error; see `ok_values`.
        options: See `Reading`.

    Returns:
        The trace.

    Raises:
        TraceError: The file cannot be read, an argument is wrong, or requests are not valid.
    """
    return _read("csv", open_csv(path), columns, options)


def read_jsonl(path: PathLike, *, columns: Columns | None = None, **options: Any) -> Trace:
    """Read a file with one JSON object a line.

    Columns may be paths, as `usage.completion_tokens`, or `choices.0.tokens` for an element of an array. The rest is
    as for `read_csv`.

    Raises:
        TraceError: The file cannot be read, an argument is wrong, or requests are not valid.
    """
    return _read("jsonl", open_jsonl(path), columns, options)


def read_parquet(path: PathLike, *, columns: Columns | None = None, **options: Any) -> Trace:
    """Read a Parquet file; arguments and behaviour are those of `read_jsonl`.

    Raises:
        TraceError: The file cannot be read, an argument is wrong, or requests are not valid.
    """
    return _read("parquet", open_parquet(path), columns, options)


def read_json_document(path: PathLike, *, records: str = "", columns: Columns | None = None, **options: Any) -> Trace:
    """Read a JSON document that holds an array of objects, or an object of arrays of equal length.

    Args:
        path: The file.
        records: Path to the array, or to the object of arrays, as `data.items`; by default the document itself.
        columns: As for `read_jsonl`.
        options: See `Reading`.

    Raises:
        TraceError: The file cannot be read, an argument is wrong, or requests are not valid.
    """
    return _read("json", Table.from_records(path, find_records(path, records)), columns, options)


def find_records(path: PathLike, records: str = "") -> list[Mapping[str, Any]]:
    """The objects of a JSON document; see `read_json_document`.

    Raises:
        TraceError: There are none at that place.
    """
    found = read_json(path)
    for part in filter(None, records.split(".")):
        names = list(found) if isinstance(found, dict) else []
        if part not in names:
            msg = f"{path}: records: there is no {part!r} (of {records!r}): {nearest(part, names)}"
            raise TraceError(msg)
        found = found[part]
    if isinstance(found, dict):
        arrays = {name: value for name, value in found.items() if isinstance(value, list)}
        n_most = max(map(len, arrays.values()), default=0)
        whole = {name: value for name, value in arrays.items() if len(value) == n_most}
        found = [dict(zip(whole, row, strict=True)) for row in zip(*whole.values(), strict=True)]
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        msg = f"{path}: holds no array of objects{f' at {records!r}' if records else ''}; say records: path.to.it"
        raise TraceError(msg)
    return found


def _read(reader: str, table: Table, columns: object, options: Mapping[str, Any]) -> Trace:
    if columns is not None and not isinstance(columns, Mapping):
        needed = "a mapping of our names to the file's, as {prompt_tokens: n_in}"
        msg = f"{table.path}: columns: {columns!r} is not {needed}"
        raise TraceError(msg)
    named = columns or {}
    outcome = named.get("error")
    layout = Layout(
        reader,
        named,
        finds_ours=True,
        drops_failed=outcome is not None,
        asks_words=outcome is not None and not holds_messages(str(outcome)),
    )
    return make_trace(table, layout, Reading.of(table.path, options))
