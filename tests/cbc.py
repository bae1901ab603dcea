"""The planning problem of arXiv:2502.00722 once more, for another solver: CBC.

Written from the paper's formulation, apart from `planners.milp` and `planners.fleets.exact`: their variables are shares
in units of a known fleet's pace, and busy replicas; here they are multiples of each type's amount that a candidate
serves, in a unit that no fleet has to be known for.
"""

from __future__ import annotations

import math
import warnings

import pulp

from planners import Objective, PlanningProblem

GAP = 1e-7


def least_value_by_cbc(problem: PlanningProblem) -> float:
    """The least makespan, or for `cost` the least price in USD/h; infinite if there is no plan.

    The paper's T y is a product; with the pace z = 1 / T all is linear, and z is the objective. Further limits are one
    row or binary each; a previous fleet is not known here.
    """
    is_cost = problem.objective is Objective.COST
    lp = pulp.LpProblem("twin", pulp.LpMinimize if is_cost else pulp.LpMaximize)
    rented = [lp.add_variable(f"n{c}", 0, None, pulp.LpInteger) for c in range(len(problem.candidates))]
    unit = _pace_unit(problem)
    pace = lp.add_variable("pace", 0)
    price = pulp.lpSum(one.usd_per_h * n for one, n in zip(problem.candidates, rented, strict=True))
    lp += price if is_cost else 1.0 * pace
    if is_cost:
        lp += 1.0 * pace == 1.0 / unit
    if problem.budget_usd_per_h < math.inf:
        lp += price <= problem.budget_usd_per_h
    _limit_gpus(lp, problem, rented)
    busy: list[list[pulp.LpAffineExpression]] = [[] for _ in rented]
    for demand in problem.demands:
        for w, amount in enumerate(demand.amounts):
            if amount == 0:
                continue
            able = [
                c for c, one in enumerate(problem.candidates) if one.model == demand.model and one.capacity_rps[w] > 0
            ]
            served = [lp.add_variable(f"r{c}_{w}", 0) for c in able]
            lp += pulp.lpSum(served) == pace
            lp += pulp.lpSum(rented[c] for c in able) >= 1
            for c, rate in zip(able, served, strict=True):
                busy[c].append(amount * unit / problem.candidates[c].capacity_rps[w] * rate)
    for n, parts in zip(rented, busy, strict=True):
        lp += pulp.lpSum(parts) <= n
    status = lp.solve(_cbc())
    if status == pulp.LpStatusInfeasible:
        return math.inf
    assert lp.sol_status == pulp.LpSolutionOptimal, pulp.LpStatus[status]
    if is_cost:
        return float(pulp.value(price))
    return 1.0 / (pace.varValue * unit) if pace.varValue else math.inf


def _cbc() -> pulp.LpSolver:
    """CBC as it comes with PuLP 3; PuLP 4 has it as an extra."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(pulp, "PULP_CBC_CMD", pulp.COIN_CMD)(msg=False, gapRel=GAP, threads=1)


def _limit_gpus(lp: pulp.LpProblem, problem: PlanningProblem, rented: list[pulp.LpVariable]) -> None:
    """GPUs that there are, the largest share of one type, and the number of configurations."""
    taken = {
        gpu: pulp.lpSum(dict(one.gpus).get(gpu, 0) * n for one, n in zip(problem.candidates, rented, strict=True))
        for gpu, _ in problem.available
    }
    for gpu, count in problem.available:
        lp += taken[gpu] <= count
        if problem.max_gpu_share < 1:
            lp += taken[gpu] <= problem.max_gpu_share * pulp.lpSum(taken.values())
    if problem.max_configurations is not None:
        most = sum(count for _, count in problem.available)
        is_used = [lp.add_variable(f"b{c}", 0, 1, pulp.LpInteger) for c in range(len(rented))]
        lp += pulp.lpSum(is_used) <= problem.max_configurations
        for n, used in zip(rented, is_used, strict=True):
            lp += n <= most * used


def _pace_unit(problem: PlanningProblem) -> float:
    """A pace of about the size of the best: all GPUs, at the best capacity per GPU for each type."""
    if problem.objective is Objective.COST:
        return 1.0
    n_gpus = sum(count for _, count in problem.available)
    needed = 0.0
    for demand in problem.demands:
        for w, amount in enumerate(demand.amounts):
            per_gpu = [one.capacity_rps[w] / one.n_gpus for one in problem.candidates if one.model == demand.model]
            if amount > 0 and max(per_gpu, default=0.0) > 0:
                needed += amount / max(per_gpu)
    return n_gpus / needed if needed > 0 and n_gpus > 0 else 1.0
