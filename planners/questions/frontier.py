"""What more money buys: the plans of several planners over a range of budgets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from planners.problem.plan import plan_by

if TYPE_CHECKING:
    from planners.problem.plan import Plan, Planner
    from planners.problem.problem import PlanningProblem


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """The plan of one planner for one budget.

    Attributes:
        planner: What the planner is called.
        budget_usd_per_h: The budget.
        status: Whether there is a plan.
        termination: Why the planner stopped.
        objective: What was made best, see `planners.Objective`; None without a plan.
        bound: What no plan can beat; None if the planner proves nothing.
        usd_per_h: Price of the fleet; None without a plan.
        promised_rps: Requests/s of all models that the fleet is said to serve; None without a plan.
        promised_tokens_per_s: Output tokens/s of these; None without a plan, or where lengths are not known.
        reasons: Without a plan, why.
    """

    planner: str
    budget_usd_per_h: float
    status: str
    termination: str
    objective: float | None
    bound: float | None
    usd_per_h: float | None
    promised_rps: float | None
    promised_tokens_per_s: float | None
    reasons: tuple[str, ...]

    @property
    def usd_per_million_output_tokens(self) -> float | None:
        """Price of a million output tokens if the fleet works all the time as promised.

        That is 1,000,000 / 3600 times the price in USD/h over the output tokens/s.
        """
        if self.usd_per_h is None or not self.promised_tokens_per_s:
            return None
        return 1e6 / 3600 * self.usd_per_h / self.promised_tokens_per_s


def plan_frontier(
    problem: PlanningProblem,
    planners: Mapping[str, Planner],
    budgets_usd_per_h: Iterable[float],
    watch: Callable[[str], None] | None = None,
) -> tuple[FrontierPoint, ...]:
    """Plan for each budget with each planner.

    With a planner that proves its plans, more money is never worse, by more than the gap at which it stops.

    Args:
        problem: The problem; its own budget does not matter, but it should hold the candidates of the largest.
        planners: The planners, by what they are called in the points.
        budgets_usd_per_h: The budgets.
        watch: Told what is planned next.

    Returns:
        The points, budget by budget.

    >>> from planners.problem.problem import PlanningProblem
    >>> from planners.problem.candidate import Candidate, Demand
    >>> from planners.rivals.greedy import GreedyPlanner
    >>> demand, one = Demand("m", None, ("chat",), (100.0,)), Candidate("a", "m", (("L40", 1),), 0.9, (2.0,))
    >>> problem = PlanningProblem((demand,), (one,), (("L40", 8),), budget_usd_per_h=0.0)
    >>> points = plan_frontier(problem, {"greedy": GreedyPlanner()}, [1, 2, 3])
    >>> [(point.usd_per_h, point.promised_rps) for point in points]
    [(0.9, 2.0), (1.8, 4.0), (2.7, 6.0)]
    """
    points = []
    for budget in budgets_usd_per_h:
        at_budget = replace(problem, budget_usd_per_h=budget)
        for name, planner in planners.items():
            if watch is not None:
                watch(f"{name} at {budget:g} $/h")
            points.append(_point(name, at_budget, plan_by(planner, at_budget)))
    return tuple(points)


def _point(name: str, problem: PlanningProblem, plan: Plan) -> FrontierPoint:
    has_plan = plan.objective is not None
    promised = plan.promised_rps
    return FrontierPoint(
        planner=name,
        budget_usd_per_h=problem.budget_usd_per_h,
        status=plan.status.value,
        termination=plan.termination.value,
        objective=plan.objective,
        bound=plan.bound,
        usd_per_h=plan.usd_per_h if has_plan else None,
        promised_rps=math.fsum(promised.values()) if has_plan else None,
        promised_tokens_per_s=_tokens_per_s(problem, promised) if has_plan else None,
        reasons=() if has_plan else plan.diagnostics,
    )


def _tokens_per_s(problem: PlanningProblem, promised_rps: dict[str, float]) -> float | None:
    """Output tokens/s; None if the lengths of some requests are not known."""
    tokens = 0.0
    for demand in problem.demands:
        if demand.total == 0:
            continue
        if demand.mix is None:
            return None
        pairs = zip(demand.amounts, demand.mix.mean_output_tokens, strict=True)
        per_request = math.fsum(amount * mean for amount, mean in pairs) / demand.total
        tokens += promised_rps[demand.model] * per_request
    return tokens
