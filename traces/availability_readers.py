"""Readers of what could be rented over time: published files and plain tables. None of them counts free GPUs.

All raise `TraceError` for what a user can mend. Keyword arguments that they do not name themselves go to
`AvailabilityTimeline`: `outside`, `notice_s`, `boot_s`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from traces.availability import AvailabilityTimeline
from traces.errors import TraceError, nearest
from traces.readers import PathLike, read_cells
from traces.schema import validate_availability

HOUR_S = 3600.0

Price = Literal["min", "p25", "median", "mean", "max"]


def read_availability_csv(path: PathLike, *, end_s: float | None = None, **options: Any) -> AvailabilityTimeline:
    """Read a CSV file with the columns of `AVAILABILITY_SCHEMA`; `usd_per_h` may be left out.

    Args:
        path: The file.
        end_s: Where what is known ends; by default as long after the last change as that is after the one before it.
        options: See the module.

    Raises:
        TraceError: The file cannot be read, or is no timeline.
    """
    changes = validate_availability(read_cells(path), str(path))
    if end_s is None:
        times = changes["t_s"].unique().sort()
        end_s = 2 * times[-1] - times[-2] if len(times) > 1 else HOUR_S
    return AvailabilityTimeline(changes, end_s, str(path), **options)


def read_gpu_market(
    path: PathLike,
    *,
    count: Literal["nodes_of_8", "scaled"] = "nodes_of_8",
    most: int | None = None,
    price: Price = "median",
    market: Literal["on_demand", "spot"] = "on_demand",
    **options: Any,
) -> AvailabilityTimeline:
    """Read offers and prices of github.com/tugot17/gpu-price-tracker (MIT): a table with a row per poll and GPU type.

    An offer is one provider, region and node size, not a number of GPUs. Two rules make counts of them: `nodes_of_8`,
    8 GPUs for each offer of 8 or more; `scaled`, all offers in proportion, so that the most that a type ever has is
    `most`. Between polls the last one counts. A GPU type without a row in a poll was not offered then; its price is the
    one that it had before.

    Args:
        path: A CSV file with `time_s`, `gpu`, `offers_total`, `offers_8x_or_more` and `price_min` to `price_max`.
        count: The rule.
        most: Largest number of GPUs of a type; with `nodes_of_8` counts are cut there.
        price: Which price of a poll.
        market: The market that the offers are taken for.
        options: See the module.

    Raises:
        TraceError: The file cannot be read, lacks a column, or `scaled` has no `most`.
    """
    if count == "scaled" and most is None:
        msg = f"{path}: the rule 'scaled' needs `most`, the largest number of GPUs"
        raise TraceError(msg)
    numbers = ["time_s", "offers_total", "offers_8x_or_more", f"price_{price}"]
    frame = _with_numbers(path, ["gpu", *numbers], of=numbers)
    polls = frame.select("time_s").unique().sort("time_s")
    grid = polls.join(frame.select("gpu").unique().sort("gpu"), how="cross")
    seen = grid.join(frame, on=["time_s", "gpu"], how="left")
    if count == "nodes_of_8":
        gpus = pl.col("offers_8x_or_more") * 8
        gpus = gpus if most is None else pl.min_horizontal(gpus, pl.lit(most))
    else:
        gpus = (pl.col("offers_total") * most / pl.col("offers_total").max().over("gpu")).floor()
    changes = seen.sort("time_s", "gpu").select(
        t_s=pl.col("time_s") - pl.col("time_s").min(),
        gpu_type="gpu",
        market=pl.lit(market),
        count=gpus.fill_null(0),
        usd_per_h=pl.col(f"price_{price}").forward_fill().backward_fill().over("gpu"),
    )
    times = polls["time_s"]
    end_s = float(times[-1] - times[0]) + float(times.diff().median() or HOUR_S)  # type: ignore[arg-type]
    return AvailabilityTimeline.from_frame(changes, str(path), end_s=end_s, **options)


def read_alibaba_spot_gpu(
    requested: PathLike, capacity: PathLike, *, gpus: Sequence[str] | None = None, **options: Any
) -> AvailabilityTimeline:
    """Read GPUs requested by the hour in Alibaba's cluster-trace-v2026-spot-gpu, and its capacities.

    What is free is capacity less what was requested, rounded down, and 0 where more was requested than there is: a
    measure of pressure, since jobs that had to queue count as if they ran. An A10 is oversubscribed in 94 % of hours.

    Args:
        requested: A CSV file with `hour` and a column of requested GPUs per GPU model.
        capacity: A CSV file with `gpu_model` and `total_gpus`.
        gpus: GPU models to read; all if None.
        options: See the module.

    Raises:
        TraceError: A file cannot be read, or a GPU model is not in both.
    """
    totals = _with_numbers(capacity, ["gpu_model", "total_gpus"], of=["total_gpus"])
    total = dict(zip(totals["gpu_model"], totals["total_gpus"], strict=True))
    known = [name for name in read_cells(requested).columns if name != "hour"]
    models = known if gpus is None else list(gpus)
    for name in models:
        for file, names in ((requested, known), (capacity, list(total))):
            if name not in names:
                msg = f"{file}: no GPU model {name!r}: {nearest(name, names)}"
                raise TraceError(msg)
    frame = _with_numbers(requested, ["hour"], of=["hour", *models])
    hours = frame["hour"]
    start_h = float(hours[0])
    parts = [
        pl.DataFrame(
            {
                "t_s": (hours - start_h) * HOUR_S,
                "gpu_type": pl.Series([name], dtype=pl.String).new_from_index(0, frame.height),
                "market": pl.Series(["spot"], dtype=pl.String).new_from_index(0, frame.height),
                "count": (total[name] - frame[name]).clip(0).floor(),
            }
        )
        for name in models
    ]
    end_s = float(hours[-1] - start_h + 1) * HOUR_S
    return AvailabilityTimeline.from_frame(pl.concat(parts), str(requested), end_s=end_s, **options)


def read_spot_trace(path: PathLike, *, gpu_type: str, gpus_per_node: int = 1, **options: Any) -> AvailabilityTimeline:
    """Read a spot trace in JSON: `{"metadata": {"gap_seconds": 60}, "data": [1, 0, ...]}`.

    `data` holds the nodes that could be had at each step; of a trace of several nodes, a list for each node. The format
    is that of SkyPilot's spot traces (github.com/skypilot-org/spot-traces).

    Args:
        path: The file.
        gpu_type: What the nodes have.
        gpus_per_node: How many of it.
        options: See the module.

    Raises:
        TraceError: The file cannot be read, or has another form.
    """
    try:
        document = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot be read: {error}"
        raise TraceError(msg) from None
    gap_s, data = _gap_and_data(document)
    if gap_s is None or not data:
        form = '{"metadata": {"gap_seconds": s}, "data": [n, ...]}'
        msg = f"{path}: must be {form}, with s above 0 and at least one count"
        raise TraceError(msg)
    nodes = data if isinstance(data[0], list) else [data]
    if len({len(node) for node in nodes}) != 1:
        msg = f"{path}: the nodes in `data` have {sorted({len(node) for node in nodes})} steps; all need the same"
        raise TraceError(msg)
    for place, count in _entries(data):
        if isinstance(count, bool) or not isinstance(count, int | float) or not 0 <= count < math.inf:
            msg = f"{path}: {place} is {json.dumps(count)}; a count of nodes must be a number, 0 or more, and finite"
            raise TraceError(msg)
    counts = [gpus_per_node * sum(step) for step in zip(*nodes, strict=True)]
    frame = pl.DataFrame({"t_s": [gap_s * step for step in range(len(counts))], "count": counts})
    frame = frame.with_columns(gpu_type=pl.lit(gpu_type), market=pl.lit("spot"))
    return AvailabilityTimeline.from_frame(frame, str(path), end_s=gap_s * len(counts), **options)


def _entries(data: list[Any]) -> Iterator[tuple[str, Any]]:
    """The counts of a spot trace, each with its place."""
    for i, entry in enumerate(data):
        if isinstance(entry, list):
            yield from ((f"data[{i}][{j}]", count) for j, count in enumerate(entry))
        else:
            yield f"data[{i}]", entry


def _gap_and_data(document: object) -> tuple[float | None, list[Any]]:
    metadata = document.get("metadata") if isinstance(document, Mapping) else None
    gap_s = metadata.get("gap_seconds") if isinstance(metadata, Mapping) else None
    data = document.get("data") if isinstance(document, Mapping) else None
    is_gap = isinstance(gap_s, int | float) and gap_s > 0
    return (float(gap_s) if is_gap and isinstance(gap_s, int | float) else None), data if isinstance(data, list) else []


def _with_numbers(path: PathLike, names: Sequence[str], *, of: Sequence[str]) -> pl.DataFrame:
    """A CSV file with some columns, those in `of` as numbers; an empty cell is null."""
    frame = read_cells(path)
    missing = [name for name in names if name not in frame.columns]
    if missing:
        listed = "; ".join(f"{name}: column is missing; {nearest(name, frame.columns)}" for name in missing)
        msg = f"{path}: {listed}"
        raise TraceError(msg)
    numbers = frame.with_columns(pl.col(name).cast(pl.Float64, strict=False) for name in of)
    for name in of:
        bad = (numbers[name].is_null() & frame[name].is_not_null()).arg_true()
        if len(bad):
            msg = f"{path}: {name}: row {bad[0]}: {frame[name][bad[0]]!r} is not a number (rows are counted from 0)"
            raise TraceError(msg)
    return numbers
