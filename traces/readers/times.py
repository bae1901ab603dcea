"""Times of arrival: date-times with and without a zone, and numbers in units that are stated or safely recognised."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from traces.errors import TraceError

TimeUnit = Literal["s", "ms", "us", "ns", "iso"]

UNITS_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
TIME_UNITS = (*UNITS_PER_S, "iso")
NAMED_UNITS = {
    "_s": "s",
    "_sec": "s",
    "_seconds": "s",
    "_ms": "ms",
    "_millis": "ms",
    "_us": "us",
    "_micros": "us",
    "_ns": "ns",
    "_nanos": "ns",
}
UNIX_TIMES_S = (1e9, 4.2e9)  # 2001 to 2103: in s, ms, us and ns these windows do not overlap
LATEST_S = 2**63 / 1e9  # 2262: what 64 bits of nanoseconds hold
EXAMPLE = "2023-11-16 18:15:46.68 or 2024-05-01T09:00:00+02:00"
ZONE = r"(Z|z|UTC|[+-]\d{2}:?\d{2}|[+-]\d{2})\s*$"
DATE_TIME = (
    r"^\s*(?<date>\d{4}-\d{2}-\d{2})[T ](?<hour>[01]\d|2[0-3]):(?<minute>[0-5]\d)(?::(?<second>[0-5]\d|60)"
    r"(?:[.,](?<fraction>\d{1,9}))?)?\s*(?:Z|z|UTC|(?<sign>[+-])(?<zone_hour>\d{2}):?(?<zone_minute>\d{2})?)?\s*$"
)


def _number(group: str) -> pl.Expr:
    return pl.col(group).cast(pl.Int64, strict=False).fill_null(0)


def _date_time_ns() -> pl.Expr:
    """Nanoseconds since 1970 from the groups of `DATE_TIME`; null where they do not match, or 64 bits are too few."""
    days = pl.col("date").str.to_date("%Y-%m-%d", strict=False).cast(pl.Int32).cast(pl.Int64)
    fits = days.is_between(-LATEST_S // 86_400 + 2, LATEST_S // 86_400 - 2)
    sign = pl.when(pl.col("sign") == "-").then(-1).otherwise(1)
    offset_min = sign * (60 * _number("zone_hour") + _number("zone_minute"))
    minutes = 1440 * days + 60 * _number("hour") + _number("minute") - offset_min
    fraction_ns = pl.col("fraction").str.pad_end(9, "0").cast(pl.Int64, strict=False).fill_null(0)
    return pl.when(fits).then((60 * minutes + _number("second")) * 10**9 + fraction_ns)


_NS = _date_time_ns()


@dataclass(frozen=True)
class Clock:
    """How a user, or a format, says that times are written.

    Attributes:
        stated: Unit that the user states.
        implied: Unit that the format, or the column's name, implies.
        zone: Where date-times without a zone were taken, as `Europe/Berlin`.
    """

    stated: TimeUnit | None = None
    implied: TimeUnit | None = None
    zone: str | None = None


@dataclass(frozen=True)
class Times:
    """Times as whole numbers or floats of a unit.

    Attributes:
        ticks: The times; null where a cell holds none.
        per_s: Ticks of a second.
        start: The earliest as a date-time, aware where its zone is known; None for times relative to something.
        said: The earliest as it is written.
        notes: What was taken for granted.
        problem: What is wrong with the first bad cell; "" if all are good.
    """

    ticks: pl.Series
    per_s: int
    start: datetime | None = None
    said: str = ""
    notes: tuple[str, ...] = field(default=())
    problem: str = ""


def read_times(raw: pl.Series, rows: pl.Series, clock: Clock) -> Times:
    """Understand a column of times.

    Args:
        raw: Cells: text, numbers, date-times or durations.
        rows: Their rows in the file, for messages.
        clock: What is known of them.

    Returns:
        The times. Whole numbers and date-times stay exact, to the nanosecond.

    Raises:
        TraceError: The unit cannot be told, or cannot be what is stated; without the name of the file.
    """
    if isinstance(raw.dtype, pl.Datetime):
        is_aware = raw.dtype.time_zone is not None
        return _from_ns(raw.dt.timestamp("ns"), clock, is_aware=is_aware)
    if isinstance(raw.dtype, pl.Duration):
        return Times(raw.dt.total_nanoseconds(), 10**9)
    if raw.dtype == pl.String:
        numbers = raw.str.strip_chars().cast(pl.Float64, strict=False)
        has_numbers = numbers.is_not_null().any()
        if (clock.stated or clock.implied) == "iso" or (clock.stated is None and not has_numbers):
            return _read_date_times(raw, rows, clock)
        whole = raw.str.strip_chars().cast(pl.Int64, strict=False)
    elif raw.dtype.is_numeric():
        numbers = raw.cast(pl.Float64, strict=False)
        whole = raw.cast(pl.Int64, strict=False) if raw.dtype.is_integer() else pl.Series([None], dtype=pl.Int64)
    else:
        return Times(raw, 1, problem=f"has type {raw.dtype}, must hold numbers or date-times like {EXAMPLE}")
    return _read_numbers(raw, numbers, whole, rows, clock)


def _read_numbers(raw: pl.Series, numbers: pl.Series, whole: pl.Series, rows: pl.Series, clock: Clock) -> Times:
    good = (numbers.is_finite() & (numbers >= 0)).fill_null(value=False)
    if not good.all():
        if clock.stated == "iso":
            what = f"is not a time like {EXAMPLE}"
        elif clock.stated is None:
            what = f"is not a finite number >= 0 or a date-time like {EXAMPLE}"
        else:
            what = "is not a finite number >= 0"
        return Times(raw, 1, problem=first_bad(raw, ~good, rows, what))
    unit, notes = _unit(float(numbers.min()), float(numbers.max()), clock)  # type: ignore[arg-type]
    is_whole = len(whole) == len(raw) and not whole.has_nulls()
    ticks = whole if is_whole else numbers
    per_s = UNITS_PER_S[unit]
    earliest = ticks.min()
    start = None
    if UNIX_TIMES_S[0] <= float(earliest) / per_s < UNIX_TIMES_S[1]:  # type: ignore[arg-type]
        start = datetime.fromtimestamp(0, UTC) + timedelta(seconds=float(earliest) / per_s)  # type: ignore[arg-type]
    said = f"{earliest!r} {unit}" + (f" since 1970, {start.isoformat()}" if start else "")
    return Times(ticks, per_s, start, said, tuple(notes))


def _unit(least: float, most: float, clock: Clock) -> tuple[str, list[str]]:
    """The unit of numbers, and what was taken for granted."""
    unix = _unix_unit(least) if _unix_unit(least) == _unix_unit(most) else None
    if clock.stated is not None:
        if least / UNITS_PER_S[clock.stated] > LATEST_S:
            hint = f"; if this is Unix time in {unix}, say time_unit: {unix}" if unix else ""
            msg = f"{least:.17g} {clock.stated} are {least / UNITS_PER_S[clock.stated] / 31_557_600:,.0f} years{hint}"
            raise TraceError(msg)
        return clock.stated, []
    if clock.implied is not None and clock.implied != "iso":
        if unix is not None and unix != clock.implied:
            msg = f"should be in {clock.implied}, but {least:.17g} is Unix time in {unix}: say time_unit: {unix}"
            raise TraceError(msg)
        return clock.implied, []
    if unix is not None:
        return unix, [f"times are taken as Unix time in {unix}"]
    if most >= UNIX_TIMES_S[0]:
        msg = f"the unit of times from {least:.17g} to {most:.17g} cannot be told: say time_unit: s, ms, us or ns"
        raise TraceError(msg)
    return "s", ["times are taken as seconds"]


def _unix_unit(time: float) -> str | None:
    for unit, per_s in UNITS_PER_S.items():
        if UNIX_TIMES_S[0] * per_s <= time < UNIX_TIMES_S[1] * per_s:
            return unit
    return None


def _read_date_times(raw: pl.Series, rows: pl.Series, clock: Clock) -> Times:
    ns = raw.str.extract_groups(DATE_TIME).struct.unnest().select(_NS).to_series()
    zone = raw.str.extract(ZONE)
    if ns.has_nulls():
        return Times(raw, 1, problem=first_bad(raw, ns.is_null(), rows, f"is not a time like {EXAMPLE}"))
    n_zones = zone.n_unique()
    if zone.has_nulls() and n_zones > 1:
        bad = zone.is_null() if zone[0] is not None else zone.is_not_null()
        what = "states a zone and other rows do not" if zone[0] is None else "states no zone and other rows do"
        return Times(raw, 1, problem=first_bad(raw, bad, rows, f"{what}: both have no common zero"))
    notes = [f"times of {n_zones} offsets from UTC are set on one clock"] if n_zones > 1 else []
    times = _from_ns(ns, clock, is_aware=not zone.has_nulls())
    if times.ticks.has_nulls():
        what = f"does not exist, or twice, on the clock of {clock.zone}: write its offset from UTC"
        return Times(raw, 1, problem=first_bad(raw, times.ticks.is_null(), rows, what))
    said = str(raw[times.ticks.arg_min() or 0]).strip()
    return Times(times.ticks, times.per_s, times.start, said, (*notes, *times.notes))


def _from_ns(ns: pl.Series, clock: Clock, *, is_aware: bool) -> Times:
    """Times from nanoseconds since 1970, on the clock of UTC or on one that is not known."""
    notes = []
    if clock.zone not in (None, "UTC") and is_aware:
        notes.append(f"time_zone: {clock.zone} is not used: the times state theirs")
    elif clock.zone is not None and not is_aware:
        wall = ns.cast(pl.Datetime("ns"))
        ns = wall.dt.replace_time_zone(_zone(clock.zone), ambiguous="null", non_existent="null").dt.timestamp("ns")
        is_aware = True
    earliest = ns.min()
    if not isinstance(earliest, int):
        return Times(ns, 10**9)
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=earliest // 1000)
    start = start if is_aware else start.replace(tzinfo=None)
    return Times(ns, 10**9, start, start.isoformat(), tuple(notes))


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ValueError, OSError, ZoneInfoNotFoundError):
        msg = f"unknown time_zone {name!r}; allowed: a name of the time zone database, as Europe/Berlin"
        raise TraceError(msg) from None


def first_bad(raw: pl.Series, bad: pl.Series, rows: pl.Series, what: str) -> str:
    """Describe the first bad cell with its row in the file, and say how many there are."""
    found = bad.fill_null(value=True).arg_true()
    value = raw[found[0]]
    shown = "an empty cell" if value is None else repr(value)
    more = f" ({len(found)} such rows)" if len(found) > 1 else ""
    return f"row {rows[found[0]]}: {shown} {what}{more}"
