from __future__ import annotations

import dataclasses

import pytest
from pydantic import BaseModel

from planners import PlanStatus, Termination, Trial, check_plan
from planners.fleets.drafting import Drafting, why_infeasible
from sim import SLO, CompactServiceTime
from tests.planning import two_models, worked_example
from traces import Trace


class Options(BaseModel):
    zeal: int = 3
    care: float = 0.5


def drafting(problem=None) -> Drafting:  # type: ignore[no-untyped-def]
    return Drafting(problem or worked_example(), "by hand", Options())


def test_plan_carries_what_it_was_made_of() -> None:
    plan = drafting().plan((1, 0, 0, 1), Termination.GAP_REACHED, bound=28.0, diagnostics=("a note",))
    assert plan.planner == "by hand"
    assert plan.options == (("care", 0.5), ("zeal", 3))
    assert plan.termination is Termination.GAP_REACHED
    assert plan.objective == pytest.approx(28.431372549)
    assert plan.bound == 28.0
    assert plan.gap == pytest.approx(1 - 28 / 28.431372549)
    assert plan.diagnostics == ("a note",)
    assert plan.solve_s > 0


def test_bound_within_the_solvers_rounding_is_the_objective() -> None:
    plan = drafting().plan((1, 0, 0, 1), Termination.OPTIMAL, bound=28.5)
    assert plan.bound == plan.objective
    assert plan.gap == 0.0


def test_given_shares_are_kept_and_replicas_without_any_are_given_back() -> None:
    shares = ((0.15, 1.0), (0.0, 0.0), (0.0, 0.0), (0.85, 0.0))
    plan = drafting().plan((1, 1, 0, 1), Termination.HEURISTIC, assignment=shares)
    assert plan.counts == (1, 0, 0, 1)
    assert plan.assignment == shares
    assert plan.objective == pytest.approx(28.67, abs=0.005)


def test_given_shares_that_leave_something_out_make_no_plan() -> None:
    shares = ((0.15, 1.0), (0.0, 0.0), (0.0, 0.0), (0.8, 0.0))
    plan = drafting().plan((1, 0, 0, 1), Termination.HEURISTIC, assignment=shares)
    assert plan.status is PlanStatus.INFEASIBLE


def test_fleet_beyond_the_limits_is_a_failed_plan_that_says_why() -> None:
    plan = drafting().plan((2, 0, 0, 1), Termination.OPTIMAL)
    assert plan.status is PlanStatus.FAILED
    assert plan.termination is Termination.ERROR
    assert plan.diagnostics == ("budget: the fleet costs 12 $/h, the budget is 8",)
    assert check_plan(worked_example(), plan) == []
    assert plan.deployment() is None


def test_fleet_that_cannot_serve_everything_is_infeasible() -> None:
    plan = drafting(two_models()).plan((0, 1, 0, 1, 0), Termination.HEURISTIC)
    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.diagnostics == ("the fleet chosen cannot serve everything; another one could",)


@pytest.mark.parametrize(
    ("termination", "status"),
    [
        (Termination.INFEASIBLE, PlanStatus.INFEASIBLE),
        (Termination.TIME_LIMIT, PlanStatus.FAILED),
        (Termination.ERROR, PlanStatus.FAILED),
    ],
)
def test_no_plan_has_a_status_and_a_reason(termination: Termination, status: PlanStatus) -> None:
    plan = drafting().none(termination, ("no luck",))
    assert (plan.status, plan.termination, plan.diagnostics) == (status, termination, ("no luck",))


def test_reasons_name_each_model_and_type() -> None:
    problem = two_models()
    without = dataclasses.replace(problem, candidates=problem.candidates[1:2])
    assert why_infeasible(without) == (
        "large: no candidate can serve code",
        "small: there is no candidate for this model",
    )


def test_types_that_nobody_serves_are_listed_once_with_the_slo() -> None:
    problem = worked_example()
    idle = [dataclasses.replace(candidate, capacity_rps=(0.0, 0.0)) for candidate in problem.candidates]
    problem = dataclasses.replace(problem, candidates=tuple(idle))
    (demand,) = problem.demands
    message = f"{demand.model}: no candidate can serve {', '.join(demand.type_names)}"
    assert why_infeasible(problem) == (message,)
    requests = Trace.from_columns([0.0], [1], [1])
    slo = SLO(ttft_s=0.001, e2e_s=3.0, by_model=((demand.model, SLO(tpot_s=0.002)),), attainment=1.0)
    for within, own in (("TPOT 0.002 s", slo), ("TTFT 0.001 s, E2E 3 s", dataclasses.replace(slo, by_model=()))):
        trial = Trial(CompactServiceTime(), requests, own)
        (said,) = why_infeasible(dataclasses.replace(problem, trial=trial))
        assert said == f"{message} within the SLO ({within}) for 100 % of its requests"
