"""Random planning problems whose capacities span nine orders of magnitude."""

from __future__ import annotations

import random

from planners import Candidate, Demand, Objective, PlanningProblem


def wide_problem(seed: int) -> PlanningProblem:
    """One or two models, one to three GPU types, up to eight candidates; some problems have no plan."""
    rng = random.Random(seed)
    objective = rng.choice((Objective.MAKESPAN, Objective.THROUGHPUT, Objective.COST))
    gpus = tuple((f"G{n}", rng.randint(1, 4)) for n in range(rng.randint(1, 3)))
    demands, candidates = [], []
    for m in range(rng.choice((1, 1, 1, 2))):
        n_types = rng.randint(1, 4)
        amounts = tuple(_spread(rng, -4, -1 if objective is Objective.COST else 2) for _ in range(n_types))
        demands.append(Demand(f"m{m}", None, tuple(f"w{w}" for w in range(n_types)), amounts))
        for c in range(rng.randint(1, 4)):
            taken = rng.sample(gpus, rng.randint(1, min(2, len(gpus))))
            numbers = tuple(sorted((gpu, rng.randint(1, 2)) for gpu, _ in taken))
            capacity_rps = tuple(_capacity_rps(rng) for _ in range(n_types))
            price = rng.randint(1, 16) / 4
            candidates.append(Candidate(f"m{m} c{c}", f"m{m}", numbers, price, capacity_rps))
    budget = rng.randint(4, 60) / 4
    return PlanningProblem(tuple(demands), tuple(candidates), gpus, budget, objective)


def _spread(rng: random.Random, low: float, high: float) -> float:
    return float(f"{10 ** rng.uniform(low, high):.3g}")


def _capacity_rps(rng: random.Random) -> float:
    """Anything, the usual, almost nothing, or rarely nothing."""
    kinds = (_spread(rng, -8, 1), _spread(rng, -8, 1), _spread(rng, 0, 1), 1e-8, 10.0, 10.0)
    return 0.0 if rng.random() < 0.03 else rng.choice(kinds)
