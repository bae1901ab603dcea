from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from planners import Demand, Objective, Plan, PlanningProblem, Trial, get_planner
from planners.fleets.assignment import replica_times
from planners.fleets.delivery import _sample, delivered_paces
from sim import SLO
from tests.trials import slots_problem
from traces import Trace

TRUE = (1.0, 1.0, 1.0)


def paces(problem: PlanningProblem, plan: Plan | None = None, most_requests: int = 20_000) -> dict[int, float]:
    plan = get_planner("milp", {"keep_slo": False}).plan(problem) if plan is None else plan
    assert problem.trial is not None
    return delivered_paces(problem, plan, problem.trial, most_requests)


def sample(problem: PlanningProblem, n_requests: float) -> dict[tuple[str, int, int], int]:
    """How many requests of each model and length are drawn."""
    assert problem.trial is not None
    drawn = _sample(problem, problem.trial, n_requests, np.random.default_rng(0))
    rows = drawn.group_by("model", "prompt_tokens", "output_tokens").len().rows()
    return {(model, prompt, output): n for model, prompt, output, n in rows}


def test_one_slot_takes_the_sum_of_all_requests() -> None:
    """Requests one after the other: the order does not matter, and there is no end at which slots are empty."""
    problem = slots_problem((1,), (3.0,), (100, 300), available=(1,))
    assert paces(problem) == {0: pytest.approx(1 / (100 * 20 + 300 * 4), rel=1e-9)}


def test_makespan_of_some_of_the_requests_is_scaled_up() -> None:
    problem = slots_problem((1,), (1.0,), (10_000, 30_000), available=(1,))
    assert paces(problem, most_requests=400) == {0: pytest.approx(1 / (10_000 * 20 + 30_000 * 4), rel=1e-9)}


def test_all_replicas_of_a_candidate_keep_the_same_pace() -> None:
    """Three requests of 20 s for two replicas: each has 30 s of work, in the mean."""
    problem = slots_problem((1,), (1.0,), (3, 0), available=(2,))
    plan = get_planner("milp").plan(problem)
    assert plan.counts == (2,)
    assert paces(problem, plan) == {0: pytest.approx(1 / 30)}


@pytest.mark.parametrize("objective", [Objective.THROUGHPUT, Objective.COST])
def test_pace_under_load_is_what_slots_serve(objective: Objective) -> None:
    """Measured where slots are never empty: the promise if capacities are true, whatever the rates."""
    problem = slots_problem((4, 8), TRUE, (0.05, 0.2), objective=objective, available=(2, 1))
    plan = get_planner("milp").plan(problem)
    times = replica_times(problem, plan.counts, plan.assignment)
    assert {c: pace * times[c] for c, pace in paces(problem, plan).items()} == {
        c: pytest.approx(1, rel=0.02) for c, count in enumerate(plan.counts) if count
    }


@pytest.mark.parametrize("objective", [Objective.MAKESPAN, Objective.THROUGHPUT])
def test_idle_replicas_have_no_pace(objective: Objective) -> None:
    problem = slots_problem((4, 8), TRUE, (10, 20), objective=objective)
    plan = get_planner("milp").plan(problem)
    idle = dataclasses.replace(plan, counts=(1, 1), assignment=((0.0, 0.0), (1.0, 1.0)))
    assert list(paces(problem, idle)) == [1]


def test_pace_within_an_slo_is_less_than_under_load() -> None:
    """At full load the queue grows without end: the shorter the wait may be, the less the load."""
    problem = slots_problem((4,), TRUE, (0.05, 0.2), objective=Objective.THROUGHPUT, available=(1,))
    under_load = paces(problem)[0]
    assert problem.trial is not None
    requests = Trace.from_columns(np.arange(2000), [100] * 2000, [20, 4] * 1000, model="Llama-3-8B")
    found = []
    for ttft_s in (200.0, 30.0, 2.0):
        trial = dataclasses.replace(problem.trial, slo=SLO(ttft_s=ttft_s), requests=requests, knows_arrivals=False)
        found.append(paces(dataclasses.replace(problem, trial=trial))[0])
    assert found == sorted(found, reverse=True)
    assert 0.8 * under_load < found[0] < 1.05 * under_load
    assert found[-1] < 0.8 * under_load


def test_pace_within_an_slo_is_that_of_the_arrivals_which_are_known() -> None:
    """The same requests and rate: every 4 s one, or ten every 40 s. Four slots of 12 s serve one every 3 s."""
    problem = slots_problem((4,), TRUE, (0.125, 0.125), objective=Objective.THROUGHPUT, available=(1,))
    assert problem.trial is not None
    n, slo = 2000, SLO(ttft_s=6.0)
    found = {}
    for name, arrival_s in (("even", 4.0 * np.arange(n)), ("in_tens", 40.0 * (np.arange(n) // 10))):
        requests = Trace.from_columns(arrival_s, [100] * n, [20, 4] * (n // 2), model="Llama-3-8B")
        trial = dataclasses.replace(problem.trial, slo=slo, requests=requests)
        found[name] = paces(dataclasses.replace(problem, trial=trial))[0]
    assert 0.98 < found["even"] / (1 / 3 / 0.25) < 1.05
    assert found["in_tens"] < 0.75 * found["even"]


def test_caches_of_a_trial_are_those_of_its_simulation() -> None:
    """Requests drawn again have nothing in common, whatever those of the trial have."""
    problem = slots_problem((1,), (1.0,), (100, 300), available=(1,))
    assert problem.trial is not None
    cached = dataclasses.replace(problem.trial, prefix_caching=True, prefix_segment_tokens=16)
    assert paces(dataclasses.replace(problem, trial=cached)) == paces(problem)


def test_other_routers_are_tried_too() -> None:
    """Round robin does not know that one replica is ten times as fast: its pace is that of equal shares."""
    problem = slots_problem((1, 10), TRUE, (100, 300), router="round_robin")
    by_c = paces(problem)
    assert by_c[0] == pytest.approx(2 / (100 * 20 + 300 * 4), rel=0.15)
    assert by_c[1] > 5 * by_c[0]
    planned = paces(slots_problem((1, 10), TRUE, (100, 300)))
    assert min(planned.values()) > 3 * min(by_c.values())


def test_sample_has_as_many_of_each_type_as_are_demanded() -> None:
    problem = slots_problem((4,), TRUE, (7, 11))
    assert sample(problem, 18) == {("Llama-3-8B", 100, 20): 7, ("Llama-3-8B", 100, 4): 11}
    assert sample(problem, 180) == {("Llama-3-8B", 100, 20): 70, ("Llama-3-8B", 100, 4): 110}
    assert sum(sample(problem, 1).values()) == 2  # one of each type at least


def test_sample_takes_lengths_as_they_come_and_means_where_there_are_none() -> None:
    problem = slots_problem((4,), TRUE, (4, 2))
    requests = Trace.from_columns([0, 1, 2], [90, 110, 100], [19, 21, 20], model="Llama-3-8B")
    assert problem.trial is not None
    problem = dataclasses.replace(problem, trial=dataclasses.replace(problem.trial, requests=requests))
    name = "Llama-3-8B"
    assert sample(problem, 6) == {(name, 90, 19): 2, (name, 110, 21): 1, (name, 100, 20): 1, (name, 100, 4): 2}


def test_sample_of_a_model_without_requests() -> None:
    problem = slots_problem((4,), TRUE, (4, 2))
    assert problem.trial is not None
    other = problem.trial.requests.with_model("another")
    problem = dataclasses.replace(problem, trial=dataclasses.replace(problem.trial, requests=other))
    assert sample(problem, 6) == {("Llama-3-8B", 100, 20): 4, ("Llama-3-8B", 100, 4): 2}


def test_what_cannot_be_simulated_is_an_error() -> None:
    problem = slots_problem((4,), TRUE)
    plan = get_planner("milp").plan(problem)
    trial = problem.trial
    assert isinstance(trial, Trial)
    without_spec = dataclasses.replace(
        problem, candidates=tuple(dataclasses.replace(one, spec=None) for one in problem.candidates)
    )
    with pytest.raises(ValueError, match="has no spec to simulate"):
        delivered_paces(without_spec, dataclasses.replace(plan, problem=without_spec), trial, 100)
    demand = problem.demands[0]
    without_mix = dataclasses.replace(problem, demands=(Demand(demand.model, None, demand.type_names, demand.amounts),))
    with pytest.raises(ValueError, match="has no mix"):
        delivered_paces(without_mix, dataclasses.replace(plan, problem=without_mix), trial, 100)
