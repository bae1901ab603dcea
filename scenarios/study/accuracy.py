"""How far estimates are from measurements: errors of all rows, and by what they have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import polars as pl

from scenarios.runs.watcher import Watcher
from scenarios.study.silicon.estimates import FITTED_TO, answers
from scenarios.study.silicon.points import ENGINE, Answer, Case, SiliconRow
from scenarios.study.silicon.split import is_fitted_to, suspicion
from sim.parallel import process_pool
from sim.units import MILLI

HETSERVE, CALIBRATED, PACKAGE = "hetserve", "calibrated", "aiconfigurator"
METRICS = ("tpot", "ttft")
FIT, REST, PLAUSIBLE = "silicon fit fifth", "silicon rest", "silicon rest, plausible"
"""Measurements that something was fitted to, the others, and those of the others that nothing speaks against."""

CELL = ("model", "gpu", "precision", "engine", "tp")
"""What rows of a cell have in common."""

_SCHEMA = {
    "row": pl.Int64,
    "set": pl.String,
    "suspicion": pl.String,
    "estimator": pl.String,
    "model": pl.String,
    "gpu": pl.String,
    "precision": pl.String,
    "engine": pl.String,
    "tp": pl.Int64,
    "metric": pl.String,
    "error": pl.Float64,
    "reason": pl.String,
}


def estimate_all(
    rows: Sequence[SiliconRow], n_jobs: int, watcher: Watcher | None = None
) -> dict[Case, dict[str, Answer]]:
    """What each estimator says of the cases of all rows, each case once.

    Args:
        rows: The rows.
        n_jobs: Processes to split them over.
        watcher: Told how it goes.
    """
    watcher = Watcher() if watcher is None else watcher
    cases = list(dict.fromkeys(row.case for row in rows))
    watcher.stage("estimating", len(cases))
    pool: AbstractContextManager[Any] = process_pool(n_jobs) if n_jobs > 1 else nullcontext()
    found: dict[Case, dict[str, Answer]] = {}
    with pool as executor:
        answered = map(answers, cases) if executor is None else executor.map(answers, cases, chunksize=8)
        for case, answer in zip(cases, answered, strict=True):
            found[case] = answer
            watcher.progress(0.0, len(found))
    return found


def errors_of(rows: Sequence[SiliconRow], found: Mapping[Case, Mapping[str, Answer]]) -> pl.DataFrame:
    """A line for each row, estimator and metric: the relative `error` of the estimate, or the `reason` for none.

    `row` numbers the rows, `set` is `FIT` or `REST`, `suspicion` is what speaks against the measurement; the other
    columns are those of `CELL`.
    """
    lines: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        for estimator, answer in found[row.case].items():
            cell = _cell_of(row.case) | {"row": number, "estimator": estimator, "suspicion": suspicion(row.case)}
            cell["set"] = FIT if is_fitted_to(row) else REST
            if isinstance(answer, str):
                lines += [cell | {"metric": metric, "reason": answer} for metric in METRICS]
            else:
                lines.append(cell | {"metric": "tpot", "error": answer.tpot_s / (row.tpot_ms * MILLI) - 1})
                lines.append(cell | {"metric": "ttft", "error": answer.ttft_s / (row.ttft_ms * MILLI) - 1})
    errors = pl.DataFrame(lines, schema=_SCHEMA)
    is_by_all = pl.col("error").is_not_null().all().over("row", "metric")
    return errors.with_columns(is_by_all=is_by_all)


def _cell_of(case: Case) -> dict[str, Any]:
    checkpoint = case.checkpoint
    return {
        "model": checkpoint.name,
        "gpu": case.gpu,
        "precision": checkpoint.precision,
        "engine": f"{ENGINE} {case.version}",
        "tp": case.tp,
    }


def summarise(errors: pl.DataFrame, by: Iterable[str] = ()) -> pl.DataFrame:
    """Errors of groups of rows, for each estimator and metric.

    `n` rows are scored, with `mean_abs_error` and `bias`, the mean error; `n_not_scored` are not. `n_by_all`,
    `mean_abs_error_by_all` and `bias_by_all` are of the rows that all estimators score.

    Args:
        errors: Of `errors_of`.
        by: What the rows of a group have in common; nothing: all are one group.
    """
    by = [*by]
    error = pl.col("error")
    by_all = error.filter("is_by_all")
    figures = errors.group_by(*by, "estimator", "metric").agg(
        n=error.count(),
        mean_abs_error=error.abs().mean(),
        bias=error.mean(),
        n_by_all=by_all.count(),
        mean_abs_error_by_all=by_all.abs().mean(),
        bias_by_all=by_all.mean(),
        n_not_scored=error.null_count(),
    )
    return figures.sort(*by, "estimator", "metric")


def not_scored(errors: pl.DataFrame, by: Iterable[str] = ()) -> pl.DataFrame:
    """How many rows an estimator did not score, by `estimator` and `reason`; perhaps by more."""
    once = errors.filter(pl.col("metric") == METRICS[0], pl.col("reason").is_not_null())
    counted = once.group_by("estimator", *by, "reason").agg(n=pl.len())
    return counted.sort("estimator", *by, "n", "reason", descending=[False, *(False for _ in by), True, False])


def sets_of(errors: pl.DataFrame) -> pl.DataFrame:
    """The lines of `errors_of`, those of `PLAUSIBLE` a second time."""
    rest = errors.filter(pl.col("set") == REST, pl.col("suspicion").is_null())
    return pl.concat([errors, rest.with_columns(set=pl.lit(PLAUSIBLE))])


def to_dicts(errors: pl.DataFrame) -> list[dict[str, Any]]:
    """As `hetserve accuracy --json` prints it: a row for each set, estimator, cell and metric."""
    errors = sets_of(errors)
    key = ("set", *CELL)
    reasons: dict[tuple[Any, ...], dict[str, int]] = {}
    for estimator, *cell, reason, n in not_scored(errors, key).iter_rows():
        reasons.setdefault((estimator, *cell), {})[reason] = n
    rows = []
    for figures in summarise(errors, key).iter_rows(named=True):
        cell_key = (figures["estimator"], *(figures[name] for name in key))
        names = ("set", "estimator", *CELL, "metric", "n", "mean_abs_error", "bias")
        ordered = {name: figures.pop(name) for name in names}
        fitted_to = FITTED_TO[ordered["estimator"]]
        rows.append(ordered | {"fitted_to": fitted_to} | figures | {"reasons": reasons.get(cell_key, {})})
    return rows
