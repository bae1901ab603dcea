"""The scenarios of the library whose market or requests change, and what planning models together is worth."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from planners import PlanningProblem, get_planner
from planners.capacity.within_slo import ROUGH
from scenarios.file.library import library_names, members
from scenarios.file.load import load
from scenarios.file.schema import PlannerChoice
from scenarios.runs.job import Job, Scheduled
from scenarios.runs.oracle import Timetable
from scenarios.runs.policies import serve
from sim.protocols import Situation
from sim.records import RequestLog

FEW = (
    "workload.small.n_requests=2000", "workload.large.n_requests=500", "cluster.gpus.RTX4090.available=2",
    "cluster.gpus.L40S.available=4", "planning.budget_usd_per_h=20",
)  # fmt: skip


def of_model(problem: PlanningProblem, model: str, budget_usd_per_h: float, taken: dict[str, int]) -> PlanningProblem:
    """The problem of one model alone, with what another has left."""
    return replace(
        problem,
        demands=(problem.demand(model),),
        candidates=tuple(candidate for candidate in problem.candidates if candidate.model == model),
        available=tuple((gpu, n - taken.get(gpu, 0)) for gpu, n in problem.available),
        budget_usd_per_h=budget_usd_per_h,
        cases=(),
        trial=None,
    )


def test_models_planned_together_are_served_as_well_as_apart_with_any_split_of_the_budget() -> None:
    problem = Job.prepare(load("two_models", None, FEW), 0).problem
    milp = get_planner("milp")
    together = milp.plan(problem)
    assert together.objective is not None
    small, large = (demand.model for demand in problem.demands)
    budget = problem.budget_usd_per_h
    apart = []
    for tenths in range(1, 10):
        shares = {small: tenths / 10 * budget, large: (10 - tenths) / 10 * budget}
        for first, second in ((small, large), (large, small)):  # who chooses first takes what it likes
            own = of_model(problem, first, shares[first], {})
            plan = milp.plan(own)
            rest = milp.plan(of_model(problem, second, shares[second], own.gpus(plan.counts)))
            apart.append(min(plan.objective or 0.0, rest.objective or 0.0))
    assert len(apart) == 18
    assert max(apart) > 0
    assert together.objective >= max(apart) * (1 - 1e-4)  # the gap at which the solver stops


def test_the_suite_names_scenarios_of_the_library() -> None:
    assert len(members("stress")) == 9
    assert set(members("stress")) <= set(library_names())
    assert members("demo") == ("demo",)


@pytest.mark.parametrize(
    ("name", "stream", "policy"),
    [("drop_half_h100", "chat", "replan_sticky"), ("two_models", "small", "static"), ("two_models", "small", "replan")],
)
def test_no_request_is_lost_or_counted_twice(name: str, stream: str, policy: str) -> None:
    """While something drops or is taken, in either way of stepping; the records are the same."""
    sets = [
        f"workload.{stream}.n_requests=400", "cluster.availability={kind: scheduled_drops, notice_s: 3, boot_s: 5, "
        "drops: [{start_s: 9, stop_s: 20, share: {H100-SXM: 0.5}}, {start_s: 21, stop_s: 30, share: {H100-SXM: 1}}]}",
        "planning.replanning.delay_s=1",
    ]  # fmt: skip
    if name == "two_models":
        sets += [*FEW[2:], "workload.large.n_requests=100"]
    frames = []
    for stepping in ("macro", "iteration"):
        job = Job.prepare(load(name, None, [*sets, f"sim.stepping={stepping}"]), 0)
        choice = PlannerChoice.model_validate({"name": "milp", "policy": policy})
        plan = job.plan(choice)
        deployment = job.deployment(plan)
        assert deployment is not None
        served = serve(job, choice, plan, deployment)
        frames.append(served.result.requests)
        assert (len(served.steps) > 1) == (policy != "static")
    macro, iteration = frames
    assert macro.equals(iteration)
    assert macro["request_id"].to_list() == list(range(len(macro)))
    assert macro.filter(pl.col("status") == "unfinished").is_empty()


def test_a_timetable_says_what_is_due() -> None:
    job = Job.prepare(load("quickstart"), 0)
    plan = job.plan(PlannerChoice.model_validate("milp"))
    deployment = job.deployment(plan)
    assert deployment is not None
    table = Timetable((Scheduled(5.0, {}, deployment), Scheduled(9.0, {}, deployment)))
    assert [table.next_check_s(t) for t in (0.0, 5.0, 9.0)] == [5.0, 9.0, None]
    at_5 = Situation(5.0, "check", {}, deployment, (), 0, RequestLog(0))
    assert table.replan(at_5) is not None
    assert table.replan(replace(at_5, now_s=6.0)) is None
    assert table.replan(replace(at_5, cause="change")) is None


def test_an_slo_of_a_model_is_that_of_its_replicas() -> None:
    def capacities(*sets: str) -> dict[str, dict[str, tuple[float, ...]]]:
        problem = Job.prepare(load("two_models", None, [*FEW, *sets]), 0, keep_dominated=True).problem
        models = [demand.model for demand in problem.demands]
        return {m: {c.name: c.capacity_rps for c in problem.candidates if c.model == m} for m in models}

    same = capacities("slo={ttft_s: 2, tpot_s: 0.1}")
    again = capacities("slo={ttft_s: 2, tpot_s: 0.1, by_model: {Llama-3-70B: {ttft_s: 2, tpot_s: 0.1}}}")
    tighter = capacities("slo={ttft_s: 2, tpot_s: 0.1, by_model: {Llama-3-70B: {ttft_s: 2, tpot_s: 0.05}}}")
    assert again == same
    assert tighter["Llama-3-8B"] == same["Llama-3-8B"]
    pairs = [(tighter["Llama-3-70B"][name], same["Llama-3-70B"][name]) for name in tighter["Llama-3-70B"]]
    assert any(sum(less) < sum(more) for less, more in pairs)
    nearly = 1 + 2 * ROUGH
    assert all(x <= nearly * y for less, more in pairs for x, y in zip(less, more, strict=True))
