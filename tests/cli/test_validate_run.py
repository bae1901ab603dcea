from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from sim import CompactServiceTime, Deployment, ReplicaLimits, ReplicaSpec, gpu_type, model_spec, simulate
from sim.results.metrics import E2E_S, TPOT_S, TTFT_S
from tests.cli.conftest import Hetserve
from traces import azure_conv_like


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A run that was measured on the simulator itself."""
    model = model_spec("Llama-3.1-8B")
    limits = ReplicaLimits(kv_blocks=2588, max_batched_tokens=2048, max_seqs=256, reserve_whole_prompt=False)
    spec = ReplicaSpec.uniform(model, gpu_type("RTX4090"), limits=limits)
    trace = azure_conv_like(60, seed=3, rate_rps=2, model=model.name)
    result = simulate(Deployment(((spec, 1),)), trace, service_time=CompactServiceTime())
    columns = result.requests.select(
        "arrival_s",
        "output_tokens",
        input_tokens="prompt_tokens",
        real_ttft_s=TTFT_S,
        real_tpot_ms=1e3 * TPOT_S.fill_null(0.0),
        real_e2e_s=E2E_S,
    )
    path = tmp_path / "measured.csv"
    columns.write_csv(path)
    return path


def test_a_run_of_the_simulator_is_met_exactly(hetserve: Hetserve, measured: Path) -> None:
    rows = json.loads(hetserve("validate-run", measured, "--json").stdout)
    assert [row["figure"] for row in rows][:5] == [
        "ttft_s_mean",
        "ttft_s_p50",
        "ttft_s_p90",
        "ttft_s_p99",
        "ttft_s_largest_gap",
    ]
    assert all(abs(row["error"]) < 1e-9 for row in rows if not row["figure"].endswith("gap"))
    table = hetserve("validate-run", measured).stdout
    assert "RTX4090 tp1" in table
    assert "ttft_s: largest gap between distribution functions" in table
    assert "_largest_gap" not in table


def test_twice_as_slow_a_run_is_seen(hetserve: Hetserve, measured: Path) -> None:
    columns = pl.col("real_ttft_s", "real_tpot_ms", "real_e2e_s")
    pl.read_csv(measured).with_columns(columns * 2).write_csv(measured)
    errors = {row["figure"]: row["error"] for row in json.loads(hetserve("validate-run", measured, "--json").stdout)}
    assert errors["ttft_s_mean"] == pytest.approx(-0.5)
    assert errors["e2e_s_p99"] == pytest.approx(-0.5)
    assert errors["tpot_s_largest_gap"] > 0.3


def test_missing_measurements(hetserve: Hetserve, measured: Path) -> None:
    pl.read_csv(measured).rename({"real_ttft_s": "real_ttft"}).write_csv(measured)
    result = hetserve("validate-run", measured)
    assert result.exit_code == 2
    assert "no column 'real_ttft_s': did you mean 'real_ttft'" in result.stderr


def test_requests_that_the_fleet_cannot_serve(hetserve: Hetserve, measured: Path) -> None:
    result = hetserve("validate-run", measured, "--set", "sim.limits.max_context_tokens=3500")
    assert result.exit_code == 2
    assert "did not complete all requests" in result.stderr


@pytest.mark.data
def test_real_run_of_vllm(hetserve: Hetserve, data_dir: Path) -> None:
    """Nothing is fitted to this run."""
    replay = data_dir / "profiles/replay_rtx4090_llama31_8b_tp1.csv"
    rows = json.loads(hetserve("validate-run", replay, "--json").stdout)
    errors = {row["figure"]: row["error"] for row in rows}
    checked = [f"{name}_{part}" for name in ("ttft_s", "tpot_s", "e2e_s") for part in ("mean", "p50", "p99")]
    assert {name: errors[name] for name in (*checked, "makespan_s") if abs(errors[name]) > 0.03} == {}
