"""Commands answer what they are asked, or say that they cannot."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path

import polars as pl
import pytest

from tests.cli.conftest import Hetserve

TRACE = "arrival_s,prompt_tokens,output_tokens\n0.0,500,20\n1.0,500,20\n2.0,500,20\n3.0,500,20\n"


@pytest.mark.parametrize(
    "option", [["--set", "a=1"], ["--seed", "1"], ["--force"], ["--resume"], ["--out", "x"], ["--scenario", "x"]]
)
def test_options_of_runs_are_refused_where_runs_are_read(hetserve: Hetserve, small: Path, option: list[str]) -> None:
    assert hetserve("compare", small, "--out", "runs").exit_code == 0
    result = hetserve("compare", "runs", *option)
    assert result.exit_code == 2
    assert f"{option[0]}: finished runs are only read" in result.output


def test_nothing_counts_twice(hetserve: Hetserve, small: Path) -> None:
    assert hetserve("compare", small, "--out", "runs").exit_code == 0
    for twice in (("runs", "runs"), ("runs", "./runs"), (small, small), ("stress", "flash_crowd")):
        result = hetserve("compare", *twice)
        assert result.exit_code == 2
        assert "is given twice" in result.output
    inside = hetserve("compare", "runs", next(Path("runs").glob("scenario=*/planner=milp")))
    assert inside.exit_code == 2
    assert "is in two of the directories" in inside.output


def test_a_directory_called_as_a_scenario_is_asked_about(hetserve: Hetserve) -> None:
    Path("quickstart").mkdir()
    result = hetserve("compare", "quickstart")
    assert result.exit_code == 2
    assert "write ./quickstart for the directory" in result.output


def test_a_gpu_without_service_times_is_told(hetserve: Hetserve, small: Path) -> None:
    mine = "cluster.gpus.MINE={available: 2, usd_per_h: 1, memory_gib: 24}"
    result = hetserve("plan", small, "--set", mine)
    assert result.exit_code == 2
    assert "cluster.gpus.MINE: nothing is known of how fast 'MINE' is" in result.output


def test_a_log_in_milliseconds_is_billed_for_its_seconds(hetserve: Hetserve, small: Path) -> None:
    """Read as seconds, forty of these made a bill of 3.8 million dollars."""
    log = "created_at_ms,prompt_tokens,completion_tokens\n"
    log += "".join(f"{1768000000195 + 500 * i},500,20\n" for i in range(4))
    Path("log.csv").write_text(log)
    columns = "arrival_s=created_at_ms,output_tokens=completion_tokens"
    asked = ("run", small, "--trace", "log.csv", "--reader", "csv", "--columns", columns, "--json")
    result = hetserve(*asked, "--set", "workload.chat.options.time_unit=ms")
    assert result.exit_code == 0
    metrics = json.loads(result.stdout)["rows"][0]["metrics"]
    assert 1.5 < metrics["makespan_s"] < 5
    assert metrics["cost_usd"] < 0.01


def test_copies_are_no_samples(hetserve: Hetserve, small: Path) -> None:
    Path("trace.csv").write_text(TRACE)
    chat = "workload.chat={kind: trace, model: Llama-3-8B, path: trace.csv, reader: csv}"
    result = hetserve("compare", small, "--set", chat, "--set", "seeds=[0, 1, 2]", "--out", "runs")
    assert result.exit_code == 0
    assert "All seeds gave the same runs" in result.output
    assert "workload.NAME.resample" in result.output
    blocks = ("--set", "workload.chat.resample={kind: block_bootstrap, block_s: 1}")
    resampled = hetserve("compare", small, "--set", chat, *blocks, "--set", "seeds=[0, 1, 2]", "--out", "resampled")
    assert resampled.exit_code == 0
    assert "All seeds gave the same runs" not in resampled.output
    drawn = hetserve("compare", small, "--set", "seeds=[0, 1]", "--out", "drawn")
    assert "All seeds gave the same runs" not in drawn.output


def test_more_requests_than_memory_are_refused_with_the_figure(hetserve: Hetserve, small: Path) -> None:
    for command in ("run", "plan", "validate"):
        changes = [] if command == "validate" else ["--set", "workload.chat.n_requests=100000000000"]
        if command == "validate":
            small.write_text(small.read_text().replace("n_requests: 50", "n_requests: 100000000000"))
        result = hetserve(command, small, *changes)
        assert result.exit_code == 2
        assert "workload.chat.n_requests: 100,000,000,000 requests need about 27,940 GiB of memory" in result.output


def test_a_suite_may_be_run_as_a_batch(hetserve: Hetserve) -> None:
    result = hetserve("batch", "stress", "--scenario", "nothing")
    assert result.exit_code == 2
    assert "unknown scenario 'nothing'" in result.output


def test_a_planner_may_be_named_with_its_policy_in_files_as_on_the_command_line(
    hetserve: Hetserve, small: Path
) -> None:
    market = ("--set", "cluster.availability={kind: constant, boot_s: 1, notice_s: 0}")
    assert hetserve("compare", small, *market, "--set", "planners=[milp-replan]", "--out", "file").exit_code == 0
    assert hetserve("run", small, *market, "--planner", "milp-replan", "--out", "line").exit_code == 0
    result = hetserve("run", small, "--planner", "milp-repln", "--out", "wrong")
    assert result.exit_code == 2
    assert "unknown planner 'milp-repln'" in result.output


def test_a_size_of_hashes_that_no_request_has_is_told(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("run", small, "--set", "sim.prefix_segment_tokens=16")
    assert result.exit_code == 2
    assert "sim.prefix_segment_tokens is 16, but no request has prefix hashes" in result.output
    assert hetserve("run", small, "--set", "sim={prefix_segment_tokens: 16, prefix_caching: true}").exit_code == 0


def test_a_market_that_changes_nothing_is_told(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("plan", small, "--set", "cluster.market=spot")
    assert result.exit_code == 2
    assert "cluster.market: 'spot' changes nothing without a timeline" in result.output


@pytest.mark.parametrize("columns", [60, 100])
def test_tables_in_a_pipe_are_as_wide_as_columns_says(
    hetserve: Hetserve, small: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    result = hetserve("compare", small, "--out", "runs")
    assert max(map(len, result.output.splitlines())) <= columns


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "--force"), "--force replaces the FILE of --write-lp, which is not given"),
        (("frontier", "--budget", "3:4:1", "--force"), "--force replaces files of --csv and --plot"),
        (("run", "--columns", "a=b"), "--reader, --columns and --head say how --trace is read"),
    ],
)
def test_options_that_need_others_are_refused_without_them(
    hetserve: Hetserve, small: Path, arguments: tuple[str, ...], message: str
) -> None:
    command, *options = arguments
    result = hetserve(command, small, *options)
    assert result.exit_code == 2
    assert message in result.output


def test_a_seed_may_be_repeated_where_several_runs_are_made(hetserve: Hetserve, small: Path) -> None:
    assert hetserve("compare", small, "--seed", "0", "--seed", "3", "--out", "runs").exit_code == 0
    assert {path.name for path in Path("runs").rglob("seed=*")} == {"seed=0", "seed=3"}
    for command in ("run", "plan"):
        result = hetserve(command, small, "--seed", "0", "--seed", "3")
        assert result.exit_code == 2
        assert "one run is made here, not 2; for several seeds: hetserve compare" in result.output


def test_metrics_can_be_had_as_a_table_of_commas(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("compare", small, "--seed", "0", "--seed", "1", "--format", "csv")
    assert result.exit_code == 0
    frame = pl.read_csv(StringIO(result.stdout))
    assert frame["planner"].to_list() == ["homogeneous", "milp"] * 2
    assert frame["seed"].to_list() == [0, 0, 1, 1]
    rows = json.loads(hetserve("compare", "runs", "--format", "json").stdout)["rows"]
    ttft_s = {(row["planner"], row["seed"]): row["metrics"]["ttft_s_p50"] for row in rows}
    for line in frame.iter_rows(named=True):
        assert line["ttft_s_p50"] == ttft_s[line["planner"], line["seed"]]
        assert line["plan_usd_per_h"] > 0


def test_an_override_is_no_scenario_but_says_how_it_becomes_one(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("validate", small)
    assert result.exit_code == 0
    result = hetserve("plan", small, "--scenario", "bursty")
    assert result.exit_code == 2
    assert "that is an override; it is a scenario with scenarios: {bursty: [bursty]}" in result.output


def test_seeds_that_only_some_planners_have_are_told(hetserve: Hetserve, small: Path) -> None:
    assert hetserve("compare", small, "--seed", "0", "--seed", "1").exit_code == 0
    shutil.rmtree("runs/scenario=small/planner=milp/seed=1")
    result = hetserve("compare", "runs")
    assert "planner=milp lacks seed=1, which other planners have: --resume makes it" in result.stderr


def test_planners_can_be_compared_on_a_trace_of_ones_own(hetserve: Hetserve, small: Path) -> None:
    Path("trace.csv").write_text(TRACE.replace("prompt_tokens", "n_in"))
    asked = ("compare", small, "--trace", "trace.csv", "--columns", "prompt_tokens=n_in")
    result = hetserve(*asked, "--head", "3", "--format", "json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)["rows"]
    assert [row["metrics"]["n_requests"] for row in rows] == [3, 3]
    assert "prompt_tokens=n_in,output_tokens" in hetserve("compare", small, "--trace", "trace.csv", "--out", "b").output
    several = hetserve("compare", small, "quickstart", "--trace", "trace.csv")
    assert several.exit_code == 2
    assert "--trace replaces the requests of one scenario, not of 2" in several.output
    assert hetserve("compare", small, "--head", "3", "--out", "c").exit_code == 2


def test_two_scenarios_of_one_name_are_not_kept_in_one_place(hetserve: Hetserve, small: Path) -> None:
    twin = small.with_name("twin.yaml")
    twin.write_text(small.read_text().replace("rate_rps: 5", "rate_rps: 6"))
    result = hetserve("compare", small, twin)
    assert result.exit_code == 2
    assert "2 of the scenarios are called small: their runs would be kept in the same place" in result.output
    assert not Path("runs").exists()
