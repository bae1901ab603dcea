"""Random planning problems that are too large to enumerate, of all objectives and with further limits."""

from __future__ import annotations

import random

from planners import Candidate, Demand, Objective, PlanningProblem


def random_problem(seed: int) -> PlanningProblem:
    """One to three models, two to four GPU types, up to 24 candidates; a few problems have no plan."""
    rng = random.Random(seed)
    objective = rng.choice((Objective.MAKESPAN, Objective.THROUGHPUT, Objective.COST))
    gpus = tuple((f"t{n}", rng.randint(2, 10)) for n in range(rng.randint(2, 4)))
    usd_per_h = {gpu: rng.uniform(0.3, 3.0) for gpu, _ in gpus}
    demands, candidates = [], []
    for m in range(rng.randint(1, 3)):
        n_types = rng.randint(1, 5)
        largest = 2.0 if objective is Objective.COST else 100.0
        amounts = tuple(round(rng.uniform(0.05, 1.0) * largest, 3) * (rng.random() < 0.9) for _ in range(n_types))
        demands.append(Demand(f"m{m}", None, tuple(f"w{w}" for w in range(n_types)), amounts))
        for c in range(rng.randint(3, 8)):
            taken = {gpu: rng.randint(1, 3) for gpu, _ in rng.sample(gpus, rng.choice((1, 1, 2)))}
            price = round(sum(usd_per_h[gpu] * n for gpu, n in taken.items()), 2)
            rates = tuple(
                0.0 if rng.random() < 0.05 else round(price * rng.uniform(0.3, 1.5), 3) for _ in range(n_types)
            )
            candidates.append(Candidate(f"m{m} c{c}", f"m{m}", tuple(sorted(taken.items())), price, rates))
    return PlanningProblem(
        tuple(demands),
        tuple(candidates),
        gpus,
        budget_usd_per_h=round(rng.uniform(8.0, 40.0), 2),
        objective=objective,
        max_configurations=rng.choice((None, None, None, 3, 4)),
        max_gpu_share=rng.choice((1.0, 1.0, 1.0, 0.6)),
    )
