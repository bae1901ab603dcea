"""The largest load of a fleet: against a sweep, of users, of plans, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scenarios.file.load import load
from scenarios.runs.job import Job
from scenarios.study.load_search import MOST_LOADS
from scenarios.study.max_rate import GivenFleet, at_load, max_rate
from sim import compute_metrics
from tests.cli.conftest import Hetserve

MORE = ("workload.chat.n_requests=500", "workload.chat.arrivals.rate_rps=20", "seeds=[0, 1]")
FLEET = "deployment={replicas: [{model: Llama-3-8B, gpu: RTX4090}]}"
SETS = [*MORE, FLEET, "slo={ttft_s: 0.3, attainment: 0.9}"]
AS_OPTIONS = [part for one in SETS for part in ("--set", one)]


def test_it_agrees_with_a_fine_sweep(small: Path) -> None:
    loaded = load(str(small), None, SETS)
    fleet = GivenFleet.of_planner(loaded, loaded.scenario.planners[-1], 0)
    assert isinstance(fleet, GivenFleet)
    found = max_rate(loaded, fleet)
    assert len(found.points) <= MOST_LOADS
    assert found.mean is not None
    swept = []
    for seed in found.seeds:
        job = Job.of_plan(loaded, seed)
        assert job.trace is not None
        below = 0.0
        for step in range(-35, 16):
            factor = found.mean.mean * (1 + step / 100)
            result = job.simulate("swept", fleet.deployment, {}, trace=at_load(job.trace, factor))
            if (compute_metrics(result, job.slo)["slo_attainment"] or 0.0) < 0.9:
                break
            below = factor
        swept.append(below + found.mean.mean / 200)
    assert found.mean.mean == pytest.approx(sum(swept) / len(swept), rel=0.02)
    assert list(found.largest) == pytest.approx(swept, rel=0.02)


def test_loads_are_printed_and_drawn(hetserve: Hetserve, small: Path) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    result = hetserve("max-rate", small, *AS_OPTIONS, "--plot", "loads.svg")
    assert result.exit_code == 0
    assert "Loads that were tried on 1 x RTX4090 tp1 (deployment" in result.output
    assert "Largest load with 90 % of the requests within the SLO:" in result.output
    drawn = Path("loads.svg").read_text()
    assert "within SLO, %" in drawn
    assert "TTFT, s" in drawn
    again = hetserve("max-rate", small, *AS_OPTIONS, "--plot", "loads.svg")
    assert again.exit_code == 2


def test_a_plan_carries_what_its_fleet_does(hetserve: Hetserve, small: Path) -> None:
    Path("plan.json").write_text(hetserve("plan", small, *AS_OPTIONS, "--json", "--no-check").stdout)
    of_plan = json.loads(hetserve("max-rate", small, *AS_OPTIONS, "--plan", "plan.json", "--json").stdout)
    own = json.loads(hetserve("max-rate", small, *AS_OPTIONS, "--json").stdout)
    assert of_plan["fleet"] == "given"
    assert of_plan["largest_by_seed"] == own["largest_by_seed"]
    assert own["largest"]["half_width"] > 0
    rates = [load * rps for load, rps in zip(own["largest_by_seed"], own["loads"][0]["offered_rps"], strict=True)]
    assert own["largest_rps"]["mean"] == pytest.approx(sum(rates) / 2 / own["loads"][0]["load"])


def test_users_of_a_closed_loop(hetserve: Hetserve, small: Path) -> None:
    users = "workload.chat.arrivals={kind: closed_loop, users: 8}"
    sets = ["workload.chat.n_requests=300", FLEET, users, "slo={tpot_s: 0.03, attainment: 0.9}"]
    result = hetserve("max-rate", small, *(part for one in sets for part in ("--set", one)), "--json")
    data = json.loads(result.stdout)
    assert data["unit"] == "users"
    assert data["largest_rps"] is None
    [largest] = data["largest_by_seed"]
    attainments = {point["load"]: point["metrics"][0]["slo_attainment"] for point in data["loads"]}
    assert attainments[largest] >= 0.9 > attainments[largest + 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "slo={}"], "slo has no limit, so that any load is carried"),
        (["--set", "workload.chat.arrivals={kind: all_at_once}", "--set", "planning.objective=makespan"],
         "all requests arrive at once"),
        (["--planner", "milp", "--plan", "plan.json"], "exclude each other"),
        (["--force"], "--force replaces the FILE of --plot"),
        (["--planner", "milp-replan", "--set", "cluster.availability={kind: constant, notice_s: 0, boot_s: 0}"],
         "milp-replan: the largest load is that of a fleet that stays as it is"),
    ],
)  # fmt: skip
def test_what_is_refused(hetserve: Hetserve, small: Path, arguments: list[str], message: str) -> None:
    result = hetserve("max-rate", small, *AS_OPTIONS, *arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_no_plan_no_load(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("max-rate", small, "--planner", "milp", "--set", "planning.budget_usd_per_h=0.01")
    assert result.exit_code == 3
