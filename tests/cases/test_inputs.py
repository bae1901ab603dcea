"""Small inputs that once went wrong, each with the right answer."""

from __future__ import annotations

import json
import re
import resource
from pathlib import Path

import pytest

from tests.cli.conftest import Hetserve

INPUTS = Path(__file__).parent / "inputs"


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)


def compared(hetserve: Hetserve, name: str, *arguments: str) -> dict[str, dict[str, float]]:
    """Metrics by planner."""
    result = hetserve("compare", INPUTS / name, "--out", "runs", "--format", "json", *arguments)
    assert result.exit_code == 0, result.output
    return {
        row["planner"]: row["metrics"] | {"$/h": row["plan"]["usd_per_h"]} for row in json.loads(result.stdout)["rows"]
    }


def test_q50_a_long_last_request_makes_no_fleet_slower_or_dearer(hetserve: Hetserve) -> None:
    """All planners complete everything; before, the drain after the last arrival made greedy_lp 10.6 % slower."""
    rows = compared(hetserve, "q50.yaml")
    milp = rows["milp"]
    assert len(rows) == 8
    for planner, metrics in rows.items():
        assert metrics["n_completed"] == 6000
        assert metrics["throughput_rps"] == pytest.approx(milp["throughput_rps"], rel=0.01), planner
        price, fleet = (metrics[name] / milp[name] for name in ("usd_per_million_output_tokens", "$/h"))
        assert price == pytest.approx(fleet, rel=0.04), planner  # a fast fleet has less under way in the end
    assert max(metrics["drain_s"] for metrics in rows.values()) > 20


def test_q50_overloaded_fleets_differ_in_what_they_can_do(hetserve: Hetserve) -> None:
    """Five times the load on the same money: throughput is the capacity of each fleet, below what is offered."""
    changes = ("workload.chat.arrivals.rate_rps=250", "planning.budget_usd_per_h=9", "planning.objective=throughput")
    sets = [part for change in (*changes, "planners=[milp, homogeneous, uniform]") for part in ("--set", change)]
    rows = compared(hetserve, "q50.yaml", *sets)
    throughputs = sorted(metrics["throughput_rps"] for metrics in rows.values())
    assert throughputs[-1] < 200
    assert throughputs[0] < 0.95 * throughputs[-1]


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("clock_time.yaml", ["clock_time.yaml:5 cluster.availability.changes.0.t_s: 14:00 is a clock time"]),
        (
            "four_mistakes.yaml",
            [
                ":8 cluster.gpus.RTX4090.available: input should be a valid integer",
                ":16 workload.chat.model: unknown model 'llama3': did you mean 'Llama-3-8B'?",
                ":18 workload.chat.arrivals.rate_rps: input should be greater than 0, not -1",
                ":31 planners.3: unknown planner 'mip': did you mean 'milp'?",
            ],
        ),
        ("scenarios/control_char.yaml", [":2: not valid YAML: a control character, U+0007"]),
        ("scenarios/deep_list.yaml", [":1: not valid YAML: nested more than 40 deep"]),
        ("scenarios/self_alias.yaml", [":1: &a contains itself"]),
        ("scenarios/bool_tag.yaml", [":1: the tag !!bool is not allowed"]),
        ("scenarios/bad_timestamp.yaml", ["schema_version: is missing"]),
        ("scenarios/scenario_mapping.yaml", [":18 scenarios.x: must be the name of an override"]),
        ("scenarios/alias_bomb.yaml", [":1: has more than 100,000 keys and values"]),
    ],
)
def test_mistakes_are_all_told_with_their_line(hetserve: Hetserve, name: str, messages: list[str]) -> None:
    result = hetserve("validate", INPUTS / name)
    assert result.exit_code == 2
    for message in messages:
        assert message in result.output
    assert len(result.output.splitlines()) <= 3 + len(messages)


def test_a_bomb_of_aliases_takes_no_memory(hetserve: Hetserve) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert hetserve("validate", INPUTS / "scenarios/alias_bomb.yaml").exit_code == 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 200 * 1024


def test_dots_names_with_dots_can_be_addressed(hetserve: Hetserve) -> None:
    result = hetserve("validate", INPUTS / "dots.yaml")
    assert (result.exit_code, result.output.count("is valid")) == (0, 2)
    changed = hetserve("plan", INPUTS / "dots.yaml", "--set", "slo.by_model.Llama-3.1-8B.ttft_s=2")
    assert changed.exit_code == 0
    assert hetserve("plan", INPUTS / "dots.yaml", "--set", "slo.by_model.Llama-3.1-8B=2").exit_code == 2


def test_end_too_early_the_bill_is_that_of_the_work(hetserve: Hetserve) -> None:
    """Before: 0.058 $ and a utilisation of 171.76."""
    arguments = ("run", INPUTS / "end_too_early.yaml", "--planner", "homogeneous", "--json")
    for more in ((), ("--set", "sim.horizon_s=20")):
        result = hetserve(*arguments, "--out", f"runs{len(more)}", *more)
        metrics = json.loads(result.stdout)["rows"][0]["metrics"]
        assert metrics["cost_usd"] == pytest.approx(10.0)
        assert metrics["gpu_utilization"] == pytest.approx(0.9994, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "count_huge",
            "0.deployment.replicas.0.count: input should be less than or equal to 100000, not 1000000000000",
        ),
        ("fleet_name_markup", "0.plan.fleet.0.name: the deployment has no replica '[/x]'"),
        ("fleet_no_name", "0.plan.fleet.0.name: is missing"),
        ("fraction_not_number", "0.deployment.routing.Llama-3-8B.fractions.0.0: input should be a valid number"),
        ("kv_blocks_float", "0.deployment.replicas.0.limits.kv_blocks: input should be a valid integer, not 100.5"),
        ("promise_zero", "0.plan.promised_rps: promises nothing"),
        ("routing_not_mapping", "0.deployment.routing: input should be a valid dictionary, not 1.5"),
    ],
)
def test_broken_plans_are_refused_before_anything_is_simulated(hetserve: Hetserve, name: str, message: str) -> None:
    result = hetserve("run", INPUTS / "small.yaml", "--plan", INPUTS / f"plans/{name}.json", "--out", "runs")
    assert result.exit_code == 2
    assert f"{name}.json {message}" in result.output
    assert not Path("runs").exists()


def test_a_good_plan_is_served(hetserve: Hetserve) -> None:
    result = hetserve("run", INPUTS / "small.yaml", "--plan", INPUTS / "plans/ok.json", "--out", "runs")
    assert result.exit_code == 0
    assert "20 requests, 20 completed" in result.output


def test_plan_and_deployment_differ(hetserve: Hetserve) -> None:
    plan = INPUTS / "plan_and_deployment_differ.json"
    result = hetserve("run", INPUTS / "q50.yaml", "--plan", plan, "--out", "runs")
    assert result.exit_code == 2
    assert "0.plan.fleet.0.name: the deployment has no replica 'H100-SXM tp1'" in result.output


@pytest.mark.parametrize(("name", "label"), [("label_markup", "b[/x]"), ("label_brackets", "best [fast]")])
@pytest.mark.parametrize("style", ["table", "md"])
def test_labels_are_printed_as_they_are(hetserve: Hetserve, name: str, label: str, style: str) -> None:
    result = hetserve("compare", INPUTS / f"scenarios/{name}.yaml", "--out", "runs", "--format", style)
    assert result.exit_code == 0
    assert len(re.findall(re.escape(label), result.output)) >= 2
