"""From a table of a file to a trace: columns, what is left out, times, the checks, and what is said of all that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from traces.closed_loop import ClosedLoop
from traces.errors import Remedy, TraceError, nearest
from traces.readers.files import Table
from traces.readers.naming import name_columns
from traces.readers.outcomes import check_words, find_outcomes, is_failure
from traces.readers.prefixes import check_segments, number_ids
from traces.readers.reading import Layout, Reading
from traces.readers.times import NAMED_UNITS, TIME_UNITS, Clock, Times, TimeUnit, read_times
from traces.schema import REQUEST_SCHEMA, Origin, validate_requests, with_defaults
from traces.synth import ARRIVALS_STREAM, generator
from traces.trace import Trace, divide_arrivals

ROW = "row of the file"
FAILED, TOO_LONG = "failed requests (an error, or no answer)", "requests longer than asked for"
LENGTHS = ("prompt_tokens", "output_tokens")
UNITS = tuple(Remedy("time_unit", unit) for unit in TIME_UNITS)
NEVER = pl.lit(value=False)
OURS = (*(column.name for column in REQUEST_SCHEMA), "error")
RATE_CHECKED_FROM = 10  # requests; fewer may well come at once
LINES = {
    "CSV": "rows are counted from 0, after the header: row 0 is line 2 of the file",
    "JSON lines": "rows are counted from 0: row 0 is line 1 of the file",
}
UNLIKELY_RATE_RPS = 10_000.0
UNLIKELY_GAP_S = 3600.0  # a request an hour, where the unit was taken for granted


def make_trace(table: Table, layout: Layout, reading: Reading) -> Trace:
    """Read a table and check it.

    Args:
        table: The file.
        layout: Its format.
        reading: What is asked for.

    Returns:
        The trace, with what was left out, sorted or taken for granted in its notes.

    Raises:
        TraceError: Columns are missing, cells are not valid, or what the file says cannot be.
    """
    columns = _columns(table, layout)
    frame, notes = _select(table, columns, layout, reading)
    rows = frame[ROW]
    names = {ours: theirs for ours, theirs in columns.items() if theirs}
    frame, found = _renumber(frame, notes)
    arrival, clock_notes, start, problem = _arrivals(frame, table, layout, reading, names.get("arrival_s"))
    notes += clock_notes
    origin = _origin(frame, table, layout, reading, Origin(names, rows, table.names(), found=found))
    if problem:
        found.append(origin.locate("arrival_s", problem))
    filled = with_defaults(frame.drop(ROW).with_columns(arrival), reading.model, reading.slo_class)
    if "request_id" not in frame.columns:
        filled = filled.with_columns(rows.cast(pl.Int64).alias("request_id"))
    requests = validate_requests(filled, str(table.path), sort=True, origin=origin)
    segment_tokens = reading.prefix_segment_tokens or layout.segment_tokens
    if "prefix_hashes" in requests.columns:
        check_segments(requests, segment_tokens, str(table.path))
    notes += _map_models(requests, reading)
    if reading.models:
        requests = requests.with_columns(pl.col("model").replace(reading.models))
    trace = Trace(
        requests,
        f"{layout.reader}:{table.path}",
        notes=(*layout.notes, *notes),
        start=start,
        prefix_segment_tokens=segment_tokens if "prefix_hashes" in requests.columns else None,
    )
    if isinstance(reading.arrivals, ClosedLoop):
        return replace(trace.sent_by(reading.arrivals, reading.seed), source=trace.source)
    _doubt_rate(trace, reading, layout)
    return trace


def _columns(table: Table, layout: Layout) -> dict[str, str]:
    """Our name -> the file's, for all columns that are read."""
    problems = []
    remedies: list[Remedy] = []
    columns: dict[str, str] = {}
    if layout.finds_ours:
        columns = {name: name for name in OURS if name in table.schema and name != "error"}
    for ours, theirs in layout.columns.items():
        if ours not in OURS:
            turned = Remedy("column", columns={str(theirs): str(ours)})
            is_turned = theirs in OURS and table.column(str(ours)) is not None
            remedies += [turned] if is_turned else []
            hint = f"turn it round: {turned}" if is_turned else nearest(str(ours), OURS)
            problems.append(f"columns: there is no {ours!r}: {hint}")
        elif theirs is None:
            columns.pop(ours, None)
        elif not isinstance(theirs, str) or table.column(theirs) is None:
            problems.append(f"no column {theirs!r} for {ours}: {nearest(str(theirs), table.names())}")
        else:
            columns[ours] = theirs
    if problems:
        raise TraceError("\n  ".join([f"{table.path}: columns do not match", *problems]), remedies)
    return columns


def _expressions(table: Table, columns: Mapping[str, str], reading: Reading) -> dict[str, pl.Expr]:
    """How each of our columns is read."""
    expressions = {}
    for ours, theirs in columns.items():
        column = table.column(theirs)
        if column is None or (ours == "arrival_s" and reading.arrivals is not None):
            continue
        is_number = ours in ("arrival_s", *LENGTHS)
        expressions[ours] = column.str.replace(",", ".") if is_number and table.has_decimal_commas else column
    return expressions


def _select(
    table: Table, columns: Mapping[str, str], layout: Layout, reading: Reading
) -> tuple[pl.DataFrame, list[str]]:
    """Read the rows that are wanted; say how many are not."""
    if reading.ok_values is not None and "error" not in columns:
        remedy = Remedy("columns", columns={"error": find_outcomes(table.names()) or "..."})
        msg = f"{table.path}: ok_values are words of the column that says whether a request failed: name it, {remedy}"
        raise TraceError(msg, [remedy])
    expressions = _expressions(table, columns, reading)
    drops_failed = layout.drops_failed if reading.drop_failed is None else reading.drop_failed
    is_other = NEVER if layout.is_request is None else ~layout.is_request.fill_null(value=False)
    is_failed = _failed(expressions, reading) if drops_failed else NEVER
    is_long = _too_long(expressions, reading)
    marks = [layout.others, FAILED, TOO_LONG]
    numbered = table.scan.with_row_index(ROW).select(ROW, is_other.alias(layout.others), **expressions)
    marked = numbered.with_columns(is_failed.alias(FAILED), is_long.alias(TOO_LONG))
    kept = marked.filter(~pl.any_horizontal(marks)).drop(*marks, "error", strict=False)
    frame = table.collect(kept if reading.head is None else kept.head(reading.head))
    is_all = reading.head is None or len(frame) < reading.head
    looked_at = marked if is_all else marked.head(frame[ROW][-1] + 1)
    if layout.asks_words and drops_failed and reading.ok_values is None:
        check_words(table, looked_at, "error", columns["error"])
    notes = []
    if any(mark is not NEVER for mark in (is_other, is_failed, is_long)):
        notes = _count(table, looked_at, marks)
    if frame.is_empty():
        is_bare = table.kind == "CSV" and not notes
        told = "has only a header" if is_bare else "; ".join(["has no requests", *notes])
        msg = f"{table.path}: {told}"
        raise TraceError(msg)
    return frame, notes


def _count(table: Table, marked: pl.LazyFrame, marks: list[str]) -> list[str]:
    """Say how many rows each mark takes out; one that has several counts under the first."""
    sums = []
    taken = pl.lit(value=False)
    for mark in marks:
        sums.append((pl.col(mark) & ~taken).sum().alias(mark))
        taken = taken | pl.col(mark)
    counts = table.collect(marked.select(sums)).row(0, named=True)
    return [f"left out: {n} {mark}" for mark, n in counts.items() if n]


def _number(name: str) -> pl.Expr:
    """Numbers or their text; null where there is none."""
    return pl.col(name).cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)


def _failed(columns: Mapping[str, pl.Expr], reading: Reading) -> pl.Expr:
    """Whether a request has no answer, or an error."""
    marks = []
    if "output_tokens" in columns:
        has_answer = pl.col("output_tokens").is_not_null() & (_number("output_tokens") != 0).fill_null(value=True)
        marks.append(~has_answer)
    if "error" in columns:
        marks.append(is_failure(pl.col("error"), reading.ok_values))
    return pl.any_horizontal(marks) if marks else NEVER


def _too_long(columns: Mapping[str, pl.Expr], reading: Reading) -> pl.Expr:
    limits = {"prompt_tokens": reading.max_prompt_tokens, "output_tokens": reading.max_output_tokens}
    marks = [_number(name) > limit for name, limit in limits.items() if limit is not None and name in columns]
    if reading.max_total_tokens is not None and columns.keys() >= set(LENGTHS):
        marks.append(_number("prompt_tokens") + _number("output_tokens") > reading.max_total_tokens)
    return pl.any_horizontal(marks).fill_null(value=False) if marks else NEVER


def _renumber(frame: pl.DataFrame, notes: list[str]) -> tuple[pl.DataFrame, list[str]]:
    """Give whole numbers to ids that are text: the row for a request, the order of appearance for a session."""
    found: list[str] = []
    if "request_id" in frame.columns and _is_text(frame["request_id"]):
        if frame["request_id"].is_duplicated().any():
            at = (~frame["request_id"].is_first_distinct()).arg_true()[0]
            value = frame["request_id"][at]
            found.append(f"request_id: row {frame[ROW][at]}: {value!r} occurs in an earlier row, ids are unique")
        frame = frame.drop("request_id")
        notes.append("request ids are text: the rows of the file are used instead")
    if "session_id" in frame.columns and _is_text(frame["session_id"]):
        frame = frame.with_columns(number_ids(frame["session_id"]))
        notes.append("session ids are text: they are numbered in alphabetical order")
    if "prefix_hashes" in frame.columns:
        hashes = frame["prefix_hashes"]
        if isinstance(hashes.dtype, pl.List) and hashes.dtype.inner in (pl.String, pl.UInt64):
            frame = frame.with_columns(number_ids(hashes))
            notes.append("prefix hashes are no 64-bit whole numbers: they are numbered anew")
    return frame, found


def _is_text(ids: pl.Series) -> bool:
    if ids.dtype != pl.String:
        return False
    return ids.str.strip_chars().cast(pl.Int64, strict=False).null_count() > ids.null_count()


def _arrivals(
    frame: pl.DataFrame, table: Table, layout: Layout, reading: Reading, name: str | None
) -> tuple[pl.Series, list[str], Any, str]:
    """Arrivals in seconds, what is said of them, when the first came, and what is wrong with them."""
    if reading.arrivals is not None:
        drawn = reading.arrivals.sample(len(frame), generator(reading.seed, ARRIVALS_STREAM))
        notes = [] if isinstance(reading.arrivals, ClosedLoop) else [f"arrivals are drawn: {reading.arrivals}"]
        return pl.Series("arrival_s", drawn), notes, None, ""
    if "arrival_s" not in frame.columns:
        naming = name_columns(["arrival_s"], table.names())
        drawing = Remedy("arrivals", "{kind: poisson, rate_rps: 5}")
        there = ", ".join(table.names()[:20])
        name_it = f"name their column ({naming}; there are: {there}), or " if layout.finds_ours else ""
        msg = f"{table.path}: no times of arrival: {name_it}give an arrival process, as {drawing}"
        raise TraceError(msg, [naming, drawing])
    clock = Clock(reading.time_unit, layout.time_unit or _named_unit(name), reading.time_zone)
    try:
        times = read_times(frame["arrival_s"], frame[ROW], clock)
    except TraceError as error:
        msg = f"{table.path}: times of arrival ({name!r}): {error}"
        raise TraceError(msg, UNITS) from None
    if times.problem:
        return pl.Series("arrival_s", [0.0]).new_from_index(0, len(frame)), [], None, times.problem
    return _in_seconds(times, frame[ROW], reading)


def _in_seconds(times: Times, rows: pl.Series, reading: Reading) -> tuple[pl.Series, list[str], Any, str]:
    notes = list(times.notes)
    late = (times.ticks < times.ticks.cum_max()).arg_true()
    if len(late):
        count = (
            "1 row is earlier than one before it ("
            if len(late) == 1
            else f"{len(late)} rows are earlier than one before them (the first is "
        )
        notes.append(f"{count}row {rows[late[0]]}): sorted")
    ticks = times.ticks
    if not reading.keep_origin:
        earliest = ticks.min()
        ticks = ticks - earliest
        if earliest:
            notes.append(f"arrivals are counted from the first, at {times.said}")
    seconds = divide_arrivals(pl.DataFrame({"arrival_s": ticks}), times.per_s)["arrival_s"]
    return seconds, notes, times.start, ""


def _named_unit(name: str | None) -> TimeUnit | None:
    """The unit that the name of a column ends with."""
    for ending in sorted(NAMED_UNITS, key=len, reverse=True):
        if name is not None and name.lower().endswith(ending):
            return NAMED_UNITS[ending]  # type: ignore[return-value]
    return None


def _origin(frame: pl.DataFrame, table: Table, layout: Layout, reading: Reading, origin: Origin) -> Origin:
    """What is known of the file, and what can be done about what is wrong with it."""
    missing = [name for name in LENGTHS if name not in frame.columns] if layout.finds_ours else []
    others = [name for name in table.names() if name not in origin.columns.values()]
    remedies = [*UNITS]
    advice, hints = "", {}
    if missing:
        naming = name_columns(missing, others)
        remedies.append(naming)
        advice = f"name the file's columns: {naming}"
    drops_failed = layout.drops_failed if reading.drop_failed is None else reading.drop_failed
    if not drops_failed and "output_tokens" in frame.columns:
        outcomes = find_outcomes(others) if layout.finds_ours and reading.drop_failed is None else None
        leaving_out = Remedy("columns", columns={"error": outcomes}) if outcomes else Remedy("drop_failed", "true")
        remedies.append(leaving_out)
        hints["output_tokens"] = f"requests without an answer can be left out: {leaving_out}"
    counting = LINES.get(table.kind, origin.counting)
    return replace(origin, hints=hints, advice=advice, remedies=remedies, counting=counting)


def _map_models(requests: pl.DataFrame, reading: Reading) -> list[str]:
    there = set(requests["model"].unique())
    unused = [name for name in reading.models if name not in there]
    return [f"models: no request asks for {name!r}: {nearest(name, there)}" for name in unused]


def _doubt_rate(trace: Trace, reading: Reading, layout: Layout) -> None:
    """Refuse a rate that cannot be, where the unit of the times may be wrong."""
    if reading.arrivals is not None or len(trace) < RATE_CHECKED_FROM or not trace.duration_s:
        return
    most = reading.max_rate_rps or UNLIKELY_RATE_RPS
    where = trace.source.partition(":")[2]
    if trace.rate_rps > most:
        msg = (
            f"{where}: {len(trace)} requests in {trace.duration_s:g} s are {trace.rate_rps:,.0f} requests/s: is their "
            f"time_unit right? If so, say max_rate_rps: {math.ceil(trace.rate_rps)}"
        )
        raise TraceError(msg, [Remedy("max_rate_rps", str(math.ceil(trace.rate_rps)))])
    is_sure = reading.time_unit is not None or layout.time_unit is not None or trace.start is not None
    if not is_sure and trace.duration_s / (len(trace) - 1) > UNLIKELY_GAP_S:
        msg = (
            f"{where}: {trace.duration_s / (len(trace) - 1):,.0f} s from a request to the next, on average: say "
            "time_unit: s if the times are seconds, or ms, us or ns"
        )
        raise TraceError(msg, UNITS)
