"""`hetserve calibrate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from scenarios.file.load import load
from scenarios.inputs.settings import make_engine, make_gpu_types
from tests.cli.conftest import Hetserve
from tests.servers import SCENARIO, measured, server_of, write_run

TRUE = {"sequence_overhead_s": 60e-6, "linear_flops_efficiency": 0.7}
FIT = ("--fit", "sequence_overhead_s", "--fit", "linear_flops_efficiency")


@pytest.fixture
def server(tmp_path: Path) -> Path:
    path = tmp_path / "server.yaml"
    path.write_text(SCENARIO)
    return path


@pytest.fixture
def run(server: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run.csv"
    write_run(measured(server_of(server), TRUE, 0, n=120), path)
    return path


def test_what_is_printed_and_written(hetserve: Hetserve, server: Path, run: Path, tmp_path: Path) -> None:
    result = hetserve("calibrate", run, "--scenario", server, *FIT, "--out", "mine.yaml")
    assert result.exit_code == 0, result.output
    for words in ("sequence_overhead_s", "95 % interval", "error", "tpot_s_p99", "Scenario: mine.yaml"):
        assert words in result.stdout
    assert "run.csv: fitted to the first 60 of 120 requests; errors are those of the others" in result.stdout
    text = (tmp_path / "mine.yaml").read_text()
    assert text.startswith("# server.yaml, calibrated: hetserve calibrate run.csv\n# run.csv: fitted to the first 60")
    assert hetserve("validate", "mine.yaml").exit_code == 0
    loaded = load("mine.yaml")
    assert make_engine(loaded).sequence_overhead_s == pytest.approx(TRUE["sequence_overhead_s"], rel=0.2)
    coefficients = make_gpu_types(loaded)["H100-SXM"].coefficients
    assert coefficients is not None
    assert coefficients.linear_flops_efficiency == pytest.approx(0.7, rel=0.1)
    before = make_gpu_types(load(str(server)))["H100-SXM"].coefficients
    assert before is not None
    assert coefficients.kv_read_efficiency == pytest.approx(before.kv_read_efficiency, rel=1e-3)
    entry = YAML(typ="safe").load(tmp_path / "mine.coefficients.yaml")["H100-SXM"]["coefficients"]
    assert entry["source"].startswith("hetserve calibrate run.csv; the rest: ")


def test_the_same_bytes_again(hetserve: Hetserve, server: Path, run: Path, tmp_path: Path) -> None:
    fit = ("calibrate", run, "--scenario", server, "--fit", "sequence_overhead_s", "--json")
    first = hetserve(*fit, "--out", "a/mine.yaml")
    assert first.exit_code == 0, first.output
    (one,) = json.loads(first.stdout)["parameters"]
    assert one["low"] < one["value"] < one["high"]
    assert hetserve(*fit, "--out", "b/mine.yaml").stdout == first.stdout
    assert (tmp_path / "a/mine.yaml").read_bytes() == (tmp_path / "b/mine.yaml").read_bytes()
    again = hetserve(*fit, "--out", "a/mine.yaml")
    assert (again.exit_code, "exists already" in again.output) == (2, True)


def test_paths_of_a_scenario_stay(hetserve: Hetserve, server: Path, run: Path, tmp_path: Path) -> None:
    """A calibrated scenario in another folder names the same files."""
    (tmp_path / "more.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,10,10\n1,20,20\n")
    stream = "workload.chat={kind: trace, path: more.csv, model: Llama-3.1-8B}"
    fit = ("calibrate", run, "--scenario", server, "--fit", "sequence_overhead_s", "--set", stream)
    result = hetserve(*fit, "--out", "there/mine.yaml")
    assert result.exit_code == 0, result.output
    assert YAML(typ="safe").load(tmp_path / "there/mine.yaml")["workload"]["chat"]["path"] == "../more.csv"
    assert hetserve("validate", "there/mine.yaml").exit_code == 0


def test_the_all_reduce_of_a_host(hetserve: Hetserve, tmp_path: Path) -> None:
    two = SCENARIO.replace("H100-SXM: {available: 1}", "L40S: {available: 2}").replace("Llama-3.1-8B", "Qwen3-32B")
    (tmp_path / "two.yaml").write_text(two)
    server = server_of(tmp_path / "two.yaml")
    assert server.tp == 2
    write_run(measured(server, {"allreduce_latency_s": 80e-6}, 0, n=60, rate_rps=1.0), tmp_path / "run.csv")
    fit = ("calibrate", "run.csv", "--scenario", "two.yaml", "--fit", "allreduce_latency_s")
    result = hetserve(*fit, "--out", "mine.yaml")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "mine.coefficients.yaml").exists()
    cost = make_gpu_types(load("mine.yaml"))["L40S"].allreduce[2]
    before = make_gpu_types(load("two.yaml"))["L40S"].allreduce[2]
    assert cost.latency_s == pytest.approx(80e-6, rel=0.15)
    assert cost.bandwidth_bytes_per_s == pytest.approx(before.bandwidth_bytes_per_s, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--fit", "step_overhed_s"), "unknown parameter 'step_overhed_s': did you mean 'step_overhead_s'?"),
        (("--fit", "allreduce_latency_s"), "with tp 1 there is no all-reduce"),
        (("--set", "planning.budget_usd_per_h=0.1"), "no feasible plan"),
        (("--set", "sim.engine.frontend_s=-1"), "sim.engine.frontend_s"),
        (("--fit", "kv_read_efficiency", "--set", "sim.service_time={kind: table, path: t.csv}"), "t.csv"),
    ],
)
def test_mistakes_are_messages(
    hetserve: Hetserve, server: Path, run: Path, options: tuple[str, ...], said: str
) -> None:
    result = hetserve("calibrate", run, "--scenario", server, *options)
    assert result.exit_code in (2, 3)
    assert said in result.output


def test_too_little_is_said(hetserve: Hetserve, server: Path, run: Path) -> None:
    run.write_text("".join(run.read_text().splitlines(keepends=True)[:30]))
    result = hetserve("calibrate", run, "--scenario", server)
    assert result.exit_code == 2
    assert "too little is measured to fit 3 parameters" in result.stderr
