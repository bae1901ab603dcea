"""What readers can be asked for, and what a format says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError

from traces.errors import TraceError, nearest
from traces.readers.files import PathLike
from traces.readers.times import TIME_UNITS, TimeUnit


class Reading(BaseModel):
    """What every reader can be asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "default"
    """Model of all requests, where the file names none."""
    slo_class: str = "default"
    """SLO class of all requests, where the file names none."""
    models: dict[str, str] = {}
    """The file's name of a model -> ours; names that are not here stay."""
    time_unit: TimeUnit | None = None
    """Unit of the file's times: s, ms, us, ns, or iso for date-times; by default the format's, or recognised."""
    time_zone: str | None = None
    """Where date-times without a zone were taken, as Europe/Berlin; by default a clock that is never changed."""
    keep_origin: bool = False
    """Leave times as they are in the file, instead of counting them from the first arrival."""
    max_rate_rps: PositiveFloat | None = None
    """Mean rate above which the unit of the times is doubted; by default 10,000 requests/s."""
    drop_failed: bool | None = None
    """Leave out requests without an answer, or with an error; by default as the format has it, else an error."""
    ok_values: tuple[str | float | bool, ...] | None = None
    """Words that mean success in the column mapped to `error`, besides the known ones; all others mean failure."""
    max_prompt_tokens: PositiveInt | None = None
    """Leave out requests with longer prompts."""
    max_output_tokens: PositiveInt | None = None
    """Leave out requests with longer answers."""
    max_total_tokens: PositiveInt | None = None
    """Leave out requests with more tokens in prompt and answer together."""
    head: PositiveInt | None = None
    """Only the first so many rows that are not left out; the rest of the file is not read."""
    prefix_segment_tokens: PositiveInt | None = None
    """Tokens for which each of the `prefix_hashes` stands; by default the format's."""
    arrivals: Any = None
    """An arrival process instead of the file's times; needed where it has none."""
    seed: int = 0
    """Seed of that process."""

    @classmethod
    def of(cls, path: PathLike, options: Mapping[str, Any]) -> Reading:
        """Check options.

        Raises:
            TraceError: An option is unknown or its value is not allowed.
        """
        stated = {name: value for name, value in options.items() if value is not None}
        for name in options:
            if name not in cls.model_fields:
                msg = f"{path}: there is no option {name!r}: {nearest(name, cls.model_fields)}"
                raise TraceError(msg)
        unit = options.get("time_unit")
        if unit is not None and unit not in TIME_UNITS:
            msg = f"{path}: unknown time_unit {unit!r}: {nearest(str(unit), TIME_UNITS)}"
            raise TraceError(msg)
        arrivals = options.get("arrivals")
        if arrivals is not None and not hasattr(arrivals, "sample"):
            msg = f"{path}: arrivals: {arrivals!r} is no arrival process, as PoissonArrivals(2.0)"
            raise TraceError(msg)
        try:
            return cls.model_validate(stated)
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()]
            raise TraceError("\n  ".join([f"{path}: options of the reader", *lines])) from None


@dataclass(frozen=True)
class Layout:
    """Where a format keeps what we need.

    Attributes:
        reader: Name of the reader.
        columns: Our name of a column -> its name or path in the file; None: left out although it is there. `error` is
            not kept: a request is failed where it is not empty.
        finds_ours: Whether columns are found under our own names as well.
        time_unit: Unit of the times, if the format says it.
        segment_tokens: Tokens of a prefix hash, if the format says it.
        drops_failed: Whether failed requests are left out unless something else is asked for.
        asks_words: Whether words in `error` that are not known are asked about, instead of taken for errors.
        is_request: Whether a row of the file is a request; None: all are.
        others: What the other rows are, for the note that counts them.
        notes: What is to be said of the file.
    """

    reader: str
    columns: Mapping[str, str | None]
    finds_ours: bool = False
    time_unit: TimeUnit | None = None
    segment_tokens: int | None = None
    drops_failed: bool = False
    asks_words: bool = False
    is_request: pl.Expr | None = None
    others: str = "rows that are no requests"
    notes: tuple[str, ...] = ()
