"""The objective `latency` from the scenario to the table: promised and simulated side by side."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from planners import Plan
from scenarios.file.load import load
from scenarios.file.schema import PlannerChoice
from scenarios.runs.job import Job
from tests.cli.conftest import Hetserve

TWO_GPUS = """
schema_version: 1
name: two_gpus
cluster:
  gpus:
    L40: {available: 2, usd_per_h: 0.9}
    H100-SXM: {available: 2, usd_per_h: 2.99}
workload:
  chat:
    kind: synthetic
    model: Llama-3-8B
    n_requests: 300
    arrivals: {kind: poisson, rate_rps: 8}
    lengths: {kind: types, shares: [0.33, 0.07, 0.08, 0.07, 0.27, 0.06, 0.06, 0.03, 0.03], order: row_major}
planning: {budget_usd_per_h: 5}
planners: [greedy, {name: milp, label: milp_latency, objective: latency}]
"""


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "two_gpus.yaml"
    path.write_text(TWO_GPUS)
    return path


def test_a_planner_may_have_an_objective_of_its_own(hetserve: Hetserve, two_gpus: Path) -> None:
    result = hetserve("compare", two_gpus.name, "--out", "runs")
    assert result.exit_code == 0, result.output
    assert "promised / kept" in result.stdout
    shown = hetserve("plan", two_gpus.name, "--planner", "milp_latency").stdout
    assert "promised end-to-end time: mean" in shown
    assert "latency: " in shown


def test_who_does_not_know_the_objective_says_so(hetserve: Hetserve, two_gpus: Path) -> None:
    every = ["--set", "planning.objective=latency"]
    result = hetserve("plan", two_gpus.name, "--planner", "greedy", *every)
    assert result.exit_code == 3
    assert "it does not plan for the objective 'latency'" in result.stderr
    result = hetserve("explain", two_gpus.name, *every)
    assert "plans for the objective 'latency' are not explained" in result.stderr
    result = hetserve("frontier", two_gpus.name, "--budget", "3:5:2")
    assert "one objective at a time: milp_latency" in result.stderr
    result = hetserve("frontier", two_gpus.name, "--budget", "5:5:1", *every)
    assert "Latency promised, s" in result.stdout


def test_closed_loops_and_given_capacities_have_no_latency(hetserve: Hetserve, two_gpus: Path) -> None:
    objective = ["--set", "planning.objective=latency", "--set", "planners=[milp]"]
    users = "workload.chat.arrivals={kind: closed_loop, users: 3}"
    result = hetserve("plan", two_gpus.name, *objective, "--set", users)
    assert "there is no rate, as 'latency' needs it" in result.stderr
    result = hetserve("plan", "paper_example", *objective)
    assert "planning.objective: 'latency' needs models and GPU types" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("statistic", ["mean", "p99"])
def test_promise_and_simulation(statistic: str) -> None:
    loaded = load(
        "paper_latency",
        scenario="llama70b_budget15-mix2-snapshot4",
        sets=["planning.objective=latency", f"planning.latency.statistic={statistic}"],
    )
    job = Job.prepare(loaded, seed=0)
    plan = job.plan(PlannerChoice(name="milp"))
    promised_s = plan.objective
    assert promised_s is not None
    assert _simulated_s(job, plan, statistic) == pytest.approx(promised_s, rel=0.1)


def _simulated_s(job: Job, plan: Plan, statistic: str) -> float:
    deployment = plan.deployment()
    assert deployment is not None
    e2e_s = job.simulate("milp", deployment, {}).requests.select(pl.col("finish_s") - pl.col("arrival_s")).to_series()
    found = e2e_s.mean() if statistic == "mean" else e2e_s.quantile(0.99)
    assert isinstance(found, float)
    return found
