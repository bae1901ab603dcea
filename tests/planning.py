"""Planning problems that several tests share, and the enumeration that planners are compared with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from scipy.optimize import linprog

from planners import Candidate, Demand, Feature, Objective, PlanningProblem, best_assignment
from planners.fleets.assignment import RATE_TOLERANCE

BY_CAPACITY = tuple(objective for objective in Objective if objective is not Objective.LATENCY)
"""Objectives for which capacities are enough; for the other one see `tests.latency`."""


def worked_example(objective: Objective = Objective.MAKESPAN) -> PlanningProblem:
    """Section 4.2 of arXiv:2502.00722: 80 and 20 requests, 8 $/h, two GPUs of each of three types."""
    demand = Demand("llama", None, ("w1", "w2"), (80.0, 20.0))
    return PlanningProblem(
        demands=(demand,),
        candidates=(
            Candidate("c1", "llama", (("t1", 1),), 4.0, (1.0, 1.2)),
            Candidate("c2", "llama", (("t2", 1),), 2.0, (0.9, 0.9)),
            Candidate("c3", "llama", (("t3", 1),), 2.0, (0.3, 0.5)),
            Candidate("c4", "llama", (("t2", 2),), 4.0, (2.4, 1.5)),
        ),
        available=(("t1", 2), ("t2", 2), ("t3", 2)),
        budget_usd_per_h=8.0,
        objective=objective,
    )


def two_models(budget_usd_per_h: float = 10.0) -> PlanningProblem:
    """Two models that compete for GPUs and money, one type that only one candidate can serve, one not demanded."""
    large = Demand("large", None, ("chat", "code"), (40.0, 10.0))
    small = Demand("small", None, ("chat", "code", "batch"), (300.0, 50.0, 0.0))
    return PlanningProblem(
        demands=(large, small),
        candidates=(
            Candidate("large on 2 t1", "large", (("t1", 2),), 6.0, (1.5, 0.5)),
            Candidate("large on 2 t2", "large", (("t2", 2),), 2.0, (0.4, 0.0)),
            Candidate("large on t1 + t2", "large", (("t1", 1), ("t2", 1)), 4.0, (0.9, 0.2)),
            Candidate("small on t1", "small", (("t1", 1),), 3.0, (8.0, 6.0, 1.0)),
            Candidate("small on t2", "small", (("t2", 1),), 1.0, (3.0, 1.0, 0.0)),
        ),
        available=(("t1", 4), ("t2", 4)),
        budget_usd_per_h=budget_usd_per_h,
    )


def hard_problem() -> PlanningProblem:
    """One that takes HiGHS seconds to prove, though it has a good plan soon."""
    state = 2

    def draw(low: float, high: float) -> float:
        nonlocal state
        state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        return low + (high - low) * (state >> 11) / (1 << 53)

    gpus = tuple((f"t{n}", int(draw(8, 30))) for n in range(1, 7))
    names = tuple(f"w{w}" for w in range(1, 7))
    demands = tuple(Demand(f"m{m}", None, names, tuple(draw(10, 100) for _ in names)) for m in range(1, 4))
    candidates = []
    for demand in demands:
        for c in range(1, 26):
            n = 2 ** int(draw(0, 3))
            gpu = gpus[int(draw(0, 6))][0]
            rates = tuple(n * draw(0.2, 3) for _ in names)
            candidates.append(
                Candidate(f"{demand.model} c{c}", demand.model, ((gpu, n),), n * round(draw(0.5, 3), 2), rates)
            )
    return PlanningProblem(demands, tuple(candidates), gpus, budget_usd_per_h=60.0)


def fleets(problem: PlanningProblem) -> Iterator[tuple[int, ...]]:
    """All fleets that keep to the limits."""

    def extend(counts: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        c = len(counts)
        if c == len(problem.candidates):
            if keeps_to_further_limits(problem, counts):
                yield counts
            return
        n = 0
        while is_there(problem, (*counts, n, *(0,) * (len(problem.candidates) - c - 1))):
            yield from extend((*counts, n))
            n += 1

    yield from extend(())


def is_there(problem: PlanningProblem, counts: tuple[int, ...]) -> bool:
    """Whether there are enough GPUs, and money for the rent."""
    available = dict(problem.available)
    if any(n > available[gpu] for gpu, n in problem.gpus(counts).items()):
        return False
    return problem.usd_per_h(counts) <= problem.budget_usd_per_h * (1 + 1e-9)


def keeps_to_further_limits(problem: PlanningProblem, counts: tuple[int, ...]) -> bool:
    """Whether a fleet keeps to `max_configurations` and `max_gpu_share`, and there is money for what is stopped."""
    if problem.max_configurations is not None and len([n for n in counts if n > 0]) > problem.max_configurations:
        return False
    gpus = problem.gpus(counts)
    if any(n > problem.max_gpu_share * sum(gpus.values()) + 1e-9 for n in gpus.values()):
        return False
    return problem.usd_per_h(counts) + drain_usd_per_h(problem, counts) <= problem.budget_usd_per_h * (1 + 1e-9)


def drain_usd_per_h(problem: PlanningProblem, counts: tuple[int, ...]) -> float:
    """What is paid for replicas that are stopped, one by one."""
    if problem.previous is None:
        return 0.0
    previous, usd = problem.previous, 0.0
    for candidate, count in zip(problem.candidates, counts, strict=True):
        before = dict(previous.counts).get(candidate.name, 0)
        usd += sum(candidate.usd_per_h * previous.drain_s for _ in range(count, before))
    return usd / previous.hold_s


def makespan_of(problem: PlanningProblem, counts: tuple[int, ...]) -> float:
    """The least makespan of a fleet; each replica that is started serves for the rest of the time only."""
    previous = problem.previous
    if previous is None:
        return best_assignment(problem, counts).makespan
    capacities = []
    for candidate, count in zip(problem.candidates, counts, strict=True):
        before = dict(previous.counts).get(candidate.name, 0)
        start_s = previous.start_s(candidate) if callable(previous.start_s) else previous.start_s
        served_s = [previous.hold_s - (start_s if i >= before else 0.0) for i in range(count)]
        mean = sum(max(0.0, s) for s in served_s) / previous.hold_s / max(1, count)
        capacities.append(tuple(mean * rps for rps in candidate.capacity_rps))
    averaged = replace(problem, previous=None).with_capacities(tuple(capacities))
    return best_assignment(averaged, counts).makespan


def _usd_per_h(problem: PlanningProblem, counts: tuple[int, ...]) -> float:
    return problem.usd_per_h(counts) + drain_usd_per_h(problem, counts)


def least_penalty_usd_per_h(problem: PlanningProblem, counts: tuple[int, ...]) -> float:
    """For `cost`: the penalty of what a fleet cannot serve, by a linear program in the rates that it serves."""
    able = [
        (c, w)
        for c, candidate in enumerate(problem.candidates)
        for w, rps in enumerate(candidate.capacity_rps)
        if counts[c] > 0 and rps > 0
    ]
    gains, upper, total = [], [], 0.0
    rows: list[list[float]] = [
        [float(c == i) / problem.candidates[c].capacity_rps[w] for c, w in able] for i in range(len(counts))
    ]
    for demand in problem.demands:
        for w, amount in enumerate(demand.amounts):
            # What must be served is worth so much that it is served first.
            price = min(demand.shed_usd_per_request[w], 1e3) * 3600
            total += price * amount
            rows.append([float(v == w and problem.candidates[c].model == demand.model) for c, v in able])
            upper.append(amount)
    for c, w in able:
        gains.append(min(problem.demand(problem.candidates[c].model).shed_usd_per_request[w], 1e3) * 3600)
    if able:
        found = linprog([-gain for gain in gains], A_ub=rows, b_ub=[*counts, *upper], method="highs")
        total += found.fun
    return total if total < 1e3 else math.inf


def least_given_up(problem: PlanningProblem) -> float:
    """For the other objectives: the least penalty of types that nobody in a fleet can serve."""
    penalties = []
    for counts in fleets(problem):
        given_up = [
            demand.shed_usd_per_request[w] * amount
            for demand in problem.demands
            for w, amount in enumerate(demand.amounts)
            if amount > 0
            and not any(
                counts[c] and problem.candidates[c].capacity_rps[w] for c in problem.candidates_of(demand.model)
            )
        ]
        penalties.append(sum(given_up))
    return min(penalties)


def is_largest(problem: PlanningProblem, counts: tuple[int, ...]) -> bool:
    """Whether nothing can be added; without further limits, a smaller fleet is never faster."""
    if problem.needs & {Feature.LIMITS, Feature.SWITCHING}:
        return True
    larger = [(*counts[:c], counts[c] + 1, *counts[c + 1 :]) for c in range(len(counts))]
    return not any(is_there(problem, fleet) for fleet in larger)


def least_value(problem: PlanningProblem) -> float:
    """The value of the best fleet, by trying all; infinite if none can serve everything or nothing is asked."""
    if not any(demand.total > 0 for demand in problem.demands):
        return math.inf
    if problem.objective is not Objective.COST:
        tried = (counts for counts in fleets(problem) if is_largest(problem, counts))
        return min((makespan_of(problem, counts) for counts in tried), default=math.inf)
    if Feature.SHEDDING in problem.needs:
        return min(
            (_usd_per_h(problem, y) + least_penalty_usd_per_h(problem, y) for y in fleets(problem)), default=math.inf
        )
    price = {y: _usd_per_h(problem, y) for y in fleets(problem)}
    for counts in sorted(price, key=lambda y: price[y]):
        if makespan_of(problem, counts) <= 1 + RATE_TOLERANCE:
            return price[counts]
    return math.inf
