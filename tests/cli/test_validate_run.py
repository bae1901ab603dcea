from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from scenarios.study.closed_loop import serve_closed_loop
from sim import CompactServiceTime, Deployment, ReplicaLimits, ReplicaSpec, gpu_type, model_spec, simulate
from sim.slo import E2E_S, TPOT_S, TTFT_S
from tests.cli.conftest import Hetserve
from traces import azure_conv_like

LIMITS = ReplicaLimits(kv_blocks=2588, max_batched_tokens=2048, max_seqs=256, reserve_whole_prompt=False)
SPEC = ReplicaSpec.uniform(model_spec("Llama-3.1-8B"), gpu_type("RTX4090"), limits=LIMITS)
SERVER = [
    "--model=Llama-3.1-8B",
    "--gpu=RTX4090",
    "--tp=1",
    "--engine=ideal",
    "--kv-blocks=2588",
    "--max-batched-tokens=2048",
    "--max-seqs=256",
    "--no-prefix-caching",
    "--no-reserve-whole-prompt",
]
LOG = """\
INFO [api_server.py:1839] vLLM API server version 0.19.1
INFO [utils.py:278] non-default args: {'model': 'meta-llama/Llama-3.1-8B-Instruct'}
INFO [core.py:112] Initializing a V1 LLM engine (v0.19.1) with config: model='meta-llama/Llama-3.1-8B-Instruct', \
tensor_parallel_size=1, enable_prefix_caching=True
INFO [kv_cache_utils.py:1733] GPU KV cache size: 41,408 tokens
"""


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A run that was measured on the simulator itself."""
    trace = azure_conv_like(60, seed=3, rate_rps=2, model=SPEC.model.name)
    result = simulate(Deployment(((SPEC, 1),)), trace, service_time=CompactServiceTime())
    columns = result.requests.select(
        "arrival_s",
        "output_tokens",
        input_tokens="prompt_tokens",
        real_ttft_s=TTFT_S,
        real_tpot_ms=1e3 * TPOT_S,
        real_e2e_s=E2E_S,
    )
    path = tmp_path / "measured.csv"
    columns.write_csv(path)
    return path


def rows_of(hetserve: Hetserve, *arguments: str | Path) -> list[dict[str, Any]]:
    result = hetserve("validate-run", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_a_run_of_the_simulator_is_met_exactly(hetserve: Hetserve, measured: Path) -> None:
    rows = rows_of(hetserve, measured, *SERVER)
    assert [row["figure"] for row in rows][:6] == [
        "ttft_s_mean",
        "ttft_s_p50",
        "ttft_s_p90",
        "ttft_s_p99",
        "ttft_s_largest_gap",
        "ttft_s_each",
    ]
    assert all(abs(row["error"]) < 1e-9 for row in rows if not row["figure"].endswith("gap"))
    table = hetserve("validate-run", measured, *SERVER).stdout
    assert "measured.csv on 1 x RTX4090 tp1" in table
    assert "ttft_s: largest gap between distribution functions" in table
    assert "tpot_s: mean absolute error, request by request" in table
    assert "_largest_gap" not in table
    assert "_each" not in table


def test_twice_as_slow_a_run_is_seen(hetserve: Hetserve, measured: Path) -> None:
    columns = pl.col("real_ttft_s", "real_tpot_ms", "real_e2e_s")
    pl.read_csv(measured).with_columns(columns * 2).write_csv(measured)
    errors = {row["figure"]: row["error"] for row in rows_of(hetserve, measured, *SERVER)}
    assert errors["ttft_s_mean"] == pytest.approx(-0.5)
    assert errors["e2e_s_p99"] == pytest.approx(-0.5)
    assert errors["tpot_s_each"] == pytest.approx(0.5)
    assert errors["tpot_s_largest_gap"] > 0.3


def test_nothing_is_taken_for_granted(hetserve: Hetserve, measured: Path) -> None:
    result = hetserve("validate-run", measured, "--model", "Llama-3.1-8B")
    assert result.exit_code == 2
    for needed in ("gpu: --gpu H100-SXM", "tp: --tp 1", "kv_blocks: --kv-blocks 2588", "--server-log", "--defaults"):
        assert needed in result.stderr
    assert "model:" not in result.stderr


def test_settings_of_a_log(hetserve: Hetserve, measured: Path, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text(LOG)
    stated = [
        "--model=Llama-3.1-8B",
        "--gpu=RTX4090",
        "--tp=1",
        "--engine=vllm:0.19",
        "--kv-blocks=2588",
        "--prefix-caching",
        "--defaults",
    ]
    by_log = rows_of(hetserve, measured, "--server-log", log, "--gpu", "RTX4090")
    assert by_log == rows_of(hetserve, measured, *stated)
    assert by_log != rows_of(hetserve, measured, *stated, "--kv-blocks=600")
    by_scenario = rows_of(hetserve, measured, "--scenario", "rtx4090_llama31_8b", "--server-log", log)
    assert by_scenario == by_log


def test_a_scenario_says_what_was_measured(hetserve: Hetserve, measured: Path) -> None:
    scenario = ("--scenario", "rtx4090_llama31_8b")
    ideal = ("--set", "sim.engine={name: ideal}", "--set", "sim.prefix_caching=false")
    rows = rows_of(hetserve, measured, *scenario, *ideal, "--no-reserve-whole-prompt")
    assert all(abs(row["error"]) < 1e-9 for row in rows if not row["figure"].endswith("gap"))
    result = hetserve("validate-run", measured, *scenario, "--gpu", "L40S")
    assert result.exit_code == 2
    assert "--scenario says what --gpu would say; use --set to change it" in result.stderr
    result = hetserve("validate-run", measured, *scenario, "--set", "planning.budget_usd_per_h=0.01")
    assert result.exit_code == 3


def test_missing_measurements(hetserve: Hetserve, measured: Path) -> None:
    pl.read_csv(measured).rename({"real_ttft_s": "real_ttft"}).drop("real_tpot_ms").write_csv(measured)
    result = hetserve("validate-run", measured, *SERVER)
    assert result.exit_code == 2
    assert "no column 'real_ttft_s': did you mean 'real_ttft'" in result.stderr


def test_requests_that_the_fleet_cannot_serve(hetserve: Hetserve, measured: Path) -> None:
    result = hetserve("validate-run", measured, *SERVER, "--set", "sim.limits.max_context_tokens=3500")
    assert result.exit_code == 2
    assert "did not complete all requests" in result.stderr


def test_extrapolations_are_told(hetserve: Hetserve, tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    rows = ["arrival_s,input_tokens,output_tokens,real_ttft_s,real_e2e_s", *(f"{k},30000,2,1,2" for k in range(3))]
    path.write_text("\n".join(rows) + "\n")
    server = [word for word in SERVER if "kv-blocks" not in word]
    result = hetserve("validate-run", path, *server, "--kv-blocks", "9999")
    assert result.exit_code == 0, result.stderr
    assert "service times are extrapolated: outside of what was measured of the GPU" in result.stdout


def closed_loop(concurrency: int, n: int = 40) -> dict[str, Any]:
    """What `vllm bench serve --max-concurrency` would have saved of the simulator itself."""
    prompts, outputs = np.full(n, 500), np.full(n, 50)
    served = serve_closed_loop(SPEC, prompts, outputs, concurrency, CompactServiceTime())
    ttft_s, e2e_s = served.first_token_s - served.sent_s, served.finish_s - served.sent_s
    tpot_s = (e2e_s - ttft_s) / 49
    return {
        "model_id": "meta-llama/Llama-3.1-8B-Instruct",
        "num_prompts": n,
        "request_rate": "inf",
        "max_concurrency": concurrency,
        "duration": 1.0,
        "completed": n,
        "total_input_tokens": 500 * n,
        "total_output_tokens": 50 * n,
        "output_throughput": 50 * n / float(served.finish_s.max()),
        "mean_ttft_ms": 1e3 * float(ttft_s.mean()),
        "median_tpot_ms": 1e3 * float(np.median(tpot_s)),
        "p99_e2el_ms": 1e3 * float(np.quantile(e2e_s, 0.99)),
        "input_lens": prompts.tolist(),
        "output_lens": outputs.tolist(),
        "ttfts": ttft_s.tolist(),
        "latencies": e2e_s.tolist(),
        "start_times": served.sent_s.tolist(),
        "errors": [""] * n,
    }


def test_a_closed_loop_is_simulated_as_one(hetserve: Hetserve, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(closed_loop(4)))
    server = [word for word in SERVER if "--model" not in word]
    rows = rows_of(hetserve, path, *server)
    assert all(abs(row["error"]) < 1e-9 for row in rows if not row["figure"].endswith("gap"))
    faster = rows_of(hetserve, path, *server, "--set", "sim.engine={name: ideal, step_overhead_s: 0.1}")
    assert {row["figure"]: row["error"] for row in faster}["e2e_s_mean"] > 1


def test_points_of_a_sweep(hetserve: Hetserve, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    document = closed_loop(4)
    for name in ("input_lens", "output_lens", "ttfts", "latencies", "start_times", "errors"):
        del document[name]
    path.write_text(json.dumps(document))
    rows = rows_of(hetserve, path, *SERVER)
    figures = ["output_tokens_per_s", "ttft_s_mean", "tpot_s_p50", "e2e_s_p99"]
    assert sorted(row["figure"] for row in rows) == sorted(figures)
    assert {row["load"] for row in rows} == {"4 clients, 500 + 50 tokens"}
    assert all(abs(row["error"]) < 1e-9 for row in rows)
    assert "4 clients, 500 + 50 tokens on 1 x RTX4090 tp1" in hetserve("validate-run", path, *SERVER).stdout
    path.write_text(json.dumps(document | {"request_rate": 0.2, "max_concurrency": None}))
    open_loop = {row["figure"]: row for row in rows_of(hetserve, path, *SERVER)}
    assert open_loop["ttft_s_mean"]["error"] < -0.3  # far less is to do than with four clients
    assert open_loop["output_tokens_per_s"]["error"] < -0.9
    path.write_text(json.dumps(document | {"request_rate": 2.0}))
    result = hetserve("validate-run", path, *SERVER)
    assert "how load was offered: concurrency 4 and a rate is known, one of them is needed" in result.stderr


def errors_of_the_real_run(hetserve: Hetserve, data_dir: Path, *options: str) -> dict[str, float]:
    """Of vLLM 0.19 on an RTX 4090, as that server was set: prefixes cached, whole prompts reserved."""
    replay = data_dir / "profiles/replay_rtx4090_llama31_8b_tp1.csv"
    hashes = data_dir / "profiles/replay_rtx4090_llama31_8b_tp1_prefix_hashes.json"
    rows = rows_of(hetserve, replay, "--prefix-hashes", hashes, "--scenario", "rtx4090_llama31_8b", *options)
    return {row["figure"]: row["error"] for row in rows}


CHECKED = [f"{name}_{part}" for name in ("ttft_s", "tpot_s", "e2e_s") for part in ("mean", "p50", "p99")]


@pytest.mark.data
@pytest.mark.parametrize("times", ["compact", "kernels"])
def test_real_run_of_vllm(hetserve: Hetserve, data_dir: Path, tmp_path: Path, times: str) -> None:
    """With the compact model, and with prompts and decodes as they were timed, each alone."""
    timed = pl.read_csv(data_dir / "profiles/iteration_times_slim.csv", infer_schema_length=None)
    alone = timed.filter((pl.col("gpu") == "RTX4090") & (pl.col("phase") != "mixed"))
    alone.write_csv(tmp_path / "kernels.csv")
    table = f"sim.service_time={{kind: table, path: {tmp_path / 'kernels.csv'}}}"
    errors = errors_of_the_real_run(hetserve, data_dir, *(("--set", table) if times == "kernels" else ()))
    assert {name: errors[name] for name in (*CHECKED, "makespan_s") if abs(errors[name]) > 0.03} == {}
    assert max(errors[f"{name}_each"] for name in ("ttft_s", "tpot_s", "e2e_s")) < 0.02
