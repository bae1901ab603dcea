from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from planners import planner_names
from scenarios.file.library import library_names
from scenarios.file.load import load_all
from sim import METRICS, ROUTERS, SimulationResult, gpu_names, model_names
from tests.cli.conftest import Hetserve
from traces import READERS


def test_run_keeps_everything_that_it_takes_to_run_again(hetserve: Hetserve, small: Path, tmp_path: Path) -> None:
    assert hetserve("run", small, "--out", "out").exit_code == 0
    directory = tmp_path / "out" / "scenario=small" / "planner=milp" / "seed=0"
    assert sorted(path.name for path in directory.iterdir()) == [
        "manifest.json",
        "plans.json",
        "replicas.parquet",
        "requests.parquet",
        "scenario.resolved.yaml",
        "timeline.parquet",
    ]
    again = hetserve("run", directory / "scenario.resolved.yaml", "--out", "again")
    assert again.exit_code == 0
    replayed = hetserve("run", small, "--plan", directory / "plans.json", "--out", "again")
    assert replayed.exit_code == 0
    first = SimulationResult.load(directory)
    for planner in ("milp", "given"):
        other = SimulationResult.load(tmp_path / "again" / "scenario=small" / f"planner={planner}" / "seed=0")
        assert other.requests.equals(first.requests)


def test_runs_are_one_table_for_polars(hetserve: Hetserve, small: Path) -> None:
    assert hetserve("compare", small, "--out", "out").exit_code == 0
    runs = pl.scan_parquet("out/**/requests.parquet", hive_partitioning=True).collect()
    assert runs.group_by("planner").len().sort("planner").rows() == [("homogeneous", 50), ("milp", 50)]


def test_compare_prints_json_by_the_reference_names(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("compare", small, "--format", "json", "--out", "out")
    data = json.loads(result.stdout)
    assert data["baseline"] == "homogeneous"
    for row, planner in zip(data["rows"], ("homogeneous", "milp"), strict=True):
        assert (row["scenario"], row["planner"], row["seed"], row["status"]) == ("small", planner, 0, "ok")
        assert row["metrics"].keys() == METRICS.keys()
        assert row["metrics"]["n_completed"] == 50
    read_back = hetserve("compare", "out", "--format", "json", "--baseline", "milp")
    assert json.loads(read_back.stdout) == data | {"baseline": "milp"}
    assert json.loads(hetserve("show", "out", "--json").stdout)["rows"] == data["rows"]


def test_tables_name_every_planner(hetserve: Hetserve, small: Path) -> None:
    table = hetserve("compare", small, "--out", "out").stdout
    markdown = hetserve("compare", "out", "--format", "md").stdout
    for text in (table, markdown):
        assert "homogeneous" in text
        assert "milp" in text
    assert "| homogeneous " in markdown
    assert all(metric in hetserve("show", "out").stdout for metric in ("ttft_s_p99", "kv_occupancy"))


def test_the_same_run_on_other_requests_is_told_apart_and_not_compared(
    hetserve: Hetserve, small: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "mine.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0.0,100,5\n0.5,300,5\n1.0,200,1\n")
    assert hetserve("run", small, "--trace", trace, "--reader", "csv", "--out", "traced").exit_code == 0
    assert hetserve("run", small, "--set", "planning.budget_usd_per_h=3", "--out", "cheap").exit_code == 0
    table = hetserve("compare", "traced", "cheap", "--format", "md").stdout
    assert "**What it delivers**" in table
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "|" in line]
    results = [dict(zip(cells[4], row, strict=True)) for row in cells[6:]]
    assert [row["planner"] for row in results] == ["milp, traced", "milp, cheap"]
    assert results[0]["offered req/s"] == "2.00"
    assert [row["vs milp"] for row in results] == ["+0.0 %", "-"]
    seeds = hetserve("compare", small, "--set", "seeds=[0, 1]", "--out", "seeds", "--format", "md").stdout
    assert "| offered req/s |" not in seeds
    assert re.search(r"of \d\.\d\d ± \d\.\d\d req/s offered: means over 2 seeds, ± their 95 % interval", seeds)
    once = hetserve("compare", "cheap").stdout
    assert "req/s offered" in once
    assert "cheap" not in once


def test_plan_of_the_published_example(hetserve: Hetserve) -> None:
    plan = json.loads(hetserve("plan", "paper_example", "--planner", "milp", "--json").stdout)
    assert plan["objective_name"] == "makespan"
    assert plan["objective"] == pytest.approx(28.4314, abs=1e-4)
    assert plan["bound"] == pytest.approx(plan["objective"])
    assert {row["name"]: row["count"] for row in plan["fleet"]} == {"c1": 1, "c4": 1}
    assert "cannot be simulated" in hetserve("run", "paper_example").stderr.replace(
        "can be planned, but not", "cannot be"
    )


def test_plan_says_what_is_shed(hetserve: Hetserve) -> None:
    sets = [
        "planning.objective=cost",
        "planning.shed_usd_per_request={w1: 0.01}",
        "planning.capacity.requests={w1: 9, w2: 1}",
    ]
    options = [word for one in sets for word in ("--set", one)]
    said = hetserve("plan", "paper_example", *options).stdout
    total, fleet, shed_usd_per_h = (float(n) for n in re.findall(r"([0-9.]+) \$/h(?: for|; nothing)", said))
    assert fleet + shed_usd_per_h == pytest.approx(total, rel=1e-5)
    assert f": {fleet:.2f} $/h" in said
    plan = json.loads(hetserve("plan", "paper_example", "--json", *options).stdout)
    shed = {row["type"]: row["shed_share"] for row in plan["assignment"]}
    assert 0.5 < shed["w1"] < 1
    assert shed["w2"] == 0
    assert "shed" not in hetserve("plan", "paper_example").stdout


def test_plan_writes_the_linear_program(hetserve: Hetserve, small: Path, tmp_path: Path) -> None:
    assert hetserve("plan", small, "--write-lp", "model.lp").exit_code == 0
    assert "budget" in (tmp_path / "model.lp").read_text()


def test_scenarios_apply_their_overrides(hetserve: Hetserve, small: Path, tmp_path: Path) -> None:
    result = hetserve("run", small, "--scenario", "poor_and_bursty", "--out", "out")
    assert result.exit_code == 0
    directory = tmp_path / "out" / "scenario=small+poor_and_bursty" / "planner=milp" / "seed=0"
    changes = json.loads((directory / "manifest.json").read_text())["changes"]
    assert changes[0] == "planning.budget_usd_per_h: 4 -> 1"
    assert SimulationResult.load(directory).manifest["usd_per_h"] <= 1


def test_own_trace_instead_of_the_scenarios(hetserve: Hetserve, small: Path, tmp_path: Path) -> None:
    trace = tmp_path / "mine.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0.0,100,5\n0.5,9000,5\n0.7,200,1\n")
    result = hetserve(
        "run", small, "--trace", trace, "--reader", "csv", "--json", "--out", "out", "--set", "slo.attainment=0.5"
    )
    (row,) = json.loads(result.stdout)["rows"]
    counts = {name: row["metrics"][name] for name in ("n_requests", "n_completed", "n_rejected")}
    assert counts == {"n_requests": 3, "n_completed": 2, "n_rejected": 1}


def test_a_trace_is_recognised_its_columns_named_and_what_was_done_to_it_said(
    hetserve: Hetserve, small: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "log.csv"
    trace.write_text("sent_ms,n_in,output_tokens\n1768000000500,200,1\n1768000000000,100,5\n")
    result = hetserve(
        "run", small, "--trace", trace, "--columns", "arrival_s=sent_ms,prompt_tokens=n_in", "--json", "--out", "out"
    )
    (row,) = json.loads(result.stdout)["rows"]
    assert row["metrics"]["n_completed"] == 2
    assert "Note: 1 row is earlier than one before it (row 1): sorted" in result.stderr
    (manifest,) = Path("out").rglob("manifest.json")
    kept = json.loads(manifest.read_text())
    assert kept["trace_start"] == "2026-01-09T23:06:40+00:00"
    assert len(kept["trace_notes"]) == 2


def test_a_run_that_counts_no_request_says_so(hetserve: Hetserve, small: Path, tmp_path: Path) -> None:
    result = hetserve("run", small, "--set", "sim.warmup_s=100000")
    assert "Requests: none arrived between sim.warmup_s after the first arrival" in result.stdout
    trace = tmp_path / "one.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0.0,100,5\n")
    one = ["--trace", trace, "--reader", "csv", "--set", "planning.objective=makespan"]
    assert "Requests: 1 request, 1 completed\n" in hetserve("run", small, *one, "--out", "out").stdout


def test_new_scenario_runs_as_it_is(hetserve: Hetserve) -> None:
    assert hetserve("new", "mine").exit_code == 0
    assert hetserve("validate", "mine/scenario.yaml").exit_code == 0
    again = hetserve("new", "mine")
    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert "did you mean 'demo'" in hetserve("new", "other", "--template", "dmeo").stderr


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("planners", planner_names()),
        ("gpus", gpu_names()),
        ("models", model_names()),
        ("scenarios", ("demo", "paper_70b", "paper_example", "quickstart")),
        ("readers", READERS),
        ("routers", ROUTERS),
    ],
)
def test_list_describes_each_entry(hetserve: Hetserve, what: str, names: Sequence[str]) -> None:
    result = hetserve("list", what)
    assert result.exit_code == 0
    entries = {words[0]: words for line in result.stdout.splitlines() if (words := line.split())}
    assert all(len(entries[name]) > 3 for name in names)


def test_schema_describes_every_field(hetserve: Hetserve) -> None:
    schema = json.loads(hetserve("schema").stdout)
    assert schema["properties"]["planning"]
    assert "budget" in schema["$defs"]["Planning"]["properties"]["budget_usd_per_h"]["title"].lower()


def test_doctor_finds_nothing_here(hetserve: Hetserve) -> None:
    result = hetserve("doctor")
    assert result.exit_code == 0, result.stdout
    assert "FAIL" not in result.stdout


def test_library_is_valid(hetserve: Hetserve) -> None:
    result = hetserve("validate", "demo", "quickstart", "paper_example", "drop_half_h100")
    assert result.exit_code == 0, result.stderr
    assert "drop_half_h100 is valid" in result.stdout
    for name in library_names():
        assert load_all(name)


def test_same_bytes_whatever_the_hash_seed(small: Path, tmp_path: Path) -> None:
    contents = []
    for hash_seed in ("0", "4242"):
        out = tmp_path / f"out{hash_seed}"
        command = [sys.executable, "-m", "scenarios", "compare", str(small), "--out", str(out)]
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        subprocess.run(command, check=True, capture_output=True, env=environment)
        contents.append({p.relative_to(out): p.read_bytes() for p in sorted(out.rglob("*.parquet"))})
    assert len(contents[0]) == 6
    assert contents[0] == contents[1]


def test_nothing_but_json_reaches_standard_output(tmp_path: Path) -> None:
    # As a process of its own: solvers may write below Python, where the runner of commands does not look.
    command = [sys.executable, "-m", "scenarios", "plan", "paper_example", "--planner", "milp", "--json"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    shown = subprocess.run(command, check=True, capture_output=True, env=environment, cwd=tmp_path).stdout
    assert json.loads(shown)["planner"] == "milp"


def test_runs_of_another_format_say_so(hetserve: Hetserve, small: Path) -> None:
    assert hetserve("run", small, "--out", "out").exit_code == 0
    (manifest,) = Path("out").rglob("manifest.json")
    kept = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(kept | {"format": 1, "hetserve": "0.0.1"}))
    for command in (["compare", "out"], ["show", "out"], ["plot", "out"]):
        result = hetserve(*command)
        assert result.exit_code == 2
        assert f"was kept in format 1 by hetserve 0.0.1; this one reads format {kept['format']}" in result.stderr


@pytest.mark.parametrize(
    ("folder", "name"), [("buyer", "buyer"), ("deep/our fleet", "our_fleet"), ("...", "quickstart")]
)
def test_a_new_scenario_is_called_as_its_folder(hetserve: Hetserve, folder: str, name: str) -> None:
    assert hetserve("new", folder).exit_code == 0
    assert f"\nname: {name}\n" in Path(folder, "scenario.yaml").read_text()
    assert hetserve("validate", f"{folder}/scenario.yaml").exit_code == 0
