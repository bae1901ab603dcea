from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from planners import (
    Candidate,
    Demand,
    Objective,
    PlannerError,
    PlanningProblem,
    PlanStatus,
    Previous,
    Termination,
    get_planner,
)
from planners.problem.plan_json import plan_to_dict
from sim import ReplicaSpec, gpu_type, model_spec
from tests.planning import two_models, worked_example
from traces import PAPER_GRID, WorkloadMix
from traces.bursts import measure_bursts


def changed(**fields: Any) -> PlanningProblem:
    return dataclasses.replace(worked_example(), **fields)


def candidate(**fields: Any) -> tuple[Candidate, ...]:
    return (dataclasses.replace(worked_example().candidates[0], **fields),)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"budget_usd_per_h": -1.0}, "budget_usd_per_h is -1.0"),
        ({"budget_usd_per_h": math.nan}, "budget_usd_per_h is nan"),
        ({"time_limit_s": 0.0}, "time_limit_s is 0.0"),
        ({"seed": -1}, "seed is -1"),
        ({"max_configurations": 0}, "max_configurations is 0"),
        ({"max_gpu_share": 0.0}, "max_gpu_share is 0.0"),
        ({"max_gpu_share": 1.5}, "max_gpu_share is 1.5"),
        (
            {"demands": (Demand("llama", None, ("w1", "w2"), (1.0, 1.0), (1.0, -1.0)),)},
            "shed_usd_per_request is (1.0, -1.0)",
        ),
        ({"demands": (Demand("llama", None, ("w1", "w2"), (1.0, 1.0), (1.0,)),)}, "each of 2 workload types needs a"),
        ({"previous": Previous((("c11", 1),))}, "unknown candidate 'c11': did you mean 'c1'?"),
        ({"previous": Previous((("c2", 1), ("c1", 1)))}, "previous names c2, c1; each candidate"),
        ({"previous": Previous((("c1", -1),))}, "previous: -1 replicas of 'c1'"),
        ({"previous": Previous((), start_s=-1.0)}, "previous: start_s is -1.0"),
        ({"previous": Previous((), start_s=lambda _: math.nan)}, "previous: start_s of 'c1' is nan"),
        ({"previous": Previous((), drain_s=math.inf)}, "previous: drain_s is inf"),
        ({"previous": Previous((), hold_s=0.0)}, "previous: hold_s is 0.0"),
        ({"available": (("t1", -2), ("t2", 2), ("t3", 2))}, "-2 GPUs of type 't1'"),
        ({"available": (("t2", 2), ("t1", 2), ("t3", 2))}, "sorted by name"),
        ({"demands": ()}, "there is no demand"),
        ({"demands": (Demand("llama", None, ("w1",), (1.0, 2.0)),)}, "2 amounts for 1 workload types"),
        ({"demands": (Demand("llama", None, ("w1", "w2"), (1.0, -2.0)),)}, "the amount of w2 is -2.0"),
        ({"demands": (Demand("llama", None, ("w1", "w2"), (1.0, math.inf)),)}, "the amount of w2 is inf"),
        ({"demands": worked_example().demands * 2}, "two demands for model 'llama'"),
        ({"candidates": candidate(gpus=(("t11", 1),))}, "unknown GPU type 't11': did you mean 't1'?"),
        ({"candidates": candidate(gpus=())}, "it needs one or more of each type"),
        ({"candidates": candidate(gpus=(("t1", 0),))}, "it needs one or more of each type"),
        ({"candidates": candidate(gpus=(("t2", 1), ("t1", 1)))}, "sorted by name"),
        ({"candidates": candidate(usd_per_h=-0.5)}, "usd_per_h is -0.5"),
        ({"candidates": candidate(capacity_rps=(1.0, -1.0))}, "capacities must be 0 or more"),
        ({"candidates": candidate(capacity_rps=(1.0,))}, "1 capacities for 2 workload types"),
        ({"candidates": candidate(model="lama")}, "no demand for model 'lama': did you mean 'llama'?"),
        ({"candidates": candidate() * 2}, "two candidates are called 'c1'"),
    ],
)
def test_problem_names_what_is_wrong(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(PlannerError) as raised:
        changed(**fields)
    assert message in str(raised.value)


def test_problem_lists_all_that_is_wrong() -> None:
    with pytest.raises(PlannerError) as raised:
        changed(budget_usd_per_h=-1.0, seed=-1, candidates=candidate(usd_per_h=-0.5))
    assert len(str(raised.value).splitlines()) == 4


def test_demand_must_have_as_many_types_as_its_mix() -> None:
    mix = WorkloadMix.from_shares(PAPER_GRID, (1, 0, 0, 0, 0, 0, 0, 0, 0))
    demand = Demand("llama", mix, ("w1",), (1.0,))
    with pytest.raises(PlannerError, match="its mix has 9 workload types, 1 are named"):
        PlanningProblem((demand,), (), (), 1.0)


def test_demand_of_an_unknown_model() -> None:
    with pytest.raises(PlannerError, match="did you mean 'llama'"):
        worked_example().demand("lama")


def test_demand_from_a_mix() -> None:
    mix = WorkloadMix.from_shares(PAPER_GRID, (0.5, 0, 0, 0, 0.5, 0, 0, 0, 0))
    demand = Demand.from_rate("m", mix, rate_rps=3.0)
    assert demand.type_names[0] == "p2455_o510"
    assert demand.amounts == (1.5, 0, 0, 0, 1.5, 0, 0, 0, 0)
    assert demand.total == 3.0
    assert demand == Demand.from_requests("m", mix, n_requests=3.0)


@pytest.mark.parametrize(
    ("budget_usd_per_h", "count"), [(0.0, 0), (3.9, 0), (4.0, 1), (7.9, 1), (8.0, 2), (100.0, 2), (math.inf, 2)]
)
def test_max_count_keeps_to_budget_and_availability(budget_usd_per_h: float, count: int) -> None:
    assert changed(budget_usd_per_h=budget_usd_per_h).max_count(0) == count


def test_max_count_is_not_lost_to_rounding() -> None:
    problem = changed(candidates=candidate(usd_per_h=0.1), available=(("t1", 9),), budget_usd_per_h=0.3)
    assert problem.max_count(0) == 3  # 0.3 / 0.1 is 2.9999999999999996


def test_free_candidates_are_limited_by_availability_only() -> None:
    problem = changed(candidates=candidate(usd_per_h=0.0), available=(("t1", 9),), budget_usd_per_h=0.0)
    assert problem.max_count(0) == 9


def test_plan_to_dict_is_json() -> None:
    problem = two_models()
    plan = get_planner("milp").plan(problem)
    shown = json.loads(json.dumps(plan_to_dict(plan)))
    assert shown["status"] == "ok"
    assert shown["termination"] == "optimal"
    assert shown["objective_name"] == "makespan"
    choices = dict.fromkeys(("assignment", "composition", "deployment"), "best")
    choices |= {"method": "direct", "seed": None, "threads": 1, "keep_slo": True, "linearise": True}
    assert shown["options"] == {"gap": 1e-4, "time_limit_s": None, **choices}
    assert shown["usd_per_h"] == sum(row["usd_per_h"] for row in shown["fleet"]) <= problem.budget_usd_per_h
    assert shown["gpus"] == problem.gpus(plan.counts)
    assert [(row["model"], row["type"]) for row in shown["assignment"]] == [
        ("large", "chat"),
        ("large", "code"),
        ("small", "chat"),
        ("small", "code"),
        ("small", "batch"),
    ]
    # Several fleets are optimal. Nobody asks for batch, and only one candidate could serve it.
    is_served = dict.fromkeys(("chat", "code"), True) | {"batch": plan.counts[3] > 0}
    for row in shown["assignment"]:
        total = float(is_served[row["type"]])
        assert sum(row["share_by_replica"].values()) == pytest.approx(total)
        assert set(row["share_by_replica"]) <= {row["name"] for row in shown["fleet"]}
    assert shown["promised_rps"]["large"] == pytest.approx(50 / plan.objective)


def test_plan_without_a_fleet_to_dict() -> None:
    problem = changed(budget_usd_per_h=1.0)
    plan = get_planner("milp").plan(problem)
    shown = json.loads(json.dumps(plan_to_dict(plan)))
    assert (shown["status"], shown["objective"], shown["fleet"], shown["gpus"]) == ("infeasible", None, [], {})
    assert shown["promised_rps"] == {}
    assert plan.deployment() is None


def llama_problem(shares: tuple[float, ...], objective: Objective = Objective.MAKESPAN) -> PlanningProblem:
    llama, mix = model_spec("Llama-3-8B"), WorkloadMix.from_shares(PAPER_GRID, shares)
    specs = [ReplicaSpec.uniform(llama, gpu_type("A40")), ReplicaSpec.uniform(llama, gpu_type("L40"), pp=2)]
    able = tuple(1.0 if share > 0 else 0.0 for share in shares)
    return PlanningProblem(
        demands=(Demand.from_requests("Llama-3-8B", mix, 100.0),),
        candidates=tuple(Candidate.from_spec(spec, able) for spec in specs),
        available=(("A40", 3), ("L40", 2)),
        budget_usd_per_h=10.0,
        objective=objective,
    )


def test_deployment_has_the_replicas_and_their_routing() -> None:
    problem = llama_problem((0.5, 0, 0, 0, 0.5, 0, 0, 0, 0))
    plan = get_planner("milp").plan(problem)
    deployment = plan.deployment()
    assert deployment is not None
    assert [(spec.name, count) for spec, count in deployment.replicas] == [("A40 tp1", 3), ("L40 tp1 pp2", 1)]
    assert deployment.usd_per_h == pytest.approx(plan.usd_per_h)
    assert deployment.gpus == problem.gpus(plan.counts)
    table = deployment.routing_table("Llama-3-8B")
    assert table is not None
    assert table.mix is problem.demands[0].mix
    assert table.fractions[0][0] == plan.assignment[0][0]
    for w in range(9):
        assert sum(row[w] for row in table.fractions) == pytest.approx(1)


def test_deployment_routes_unforeseen_types_by_count() -> None:
    problem = llama_problem((1.0, 0, 0, 0, 0, 0, 0, 0, 0))
    table = get_planner("milp").plan(problem).deployment().routing_table("Llama-3-8B")  # type: ignore[union-attr]
    assert table is not None
    assert [row[8] for row in table.fractions] == [0.75, 0.25]


def test_deployment_of_two_models_keeps_their_shares_apart() -> None:
    one, mix = llama_problem((1.0, 0, 0, 0, 0, 0, 0, 0, 0)), WorkloadMix.from_shares(PAPER_GRID, (1.0, *(0,) * 8))
    other = ReplicaSpec.uniform(model_spec("Qwen3-8B"), gpu_type("A40"))
    problem = dataclasses.replace(
        one,
        demands=(Demand.from_requests("Qwen3-8B", mix, 50.0), *one.demands),
        candidates=(Candidate.from_spec(other, (1.0, *(0.0,) * 8), name="qwen"), *one.candidates),
    )
    deployment = get_planner("milp").plan(problem).deployment()
    assert deployment is not None
    assert [name for name, _ in deployment.routing] == ["Llama-3-8B", "Qwen3-8B"]
    for model in deployment.models:
        table = deployment.routing_table(model)
        assert table is not None
        for (spec, _), row in zip(deployment.replicas, table.fractions, strict=True):
            assert (sum(row) > 0) == (spec.model.name == model)


def test_no_deployment_without_specs() -> None:
    problem = worked_example()
    assert get_planner("milp").plan(problem).deployment() is None


def test_statuses_read_as_words() -> None:
    assert f"{PlanStatus.OK} {Termination.TIME_LIMIT} {Objective.THROUGHPUT}" == "ok time_limit throughput"


def test_a_model_of_which_requests_come_for_a_part_of_the_time_is_planned_for_as_they_come_then() -> None:
    """Ten requests/s for the first tenth of the time are one in the mean."""
    demand = Demand("m", None, ("chat", "code"), (0.75, 0.25))
    bursts = measure_bursts(np.arange(0.0, 100.0, 0.1), 0.95, wait_s=2.0)
    assert bursts is not None
    planned = demand.with_bursts(bursts)
    assert planned.amounts == pytest.approx((7.5, 2.5))
    assert planned.margin == pytest.approx(10.0)
    all_the_time = Demand("m", None, ("chat", "code"), (7.5, 2.49)).with_bursts(bursts)
    assert (all_the_time.margin, all_the_time.bursts) == (1.0, bursts)
