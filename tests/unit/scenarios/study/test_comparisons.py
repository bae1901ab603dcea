"""Comparisons beside the points of silicon."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.report.accuracy import comparison_tables
from scenarios.study.comparisons import KERNELS, RUN, other_rows, real_run_rows

FIELDS = ("set", "estimator", "model", "gpu", "precision", "engine", "tp", "metric", "n", "mean_abs_error", "bias",
          "fitted_to")  # fmt: skip


@pytest.mark.parametrize("folder", [None, Path("/nowhere")])
def test_what_is_not_there_is_not_run(folder: Path | None) -> None:
    rows = other_rows(folder)
    assert [row["set"] for row in rows] == [RUN, KERNELS]
    for row in rows:
        assert tuple(row)[: len(FIELDS)] == FIELDS
        assert (row["n"], row["mean_abs_error"], row["bias"], row["fitted_to"]) == (0, None, None, None)
        (reason,) = row["reasons"]
        assert reason.startswith("not run: profiles/")


def test_tables_say_what_is_not_run() -> None:
    by_set, one_by_one = comparison_tables(other_rows(None))
    assert by_set.row_count == 2
    assert one_by_one.row_count == 0


def test_the_real_run(data_dir: Path) -> None:
    rows = {row["metric"]: row for row in real_run_rows(data_dir)}
    assert len(rows) == 12
    assert all(tuple(row) == FIELDS for row in rows.values())
    for time in ("ttft", "tpot", "e2e"):
        for statistic in ("mean", "p50", "p99"):
            assert rows[f"{time} {statistic}"]["mean_abs_error"] < 0.03
        assert rows[f"{time} each"]["n"] == 300
        assert rows[f"{time} each"]["mean_abs_error"] < 0.03
