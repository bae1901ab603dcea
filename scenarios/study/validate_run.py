"""A measured run beside its simulation: how far one is from the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from scenarios.errors import RunError
from sim import SimulationResult
from sim.results.metrics import E2E_S, TPOT_S, TTFT_S
from traces import Trace, nearest, read_csv

REAL_COLUMNS = {"real_ttft_s": "s", "real_tpot_ms": "ms", "real_e2e_s": "s"}
STATISTICS = ("mean", "p50", "p90", "p99")


@dataclass(frozen=True, slots=True)
class Replay:
    """A measured run.

    Attributes:
        trace: Its requests.
        real: The measured `ttft_s`, `tpot_s`, `e2e_s` of each, in the order of the trace.
    """

    trace: Trace
    real: pl.DataFrame


def read_replay(path: Path, model: str) -> Replay:
    """Read a measured run: a CSV file with `arrival_s`, `input_tokens`, `output_tokens` and the measured times.

    The measured times are `real_ttft_s`, `real_tpot_ms` (over the tokens after the first) and `real_e2e_s`.

    Raises:
        TraceError: The requests are not those of a trace.
        RunError: A measured time is missing.
    """
    trace = read_csv(path, columns={"prompt_tokens": "input_tokens"}, model=model)
    table = pl.read_csv(path, infer_schema_length=None)
    missing = [name for name in REAL_COLUMNS if name not in table.columns]
    if missing:
        msg = f"{path}: no column {missing[0]!r}: {nearest(missing[0], table.columns)}"
        raise RunError(msg)
    nulls = [name for name in REAL_COLUMNS if not table[name].dtype.is_numeric() or table[name].null_count()]
    if nulls:
        msg = f"{path}: column {nulls[0]!r} must hold a number in each row"
        raise RunError(msg)
    real = table.select(ttft_s=pl.col("real_ttft_s"), tpot_s=pl.col("real_tpot_ms") / 1e3, e2e_s=pl.col("real_e2e_s"))
    return Replay(trace, real)


def compare_with_real(result: SimulationResult, replay: Replay) -> pl.DataFrame:
    """Simulated against measured: `figure`, `unit`, `simulated`, `real`, `error` (relative).

    For TTFT, TPOT and E2E the mean and quantiles, and the largest gap between the two distribution functions (the
    two-sample Kolmogorov-Smirnov statistic, whose `error` is the gap itself); output tokens/s and makespan.

    Raises:
        RunError: Not all requests completed in the simulation.
    """
    requests = result.requests
    if not (requests["status"] == "completed").all():
        counts = requests["status"].value_counts(sort=True).rows()
        msg = f"the simulation did not complete all requests: {', '.join(f'{n} {status}' for status, n in counts)}"
        raise RunError(msg)
    simulated = requests.select(ttft_s=TTFT_S, tpot_s=TPOT_S, e2e_s=E2E_S)
    is_single = requests["output_tokens"] == 1
    real = replay.real.with_columns(replay.real["tpot_s"].set(is_single, None))
    rows: list[tuple[str, str, float, float, float]] = []
    for name in ("ttft_s", "tpot_s", "e2e_s"):
        ours, theirs = simulated[name].drop_nulls(), real[name].drop_nulls()
        for statistic in STATISTICS:
            a, b = _statistic(ours, statistic), _statistic(theirs, statistic)
            rows.append((f"{name}_{statistic}", "s", a, b, a / b - 1))
        gap = _largest_gap(ours, theirs)
        rows.append((f"{name}_largest_gap", "share", gap, 0.0, gap))
    first_s = requests["arrival_s"][0]
    makespans = [float((requests["arrival_s"] + frame["e2e_s"]).max() or 0) - first_s for frame in (simulated, real)]  # type: ignore[arg-type]
    tokens = requests["output_tokens"].sum()
    rates = [tokens / makespan for makespan in makespans]
    rows.append(("output_tokens_per_s", "tokens/s", rates[0], rates[1], rates[0] / rates[1] - 1))
    rows.append(("makespan_s", "s", makespans[0], makespans[1], makespans[0] / makespans[1] - 1))
    return pl.DataFrame(rows, schema=["figure", "unit", "simulated", "real", "error"], orient="row")


def _statistic(values: pl.Series, name: str) -> float:
    value = values.mean() if name == "mean" else values.quantile(float(name[1:]) / 100, interpolation="linear")
    return float(value)  # type: ignore[arg-type]


def _largest_gap(a: pl.Series, b: pl.Series) -> float:
    from scipy.stats import ks_2samp

    return float(ks_2samp(a.to_numpy(), b.to_numpy()).statistic)
