"""How far estimates are from measurements: errors of all rows, and by what they have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import polars as pl

from scenarios.runs.watcher import Watcher
from scenarios.study.silicon import ENGINE, SET, Answer, Case, SiliconRow
from scenarios.study.silicon_estimates import answers
from sim.parallel import process_pool

HETSERVE, PACKAGE = "hetserve", "aiconfigurator"
METRICS = ("tpot", "ttft")
CELL = ("model", "gpu", "precision", "engine", "tp")
"""What rows of a cell have in common."""

_SCHEMA = {
    "row": pl.Int64,
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

    `row` numbers the rows; the other columns are those of `CELL`.
    """
    lines: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        for estimator, answer in found[row.case].items():
            cell = _cell_of(row.case) | {"row": number, "estimator": estimator}
            if isinstance(answer, str):
                lines += [cell | {"metric": metric, "reason": answer} for metric in METRICS]
            else:
                lines.append(cell | {"metric": "tpot", "error": answer.tpot_s / row.tpot_s - 1})
                lines.append(cell | {"metric": "ttft", "error": answer.ttft_s / row.ttft_s - 1})
    errors = pl.DataFrame(lines, schema=_SCHEMA)
    is_by_all = pl.col("error").is_not_null().all().over("row", "metric")
    return errors.with_columns(is_by_all=is_by_all)


def _cell_of(case: Case) -> dict[str, Any]:
    checkpoint = case.checkpoint
    return {
        "model": checkpoint.name,
        "gpu": case.gpu,
        "precision": checkpoint.precision,
        "engine": ENGINE,
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


def to_dicts(errors: pl.DataFrame) -> list[dict[str, Any]]:
    """As `hetserve accuracy --json` prints it: a row for each estimator, cell and metric."""
    reasons: dict[tuple[Any, ...], dict[str, int]] = {}
    for estimator, *cell, reason, n in not_scored(errors, CELL).iter_rows():
        reasons.setdefault((estimator, *cell), {})[reason] = n
    rows = []
    for figures in summarise(errors, CELL).iter_rows(named=True):
        cell_key = (figures["estimator"], *(figures[name] for name in CELL))
        ordered = {name: figures.pop(name) for name in ("estimator", *CELL, "metric")}
        rows.append({"set": SET} | ordered | figures | {"reasons": reasons.get(cell_key, {})})
    return rows
