"""The policy that knows what the market will do: of many schedules the one that serves best in the simulator.

No policy that knows less should be better: all that the others would do are among the schedules, and so are their plans
carried out without delay, their plans carried out in advance, and the fleet for the worst that is to come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from planners import Feature, Plan, get_planner
from planners.problem.plan_json import plan_to_dict
from scenarios.file.schema import PlannerChoice
from scenarios.runs.following import follow
from scenarios.runs.job import Job, Scheduled, Served
from sim import Deployment, Market, compute_metrics
from sim.protocols import Decision, Situation


@dataclass(frozen=True, slots=True)
class Timetable:
    """Deployments at times that are known beforehand: a `sim.protocols.Replanner`."""

    steps: tuple[Scheduled, ...]
    delay_s: float = 0.0

    def next_check_s(self, now_s: float) -> float | None:
        """When the next deployment is due."""
        return min((step.t_s for step in self.steps if step.t_s > now_s), default=None)

    def replan(self, situation: Situation) -> Decision | None:
        """The deployment that is due now."""
        due = [step for step in self.steps if step.t_s == situation.now_s]
        if situation.cause == "change" or not due:
            return None
        return Decision(due[0].deployment, "known", situation.now_s)


def best_served(
    job: Job,
    choice: PlannerChoice,
    plan: Plan,
    deployment: Deployment,
    progress: Callable[[float, int], None] | None = None,
) -> Served:
    """The run with the largest share of requests within the SLO; of equal ones the cheapest, then the first.

    If the objective is `cost`, a share above the goal counts as the goal: it is the cheapest run that reaches that.

    Args:
        job: The scenario and its requests.
        choice: The planner.
        plan: Its plan for the beginning.
        deployment: What that wants to run.
        progress: Called now and then with the simulated time and the number of requests arrived.
    """
    scenario = job.loaded.scenario
    enough = scenario.slo.attainment if scenario.planning.objective == "cost" else 1.0

    def merit(served: Served) -> tuple[float, float]:
        settings = scenario.sim
        metrics = compute_metrics(served.result, job.slo, settings.warmup_s, settings.cooldown_s)
        return min(metrics["slo_attainment"] or 0.0, enough), -(metrics["cost_usd"] or 0.0)

    best = max(_runs(job, choice, plan, deployment, progress), key=merit)  # the first of equal ones
    manifest = best.result.manifest | {"planner": choice.label, "policy": choice.policy}
    return Served(replace(best.result, manifest=manifest), best.steps)


def _runs(
    job: Job,
    choice: PlannerChoice,
    plan: Plan,
    deployment: Deployment,
    progress: Callable[[float, int], None] | None,
) -> Iterator[Served]:
    market = job.market
    assert market is not None
    yield follow(job, choice.model_copy(update={"policy": "static"}), plan, deployment, progress)
    policies = ["replan"]
    if Feature.SWITCHING in get_planner(choice.name, choice.options).features:
        policies.append("replan_sticky")
    for policy in policies:
        other = choice.model_copy(update={"policy": policy})
        if job.loaded.scenario.planning.replanning.delay_s > 0:
            yield follow(job, other, plan, deployment, progress)
        at_once = follow(job, other, plan, deployment, progress, delay_s=0.0)
        yield at_once
        first, *later = _in_advance(at_once.steps, market)
        timetable = Timetable(tuple(later))
        result = job.simulate(choice.label, first.deployment, first.plan, progress, replanner=timetable)
        yield Served(result, (first, *later))
    worst = _for_the_worst(job, choice, market)
    if worst is not None:
        result = job.simulate(choice.label, worst.deployment, worst.plan, progress)
        yield Served(result, (worst,))


def _in_advance(steps: Sequence[Scheduled], market: Market) -> list[Scheduled]:
    """The same deployments, each so early that its replicas are there when it is due, if the market allows that."""
    earlier = [steps[0]]
    for step in steps[1:]:
        before = earlier[-1]
        started = Counter(dict(step.deployment.replicas)) - Counter(dict(before.deployment.replicas))
        lead_s = max((market.boot_s(spec) for spec in started), default=0.0)
        start_s = step.t_s - lead_s
        gpus: Counter[str] = Counter(before.deployment.gpus)
        for spec, n in started.items():
            for gpu, n_gpus in spec.gpus.items():
                gpus[gpu] += n * n_gpus
        offers = market.timeline.at(max(0.0, start_s))
        is_offered = all(
            (gpu, market.kind) not in offers or n <= offers[gpu, market.kind].n_gpus for gpu, n in gpus.items()
        )
        earlier.append(step._replace(t_s=start_s if is_offered and start_s > before.t_s else step.t_s))
    return earlier


def _for_the_worst(job: Job, choice: PlannerChoice, market: Market) -> Scheduled | None:
    """The plan for the fewest GPUs of each type that there are while requests come; None if there is none."""
    assert job.trace is not None
    last_s = float(job.trace.requests["arrival_s"][-1])
    if job.trace.loops:  # it is not known before when they are sent
        last_s = job.loaded.scenario.sim.horizon_s or market.timeline.end_s
    changes = market.timeline.until(last_s)
    changes = changes.filter(changes["market"] == market.kind)
    fewest: dict[str, int] = {}
    for gpu, count in changes.select("gpu_type", "count").iter_rows():
        fewest[gpu] = min(count, fewest.get(gpu, count))
    problem = job.problem_of(choice)
    problem = replace(problem, available=tuple((gpu, fewest.get(gpu, n)) for gpu, n in problem.available))
    worst = replace(job, problem=problem)
    plan = worst.plan(choice)
    made = worst.deployment(plan)
    return None if made is None else Scheduled(0.0, plan_to_dict(plan), made)
