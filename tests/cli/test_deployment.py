"""A fleet that a scenario gives: planned prices and shares, runs beside planners, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Hetserve

FLEET = "deployment={replicas: [{model: Llama-3-8B, gpu: RTX4090, count: 2}]}"
GIVEN = ("--set", FLEET)


def test_a_fleet_is_planned_with_its_price(hetserve: Hetserve, small: Path) -> None:
    data = json.loads(hetserve("plan", small, *GIVEN, "--json", "--no-check").stdout)
    assert data["planner"] == "deployment"
    assert data["gpus"] == {"RTX4090": 2}
    assert data["usd_per_h"] == pytest.approx(data["fleet"][0]["usd_per_h"])
    assert (data["objective_name"], data["termination"]) == ("throughput", "given")
    of_types = [row["share_by_replica"] for row in data["assignment"]]
    assert of_types == [{"RTX4090 tp1": 1.0}] * 2


def test_it_is_promised_what_milp_promises_for_the_same_fleet(hetserve: Hetserve, small: Path) -> None:
    milp = json.loads(hetserve("plan", small, "--json", "--no-check").stdout)
    replicas = ", ".join(
        f"{{model: Llama-3-8B, gpu: {row['name'].split()[0]}, count: {row['count']}}}" for row in milp["fleet"]
    )
    own = json.loads(
        hetserve("plan", small, "--set", f"deployment={{replicas: [{replicas}]}}", "--json", "--no-check").stdout
    )
    assert own["usd_per_h"] == pytest.approx(milp["usd_per_h"])
    assert own["promised_rps"]["Llama-3-8B"] == pytest.approx(milp["promised_rps"]["Llama-3-8B"], rel=0.01)


def test_it_is_compared_with_planners_and_runs_by_default(hetserve: Hetserve, small: Path) -> None:
    rows = json.loads(hetserve("compare", small, *GIVEN, "--out", "all", "--format", "json").stdout)["rows"]
    assert [row["planner"] for row in rows] == ["homogeneous", "milp", "deployment"]
    alone = json.loads(hetserve("run", small, *GIVEN, "--out", "one", "--json").stdout)["rows"]
    assert alone[0]["planner"] == "deployment"
    assert alone[0]["metrics"] == rows[2]["metrics"]


def test_several_fleets_stand_side_by_side(hetserve: Hetserve, small: Path) -> None:
    one, two = (f"{{replicas: [{{model: Llama-3-8B, gpu: RTX4090, count: {n}}}]}}" for n in (1, 2))
    sets = ("--set", f"deployments={{one: {one}, two: {two}}}", "--set", "planners=['deployment:two', homogeneous]")
    rows = json.loads(hetserve("compare", small, *sets, "--out", "runs", "--format", "json").stdout)["rows"]
    assert [row["planner"] for row in rows] == ["deployment:two", "homogeneous", "deployment:one"]
    assert [row["plan"]["gpus"] for row in rows[::2]] == [{"RTX4090": 2}, {"RTX4090": 1}]
    assert json.loads(hetserve("plan", small, *sets, "--json", "--no-check").stdout)["planner"] == "deployment:one"


def test_its_router_is_kept_with_it(hetserve: Hetserve, small: Path) -> None:
    replicas = "[{model: Llama-3-8B, gpu: RTX4090}, {model: Llama-3-8B, gpu: H100-SXM}]"
    both = f"deployment={{router: least_loaded, replicas: {replicas}}}"
    assert hetserve("run", small, "--set", both, "--out", "runs").exit_code == 0
    directory = next(Path("runs").rglob("plans.json")).parent
    assert json.loads((directory / "plans.json").read_text())[0]["deployment"]["router"] == "least_loaded"
    assert json.loads((directory / "manifest.json").read_text())["router"] == "least_loaded"
    printed = json.loads(hetserve("plan", small, "--set", both, "--json", "--no-check").stdout)
    assert printed["serving"]["router"] == "least_loaded"


def test_what_plan_prints_can_be_run(hetserve: Hetserve, small: Path) -> None:
    printed = hetserve("plan", small, "--json", "--no-check").stdout
    Path("plan.json").write_text(printed)
    result = hetserve("run", small, "--plan", "plan.json", "--out", "runs", "--json")
    row = json.loads(result.stdout)["rows"][0]
    assert row["plan"]["fleet"] == json.loads(printed)["fleet"]
    assert json.loads(hetserve("run", small, "--out", "own", "--json").stdout)["rows"][0]["metrics"] == row["metrics"]


def test_a_fleet_in_whole_nodes_costs_the_same_when_its_plan_is_run(hetserve: Hetserve, small: Path) -> None:
    offers = "cluster.offers={two: {gpu: H100-SXM, nodes: 1, per_node: 2, usd_per_h: 3}}"
    replicas = "[{model: Llama-3-8B, gpu: two}, {model: Llama-3-8B, gpu: RTX4090}]"
    sets = ("--set", offers, "--set", f"deployment={{replicas: {replicas}}}")
    printed = json.loads(hetserve("plan", small, *sets, "--json", "--no-check").stdout)
    Path("plan.json").write_text(json.dumps(printed))
    rows = json.loads(hetserve("run", small, *sets, "--plan", "plan.json", "--out", "runs", "--json").stdout)["rows"]
    assert {offer["name"]: offer["idle"] for offer in rows[0]["plan"]["offers"]} == {"RTX4090": 0, "two": 1}
    assert rows[0]["plan"]["usd_per_h"] == printed["usd_per_h"] > 6


def test_an_edited_plan_shows_the_fleet_that_it_simulates(hetserve: Hetserve, small: Path) -> None:
    data = json.loads(hetserve("plan", small, *GIVEN, "--json", "--no-check").stdout)
    data["fleet"][0]["count"] = data["deployment"]["replicas"][0]["count"] = 3
    Path("plan.json").write_text(json.dumps(data))
    row = json.loads(hetserve("run", small, "--plan", "plan.json", "--out", "runs", "--json").stdout)["rows"][0]
    assert row["plan"]["gpus"] == {"RTX4090": 3}
    assert row["plan"]["usd_per_h"] == pytest.approx(1.5 * data["usd_per_h"])
    del data["deployment"]
    Path("old.json").write_text(json.dumps(data))
    result = hetserve("run", small, "--plan", "old.json", "--out", "others")
    assert result.exit_code == 2
    assert "old.json deployment: is missing" in result.output


def test_routing_by_type_is_what_is_planned(hetserve: Hetserve, small: Path) -> None:
    replicas = "[{model: Llama-3-8B, gpu: RTX4090}, {model: Llama-3-8B, gpu: H100-SXM}]"
    routing = "{Llama-3-8B: {p500_o50: {H100-SXM tp1: 1}, others: {RTX4090 tp1: 0.75, H100-SXM tp1: 0.25}}}"
    given = ("--set", f"deployment={{replicas: {replicas}, routing: {routing}}}")
    data = json.loads(hetserve("plan", small, *given, "--json", "--no-check").stdout)
    assert [row["share_by_replica"] for row in data["assignment"]] == [
        {"H100-SXM tp1": 1.0},
        {"RTX4090 tp1": 0.75, "H100-SXM tp1": 0.25},
    ]
    result = hetserve("plan", small, "--set", given[1].replace("p500_o50", "p50_o50"))
    assert result.exit_code == 2
    assert "deployment.routing.Llama-3-8B.p50_o50: unknown workload type: did you mean 'p500_o50'?" in result.output


WRONG = """
deployment:
  router: least_loded
  replicas:
    - {model: Llama-3-8B, gpu: H100}
    - {model: Llama-3-8B, gpu: H100-SXM, count: 3}
    - {model: Llama-3-8b, gpu: RTX4090}
    - {model: Llama-3-8B, gpu: RTX4090, tp: 3}
    - {model: Llama-3-8B, gpu: RTX4090, tp: 4}
  routing: {Llama-3-8B: {others: {H100-SXM tp: 0.5, H100-SXM tp1: 0.6}}}
"""


def test_mistakes_are_located_all_at_once(hetserve: Hetserve, small: Path) -> None:
    first = len(small.read_text().splitlines()) + 1
    small.write_text(small.read_text() + WRONG)
    result = hetserve("validate", small)
    assert result.exit_code == 2
    for line, message in (
        (2, "deployment.router: unknown router 'least_loded': did you mean 'least_loaded'?"),
        (4, "deployment.replicas.0.gpu: unknown GPU type 'H100': did you mean 'H100-SXM'?"),
        (5, "deployment.replicas.1.count: 3 H100-SXM are taken; the market has 1"),
        (6, "deployment.replicas.2.model: unknown model 'Llama-3-8b': did you mean 'Llama-3-8B'?"),
        (7, "deployment.replicas.3: RTX4090 tp3: tp 3 does not divide the 32 query heads of Llama-3-8B"),
        (8, "deployment.replicas.4.count: 8 RTX4090 are taken with the replicas before it; the market has 4"),
        (9, "deployment.routing.Llama-3-8B.others: the shares sum to 1.1, not to 1"),
        (9, "deployment.routing.Llama-3-8B.others.H100-SXM tp: no such replica: did you mean 'H100-SXM tp1'?"),
    ):
        assert f"small.yaml:{first + line} {message}" in result.output


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["planners=[deployment]"], "planners.0: 'deployment' is the fleet that the scenario gives, but it gives none"),
        ([FLEET, "planners=[{name: deployment, policy: replan}]"], "policy: 'replan' needs a planner"),
        ([FLEET.replace("Llama-3-8B", "Llama-3-70B").replace("RTX4090", "H100-SXM")], "no stream of workload asks"),
        ([FLEET.replace("Llama-3-8B", "Llama-3-70B")], "no replica serves 'Llama-3-8B', which workload.chat asks for"),
        ([FLEET.replace("}]", "}], routing: {Llama-3-8B: {others: {RTX4090 tp1: 1}}}, router: round_robin")],
         "deployment.routing: 'round_robin', the router, takes no shares"),
        ([FLEET, "planners=[deployment, 'deployment:two']"],
         "planners.1: no such fleet among deployments: 'deployment:two': did you mean 'deployment'?"),
        (["deployments={two: {replicas: [{model: Llama-3-8B, gpu: RTX4090, count: 9}]}}"],
         "deployments.two.replicas.0.count: 9 RTX4090 are taken; the market has 4"),
        ([FLEET.replace("count: 2", "pp: 40")], "deployment.replicas.0.pp: is 40, but Llama-3-8B has 32 layers"),
        ([FLEET.replace("count: 2", "tp: 16")],
         "deployment.replicas.0.tp: is 16, but a node of RTX4090 has 8 GPUs"),
        (["cluster={offers: {pairs: {gpu: RTX4090, nodes: 2, per_node: 2}}}",
          FLEET.replace("RTX4090, count: 2", "pairs, tp: 4")],
         "deployment.replicas.0.tp: is 4, but a node of pairs has 2 GPUs"),
        ([FLEET.replace("count: 2", "precision: fp9")], "deployment.replicas.0.precision: the scenario does not have"),
    ],
)  # fmt: skip
def test_more_that_is_refused(hetserve: Hetserve, small: Path, sets: list[str], message: str) -> None:
    result = hetserve("run", small, *(part for one in sets for part in ("--set", one)), "--out", "runs")
    assert result.exit_code == 2
    assert message in result.output


def test_a_fleet_that_is_too_small_or_too_dear_is_simulated_all_the_same(hetserve: Hetserve, small: Path) -> None:
    overloaded = ("--set", "workload.chat.arrivals.rate_rps=200", "--set", "planning.objective=cost")
    dear = ("--set", "planning.budget_usd_per_h=0.1")
    result = json.loads(hetserve("plan", small, *GIVEN, *overloaded, *dear, "--json", "--no-check").stdout)
    assert result["objective_name"] == "throughput"
    assert 0 < result["objective"] < 1
    assert any("planners may spend 0.1" in line for line in result["diagnostics"])
    rows = json.loads(hetserve("run", small, *GIVEN, *overloaded, "--out", "runs", "--json").stdout)["rows"]
    assert rows[0]["metrics"]["n_completed"] == 50


def test_nobody_explains_what_nobody_chose(hetserve: Hetserve, small: Path) -> None:
    for command in (("explain",), ("frontier", "--budget", "2:4:1")):
        result = hetserve(*command, small, *GIVEN, "--planner", "deployment")
        assert result.exit_code == 2
        assert "no planner chose" in result.output


OFFERS = (
    "cluster={offers: {big: {gpu: RTX4090, nodes: 2, per_node: 4, usd_per_h: 0.5}, ours: {gpu: RTX4090, available: 1, "
    "tenure: owned}, kept: {gpu: RTX4090, nodes: 1, per_node: 2, usd_per_h: 0.25, tenure: reserved}}}"
)


def test_a_plan_on_offers_is_run_at_its_price(hetserve: Hetserve, small: Path) -> None:
    replicas = "[{model: Llama-3-8B, gpu: big, count: 5}, {model: Llama-3-8B, gpu: ours}]"
    given = ("--set", OFFERS, "--set", f"deployment={{replicas: {replicas}}}")
    planned = json.loads(hetserve("plan", small, *given, "--json", "--no-check").stdout)
    Path("plan.json").write_text(json.dumps(planned))
    run = hetserve("run", small, "--set", OFFERS, "--plan", "plan.json", "--out", "runs", "--json")
    plan = json.loads(run.stdout)["rows"][0]["plan"]
    rented = {"offers", "fleet", "gpus", "usd_per_h"}
    assert {key: plan[key] for key in rented} == {key: planned[key] for key in rented}
    assert plan["usd_per_h"] == pytest.approx(8 * 0.5 + 2 * 0.25)  # two whole nodes, and what is paid in any case
    assert hetserve("export", "plan.json", "--to", "vllm", "--out", "fleet").exit_code == 0


def test_bursts_are_not_measured_of_few_requests(hetserve: Hetserve, small: Path) -> None:
    for slo, why in (("slo={}", "there is no SLO to miss in a burst"), ("slo={ttft_s: 5}", "where requests are few")):
        few = ("--set", "workload.chat.n_requests=5", "--set", slo)
        assert why in hetserve("plan", small, *GIVEN, *few, "--no-check").stdout
