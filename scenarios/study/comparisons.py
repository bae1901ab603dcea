"""All that hetserve was ever compared with, beside the points of `silicon`: a real run, and measured iterations.

Both are read from the folder of measurements that the environment variable HETSERVE_DATA names. What is not there is
said to be not run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from scenarios.file.load import load
from scenarios.inputs.settings import make_engine
from scenarios.measurements.read import read_measurement
from scenarios.study.replay import Replayer
from scenarios.study.validate_run import compare_with_real
from sim.timing import fit as fitting
from sim.timing.fit import usable_rows
from sim.timing.measured import read_profile

RUN, KERNELS, KERNELS_LEFT_OUT = "RTX 4090 run", "kernels", "kernels, of models left out"
CELL_FIELDS = ("model", "gpu", "precision", "engine", "tp")

_REPLAY = "profiles/replay_rtx4090_llama31_8b_tp1.csv"
_HASHES = "profiles/replay_rtx4090_llama31_8b_tp1_prefix_hashes.json"
_SCENARIO = "rtx4090_llama31_8b"
_ITERATIONS = "profiles/iteration_times_slim.csv"
_MEASURED_TIMES = {"ttft": "ttft_s", "tpot": "tpot_s", "e2e": "e2e_s"}
_STATISTICS = ("mean", "p50", "p99")


def real_run_rows(folder: Path) -> list[dict[str, Any]]:
    """Errors of the run of Llama-3.1-8B on an RTX 4090, replayed as its server was set.

    The scenario of the library says how that was. `n` is 1 for a mean or a quantile, and the number of requests where
    each is compared with itself: then `mean_abs_error` is the mean absolute difference over the measured mean.
    """
    loaded = load(_SCENARIO)
    measured = read_measurement(folder / _REPLAY, prefix_hashes=folder / _HASHES)
    replayer = Replayer.of_scenario(loaded, "homogeneous")
    assert isinstance(replayer, Replayer), replayer
    assert measured.real is not None
    compared = compare_with_real(replayer.replay(measured), measured)
    figures = {name: error for name, *_, error in compared.iter_rows()}
    spec = replayer.deployment.replicas[0][0]
    cell: dict[str, Any] = {"set": RUN, "estimator": "hetserve", "model": spec.model.name}
    cell |= {"gpu": spec.stages[0].gpu_type.name, "precision": spec.model.precision.name}
    cell |= {"engine": make_engine(loaded).label, "tp": spec.stages[0].tp}
    fitted_to = {"fitted_to": "kernels; RTX 4090 run: engine overheads"}
    rows = []
    for name, column in _MEASURED_TIMES.items():
        for statistic in _STATISTICS:
            error = figures[f"{column}_{statistic}"]
            rows.append(_row(cell | {"metric": f"{name} {statistic}"}, 1, abs(error), error) | fitted_to)
    for name, column in _MEASURED_TIMES.items():
        each = figures[f"{column}_each"], figures[f"{column}_mean"]
        rows.append(_row(cell | {"metric": f"{name} each"}, len(measured.real), *each) | fitted_to)
    return rows


def kernel_rows(folder: Path) -> list[dict[str, Any]]:
    """Errors of the compact model on measured iterations, fitted to them, and fitted to those of other models."""
    rows, _ = usable_rows(read_profile(folder / _ITERATIONS, ("gpu", "model", "tp")), {})
    counts = rows["gpu"].value_counts()
    names = counts.filter(counts["count"] >= fitting.MIN_ROWS)["gpu"].sort().to_list()
    rows = rows.filter(pl.col("gpu").is_in(names))
    fitted = fitting.fit_all(rows, names, {})
    errors = {
        (KERNELS, "kernels"): fitting.errors(rows, fitted),
        (KERNELS_LEFT_OUT, "kernels of other models"): fitting.leave_one_model_out(rows, names, {}),
    }
    return [row for (name, fitted_to), part in errors.items() for row in _kernel_errors(name, fitted_to, part)]


def _kernel_errors(name: str, fitted_to: str, errors: pl.DataFrame) -> list[dict[str, Any]]:
    error = pl.col("error_pct") / 100
    groups = errors.group_by("model", "gpu", "precision", "tp", "phase").agg(
        n=pl.len(), mean_abs_error=error.abs().mean(), bias=error.mean()
    )
    rows = []
    for group in groups.sort("model", "gpu", "precision", "tp", "phase").iter_rows(named=True):
        cell = {"set": name, "estimator": "hetserve", "model": group["model"], "gpu": group["gpu"]}
        cell |= {
            "precision": group["precision"] or "bf16",
            "engine": "none",
            "tp": group["tp"],
            "metric": group["phase"],
        }
        rows.append(_row(cell, group["n"], group["mean_abs_error"], group["bias"]) | {"fitted_to": fitted_to})
    return rows


def _row(cell: Mapping[str, Any], n: int, mean_abs_error: Any, bias: Any) -> dict[str, Any]:
    return dict(cell) | {"n": n, "mean_abs_error": mean_abs_error, "bias": bias}


OTHER_SETS: dict[str, tuple[tuple[str, ...], Callable[[Path], list[dict[str, Any]]]]] = {
    RUN: ((_REPLAY, _HASHES), real_run_rows),
    KERNELS: ((_ITERATIONS,), kernel_rows),
}
"""What is compared, by name: the files that it needs, and the comparison."""


def other_rows(folder: Path | None) -> list[dict[str, Any]]:
    """Rows of all comparisons but those with the points of `silicon`; one that says `not run` where files are missing.

    Args:
        folder: The folder of measurements.
    """
    rows: list[dict[str, Any]] = []
    for name, (needed, compare) in OTHER_SETS.items():
        missing = [file for file in needed if folder is None or not (folder / file).is_file()]
        if not missing and folder is not None:
            rows += compare(folder)
            continue
        cell = {"set": name, "estimator": "hetserve"} | dict.fromkeys((*CELL_FIELDS, "metric"))
        reason = f"not run: {missing[0]} is not in the folder that HETSERVE_DATA names"
        rows.append(_row(cell, 0, None, None) | {"fitted_to": None, "reasons": {reason: 1}})
    return rows
