from __future__ import annotations

from pathlib import Path

import pytest

from planners import PlannerError
from scenarios.errors import ScenarioError
from scenarios.file.load import load
from scenarios.file.loaded import LoadedScenario
from scenarios.file.schema import PlannerChoice
from scenarios.file.yaml_lines import parse_value
from scenarios.inputs.worlds import WorldCapacities
from scenarios.runs.job import Job
from sim.timing.worlds import World

SCENARIO = """
schema_version: 1
name: s
cluster:
  gpus:
    A40: {available: 4, usd_per_h: 0.5}
    L40: {available: 2, usd_per_h: 1}
workload:
  chat:
    kind: synthetic
    model: Llama-3-8B
    n_requests: 400
    arrivals: {kind: all_at_once}
    lengths: {kind: types, shares: [0, 0, 0, 0, 0.5, 0.5, 0, 0, 0]}
planning:
  budget_usd_per_h: 2
  objective: makespan
  cases: [few, long]
overrides:
  few: {cluster.gpus.A40.available: 1, cluster.gpus.L40.available: 8}
  long: {workload.chat.lengths.shares: [1, 0, 0, 0, 0, 0, 0, 0, 0], workload.chat.n_requests: 100}
  rich: {planning.budget_usd_per_h: 9}
  other: {workload.chat.model: Llama-3-70B}
scenarios:
  richer: [rich]
  fewer: [few]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text(SCENARIO)
    return path


def loaded(file: Path, scenario: str | None = None, *sets: str) -> LoadedScenario:
    return load(str(file), scenario, sets)


def test_cases_are_the_scenario_with_their_overrides(file: Path) -> None:
    problem = Job.prepare(loaded(file, "richer", "cluster.gpus.A40.available=3"), 0).problem
    few, long = problem.cases
    assert (few.name, long.name) == ("few", "long")
    assert problem.budget_usd_per_h == 9
    assert problem.available == (("A40", 3), ("L40", 2))
    assert few.available == (("A40", 1), ("L40", 8))
    assert long.available == problem.available
    assert few.amounts == (problem.demands[0].amounts,)
    assert problem.demands[0].type_names[0] == "p2455_o510"  # of the other case only
    assert long.amounts == ((100.0, 0, 0, 0, 0, 0),)
    assert sum(problem.demands[0].amounts) == 400


def test_candidates_serve_all_cases_on_all_markets(file: Path) -> None:
    """Eight L40 are there in one case only, and the longest type is asked for in another only."""
    problem = Job.prepare(loaded(file, None, "planning.budget_usd_per_h=20"), 0).problem
    assert max(dict(candidate.gpus).get("L40", 0) for candidate in problem.candidates) == 8
    assert all(candidate.capacity_rps[0] > 0 for candidate in problem.candidates)
    without = Job.prepare(loaded(file, None, "planning.budget_usd_per_h=20", "planning.cases=[]"), 0).problem
    assert max(dict(candidate.gpus).get("L40", 0) for candidate in without.candidates) == 2


def test_capacities_of_types_alone_are_those_of_the_scenario(file: Path) -> None:
    """Beside the mix they are not: that of all cases is another one."""
    alone = "planning.capacity={kind: closed_form, beside_mix: false}"
    changes = ("planning.budget_usd_per_h=20", "planning.grid=paper", alone)
    problem = Job.prepare(loaded(file, None, *changes), 0, keep_dominated=True).problem
    without = Job.prepare(loaded(file, None, *changes, "planning.cases=[]"), 0, keep_dominated=True).problem
    capacities = {candidate.name: candidate.capacity_rps for candidate in problem.candidates}
    assert without.candidates
    assert all(capacities[candidate.name] == candidate.capacity_rps for candidate in without.candidates)


def test_planner_plans_for_them(file: Path) -> None:
    plan = Job.prepare(loaded(file), 0).plan(PlannerChoice(name="milp_robust"))
    table = [line for line in plan.diagnostics if line.startswith("regret")]
    assert len(table) == 1
    assert table[0].split() == ["regret", "$/h", "now", "few", "long", "worst"]


def test_resolved_scenario_can_be_run_again(file: Path, tmp_path: Path) -> None:
    first = loaded(file, "richer")
    again = tmp_path / "again.yaml"
    again.write_text(first.resolved_yaml())
    assert set(parse_value(first.resolved_yaml())["overrides"]) == {"few", "long"}
    assert loaded(again).cases == tuple(
        (name, case.model_copy(update={"scenarios": {}, "overrides": loaded(again).scenario.overrides}))
        for name, case in first.cases
    )
    assert Job.prepare(loaded(again), 0).problem.cases == Job.prepare(first, 0).problem.cases


def test_resolved_paths_of_cases(file: Path, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("arrival_s,prompt_tokens,output_tokens\n0,900,200\n0,300,50\n")
    stream = "{kind: trace, model: Llama-3-8B, path: a.csv, reader: csv}"
    sets = [f"workload.chat={stream}", "overrides.later={workload.chat.path: b.csv}", "planning.cases=[later]"]
    resolved = parse_value(loaded(file, None, *sets).resolved_yaml())
    assert resolved["overrides"] == {"later": {"workload.chat.path": str(tmp_path / "b.csv")}}


UNCERTAIN = ("planning.cases=[]", "planning.uncertain_cases=3")


def test_uncertain_cases_are_now_with_other_capacities(file: Path) -> None:
    problem = Job.prepare(loaded(file, None, *UNCERTAIN), 0).problem
    plain = Job.prepare(loaded(file, None, "planning.cases=[]"), 0).problem
    assert problem.candidates == plain.candidates
    assert [case.name for case in problem.cases] == ["world 1", "world 2", "world 3"]
    for case in problem.cases:
        there = problem.in_case(case)
        assert (there.available, there.demands) == (problem.available, problem.demands)
        ratios = [
            in_world / now
            for one, other in zip(there.candidates, problem.candidates, strict=True)
            for in_world, now in zip(one.capacity_rps, other.capacity_rps, strict=True)
        ]
        assert all(0.5 < ratio < 2 and ratio != 1 for ratio in ratios)


def test_uncertain_cases_are_drawn_from_the_seed(file: Path) -> None:
    cases = [Job.prepare(loaded(file, None, *UNCERTAIN), seed).problem.cases for seed in (0, 0, 1)]
    assert cases[0] == cases[1] != cases[2]


def test_a_world_in_which_the_model_is_right_has_the_same_capacities(file: Path) -> None:
    scenario = loaded(file, None, "planning.cases=[]")
    problem = Job.prepare(scenario, 0).problem
    found = WorldCapacities(scenario, problem.candidates, problem.demands).of(World())
    assert found == tuple(candidate.capacity_rps for candidate in problem.candidates)


def test_planner_plans_for_worlds(file: Path) -> None:
    plan = Job.prepare(loaded(file, None, *UNCERTAIN), 0).plan(PlannerChoice(name="milp_robust"))
    assert plan.counts
    table = [line for line in plan.diagnostics if line.startswith("regret")]
    assert table[0].split() == ["regret", "$/h", "now", *("world", "1", "world", "2", "world", "3"), "worst"]


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (
            [
                "planning.uncertain_cases=2",
                "planning.capacity={kind: given, requests: {a: 1}, candidates: "
                "{c: {gpus: {A40: 1}, capacity_rps: [1]}}}",
                "workload={}",
            ],
            "planning.uncertain_cases: capacities that are given depend on no service times",
        ),
        (["planning.cases=[few, fwe]"], "planning.cases.1: unknown override 'fwe': did you mean 'few'"),
        (["planning.cases=[few, few]"], "planning.cases.1: 'few' is named twice"),
        (["planning.cases=[rich]"], "s.yaml:22 overrides.rich.planning.budget_usd_per_h: a case may change workload"),
        (
            ["overrides.few={cluster.gpus.A40.available: many}"],
            "cluster.gpus.A40.available: input should be a valid integer",
        ),
        (
            ["overrides.long={workload.chat.lengths.shares: [0.5, 0.2]}"],
            "workload.chat.lengths.shares: 2 shares for 9 workload types",
        ),
    ],
)
def test_cases_that_cannot_be(file: Path, sets: list[str], message: str) -> None:
    with pytest.raises(ScenarioError) as raised:
        loaded(file, None, *sets)
    assert message in str(raised.value)


def test_problems_of_a_case_are_found_where_its_override_stands(file: Path) -> None:
    file.write_text(SCENARIO.replace("A40.available: 1", "A40.available: -1"))
    with pytest.raises(ScenarioError, match=r"s.yaml:20 cluster.gpus.A40.available: .*greater than or equal to 0"):
        loaded(file)


def test_cases_ask_for_the_models_of_the_scenario(file: Path) -> None:
    with pytest.raises(PlannerError, match="case 'other' has requests for Llama-3-70B, the scenario for Llama-3-8B"):
        Job.prepare(loaded(file, None, "planning.cases=[other]"), 0)


def test_cases_of_given_capacities() -> None:
    sets = ["overrides.quiet={planning.capacity.requests.w1: 10}", "planning.cases=[quiet]"]
    problem = Job.prepare(load("paper_example", None, sets), 0).problem
    assert [(case.name, case.amounts) for case in problem.cases] == [("quiet", ((10.0, 20.0),))]
