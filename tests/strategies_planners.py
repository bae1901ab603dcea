"""Hypothesis strategies for planning problems that are small enough to enumerate."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import strategies as st

from planners import Candidate, Case, Demand, Objective, PlanningProblem, Previous
from tests.planning import BY_CAPACITY

PRICES = st.integers(0, 16).map(lambda quarters: quarters / 4)
# One in ten is 0: a few things that cannot be served make interesting problems, many leave none with a plan.
CAPACITIES = st.integers(-40, 400).map(lambda n: max(n, 0) / 20)
AMOUNTS = st.integers(-100, 1000).map(lambda n: max(n, 0) / 10)


@st.composite
def limited(draw: st.DrawFn, base: st.SearchStrategy[PlanningProblem]) -> PlanningProblem:
    """Problems with limits on configurations and GPU types, a previous fleet, or both."""
    problem = draw(base)
    names = sorted(candidate.name for candidate in problem.candidates)
    counts = tuple((name, draw(st.integers(0, 2))) for name in names if draw(st.booleans()))
    times_s = st.sampled_from([0.0, 300.0, 900.0, 2700.0, 3600.0, 7200.0])
    previous = Previous(counts, draw(times_s), draw(times_s), hold_s=3600.0)
    return replace(
        problem,
        max_configurations=draw(st.sampled_from([None, 1, 2, 3])),
        max_gpu_share=draw(st.sampled_from([1.0, 0.75, 0.5, 0.4])),
        previous=draw(st.sampled_from([None, previous])),
    )


@st.composite
def with_shedding(draw: st.DrawFn, base: st.SearchStrategy[PlanningProblem]) -> PlanningProblem:
    """Problems of which some types may be shed, at penalties that are now more and now less than serving them costs."""
    problem = draw(base)
    penalties = st.sampled_from([1e-4, 1e-3, math.inf, 1e-2])
    demands = [
        replace(one, shed_usd_per_request=tuple(draw(penalties) for _ in one.amounts)) for one in problem.demands
    ]
    return replace(problem, demands=tuple(demands))


@st.composite
def problems(
    draw: st.DrawFn,
    *,
    max_gpu_types: int = 3,
    max_gpus: int = 4,
    max_types: int = 3,
    max_models: int = 2,
    max_candidates: int = 5,
    objectives: tuple[Objective, ...] = BY_CAPACITY,
) -> PlanningProblem:
    """Problems with and without a plan; capacities, amounts and prices may be 0."""
    objective = draw(st.sampled_from(objectives))
    scale = 1 / 32 if objective is Objective.COST else 1.0  # rates that small fleets can carry
    gpus = [f"t{n}" for n in range(1, draw(st.integers(1, max_gpu_types)) + 1)]
    demands = []
    for m in range(draw(st.integers(1, max_models))):
        amounts = draw(st.lists(AMOUNTS, min_size=1, max_size=max_types))
        names = tuple(f"w{w}" for w in range(1, len(amounts) + 1))
        demands.append(Demand(f"m{m + 1}", None, names, tuple(amount * scale for amount in amounts)))
    candidates = []
    for c in range(draw(st.sampled_from(range(max_candidates, -1, -1)))):
        demand = demands[c % len(demands)]
        taken = draw(st.dictionaries(st.sampled_from(gpus), st.integers(1, 2), min_size=1, max_size=2))
        n_types = len(demand.amounts)
        capacity = draw(st.lists(CAPACITIES, min_size=n_types, max_size=n_types))
        candidates.append(
            Candidate(f"c{c + 1}", demand.model, tuple(sorted(taken.items())), draw(PRICES), tuple(capacity))
        )
    return PlanningProblem(
        demands=tuple(demands),
        candidates=tuple(candidates),
        available=tuple((gpu, draw(st.sampled_from(range(max_gpus, -1, -1)))) for gpu in gpus),
        budget_usd_per_h=draw(st.integers(0, 120).map(lambda quarters: 30 - quarters / 4)),
        objective=objective,
    )


@st.composite
def problems_with_cases(draw: st.DrawFn) -> PlanningProblem:
    """Small problems with cases: other markets, other amounts or both. Most have a plan."""
    objective = draw(st.sampled_from(BY_CAPACITY))
    gpus = ("t1", "t2")
    names = ("w1", "w2")
    rates = st.integers(0, 20).map(lambda n: n / 8 if objective is Objective.COST else 10.0 * n)
    amounts = st.tuples(rates, rates).filter(any)
    # The first candidate serves all types on one GPU, so that little is hopeless.
    candidates = [Candidate("c1", "m", (("t1", 1),), 1.0, (draw(st.integers(1, 8)) / 2, draw(st.integers(1, 8)) / 2))]
    for c in range(draw(st.integers(1, 3))):
        taken = draw(st.dictionaries(st.sampled_from(gpus), st.integers(1, 2), min_size=1))
        capacity_rps = tuple(draw(st.integers(0, 30)) / 2 for _ in names)
        price = draw(st.integers(1, 12)) / 4
        candidates.append(Candidate(f"c{c + 2}", "m", tuple(sorted(taken.items())), price, capacity_rps))

    def market() -> tuple[tuple[str, int], ...]:
        return tuple((gpu, draw(st.sampled_from((3, 2, 1, 4, 0)))) for gpu in gpus)

    cases = [Case(f"case {k + 1}", market(), (draw(amounts),)) for k in range(draw(st.integers(1, 2)))]
    return PlanningProblem(
        demands=(Demand("m", None, names, draw(amounts)),),
        candidates=tuple(candidates),
        available=market(),
        budget_usd_per_h=draw(st.sampled_from((4.0, 6.0, 3.0, 2.25, 1.0))),
        objective=objective,
        cases=tuple(cases),
    )
