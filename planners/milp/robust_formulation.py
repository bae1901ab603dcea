r"""One fleet for several cases, as one linear MILP.

The problem itself is the case `now`; others are other markets, other mixes of requests or both
(`planners.problem.cases`). The fleet y is rented now, within the budget and what is available now. In case k the
replicas u of it survive, as many as its market has GPUs for, and requests are assigned anew:

.. math::

    u_{k,c} \le y_c, \quad u_{\mathrm{now}} = y, \quad \sum_c d_{n,c} u_{k,c} \le a_{k,n}, \quad
    \sum_c x'_{k,c,w} = z_k, \quad \sum_w x'_{k,c,w} f_{k,w} / h_{c,w} \le u_{k,c}

with the pace z_k of each case as in `planners.milp.formulation`, scaled by the best pace of the case alone, Z_k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pulp

from planners.milp.core import Effort, run_highs
from planners.milp.extract import Finding, read_counts, read_finding
from planners.milp.formulated import Formulation
from planners.milp.formulation import FAMILIES, FLEET_FAMILIES, formulate
from planners.problem.problem import Objective, PlanningProblem

Criterion = Literal["worst", "mean", "regret"]

OF_EACH_CASE = ("assign", "capacity", "availability", "cover")


@dataclass(frozen=True, slots=True)
class RobustFormulation:
    """A MILP for several cases.

    Attributes:
        lp: The MILP.
        cases: The formulations of the cases, `now` first; its counts are y.
        level: What the paces of all cases reach, in the unit of `floors`.
        floors: For each case, the pace z / Z that it must have at the level 1.
        weights: For each case, how much a pace z / Z of 1 adds to the mean.
    """

    lp: pulp.LpProblem
    cases: tuple[Formulation, ...]
    level: pulp.LpVariable
    floors: tuple[float, ...]
    weights: tuple[float, ...]


def maximise_level(f: RobustFormulation) -> None:
    r"""The worst case is as good as it can be.

    .. math:: \max \theta
    """
    _add(f, 1.0 * f.level, "level")


def maximise_mean(f: RobustFormulation) -> None:
    r"""The weighted mean of the paces is as large as it can be.

    .. math:: \max \sum_k p_k z_k
    """
    _add(f, pulp.lpSum(weight * case.pace for weight, case in zip(f.weights, f.cases, strict=True)), "mean")


def reach_level(f: RobustFormulation) -> None:
    r"""No case is below the level: of paces (`worst`), or of shares of the best pace of each case (`regret`).

    .. math:: \theta \le z_k \quad \text{or} \quad \theta \le z_k / Z_k \quad \forall k
    """
    for floor, case in zip(f.floors, f.cases, strict=True):
        _add(f, floor * f.level <= case.pace, f"{case.prefix}reach")


def survive(f: RobustFormulation) -> None:
    r"""Only what is rented can survive.

    .. math:: u_{k,c} \le y_c \quad \forall k, c
    """
    now, *others = f.cases
    for case in others:
        for c, count in case.counts.items():
            _add(f, count <= now.counts.get(c, 0), f"{case.prefix}survive_{case.labels[c]}")


ROBUST_FAMILIES: Mapping[str, Callable[[RobustFormulation], None]] = {
    "level": maximise_level,
    "mean": maximise_mean,
    "reach": reach_level,
    "survive": survive,
}
"""What joins the cases; `tests/golden/lp` has a file for each."""

_JOINED_BY: Mapping[Criterion, tuple[str, ...]] = {
    "worst": ("level", "reach", "survive"),
    "regret": ("level", "reach", "survive"),
    "mean": ("mean", "survive"),
}


def formulate_robust(
    cases: Sequence[PlanningProblem],
    paces: Sequence[float],
    criterion: Criterion,
    weights: Sequence[float],
    families: Sequence[str] | None = None,
) -> RobustFormulation:
    """Formulate one fleet for several cases. For the objective `cost` it is the cheapest that carries them all.

    Args:
        cases: The planning problem of each case, `now` first.
        paces: Z of each case, the pace of its best fleet.
        criterion: What to make best.
        weights: Weights of the cases, for the mean.
        families: Which families to take, of each case and of `ROBUST_FAMILIES`; all that are needed if None.
    """
    is_cost = cases[0].objective is Objective.COST
    joined_by = ("survive",) if is_cost else _JOINED_BY[criterion]
    if families is None:
        families = (*dict.fromkeys((*OF_EACH_CASE, *FLEET_FAMILIES)), *("price",) * is_cost, *joined_by)
    lp = pulp.LpProblem("hetserve", pulp.LpMinimize if is_cost else pulp.LpMaximize)
    now, *others = cases
    formulations = [
        formulate(now, 1.0 if is_cost else paces[0], [name for name in families if name in FAMILIES], lp=lp)
    ]
    of_each = [name for name in families if name in OF_EACH_CASE]
    for k, (case, pace) in enumerate(zip(others, paces[1:], strict=True), start=1):
        made = formulate(case, 1.0 if is_cost else pace, of_each, lp=lp, prefix=f"k{k}_")
        if _has_all(case, now):  # then all survive, and nothing has to be rounded
            for count in made.counts.values():
                count.cat = pulp.LpContinuous
        formulations.append(made)
    least, total = min(paces), math.fsum(weight * pace for weight, pace in zip(weights, paces, strict=True))
    formulation = RobustFormulation(
        lp,
        tuple(formulations),
        lp.add_variable("level", 0),
        tuple(least / pace if criterion == "worst" else 1.0 for pace in paces),
        tuple(weight * pace / total for weight, pace in zip(weights, paces, strict=True)),
    )
    for name in families:
        if name in ROBUST_FAMILIES:
            ROBUST_FAMILIES[name](formulation)
    return formulation


def _has_all(case: PlanningProblem, now: PlanningProblem) -> bool:
    then = dict(case.available)
    return all(then[gpu] >= count for gpu, count in now.available)


def _add(f: RobustFormulation, row: pulp.LpAffineExpression | pulp.LpConstraint, name: str) -> None:
    lp = f.lp
    lp += (row, name)


class RobustFleet(NamedTuple):
    """The fleet that the solver found, if any; a bound of the criterion; why it stopped, and its own word.

    The bound is in the unit of `planners.milp.regret.Judge.score`.
    """

    counts: tuple[int, ...] | None
    bound: float
    finding: Finding
    solver_status: str


def solve_robust(
    cases: Sequence[PlanningProblem],
    paces: Sequence[float],
    criterion: Criterion,
    weights: Sequence[float],
    gap: float,
    time_limit_s: float,
) -> RobustFleet:
    """Find the best fleet; the first arguments are those of `formulate_robust`."""
    formulation = formulate_robust(cases, paces, criterion, weights)
    run_highs(formulation.lp, Effort(gap, time_limit_s, cases[0].seed))
    finding, bound, solver_status = read_finding(formulation.lp)
    counts = read_counts(formulation.cases[0]) if finding in {Finding.OPTIMAL, Finding.FEASIBLE} else None
    if cases[0].objective is Objective.COST:
        return RobustFleet(counts, -formulation.cases[0].value(bound), finding, solver_status)
    if criterion == "regret":
        unit = 1.0
    elif criterion == "worst":
        unit = min(paces)
    else:
        unit = math.fsum(w * pace for w, pace in zip(weights, paces, strict=True)) / math.fsum(weights)
    return RobustFleet(counts, unit * bound, finding, solver_status)
