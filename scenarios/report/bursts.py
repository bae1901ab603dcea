"""How requests come, and what is planned for because of it: a line for each model."""

from __future__ import annotations

from collections.abc import Iterator

from planners import Objective, PlanningProblem


def arrival_lines(problem: PlanningProblem) -> Iterator[str]:
    """What was measured of the arrivals; nothing for a number of requests, or demands that were given."""
    for demand in problem.demands:
        bursts = demand.bursts
        if demand.mix is None or problem.objective is Objective.MAKESPAN:
            continue
        whose = "arrivals" if len(problem.demands) == 1 else f"arrivals of {demand.model}"
        if bursts is None:
            mean_rps = demand.total / demand.margin
            why = _why_not_measured(problem, demand.model)
            yield f"{whose}: {mean_rps:.3g} req/s mean, which is planned for: {why}"
            continue
        measured = (
            f"{bursts.mean_rps:.3g} req/s mean",
            f"busiest {bursts.window_s:.3g} s {bursts.busiest_rps:.3g} req/s",
            f"dispersion {bursts.dispersion:.3g}",
            f"second half {bursts.trend:.3g} x the first",
        )
        rate = "the mean" if demand.margin == 1 else f"{demand.total:.3g} req/s"
        yield f"{whose}: {', '.join(measured)}: planned for {rate}"


def _why_not_measured(problem: PlanningProblem, model: str) -> str:
    slo = None if problem.trial is None or problem.trial.slo is None else problem.trial.slo.of_model(model)
    if slo is None or (slo.ttft_s, slo.tpot_s, slo.e2e_s) == (None, None, None):
        return "there is no SLO to miss in a burst"
    return "bursts are not measured where requests are few, or sent by users who wait for answers"
