"""`hetserve accuracy silicon`, on some of its rows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest

from scenarios.study.accuracy import FIT, PLAUSIBLE, REST
from scenarios.study.silicon import points
from sim.timing.aiconfigurator import is_installed
from tests.cli.conftest import Hetserve

with_package = pytest.mark.skipif(not is_installed(), reason="not run: aiconfigurator-core is not installed")
FIELDS = ("set", "estimator", "model", "gpu", "precision", "engine", "tp", "metric", "n", "mean_abs_error", "bias",
          "fitted_to")  # fmt: skip


@pytest.fixture
def some_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Some measurements with few clients instead of all, and those without a concurrency; returns how many."""
    table = pl.read_csv(points.sample_path(), infer_schema_length=None)
    table = table.filter(pl.col("backend") == "vllm", pl.col("mode") == "agg")
    has_none = ~pl.col("silicon_data_source").str.contains("silicon_concurrency")
    suspicious = table.filter(pl.col("model_path").str.contains("3.1-8B")).sort("batch_size").head(2)
    few_clients = table.filter(pl.col("silicon_data_source").str.contains(r"silicon_concurrency=(4|8|16);"))
    some = pl.concat([few_clients.gather_every(30), suspicious, table.filter(has_none)])
    some = some.unique(["silicon_ttft_ms", "silicon_tpot_ms"], maintain_order=True)
    path = tmp_path / "sample.csv"
    some.write_csv(path)
    monkeypatch.setattr("scenarios.cli.measurements.accuracy.sample_path", lambda: path)
    return len(some)


@with_package
def test_errors_of_all_estimators(hetserve: Hetserve, some_rows: int) -> None:
    rows = json.loads(hetserve("accuracy", "silicon", "--jobs", "1", "--json").stdout)
    assert all(tuple(row)[: len(FIELDS)] == FIELDS for row in rows)
    assert {row["set"] for row in rows} == {FIT, REST, PLAUSIBLE}
    for estimator in ("hetserve", "calibrated", "aiconfigurator"):
        for metric in ("tpot", "ttft"):
            cells = [row for row in rows if (row["estimator"], row["metric"]) == (estimator, metric)]
            assert sum(row["n"] + row["n_not_scored"] for row in cells if row["set"] != PLAUSIBLE) == some_rows
            assert sum(row["n"] for row in cells) > 0
            assert all(sum(row["reasons"].values()) == row["n_not_scored"] for row in cells)
            assert all((row["mean_abs_error"] is None) == (row["n"] == 0) for row in cells)


@with_package
def test_tables(hetserve: Hetserve, some_rows: int) -> None:
    printed = hetserve("accuracy", "silicon", "--jobs", "1").stdout
    counts: dict[str, int] = {}
    for label in (REST, FIT):
        (found, again) = re.findall(rf"^ *{label} +(\d+) ", printed, re.MULTILINE)
        assert found == again
        counts[label] = int(found)
    assert sum(counts.values()) == some_rows
    assert "the file states no concurrency" in printed
    assert "Llama-3.1-8B: some rows need 98 %" in printed


@with_package
def test_all_comparisons(hetserve: Hetserve, some_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HETSERVE_DATA", raising=False)
    rows = json.loads(hetserve("accuracy", "--jobs", "1", "--json").stdout)
    assert all(tuple(row)[: len(FIELDS)] == FIELDS for row in rows)
    not_run = [row for row in rows if not row["set"].startswith("silicon")]
    assert [(row["set"], row["n"], row["mean_abs_error"]) for row in not_run] == [
        ("RTX 4090 run", 0, None),
        ("kernels", 0, None),
    ]
    assert all("not run" in reason for row in not_run for reason in row["reasons"])


@with_package
def test_the_same_in_several_processes(hetserve: Hetserve, some_rows: int) -> None:
    alone = hetserve("accuracy", "silicon", "--jobs", "1", "--json").stdout
    assert hetserve("accuracy", "silicon", "--jobs", "2", "--json").stdout == alone


def test_without_the_package(hetserve: Hetserve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "find_spec", lambda _: None)
    result = hetserve("accuracy", "silicon")
    assert result.exit_code == 2
    assert "pip install 'hetserve[aiconfigurator]'" in result.stderr
