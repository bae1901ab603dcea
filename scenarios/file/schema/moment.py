"""Times in seconds, and what a scenario may write instead: `10min`, and with a `start` what the clock shows."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo

_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?")
NO_START = "state `start: 2026-03-01T09:00+01:00` in the scenario to write times like that"
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)")
_UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_since(start: datetime, text: str) -> float:
    """Seconds from the start to a clock time, the next one that shows it, or to a date and time.

    Raises:
        ValueError: It is neither, or before the start.

    >>> start = datetime.fromisoformat("2026-03-01T09:00+01:00")
    >>> seconds_since(start, "14:00"), seconds_since(start, "08:30"), seconds_since(start, "2026-03-01T08:30Z")
    (18000.0, 84600.0, 1800.0)
    """
    clock = _CLOCK.fullmatch(text)
    if clock:
        hour, minute, second = (int(part or 0) for part in clock.groups())
        if hour > 23 or minute > 59 or second > 59:
            msg = f"{text} is no time of day; allowed: 00:00 to 23:59:59"
            raise ValueError(msg)
        moment = start.replace(hour=hour, minute=minute, second=second, microsecond=0)
        moment += timedelta(days=1) if moment < start else timedelta()
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            msg = f"{text} is no date and time; allowed: 14:00, 2026-03-01T14:00, 2026-03-01T14:00+01:00"
            raise ValueError(msg) from None
        moment = moment.replace(tzinfo=start.tzinfo) if moment.tzinfo is None else moment
    if moment < start:
        msg = f"{text} is before the start, {start.isoformat()}"
        raise ValueError(msg)
    return (moment - start).total_seconds()


def _of_duration(value: Any) -> Any:
    """The seconds of a length of time such as `10min`; anything else as it is."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    if found[2] not in _UNITS_S:
        msg = f"{value}: unknown unit {found[2]!r}; allowed: {', '.join(_UNITS_S)}"
        raise ValueError(msg)
    return float(found[1]) * _UNITS_S[found[2]]


def _to_seconds(value: Any, info: ValidationInfo) -> Any:
    value = _of_duration(value)
    if not isinstance(value, str) or not (_CLOCK.fullmatch(value) or _DATE.match(value)):
        return value
    start = (info.context or {}).get("start")
    if start is None:
        msg = f"{value} is a clock time: {NO_START}, or write seconds since the start"
        raise ValueError(msg)
    return seconds_since(start, value)


Moment = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_to_seconds)]
"""Seconds since the start of a run, or `10min`, `2h`, `1d`; with a `start`, also a clock time or a date and time."""

Duration = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_of_duration)]
"""Seconds, or `90s`, `10min`, `2h`, `1d`."""


def start_of(data: Any) -> datetime | None:
    """The `start` of a scenario's data, if it is one; what is wrong with it is for the schema to say."""
    start = data.get("start") if isinstance(data, dict) else None
    try:
        moment = datetime.fromisoformat(start) if isinstance(start, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def clock_time(start: datetime, t_s: float) -> str:
    """What the clock shows at a time of a run, with the days that have passed since its start.

    >>> clock_time(datetime.fromisoformat("2026-03-01T09:00+01:00"), 86400 + 90)
    '09:01:30 +1 d'
    """
    moment = start + timedelta(seconds=round(t_s))
    days = (moment.date() - start.date()).days
    return f"{moment:%H:%M:%S}" + (f" +{days} d" if days else "")
