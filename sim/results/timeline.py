"""A finished run over time: what could be rented, what was, who waited, how they were served, what it cost.

It comes from the records alone, so that the engine keeps nothing for it. Every figure is the mean or the count over an
interval of a grid, never a sample: sums over the grid are the totals of the records.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sim.errors import SettingsError
from sim.results.rent import Floats, gpu_phases, gpu_types, idle_phases, prices
from sim.slo import SLO
from sim.units import HOUR_S

if TYPE_CHECKING:
    from sim.results.result import SimulationResult

N_INTERVALS = 600

_SLIVER = 1e-6  # of a step: an interval that rounding leaves at the end belongs to the one before

TIMELINE_SCHEMA = pl.Schema(
    {
        "t_s": pl.Float64,
        "width_s": pl.Float64,
        "gpu_type": pl.String,
        "available": pl.Float64,
        "rented": pl.Float64,
        "booting": pl.Float64,
        "serving": pl.Float64,
        "down": pl.Float64,
        "leaving": pl.Float64,
        "usd_per_h": pl.Float64,
        "usd": pl.Float64,
        "waiting": pl.Float64,
        "running": pl.Float64,
        "n_arrived": pl.Int64,
        "n_good": pl.Int64,
        "n_finished": pl.Int64,
        "throughput_rps": pl.Float64,
        "slo_attainment": pl.Float64,
    }
)
"""Columns of a timeline; `docs/reference/timeline.md` says what they mean."""


def compute_timeline(
    result: SimulationResult, slo: SLO | None = None, *, n_intervals: int = N_INTERVALS, step_s: float | None = None
) -> pl.DataFrame:
    """A run on a regular grid: rows for the whole run, with no `gpu_type`, and rows for each GPU type.

    Args:
        result: The run.
        slo: What `n_good` and `slo_attainment` ask for. None: the SLO of the manifest, or completion.
        n_intervals: Intervals of the grid, of the same length.
        step_s: Length of an interval, instead; the last one may be shorter.

    Returns:
        The columns of `TIMELINE_SCHEMA`, by GPU type and time, the whole run first.

    Raises:
        SettingsError: There are no intervals.

    >>> from sim import ConstantServiceTime, Deployment, Market, ReplicaSpec, gpu_type, model_spec, simulate
    >>> from traces import Trace, scheduled_drops
    >>> spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("L40S"))
    >>> trace = Trace.from_columns([0.0, 6.0], [100, 100], [4, 4], model="Llama-3-8B", source="two requests")
    >>> market = Market(scheduled_drops({"L40S": 2}, [(5.0, 60.0, {"L40S": 0.5})], end_s=60.0))
    >>> result = simulate(Deployment(((spec, 2),)), trace, service_time=ConstantServiceTime(1.0), market=market)
    >>> series = compute_timeline(result, step_s=4.0)
    >>> series.filter(gpu_type="L40S")["serving"].to_list()
    [2.0, 1.25, 1.0]
    """
    edges = _edges(float(result.manifest["end_s"]), n_intervals, step_s)
    phases = gpu_phases(result)
    if len(edges) < 2:
        return pl.DataFrame(schema=TIMELINE_SCHEMA)
    gpus = [_gpus(result, phases, gpu, edges) for gpu in gpu_types(result)]
    # Without GPUs at all there is nothing to add up.
    numbers = ("rented", "booting", "serving", "down", "leaving", "usd_per_h", "usd")
    total = pl.DataFrame({name: np.sum([gpu[name] for gpu in gpus], axis=0) for name in numbers} if gpus else {})
    available = [gpu["available"] for gpu in gpus]
    if gpus and not any(column.null_count() for column in available):
        total = total.with_columns(available=pl.Series(np.sum(available, axis=0)))
    run = pl.concat([total, _requests(result, slo_of(result) if slo is None else slo, edges)], how="horizontal")
    width_s = np.diff(edges)
    parts = [part.with_columns(t_s=pl.Series(edges[:-1]), width_s=pl.Series(width_s)) for part in (run, *gpus)]
    empty = pl.DataFrame(schema=TIMELINE_SCHEMA)
    return pl.concat([empty, *parts], how="diagonal_relaxed").cast(TIMELINE_SCHEMA)


def _edges(end_s: float, n_intervals: int, step_s: float | None) -> Floats:
    if n_intervals < 1 or (step_s is not None and not 0 < step_s < math.inf):
        msg = f"a timeline of {n_intervals} intervals or steps of {step_s} s; allowed: 1 or more, and more than 0 s"
        raise SettingsError(msg)
    if end_s == 0:
        return np.zeros(1)
    if step_s is None:
        return np.linspace(0.0, end_s, n_intervals + 1)
    n_whole = max(1, math.ceil(end_s / step_s - _SLIVER))
    return np.append(step_s * np.arange(n_whole), end_s)


def slo_of(result: SimulationResult) -> SLO:
    """The SLO that the manifest of a run names; completion alone if it names none."""
    return SLO.from_dict(result.manifest.get("slo", {}))


def _integrals(times: Floats, weights: Floats, edges: Floats) -> Floats:
    """Integral over each interval of a step function that grows by a weight at each time, none after the last edge."""
    index = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, len(edges) - 2)
    jumps = np.bincount(index, weights, len(edges) - 1)
    after = np.bincount(index, weights * (edges[index + 1] - times), len(edges) - 1)
    return np.asarray((np.cumsum(jumps) - jumps) * np.diff(edges) + after)


# GPUs -------------------------------------------------------------------------------------------------------


def _gpus(result: SimulationResult, phases: pl.DataFrame, gpu: str, edges: Floats) -> pl.DataFrame:
    phases = phases.filter(gpu_type=gpu)
    n = phases["n"].to_numpy().astype(np.float64)
    times = [phases[name].to_numpy() for name in ("rented_s", "open_s", "leaving_s", "gone_s")]
    outages = phases.select("n", "leaving_s", "failed_s", "back_s").explode("failed_s", "back_s").drop_nulls()
    n_down = outages["n"].to_numpy().astype(np.float64)
    width_s = np.diff(edges)
    since = [_integrals(time_s, n, edges) / width_s for time_s in times]
    down, up = (
        _integrals(outages[name].clip(upper_bound=outages["leaving_s"]).to_numpy(), n_down, edges) / width_s
        for name in ("failed_s", "back_s")
    )
    knots, paid = prices(result, gpu)
    spent = _spent(phases, knots, paid, edges)
    if result.nodes is not None:
        spent += _spent(idle_phases(result).filter(gpu_type=gpu), knots, paid, edges)
    columns = {
        "rented": since[0] - since[3],
        "booting": since[0] - since[1],
        "serving": since[1] - since[2] - (down - up),
        "down": down - up,
        "leaving": since[2] - since[3],
        "usd_per_h": spent / width_s * HOUR_S,
        "usd": np.cumsum(spent),
    }
    available = pl.lit(None, pl.Float64)
    if result.availability is not None:
        changes = result.availability.filter(gpu_type=gpu)
        if not changes.is_empty():
            steps = np.diff(changes["count"].to_numpy().astype(np.float64), prepend=0.0)
            available = pl.lit(pl.Series(_integrals(changes["t_s"].to_numpy(), steps, edges) / width_s))
    return pl.DataFrame(columns).with_columns(available=available, gpu_type=pl.lit(gpu))


def _spent(phases: pl.DataFrame, knots: Floats, paid: Floats, edges: Floats) -> Floats:
    """What GPUs of a type cost in each interval; `prices` gives `knots` and `paid`."""
    n = phases["n"].to_numpy().astype(np.float64)
    since, until = (np.interp(phases[name].to_numpy(), knots, paid) for name in ("rented_s", "gone_s"))
    paid_by = np.interp(edges, knots, paid)
    return _integrals(since, n, paid_by) - _integrals(until, n, paid_by)


# Requests ---------------------------------------------------------------------------------------------------


def _requests(result: SimulationResult, slo: SLO, edges: Floats) -> pl.DataFrame:
    end_s, width_s = float(edges[-1]), np.diff(edges)
    ended_s = pl.col("ended_s").fill_null(end_s)
    columns = result.requests.select(
        arrived="arrival_s",
        begun=pl.min_horizontal(pl.col("first_scheduled_s").fill_null(ended_s), ended_s),
        ended=ended_s,
        finished="finish_s",
        is_good=slo.is_met(),
    )
    arrived, begun, ended, finished = (
        columns[name].drop_nulls().to_numpy() for name in ("arrived", "begun", "ended", "finished")
    )
    one = np.ones(len(arrived))
    since = [_integrals(time_s, one, edges) / width_s for time_s in (arrived, begun, ended)]
    n_finished, n_arrived, n_good = (
        np.histogram(time_s, edges)[0] for time_s in (finished, arrived, arrived[columns["is_good"].to_numpy()])
    )
    counts = pl.DataFrame({"n_arrived": n_arrived, "n_good": n_good, "n_finished": n_finished})
    return counts.with_columns(
        waiting=pl.Series(since[0] - since[1]),
        running=pl.Series(since[1] - since[2]),
        throughput_rps=pl.Series(n_finished / width_s),
        slo_attainment=pl.when(pl.col("n_arrived") > 0).then(pl.col("n_good") / pl.col("n_arrived")),
    )
