"""Whatever a user gets wrong ends in a message that helps to mend it, exit code 2 or 3, and nothing half-written."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from scenarios.runs.job import Job
from tests.cli.conftest import SMALL, Hetserve


@pytest.mark.parametrize(
    ("old", "new", "messages"),
    [
        ("planners:", "planers:", ["small.yaml:16 planers: unknown key: did you mean 'planners'?"]),
        ("rate_rps: 5}", "rate: 5}", ["small.yaml:12 workload.chat.arrivals.rate: unknown key", "rate_rps"]),
        (
            "kind: poisson",
            "kind: poison",
            ["workload.chat.arrivals.kind: unknown kind 'poison': did you mean 'poisson'"],
        ),
        ("H100-SXM:", "H10-SXM:", ["small.yaml:6", "unknown GPU type 'H10-SXM'", "H100-SXM"]),
        ("model: Llama-3-8B", "model: Lama-3-8B", ["small.yaml:10 workload.chat.model", "did you mean 'Llama-3-8B'"]),
        ("[homogeneous, milp]", "[homogenous, milp]", ["small.yaml:16 planners.0", "did you mean 'homogeneous'"]),
        ("[homogeneous, milp]", "[{name: milp, options: {gpa: 1}}]", ["planners.0", "gap"]),
        ("[homogeneous, milp]", "[homogeneous:A40]", ["planners.0", "unknown GPU type 'A40'"]),
        ("slo: {ttft_s: 1}", "slo: {ttft_s: fast}", ["small.yaml:14 slo.ttft_s", "not 'fast'"]),
        ("slo: {ttft_s: 1}", "slo: {ttft_s: -1}", ["small.yaml:14 slo.ttft_s: input should be greater than 0, not -1"]),
        (
            "[homogeneous, milp]",
            "[{name: greedy, objective: latency}]",
            ["small.yaml:16 planners.0.objective: 'greedy' does not plan for 'latency'"],
        ),
        (
            "[homogeneous, milp]",
            "[{name: milp, objective: makespan}]",
            ["planners.0.objective: 'makespan' beside planning.objective 'throughput': the one counts requests"],
        ),
        (
            "budget_usd_per_h: 4,",
            "budget_usd_per_h: 4, latency: {statistic: p50},",
            ["small.yaml:15 planning.latency: is of no use: neither planning.objective nor that of a planner"],
        ),
        (
            "budget_usd_per_h: 4,",
            "budget_usd_per_h: 4, objective: latency, latency: {statistic: p95},",
            ["small.yaml:15 planning.latency.statistic: input should be 'mean', 'p50', 'p90' or 'p99', not 'p95'"],
        ),
        (
            "slo: {ttft_s: 1}",
            "slo: {by_model: {Lama-3-8B: {ttft_s: 1}}}",
            ["small.yaml:14 slo.by_model.Lama-3-8B: no requests for model 'Lama-3-8B'", "did you mean 'Llama-3-8B'"],
        ),
        (
            "slo: {ttft_s: 1}",
            "slo: {by_model: {Llama-3-8B: {attainment: 0.5}}}",
            ["small.yaml:14 slo.by_model.Llama-3-8B.attainment: unknown key: known: e2e_s, tpot_s, ttft_s"],
        ),
        ("n_requests: 50", "n_requests: 0", ["small.yaml:11 workload.chat.n_requests"]),
        ("shares: [0.5, 0.5]", "shares: [0.5, 0.6]", ["workload.chat.lengths.shares: the shares sum to 1.1"]),
        ("shares: [0.5, 0.5]", "shares: [1.0]", ["1 shares for 2 workload types"]),
        ("schema_version: 1", "schema_version: 2", ["small.yaml:1 schema_version"]),
        ("name: small\n", "name: small\nname: other\n", ["small.yaml:3 name: this key stands in line 2 already"]),
        ("name: small\n", "name: [\n", ["small.yaml:4", "not valid YAML"]),
        ("[poor, bursty]", "[por, bursty]", ["scenarios.poor_and_bursty", "did you mean 'poor'"]),
        ("cluster:\n", "", ["small.yaml"]),
        ("planners:", "seeds: 3\nplanners:", ["small.yaml:16 seeds: must be a list, not 3"]),
        (
            "budget_usd_per_h: 4, grid: {prompt_tokens: [500]",
            "budget_usd_per_h: 4, grid: {prompt_tokens: [5, 500]",
            ["small.yaml:15 planning.grid: prompt_tokens is (5, 500); it needs whole numbers >= 1 in descending order"],
        ),
        (
            "output_tokens: [50, 10]}, shares",
            "output_tokens: [10, 50]}, shares",
            ["small.yaml:13 workload.chat.lengths.grid: output_tokens is (10, 50)"],
        ),
        (
            "cluster:",
            "cluster:\n"
            "  availability: {kind: file, notice_s: 1, boot_s: 1, path: small.yaml, reader: alibaba_spot_gpu}",
            ["small.yaml:4 cluster.availability: small.yaml: the reader 'alibaba_spot_gpu' needs options.capacity"],
        ),
    ],
)
def test_mistakes_in_a_file(hetserve: Hetserve, small: Path, old: str, new: str, messages: list[str]) -> None:
    text = small.read_text()
    assert old in text
    small.write_text(text.replace(old, new, 1))
    for command in ("validate", "run"):
        result = hetserve(command, small.name)
        assert result.exit_code == 2
        for message in messages:
            assert message in result.stderr
    assert not Path("runs").exists()


def test_all_mistakes_are_reported_together(hetserve: Hetserve, small: Path) -> None:
    small.write_text(small.read_text().replace("planners:", "planers:").replace("ttft_s: 1", "ttft: 1"))
    lines = hetserve("validate", small.name).stderr.splitlines()
    assert ["slo.ttft" in lines[0], "planers" in lines[1]] == [True, True]


def test_two_overrides_of_one_field(hetserve: Hetserve, small: Path) -> None:
    small.write_text(SMALL)
    result = hetserve("validate", small.name)
    assert result.exit_code == 2
    assert "small.yaml:19 overrides.rich" in result.stderr
    assert "sets planning.budget_usd_per_h here and planning.budget_usd_per_h at small.yaml:18" in result.stderr
    assert hetserve("run", small.name).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scenario", "por_and_bursty"], "did you mean 'poor_and_bursty'"),
        (["--set", "sim.horizon"], "--set sim.horizon: write path=value"),
        (["--set", "sim.horizons=3"], "did you mean 'horizon_s'"),
        (["--set", "sim.router=round_robbin"], "did you mean 'round_robin'"),
        (["--planner", "mlp"], "did you mean 'milp'"),
        (["--planner", "milp", "--planner", "greedy"], "one planner plans here, not milp, greedy"),
        (["--reader", "csv"], "--reader, --columns and --head say how --trace is read"),
        (["--trace", "x.csv", "--columns", "a"], "'a' is not OURS=THEIRS, as prompt_tokens=n_in"),
        (["--trace", "x.csv", "--reader", "csv"], "no such file"),
        (["--trace", "small.yaml", "--reader", "cvs"], "did you mean 'csv'"),
        (["--plan", "small.yaml"], "is not a plans.json"),
    ],
)
def test_mistakes_on_the_command_line(hetserve: Hetserve, small: Path, arguments: list[str], message: str) -> None:
    result = hetserve("run", small.name, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("runs").exists()


DROPS = (
    "{{kind: scheduled_drops, notice_s: 1, boot_s: 1, drops: [{{start_s: {start}, stop_s: {stop}, share: {share}}}]}}"
)


@pytest.mark.parametrize("key", ["matrix={m: [poor, bursty]}", "matrix.m=[poor, bursty]", "scenarios.x=[poor]"])
def test_which_scenarios_there_are_is_not_set(hetserve: Hetserve, small: Path, key: str) -> None:
    for command in ("compare", "run", "batch"):
        scenario = ("--scenario", "x") if key.startswith("scenarios") else ()
        result = hetserve(command, small, "--set", key, *scenario)
        assert result.exit_code == 2
        assert "which scenarios there are is read from the file" in result.stderr
        assert "unknown scenario" not in result.stderr
    assert not Path("runs").exists()


def test_a_drop_of_an_unknown_gpu_is_not_blamed_on_its_share(hetserve: Hetserve, small: Path) -> None:
    drops = DROPS.format(start=1, stop=2, share="{H100: 1.0}")
    result = hetserve("plan", small, "--set", f"cluster.availability={drops}")
    assert result.exit_code == 2
    said = "cluster.availability.drops.0.share.H100: unknown GPU type 'H100': did you mean 'H100-SXM'?"
    assert said in result.stderr
    assert "must be from 0 to 1" not in result.stderr


def test_clock_times_without_a_start_are_all_that_is_wrong(hetserve: Hetserve, small: Path) -> None:
    drops = DROPS.format(start="'14:00'", stop="'15:00'", share="{H100-SXM: 1}")
    planners = "planners=[milp, {name: milp, policy: replan}, {name: milp, policy: oracle}]"
    sets = ("--set", f"cluster.availability={drops}", "--set", planners)
    lines = hetserve("plan", small, *sets).stderr.splitlines()
    assert [("start_s: 14:00 is a clock time" in lines[0]), ("stop_s: 15:00 is a clock time" in lines[1])] == [True] * 2
    assert len(lines) == 2
    (only,) = hetserve("plan", small, *sets, "--set", "start='2026-03-01T09:00'").stderr.splitlines()
    assert "start: must name its zone" in only


def test_unknown_file_names_the_nearest_of_the_library(hetserve: Hetserve) -> None:
    result = hetserve("run", "quikstart")
    assert result.exit_code == 2
    assert "did you mean 'quickstart'" in result.stderr


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("arrival_s,prompt_tokens\n0.0,5\n", ["output_tokens"]),
        ("arrival_s,prompt_tokens,output_tokens\n0.0,5,5\n1.0,-5,5\n", ["prompt_tokens", "row 1", "-5"]),
        ("arrival_s,prompt_tokens,output_tokens\n0.0,5,5\nNaN,5,5\n", ["arrival_s", "row 1"]),
        ("arrival_s,prompt_tokens,output_tokens\n1.0,5,5\n-0.5,5,5\n", ["arrival_s", "row 1", "0.5"]),
        ("arrival_s,prompt_tokens,output_tokens\n", ["has only a header"]),
        ("", ["empty"]),
    ],
)
def test_bad_traces(hetserve: Hetserve, small: Path, text: str, messages: list[str]) -> None:
    Path("bad.csv").write_text(text)
    result = hetserve("run", small, "--trace", "bad.csv", "--reader", "csv")
    assert result.exit_code == 2
    for message in ["bad.csv", *messages]:
        assert message in result.stderr
    assert not Path("runs").exists()


def test_model_that_fits_on_no_gpu(hetserve: Hetserve, small: Path) -> None:
    text = small.read_text().replace("Llama-3-8B", "Llama-3-70B").replace("    H100-SXM: {available: 1}\n", "")
    small.write_text(text.replace("RTX4090: {available: 4}", "RTX4090: {available: 1}"))
    result = hetserve("run", small)
    assert result.exit_code in (2, 3)
    assert "RTX4090" in result.stderr
    assert not Path("runs").exists()


def test_budget_that_rents_nothing(hetserve: Hetserve, small: Path) -> None:
    for command in ("plan", "run", "compare"):
        result = hetserve(command, small, "--set", "planning.budget_usd_per_h=0.1")
        assert result.exit_code == 3
        assert "budget" in result.stderr
    assert not Path("runs").exists()


def test_results_are_not_overwritten(hetserve: Hetserve, small: Path) -> None:
    assert hetserve("run", small).exit_code == 0
    kept = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    result = hetserve("run", small, "--set", "planning.budget_usd_per_h=2")
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == kept
    assert hetserve("run", small, "--set", "planning.budget_usd_per_h=2", "--force").exit_code == 0


@pytest.mark.parametrize("n_written", [0, 1])
def test_full_disk_leaves_nothing(
    hetserve: Hetserve, small: Path, monkeypatch: pytest.MonkeyPatch, n_written: int
) -> None:
    write = pl.DataFrame.write_parquet
    written: list[Any] = []

    def full(frame: pl.DataFrame, file: Any) -> None:
        if len(written) == n_written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(file)
        write(frame, file)
        return None

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    result = hetserve("run", small)
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert [path for path in Path("runs").rglob("*") if path.is_file()] == []


def test_limits_of_a_model_where_nothing_is_served(hetserve: Hetserve) -> None:
    result = hetserve("plan", "paper_example", "--set", "slo={by_model: {Llama-3-70B: {ttft_s: 1}}}")
    assert result.exit_code == 2
    message = "slo.by_model.Llama-3-70B: no requests for model 'Llama-3-70B': the scenario has no workload"
    assert message in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "small.yaml", "--out", "small.yaml/runs"],
        ["compare", "small.yaml", "--out", "small.yaml/runs"],
        ["batch", "small.yaml", "--out", "small.yaml/runs"],
        ["demo", "--out", "small.yaml/runs"],
        ["plan", "small.yaml", "--write-lp", "small.yaml/model.lp"],
        ["frontier", "small.yaml", "--budget", "4", "--plot", "small.yaml/plot.svg"],
        ["frontier", "small.yaml", "--budget", "4", "--csv", "small.yaml/points.csv"],
        ["new", "small.yaml/mine"],
    ],
)
def test_what_cannot_be_written_is_said_before_the_work(
    hetserve: Hetserve, small: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(Job, "prepare", None)
    result = hetserve(*arguments)
    assert result.exit_code == 2
    assert f"cannot write {arguments[-1]}" in result.stderr
    assert small.read_text()


def test_an_unknown_baseline_is_said_before_the_work(
    hetserve: Hetserve, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Job, "prepare", None)
    result = hetserve("compare", small, "--baseline", "homogenous")
    assert result.exit_code == 2
    assert "unknown baseline 'homogenous': did you mean 'homogeneous'?" in result.stderr


def test_a_linear_program_is_not_overwritten(hetserve: Hetserve, small: Path) -> None:
    arguments = ["plan", small, "--write-lp", "deep/model.lp"]
    assert hetserve(*arguments).exit_code == 0
    kept = Path("deep/model.lp").read_text()
    Path("deep/model.lp").write_text("mine")
    again = hetserve(*arguments)
    assert (again.exit_code, "model.lp exists already; use --force" in again.stderr) == (2, True)
    assert Path("deep/model.lp").read_text() == "mine"
    assert hetserve(*arguments, "--force").exit_code == 0
    assert Path("deep/model.lp").read_text() == kept


def test_a_wrong_item_is_the_only_mistake_of_its_list(hetserve: Hetserve, small: Path) -> None:
    drops = "drops: [{start_s: 1, stop_s: 2, share: 50}]"
    sets = f"cluster.availability={{kind: scheduled_drops, notice_s: 1, boot_s: 1, {drops}}}"
    (said,) = hetserve("plan", small, "--set", sets).stderr.splitlines()
    assert "cluster.availability.drops.0.share: input should be a valid dictionary, not 50" in said


def test_all_files_are_validated_whatever_is_wrong_with_the_first(hetserve: Hetserve, small: Path) -> None:
    Path("one.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0.0,5,x\n")
    traced = small.read_text().partition("    kind: synthetic")[0] + "    {kind: trace, reader: csv, path: one.csv}\n"
    Path("traced.yaml").write_text(traced + "planning: {budget_usd_per_h: 4}\n")
    Path("wrong.yaml").write_text(small.read_text().replace("planners:", "planers:"))
    result = hetserve("validate", "traced.yaml", "wrong.yaml", "small.yaml")
    assert result.exit_code == 2
    assert "traced.yaml: small: one.csv: not a valid request table" in result.stderr
    assert "wrong.yaml:16 planers: unknown key" in result.stderr
    assert "small.yaml: small is valid" in result.stdout


def test_requests_that_come_at_once_have_no_rate(hetserve: Hetserve, small: Path) -> None:
    once = ["--set", "workload.chat.arrivals={kind: all_at_once}"]
    for objective in ("throughput", "cost"):
        result = hetserve("plan", small, *once, "--set", f"planning.objective={objective}")
        assert result.exit_code == 2
        assert f"all requests arrive at once: there is no rate, as '{objective}' needs it" in result.stderr
    assert hetserve("plan", small, *once, "--set", "planning.objective=makespan").exit_code == 0


def test_an_slo_that_nobody_meets_is_named(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("plan", small, "--set", "slo.ttft_s=0.001")
    assert result.exit_code == 3
    assert "can serve p500_o50, p500_o10 within the SLO (TTFT 0.001 s) for 99 % of its requests" in result.stderr


def test_directories_say_which_file_is_meant(hetserve: Hetserve, small: Path) -> None:
    Path("empty").mkdir()
    assert "empty: is a directory; there is no scenario in it" in hetserve("plan", "empty").stderr
    assert "empty is a directory; there is no plans.json in it" in hetserve("explain", "empty").stderr
    assert hetserve("run", small).exit_code == 0
    folder = Path("runs/scenario=small/planner=milp/seed=0")
    for command, arguments, name in (
        ("plan", "runs", "scenario.resolved.yaml"),
        ("plan", folder, "scenario.resolved.yaml"),
        ("explain", "runs", "plans.json"),
        ("explain", folder / "manifest.json", "plans.json"),
    ):
        result = hetserve(command, arguments)
        assert result.exit_code == 2
        assert result.stderr.strip().endswith(str(folder / name))
