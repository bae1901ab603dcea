from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from ruamel.yaml import YAML

from scenarios.file.yaml_lines import parse_value
from sim import gpu_type
from tests.cli.conftest import Hetserve
from tests.unit.sim.timing.test_fit import made_rows

GPUS = ("A100-SXM-80GB", "H100-SXM")
TABLE = """
sim: {service_time: {kind: table, path: times.csv}}
"""


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Iterations of two GPU types, timed by the compact model."""
    return pl.concat([made_rows(gpu_type(name)) for name in GPUS]).drop("row")


@pytest.fixture
def times(rows: pl.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "times.csv"
    rows.write_csv(path)
    return path


def test_fit_prints_errors_and_writes_coefficients(hetserve: Hetserve, times: Path, tmp_path: Path) -> None:
    result = hetserve("profile", "fit", times, "--gpu", "H100-SXM", "--out", tmp_path / "out" / "found.yaml")
    assert result.exit_code == 0, result.output
    for word in ("Errors of the fit", "H100-SXM", "decode", "prefill", "worst rows"):
        assert word in result.stdout
    assert "A100" not in result.stdout
    (entry,) = YAML(typ="safe").load(tmp_path / "out/found.yaml").values()
    found, known = entry["coefficients"], gpu_type("H100-SXM").coefficients
    assert known is not None
    assert found["source"] == "hetserve profile fit times.csv --gpu H100-SXM"
    assert found["kv_read_efficiency"] == pytest.approx(known.kv_read_efficiency, rel=0.02)
    assert found["mixed_kv_read_efficiency"] is None
    assert set(found["allreduce"]) == {2, 4, 8}
    assert found["domain"]["max_decodes"] == 256
    again = hetserve("profile", "fit", times, "--out", tmp_path / "out" / "found.yaml")
    assert (again.exit_code, "exists already" in again.output) == (2, True)


def test_check_holds_out_models_and_gpus(hetserve: Hetserve, times: Path) -> None:
    result = hetserve("profile", "check", times)
    assert result.exit_code == 0, result.output
    for title in ("Fitted to all rows", "Fitted to the other models", "Datasheet and medians"):
        assert title in result.stdout
    alone = hetserve("profile", "check", times, "--gpu", "H100-SXM")
    assert "Datasheet" not in alone.stdout
    assert "nothing to hold out: Datasheet" in alone.stderr


def test_what_is_left_out_is_said(hetserve: Hetserve, rows: pl.DataFrame, times: Path) -> None:
    others = rows.head(3).with_columns(gpu=pl.Series(["TPUv5", "L40S", "H100-SXM"]))
    flags = pl.Series([None, None, "2023_software_stack"])
    pl.concat([rows, others.with_columns(flag=flags)]).write_csv(times)
    result = hetserve("profile", "fit", times)
    assert result.exit_code == 0
    assert "left out: 1 rows: GPU type TPUv5 is not in the catalog" in result.stderr
    assert "left out: 1 rows: GPU type L40S has fewer than 12" in result.stderr
    assert "left out: 1 rows: flag 2023_software_stack" in result.stderr


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (("phase", "phases"), (), "no column 'phase'; did you mean 'phases'?"),
        (("decode", "decoding"), (), "unknown phase 'decoding': did you mean 'decode'?"),
        (("H100-SXM", "H100-SXM"), ("--gpu", "H100"), "unknown GPU type in times.csv 'H100': did you mean 'H100-SXM'?"),
        (("H100-SXM", "H1"), ("--gpu", "H1"), "unknown GPU type in times.csv 'H1'"),
        (("-SXM", "-X"), (), "no GPU type has the 12 usable rows"),
    ],
)
def test_mistakes_are_messages(
    hetserve: Hetserve, times: Path, change: tuple[str, str], options: tuple[str, ...], said: str
) -> None:
    times.write_text(times.read_text().replace(*change))
    result = hetserve("profile", "fit", times.name, *options)
    assert (result.exit_code, said in result.output) == (2, True), result.output


def test_a_scenario_on_a_table(hetserve: Hetserve, rows: pl.DataFrame, times: Path, small: Path) -> None:
    """The plan rents what the table has; the resolved scenario finds the table from anywhere."""
    rows.filter(pl.col("gpu") == "H100-SXM", pl.col("tp") == 1).with_columns(model=pl.lit("Llama-3-8B")).write_csv(
        times
    )
    small.write_text(small.read_text() + TABLE)
    result = hetserve("run", small, "--out", "out")
    assert result.exit_code == 0, result.output
    assert "H100-SXM tp1" in result.stdout
    assert "4090" not in result.stdout
    (resolved,) = Path("out").rglob("scenario.resolved.yaml")
    assert parse_value(resolved.read_text())["sim"]["service_time"]["path"] == str(times)
    assert hetserve("run", resolved, "--out", "again").exit_code == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("times.csv", "time.csv", "sim.service_time.path: no such file"),
        ("kind: table", "kind: tabel", "sim.service_time.kind: unknown kind 'tabel': did you mean 'table'?"),
        ("path: times.csv", "file: times.csv", "sim.service_time.file: unknown key: known: gpu, kind, model, path"),
        ("kind: table, path: times.csv", "network_bandwith_gb_per_s: 1", "did you mean 'network_bandwidth_gb_per_s'"),
        ("path: times.csv", "path: small.yaml", "small.yaml: "),
        ("path: times.csv", "path: times.csv, tp: 1", "has a column 'tp' of its own"),
    ],
)  # fmt: skip
def test_mistakes_in_a_scenario(hetserve: Hetserve, times: Path, small: Path, old: str, new: str, said: str) -> None:
    small.write_text(small.read_text() + TABLE.replace(old, new))
    result = hetserve("validate", small)
    assert (result.exit_code, said in result.output) == (2, True), result.output


def test_without_a_kind_it_is_compact(hetserve: Hetserve, small: Path) -> None:
    small.write_text(small.read_text() + "\nsim: {service_time: {network_bandwidth_gb_per_s: 1}}\n")
    assert hetserve("validate", small).exit_code == 0


def test_kernels_can_be_fitted(hetserve: Hetserve, tmp_path: Path) -> None:
    pytest.importorskip("aiconfigurator_core", reason="not run: aiconfigurator-core is not installed")
    result = hetserve("profile", "kernels", "--gpu", "A100-SXM-80GB", "--out", tmp_path / "kernels.csv")
    assert result.exit_code == 0, result.output
    assert "has no times of gpt-oss-120b" in result.stderr
    fitted = hetserve("profile", "fit", tmp_path / "kernels.csv", "--out", tmp_path / "found.yaml")
    assert fitted.exit_code == 0, fitted.output
    found = YAML(typ="safe").load(tmp_path / "found.yaml")["A100-SXM-80GB"]["coefficients"]
    assert set(found["experts"]["bf16"]) == {"weight_read_efficiency", "flops_efficiency", "layer_overhead_us"}
    known = gpu_type("A100-SXM-80GB").coefficients
    assert known is not None
    assert found["layer_overhead_us"] == pytest.approx(1e6 * known.layer_overhead_s), "dense bf16 is kept"
    unknown = hetserve("profile", "kernels", "--gpu", "A40", "--out", tmp_path / "other.csv")
    assert unknown.exit_code != 0
    assert "A40" in unknown.output


OWN = """\
schema_version: 1
name: own
cluster:
  gpus:
    X1:
      available: 1
      usd_per_h: 2
      datasheet:
        {memory_gib: 141, bf16_tflops: 989, fp8_tflops: 1979, memory_bandwidth_gb_per_s: 4800,
         link_bandwidth_gb_per_s: 450}
models:
  House-8B: {n_layers: 32, hidden_size: 4096, n_heads: 32, n_kv_heads: 8, head_dim: 128, ffn_size: 14336,
             vocab_size: 128256, max_context_tokens: 131072, source: ours}
workload:
  chat: {kind: azure_conv_like, model: House-8B, n_requests: 20, rate_rps: 1}
planning: {budget_usd_per_h: 9}
planners: [homogeneous]
"""

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}


def test_models_and_gpus_of_a_scenario(hetserve: Hetserve, rows: pl.DataFrame, tmp_path: Path) -> None:
    """The same as with the names of the catalog."""
    llama = rows.filter(pl.col("gpu") == "H100-SXM", pl.col("model") == "llama-3.1-8b")
    llama.with_columns(gpu=pl.lit("X1"), model=pl.lit("House-8B")).write_csv(tmp_path / "own.csv")
    (tmp_path / "own.yaml").write_text(OWN)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    alone = hetserve("profile", "fit", "own.csv")
    assert "GPU type X1 is not in the catalog" in alone.stderr
    result = hetserve("profile", "fit", "own.csv", "--scenario", "own.yaml", "--out", "found.yaml")
    assert result.exit_code == 0, result.output
    found = YAML(typ="safe").load(tmp_path / "found.yaml")["X1"]["coefficients"]
    assert found["basis"] == "fitted"
    assert found["fit_error"]["decode_mape_pct"] < 2
    (tmp_path / "sheets.yaml").write_text(
        json.dumps({"X1": YAML(typ="safe").load(OWN)["cluster"]["gpus"]["X1"]["datasheet"]})
    )
    options = ("--datasheet", "sheets.yaml", "--config", "House-8B=config.json")
    by_config = hetserve("profile", "fit", "own.csv", *options, "--out", "again.yaml")
    assert by_config.exit_code == 0, by_config.output
    assert (tmp_path / "again.yaml").read_text() == (tmp_path / "found.yaml").read_text()
    wrong = hetserve("profile", "fit", "own.csv", "--config", "config.json")
    assert (wrong.exit_code, "write NAME=FILE" in wrong.output) == (2, True)
