from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import pytest

from planners import Candidate, Demand, Objective, PlanningProblem, get_planner
from planners.controller import Controller, ReplanRules
from planners.problem.candidate import TooLong
from sim import SLO, Deployment, ReplicaSpec, gpu_type, model_spec
from sim.protocols import Decision, Situation
from sim.records import RequestLog
from traces import Supply, Trace, WorkloadGrid, WorkloadMix

MODEL = model_spec("Llama-3-8B")
GRID = WorkloadGrid((500,), (400, 20))
MIX = WorkloadMix.from_shares(GRID, (0.5, 0.5))
SLOW = ReplicaSpec.uniform(MODEL, gpu_type("L40S"))
LONG = ReplicaSpec.uniform(MODEL, gpu_type("A100-SXM-80GB"))
SHORT = ReplicaSpec.uniform(MODEL, gpu_type("H100-SXM"))


def problem(rate_rps: float = 1.0, **changes: Any) -> PlanningProblem:
    """Long answers are the A100's, short ones the H100's; an L40S serves a tenth of either."""
    candidates = (
        Candidate.from_spec(SLOW, (0.1, 0.1)),
        Candidate.from_spec(LONG, (1.0, 0.2)),
        Candidate.from_spec(SHORT, (0.2, 1.0)),
    )
    available = (("A100-SXM-80GB", 1), ("H100-SXM", 1), ("L40S", 4))
    demands = (Demand.from_rate(MODEL.name, MIX, rate_rps),)
    whole = PlanningProblem(demands, candidates, available, 100.0, Objective.THROUGHPUT)
    return replace(whole, **changes)


def trace(kinds: list[int], gap_s: float = 1.0) -> Trace:
    """Requests with long (0) or short (1) answers."""
    output_tokens = [(400, 20)[kind] for kind in kinds]
    return Trace.from_columns(
        [gap_s * i for i in range(len(kinds))], [500] * len(kinds), output_tokens, model=MODEL.name
    )


def begun(rows: Iterable[int]) -> RequestLog:
    """The log of a moment at which these requests do not wait any more."""
    log = RequestLog(100)
    for row in rows:
        log.first_scheduled_s[row] = float(row)
    return log


ALL_BEGUN = begun(range(100))


class Adopted(Controller):
    """Its decisions take effect at once."""

    def replan(self, situation: Situation) -> Decision | None:
        return super().replan(replace(situation, deployment=self.steps[-1].deployment))


def controller(
    kinds: list[int] | None = None, first: PlanningProblem | None = None, slo: SLO | None = None, **rules: Any
) -> Controller:
    first = problem() if first is None else first
    planner = get_planner("milp")
    requests = trace([0, 1] * 50 if kinds is None else kinds)
    plan = planner.plan(first)
    deployment = plan.deployment()
    assert deployment is not None
    return Adopted(
        planner, first, plan, deployment, requests, ReplanRules(**rules), slo=SLO() if slo is None else slo,
        start_s=lambda _: 60.0,
    )  # fmt: skip


def situation(
    offers: dict[str, int] | None = None,
    now_s: float = 100.0,
    cause: Literal["change", "check"] = "change",
    prices: dict[str, float] | None = None,
    log: RequestLog | None = None,
) -> Situation:
    counts = {"A100-SXM-80GB": 1, "H100-SXM": 1, "L40S": 4} | (offers or {})
    made = {gpu: Supply(n, (prices or {}).get(gpu)) for gpu, n in counts.items()}
    running = ((LONG, made["A100-SXM-80GB"].n_gpus), (SHORT, made["H100-SXM"].n_gpus), (SLOW, 4))
    n_arrived = min(100, int(now_s))
    return Situation(now_s, cause, made, Deployment(()), running, n_arrived, RequestLog(100) if log is None else log)


def gpus(decision: Decision | None) -> dict[str, int] | None:
    return None if decision is None else decision.deployment.gpus


def test_what_no_replica_can_hold_is_not_planned_for_again() -> None:
    """Long answers make requests of 900 tokens; only the short ones were asked for, and are seen."""
    demand = Demand.from_rate(MODEL.name, WorkloadMix.from_shares(GRID, (0.0, 1.0)), 0.5)
    first = problem(demands=(replace(demand, too_long=TooLong(50, 0.5, 900, 600)),))
    made = controller([0, 1] * 50, first)
    made.replan(situation({"H100-SXM": 0}, log=ALL_BEGUN))
    assert len(made.steps) == 2
    assert made.steps[-1].plan.problem.demands[0].amounts == pytest.approx((0.0, 0.5), abs=0.02)


def test_what_the_market_took_is_not_planned_with() -> None:
    decision = controller().replan(situation({"H100-SXM": 0}))
    assert gpus(decision) == {"A100-SXM-80GB": 1, "L40S": 4}
    assert decision is not None
    assert (decision.trigger, decision.cause_s) == ("change", 100.0)


def test_a_decision_that_did_not_take_effect_is_made_again() -> None:
    made = controller()
    begun = replace(situation({"H100-SXM": 0}), deployment=made.steps[0].deployment)
    first, again = (Controller.replan(made, begun) for _ in range(2))
    assert gpus(first) == gpus(again) == {"A100-SXM-80GB": 1, "L40S": 4}
    assert len(made.steps) == 2


def test_nothing_changes_if_nothing_has_changed() -> None:
    assert controller().replan(situation()) is None
    assert controller(triggers=("period",)).replan(situation({"H100-SXM": 0})) is None  # it does not look at the market


def test_what_no_fleet_can_serve_leaves_all_as_it_is() -> None:
    assert controller().replan(situation({"H100-SXM": 0, "A100-SXM-80GB": 0, "L40S": 0})) is None


@pytest.mark.parametrize("objective", [Objective.COST, Objective.THROUGHPUT])
def test_what_must_be_shed_for_a_time_is_served_again(objective: Objective) -> None:
    demand = replace(Demand.from_rate(MODEL.name, MIX, 0.8), shed_usd_per_request=(1.0, 1.0))
    only_long = Candidate.from_spec(LONG, (1.0, 0.0))
    candidates = (only_long, Candidate.from_spec(SHORT, (0.0, 1.0)))
    made = controller(first=problem(demands=(demand,), candidates=candidates, objective=objective))
    assert gpus(made.replan(situation({"H100-SXM": 0}))) == {"A100-SXM-80GB": 1}
    assert gpus(made.replan(situation())) == {"A100-SXM-80GB": 1, "H100-SXM": 1}


def test_prices_are_those_of_the_moment() -> None:
    first = problem(budget_usd_per_h=7.0)
    made = controller(first=first)
    assert gpus(made.replan(situation(prices={"H100-SXM": 6.0}))) == {"A100-SXM-80GB": 1, "L40S": 4}
    assert made.replan(situation(prices={"H100-SXM": 6.0})) is None  # as planned


def test_a_small_gain_is_not_worth_a_change() -> None:
    """Four L40S more serve 0.4 / 2.6 of the requests that all serve in the end, but only there."""
    first = problem(available=(("A100-SXM-80GB", 1), ("H100-SXM", 1), ("L40S", 0)))
    assert gpus(controller(first=first, min_gain=0.1).replan(situation())) is not None
    assert gpus(controller(first=first, min_gain=0.5).replan(situation())) is None


def test_a_period_plans_for_the_requests_seen_so_far() -> None:
    """With short answers only, the A100 is of little use, which a budget for one of the two shows."""
    kinds = [1] * 99 + [0]
    first = problem(
        demands=(Demand.from_rate(MODEL.name, WorkloadMix.from_shares(GRID, (0.9, 0.1)), 1.0),), budget_usd_per_h=3.5
    )
    for after in ([0], [1]):  # the last request has not come yet: it must not matter
        made = controller(kinds[:-1] + after, first, triggers=("period",), period_s=50.0, window_s=1000.0)
        assert made.next_check_s(0.0) == 50.0
        before = made.steps[0].plan.deployment()
        assert before is not None
        assert "A100-SXM-80GB" in before.gpus
        decision = made.replan(situation(now_s=99.0, cause="check", log=ALL_BEGUN))
        assert decision is not None
        assert decision.trigger == "period"
        assert "A100-SXM-80GB" not in decision.deployment.gpus
        assert made.replan(situation(now_s=99.0, cause="check", log=ALL_BEGUN)) is None  # no period has passed since
        amounts = made.steps[1].plan.problem.demands[0].amounts
        assert amounts == pytest.approx((18 / 119, (99 + 2) / 119))  # 20 of the first mix at 1/s, and 99 in 99 s


@pytest.mark.parametrize(("drain_backlog_s", "drain_s"), [(16.0, 16.0), (None, 50.0)])
def test_a_plan_works_off_the_backlog(drain_backlog_s: float | None, drain_s: float) -> None:
    """Long answers are the even rows: of 99 requests the long ones have begun, and one of the short ones is gone."""
    begun_log = begun(range(0, 99, 2))
    begun_log.reason[1] = "timed_out"
    made = controller(triggers=("period",), period_s=50.0, window_s=1000.0, drain_backlog_s=drain_backlog_s)
    rules = made._rules
    without, more = (made._requests.demands(situation(now_s=99.0, log=log), rules)[0] for log in (ALL_BEGUN, begun_log))
    assert more.amounts[0] == without.amounts[0]
    assert more.amounts[1] == pytest.approx(without.amounts[1] + 48 / drain_s)
    assert more.mix is not None
    assert more.mix.share[1] == pytest.approx(more.amounts[1] / more.total)


def test_bursts_seen_of_late_are_planned_for() -> None:
    """All requests of a minute come in its first second."""
    requests = Trace.from_columns(
        [60.0 * (i // 20) + i % 20 / 20 for i in range(100)], [500] * 100, [20] * 100, model=MODEL.name
    )
    milp, first = get_planner("milp"), problem()
    plan = milp.plan(first)
    deployment = plan.deployment()
    assert deployment is not None
    factors = []
    for slo in (SLO(), SLO(ttft_s=1.0)):
        made = Adopted(milp, first, plan, deployment, requests, ReplanRules(), slo=slo, start_s=lambda _: 60.0)
        seen = replace(situation(now_s=299.0, log=ALL_BEGUN), n_arrived=100)
        demand = made._requests.demands(seen, ReplanRules(stabilization_s=0.0))[0]
        factors.append(demand.margin)
        assert demand.total / demand.margin == pytest.approx(1 / 3, rel=0.2)
    assert factors[0] == 1
    assert factors[1] > 5


def log_with(first_token_s: dict[int, float], finish_s: dict[int, float]) -> RequestLog:
    log = RequestLog(100)
    for row, time_s in first_token_s.items():
        log.first_token_s[row] = time_s
    for row, time_s in finish_s.items():
        log.finish_s[row] = time_s
    return log


@pytest.mark.parametrize(
    ("now_s", "stabilization_s", "planned_rps"),
    [
        (300.0, 600.0, 1.0),  # what was planned for first
        (700.0, 600.0, 130 / 120),  # the busy window, with 20 requests in 20 s of what was planned for first
        (1090.0, 600.0, 130 / 120),
        (1200.0, 600.0, 30 / 120),
        (1090.0, 400.0, 30 / 120),
        (700.0, 0.0, 30 / 120),
        (300.0, 0.0, 30 / 120),
    ],
)
def test_a_fleet_gets_smaller_once_less_was_asked_for_so_long(
    now_s: float, stabilization_s: float, planned_rps: float
) -> None:
    """A request a second was planned for; one in 10 s comes, and two a second more from 400 to 450 s."""
    arrival_s = sorted([*(10.0 * i for i in range(120)), *(400.0 + i / 2 for i in range(100))])
    requests = Trace.from_columns(arrival_s, [500] * 220, [400, 20] * 110, model=MODEL.name)
    milp, first = get_planner("milp"), problem(objective=Objective.COST)
    plan = milp.plan(first)
    deployment = plan.deployment()
    assert deployment is not None
    rules = ReplanRules(window_s=100.0, stabilization_s=stabilization_s)
    made = Adopted(milp, first, plan, deployment, requests, rules, slo=SLO(), start_s=lambda _: 60.0)
    log = RequestLog(220)
    log.first_scheduled_s[:] = array("d", arrival_s)
    n_arrived = sum(arrival <= now_s for arrival in arrival_s)
    now = replace(situation(now_s=now_s, log=log), n_arrived=n_arrived)
    assert made._problem_now(now).demands[0].total == pytest.approx(planned_rps, abs=0.02)


def test_a_breach_of_the_slo_plans_again() -> None:
    """Requests 0 to 49 met it; of the others half did not, the first at 50 s."""
    rows = range(90)
    late = {row: row + (5.0 if row >= 50 and row % 2 == 0 else 0.5) for row in rows}
    log = log_with(late, {row: time_s + 1 for row, time_s in late.items()})
    rules: dict[str, Any] = {"triggers": ("slo",), "window_s": 1000.0, "min_gap_s": 50.0}
    slo = SLO(ttft_s=1.0, attainment=0.9)
    first = problem(available=(("A100-SXM-80GB", 1), ("H100-SXM", 0), ("L40S", 4)))
    decision = controller(first=first, slo=slo, **rules).replan(situation(cause="check", log=log))
    assert decision is not None
    assert (decision.trigger, decision.cause_s) == ("slo", 50.0)
    assert controller(first=first, slo=SLO(ttft_s=1.0, attainment=0.7), **rules).replan(
        situation(cause="check", log=log)
    ) is None  # fmt: skip
    assert controller(first=first, slo=slo, **rules | {"min_gap_s": 200.0}).replan(
        situation(cause="check", log=log)
    ) is None  # fmt: skip


def test_a_breach_is_one_of_the_limits_of_its_model() -> None:
    """Requests of another model, every second, take 5 s to their first token; those of this one half a second."""
    rows = range(90)
    first_s = {row: row + (5.0 if row % 2 == 0 else 0.5) for row in rows}
    log = log_with(first_s, {row: time_s + 1 for row, time_s in first_s.items()})
    models = ["Llama-3-70B" if row % 2 == 0 else MODEL.name for row in range(100)]
    requests = Trace.from_columns([float(row) for row in range(100)], [500] * 100, [20] * 100, model=models)
    first = problem(available=(("A100-SXM-80GB", 1), ("H100-SXM", 0), ("L40S", 4)))
    rules = ReplanRules(("slo",), window_s=1000.0, min_gap_s=50.0)
    milp = get_planner("milp")
    for own, is_breach in ((SLO(ttft_s=10, e2e_s=30), False), (SLO(), False), (SLO(ttft_s=4), True)):
        slo = SLO(ttft_s=1.0, attainment=0.9, by_model=(("Llama-3-70B", own),))
        plan = milp.plan(first)
        deployment = plan.deployment()
        assert deployment is not None
        made = Adopted(milp, first, plan, deployment, requests, rules, slo=slo, start_s=lambda _: 60.0)
        assert (made.replan(situation(cause="check", log=log)) is not None) == is_breach


def test_a_request_without_a_token_has_missed_its_ttft_once_that_is_over() -> None:
    log = log_with({}, {})
    first = problem(available=(("A100-SXM-80GB", 1), ("H100-SXM", 0), ("L40S", 4)))
    made = controller(first=first, slo=SLO(ttft_s=85.0, attainment=0.9), triggers=("slo",), min_gap_s=0.0)
    assert made.replan(situation(cause="check", log=log)) is None  # 15 are too few to say
    made = controller(first=first, slo=SLO(ttft_s=75.0, attainment=0.9), triggers=("slo",), min_gap_s=0.0)
    assert made.replan(situation(cause="check", log=log)) is not None


@pytest.mark.parametrize(("hold_s", "is_changed"), [(None, True), (30.0, False), (36000.0, True)])
def test_a_change_has_to_pay_while_it_lasts(hold_s: float | None, is_changed: bool) -> None:
    """A start takes a minute: within half of one the H100 that came back serves nothing."""
    first = problem(available=(("A100-SXM-80GB", 1), ("H100-SXM", 0), ("L40S", 4)))
    now = replace(situation(), running=((LONG, 1), (SLOW, 4)))
    assert (controller(first=first, hold_s=hold_s).replan(now) is not None) == is_changed
