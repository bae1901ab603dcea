"""Given a fleet: the best share of each workload type for each candidate, and the makespan of any shares.

The makespan T of arXiv:2502.00722, for counts y, amounts f, capacities h and shares x:

    T = max over c of  sum_w x[c,w] f[w] / h[c,w]  /  y[c]

where of replicas that must be started first only the part counts in which they serve (`planners.problem.previous`).

With amounts in requests, T is a time in seconds. With amounts in requests/s it is the utilisation of the busiest
replicas at the offered rates, and 1 / T the multiple of those rates that the fleet sustains.

Words for this number, here and in all planners:

- makespan: T itself, of a fleet and its shares;
- pace: 1 / T, in 1/s or as a multiple of the rates; what is maximised where that is linear;
- value: what a planner minimises: T, or for the objective `cost` the price in USD/h, with that of replicas that are
  being stopped and the penalties of what is shed, infinite if T is more than 1; for `latency` the time in seconds
  (`planners.fleets.latency`);
- bound: a value that no fleet beats;
- objective: the value as a plan tells it, under the name of the problem's objective: T, 1 / T, USD/h, or a latency;
- loss: in `planners.milp.formulation`, how much less than a given pace;
- score: in `planners.milp.robust`, what is made best over several cases: the worst pace, their mean, or the regret.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from planners.problem.candidate import Fractions
from planners.problem.plan import SHARE_TOLERANCE
from planners.problem.problem import Objective

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from planners.problem.candidate import Demand
    from planners.problem.problem import PlanningProblem

    Matrix = npt.NDArray[np.float64]

RATE_TOLERANCE = 1e-6
"""By which a fleet may miss the offered rates (objective `cost`) and still count as carrying them."""

_NOISE = 1e-9  # shares below this are rounding of the LP solver


class Assignment(NamedTuple):
    """A makespan T (see above), and the shares that reach it; T is infinite if something cannot be served."""

    makespan: float
    fractions: Fractions


def value_of(problem: PlanningProblem, counts: Sequence[int], makespan: float, penalty_usd_per_h: float = 0.0) -> float:
    """What planners minimise: the makespan T, or for `cost` the price in USD/h of a fleet that carries the rates.

    Args:
        problem: The problem.
        counts: Replicas of each candidate.
        makespan: T of the fleet's assignment.
        penalty_usd_per_h: The penalty of what it sheds (`planners.fleets.shedding`), for `cost`.

    Returns:
        The value; infinite if the fleet cannot serve what is demanded.
    """
    if problem.objective is not Objective.COST:
        return makespan
    is_carried = makespan <= 1 + RATE_TOLERANCE
    return problem.spent_usd_per_h(counts) + penalty_usd_per_h if is_carried else math.inf


def objective_of(objective: Objective, value: float) -> float:
    """The objective for a value that planners minimise: the value itself, or one over it for `throughput`."""
    return 1.0 / value if objective is Objective.THROUGHPUT else value


def evaluate(
    problem: PlanningProblem, counts: Sequence[int], assignment: Sequence[Sequence[float]], *, may_shed: bool = False
) -> float:
    """The makespan T of an assignment, in seconds (a utilisation if amounts are per second).

    Args:
        problem: The problem.
        counts: Replicas of each candidate.
        assignment: Shares by candidate and type.
        may_shed: Whether shares may be missing of what the problem allows to be shed, for `cost`.

    Returns:
        T; infinite if some demand has nobody, or one who is not rented or cannot serve it.

    >>> from planners.problem.problem import PlanningProblem
    >>> from planners.problem.candidate import Candidate, Demand
    >>> demand = Demand("m", None, ("chat", "code"), (80.0, 20.0))
    >>> c1 = Candidate("c1", "m", (("t1", 1),), 4.0, (1.0, 1.2))
    >>> c4 = Candidate("c4", "m", (("t2", 2),), 4.0, (2.4, 1.5))
    >>> problem = PlanningProblem((demand,), (c1, c4), (("t1", 2), ("t2", 2)), budget_usd_per_h=8.0)
    >>> round(evaluate(problem, (1, 1), ((0.15, 1.0), (0.85, 0.0))), 2)  # printed in arXiv:2502.00722
    28.67
    """
    working = problem.working(counts)
    for demand in problem.demands:
        mine = problem.candidates_of(demand.model)
        for w, amount in enumerate(demand.amounts):
            if amount == 0:
                continue
            may_be_shed = may_shed and problem.objective is Objective.COST and demand.can_shed(w)
            if math.fsum(assignment[c][w] for c in mine) < 1 - SHARE_TOLERANCE and not may_be_shed:
                return math.inf
            if any(
                assignment[c][w] > 0 and (working[c] <= 0 or problem.candidates[c].capacity_rps[w] == 0) for c in mine
            ):
                return math.inf
    return max(replica_times(problem, counts, assignment), default=0.0)


def replica_times(
    problem: PlanningProblem, counts: Sequence[int], assignment: Sequence[Sequence[float]]
) -> tuple[float, ...]:
    """Of each candidate, how long a replica is busy with what is assigned to it; 0 if none is rented.

    The arguments are those of `evaluate`; shares of types that a candidate cannot serve do not count.
    """
    times = []
    for candidate, working, shares in zip(problem.candidates, problem.working(counts), assignment, strict=True):
        amounts = problem.demand(candidate.model).amounts
        parts = zip(shares, amounts, candidate.capacity_rps, strict=True)
        busy = math.fsum(x * f / h for x, f, h in parts if x > 0 and h > 0)
        times.append(busy / working if working > 0 else 0.0)
    return tuple(times)


def best_assignment(problem: PlanningProblem, counts: Sequence[int]) -> Assignment:
    """The shares with the least makespan for a given fleet.

    Replicas serve one model each, so the models do not touch each other: every model gets its own least
    makespan, and T is the largest of them. Types of which nothing is demanded are shared out in proportion to
    capacity.

    Args:
        problem: The problem.
        counts: Replicas of each candidate.

    Returns:
        T and the shares. T is infinite, and the shares of that model are zero, if some demand has nobody.
    """
    rows = [[0.0] * len(candidate.capacity_rps) for candidate in problem.candidates]
    working = problem.working(counts)
    for demand in problem.demands:
        rented = [c for c in problem.candidates_of(demand.model) if working[c] > 0]
        shares = _shares_of_model(problem, demand, rented, working)
        for c, of_candidate in zip(rented, shares, strict=True):
            rows[c] = of_candidate
    fractions = tuple(tuple(row) for row in rows)
    return Assignment(evaluate(problem, counts, fractions), fractions)


def _shares_of_model(
    problem: PlanningProblem, demand: Demand, rented: list[int], working: Sequence[float]
) -> list[list[float]]:
    """Shares by rented candidate and type; all zero if some demand has nobody."""
    rates = [[problem.candidates[c].capacity_rps[w] * working[c] for w in range(len(demand.amounts))] for c in rented]
    shares = [[0.0] * len(demand.amounts) for _ in rented]
    for w, amount in enumerate(demand.amounts):
        total = math.fsum(rate[w] for rate in rates)
        if total > 0:
            for share, rate in zip(shares, rates, strict=True):
                share[w] = rate[w] / total
        elif amount > 0:
            return [[0.0] * len(demand.amounts) for _ in rented]
    asked = [w for w, amount in enumerate(demand.amounts) if amount > 0]
    if len(rented) < 2 or not asked:
        return shares
    # In proportion to capacity, each type alone takes f / (sum of rates) on every replica: T = their sum. That is
    # feasible, so it bounds the optimum from above and scales the LP.
    import numpy as np

    loads = np.array([[demand.amounts[w] / rate[w] if rate[w] > 0 else np.inf for w in asked] for rate in rates])
    scale = math.fsum(demand.amounts[w] / math.fsum(rate[w] for rate in rates) for w in asked)
    solved = _least_makespan(loads / scale)
    if solved is not None:
        for i, share in enumerate(shares):
            for j, w in enumerate(asked):
                share[w] = float(solved[i, j])
    return shares


def _least_makespan(loads: Matrix) -> Matrix | None:
    r"""Solve the linear program of one model.

    .. math:: \min T \quad \sum_c x_{c,w} = 1, \quad \sum_w x_{c,w} \, l_{c,w} \le T

    Args:
        loads: `loads[c, w]`, the time that candidate c's replicas take for all of type w; infinite if they cannot.

    Returns:
        The shares x, free of the solver's rounding; None if the solver gives up.
    """
    import numpy as np
    from scipy.optimize import linprog

    n_candidates, n_types = loads.shape
    c_of, w_of = np.nonzero(np.isfinite(loads))
    n = len(c_of)
    columns = np.arange(n)
    sums_of_shares = np.zeros((n_types, n + 1))
    sums_of_shares[w_of, columns] = 1.0
    overtimes = np.zeros((n_candidates, n + 1))
    overtimes[c_of, columns] = loads[c_of, w_of]
    overtimes[:, n] = -1.0
    makespan = np.zeros(n + 1)
    makespan[n] = 1.0
    result = linprog(
        makespan,
        A_ub=overtimes,
        b_ub=np.zeros(n_candidates),
        A_eq=sums_of_shares,
        b_eq=np.ones(n_types),
        bounds=(0, None),
        method="highs-ds",
    )
    if result.x is None:
        return None
    shares = np.zeros_like(loads)
    shares[c_of, w_of] = np.where(result.x[:n] > _NOISE, result.x[:n], 0.0)
    return np.asarray(shares / shares.sum(axis=0))
