"""What was rented over time and what it cost, from the replica records and the market's prices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from sim.units import HOUR_S

if TYPE_CHECKING:
    from sim.results.result import SimulationResult

Floats = npt.NDArray[np.float64]


def gpu_types(result: SimulationResult) -> list[str]:
    """GPU types that could be rented or were, sorted."""
    offered = [] if result.availability is None else result.availability["gpu_type"].to_list()
    return sorted({*offered, *gpu_phases(result)["gpu_type"]})


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


def prices(result: SimulationResult, gpu: str) -> tuple[Floats, Floats]:
    """What one GPU of a type would have cost from 0 until a time: times, and dollars, linear in between."""
    end_s = float(result.manifest["end_s"])
    phases = gpu_phases(result).filter(gpu_type=gpu)
    catalog = float(phases["usd_per_h"][0]) if phases.height else 0.0
    times, usd_per_h = np.zeros(1), np.full(1, catalog)
    if result.availability is not None:
        changes = result.availability.filter(gpu_type=gpu)
        if not changes.is_empty():
            times, usd_per_h = changes["t_s"].to_numpy(), changes["usd_per_h"].fill_null(catalog).to_numpy()
    knots = np.append(times, max(end_s, float(times[-1])))
    return knots, np.append(0.0, np.cumsum(np.diff(knots) * usd_per_h)) / HOUR_S


def peak_usd_per_h(result: SimulationResult) -> float:
    """The highest price of all that was rented at one time; 0 if nothing ever was."""
    phases = gpu_phases(result)
    changes_s: list[Floats] = []
    changes_usd_per_h: list[Floats] = []
    for gpu in phases["gpu_type"].unique(maintain_order=True):
        mine = phases.filter(gpu_type=gpu)
        knots, paid_usd = prices(result, gpu)
        starts, stops = mine["rented_s"].to_numpy(), mine["gone_s"].to_numpy()
        times = np.unique(np.concatenate([knots[:-1], starts, stops]))
        n_rented = ((starts <= times[:, None]) & (times[:, None] < stops)) @ mine["n"].to_numpy().astype(np.float64)
        widths_s = np.diff(knots)
        price = np.divide(np.diff(paid_usd) * HOUR_S, widths_s, out=np.zeros_like(widths_s), where=widths_s > 0)
        at = np.clip(np.searchsorted(knots, times, side="right") - 1, 0, len(price) - 1)
        changes_s.append(times)
        changes_usd_per_h.append(np.diff(n_rented * price[at], prepend=0.0))
    if not changes_s:
        return 0.0
    times, order = np.concatenate(changes_s), np.argsort(np.concatenate(changes_s), kind="stable")
    totals = np.cumsum(np.concatenate(changes_usd_per_h)[order])
    is_last = np.append(np.diff(times[order]) > 0, [True])  # of the changes at one time
    return float(totals[is_last].max())


def spent_usd(result: SimulationResult, from_s: float, until_s: float) -> float:
    """What all that was rented cost between two times of a run: the integral of the price over the GPUs rented."""
    phases = gpu_phases(result)
    spent = 0.0
    for gpu in phases["gpu_type"].unique(maintain_order=True):
        mine = phases.filter(gpu_type=gpu)
        knots, paid_usd = prices(result, gpu)
        since, until = (
            np.interp(mine[name].clip(from_s, until_s).to_numpy(), knots, paid_usd) for name in ("rented_s", "gone_s")
        )
        spent += float(((until - since) * mine["n"].to_numpy()).sum())
    return spent
