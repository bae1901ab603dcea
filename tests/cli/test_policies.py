"""Scenarios whose market changes, and what planners do about it."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result
from polars.testing import assert_frame_equal

from scenarios.cli import main
from tests.cli.conftest import Hetserve

DROP = """
schema_version: 1
name: falls
cluster:
  gpus: {H100-SXM: {available: 2}, A100-SXM-80GB: {available: 4}}
  availability:
    kind: scheduled_drops
    notice_s: 5
    boot_s: 20
    drops: [{start_s: 60, stop_s: 200, share: {H100-SXM: 1}}]
workload:
  chat:
    kind: synthetic
    model: Llama-3-8B
    n_requests: 1500
    arrivals: {kind: poisson, rate_rps: 6}
    lengths: {kind: types, shares: [0.1, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1, 0.1]}
slo: {ttft_s: 1, tpot_s: 0.05, attainment: 0.9}
planning:
  budget_usd_per_h: 6
  objective: throughput
  replanning: {delay_s: 2}
planners:
  - {name: milp, label: static}
  - {name: milp, policy: replan}
  - {name: milp, policy: replan_sticky}
  - {name: milp, policy: oracle}
"""
POLICIES = ("static", "milp-replan", "milp-replan_sticky", "milp-oracle")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("falls") / "falls.yaml"
    path.write_text(DROP)
    return path


@pytest.fixture(scope="module")
def runs(file: Path) -> Path:
    out = file.parent / "runs"
    assert CliRunner().invoke(main, ["compare", str(file), "--out", str(out)]).exit_code == 0
    return out


def run(runs: Path, policy: str, scenario: str = "falls") -> Path:
    return runs / f"scenario={scenario}" / f"planner={policy}" / "seed=0"


def attainment(hetserve: Hetserve, runs: Path) -> dict[str, float]:
    shown = json.loads(hetserve("show", str(runs), "--json").stdout)
    return {row["planner"]: row["metrics"]["slo_attainment"] for row in shown["rows"]}


def test_all_requests_end_once_under_every_policy(runs: Path) -> None:
    for policy in POLICIES:
        requests = pl.read_parquet(run(runs, policy) / "requests.parquet")
        assert requests["request_id"].to_list() == list(range(1500))
        assert set(requests["status"]) == {"completed"}


def test_who_plans_again_recovers_and_nobody_is_better_than_who_knows(hetserve: Hetserve, runs: Path) -> None:
    shares = attainment(hetserve, runs)
    assert shares["milp-replan"] > shares["static"] + 0.05
    assert shares["milp-oracle"] == max(shares.values())


def test_a_run_keeps_all_its_plans(runs: Path) -> None:
    plans = json.loads((run(runs, "milp-replan") / "plans.json").read_text())
    assert [plan["t_s"] for plan in plans] == [0.0, 60.0, 200.0]
    assert set(plans[1]["plan"]["gpus"]) == {"A100-SXM-80GB"}
    assert plans[2]["plan"]["gpus"] == plans[0]["plan"]["gpus"]
    manifest = json.loads((run(runs, "milp-replan") / "manifest.json").read_text())
    assert manifest["policy"] == "replan"
    assert [replan["applied_s"] for replan in manifest["replans"]] == [62.0, 202.0]
    assert len(json.loads((run(runs, "static") / "plans.json").read_text())) == 1


def test_without_a_change_whoever_plans_again_does_the_same(file: Path, hetserve: Hetserve, tmp_path: Path) -> None:
    """Neither the market nor, by more than 5 %, the requests."""
    sets = ("cluster.availability={kind: constant, notice_s: 5, boot_s: 20}",
            "planning.replanning={triggers: [change, period, slo], period_s: 30, min_gain: 0.05}")  # fmt: skip
    options = [option for one in sets for option in ("--set", one)]
    assert hetserve("compare", str(file), *options, "--out", str(tmp_path)).exit_code == 0
    static, *others = (run(tmp_path, policy) for policy in POLICIES)
    for other in others:
        for name in ("requests", "replicas"):
            frames = (pl.read_parquet(directory / f"{name}.parquet") for directory in (static, other))
            assert_frame_equal(*frames, check_exact=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{kind: scheduled_drops, notice_s: 5, boot_s: 20, drops: [{start_s: 60, stop_s: 50, share: {H100-SXM: 1}}]}",
         "drops must follow one another"),
        ("{kind: scheduled_drops, notice_s: 5, boot_s: 20, drops: [{start_s: 9, stop_s: 50, share: {H100: 1}}]}",
         "H100-SXM"),
        ("{kind: steps, notice_s: 5, boot_s: 20, changes: [{t_s: 9}, {t_s: 3}]}", "changes go forward in time"),
        ("{kind: steps, notice_s: 5, boot_s: 20, changes: [{t_s: 9, gpus: {H100-SXM: -1}}]}",
         "changes.0.gpus.H100-SXM: input should be greater than or equal to 0"),
        ("{kind: steps, notice_s: 5, boot_s: 20, changes: [{t_s: 9, gpus: {H100SXM: 1}}]}",
         "changes.0.gpus.H100SXM: unknown GPU type 'H100SXM'"),
        ("{kind: steps, boot_s: 20, changes: [{t_s: 9}]}", "cluster.availability.notice_s: is missing"),
        ("{kind: file, notice_s: 5, boot_s: 20, path: nowhere.csv, reader: csv}", "no such file"),
        ("{kind: file, notice_s: 5, boot_s: 20, path: bad.csv, reader: csv}", "bad.csv"),
        ("{kind: wobbly, notice_s: 5, boot_s: 20}", "availability"),
        ("null", "'replan' needs cluster.availability"),
    ],
)  # fmt: skip
def test_bad_markets_end_in_located_errors(file: Path, hetserve: Hetserve, given: str, message: str) -> None:
    (file.parent / "bad.csv").write_text("t_s,gpu_type,market,count\n0,H100-SXM,on_demand,1\n0,H100-SXM,on_demand,2\n")
    result: Result = hetserve("run", str(file), "--set", f"cluster.availability={given}")
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_only_who_knows_what_changes_cost_can_stick_to_a_fleet(file: Path, hetserve: Hetserve) -> None:
    result = hetserve("run", str(file), "--set", "planners=[{name: melange, policy: replan_sticky}]")
    assert result.exit_code == 2
    assert "'melange' does not know what changes cost" in result.stderr


def test_a_plan_that_was_overtaken_by_the_market_is_made_again(file: Path, hetserve: Hetserve, tmp_path: Path) -> None:
    """A second after the H100s are gone a price moves, before the new plan takes effect: it is void, not in force."""
    market = (
        "cluster.availability={kind: steps, notice_s: 5, boot_s: 20, changes: [{t_s: 60, gpus: {H100-SXM: 0}}, "
        "{t_s: 61, usd_per_h: {H100-SXM: 2.9}}]}"
    )
    result = hetserve("run", str(file), "--planner", "milp-replan", "--set", market, "--out", str(tmp_path))
    assert result.exit_code == 0
    manifest = json.loads((run(tmp_path, "milp-replan") / "manifest.json").read_text())
    assert [(replan["t_s"], replan["applied_s"]) for replan in manifest["replans"]] == [(61.0, 63.0)]
    plans = json.loads((run(tmp_path, "milp-replan") / "plans.json").read_text())
    assert [plan["t_s"] for plan in plans] == [0.0, 61.0]


STEP = """
schema_version: 1
name: step
cluster:
  gpus: {L40S: {available: 8}}
  availability: {kind: constant, notice_s: 0, boot_s: 60}
workload:
  chat:
    kind: synthetic
    model: Llama-3.1-8B
    n_requests: 6500
    arrivals: {kind: piecewise, times_s: [0, 105], rates_rps: [5, 20]}
    lengths:
      kind: lognormal
      prompt_tokens_p50: 800
      prompt_tokens_p90: 1500
      output_tokens_p50: 150
      output_tokens_p90: 250
slo: {ttft_s: 2, tpot_s: 0.1, attainment: 0.95}
planning:
  objective: cost
  budget_usd_per_h: 20
  replanning: {triggers: [period], period_s: 100, window_s: 100, delay_s: 10}
planners: [{name: milp, policy: replan}]
"""


def test_a_fleet_that_waits_before_it_gets_smaller_meets_a_step(hetserve: Hetserve, tmp_path: Path) -> None:
    """The load rises 5 s after a plan; the whole of it was planned for first."""
    (tmp_path / "step.yaml").write_text(STEP)
    shares = {}
    for stabilization_s in (0, 600):
        out, changed = tmp_path / str(stabilization_s), f"planning.replanning.stabilization_s={stabilization_s}"
        hetserve("compare", str(tmp_path / "step.yaml"), "--out", str(out), "--set", changed)
        shares[stabilization_s] = attainment(hetserve, out)["milp-replan"]
    assert shares[0] < 0.8
    assert shares[600] > 0.95
