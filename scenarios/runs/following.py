"""The policies that do not know what will come: the plan as it is, and planning again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from planners import Candidate, Plan, get_planner
from planners.controller import Controller, ReplanRules
from planners.problem.plan_json import plan_to_dict
from scenarios.file.schema import PlannerChoice
from scenarios.runs.job import Job, Scheduled, Served
from sim import Deployment


def follow(
    job: Job,
    choice: PlannerChoice,
    plan: Plan,
    deployment: Deployment,
    progress: Callable[[float, int], None] | None = None,
    n_jobs: int = 1,
    delay_s: float | None = None,
) -> Served:
    """Serve the trace by a planner's plan, and plan again where its policy says so.

    Args:
        job: The scenario and its requests.
        choice: The planner.
        plan: Its first plan.
        deployment: What that wants to run.
        progress: Called now and then with the simulated time and the number of requests arrived.
        n_jobs: Processes to split the run over, where nothing changes.
        delay_s: From a trigger until a new plan takes effect, instead of the scenario's.
    """
    controller = _controller(job, choice, plan, deployment, delay_s)
    facts = plan_to_dict(plan)
    result = job.simulate(choice.label, deployment, facts, progress, n_jobs=n_jobs, replanner=controller)
    steps = [Scheduled(0.0, facts, deployment)]
    if controller is not None:
        # One may not have taken effect any more.
        later = controller.steps[1 : 1 + len(result.manifest["replans"])]
        steps += [Scheduled(step.t_s, plan_to_dict(step.plan), step.deployment) for step in later]
    return Served(replace(result, manifest=result.manifest | {"policy": choice.policy}), tuple(steps))


def _controller(
    job: Job, choice: PlannerChoice, plan: Plan, deployment: Deployment, delay_s: float | None
) -> Controller | None:
    """What plans again during the run; None for a static policy."""
    market = job.market
    if choice.policy == "static" or market is None or job.trace is None:
        return None
    settings = job.loaded.scenario.planning.replanning
    rules = ReplanRules(
        triggers=settings.triggers,
        delay_s=settings.delay_s if delay_s is None else delay_s,
        period_s=settings.period_s,
        window_s=settings.window_s,
        min_gap_s=settings.min_gap_s,
        min_gain=settings.min_gain,
        drain_backlog_s=settings.drain_backlog_s,
        stabilization_s=settings.stabilization_s,
        hold_s=settings.hold_s if choice.policy == "replan_sticky" else None,
    )

    def start_s(candidate: Candidate) -> float:
        return 0.0 if candidate.spec is None else market.boot_s(candidate.spec)

    return Controller(
        get_planner(choice.name, choice.options),
        job.problem_of(choice),
        plan,
        deployment,
        job.trace,
        rules,
        slo=job.slo,
        start_s=start_s,
    )
