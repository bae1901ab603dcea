"""Service times outside of what was measured are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Hetserve

SCENARIO = """schema_version: 1
name: long
cluster:
  gpus:
    RTX4090: {available: 1}
workload:
  chat: {kind: azure_conv_like, model: Llama-3.1-8B, n_requests: 40, rate_rps: 20}
planning: {budget_usd_per_h: 1}
planners: [milp, homogeneous]
sim: {limits: {max_batched_tokens: 8192}}
"""
LINE = "Service times outside of what was measured: "


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """An RTX 4090 was measured with 2,048 new tokens at most; here it has up to 8,192."""
    path = tmp_path / "long.yaml"
    path.write_text(SCENARIO)
    return path


def test_run_compare_and_plan_say_how_many(hetserve: Hetserve, long: Path, tmp_path: Path) -> None:
    run = hetserve("run", long, "--out", tmp_path / "runs").stdout
    (line,) = [line for line in run.splitlines() if line.startswith(LINE)]
    assert line.endswith(" iterations, on fleets of RTX4090")
    (manifest,) = [json.loads(file.read_text()) for file in (tmp_path / "runs").rglob("manifest.json")]
    assert line.startswith(f"{LINE}{manifest['n_extrapolated']:,}, in {manifest['n_steps']:,} iterations")
    assert manifest["n_extrapolated"] > 0
    compared = hetserve("compare", long, "--out", tmp_path / "all").stdout
    assert f"{LINE}{2 * manifest['n_extrapolated']:,} in 2 of 2 runs" in compared
    rows = json.loads(hetserve("compare", tmp_path / "all", "--format", "json").stdout)["rows"]
    assert [row["n_extrapolated"] for row in rows] == [manifest["n_extrapolated"]] * 2
    assert LINE in hetserve("plan", long).stdout
    assert json.loads(hetserve("plan", long, "--json").stdout)["n_extrapolated"] > 0


def test_nothing_is_said_within_what_was_measured(hetserve: Hetserve, long: Path, tmp_path: Path) -> None:
    within = "sim.limits.max_batched_tokens=2048"
    assert LINE not in hetserve("run", long, "--set", within, "--out", tmp_path / "runs").stdout
