"""The plan of `milp` for the objective `latency`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from planners.fleets.assignment import best_assignment
from planners.fleets.drafting import Drafting, why_infeasible
from planners.fleets.exact import best_fleet
from planners.fleets.latency import LoadedFleet, asked, own_capacities, slo_of
from planners.milp.latency.model import Solution
from planners.milp.latency.search import LatencySearch
from planners.problem.latency import STATISTICS
from planners.problem.plan import Plan, Termination
from planners.problem.problem import Objective, PlanningProblem

if TYPE_CHECKING:
    from planners.milp.options import MilpOptions

_START_GAP = 0.01
_NOT_FOR_LATENCY = ("composition", "deployment", "assignment")


def plan_latency(problem: PlanningProblem, drafting: Drafting, options: MilpOptions) -> Plan:
    """The fleet of least latency found, with what it promises.

    Args:
        problem: A problem of this objective, in which everything must be served.
        drafting: Of that problem.
        options: Of the planner; only the time limit, for each of the MILPs, is of use.
    """
    if problem.loads is None:
        return drafting.none(Termination.ERROR, ("capacities are given: nothing is known of latencies",))
    unfit = [name for name in _NOT_FOR_LATENCY if getattr(options, name) != "best"]
    if unfit:
        return drafting.none(Termination.ERROR, (f"the objective latency has no {', '.join(unfit)} but the best",))
    if problem.is_empty:
        return drafting.none(Termination.INFEASIBLE)
    if options.time_limit_s is not None:
        problem = replace(problem, time_limit_s=options.time_limit_s)
    search = LatencySearch(problem)
    found = search.run(_starts(problem))
    if found is None:
        return drafting.none(Termination.INFEASIBLE, _why_none(problem, search.most_within))
    solution = found.solution
    plan = drafting.plan(
        solution.counts,
        Termination.HEURISTIC,
        assignment=solution.fractions,
        diagnostics=(_in_words(problem, solution),),
    )
    return replace(plan, capacities=own_capacities(problem, solution.fractions))


def _starts(problem: PlanningProblem) -> Iterator[Solution]:
    """The fastest fleet, and the fastest of each GPU type."""
    fast = replace(problem, objective=Objective.THROUGHPUT)
    every = range(len(problem.candidates))
    of_types = (
        [c for c in every if [name for name, _ in problem.candidates[c].gpus] == [gpu]] for gpu, _ in problem.available
    )
    for allowed in (list(every), *of_types):
        search = best_fleet(fast, allowed, gap=_START_GAP)
        if any(search.counts):
            yield Solution(search.counts, best_assignment(fast, search.counts).fractions)


def _why_none(problem: PlanningProblem, most_within: float | None) -> tuple[str, ...]:
    """Why no fleet was found."""
    slo = slo_of(problem)
    if slo is not None and most_within is not None:
        said = f"of all fleets found the best has {100 * most_within:.4g} % of the requests within the SLO"
        return (f"{said} by the closed form; {100 * slo.attainment:.4g} % should be",)
    goal, _ = asked(problem)
    fast = replace(problem, objective=Objective.THROUGHPUT)
    fastest = best_fleet(fast, range(len(problem.candidates)), gap=_START_GAP)
    if not any(fastest.counts):
        return why_infeasible(fast)
    carried = 1 / fastest.value
    asks = f"the headroom asks for {1 + goal.headroom:g} times"
    return (f"the fastest fleet found carries {carried:.3g} times the rates, {asks}",)


def _in_words(problem: PlanningProblem, solution: Solution) -> str:
    """What is promised, beside the objective."""
    goal, _ = asked(problem)
    fleet = LoadedFleet.of(problem, solution.counts, solution.fractions)
    if fleet is None:
        return "nothing is promised"
    times = (f"{name} {fleet.statistic_s(replace(goal, statistic=name)):.4g} s" for name in STATISTICS)
    busy = [100 * utilisation for utilisation in fleet.utilisations if utilisation > 0]
    return f"promised {goal.of_metric}: {', '.join(times)}; replicas are busy for {min(busy):.0f} to {max(busy):.0f} %"
