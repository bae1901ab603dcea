"""What `hetserve explain` and `hetserve frontier` ask about: problems whose limits can be moved, and kept plans."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from planners import Candidate, Objective, Plan, PlanningProblem, PlanStatus, capacity_rps, check_plan
from planners.problem.plan_json import plan_from_dict, plan_to_dict
from scenarios.errors import RunError
from scenarios.file.load import load
from scenarios.file.loaded import LoadedScenario
from scenarios.file.schema import PlannerChoice
from scenarios.inputs.settings import make_goals, make_service_time
from scenarios.runs.job import Job
from sim import SLO
from traces import nearest


class KeptPlan(NamedTuple):
    """A plan that a run kept, and what it takes to make it again."""

    loaded: LoadedScenario
    seed: int
    choice: PlannerChoice
    data: dict[str, Any]


def prepare_wide(loaded: LoadedScenario, seed: int) -> Job:
    """The job of a scenario with all configurations as candidates, those too that its limits or better ones exclude.

    More GPUs or more money may allow replicas that a scenario's own limits do not.

    Raises:
        TraceError, PlannerError: See `Job.prepare`.
    """
    return Job.prepare(loaded, seed, keep_dominated=True, any_number=True)


def prepare_for_budget(loaded: LoadedScenario, seed: int, budget_usd_per_h: float) -> Job:
    """The job of a scenario with another budget.

    Raises:
        TraceError, PlannerError: See `Job.prepare`.
    """
    planning = loaded.scenario.planning.model_copy(update={"budget_usd_per_h": budget_usd_per_h})
    scenario = loaded.scenario.model_copy(update={"planning": planning})
    return Job.prepare(replace(loaded, scenario=scenario), seed)


def read_kept_plan(path: Path) -> KeptPlan:
    """Read a plans.json and the scenario and seed that a run keeps beside it.

    Raises:
        RunError: Something of it is missing, or is not what a run writes.
        ScenarioError: The scenario cannot be used.
    """
    resolved, manifest = path.with_name("scenario.resolved.yaml"), path.with_name("manifest.json")
    for needed in (path, resolved, manifest):
        if not needed.is_file():
            msg = f"{path}: no {needed.name} in {path.parent}; a plan is explained from what its run keeps beside it"
            raise RunError(msg)
    try:
        data = dict(json.loads(path.read_text())[0]["plan"])
        _check_objective(data["objective_name"])
        choice = PlannerChoice(name=data["planner"], options=data["options"], objective=data["objective_name"])
        seed = int(json.loads(manifest.read_text())["seed"])
    except (ValueError, TypeError, KeyError, IndexError) as error:
        plans = path.with_name("plans.json")
        if path != plans and plans.is_file():
            msg = f"{path} is not the plan of a run; give {plans}"
        else:
            msg = f"{path} and {manifest.name} beside it are not what a run writes: {error}"
        raise RunError(msg) from error
    return KeptPlan(load(str(resolved)), seed, choice, data)


def _check_objective(name: str) -> None:
    known = [objective.value for objective in Objective]
    if name not in known:
        msg = f"unknown objective {name!r}: {nearest(str(name), known)}"
        raise ValueError(msg)


def plan_of(kept: KeptPlan, problem: PlanningProblem, where: Path) -> Plan:
    """The plan that a run kept, as a plan for its problem.

    Raises:
        RunError: It is not a plan for this problem.
    """
    plan = plan_from_dict(kept.data, problem, str(where))
    violations = check_plan(problem, plan)
    if violations:
        reasons = "; ".join(violation.message for violation in violations)
        msg = f"{where}: the plan does not fit the scenario beside it: {reasons}; plan again with this version"
        raise RunError(msg)
    return plan


def plan_as_printed(loaded: LoadedScenario, seed: int, choice: PlannerChoice, problem: PlanningProblem) -> Plan | None:
    """The plan that `hetserve plan` prints, as a plan for a problem with more candidates; None if there is no plan.

    With more candidates, the planner might choose another fleet that is as good.

    Raises:
        TraceError, PlannerError: See `Job.prepare`.
    """
    job = Job.prepare(loaded, seed)
    plan = job.plan(choice)
    if plan.status is not PlanStatus.OK:
        return None
    return plan_from_dict(plan_to_dict(plan), problem, loaded.label)


def why_unable(job: Job) -> Callable[[Candidate], str]:
    """Which goals of the SLO keep a replica from serving anything that is demanded; candidates hold all of it."""
    slo = make_goals(job.loaded.scenario)
    service_time = make_service_time(job.loaded)

    def why(candidate: Candidate) -> str:
        demand = job.problem.demand(candidate.model)
        if candidate.spec is None or demand.mix is None:
            return "its capacities are given as 0"
        own = slo.of_place(candidate.model, candidate.spec.region)
        goals = (
            ("TTFT", own.ttft_s, SLO(ttft_s=own.ttft_s, attainment=own.attainment)),
            ("TPOT", own.tpot_s, SLO(tpot_s=own.tpot_s, attainment=own.attainment)),
            ("E2E", own.e2e_s, SLO(e2e_s=own.e2e_s, attainment=own.attainment)),
        )
        alone = {f"the {name} goal of {limit:g} s": only for name, limit, only in goals if limit is not None}
        reasons = []
        lengths = zip(demand.amounts, demand.mix.mean_prompt_tokens, demand.mix.mean_output_tokens, strict=True)
        for amount, prompt, output in lengths:
            if amount > 0:
                missed = (
                    goal
                    for goal, slo_of_it in alone.items()
                    if capacity_rps(candidate.spec, service_time, prompt, output, slo_of_it) == 0
                )
                reasons.append(f"too slow for {next(missed, 'the SLO')}")
        return ", or ".join(dict.fromkeys(reasons))

    return why
