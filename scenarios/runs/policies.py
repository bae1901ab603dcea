"""What a planner does while the market changes: one function for each policy."""

from __future__ import annotations

from collections.abc import Callable

from planners import Plan
from scenarios.file.schema import PlannerChoice
from scenarios.runs.following import follow
from scenarios.runs.job import Job, Served
from scenarios.runs.oracle import best_served
from sim import Deployment


def serve(
    job: Job,
    choice: PlannerChoice,
    plan: Plan,
    deployment: Deployment,
    progress: Callable[[float, int], None] | None = None,
    n_jobs: int = 1,
) -> Served:
    """Serve the trace, by a planner's plan and policy; the arguments are those of `follow`."""
    if choice.policy == "oracle":
        return best_served(job, choice, plan, deployment, progress)
    return follow(job, choice, plan, deployment, progress, n_jobs)
