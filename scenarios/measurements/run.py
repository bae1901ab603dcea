"""One run of a load generator, as its file tells it: requests with their times, or aggregates alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np
import polars as pl

from scenarios.errors import RunError
from scenarios.measurements.measurement import TIMES, Aggregate, Server
from traces import Trace
from traces.readers import PathLike, Reading
from traces.readers.files import Table
from traces.readers.reading import Layout
from traces.readers.table import make_trace
from traces.readers.times import TimeUnit

STATISTICS = ("mean", "p50", "p90", "p99")


@dataclass(frozen=True, slots=True)
class Run:
    """A run.

    Attributes:
        trace: Its requests; None where the file has no details.
        real: Measured times, in the order of the trace.
        aggregate: The whole run as one point.
        concurrency: Clients of a closed loop.
        server: What the file says of the server.
    """

    trace: Trace | None
    real: pl.DataFrame | None
    aggregate: Aggregate
    concurrency: int | None = None
    server: Server = field(default_factory=Server)


@dataclass(frozen=True, slots=True)
class Load:
    """How load was offered. With clients and no rate, each of them sends again when it has its answer.

    Attributes:
        concurrency: Clients, or the most requests at once.
        rate_rps: Requests/s; infinite if all come at once; None: not known, or as many as the clients send.
    """

    concurrency: int | None = None
    rate_rps: float | None = None

    @property
    def closed_loop(self) -> int | None:
        """Clients that each wait for the answer before they send again; None: there are none."""
        return self.concurrency if self.rate_rps is None else None


def measured_times(
    path: PathLike,
    trace: Trace,
    ttft_s: Sequence[object],
    e2e_s: Sequence[object],
    tpot_s: Sequence[object] | None = None,
) -> pl.DataFrame:
    """Times of each request, in the order of a trace whose `request_id` is the number of the file's record.

    Args:
        path: The file, for messages.
        trace: The requests.
        ttft_s: To the first token, of each record of the file; null where it is not known.
        e2e_s: To the last one.
        tpot_s: Per token after the first; by default from the other two.

    Raises:
        RunError: A time is no number, is negative, or a request ends before its first token.
    """
    rows = trace.requests["request_id"].to_list()
    columns = {"ttft_s": ttft_s, "e2e_s": e2e_s} | ({} if tpot_s is None else {"tpot_s": tpot_s})
    real = pl.DataFrame({name: _seconds(path, name, column, rows) for name, column in columns.items()})
    real = real.with_columns(trace.requests["output_tokens"])
    if tpot_s is None:
        real = real.with_columns(tpot_s=(pl.col("e2e_s") - pl.col("ttft_s")) / (pl.col("output_tokens") - 1))
    early = (real["e2e_s"] < real["ttft_s"] * (1 - 1e-6) - 1e-6).arg_true()
    if len(early):
        at = early[0]
        msg = (
            f"{path}: request {rows[at]}: ends {real['e2e_s'][at]:g} s after it was sent, "
            f"before its first token at {real['ttft_s'][at]:g} s"
        )
        raise RunError(msg)
    is_long = pl.col("output_tokens") > 1
    return real.select("ttft_s", tpot_s=pl.when(is_long).then("tpot_s"), e2e_s="e2e_s")


def _seconds(path: PathLike, name: str, column: Sequence[object], rows: Sequence[int]) -> pl.Series:
    values: list[float | None] = []
    for row in rows:
        value = column[row]
        if value is None:
            values.append(None)
        elif is_number(value) and value >= 0:
            values.append(float(value))
        else:
            msg = f"{path}: request {row}: {name} is {value!r}, must be a number of seconds, 0 or more"
            raise RunError(msg)
    return pl.Series(name, values, dtype=pl.Float64)


def aggregate_of(trace: Trace, real: pl.DataFrame, load: Load) -> Aggregate:
    """A run as one point: means and quantiles (interpolated linearly) over its requests."""
    requests = trace.requests
    figures: dict[str, float] = {}
    for name in TIMES:
        values = real[name].drop_nulls()
        if len(values):
            figures |= {f"{name}_{statistic}": statistic_of(values, statistic) for statistic in STATISTICS}
    ends_s = (requests["arrival_s"] + real["e2e_s"]).drop_nulls()
    if len(ends_s) == len(requests):
        makespan_s = float(np.max(ends_s.to_numpy())) - float(requests["arrival_s"][0])
        if makespan_s > 0:
            figures["output_tokens_per_s"] = int(requests["output_tokens"].sum()) / makespan_s
            figures["requests_per_s"] = len(requests) / makespan_s
    return Aggregate(
        prompt_tokens=float(requests["prompt_tokens"].mean()),  # type: ignore[arg-type]
        output_tokens=float(requests["output_tokens"].mean()),  # type: ignore[arg-type]
        concurrency=load.concurrency,
        rate_rps=load.rate_rps,
        n_requests=len(requests),
        figures=figures,
    )


def statistic_of(values: pl.Series, name: str) -> float:
    """`mean`, or a quantile as `p99`."""
    value = values.mean() if name == "mean" else values.quantile(float(name[1:]) / 100, interpolation="linear")
    return float(value)  # type: ignore[arg-type]


def figures_of(time: str, found: object, per_s: float) -> dict[str, float]:
    """Statistics of one time from a mapping with `mean` or `avg`, `median` or `p50`, `p90`, `p99`.

    Args:
        time: Our name of the time, as `ttft_s`.
        found: The mapping; anything else has none.
        per_s: How many of its units are a second.
    """
    if not isinstance(found, Mapping):
        return {}
    nested = found.get("percentiles")
    given = {**found, **(nested if isinstance(nested, Mapping) else {})}
    names = {"mean": ("mean", "avg"), "p50": ("p50", "median"), "p90": ("p90",), "p95": ("p95",), "p99": ("p99",)}
    figures = {}
    for ours, theirs in names.items():
        values = [given[name] for name in theirs if is_number(given.get(name))]
        if values:
            figures[f"{time}_{ours}"] = values[0] / per_s
    return figures


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value of a document is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def mapping(path: PathLike, value: object, what: str) -> Mapping[str, Any]:
    """A part of a document that must be an object.

    Raises:
        RunError: It is something else.
    """
    if not isinstance(value, Mapping):
        msg = f"{path}: {what} is {type(value).__name__}, must be an object"
        raise RunError(msg)
    return value


def part(path: PathLike, holder: Mapping[str, Any], name: str, what: str = "") -> Mapping[str, Any]:
    """An object in a document that may be missing or null; it is empty then.

    Raises:
        RunError: It is something else.
    """
    value = holder.get(name)
    return {} if value is None else mapping(path, value, f"{what}{name}")


def trace_of(
    path: PathLike,
    reader: str,
    records: Sequence[Mapping[str, Any]],
    time_unit: TimeUnit,
    model: str | None,
    notes: tuple[str, ...] = (),
) -> Trace:
    """Requests from records with `arrival_s`, `prompt_tokens`, `output_tokens` and `error`, "" if there was none.

    `request_id` is the number of the record; those that failed are left out and counted.

    Raises:
        TraceError: The requests are not valid.
    """
    names = {name: name for name in ("arrival_s", "prompt_tokens", "output_tokens", "error")}
    layout = Layout(reader, names, time_unit=time_unit, drops_failed=True, notes=notes)
    options = {} if model is None else {"model": model}
    return make_trace(Table.from_records(path, records), layout, Reading.of(path, options))


def number(path: PathLike, holder: Mapping[str, Any], name: str, what: str = "") -> float:
    """A positive number of a document.

    Raises:
        RunError: It is missing or something else.
    """
    value = holder.get(name)
    if not is_number(value) or value <= 0:
        found = "is missing" if name not in holder else f"is {value!r}"
        msg = f"{path}: {what or name} {found}, must be a number above 0"
        raise RunError(msg)
    return float(value)


def rate_of(value: object) -> float | None:
    """An offered rate in requests/s, infinite for `inf`; None where none is given."""
    if value in ("inf", math.inf):
        return math.inf
    return float(value) if is_number(value) and value > 0 else None


def count_of(value: object) -> int | None:
    """A number of clients, where one is given."""
    return int(value) if is_number(value) and value > 0 else None
