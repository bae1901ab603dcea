"""Capacities: measured ones in a scenario, and `hetserve capacity`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scenarios.file.load import load
from scenarios.runs.job import Job
from scenarios.study.capacities import MIX, PLANNED, CapacityRow, compare_capacities, summarise
from tests.cli.conftest import Hetserve


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hetserve" / "capacities"


ONE_GPU = ("--set", "cluster.gpus.RTX4090.available=1")


def test_capacity_compares_closed_form_and_simulator(hetserve: Hetserve, small: Path, own_cache: Path) -> None:
    data = json.loads(hetserve("capacity", small, *ONE_GPU, "--json").stdout)
    rows = data["capacities"]
    planned = [row["candidate"] for row in rows if row["workload"] == PLANNED]
    assert planned
    assert {(row["candidate"], row["workload"]) for row in rows if row["workload"] != PLANNED} == {
        (candidate, workload)
        for candidate in ("RTX4090 tp1", "H100-SXM tp1")
        for workload in ("p500_o50", "p500_o10", MIX)
    }
    assert all(abs(row["error"]) < 0.1 for row in rows)
    assert 6 <= len(list(own_cache.iterdir())) <= len(rows)
    groups = {summary["group"]: summary for summary in data["summary"]}
    assert groups["all"]["n"] == len(rows) == 6 + len(planned)
    assert groups[f"{PLANNED}, pp 1"]["n"] == groups[PLANNED]["n"] == len(planned)
    assert groups["pp 1"] == groups["all"] | {"group": "pp 1"}
    table = hetserve("capacity", small, *ONE_GPU).stdout
    assert "RTX4090 tp1, p500_o10" in table
    assert "mean abs" in table


def test_given_capacities_have_nothing_to_be_compared_with(hetserve: Hetserve) -> None:
    result = hetserve("capacity", "paper_example")
    assert result.exit_code == 2
    assert "gives capacities instead of models" in result.stderr


def test_plans_with_measured_capacities(hetserve: Hetserve, small: Path, own_cache: Path) -> None:
    def promised(capacity: str) -> float:
        arguments = ("--set", f"planning.capacity={capacity}", "--set", "slo={}", *ONE_GPU)
        rates: dict[str, float] = json.loads(hetserve("plan", small, *arguments, "--json").stdout)["promised_rps"]
        return rates["Llama-3-8B"]

    computed = promised("closed_form")
    assert not own_cache.exists()
    measured = promised("simulated")
    assert own_cache.exists()
    assert measured == pytest.approx(computed, rel=0.05)
    assert measured != computed
    assert promised("{kind: simulated, beside_mix: false}") >= measured


def test_plan_says_what_was_left_out(hetserve: Hetserve, small: Path) -> None:
    data = json.loads(hetserve("plan", small, "--json").stdout)
    assert data["left_out"]["availability"] > 0
    shown = hetserve("plan", small).stdout
    assert f"candidates: {data['n_candidates']}; left out: {data['left_out']['availability']} for availability" in shown


def test_unknown_kind_of_capacity(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("plan", small, "--set", "planning.capacity=simualted")
    assert result.exit_code == 2
    assert "unknown kind 'simualted': did you mean 'simulated'" in result.stderr


def row(tp: int, pp: int, error: float, workload: str = "chat", gpus: tuple[str, ...] = ("L40",)) -> CapacityRow:
    return CapacityRow("replica", gpus, tp, pp, workload, 2.0 * (1 + error), 2.0)


def test_summary_of_errors() -> None:
    rows = [row(1, 1, 0.1), row(1, 2, -0.3), row(2, 2, 0.0, gpus=("A40", "L40")), row(2, 1, 0.2, "code")]
    groups = {summary.group: summary for summary in summarise(rows)}
    assert list(groups) == ["all", "tp 1", "tp 2", "pp 1", "pp 2", "one GPU type", "two GPU types", "chat", "code"]
    everything = groups["all"]
    assert (everything.n, everything.mean, everything.mean_abs) == pytest.approx((4, 0.0, 0.15))
    assert everything.max_abs == pytest.approx(0.3)
    assert groups["pp 2"].mean == pytest.approx(-0.15)
    assert groups["two GPU types"].n == groups["code"].n == 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_on_the_papers_question_the_closed_form_is_within_ten_percent_on_average(own_cache: Path) -> None:
    """Of its candidates every twentieth; docs/explanation/planning.md has the table of all."""
    job = Job.prepare(load("paper_70b"), seed=0)
    some = replace(job.problem, candidates=job.problem.candidates[::20])
    rows = compare_capacities(replace(job, problem=some))
    everything = summarise(rows)[0]
    assert everything.group == "all"
    assert 10 * len(some.candidates) < everything.n <= 11 * len(some.candidates)
    assert len(some.candidates) >= 6
    assert everything.mean_abs < 0.1
    assert len(list(own_cache.iterdir())) > 0
