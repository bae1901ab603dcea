from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from scenarios.runs.job import Job
from tests.cli.conftest import Hetserve

MATRIX = """\
matrix:
  budget: [poor, rich]
  arrivals: [calm, bursty]
seeds: [0, 1]
"""


@pytest.fixture
def grid(small: Path) -> Path:
    """Two budgets times two kinds of arrivals; the poor one affords one RTX4090."""
    text = small.read_text().replace(
        "  rich:", "  calm: {workload.chat.arrivals: {kind: poisson, rate_rps: 5}}\n  rich:"
    )
    path = small.with_name("grid.yaml")
    path.write_text(text + MATRIX)
    return path


def summary_of(said: str) -> str:
    """The last table: that of all scenarios together."""
    return said[said.index("What ") :]


def test_a_matrix_is_run_with_all_combinations(hetserve: Hetserve, grid: Path) -> None:
    result = hetserve("compare", grid, "--out", "one", "--format", "json")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    names = [f"small+{budget}-{arrivals}" for budget in ("poor", "rich") for arrivals in ("calm", "bursty")]
    assert [(row["scenario"], row["seed"], row["planner"]) for row in rows] == [
        (name, seed, planner) for name in names for seed in (0, 1) for planner in ("homogeneous", "milp")
    ]
    spread = hetserve("compare", grid, "--out", "two", "--format", "json", "--jobs", "2")
    assert [row["metrics"] for row in json.loads(spread.stdout)["rows"]] == [row["metrics"] for row in rows]


def test_of_several_scenarios_the_table_says_what_the_baseline_gains(hetserve: Hetserve, grid: Path) -> None:
    assert hetserve("batch", grid, "--out", "out").stdout == "16 ok: out\n"
    table = hetserve("compare", "out", "--baseline", "milp").stdout
    assert "What milp gains" in table
    assert "small+rich-bursty, of " in table
    assert "What it costs" in table
    assert "pace under load" not in table  # requests come one after the other
    line = next(line for line in summary_of(table).splitlines() if line.strip().startswith("homogeneous"))
    assert line.split()[1:4] == ["4", "of", "4"]  # scenarios


def test_scenarios_without_a_run_are_counted_too(hetserve: Hetserve, grid: Path) -> None:
    grid.write_text(grid.read_text().replace("{planning.budget_usd_per_h: 1}", "{planning.budget_usd_per_h: 0.1}"))
    table = hetserve("compare", grid, "--out", "out", "--baseline", "milp").stdout
    line = next(line for line in summary_of(table).splitlines() if line.strip().startswith("homogeneous"))
    assert line.split()[1:4] == ["2", "of", "4"]


def test_a_scenario_counts_where_a_planner_has_all_seeds(hetserve: Hetserve, grid: Path) -> None:
    """Before, one of two seeds was enough."""
    assert hetserve("batch", grid, "--out", "out").exit_code == 0
    shutil.rmtree("out/scenario=small+rich-calm/planner=homogeneous/seed=1")
    table = summary_of(hetserve("compare", "out", "--baseline", "milp").stdout)
    line = next(line for line in table.splitlines() if line.strip().startswith("homogeneous"))
    assert line.split()[1:4] == ["3", "of", "4"]


def test_a_matrix_in_two_directories_is_refused(hetserve: Hetserve, grid: Path) -> None:
    for out in ("one", "two"):
        assert hetserve("compare", grid, "--set", "seeds=[0]", "--out", out).exit_code == 0
    result = hetserve("compare", "one", "two")
    assert result.exit_code == 2
    run = "scenario=small+poor-bursty/planner=homogeneous/seed=0"
    assert f"is there twice: in one/{run} and in two/{run}" in result.stderr


def test_the_first_planner_of_the_file_is_the_baseline_of_directories_too(hetserve: Hetserve, grid: Path) -> None:
    """Although it comes last by name."""
    grid.write_text(grid.read_text().replace("planners: [homogeneous, milp]", "planners: [uniform, milp, greedy]"))
    made = hetserve("compare", grid, "--out", "out").stdout
    assert "What uniform gains" in made
    assert summary_of(hetserve("compare", "out").stdout) == summary_of(made)
    assert [row["planner"] for row in json.loads(hetserve("show", "out", "--json").stdout)["rows"]] == [
        planner for planner in ("uniform", "milp", "greedy") for _ in range(8)
    ]


def test_resume_makes_the_missing_runs_only(hetserve: Hetserve, grid: Path, tmp_path: Path) -> None:
    hetserve("batch", grid, "--out", "out")
    directories = sorted((tmp_path / "out").glob("*/*/*"))
    manifests = [directory / "manifest.json" for directory in directories]
    written = [path.stat().st_mtime_ns for path in manifests]
    contents = [path.read_bytes() for path in manifests]
    assert "--resume" in hetserve("batch", grid, "--out", "out").stderr  # says how to go on
    manifests[3].unlink()
    assert hetserve("batch", grid, "--out", "out", "--resume").stdout == "16 ok: out\n"
    again = [path.stat().st_mtime_ns for path in manifests]
    assert [new != old for new, old in zip(again, written, strict=True)] == [i == 3 for i in range(16)]
    for path, old in zip(manifests, contents, strict=True):
        new, before = json.loads(path.read_bytes()), json.loads(old)
        for manifest in (new, before):
            del manifest["plan"]["solve_s"], manifest["checksums"]
        assert new == before


def test_resume_refuses_runs_of_another_version_of_the_scenario(hetserve: Hetserve, grid: Path) -> None:
    hetserve("batch", grid, "--scenario", "poor-calm", "--out", "out")
    grid.write_text(grid.read_text().replace("ttft_s: 1", "ttft_s: 2"))
    result = hetserve("batch", grid, "--scenario", "poor-calm", "--out", "out", "--resume")
    assert result.exit_code == 2
    assert "another version of the scenario (slo.ttft_s: 1.0 -> 2.0)" in result.stderr


def test_resume_takes_in_new_planners_and_seeds_but_not_new_options(
    hetserve: Hetserve, grid: Path, tmp_path: Path
) -> None:
    hetserve("batch", grid, "--scenario", "poor-calm", "--out", "out")
    kept = sorted((tmp_path / "out").glob("*/*/*/manifest.json"))
    written = [path.stat().st_mtime_ns for path in kept]
    text = grid.read_text()
    grid.write_text(text.replace("planners: [", "planners: [uniform, "))
    more = hetserve("batch", grid, "--scenario", "poor-calm", "--out", "out", "--resume")
    assert more.exit_code == 0, more.stderr
    assert len(list((tmp_path / "out").glob("*/*/*/manifest.json"))) > len(kept)
    assert [path.stat().st_mtime_ns for path in kept] == written
    shown = json.loads(hetserve("compare", "out", "--format", "json").stdout)
    assert list(dict.fromkeys(row["planner"] for row in shown["rows"])) == ["uniform", "homogeneous", "milp"]
    grid.write_text(
        text.replace("planners: [", "planners: [{name: milp, options: {gap: 0.1}}, ").replace(", milp]", "]")
    )
    other = hetserve("batch", grid, "--scenario", "poor-calm", "--out", "out", "--resume")
    assert other.exit_code == 2
    assert "another version of the scenario" in other.stderr


def test_what_fails_does_not_stop_the_rest(hetserve: Hetserve, grid: Path) -> None:
    text = grid.read_text().replace("{planning.budget_usd_per_h: 1}", "{sim.limits.max_context_tokens: 100}")
    grid.write_text(text)
    result = hetserve("batch", grid, "--out", "out")
    assert result.exit_code == 5
    assert result.stdout == "8 failed, 8 ok: out\n"
    assert "small+poor-calm, homogeneous, seed 0: Llama-3-8B serves prompt and output of 100 tokens" in result.stderr
    assert "raise max_context_tokens of the limits, up to the model's 8192" in result.stderr


def test_an_unknown_override_in_a_matrix_is_located(hetserve: Hetserve, grid: Path) -> None:
    grid.write_text(grid.read_text().replace("[calm, bursty]", "[calm, busty]"))
    result = hetserve("compare", grid)
    assert result.exit_code == 2
    line = next(n for n, text in enumerate(grid.read_text().splitlines(), start=1) if "busty" in text)
    assert f"grid.yaml:{line} matrix.arrivals" in result.stderr
    assert "did you mean 'bursty'?" in result.stderr


@pytest.mark.parametrize(("command", "can_resume"), [("compare", True), ("batch", True), ("plan", False)])
def test_interruptions_say_how_to_go_on(
    hetserve: Hetserve, small: Path, monkeypatch: pytest.MonkeyPatch, command: str, can_resume: bool
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "prepare", interrupt)
    result = hetserve(command, small)
    assert result.exit_code == 130
    assert ("finished runs are kept, and the same command with --resume" in result.stderr) == can_resume
    assert "Interrupted" in result.stderr
