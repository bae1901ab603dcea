"""What a request table and a timeline of the market are: their columns, and the checks that all of them pass."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from traces.errors import Remedy, TraceError, nearest


@dataclass(frozen=True)
class Column:
    """One column of a table: what it holds, in which unit, and the least value allowed."""

    name: str
    dtype: pl.DataType
    unit: str
    required: bool
    description: str
    minimum: int | None = None


REQUEST_SCHEMA: tuple[Column, ...] = (
    Column("request_id", pl.Int64(), "1", True, "identifies the request; unique"),
    Column("arrival_s", pl.Float64(), "s", True, "arrival time from the start of the trace; finite", 0),
    Column("model", pl.String(), "1", True, "model that the request asks for"),
    Column("prompt_tokens", pl.Int32(), "tokens", True, "length of the prompt", 1),
    Column("output_tokens", pl.Int32(), "tokens", True, "tokens that will be generated", 1),
    Column("slo_class", pl.String(), "1", True, "name of the service level that the request falls under"),
    Column("session_id", pl.Int64(), "1", False, "conversation that the request belongs to, if any"),
    Column(
        "prefix_hashes",
        pl.List(pl.Int64()),
        "1",
        False,
        "ids of the prompt's leading blocks: two prompts with equal leading ids share that prefix",
    ),
)

MARKETS = ("on_demand", "spot")

AVAILABILITY_SCHEMA: tuple[Column, ...] = (
    Column("t_s", pl.Float64(), "s", True, "when the market changes, from the start of the timeline; finite", 0),
    Column("gpu_type", pl.String(), "1", True, "GPU type that changes"),
    Column("market", pl.String(), "1", True, f"where it is rented: {' or '.join(MARKETS)}"),
    Column("count", pl.Int32(), "GPUs", True, "GPUs of this type that can be rented from then on", 0),
    Column("usd_per_h", pl.Float64(), "US$/h", False, "price of one from then on; null: the catalog's", 0),
)


def with_defaults(frame: pl.DataFrame, model: str = "default", slo_class: str = "default") -> pl.DataFrame:
    """Add the columns that a trace needs and many files lack.

    Args:
        frame: Requests, one a row.
        model: Value of `model` where the frame has no such column.
        slo_class: Value of `slo_class` where the frame has no such column.

    Returns:
        The frame with `request_id` (the row number, from 0), `model` and `slo_class`.
    """
    defaults = {
        "request_id": pl.int_range(pl.len(), dtype=pl.Int64),
        "model": pl.lit(model),
        "slo_class": pl.lit(slo_class),
    }
    return frame.with_columns(value.alias(name) for name, value in defaults.items() if name not in frame.columns)


@dataclass(frozen=True)
class Origin:
    """What is known of the file that a frame was read from.

    Attributes:
        columns: Our name of a column -> its name in the file.
        rows: Rows of the file that the frame's rows were; None: their position in the frame.
        others: Names of columns that the file has besides those of the frame.
        hints: Column -> what can be done about a problem with it.
        found: Problems that are known already.
        advice: What can be done about missing columns.
        remedies: Options that hints and problems name.
        counting: How rows are counted.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    rows: pl.Series | None = None
    others: Collection[str] = ()
    hints: Mapping[str, str] = field(default_factory=dict)
    found: Sequence[str] = ()
    advice: str = ""
    remedies: Sequence[Remedy] = ()
    counting: str = "rows are counted from 0, after any header"

    def locate(self, column: str, problem: str) -> str:
        """A problem with the names of its column, and what can be done about it."""
        theirs = self.columns.get(column, column)
        label = column if theirs == column else f"{column} ({theirs!r} in the file)"
        hint = f"; {self.hints[column]}" if column in self.hints else ""
        return f"{label}: {problem}{hint}"


def validate_requests(
    frame: pl.DataFrame,
    where: str,
    *,
    sort: bool = False,
    origin: Origin | None = None,
) -> pl.DataFrame:
    """Turn a frame into a request table, or say everything that is wrong with it.

    Text that holds numbers is converted, a whole number may be written `12.0`, columns outside
    `REQUEST_SCHEMA` are dropped, and optional columns may hold nulls. Nothing else is repaired.

    Args:
        frame: Requests, one a row, in order of arrival.
        where: Name of the file or of the origin, for messages.
        sort: Accept arrivals in any order.
        origin: What is known of the file that the frame comes from, for messages.

    Returns:
        The columns of `REQUEST_SCHEMA` with its types, sorted by `arrival_s`, then `request_id`.

    Raises:
        TraceError: One error for all problems: for each column the first offending row
            (counted from 0) with its value, and how many such rows there are.

    Examples:
        >>> frame = pl.DataFrame({"arrival_s": [0.0, 1.5], "prompt_tokens": [7, 0], "output_tokens": [1, 2]})
        >>> validate_requests(with_defaults(frame), "a.csv")
        Traceback (most recent call last):
        ...
        traces.errors.TraceError: a.csv: not a valid request table (rows are counted from 0, after any header)
          prompt_tokens: row 1: 0 is not a whole number from 1 to 2147483647
    """
    # Long because its arguments are documented one by one.
    if frame.is_empty():
        msg = f"{where}: has no requests"
        raise TraceError(msg)
    origin = Origin() if origin is None else origin
    columns: list[pl.Series] = []
    problems = list(origin.found)
    unused = {*frame.columns, *origin.others} - {column.name for column in REQUEST_SCHEMA}
    for column in REQUEST_SCHEMA:
        if column.name not in frame.columns:
            if column.required:
                hint = nearest(column.name, unused)
                problems.append(f"{column.name}: column is missing{hint and '; ' + hint}")
            continue
        raw = frame[column.name]
        converted, problem = _convert(raw, column, origin.rows)
        if not problem and column.name == "request_id":
            is_second = ~converted.is_first_distinct()
            problem = _first(raw, is_second, "occurs in an earlier row, ids are unique", origin.rows)
        if not problem and column.name == "arrival_s" and not sort:
            problem = _first(raw, converted < converted.shift(1), "is earlier than the row before it", origin.rows)
        if problem:
            problems.append(origin.locate(column.name, problem))
        columns.append(converted)
    if problems:
        head = f"{where}: not a valid request table ({origin.counting})"
        advice = [origin.advice] if origin.advice else []
        raise TraceError("\n  ".join([head, *problems, *advice]), origin.remedies)
    return pl.DataFrame(columns).sort("arrival_s", "request_id")


def validate_availability(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    """Turn a frame into a table of market changes, or say everything that is wrong with it.

    Each GPU type on each market is a step function: its first row is at time 0, and its times increase.

    Args:
        frame: Changes, one a row, in order of time for each GPU type and market.
        where: Name of the file or of the origin, for messages.

    Returns:
        The columns of `AVAILABILITY_SCHEMA` with its types, sorted by time, GPU type and market.

    Raises:
        TraceError: One error for all problems, each with its first row (counted from 0) and value.

    >>> rows = {"t_s": [0.0, 9.0], "gpu_type": ["L40S", "L40S"], "market": ["spot", "spot"], "count": [4, -1]}
    >>> validate_availability(pl.DataFrame(rows), "a.csv")
    Traceback (most recent call last):
    ...
    traces.errors.TraceError: a.csv: not a valid timeline (rows are counted from 0, after any header)
      count: row 1: -1 is not a whole number from 0 to 2147483647
    """
    if frame.is_empty():
        msg = f"{where}: has no rows"
        raise TraceError(msg)
    columns: dict[str, pl.Series] = {}
    problems: list[str] = []
    for column in AVAILABILITY_SCHEMA:
        if column.name in frame.columns:
            columns[column.name], problem = _convert(frame[column.name], column)
            if not problem and column.name == "market":
                market = columns[column.name]
                problem = _first(market, ~market.is_in(MARKETS), f"is no market; known: {', '.join(MARKETS)}")
            problems += [f"{column.name}: {problem}"] if problem else []
        elif column.required:
            hint = nearest(column.name, frame.columns)
            problems.append(f"{column.name}: column is missing{hint and '; ' + hint}")
        else:
            columns[column.name] = pl.Series(column.name, [None], dtype=column.dtype).new_from_index(0, frame.height)
    if not problems:
        before = pl.DataFrame(columns).select(pl.col("t_s").shift(1).over("gpu_type", "market"))["t_s"]
        t_s = columns["t_s"]
        checks = {
            "is the first time of its GPU type on this market; what is there from 0 on must be said": (
                before.is_null() & (t_s > 0)
            ),
            "is earlier than the row before it, of the same GPU type and market": t_s < before,
            "stands there twice for the same GPU type and market": t_s == before,
        }
        problems += [f"t_s: {problem}" for what, bad in checks.items() if (problem := _first(t_s, bad, what))]
    if problems:
        head = f"{where}: not a valid timeline (rows are counted from 0, after any header)"
        raise TraceError("\n  ".join([head, *problems]))
    return pl.DataFrame(list(columns.values())).sort("t_s", "gpu_type", "market")


def _first(raw: pl.Series, bad: pl.Series, what: str, rows: pl.Series | None = None) -> str:
    """Describe the first row marked in `bad`; "" if there is none."""
    found = bad.fill_null(value=False).arg_true()
    if found.is_empty():
        return ""
    value = raw.slice(found[0], 1).to_list()[0]
    shown = "an empty cell" if value is None else repr(value)
    more = f" ({len(found)} such rows)" if len(found) > 1 else ""
    row = found[0] if rows is None else rows[found[0]]
    return f"row {row}: {shown} {what}{more}"


def _convert(raw: pl.Series, column: Column, rows: pl.Series | None = None) -> tuple[pl.Series, str]:
    """Cast one column; the text describes its first bad value, or is ""."""
    dtype = column.dtype
    if raw.dtype == pl.Null:
        raw = raw.cast(dtype)
    if not _is_readable(raw.dtype, dtype):
        return raw, f"has type {raw.dtype}, must hold {_need(column)}"
    if dtype == pl.String:
        converted = raw.cast(pl.String)
        good = converted.str.len_chars() > 0
    elif isinstance(dtype, pl.List):
        converted = raw.cast(dtype, strict=False)
        good = converted.list.drop_nulls().list.len() == converted.list.len()
    elif dtype == pl.Float64:
        converted = _numbers(raw)
        good = converted.is_finite() & (converted >= column.minimum)
    else:
        whole = _whole_numbers(raw)
        converted = whole.cast(dtype, strict=False)
        good = converted.is_not_null()
        if column.minimum is not None:
            good &= whole >= column.minimum
    good = good.fill_null(value=False)
    if not column.required:
        good |= raw.is_null()
    return converted.alias(column.name), _first(raw, ~good, f"is not {_need(column)}", rows)


def _is_readable(found: pl.DataType, wanted: pl.DataType) -> bool:
    if wanted == pl.String:
        return found in (pl.String, pl.Categorical, pl.Enum)
    if isinstance(wanted, pl.List):
        return isinstance(found, pl.List) and (found.inner == pl.Null or found.inner.is_integer())
    return found == pl.String or found.is_numeric()


def _need(column: Column) -> str:
    """Say what a cell of this column must hold."""
    if column.dtype == pl.String:
        return "a name"
    if isinstance(column.dtype, pl.List):
        return "a list of 64-bit whole numbers"
    if column.dtype == pl.Float64:
        return f"a finite number >= {column.minimum}"
    if column.minimum is None:
        return "a 64-bit whole number"
    return f"a whole number from {column.minimum} to {2**31 - 1}"


def _numbers(raw: pl.Series) -> pl.Series:
    """Numbers or their text as Float64; null where there is none."""
    text = raw.str.strip_chars() if raw.dtype == pl.String else raw
    return text.cast(pl.Float64, strict=False)


def _whole_numbers(raw: pl.Series) -> pl.Series:
    """Whole numbers or their text as Int64; null for fractions and for what does not fit."""
    if raw.dtype.is_integer():
        return raw.cast(pl.Int64, strict=False)
    numbers = _numbers(raw)
    whole = numbers.cast(pl.Int64, strict=False)
    whole = whole.zip_with(whole.cast(pl.Float64) == numbers, pl.Series([None] * len(raw), dtype=pl.Int64))
    if raw.dtype == pl.String:  # digits first: a float holds only 53 bits of an id
        whole = raw.str.strip_chars().cast(pl.Int64, strict=False).fill_null(whole)
    return whole
