"""Which part of a run is exported: a span of its time, and a sample of the requests that were there then."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from math import inf

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import TypeAdapter, ValidationError

from scenarios.file.schema.moment import Moment

_MOMENT: TypeAdapter[float] = TypeAdapter(Moment)
_SHARE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(%?)")


def seconds_of(text: str, start: datetime | None) -> float:
    """Seconds since the start of a run: as they are written, or of a clock time where the run has a start.

    Raises:
        ValueError: It is neither.

    >>> seconds_of("90", None), seconds_of("09:01", datetime.fromisoformat("2026-03-01T09:00+01:00"))
    (90.0, 60.0)
    """
    try:
        return _MOMENT.validate_python(text, context={"start": start})
    except ValidationError as error:
        detail = error.errors()[0]
        if detail["type"] == "value_error":  # of a clock time
            raise ValueError(detail["msg"].removeprefix("Value error, ")) from None
        msg = f"{text} is no time of a run; allowed: seconds since its start, such as 90 or 12.5, or a clock time"
        raise ValueError(msg) from None


@dataclass(frozen=True, slots=True)
class Sample:
    """So many requests, or such a share of them, at equal distances.

    Attributes:
        n: How many; None: by the share.
        share: Of all.
    """

    n: int | None = None
    share: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Sample:
        """What a user writes: a number, or a share with a point or a percent sign.

        Raises:
            ValueError: It is neither.

        >>> Sample.parse("100"), Sample.parse("0.1"), Sample.parse("10%")
        (Sample(n=100, share=1.0), Sample(n=None, share=0.1), Sample(n=None, share=0.1))
        """
        found = _SHARE.fullmatch(text)
        if found is not None and text.isdecimal():
            return cls(n=int(text))
        share = inf if found is None else float(found[1]) / (100 if found[2] else 1)
        if share > 1:
            msg = f"{text} is no sample; allowed: a number of requests, such as 100, or a share, such as 0.1 or 10%"
            raise ValueError(msg)
        return cls(share=share)

    def of(self, n_rows: int) -> npt.NDArray[np.int64]:
        """Places among so many.

        >>> Sample(3).of(9).tolist(), Sample(3).of(2).tolist(), Sample(share=0.5).of(5).tolist()
        ([0, 3, 6], [0, 1], [0, 2])
        """
        n = round(self.share * n_rows) if self.n is None else min(self.n, n_rows)
        return np.arange(n, dtype=np.int64) * n_rows // max(n, 1)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a run.

    Attributes:
        from_s: When it begins.
        until_s: When it ends.
        sample: Of the requests that were there then.
    """

    from_s: float = 0.0
    until_s: float = inf
    sample: Sample = Sample(100)

    def steps(self, steps: pl.DataFrame) -> pl.DataFrame:
        """The steps that have a share in this time, whole."""
        return steps.filter(pl.col("end_s") >= self.from_s, pl.col("start_s") < self.until_s)

    def has(self, t_s: float | None) -> bool:
        """Whether something that happens then, if it does, is part of it."""
        return t_s is not None and self.from_s <= t_s <= self.until_s

    def changes(self, changes: pl.DataFrame) -> pl.DataFrame:
        """What a counter shows in this time: `t_s` and `value`, the last value before it moved to its beginning."""
        before = changes.filter(pl.col("t_s") < self.from_s).tail(1).with_columns(t_s=pl.lit(self.from_s))
        return pl.concat([before, changes.filter(pl.col("t_s").is_between(self.from_s, self.until_s))])

    def requests(self, requests: pl.DataFrame) -> pl.DataFrame:
        """The sample, with the `row` of each request."""
        is_there = (pl.col("arrival_s") <= self.until_s) & (pl.col("ended_s").fill_null(inf) >= self.from_s)
        there = requests.with_row_index("row").filter(is_there)
        return there[self.sample.of(there.height)]
