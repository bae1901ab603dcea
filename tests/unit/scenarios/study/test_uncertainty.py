from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scenarios.errors import RunError
from scenarios.file.load import load
from scenarios.runs.row import Row
from scenarios.runs.series import run_rows
from scenarios.runs.watcher import Watcher
from scenarios.runs.worlds import KeptRun, figures_in_worlds, job_of
from scenarios.study.uncertainty import Interval, PlanInWorlds, Weighing, weigh
from sim.catalog.gpus import Uncertainty
from sim.timing.worlds import OVERHEADS, Factors, World

SCENARIO = """
schema_version: 1
name: s
cluster:
  gpus: {RTX4090: {available: 4}, L40: {available: 4}}
workload:
  chat: {kind: azure_conv_like, model: Llama-3-8B, n_requests: 120, rate_rps: 12}
slo: {ttft_s: 1, tpot_s: 0.05}
planning: {budget_usd_per_h: 3}
planners: [homogeneous, {name: homogeneous, label: again}, milp]
seeds: [1, 2]
"""

MOVING = """
schema_version: 1
name: m
cluster:
  gpus: {H100-SXM: {available: 4}, L40S: {available: 8}}
  availability:
    kind: scheduled_drops
    notice_s: 10
    boot_s: 30
    drops: [{start_s: 20, stop_s: 80, share: {H100-SXM: 0.75}}]
workload:
  chat: {kind: azure_conv_like, model: Llama-3-8B, n_requests: 2500, rate_rps: 28}
slo: {ttft_s: 1, tpot_s: 0.05}
planning: {budget_usd_per_h: 6, replanning: {delay_s: 5}}
planners: [{name: milp, policy: replan}]
sim: {router: least_loaded}
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "s.yaml").write_text(SCENARIO)
    return run_rows(load(str(folder / "s.yaml")), folder / "out")


def weighing(*goodputs: list[float | None], nominal: list[float | None], objective: str = "throughput") -> Weighing:
    """Plans that deliver so much in each world."""
    merit = {"throughput": "goodput_rps", "cost": "usd_per_good_request", "makespan": "makespan_s"}[objective]
    n_worlds = len(goodputs[0])
    plans = tuple(
        PlanInWorlds(
            f"planner {i}",
            {merit: at_nominal, "slo_attainment": 1.0},
            tuple({merit: value, "slo_attainment": 0.5 + 0.1 * k} for k, value in enumerate(values)),
            frozenset({"A"}),
        )
        for i, (values, at_nominal) in enumerate(zip(goodputs, nominal, strict=True))
    )
    factors = np.exp(np.linspace(-1, 1, n_worlds)).tolist()
    worlds = tuple(World((("A", Factors(x, x)),), 1.0) for x in factors)
    return Weighing("s", objective, plans, worlds, {"A": Uncertainty(0.1, 0.1)}, has_overheads=True, goal=0.7)


def test_probabilities_are_antisymmetric() -> None:
    found = weighing([3, 3, 3, 3], [2, 3, 4, 5], [9, 9, 9, 9], nominal=[3, 2, 1])
    for i in range(3):
        for j in range(3):
            assert found.probability(i, j) + found.probability(j, i) == 1
    assert found.probability(0, 1) == (1 + 0.5) / 4
    assert found.are_equal(0, 1)
    assert found.probability(2, 0) == 1
    assert not found.are_equal(2, 0)
    assert found.probability(0, 0) == 0.5


def test_regret_is_what_the_best_of_each_world_has_more() -> None:
    found = weighing([3, 3, 3, 3], [2, 3, 4, 5], nominal=[3, 2])
    assert found.chosen == 0
    assert found.regrets(0).tolist() == [0, 0, 1, 2]
    assert found.regret(0) == (0.75, 2)
    assert found.regret(1) == (0.25, 1)
    assert [found.best_share(i) for i in range(2)] == [0.5, 0.75]
    assert found.worth_of_all == pytest.approx(0.25)  # 3.75 instead of the 3.5 of the second plan


def test_the_best_in_every_world_is_not_regretted() -> None:
    found = weighing([3, 4, 5], [2, 3, 4], nominal=[1, 2])
    assert found.chosen == 1  # by the service times as they are
    assert found.regret(0) == (0, 0)
    assert found.regret(1) == (1, 1)
    assert found.worth_of_all == 0
    assert all(cause.worth == 0 for cause in found.causes())


def test_less_is_better_of_a_price_and_a_time() -> None:
    for objective in ("cost", "makespan"):
        found = weighing([1, 2], [2, 1.5], nominal=[3, 2], objective=objective)
        assert found.chosen == 1
        assert found.regrets(0).tolist() == [0, 0.5]


def test_a_run_without_a_price_is_as_bad_as_the_worst() -> None:
    found = weighing([1, None], [2, 1.5], nominal=[None, 2], objective="cost")
    assert found.chosen == 1
    assert found.losses.tolist() == [[1, 2], [2, 1.5]]
    assert weighing([None], [None], nominal=[None, None], objective="cost").regret(0) == (0, 0)


def test_goal_and_intervals() -> None:
    found = weighing([3.0] * 5, nominal=[3])
    assert found.goal_share(0) == pytest.approx(3 / 5)
    assert found.plans[0].interval("goodput_rps") == (3, 3, 3)
    assert found.plans[0].interval("none") is None
    assert Interval.of([*range(101)]) == (5, 50, 95)


def test_causes_are_what_was_drawn() -> None:
    n = 40
    factors = np.linspace(-1, 1, n)
    found = weighing([0.0] * n, (5 * factors).tolist(), nominal=[0, -1])
    first, second = found.causes()
    assert (first.name, second.name) == ("A", OVERHEADS)
    assert first.worth == pytest.approx(found.worth_of_all) == pytest.approx(np.maximum(5 * factors, 0).mean())
    assert first.share_of_regret > 0.9
    assert second.worth == second.share_of_regret == 0


def test_kept_runs_in_the_world_of_the_model(rows: list[Row]) -> None:
    """All figures are those of the runs."""
    of_seed = [row for row in rows if row.seed == 1]
    directories = [row.directory for row in of_seed if row.directory is not None]
    job = job_of(directories[0], Watcher())
    runs = [KeptRun.read(directory, job) for directory in directories]
    for row, (figures,) in zip(of_seed, figures_in_worlds(job, runs, [World()], 1, Watcher()), strict=True):
        assert figures == {**row.metrics, "kept_promise": row.kept_promise}


def test_weighing_kept_runs(rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    """Worlds are the same for all planners and seeds, plans that are alike are simulated once, and nothing is drawn."""
    seen: list[tuple[str, World]] = []
    figures: Callable[..., object] = KeptRun.figures

    def noted(run: KeptRun, job: object, world: World) -> object:
        seen.append((run.planner, world))
        return figures(run, job, world)

    monkeypatch.setattr(KeptRun, "figures", noted)
    (found,) = weigh(rows, 3)
    assert [plan.planner for plan in found.plans] == ["homogeneous", "again", "milp"]
    assert {planner for planner, _ in seen} == {"homogeneous", "milp"}
    assert [world for planner, world in seen if planner == "milp"] == list(found.worlds) * 2
    assert len(seen) == 3 * 2 * 2
    assert found.probability(0, 1) == 0.5
    assert found.plans[0].figures == found.plans[1].figures
    mine = [row.metrics["goodput_rps"] for row in rows if row.planner == "milp"]
    assert found.plans[2].nominal["goodput_rps"] == pytest.approx(sum(filter(None, mine)) / 2)
    data = json.dumps(found.to_dict(), allow_nan=False)
    monkeypatch.undo()
    (again,) = weigh(rows, 3, n_jobs=2)
    assert json.dumps(again.to_dict(), allow_nan=False) == data


def test_what_was_planned_during_a_run_is_kept_in_all_worlds(tmp_path: Path) -> None:
    """Three of four H100s are gone for a minute, and a plan takes effect meanwhile."""
    (tmp_path / "m.yaml").write_text(MOVING)
    (row,) = run_rows(load(str(tmp_path / "m.yaml")), tmp_path / "out")
    assert row.directory is not None
    job = job_of(row.directory, Watcher())
    run = KeptRun.read(row.directory, job)
    assert len(run.plans) == 1 + len(run.replans) > 1
    slow = World((("H100-SXM", Factors(2, 2)),))
    (right, off), *_ = figures_in_worlds(job, [run], [World(), slow], 1, Watcher())
    assert right == {**row.metrics, "kept_promise": row.kept_promise}
    assert off["e2e_s_mean"] > 1.2 * right["e2e_s_mean"]  # type: ignore[operator]


def test_there_must_be_runs(rows: list[Row], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run is kept"):
        weigh([Row("s", "milp", 0, "infeasible", {})], 3)
    with pytest.raises(RunError, match="s, milp, seed 2 is there twice"):
        weigh([*rows, rows[-1]], 3)
