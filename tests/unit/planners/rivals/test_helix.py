from __future__ import annotations

import dataclasses

import pytest

from planners import Candidate, Demand, Objective, PlanningProblem, Termination, get_planner
from planners.fleets.mix import capacity_weighted
from planners.rivals.helix import _Network
from sim import ReplicaSpec, gpu_type, model_spec
from sim.deployment import Stage
from tests.planning import hard_problem, two_models, worked_example

MODEL = model_spec("Llama-3-70B")
FAST, SLOW, OLD = gpu_type("H100-SXM"), gpu_type("L40"), gpu_type("A40")


def pipeline(rps: float, *stages: Stage) -> Candidate:
    return Candidate.from_spec(ReplicaSpec(MODEL, stages), (rps,))


def network() -> PlanningProblem:
    """Fast nodes in front of slow or old ones, which are the narrow places of both kinds of pipeline."""
    front = Stage(FAST, 2, 50)
    return PlanningProblem(
        demands=(Demand(MODEL.name, None, ("chat",), (1.0,)),),
        candidates=(
            pipeline(2.0, front, Stage(SLOW, 2, 30)),
            pipeline(1.0, front, Stage(OLD, 2, 30)),
            Candidate("all", MODEL.name, (("A40", 4), ("H100-SXM", 4), ("L40", 2)), 9.0, (0.1,)),
        ),
        available=(("A40", 4), ("H100-SXM", 4), ("L40", 2)),
        budget_usd_per_h=99.0,
        objective=Objective.THROUGHPUT,
    )


def test_nodes_are_shared_by_the_pipelines_that_requests_take() -> None:
    """A fast node passes 2 requests/s; behind two of them a slow and two old nodes pass 2 + 2 x 1."""
    placed = _Network(network(), (0, 0, 1)).place(gap=0.0, node_limit=1000)
    assert placed.pace_bound == pytest.approx(4.0)
    assert placed.is_solved


def test_replicas_do_not_share_nodes() -> None:
    net = _Network(network(), (0, 0, 1))
    placed = net.place(gap=0.0, node_limit=1000)
    assert placed.n_placed is not None
    assert net.cut(placed.n_placed) == (1, 1, 0)  # 3 requests/s: an old node has no fast one before it


def test_plan_reports_the_flow_as_its_bound() -> None:
    """Given two fast, one slow and one old node, nothing is lost."""
    plan = get_planner("helix:best").plan(network())
    assert plan.counts == (1, 1, 0)
    assert plan.objective == pytest.approx(3.0)
    assert plan.bound == pytest.approx(3.0)
    assert plan.termination is Termination.OPTIMAL


def test_requests_are_spread_blindly() -> None:
    for problem in (worked_example(), two_models()):
        plan = get_planner("helix").plan(problem)
        assert plan.assignment == capacity_weighted(problem, plan.counts).fractions


def test_a_placement_that_is_cut_short_says_so() -> None:
    problem = dataclasses.replace(hard_problem(), budget_usd_per_h=1000.0)
    plan = get_planner("helix", {"node_limit": 1, "gap": 0.0}).plan(problem)
    assert plan.termination is Termination.HEURISTIC
    assert "the placement stopped after 1 nodes of the search tree" in plan.diagnostics
    assert plan.bound is not None
    assert plan.objective is not None
    assert plan.bound < plan.objective


def test_the_fleet_given_is_kept_where_cutting_the_flow_loses_more() -> None:
    """Two fast nodes pass 2 + 2 x 1 requests/s, but make replicas for 2 + 1; beside one of them the old GPUs do 1.5."""
    front = Stage(FAST, 2, 50)
    problem = dataclasses.replace(
        network(),
        candidates=(
            pipeline(2.0, front, Stage(SLOW, 2, 30)),
            pipeline(1.0, front, Stage(OLD, 2, 30)),
            pipeline(1.5, Stage(OLD, 4, 80)),
            pipeline(0.01, Stage(FAST, 2, 80)),
        ),
    )
    plan = get_planner("helix:best").plan(problem)
    assert plan.counts == (1, 0, 1, 1)
    assert plan.objective == pytest.approx(3.51)
    assert plan.bound == pytest.approx(4.0)
    assert plan.termination is Termination.GAP_REACHED
