from __future__ import annotations

import json
from pathlib import Path

import pytest

from planners.fleets.renting import Filling
from tests.cli.conftest import Hetserve

GATE = """\
schema_version: 1
name: gate
cluster:
  gpus:
    RTX4090: {available: 1}
    H100-SXM: {available: 1}
workload:
  chat:
    kind: synthetic
    model: Llama-3-8B
    n_requests: 300
    arrivals: {kind: poisson, rate_rps: 20}
    lengths: {kind: types, grid: {prompt_tokens: [1000], output_tokens: [200, 20]}, shares: [0.5, 0.5]}
slo: {ttft_s: 1}
planning: {budget_usd_per_h: 4, grid: {prompt_tokens: [1000], output_tokens: [200, 20]}}
planners: [greedy, homogeneous]
seeds: [0, 1, 2]
overrides:
  with_h100: {workload.chat.arrivals.rate_rps: 20}
  no_h100: {cluster.gpus.H100-SXM.available: 0}
matrix:
  market: [with_h100, no_h100]
"""
RULES = ("--fail-if", "slo_attainment < -0.5pt", "--fail-if", "goodput_rps < -1%")


@pytest.fixture
def gate(in_tmp_path: Path) -> Path:
    """A market with an H100, and one without; 12 runs in a moment."""
    path = in_tmp_path / "gate.yaml"
    path.write_text(GATE)
    return path


def make(hetserve: Hetserve, out: str, *sets: str) -> None:
    given = [part for change in sets for part in ("--set", change)]
    result = hetserve("batch", "gate.yaml", "--out", out, *given)
    assert result.exit_code == 0, result.stderr


def blind_to_h100(filling: Filling) -> int | None:
    """The rule of `greedy`, with a mistake: it never sees an H100."""
    candidates = filling.problem.candidates
    for model in filling.models():
        seen = [c for c in filling.problem.candidates_of(model) if "H100-SXM" not in dict(candidates[c].gpus)]
        best = filling.best_value(seen)
        if best is not None:
            return best
    return None


@pytest.mark.usefixtures("gate")
def test_a_planner_made_worse_fails_the_gate_where_it_is_worse(
    hetserve: Hetserve, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(hetserve, "base")
    with monkeypatch.context() as patch:
        patch.setattr("planners.rivals.greedy.by_value", blind_to_h100)
        make(hetserve, "worse")
    make(hetserve, "undone")
    result = hetserve("diff", "base", "worse", *RULES, "--format", "json")
    assert result.exit_code == 4
    found = json.loads(result.stdout)
    assert [(one["rule"], one["scenario"], one["planner"]) for one in found["breaks"]] == [
        (rule, "gate+with_h100", "greedy") for rule in ("slo_attainment < -0.5pt", "goodput_rps < -1%")
    ]
    (case,) = [case for case in found["cases"] if case["plans"]]
    assert (case["scenario"], case["planner"]) == ("gate+with_h100", "greedy")
    assert case["plans"][0]["gpus"] == {"H100-SXM": [1, 0]}
    undone = hetserve("diff", "base", "undone", *RULES)
    assert undone.exit_code == 0
    assert undone.stdout == "nothing changed, of 4 scenarios and planners. The gate holds: 2 rules.\n"


@pytest.mark.usefixtures("gate")
def test_other_seeds_alone_do_not_fail_the_gate(hetserve: Hetserve) -> None:
    make(hetserve, "base")
    make(hetserve, "others", "seeds=[3, 4, 5]")
    result = hetserve("diff", "base", "others", *RULES, "--fail-if", "e2e_s_p99 > +1%")
    assert result.exit_code == 0, result.stdout
    assert "Unpaired: no seed in common, 0, 1, 2 against 3, 4, 5" in result.stdout
    assert "but noise" in result.stdout  # some means moved by more than a limit


@pytest.fixture
def two(hetserve: Hetserve, small: Path) -> tuple[str, str]:
    """Two runs of two planners; the second with less money."""
    for out, budget in (("base", 4), ("new", 1)):
        made = hetserve("compare", small, "--set", f"planning.budget_usd_per_h={budget}", "--out", out)
        assert made.exit_code == 0, made.stderr
    return "base", "new"


def test_the_table_says_what_changed_and_the_exit_code_that_it_is_too_much(
    hetserve: Hetserve, two: tuple[str, str]
) -> None:
    assert hetserve("diff", *two).exit_code == 0
    result = hetserve("diff", *two, "--fail-if", "promised_rps < -1%")
    assert result.exit_code == 4
    for said in (
        "What changed, over all 2 scenarios and planners",
        "Which plans changed: BASE -> NEW",
        "What breaks the gate",
        "promised_rps < -1%",
        "One seed: there are no intervals, and each change counts as it is.",
        "The scenario differs: planning.budget_usd_per_h: 4.0 -> 1.0 (small)",
        "The gate is BROKEN: 1 of 1 rule.",
    ):
        assert said in result.stdout
    assert hetserve("diff", *reversed(two), "--fail-if", "promised_rps < -1%").exit_code == 0
    rules = Path("rules.yaml")
    rules.write_text("fail_if:\n  - promised_rps < -1%\n")
    assert hetserve("diff", *two, "--rules", rules).exit_code == 4
    assert hetserve("diff", "base", "base", "--rules", rules).exit_code == 0


def test_tables_fit_a_terminal(hetserve: Hetserve, two: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    for given in (two, [f"{one}/scenario=small/planner=milp" for one in two]):
        lines = hetserve("diff", *given, "--all", "--fail-if", "promised_rps < -1%").stdout.splitlines()
        tables = [line for line in lines if line.startswith(" ")]
        assert tables
        assert max(map(len, tables)) <= 100


def test_many_figures_are_cut_to_the_main_ones(hetserve: Hetserve, two: tuple[str, str]) -> None:
    short, long = (hetserve("diff", *two, *all_).stdout for all_ in ((), ("--all",)))
    assert "Changed, too (--all prints them): ttft_s_mean" in short
    assert "Changed, too" not in long
    rows = [text.count("\n ttft_s_") for text in (short, long)]
    assert rows == [2, 5]


def test_json_has_it_all(hetserve: Hetserve, two: tuple[str, str]) -> None:
    found = json.loads(hetserve("diff", *two, "--format", "json", "--fail-if", "promised_rps < -1%").stdout)
    assert sorted(found) == [
        "appeared", "base", "breaks", "cases", "is_broken", "kind", "new", "notes", "over_all", "rules",
        "scenario_changes", "spared", "vanished",
    ]  # fmt: skip
    assert (found["base"], found["new"], found["kind"], found["is_broken"]) == ("base", "new", "runs", True)
    case = found["cases"][0]
    assert sorted(case) == [
        "base_seeds", "changes", "how", "new_seeds", "no_interval", "nulls", "other_requests", "planner", "plans",
        "scenario", "why_not",
    ]  # fmt: skip
    assert (case["how"], case["no_interval"], case["base_seeds"]) == ("paired", "one seed", [0])
    change = case["changes"]["usd_per_h"]
    assert sorted(change) == [
        "base", "base_by_seed", "difference", "half_width", "new", "new_by_seed", "relative", "relative_half_width",
        "within_noise",
    ]  # fmt: skip
    assert change["difference"] == change["new"] - change["base"]
    assert found["rules"] == [
        {"text": "promised_rps < -1%", "name": "promised_rps", "op": "<", "limit": -1.0, "unit": "%", "is_broken": True}
    ]


def test_markdown_for_a_pull_request(hetserve: Hetserve, two: tuple[str, str]) -> None:
    text = hetserve("diff", *two, "--format", "md", "--fail-if", "promised_rps < -1%").stdout
    assert text.startswith("**hetserve diff**: ")
    assert text.splitlines()[0].endswith("The gate is BROKEN: 1 of 1 rule.")
    assert text.count("<details>") == text.count("</details>") == 3
    assert text.index("What breaks the gate") < text.index("What changed, over all") < text.index("<details>")
    for folded in ("Plans", "All that changed, by scenario and planner", "Remarks"):
        assert f"<details><summary>{folded}</summary>\n\n" in text
    assert hetserve("diff", "base", "base", "--format", "md").stdout.startswith("**hetserve diff**: nothing changed")


def test_plans_are_compared_without_runs(hetserve: Hetserve, two: tuple[str, str], small: Path) -> None:
    base, new = (f"{one}/scenario=small/planner=milp/seed=0/plans.json" for one in two)
    result = hetserve("diff", base, new, "--fail-if", "promised_rps < -1%")
    assert result.exit_code == 4
    assert "What changed: plan, milp" in result.stdout
    assert hetserve("diff", base, base, "--fail-if", "usd_per_h > 1%").exit_code == 0
    for name, budget in (("rich.json", "4"), ("broke.json", "0.1")):
        printed = hetserve("plan", small, "--set", f"planning.budget_usd_per_h={budget}", "--json")
        Path(name).write_text(printed.stdout)
    assert hetserve("diff", base, "rich.json").exit_code == 0
    lost = hetserve("diff", "rich.json", "broke.json", "--fail-if", "usd_per_h > 1%")
    assert lost.exit_code == 4
    assert "vanished: infeasible: " in lost.stdout
    assert hetserve("diff", "broke.json", "rich.json", "--fail-if", "usd_per_h > 1%").exit_code == 0


def test_a_run_that_vanished_breaks_the_gate(hetserve: Hetserve, two: tuple[str, str]) -> None:
    (Path("new/scenario=small/planner=milp/seed=0") / "manifest.json").unlink()
    assert "small, milp: only in BASE, seed 0" in hetserve("diff", *two).stdout
    result = hetserve("diff", *two, "--fail-if", "usd_per_h > 1%")
    assert result.exit_code == 4
    assert "The gate is BROKEN: 1 vanished or not comparable." in result.stdout


def test_mistakes(hetserve: Hetserve, two: tuple[str, str], in_tmp_path: Path) -> None:
    plans = f"{two[0]}/scenario=small/planner=milp/seed=0/plans.json"
    (in_tmp_path / "empty").mkdir()
    (in_tmp_path / "bad.json").write_text('{"planner": "milp"}')
    (in_tmp_path / "text.json").write_text("no JSON")
    for arguments, message in (
        (("base", plans), f"base is a directory of runs and {plans} is a file of plans: give two directories"),
        (("base", "nowhere"), "Path 'nowhere' does not exist"),
        (("base", "empty"), "empty holds no finished run"),
        ((plans, "bad.json"), "bad.json usd_per_h: is missing"),
        ((plans, "text.json"), "text.json is not a plans.json that a run wrote"),
        ((plans, plans, "--fail-if", "e2e_s_p99 > 1%"), "unknown metric 'e2e_s_p99': known: promised_rps, usd_per_h"),
        ((*two, "--fail-if", "usd_per_h > 1pt"), "--fail-if: 'usd_per_h > 1pt': the unit 'pt' does not fit usd_per_h"),
        ((*two, "--all", "--format", "md"), "--all is for tables"),
    ):
        result = hetserve("diff", *arguments)
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.split())


def test_a_run_that_is_there_twice_is_refused(hetserve: Hetserve, two: tuple[str, str]) -> None:
    Path("both").mkdir()
    for one in two:
        Path(one).rename(Path("both") / one)
    result = hetserve("diff", "both", "both")
    assert result.exit_code == 2
    assert "small, homogeneous, seed 0 is there twice" in result.stderr
