"""What was rented over time and what it cost, from the replica records and the market's prices."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sim.units import HOUR_S

if TYPE_CHECKING:
    from sim.results.result import SimulationResult

Floats = npt.NDArray[np.float64]

BUDGET_TOLERANCE = 1e-6
"""Share of the budget by which what is paid may exceed it: as much as planners allow for rounding."""


def gpu_types(result: SimulationResult) -> list[str]:
    """GPU types, or offers, that could be rented or were, sorted."""
    offered = [] if result.availability is None else result.availability["gpu_type"].to_list()
    return sorted({*offered, *paid_phases(result)["gpu_type"]})


def gpu_phases(result: SimulationResult) -> pl.DataFrame:
    """What each replica went through, by GPU type, up to the end of the run.

    Returns:
        A row for each GPU type of each replica: `replica_id`, `gpu_type`, `n` GPUs of it, its price in the catalog
        `usd_per_h`, when it was rented (`rented_s`), began to serve (`open_s`), took no more (`leaving_s`) and was
        gone (`gone_s`): in this order, and none is null. A replica that never served has `open_s` = `leaving_s`. When
        it failed in between and was back, `failed_s` and `back_s`, are lists.
    """
    gone_s = pl.col("released_s").fill_null(float(result.manifest["end_s"]))
    leaving_s = pl.min_horizontal(pl.col("notice_s").fill_null(gone_s), gone_s)
    return (
        result.replicas.select(
            "replica_id",
            "gpus",
            "rented_s",
            "failed_s",
            "back_s",
            open_s=pl.min_horizontal(pl.col("open_s").fill_null(leaving_s), leaving_s),
            leaving_s=leaving_s,
            gone_s=gone_s,
        )
        .explode("gpus")
        .unnest("gpus")
    )


def idle_phases(result: SimulationResult) -> pl.DataFrame:
    """What is paid of nodes beside what replicas take of them, as the difference of the two.

    Returns:
        Rows as those of `gpu_phases`, which count as open and have no replica: one for all GPUs of each node, and one
        with a negative `n` for what each replica takes. Sums over them are those of the GPUs that nobody takes.
    """
    phases = gpu_phases(result)
    if result.nodes is None:
        return phases.clear()
    gone_s = pl.col("released_s").fill_null(float(result.manifest["end_s"]))
    never = pl.lit([], pl.List(pl.Float64))
    nodes = result.nodes.select(
        pl.lit(None, pl.Int32).alias("replica_id"),
        "rented_s",
        failed_s=never,
        back_s=never,
        open_s="rented_s",
        leaving_s=gone_s,
        gone_s=gone_s,
        gpu_type="gpu_type",
        n="n_gpus",
        usd_per_h="usd_per_h",
    )
    taken = phases.join(nodes.select("gpu_type").unique(), on="gpu_type", how="semi").with_columns(
        -pl.col("n"),
        replica_id=pl.lit(None, pl.Int32),
        failed_s=never,
        back_s=never,
        open_s="rented_s",
        leaving_s="gone_s",
    )
    return pl.concat([nodes.select(phases.columns), taken])


def paid_phases(result: SimulationResult) -> pl.DataFrame:
    """What is paid: replicas as in `gpu_phases`, and GPUs that nobody takes as in `idle_phases`."""
    return pl.concat([gpu_phases(result), idle_phases(result)])


def prices(result: SimulationResult, gpu: str) -> tuple[Floats, Floats]:
    """What one GPU of a type would have cost from 0 until a time: times, and dollars, linear in between."""
    end_s = float(result.manifest["end_s"])
    phases = paid_phases(result).filter(gpu_type=gpu)
    catalog = float(phases["usd_per_h"][0]) if phases.height else 0.0
    times, usd_per_h = np.zeros(1), np.full(1, catalog)
    if result.availability is not None:
        changes = result.availability.filter(gpu_type=gpu)
        if not changes.is_empty():
            times, usd_per_h = changes["t_s"].to_numpy(), changes["usd_per_h"].fill_null(catalog).to_numpy()
    knots = np.append(times, max(end_s, float(times[-1])))
    return knots, np.append(0.0, np.cumsum(np.diff(knots) * usd_per_h)) / HOUR_S


class Price(NamedTuple):
    """The price of all that is rented, as steps: each from its time to the next one, the last for ever.

    Attributes:
        times_s: When what is rented, or its price, may change.
        usd_per_h: The price from then on.
        is_rented: Whether anything is rented then.
    """

    times_s: Floats
    usd_per_h: Floats
    is_rented: npt.NDArray[np.bool_]


def price_over_time(result: SimulationResult) -> Price:
    """What is paid at each time, for replicas that start, serve, drain or have failed; no steps if none ever was."""
    phases = paid_phases(result)
    gpus = phases["gpu_type"].unique(maintain_order=True)
    priced = {gpu: prices(result, gpu) for gpu in gpus}
    knots = [times[:-1] for times, _ in priced.values()]
    times = np.unique(np.concatenate([*knots, phases["rented_s"].to_numpy(), phases["gone_s"].to_numpy()]))
    paid = [_usd_per_h_at(times, phases.filter(gpu_type=gpu), *priced[gpu]) for gpu in gpus]
    usd_per_h = np.array([math.fsum(at_once) for at_once in zip(*paid, strict=True)])
    is_rented = np.asarray(_is_rented_at(times, phases).any(axis=1))
    return Price(times, usd_per_h, is_rented)


def peak_usd_per_h(result: SimulationResult) -> float:
    """The highest price of all that was rented at one time; 0 if nothing ever was."""
    return float(price_over_time(result).usd_per_h.max(initial=0.0))


def budget_compliance(result: SimulationResult) -> float | None:
    """Of the time in which anything is rented, the share in which all of it together is within the manifest's budget.

    None without a budget there, and if nothing ever was rented.
    """
    budget_usd_per_h = result.manifest.get("budget_usd_per_h")
    if budget_usd_per_h is None:
        return None
    times_s, usd_per_h, is_rented = price_over_time(result)
    widths_s = np.diff(times_s, append=times_s[-1:])
    is_over = usd_per_h > budget_usd_per_h * (1 + BUDGET_TOLERANCE)
    rented_s = float(widths_s[is_rented].sum())
    return 1 - float(widths_s[is_over].sum()) / rented_s if rented_s > 0 else None


def _is_rented_at(times_s: Floats, phases: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether the GPUs of each phase are rented, for each time."""
    starts_s, stops_s = phases["rented_s"].to_numpy(), phases["gone_s"].to_numpy()
    return np.asarray((starts_s <= times_s[:, None]) & (times_s[:, None] < stops_s))


def _usd_per_h_at(times: Floats, phases: pl.DataFrame, knots: Floats, paid_usd: Floats) -> Floats:
    """What the GPUs of one type that are rented cost at some times; `prices` gives the last two."""
    n_rented = _is_rented_at(times, phases) @ phases["n"].to_numpy().astype(np.float64)
    widths_s = np.diff(knots)
    price = np.divide(np.diff(paid_usd) * HOUR_S, widths_s, out=np.zeros_like(widths_s), where=widths_s > 0)
    step = np.clip(np.searchsorted(knots, times, side="right") - 1, 0, len(price) - 1)
    return np.asarray(n_rented * price[step])


def spent_usd(result: SimulationResult, from_s: float, until_s: float) -> float:
    """What all that was rented cost between two times of a run: the integral of the price over the GPUs rented."""
    phases = paid_phases(result)
    spent: list[float] = []
    for gpu in phases["gpu_type"].unique(maintain_order=True):
        mine = phases.filter(gpu_type=gpu)
        knots, paid_usd = prices(result, gpu)
        since, until = (
            np.interp(mine[name].clip(from_s, until_s).to_numpy(), knots, paid_usd) for name in ("rented_s", "gone_s")
        )
        spent += ((until - since) * mine["n"].to_numpy()).tolist()
    return math.fsum(spent)  # in whatever order: names do not matter
