from __future__ import annotations

import json
from pathlib import Path

import pytest

from planners.questions.frontier import FrontierPoint
from scenarios.report.frontier import without_plan
from scenarios.report.plotting import spread
from tests.cli.conftest import Hetserve

RUN = Path("out/scenario=small/planner=milp/seed=0")


@pytest.fixture
def plans(hetserve: Hetserve, small: Path) -> Path:
    """The plans.json of a run."""
    assert hetserve("run", small, "--out", "out").exit_code == 0
    return RUN / "plans.json"


# explain -------------------------------------------------------------------------------------------------------------


def test_explain_the_published_example(hetserve: Hetserve) -> None:
    result = hetserve("explain", "paper_example")
    assert result.exit_code == 0, result.output
    for line in (
        "milp rents 1 x c1 + 1 x c4 for 8.00 $/h: 28.43 s.",
        "Limited by: budget, t2.",
        "0.00 $/h are left, and the cheapest replica that the GPUs left can hold, c3, costs 2.00 $/h.",
        "The cheapest fleet that is at least 0.1 % better costs 10.00 $/h, 2.00 above the budget.",
        "One more request/s makes 28 more requests in the makespan of the plan.",
        "the best plan that holds one: 30.67 (+7.9 %)",
        "Everything was asked of milp, in 12 re-solves.",
    ):
        assert line in result.stdout
    data = json.loads(hetserve("explain", "paper_example", "--json").stdout)
    assert data["plan"]["objective"] == pytest.approx(28.4314, abs=1e-4)
    assert [limit["name"] for limit in data["limits"] if limit["binds"]] == ["budget", "t2"]
    assert data["n_solves"] == 12


@pytest.mark.parametrize("planner", ["milp", "milp_refined"])
def test_explain_a_kept_plan_as_its_scenario(hetserve: Hetserve, small: Path, planner: str) -> None:
    """The plan is read, not made again, with the capacities that it counts on; what it is compared with is the same."""
    assert hetserve("run", small, "--planner", planner, "--out", "out").exit_code == 0
    plans = Path(f"out/scenario=small/planner={planner}/seed=0/plans.json")
    kept = json.loads(hetserve("explain", plans, "--json").stdout)
    assert kept["plan"] == json.loads(plans.read_text())[0]["plan"]
    assert kept["plan"]["corrected_capacity_rps"]
    if planner == "milp_refined":  # what it tries depends on dominated configurations, of which explanations know
        return
    made = json.loads(hetserve("explain", small, "--planner", planner, "--json").stdout)
    for plan in (kept["plan"], made["plan"]):
        plan["solve_s"] = 0
        for figure in ("bound", "gap"):  # dominated configurations, of which explanations know, are other rows
            plan[figure] = None if plan[figure] is None else round(plan[figure], 9)
    assert kept == made


def test_limits_can_allow_what_the_scenario_excludes(hetserve: Hetserve, small: Path) -> None:
    """Of one H100 there is no pair; whether pairs are worth while is known all the same."""
    data = json.loads(hetserve("explain", small, "--set", "cluster.gpus.H100-SXM.available=0", "--json").stdout)
    h100 = next(limit for limit in data["limits"] if limit["name"] == "H100-SXM")
    assert (h100["limit"], h100["one_more"]["effect"]) == (0, "better")
    fates = {c["name"]: (c["fate"], c["detail"]) for c in data["configurations"]}
    assert fates["H100-SXM tp2"] == ("unavailable", "needs 2 H100-SXM, there are 0")


def test_why_not_a_certain_configuration(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("explain", small, "--configuration", "RTX4090 tp4", "--configuration", "H100-SXM tp8")
    assert result.exit_code == 0, result.output
    assert "dominated by 4 x RTX4090 tp1; the best plan that holds one" in result.stdout
    assert "needs 8 H100-SXM, there are 1" in result.stdout
    assert "RTX4090 tp2" not in result.stdout
    unknown = hetserve("explain", small, "--configuration", "RTX4090_tp4")
    assert (unknown.exit_code, "did you mean 'RTX4090 tp4'" in unknown.stderr) == (2, True)


def test_why_a_replica_has_no_capacity(hetserve: Hetserve, small: Path) -> None:
    changes = (
        "workload.chat.model=Llama-3-70B", "slo={ttft_s: 0.4, tpot_s: 0.05}", "planning.budget_usd_per_h=90",
        "cluster.gpus.H100-SXM.available=8", "cluster.gpus.RTX4090.available=16",
    )  # fmt: skip
    arguments = [argument for change in changes for argument in ("--set", change)]
    result = hetserve("explain", small, *arguments, "--most", "0", "--json")
    configurations = json.loads(result.stdout)["configurations"]
    reasons = {c["name"]: c["detail"] for c in configurations if c["fate"] == "no_capacity"}
    assert reasons["RTX4090 tp8"] == "too slow for the TTFT goal of 0.4 s"
    assert reasons["RTX4090 tp2 pp4"] == "too slow for the TTFT goal of 0.4 s"
    assert reasons["H100-SXM tp1 pp2"] == "too slow for the TPOT goal of 0.05 s"
    given = hetserve("explain", "paper_example", "--set", "planning.capacity.candidates.c2.capacity_rps=[0, 0]")
    assert "no capacity: its capacities are given as 0" in given.stdout


def test_explain_why_there_is_no_plan(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("explain", small, "--set", "planning.budget_usd_per_h=0.1")
    assert result.exit_code == 3
    assert "There would be a plan without the limit of any one of these: budget." in result.stdout
    assert "costs 0.53 $/h, the budget is 0.1 $/h" in result.stderr


@pytest.mark.parametrize("objective", ["makespan", "cost"])
def test_explain_other_objectives_and_planners(hetserve: Hetserve, small: Path, objective: str) -> None:
    result = hetserve("explain", small, "--planner", "greedy", "--set", f"planning.objective={objective}")
    assert result.exit_code == 0, result.output
    assert "Everything was asked of greedy" in result.stdout


def test_a_plan_that_does_not_fit_is_a_message(hetserve: Hetserve, plans: Path) -> None:
    text = plans.read_text()
    for old, new, said in (
        ('"count": 1', '"count": 99', "the plan does not fit the scenario beside it"),
        ("H100-SXM tp1", "H100-SMX tp1", "did you mean 'H100-SXM tp1'"),
        ('"objective_name": "throughput"', '"objective_name": "speed"', "a run writes: unknown objective 'speed'"),
        ('"plan"', '"plans"', "are not what a run writes: 'plan'"),
        ("[", "", "are not what a run writes"),
    ):
        assert old in text
        plans.write_text(text.replace(old, new))
        result = hetserve("explain", plans)
        assert (result.exit_code, said in result.stderr) == (2, True), result.output
    plans.with_name("manifest.json").unlink()
    assert "no manifest.json in" in hetserve("explain", plans).stderr


def test_options_that_contradict_each_other(hetserve: Hetserve, small: Path, plans: Path) -> None:
    assert "a PLAN has its own scenario" in hetserve("explain", plans, "--seed", "1").stderr
    both = hetserve("explain", small, "--most", "1", "--configuration", "RTX4090 tp1")
    assert (both.exit_code, "exclude each other" in both.stderr) == (2, True)


# frontier ------------------------------------------------------------------------------------------------------------


def test_frontier_in_all_forms(hetserve: Hetserve, small: Path) -> None:
    import polars as pl

    result = hetserve("frontier", small, "--budget", "0:4:1", "--csv", "new/points.csv", "--plot", "new/plot.svg")
    assert result.exit_code == 0, result.output
    assert "Throughput promised, requests/s" in result.stdout
    assert "homogeneous has no plan for 0 $/h; for 0 $/h: the cheapest fleet that serves" in result.stdout
    assert "Written: new/plot.svg" in result.stdout
    points = pl.read_csv("new/points.csv")
    assert points["budget_usd_per_h"].to_list() == [b for b in (0, 1, 2, 3, 4) for _ in ("homogeneous", "milp")]
    milp = points.filter(planner="milp", status="ok")
    assert milp["promised_rps"].is_sorted()
    assert (milp["usd_per_h"] <= milp["budget_usd_per_h"]).all()
    price = 1e6 / 3600 * milp["usd_per_h"] / milp["promised_tokens_per_s"]
    assert milp["usd_per_million_output_tokens"].to_list() == pytest.approx(price.to_list())
    picture = Path("new/plot.svg").read_text()
    for text in (">milp<", ">homogeneous<", ">budget, $/h<", ">requests/s promised<", ">$ per million output tokens<"):
        assert text in picture
    again = hetserve("frontier", small, "--budget", "4", "--csv", "new/points.csv")
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)
    forced = hetserve("frontier", small, "--budget", "4", "--csv", "new/points.csv", "--force", "--json")
    (first, _) = json.loads(forced.stdout)
    assert first.keys() == set(points.columns)
    assert pl.read_csv("new/points.csv").height == 2


def test_frontier_plans_as_plan_does(hetserve: Hetserve, small: Path) -> None:
    """Candidates of the largest budget change nothing for the smaller ones."""
    points = json.loads(hetserve("frontier", small, "--budget", "1:9:4", "--planner", "milp", "--json").stdout)
    for point in points:
        budget = f"planning.budget_usd_per_h={point['budget_usd_per_h']}"
        plan = json.loads(hetserve("plan", small, "--set", budget, "--json").stdout)
        assert point["objective"] == pytest.approx(plan["objective"])


@pytest.mark.parametrize("objective", ["makespan", "cost"])
def test_frontier_of_other_objectives(hetserve: Hetserve, small: Path, objective: str) -> None:
    plot = ("--plot", "plot.png") if objective == "makespan" else ()
    result = hetserve("frontier", small, "--budget", "1:3:1", "--set", f"planning.objective={objective}", *plot)
    assert result.exit_code == 0, result.output
    assert {"makespan": "Makespan planned, s", "cost": "Price of the cheapest"}[objective] in result.stdout
    if plot:
        assert Path("plot.png").read_bytes().startswith(b"\x89PNG")


def test_frontier_without_any_plan(hetserve: Hetserve) -> None:
    result = hetserve("frontier", "paper_example", "--budget", "0:1:0.5", "--planner", "milp")
    assert result.exit_code == 3
    assert "no feasible plan" in result.stderr


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("10-50", "is not START:STOP:STEP in $/h, as in 10:100:10"),
        ("1:2", "is not START:STOP:STEP"),
        ("1:inf:1", "is not START:STOP:STEP"),
        ("-1:5:1", "starts at -1 $/h; a budget is 0 or more"),
        ("9:5:1", "stops at 5 $/h, before it starts at 9"),
        ("1:5:0", "has the step 0 $/h; it must be more than 0"),
        ("0:1e6:1", "makes 1,000,001 budgets; at most 1,000 are planned for"),
    ],
)
def test_budgets_that_make_no_sense(hetserve: Hetserve, small: Path, budget: str, said: str) -> None:
    result = hetserve("frontier", small, f"--budget={budget}")
    assert (result.exit_code, said in result.stderr) == (2, True), result.output


def test_both_ends_are_budgets_however_they_round(hetserve: Hetserve) -> None:
    points = json.loads(hetserve("frontier", "paper_example", "--budget", "8:8.3:0.1", "--json").stdout)
    assert sorted({point["budget_usd_per_h"] for point in points}) == [8.0, 8.1, 8.2, 8.3]


def test_plots_need_an_ending_and_the_extra(hetserve: Hetserve, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = hetserve("frontier", small, "--budget", "4", "--plot", "plot.pdf")
    assert (wrong.exit_code, "plot.pdf: a plot is written as .svg or .png" in wrong.stderr) == (2, True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    missing = hetserve("frontier", small, "--budget", "4", "--plot", "plot.svg")
    assert (missing.exit_code, "altair: pip install altair vl-convert-python" in missing.stderr) == (2, True)


def test_files_that_cannot_be_written(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("frontier", small, "--budget", "4", "--csv", f"{small}/points.csv")
    assert (result.exit_code, "cannot write" in result.stderr) == (2, True), result.output


def test_without_plan_says_why_for_the_largest_budget() -> None:
    nothing = FrontierPoint("a", 1.0, "infeasible", "infeasible", None, None, None, None, None, ("too poor",))
    less = FrontierPoint("a", 2.0, "infeasible", "infeasible", None, None, None, None, None, ("still too poor",))
    assert without_plan([nothing, less]) == ["a has no plan for 1, 2 $/h; for 2 $/h: still too poor"]


def test_labels_never_overlap() -> None:
    places = spread({"a": 0.0, "b": 0.1, "c": 0.2, "d": 5.0, "e": 5.9, "f": 6.0}, distance=1.0, top=6.5)
    gaps = [upper - lower for lower, upper in zip(list(places.values()), list(places.values())[1:], strict=False)]
    assert all(gap >= 1.0 - 1e-9 for gap in gaps)
    assert min(places.values()) == 0.0
    assert max(places.values()) == 6.5


@pytest.mark.parametrize("scenario", ["quickstart", pytest.param("two_models", marks=pytest.mark.slow)])
def test_explain_is_about_the_fleet_that_plan_prints(hetserve: Hetserve, scenario: str) -> None:
    """Not about another one that is as good, with configurations that plan leaves out."""
    printed = json.loads(hetserve("plan", scenario, "--json").stdout)
    explained = json.loads(hetserve("explain", scenario, "--most", "0", "--json").stdout)["plan"]
    assert explained["fleet"] == printed["fleet"]
    assert explained["objective"] == pytest.approx(printed["objective"], rel=1e-9)
