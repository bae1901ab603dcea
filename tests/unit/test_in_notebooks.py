from __future__ import annotations

from pathlib import Path

import pytest

import hetserve as hs
from scenarios.study.compare import Comparison
from tests.planning import worked_example

SCENARIO = """\
schema_version: 1
name: small
cluster: {gpus: {RTX4090: {available: 4}}}
workload:
  chat: {kind: azure_conv_like, model: Llama-3-8B, n_requests: 40, rate_rps: 2}
planning: {budget_usd_per_h: 2}
planners: [homogeneous, greedy]
"""


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "small.yaml").write_text(SCENARIO)
    return hs.compare(folder / "small.yaml", folder / "runs")


def test_a_comparison_is_a_table_of_its_runs(comparison: Comparison) -> None:
    assert repr(comparison) == "Comparison(2 runs of small, compared with homogeneous)"
    html = comparison._repr_html_()
    assert html.count("<tr>") == 3
    assert "<td>greedy</td><td>0</td><td>ok</td>" in html


def test_a_result_is_a_line_and_a_table_of_its_replicas(comparison: Comparison) -> None:
    from scenarios.runs.directory import read_result

    directory = comparison.rows[0].directory
    assert isinstance(directory, Path)
    result = read_result(directory)
    n_replicas = len(result.replicas)
    assert repr(result) == f"SimulationResult('small, homogeneous, seed 0', 40 requests, {n_replicas} replicas)"
    html = result._repr_html_()
    assert "small, homogeneous, seed 0: 40 of 40 requests completed" in html
    assert f"<td>{result.requests['generated_tokens'].sum() - 40:,}</td>" in html


def test_a_plan_says_what_it_rents_or_why_it_does_not() -> None:
    from dataclasses import replace

    from planners import get_planner

    problem = worked_example()
    plan = get_planner("milp").plan(problem)
    assert repr(plan).startswith("Plan('milp', ")
    assert "requests/s promised" in repr(plan)
    assert plan._repr_html_().count("<tr>") == 1 + len(plan.fleet)
    nothing = get_planner("milp").plan(replace(problem, budget_usd_per_h=0.0))
    assert repr(nothing).startswith("Plan('milp', infeasible: ")
    assert "&lt;b&gt;" in replace(nothing, planner="<b>")._repr_html_()
