"""GPU types and models that the catalog does not have: from a datasheet, from coefficients, from a directory."""

from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl
import pytest

from scenarios.file.load import load
from scenarios.file.schema.sim import Limits
from scenarios.inputs.settings import make_gpu_types
from sim import CompactServiceTime, GpuType, ReplicaLimits, ReplicaSpec, gpu_type, model_spec
from sim.catalog.datasheet import extrapolate, fitted
from sim.catalog.gpus import AllReduce
from sim.catalog.read import Catalog
from sim.kv_cache import kv_blocks
from tests.cli.conftest import Hetserve
from tests.unit.sim.timing.test_fit import made_rows

SHEET = "{memory_gib: 141, bf16_tflops: 989.4, memory_bandwidth_gb_per_s: 4800, link_bandwidth_gb_per_s: 450}"
SCENARIO = """schema_version: 1
name: own
cluster:
  gpus:
    X1: {offer}
workload:
  chat: {kind: azure_conv_like, model: Llama-3.1-8B, n_requests: 20, rate_rps: 2}
planning: {budget_usd_per_h: 20}
planners: [milp]
"""
ENTRY = """X1:
  hardware:
    memory_gib: 48
    peak_bf16_tflops: 400
    memory_bandwidth_gb_per_s: 1000
    link_bandwidth_gb_per_s: 32
    gpus_per_node: 4
    source: mine
  price: {usd_per_h: 0.5, source: mine}
"""
MODEL = """small:
  n_layers: 12
  hidden_size: 2048
  n_heads: 16
  n_kv_heads: 4
  head_dim: 128
  ffn_size: 8192
  vocab_size: 32000
  max_context_tokens: 8192
  source: mine
"""


def write(folder: Path, offer: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(SCENARIO.replace("{offer}", offer.replace("SHEET", SHEET)))
    return path


def test_a_gpu_by_its_datasheet(hetserve: Hetserve, tmp_path: Path) -> None:
    path = write(tmp_path, "{available: 2, usd_per_h: 3, datasheet: SHEET}")
    gpu = make_gpu_types(load(str(path)))["X1"]
    assert (gpu.usd_per_h, gpu.memory_bytes, gpu.gpus_per_node) == (3, 141 * 2**30, 8)
    assert (gpu.formats, gpu.max_seqs) == (("bf16",), 1024)
    assert gpu.coefficients == extrapolate(gpu, fitted(Catalog.default().gpus))
    result = hetserve("run", path, "--out", tmp_path / "runs")
    assert result.exit_code == 0, result.output
    (kept,) = (tmp_path / "runs").rglob("scenario.resolved.yaml")
    assert make_gpu_types(load(str(kept)))["X1"] == gpu


def test_a_case_with_memory_and_price_of_a_gpu_in_the_catalog(hetserve: Hetserve, tmp_path: Path) -> None:
    path = write(tmp_path, "{available: 4, usd_per_h: 2.99, memory_gib: 100}")
    path.write_text(path.read_text().replace("X1:", "MI300X:"))
    gpu = make_gpu_types(load(str(path)))["MI300X"]
    assert (gpu.usd_per_h, gpu.memory_bytes) == (2.99, 100 * 2**30)
    assert gpu.coefficients is not None
    assert gpu.coefficients.basis == "extrapolated"
    assert hetserve("plan", path).exit_code == 0


def host(folder: Path, said: str) -> GpuType:
    """L40S in a scenario that says this of its all-reduces."""
    path = write(folder, f"{{available: 4{said}}}")
    path.write_text(path.read_text().replace("X1:", "L40S:"))
    return make_gpu_types(load(str(path)))["L40S"]


def test_an_all_reduce_is_a_fact_of_the_host(tmp_path: Path) -> None:
    measured = host(tmp_path, "").allreduce
    assert measured == dict(gpu_type("L40S").coefficients.allreduce)  # type: ignore[union-attr]
    without = host(tmp_path, ", peer_to_peer: false").allreduce
    assert without[2] == AllReduce(20e-6, 14e9)
    assert without[4] == AllReduce(pytest.approx(40e-6), 5.1e9), "NCCL among four is slower than that"
    assert without[8] == AllReduce(pytest.approx(60e-6), 1.6e9)
    own = host(
        tmp_path, ", allreduce: {2: {latency_us: 30, bandwidth_gb_s: 10}, 3: {latency_us: 1, bandwidth_gb_per_s: 2}}"
    )
    assert own.allreduce == {**measured, 2: AllReduce(pytest.approx(30e-6), 10e9), 3: AllReduce(1e-6, 2e9)}
    assert own.coefficients == gpu_type("L40S").coefficients
    model = model_spec("Qwen3-32B")
    specs = [ReplicaSpec.uniform(model, gpu, tp=2) for gpu in (gpu_type("L40S"), own)]
    base_s, own_s = (CompactServiceTime().stage_times(spec)[0].decode(128)[0] for spec in specs)
    n_bytes = 128 * 2 * model.hidden_size
    assert own_s - base_s == pytest.approx(128 * (30e-6 + n_bytes / 10e9 - measured[2].time_s(2, n_bytes)))


def test_geforce_cards_have_no_peer_to_peer_access(tmp_path: Path) -> None:
    gpu = gpu_type("RTX4090")
    assert (gpu.peer_to_peer, gpu.allreduce[2]) == (False, AllReduce(20e-6, 14e9))
    path = write(tmp_path, "{available: 4, peer_to_peer: true}")
    path.write_text(path.read_text().replace("X1:", "RTX4090:"))
    patched = make_gpu_types(load(str(path)))["RTX4090"]
    assert patched.allreduce == dict(gpu.coefficients.allreduce)  # type: ignore[union-attr]


@pytest.mark.parametrize("said", ["peer_to_peer: false", "allreduce: {2: {latency_us: 20, bandwidth_gb_s: 14}}"])
def test_a_table_holds_its_all_reduces(hetserve: Hetserve, tmp_path: Path, said: str) -> None:
    made_rows(gpu_type("L40S")).drop("row").write_csv(tmp_path / "times.csv")
    path = write(tmp_path, f"{{available: 2, {said}}}")
    times = "sim: {service_time: {kind: table, path: times.csv}}\n"
    path.write_text(path.read_text().replace("X1:", "L40S:") + times)
    result = hetserve("validate", path)
    assert result.exit_code == 2
    assert f"own.yaml:5 cluster.gpus.L40S.{said.partition(':')[0]}: changes nothing" in result.stderr


def test_the_reserve_of_memory(hetserve: Hetserve, tmp_path: Path) -> None:
    path = write(tmp_path, "{available: 2}")
    path.write_text(path.read_text().replace("X1:", "RTX4090:") + "sim: {limits: {reserve_bytes: 0}}\n")
    scenario = load(str(path)).scenario
    limits = ReplicaLimits(**scenario.sim.limits.model_dump())
    spec = ReplicaSpec.uniform(model_spec("Llama-3.1-8B"), gpu_type("RTX4090"), limits=limits)
    assert kv_blocks(spec) - 2588 in (1.578 * 1024 // 2, 1.578 * 1024 // 2 + 1)
    assert Limits().reserve_bytes == ReplicaLimits().reserve_bytes
    wrong = hetserve("plan", path, "--set", "sim.limits.reserve_bytes=-1")
    assert wrong.exit_code == 2
    assert "sim.limits.reserve_bytes" in wrong.stderr


@pytest.mark.parametrize(
    ("offer", "said"),
    [
        ("{available: 2, usd_per_h: 1, allreduce: {2: {latency_us: 20}}}", "allreduce.2.bandwidth_gb"),
        ("{available: 2, usd_per_h: 1, allreduce: {1: {latency_us: 20, bandwidth_gb_s: 1}}}", "allreduce.1"),
        ("{available: 2, usd_per_h: 1, allreduce: {2: {latency: 20, bandwidth_gb_s: 1}}}", "latency_us"),
        ("{available: 2}", "own.yaml:5 cluster.gpus.X1: unknown GPU type 'X1'"),
        ("{available: 2, usd_per_h: 1, memory_gib: 9}", "nothing is known of how fast 'X1' is"),
        ("{available: 2, usd_per_h: 1, memory_gib: 9}", "give its datasheet, or sim.service_time"),
        ("{available: 2, datasheet: SHEET}", "own.yaml:5 cluster.gpus.X1.usd_per_h: is missing"),
        ("{available: 2, usd_per_h: 1, datasheet: {memory_gb: 3}}", "datasheet.memory_gb: unknown key: did you"),
        ("{available: 2, usd_per_h: 1, datasheet: {formats: [fp9]}}", "unknown number format 'fp9': did you mean"),
        ("{available: 2, usd_per_h: 1, coefficients: c.yaml}", "own.yaml:5 cluster.gpus.X1.coefficients: no such file"),
        ("{available: 2, usd_per_h: 1, datasheet: SHEET, coefficients: own.yaml}", "own.yaml:1 schema_version"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_gpu(hetserve: Hetserve, tmp_path: Path, offer: str, said: str) -> None:
    result = hetserve("validate", write(tmp_path, offer))
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("times", ["{kind: table, path: times.csv}", "{kind: aiconfigurator}"])
def test_a_gpu_that_measured_times_do_not_know(hetserve: Hetserve, tmp_path: Path, times: str) -> None:
    made_rows(gpu_type("L40S")).drop("row").write_csv(tmp_path / "times.csv")
    path = write(tmp_path, "{available: 2, usd_per_h: 1, memory_gib: 90}\n    L40S: {available: 2}")
    path.write_text(path.read_text() + f"sim: {{service_time: {times}}}\n")
    result = hetserve("validate", path)
    assert result.exit_code == 2
    assert "nothing is known of how fast 'X1' is" in result.stderr


def test_measured_and_fitted_outside_of_the_catalog(hetserve: Hetserve, tmp_path: Path) -> None:
    """What `profile fit --datasheet` writes is what a scenario takes."""
    h200 = gpu_type("H200-SXM")
    made_rows(h200).drop("row").with_columns(gpu=pl.lit("X1")).write_csv(tmp_path / "times.csv")
    (tmp_path / "sheets.yaml").write_text(f"X1: {SHEET}\n")
    unknown = hetserve("profile", "fit", tmp_path / "times.csv")
    assert "GPU type X1 is not in the catalog" in unknown.stderr
    options = ("--datasheet", tmp_path / "sheets.yaml", "--out", tmp_path / "found.yaml")
    result = hetserve("profile", "fit", tmp_path / "times.csv", *options)
    assert result.exit_code == 0, result.output
    path = write(tmp_path, "{available: 2, usd_per_h: 3, datasheet: SHEET, coefficients: found.yaml}")
    found, true = make_gpu_types(load(str(path)))["X1"].coefficients, h200.coefficients
    assert found is not None
    assert true is not None
    assert found.basis == "fitted"
    assert found.domain == true.domain
    assert found.source == "hetserve profile fit times.csv --gpu X1"
    assert found.weight_read_efficiency == pytest.approx(true.weight_read_efficiency, rel=0.05)
    assert [tp for tp, _ in found.allreduce] == [2, 4, 8]
    assert hetserve("plan", path).exit_code == 0
    path.write_text(path.read_text().replace("X1:", "X2:"))
    assert "found.yaml: has no coefficients of GPU type 'X2': known: X1" in hetserve("validate", path).stderr
    wrong = write(tmp_path, "{available: 2, usd_per_h: 3, coefficients: found.yaml}")
    assert "give its datasheet beside them" in hetserve("validate", wrong).stderr


def test_coefficients_of_a_gpu_in_the_catalog(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("L40S: {coefficients: {kv_read_efficiency: 0.5, source: mine}}\n")
    path = write(tmp_path, "{}")
    path.write_text(path.read_text().replace("X1: {}", "L40S: {available: 2, coefficients: c.yaml}"))
    c = make_gpu_types(load(str(path)))["L40S"].coefficients
    assert c is not None
    assert (c.kv_read_efficiency, c.basis, c.source) == (0.5, "extrapolated", "mine")


@pytest.mark.parametrize("by", ["scenario", "environment"])
def test_a_catalog_of_ones_own(hetserve: Hetserve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/gpus.yaml").write_text(ENTRY)
    (tmp_path / "mine/models.yaml").write_text(MODEL)
    path = write(tmp_path, "{available: 2}")
    text = path.read_text().replace("Llama-3.1-8B", "small")
    if by == "scenario":
        path.write_text(text + "catalog: mine\n")
    else:
        path.write_text(text)
        monkeypatch.setenv("HETSERVE_CATALOG", os.fspath(tmp_path / "mine"))
        assert "X1" in hetserve("list", "gpus").stdout
        assert "small" in hetserve("list", "models").stdout
    result = hetserve("run", path, "--out", tmp_path / "runs")
    assert result.exit_code == 0, result.output
    monkeypatch.delenv("HETSERVE_CATALOG", raising=False)
    (kept,) = (tmp_path / "runs").rglob("scenario.resolved.yaml")
    assert make_gpu_types(load(str(kept)))["X1"].usd_per_h == 0.5
    assert load(str(kept)).catalog.model("small").n_layers == 12


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("gpus.yaml", "peak_bf16_tflops", "peak_tflops", "gpus.yaml:4 X1.hardware.peak_tflops: unknown key: "),
        ("gpus.yaml", "48", "-48", "gpus.yaml:3 X1.hardware.memory_gib: input should be greater than 0, not -48"),
        ("gpus.yaml", "usd_per_h: 0.5, ", "", "gpus.yaml:9 X1.price.usd_per_h: is missing"),
        ("gpus.yaml", "X1:", "X1", "mine/gpus.yaml:"),
        ("gpus.yaml", ENTRY, "", "gpus.yaml: must have an entry at least"),
        ("models.yaml", "n_layers: 12", "n_layers: many", "models.yaml:2 small.n_layers: input should be a valid"),
        ("models.yaml", "source: mine", "source: mine\n  precision: fp9", "models.yaml:11 small.precision: unknown"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_catalog(
    hetserve: Hetserve, tmp_path: Path, file: str, old: str, new: str, said: str
) -> None:
    (tmp_path / "mine").mkdir()
    for name, text in (("gpus.yaml", ENTRY), ("models.yaml", MODEL)):
        (tmp_path / "mine" / name).write_text(text.replace(old, new) if name == file else text)
    path = write(tmp_path, "{available: 2}")
    path.write_text(path.read_text() + "catalog: mine\n")
    result = hetserve("validate", path)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_catalog_that_is_not_there(hetserve: Hetserve, tmp_path: Path) -> None:
    path = write(tmp_path, "{available: 2}")
    path.write_text(path.read_text() + "catalog: mine\n")
    assert "own.yaml:10 catalog: no such directory" in hetserve("validate", path).stderr
    (tmp_path / "mine").mkdir()
    assert "has neither gpus.yaml nor models.yaml" in hetserve("validate", path).stderr


def test_tables_say_what_service_times_rest_on(hetserve: Hetserve, tmp_path: Path) -> None:
    """In the plan, the run, kept runs, the explanation and the report; fitted ones need no mark."""
    path = write(tmp_path, "{available: 1, usd_per_h: 1, datasheet: SHEET}\n    L40S: {available: 1}")
    words = "(* service times extrapolated from the datasheet)"
    runs = tmp_path / "runs"
    commands = (("plan", path), ("run", path, "--out", runs), ("compare", runs), ("explain", path))
    for command in commands:
        said = hetserve(*command).stdout
        assert words in said, command
        assert "X1*" in said, command
        assert "L40S*" not in said, command
    (kept,) = runs.rglob("manifest.json")
    assert json.loads(kept.read_text())["basis"] == {"X1": "extrapolated", "L40S": "fitted"}
    only = write(tmp_path, "{available: 1}")
    only.write_text(only.read_text().replace("X1:", "L40:"))
    assert "L40*" in hetserve("plan", only).stdout
    made_rows(gpu_type("L40")).drop("row").write_csv(tmp_path / "times.csv")
    measured = hetserve("plan", only, "--set", "sim.service_time={kind: table, path: times.csv}")
    assert measured.exit_code == 0, measured.output
    assert "L40*" not in measured.stdout
