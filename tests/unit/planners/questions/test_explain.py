"""Explanations of problems whose answers can be worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from planners import Candidate, Demand, Objective, Plan, PlannerError, PlanningProblem, get_planner
from planners.milp import MilpPlanner
from planners.problem.terms import Terms
from planners.questions.explain import explain_plan
from planners.questions.explanation import BUDGET, Configuration, Effect, Explanation, Fate, Limit
from planners.questions.what_if import replaced_by
from tests.planning import worked_example

CHAT = Demand("m", None, ("chat",), (100.0,))


def of(explanation: Explanation, name: str) -> Limit:
    return next(limit for limit in explanation.limits if limit.name == name)


def why_not(explanation: Explanation, name: str) -> Configuration:
    return next(c for c in explanation.configurations if c.name == name)


def one_type(objective: Objective = Objective.MAKESPAN, budget_usd_per_h: float = 4.0) -> PlanningProblem:
    """Replicas of one GPU, 1 $/h and 2 requests/s, of which there are eight: 100 requests take 12.5 s for 4 $/h."""
    single = Candidate("single", "m", (("L40", 1),), 1.0, (2.0,))
    demand = CHAT if objective is Objective.MAKESPAN else replace(CHAT, amounts=(5.0,))
    return PlanningProblem((demand,), (single,), (("L40", 8),), budget_usd_per_h, objective)


def pairs() -> PlanningProblem:
    """Replicas of two GPUs: of three GPUs one is left over, and one more makes the second pair."""
    pair = Candidate("pair", "m", (("L40", 2),), 2.0, (5.0,))
    return PlanningProblem((CHAT,), (pair,), (("L40", 3),), budget_usd_per_h=9.0)


class Counting(MilpPlanner):
    """Counts how often it is asked."""

    n_asked = 0

    def plan(self, problem: PlanningProblem) -> Plan:
        self.n_asked += 1
        return super().plan(problem)


def test_a_budget_that_binds() -> None:
    found = explain_plan(one_type(), get_planner("milp"))
    budget = of(found, BUDGET)
    assert (budget.used, budget.left, budget.binds) == (4.0, 0.0, True)
    assert budget.one_more.objective == pytest.approx(10.0)
    assert budget.one_more.change == pytest.approx(-2.5)
    assert budget.unlimited is not None
    assert budget.unlimited.objective == pytest.approx(6.25)  # all eight
    gpus = of(found, "L40")
    assert (gpus.used, gpus.left, gpus.binds) == (4, 4, False)
    assert (gpus.one_more.effect, gpus.one_more.change) == (Effect.SAME, 0.0)
    assert gpus.without is not None
    assert gpus.without.effect is Effect.NO_PLAN


def test_gpus_that_bind_only_in_pairs() -> None:
    problem = pairs()
    found = explain_plan(problem, get_planner("milp"))
    assert found.plan.objective == pytest.approx(20.0)
    gpus = of(found, "L40")
    assert (gpus.left, gpus.binds) == (1, True)
    assert gpus.one_more.objective == pytest.approx(10.0)
    assert gpus.unlimited is not None
    assert gpus.unlimited.objective == pytest.approx(5.0)  # four pairs for 8 of 9 $/h
    assert not of(found, BUDGET).binds
    four = of(explain_plan(replace(problem, available=(("L40", 4),)), get_planner("milp")), "L40")
    assert (four.left, four.binds, four.one_more.effect) == (0, True, Effect.SAME)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (Objective.MAKESPAN, 112.5 / 8),  # 12.5 requests in 12.5 s more
        (Objective.THROUGHPUT, 8 / 6),
        (Objective.COST, 3.0),  # 5 requests/s need three replicas, which can do six
    ],
)
def test_one_more_request_per_second(objective: Objective, expected: float) -> None:
    (demand,) = explain_plan(one_type(objective), get_planner("milp")).demands
    assert demand.what_if.objective == pytest.approx(expected)
    assert demand.what_if.effect is (Effect.SAME if objective is Objective.COST else Effect.WORSE)


def test_each_more_request_per_second_beyond_what_is_spare_costs_a_replica() -> None:
    problem = replace(one_type(Objective.COST, budget_usd_per_h=9.0), demands=(replace(CHAT, amounts=(6.0,)),))
    found = explain_plan(problem, get_planner("milp"))
    (demand,) = found.demands
    assert (demand.what_if.objective, demand.what_if.change) == (4.0, 1.0)
    assert found.spare is not None
    assert found.spare.carried == pytest.approx(1.0)
    dear = explain_plan(replace(problem, budget_usd_per_h=3.5), get_planner("milp")).demands[0]
    assert dear.what_if.effect is Effect.NO_PLAN


def test_what_is_left_and_why_nothing_fits() -> None:
    found = explain_plan(one_type(budget_usd_per_h=4.6), get_planner("milp")).spare
    assert found is not None
    assert found.usd_per_h == pytest.approx(0.6)
    assert found.gpus == (("L40", 4),)
    assert (found.replica, found.replica_usd_per_h, found.with_replica) == ("single", 1.0, None)
    assert found.better_usd_per_h == pytest.approx(5.0)
    no_gpus = explain_plan(pairs(), get_planner("milp")).spare
    assert no_gpus is not None
    assert (no_gpus.replica, no_gpus.with_replica, no_gpus.better_usd_per_h) == (None, None, None)


def test_a_plan_that_leaves_something_useful_is_found_out() -> None:
    problem = one_type()
    poor = get_planner("milp").plan(replace(problem, budget_usd_per_h=2.0))
    found = explain_plan(problem, get_planner("milp"), poor)
    assert found.plan is poor
    assert found.spare is not None
    assert (found.spare.replica, found.spare.usd_per_h) == ("single", 2.0)
    assert found.spare.with_replica is not None
    assert found.spare.with_replica.objective == pytest.approx(100 / 6)
    assert found.spare.with_replica.effect is Effect.BETTER


def test_the_worked_example() -> None:
    found = explain_plan(worked_example(), get_planner("milp"))
    assert {limit.name: (limit.used, limit.left, limit.binds) for limit in found.limits} == {
        BUDGET: (8.0, 0.0, True),
        "t1": (1, 1, False),
        "t2": (2, 0, True),
        "t3": (0, 2, False),
    }
    assert of(found, BUDGET).one_more.effect is Effect.SAME
    assert found.spare is not None
    assert found.spare.better_usd_per_h == 10.0
    without = {limit.name: limit.without.objective for limit in found.limits if limit.without is not None}
    assert without["t1"] == pytest.approx(30.6667, abs=1e-4)
    assert without["t2"] == pytest.approx((80 / 1 + 20 / 1.2) / 2)  # 2 x c1
    assert without["t3"] == found.plan.objective
    assert {c.name: c.fate for c in found.configurations} == {"c2": Fate.FORCED, "c3": Fate.FORCED}
    forced = why_not(found, "c3").what_if
    assert forced is not None
    assert forced.objective == pytest.approx(without["t1"])  # c4 and two of c3 in both cases


def test_configurations_out_of_reach() -> None:
    single = Candidate("single", "m", (("L40", 1),), 1.0, (2.0,))
    problem = PlanningProblem(
        (CHAT,),
        (
            single,
            replace(single, name="unable", capacity_rps=(0.0,)),
            replace(single, name="many", gpus=(("L40", 16),)),
            replace(single, name="dear", usd_per_h=4.5, capacity_rps=(20.0,)),
            replace(single, name="slow pair", gpus=(("L40", 2),), usd_per_h=2.0, capacity_rps=(3.5,)),
            replace(single, name="fast", gpus=(("A40", 1),), usd_per_h=2.0, capacity_rps=(3.9,)),
        ),
        (("A40", 1), ("L40", 8)),
        budget_usd_per_h=4.0,
    )
    found = explain_plan(problem, get_planner("milp"), why_unable=lambda candidate: f"{candidate.name} is too small")
    assert {c.name: (c.fate, c.detail, c.dominated_by) for c in found.configurations} == {
        "unable": (Fate.NO_CAPACITY, "unable is too small", None),
        "many": (Fate.UNAVAILABLE, "needs 16 L40, there are 8", None),
        "dear": (Fate.TOO_EXPENSIVE, "costs 4.5 $/h, more than the budget", None),
        "slow pair": (Fate.DOMINATED, "", ("single", 2)),
        "fast": (Fate.FORCED, "", None),
    }
    fast = why_not(found, "fast").what_if
    assert fast is not None
    assert fast.objective == pytest.approx(100 / 7.9)
    named = explain_plan(problem, get_planner("milp"), names=["slow pair", "single", "many"]).configurations
    assert [(c.name, c.fate) for c in named] == [
        ("single", Fate.CHOSEN),
        ("many", Fate.UNAVAILABLE),
        ("slow pair", Fate.DOMINATED),
    ]
    assert named[2].what_if is not None
    assert named[2].what_if.objective == pytest.approx(100 / 7.5)
    none = explain_plan(problem, get_planner("milp"), n_configurations=0)
    assert why_not(none, "fast").fate is Fate.NOT_EXAMINED
    with pytest.raises(PlannerError, match="unknown configuration 'fats': did you mean 'fast'"):
        explain_plan(problem, get_planner("milp"), names=["fats"])


def test_of_equals_the_rented_one_makes_the_other_superfluous() -> None:
    problem = one_type()
    twins = (*problem.candidates, replace(problem.candidates[0], name="twin"))
    for rented, other in (("single", "twin"), ("twin", "single")):
        counts = tuple(4 if candidate.name == rented else 0 for candidate in twins)
        doubled = replace(problem, candidates=twins)
        assignment = tuple((count / 4,) for count in counts)
        plan = replace(get_planner("milp").plan(problem), problem=doubled, counts=counts, assignment=assignment)
        (found,) = explain_plan(doubled, get_planner("milp"), plan).configurations
        assert (found.name, found.fate, found.dominated_by) == (other, Fate.DOMINATED, (rented, 1))


def test_the_cheapest_of_each_model_are_tried_first() -> None:
    """The requests of the small model cost less everywhere; the large model is not forgotten for that."""
    problem = PlanningProblem(
        (replace(CHAT, model="large"), replace(CHAT, model="small")),
        tuple(
            Candidate(f"{model} on {gpu}", model, ((gpu, 1),), price, (rate,))
            for model, rate in (("large", 1.0), ("small", 50.0))
            for gpu, price in (("A40", 1.0), ("L40", 1.1), ("T4", 1.2))
        ),
        (("A40", 4), ("L40", 4), ("T4", 4)),
        budget_usd_per_h=3.0,
    )
    found = explain_plan(problem, get_planner("milp"), n_configurations=2)
    assert {c.name for c in found.configurations if c.fate is Fate.FORCED} == {"large on L40", "small on L40"}


def test_dominance_needs_the_same_gpus_and_model() -> None:
    one = Candidate("one", "m", (("L40", 1),), 1.0, (3.0, 2.0))
    assert replaced_by(one, replace(one, name="b", gpus=(("L40", 3),), usd_per_h=2.5, capacity_rps=(6.0, 1.0))) == 2
    assert replaced_by(one, replace(one, name="b", gpus=(("L40", 3),), usd_per_h=2.5, capacity_rps=(6.1, 1.0))) == 0
    assert replaced_by(one, replace(one, name="b", gpus=(("A40", 3),), usd_per_h=9.0)) == 0
    assert replaced_by(one, replace(one, name="b", model="n")) == 0
    free = replace(one, usd_per_h=0.0)
    assert replaced_by(free, replace(free, name="b", gpus=(("L40", 3),))) == 3


def test_no_plan_names_the_limits_that_are_to_blame() -> None:
    problem = one_type(Objective.COST, budget_usd_per_h=2.5)
    found = explain_plan(problem, get_planner("milp"))
    budget = of(found, BUDGET)
    assert (budget.used, budget.left, budget.binds) == (None, None, True)
    assert budget.unlimited is not None
    assert (budget.unlimited.objective, budget.unlimited.change) == (3.0, None)
    assert budget.one_more.objective == 3.0
    assert (of(found, "L40").one_more.effect, of(found, "L40").binds) == (Effect.NO_PLAN, False)
    assert (found.demands, found.spare, found.configurations) == ((), None, ())


def test_without_a_budget_there_is_no_row_for_it() -> None:
    found = explain_plan(one_type(budget_usd_per_h=math.inf), get_planner("milp"))
    (gpus,) = found.limits
    assert (gpus.left, gpus.binds, gpus.unlimited) == (0, True, None)
    assert gpus.one_more.objective == pytest.approx(100 / 18)
    assert found.spare is not None
    assert found.spare.usd_per_h is None


def test_solves_are_counted_and_none_is_wasted() -> None:
    planner = Counting()
    told: list[str] = []
    found = explain_plan(worked_example(), planner, watch=told.append)
    assert planner.n_asked == found.n_solves + 1 == len(told)
    # Budget: without, +1; t1: without (2 are all that 8 $/h could rent); t2: any, +1, without; t3: any; the next
    # better fleet; two types; two configurations.
    assert found.n_solves == 2 + 1 + 3 + 1 + 1 + 2 + 2
    again = explain_plan(worked_example(), planner)
    assert replace(again, plan=replace(again.plan, solve_s=0)) == replace(found, plan=replace(found.plan, solve_s=0))


def test_a_heuristic_is_asked_where_nothing_is_proved() -> None:
    found = explain_plan(one_type(), get_planner("greedy"))
    assert of(found, BUDGET).one_more.objective == pytest.approx(10.0)
    assert found.plan.bound is None


def test_what_a_plan_counts_on_is_what_it_is_compared_with() -> None:
    """A planner that found replicas half as fast as the problem says: so is the one that is added or forced."""
    other = Candidate("other", "m", (("A40", 1),), 1.0, (2.0,))
    problem = replace(one_type(), candidates=(*one_type().candidates, other), available=(("A40", 2), ("L40", 8)))
    poor = get_planner("milp").plan(replace(problem, budget_usd_per_h=2.0))
    plan = replace(poor, objective=50.0, bound=None, gap=None, counts=(2, 0), assignment=((1.0,), (0.0,)),
                   capacities=((1.0,), (1.5,)))  # fmt: skip
    found = explain_plan(problem, get_planner("milp"), plan, names=["other"])
    assert found.spare is not None
    assert found.spare.with_replica is not None
    assert found.spare.replica == "other"
    assert found.spare.with_replica.objective == pytest.approx(100 / 3.5)
    forced = found.configurations[0].what_if
    assert forced is not None
    assert forced.objective == pytest.approx(100 / 5)  # two of each


def test_json() -> None:
    problem = worked_example()
    data = explain_plan(problem, get_planner("milp")).to_dict(problem)
    assert json.loads(json.dumps(data, allow_nan=False)).keys() == {
        "plan", "limits", "further_limits", "demands", "variants", "spare", "configurations", "n_solves",
    }  # fmt: skip
    assert data["limits"][0]["binds"] is True
    assert data["limits"][2]["one_more"]["effect"] == "better"
    assert data["spare"]["gpus"] == {"t1": 1, "t2": 0, "t3": 2}


def test_what_limits_on_risk_cost() -> None:
    """Two replicas carry the rate: a third outlasts the loss of an offer, which takes an offer more, or of one GPU."""
    demand = replace(CHAT, amounts=(4.0,))
    ones = tuple(Candidate(name, "m", ((name, 1),), usd, (2.0,)) for name, usd in (("a", 1.0), ("b", 2.0), ("c", 4.0)))
    available = tuple((one.name, 4) for one in ones)
    problem = PlanningProblem((demand,), ones, available, 20.0, Objective.COST, survive="offer", min_replicas=2)
    found = explain_plan(problem, get_planner("milp"))
    assert found.plan.objective == pytest.approx(2 * 1.0 + 2 * 2.0)
    costs = {limit.name: limit.without for limit in found.further}
    assert costs["survive"].objective == pytest.approx(2.0)
    assert costs["survive"].change == pytest.approx(-4.0)
    assert costs["min_replicas"].effect is Effect.SAME


def test_one_more_of_nodes_is_a_node() -> None:
    """Nodes of four at 4 $/h: a pair takes half of one, and a second node is worth as much as the first."""
    pair = Candidate("pair", "m", (("L40", 2),), 2.0, (5.0,))
    problem = PlanningProblem((CHAT,), (pair,), (("L40", 4),), 8.0, offers=(Terms("L40", 4, 1.0),))
    found = explain_plan(problem, get_planner("milp"))
    gpus = of(found, "L40")
    assert (found.plan.counts, gpus.gpus_per_node) == ((2,), 4)
    assert gpus.one_more.objective == pytest.approx(5.0)
