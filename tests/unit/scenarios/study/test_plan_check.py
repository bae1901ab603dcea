from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from planners import Plan
from scenarios.file.load import load
from scenarios.report.plan_check import check_lines, check_tables
from scenarios.runs.job import Job
from scenarios.runs.plan import planner_choice
from scenarios.study.plan_check import PlanCheck, check_delivery

RNG_SEED = 5
N = 2000


def lengths(n: int = N) -> dict[str, Any]:
    rng = np.random.default_rng(RNG_SEED)
    return {"prompt_tokens": rng.integers(500, 3000, n), "output_tokens": rng.integers(10, 40, n)}


def even(n: int = N, rate_rps: float = 3.0) -> Any:
    return np.random.default_rng(RNG_SEED).exponential(1 / rate_rps, n).cumsum()


def bursty(n: int = N) -> Any:
    """40 requests in a second, every 15 s."""
    rng = np.random.default_rng(RNG_SEED)
    return np.sort(15.0 * (np.arange(n) // 40) + rng.uniform(0, 1, n))


def made(
    folder: Path, arrival_s: Any, planner: str = "milp", sets: tuple[str, ...] = (), **columns: Any
) -> tuple[Job, Plan]:
    pl.DataFrame({"arrival_s": arrival_s, **lengths(len(arrival_s)), **columns}).write_csv(folder / "trace.csv")
    scenario = {
        "schema_version": 1,
        "name": "checked",
        "cluster": {"gpus": {"L40S": {"available": 16}, "H100-SXM": {"available": 4}}},
        "workload": {"code": {"kind": "trace", "model": "Llama-3.1-8B", "path": "trace.csv", "reader": "csv"}},
        "slo": {"ttft_s": 2, "tpot_s": 0.1, "attainment": 0.95},
        "planning": {"budget_usd_per_h": 20, "objective": "cost"},
        "planners": [
            {"name": "milp", "options": {}},
            {"name": "milp", "label": "once", "options": {"keep_slo": False}},
        ],
    }
    path = folder / "checked.yaml"
    path.write_text(yaml.safe_dump(scenario))
    loaded = load(str(path), None, sets)
    job = Job.prepare(loaded, 0)
    return job, job.plan(planner_choice(loaded, planner))


def checked(
    folder: Path, arrival_s: Any, planner: str = "milp", sets: tuple[str, ...] = (), **columns: Any
) -> PlanCheck:
    job, plan = made(folder, arrival_s, planner, sets, **columns)
    check = check_delivery(job, plan)
    assert check is not None
    return check


@pytest.mark.parametrize("arrivals", [even, bursty])
def test_promises_are_kept_however_requests_come(tmp_path: Path, arrivals: Any) -> None:
    check = checked(tmp_path, arrivals())
    assert check.is_kept
    assert check.attainment is not None
    assert check.attainment >= 0.95
    assert check_lines(check) == []
    assert json.loads(json.dumps(check.to_dict()))["attainment_goal"] == 0.95


def test_bursts_cost_more(tmp_path: Path) -> None:
    (job, poisson), (other, in_bursts) = (made(tmp_path, arrivals(rate)) for arrivals, rate in ((even, N), (bursty, N)))
    assert poisson.usd_per_h < in_bursts.usd_per_h
    assert job.problem.demands[0].margin == 1
    assert other.problem.demands[0].margin > 4


def test_a_plan_that_does_not_know_of_bursts_is_warned_of(tmp_path: Path) -> None:
    """The plan for Poisson arrivals, on the requests of bursts."""
    _, plan = made(tmp_path, even(), "once")
    job, _ = made(tmp_path, bursty(), "once")
    check = check_delivery(job, plan)
    assert check is not None
    assert not check.is_kept
    assert "burst" in dict(check.reasons)
    assert check_lines(check)[0] == "warning: the goal is missed"


def test_without_an_slo_the_steady_pace_is_compared(tmp_path: Path) -> None:
    check = checked(tmp_path, even(), sets=("slo={}", "planning.objective=throughput"))
    assert check.is_kept
    assert check.attainment is None
    assert check.delivered_rps == pytest.approx(check.promised_rps, rel=0.05)
    assert "5 times over" in check.simulated


def test_a_makespan_is_told_with_its_drain(tmp_path: Path) -> None:
    """Few requests: replicas run empty for much of the time."""
    check = checked(tmp_path, np.zeros(300), sets=("slo={}", "planning.objective=makespan"))
    assert check.promised_s is not None
    assert check.delivered_s is not None
    assert check.delivered_s > check.promised_s
    assert not check.is_kept
    assert list(dict(check.reasons)) == ["drain"]
    assert next(str(table.title) for table in check_tables(check)).endswith("300 requests at once, 33 times over")


def test_what_nobody_can_hold_is_told(tmp_path: Path) -> None:
    """One request in a hundred has more tokens than the context of the model."""
    prompts = lengths()["prompt_tokens"]
    prompts[::100] = 140_000
    check = checked(tmp_path, even(), prompt_tokens=prompts)
    assert dict(check.reasons)["rejected"].startswith("20 requests")
    assert check.is_kept
    assert check_lines(check) == ["note: 20 requests that no replica of the fleet can hold"]
