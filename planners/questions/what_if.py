"""The same planning problem with something changed: what `explain` and `frontier` solve again."""

from __future__ import annotations

import math
from dataclasses import replace

from planners.problem.candidate import Candidate
from planners.problem.problem import BUDGET_TOLERANCE, Objective, PlanningProblem

_TRACE = 1e-6
"""Share of a model's demand that a workload type has which is there to be covered, not to be work."""

_ROUNDING = 1e-9  # sums of prices are not exact

_SPEED = 1e3
"""How much faster than anything else it is served."""


def with_gpus(problem: PlanningProblem, gpu: str, count: int) -> PlanningProblem:
    """The problem with another number of GPUs of a type, now; its cases stay as they are."""
    available = tuple((name, count if name == gpu else n) for name, n in problem.available)
    return replace(problem, available=available)


def without_precision(problem: PlanningProblem, model: str, precision: str) -> PlanningProblem:
    """The problem without the candidates that serve a model in a precision."""
    candidates = tuple(
        candidate
        for candidate in problem.candidates
        if candidate.model != model or candidate.spec is None or candidate.spec.model.precision.name != precision
    )
    return replace(problem, candidates=candidates)


def with_demand(problem: PlanningProblem, model: str, w: int, amount: float) -> PlanningProblem:
    """The problem with another amount of one workload type of a model, now; its cases stay as they are."""
    demands = tuple(
        replace(demand, amounts=(*demand.amounts[:w], amount, *demand.amounts[w + 1 :]))
        if demand.model == model
        else demand
        for demand in problem.demands
    )
    return replace(problem, demands=demands)


def with_rates(problem: PlanningProblem, factor: float) -> PlanningProblem:
    """The problem of the cheapest fleet, whatever the budget, that carries all amounts times a factor as rates."""
    demands = tuple(
        replace(demand, amounts=tuple(factor * amount for amount in demand.amounts), shed_usd_per_request=())
        for demand in problem.demands
    )
    return replace(problem, demands=demands, objective=Objective.COST, budget_usd_per_h=math.inf)


def with_replica(problem: PlanningProblem, c: int) -> PlanningProblem:
    """The problem with the condition that the fleet holds at least one replica of candidate `c`.

    Its model gets one more workload type, which only replicas of `c` can serve. It takes no time worth mentioning,
    less than a millionth, but somebody must be there to serve it: so every planner that serves everything rents `c`.
    In other cases of the problem nothing of it is demanded: there the replica may be lost.

    >>> from planners.problem.candidate import Candidate, Demand
    >>> demand = Demand("m", None, ("chat",), (100.0,))
    >>> two = Candidate("a", "m", (("L40", 1),), 1.0, (2.0,)), Candidate("b", "m", (("L40", 2),), 2.0, (3.0,))
    >>> forced = with_replica(PlanningProblem((demand,), two, (("L40", 8),), budget_usd_per_h=9.0), 1)
    >>> [candidate.capacity_rps for candidate in forced.candidates]
    [(2.0, 0.0), (3.0, 3000.0)]
    """
    forced = problem.candidates[c]
    demands = tuple(
        replace(
            demand,
            mix=None,
            type_names=(*demand.type_names, f"held by {forced.name}"),
            amounts=(*demand.amounts, _TRACE * demand.total),
            shed_usd_per_request=(*demand.shed_usd_per_request, *[math.inf] * bool(demand.shed_usd_per_request)),
        )
        if demand.model == forced.model
        else demand
        for demand in problem.demands
    )
    models = [demand.model for demand in problem.demands]
    cases = tuple(
        replace(
            case,
            amounts=tuple(
                (*amounts, 0.0) if model == forced.model else amounts
                for model, amounts in zip(models, case.amounts, strict=True)
            ),
        )
        for case in problem.cases
    )
    fastest = _SPEED * max(forced.capacity_rps)
    candidates = tuple(
        replace(candidate, capacity_rps=(*candidate.capacity_rps, fastest if i == c else 0.0))
        if candidate.model == forced.model
        else candidate
        for i, candidate in enumerate(problem.candidates)
    )
    return replace(problem, demands=demands, candidates=candidates, cases=cases, mixes=None)


def most_rentable(problem: PlanningProblem, gpu: str) -> int | None:
    """GPUs of a type, in whole nodes, that the budget could rent of any number; None if it could rent any number.

    >>> from planners.problem.candidate import Candidate, Demand
    >>> demand, one = Demand("m", None, ("chat",), (100.0,)), Candidate("a", "m", (("L40", 2),), 1.8, (1.0,))
    >>> most_rentable(PlanningProblem((demand,), (one,), (("L40", 1),), budget_usd_per_h=5.0), "L40")
    4
    """
    takers = [(candidate, n) for candidate in problem.candidates for name, n in candidate.gpus if name == gpu]
    if problem.budget_usd_per_h == math.inf or any(candidate.usd_per_h == 0 for candidate, _ in takers):
        return None if takers else 0
    budget = problem.budget_usd_per_h * (1 + BUDGET_TOLERANCE)
    most = max((n * math.floor(budget / candidate.usd_per_h) for candidate, n in takers), default=0)
    size = next((node.gpus_per_node for node in problem.nodes if node.name == gpu), 1)
    return math.ceil(most / size) * size


def replaced_by(better: Candidate, worse: Candidate) -> int:
    """How many replicas of one candidate make a replica of the other superfluous; 0 if no number does.

    Together they take no more GPUs of any type, cost no more, and serve no less of any workload type.

    >>> from planners.problem.candidate import Candidate
    >>> one, two = Candidate("one", "m", (("L40", 1),), 1.0, (3.0,)), Candidate("two", "m", (("L40", 2),), 2.0, (5.0,))
    >>> replaced_by(one, two), replaced_by(two, one)
    (2, 0)
    """
    if better.model != worse.model:
        return 0
    gpus = dict(worse.gpus)
    copies = min(gpus.get(gpu, 0) // n for gpu, n in better.gpus)
    if better.usd_per_h > 0:
        copies = min(copies, math.floor(worse.usd_per_h * (1 + _ROUNDING) / better.usd_per_h))
    pairs = zip(worse.capacity_rps, better.capacity_rps, strict=True)
    return 0 if any(low > copies * high for low, high in pairs) else copies
