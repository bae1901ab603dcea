"""What can be rented, and at what price, over time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import polars as pl

from traces.errors import TraceError, nearest
from traces.schema import validate_availability

Outside = Literal["hold", "wrap", "end"]


class Supply(NamedTuple):
    """GPUs of a type that can be rented on a market, and the price of one; None: the catalog's."""

    n_gpus: int
    usd_per_h: float | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AvailabilityTimeline:
    """A step function of time for each GPU type on each market: it changes at `t_s`, and the new value counts there.

    Build one with `from_frame`, a reader or a generator: these validate. Methods return new timelines.

    Attributes:
        changes: The columns of `AVAILABILITY_SCHEMA`.
        end_s: Where what is known ends.
        source: Where it comes from and what was done to it since.
        outside: What is there after `end_s`: `hold`, the last offers; `wrap`, the timeline again; `end`, nothing.
        notice_s: Warning before GPUs are taken back.
        boot_s: Time from renting a GPU until it can load a model.

    >>> rows = {"t_s": [0.0, 60.0], "gpu_type": ["L40S"] * 2, "market": ["spot"] * 2, "count": [8, 2]}
    >>> timeline = AvailabilityTimeline.from_frame(pl.DataFrame(rows), "by hand", end_s=100.0)
    >>> timeline.at(60.0)["L40S", "spot"].n_gpus, timeline.at(500.0)["L40S", "spot"].n_gpus
    (2, 2)
    """

    changes: pl.DataFrame
    end_s: float
    source: str
    outside: Outside = "hold"
    notice_s: float = 0.0
    boot_s: float = 0.0

    def __post_init__(self) -> None:
        last_s = float(self.changes["t_s"][-1])
        if not last_s <= self.end_s < math.inf or self.end_s == 0:
            msg = f"{self.source}: end_s is {self.end_s}; it must be finite, more than 0 and not before {last_s:g}"
            raise TraceError(msg)
        if self.outside not in get_args(Outside):
            msg = f"{self.source}: unknown rule {self.outside!r}: {nearest(self.outside, get_args(Outside))}"
            raise TraceError(msg)
        for name in ("notice_s", "boot_s"):
            if not 0 <= getattr(self, name) < math.inf:
                msg = f"{self.source}: {name} is {getattr(self, name)}; it must be 0 or more, and finite"
                raise TraceError(msg)

    @classmethod
    def from_frame(
        cls,
        frame: pl.DataFrame,
        source: str,
        *,
        end_s: float,
        outside: Outside = "hold",
        notice_s: float = 0.0,
        boot_s: float = 0.0,
    ) -> AvailabilityTimeline:
        """Validate a frame and make it a timeline.

        Raises:
            TraceError: All problems of the frame, with column, row and value; or another argument is out of range.
        """
        return cls(validate_availability(frame, source), end_s, source, outside, notice_s, boot_s)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AvailabilityTimeline):
            return NotImplemented
        mine = (self.end_s, self.source, self.outside, self.notice_s, self.boot_s)
        theirs = (other.end_s, other.source, other.outside, other.notice_s, other.boot_s)
        return mine == theirs and self.changes.equals(other.changes)

    def __repr__(self) -> str:
        gpus = ", ".join(self.gpu_types)
        return f"AvailabilityTimeline({self.source!r}, {self.changes.height} changes of {gpus} in {self.end_s:g} s)"

    @property
    def gpu_types(self) -> tuple[str, ...]:
        """Names of the GPU types, sorted."""
        return tuple(self.changes["gpu_type"].unique().sort())

    def check_gpu_types(self, known: Mapping[str, object]) -> None:
        """Make sure that all GPU types are known.

        Raises:
            TraceError: Some are not; the message has the nearest names.
        """
        unknown = [name for name in self.gpu_types if name not in known]
        if unknown:
            listed = "; ".join(f"{name!r}: {nearest(name, known)}" for name in unknown)
            msg = f"{self.source}: unknown GPU types: {listed}"
            raise TraceError(msg)

    def at(self, t_s: float) -> dict[tuple[str, str], Supply]:
        """What is offered at a time, by GPU type and market."""
        known = self.until(max(t_s, self.end_s)).filter(pl.col("t_s") <= t_s)
        last = known.group_by("gpu_type", "market", maintain_order=True).last()
        return {(gpu, market): Supply(n, usd) for gpu, market, _, n, usd in last.iter_rows()}

    def until(self, horizon_s: float) -> pl.DataFrame:
        """All changes from 0 up to and at a time, as the columns of `AVAILABILITY_SCHEMA`.

        Rows that change nothing are left out, but for those at 0.
        """
        parts = [self.changes]
        if horizon_s >= self.end_s:
            if self.outside == "wrap":
                n_more = math.floor(horizon_s / self.end_s)
                parts += [self.changes.with_columns(pl.col("t_s") + k * self.end_s) for k in range(1, n_more + 1)]
            elif self.outside == "end":
                last = self.changes.group_by("gpu_type", "market", maintain_order=True).last()
                gone = last.with_columns(t_s=pl.lit(self.end_s), count=pl.lit(0, pl.Int32))
                parts.append(gone.select(self.changes.columns))
        changes = pl.concat(parts).sort("t_s", "gpu_type", "market", maintain_order=True)
        # Where the last change is at end_s itself, what follows it there counts.
        changes = changes.unique(["t_s", "gpu_type", "market"], keep="last", maintain_order=True)
        before = [pl.col(name).shift(1).over("gpu_type", "market") for name in ("t_s", "count", "usd_per_h")]
        is_new = before[0].is_null() | pl.col("count").ne(before[1]) | pl.col("usd_per_h").ne_missing(before[2])
        return changes.filter(is_new & (pl.col("t_s") <= horizon_s))

    def rename(self, names: Mapping[str, str]) -> AvailabilityTimeline:
        """The same for other GPU types: those that are named as keys are kept, under the names given.

        Raises:
            TraceError: There is no such GPU type, or two get one name.
        """
        missing = [name for name in names if name not in self.gpu_types]
        if missing or len(set(names.values())) != len(names):
            reason = (
                f"no GPU type {missing[0]!r}: {nearest(missing[0], self.gpu_types)}" if missing else "one name twice"
            )
            msg = f"{self.source}: cannot rename: {reason}"
            raise TraceError(msg)
        kept = self.changes.filter(pl.col("gpu_type").is_in(list(names)))
        renamed = kept.with_columns(pl.col("gpu_type").replace_strict(names)).sort("t_s", "gpu_type", "market")
        listed = ", ".join(f"{old} as {new}" for old, new in names.items())
        return replace(self, changes=renamed, source=f"{self.source}: {listed}")

    def scale(self, factor: float, most: int | None = None) -> AvailabilityTimeline:
        """The same with counts multiplied, rounded down, and cut at `most`.

        Raises:
            TraceError: The factor is negative or not finite.
        """
        if not 0 <= factor < math.inf:
            msg = f"{self.source}: cannot scale by {factor}; allowed: 0 or more"
            raise TraceError(msg)
        count = (pl.col("count") * factor).floor().cast(pl.Int32)
        count = count if most is None else pl.min_horizontal(count, pl.lit(most, pl.Int32))
        cut = "" if most is None else f", at most {most}"
        return replace(self, changes=self.changes.with_columns(count=count), source=f"{self.source} x {factor:g}{cut}")

    def merge(self, *others: AvailabilityTimeline) -> AvailabilityTimeline:
        """GPU types of several timelines in one; end, notice and boot times are this one's.

        Raises:
            TraceError: Two have the same GPU type on the same market.
        """
        frame = pl.concat([self.changes, *(other.changes for other in others)])
        pairs = [set(t.changes.select("gpu_type", "market").iter_rows()) for t in (self, *others)]
        if sum(map(len, pairs)) != len(set().union(*pairs)):
            msg = f"{self.source}: cannot merge: a GPU type is in two timelines, on the same market"
            raise TraceError(msg)
        source = " + ".join(t.source for t in (self, *others))
        end_s = max(t.end_s for t in (self, *others))
        return replace(self, changes=frame.sort("t_s", "gpu_type", "market"), source=source, end_s=end_s)
