"""Batches whose results are kept in an object store: here that of fsspec in memory, and one on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.cli.conftest import Hetserve
from tests.cli.test_batch_survives import kept

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory() -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    yield files
    files.rm("/", recursive=True)


def test_results_are_kept_in_a_store_and_read_back(hetserve: Hetserve, small: Path, memory: Any) -> None:
    assert hetserve("batch", small, "--out", "plain").exit_code == 0
    result = hetserve("batch", small, "--out", "memory://bucket/runs")
    assert (result.exit_code, result.stdout) == (0, "4 ok: memory://bucket/runs\n")
    memory.get("/bucket/runs", "copy", recursive=True)
    assert kept(Path("copy")) == kept(Path("plain"))
    theirs, ours = (hetserve("compare", place, "--format", "csv").stdout for place in ("memory://bucket/runs", "plain"))
    assert len(ours.splitlines()) == 5
    assert theirs == ours


def test_what_is_in_a_store_is_not_made_again_unless_it_is_damaged(
    hetserve: Hetserve, small: Path, memory: Any
) -> None:
    batch = ("batch", small, "--out", "memory://bucket/runs")
    assert hetserve(*batch).exit_code == 0
    again = hetserve(*batch)
    assert again.exit_code == 2
    assert "memory://bucket/runs/scenario=small/planner=homogeneous/seed=0 exists already" in again.output
    manifests = [name for name in memory.find("/bucket/runs") if name.endswith("manifest.json")]
    before = {name: memory.modified(name) for name in manifests}
    memory.rm_file(manifests[0])  # as if its upload had been cut short
    memory.pipe_file(manifests[1].replace("manifest.json", "requests.parquet"), b"")
    assert hetserve("compare", "memory://bucket/runs").exit_code == 2
    assert hetserve(*batch, "--resume").exit_code == 0
    assert {name for name in manifests if memory.modified(name) != before[name]} == set(manifests[:2])
    assert hetserve("compare", "memory://bucket/runs").exit_code == 0


def test_workers_put_their_runs_there_and_polars_reads_them(hetserve: Hetserve, small: Path, tmp_path: Path) -> None:
    address = f"file://{tmp_path}/bucket"
    result = hetserve("batch", small, "--seed", "0", "--seed", "1", "--out", address, "--jobs", "2")
    assert (result.exit_code, result.stdout) == (0, f"8 ok: {address}\n")
    runs = pl.scan_parquet(f"{address}/**/requests.parquet", hive_partitioning=True).collect()
    assert runs.select("scenario", "planner", "seed").n_unique() == 8


def test_a_store_that_cannot_be_read_is_named(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("batch", small, "--out", "nothing://bucket/runs")
    assert result.exit_code == 2
    assert "nothing://bucket/runs: Protocol not known: nothing" in result.output
