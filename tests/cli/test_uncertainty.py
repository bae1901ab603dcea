from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Hetserve


def test_compare_says_how_sure_it_is(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("compare", small, "--uncertainty", 4)
    assert result.exit_code == 0, result.output
    for words in (
        "small: what is delivered in 4 worlds, median [5 %, 95 %]",
        "How often the plan of a row has more goodput_rps than that of a column",
        "What each plan loses of goodput_rps (requests/s) against the best of them in each world: regret",
        "shares of the variance of goodput_rps, of its regret",
        "is best if service times are right",
    ):
        assert words in result.output


def test_finished_runs_are_weighed_as_those_just_made(hetserve: Hetserve, small: Path) -> None:
    made = hetserve("compare", small, "--uncertainty", 3, "--format", "json")
    read = hetserve("compare", "runs", "--uncertainty", 3, "--format", "json", "--jobs", 2)
    assert made.exit_code == read.exit_code == 0, read.output
    mine, again = (json.loads(result.output)["uncertainty"] for result in (made, read))
    assert mine == again
    (found,) = mine
    assert (found["scenario"], found["n_worlds"], found["merit"]) == ("small", 3, "goodput_rps")
    first, second = found["plans"]
    assert first["better_than"][second["planner"]] + second["better_than"][first["planner"]] == 1
    assert min(plan["regret"]["mean"] for plan in found["plans"]) >= 0
    throughput = first["intervals"]["throughput_rps"]
    assert throughput["low"] <= throughput["median"] <= throughput["high"]


def test_one_run_has_intervals_only(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("run", small, "--uncertainty", 3)
    assert result.exit_code == 0, result.output
    assert "what is delivered in 3 worlds" in result.output
    assert "Whose error matters to milp: shares of the variance of goodput_rps" in result.output
    assert "regret" not in result.output
    assert "How often" not in result.output


def test_a_plan_promises_in_worlds(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("plan", small, "--uncertainty", 10)
    assert result.exit_code == 0, result.output
    assert "in 10 worlds, as far as service times may be off: " in result.output
    assert "; the offered rates in 100 %" in result.output
    as_json = json.loads(hetserve("plan", small, "--uncertainty", 10, "--json").output)
    found = as_json["uncertainty"]
    assert found["n_worlds"] == 10
    assert found["low"] < found["median"] < found["high"]
    assert found["low"] < as_json["objective"] < 1.1 * found["high"]
    makespan = ("--set", "planning.objective=makespan", "--uncertainty", 10, "--json")
    found = json.loads(hetserve("plan", small, *makespan).output)["uncertainty"]
    assert 0 < found["low"] < found["median"] < found["high"]
    assert found["carries_rates"] is None


def test_without_a_plan_there_is_nothing_to_weigh(hetserve: Hetserve, small: Path) -> None:
    too_poor = ("--set", "planning.budget_usd_per_h=0.1")
    for command in ("run", "compare", "plan"):
        assert hetserve(command, small, *too_poor, "--uncertainty", 3).exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "small.yaml", "--uncertainty", 3, "--format", "csv"), "use --format json"),
        (("compare", "small.yaml", "--uncertainty", 1), "1 is not in the range x>=2"),
        (("plan", "paper_example", "--uncertainty", 3), "they depend on no service times that could be off"),
    ],
)
def test_what_cannot_be_asked(hetserve: Hetserve, small: Path, arguments: tuple[str | int, ...], message: str) -> None:
    result = hetserve(*map(str, arguments))
    assert result.exit_code != 0
    assert message in " ".join(result.output.split())
