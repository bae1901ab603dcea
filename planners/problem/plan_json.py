"""The plan's JSON, there and back: the form of `plan --json`, which runs keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from planners.errors import PlannerError
from planners.problem.plan import Plan, PlanStatus, Termination
from planners.problem.problem import Objective
from planners.problem.terms import idle_gpus
from traces.errors import nearest

if TYPE_CHECKING:
    from planners.problem.candidate import Demand
    from planners.problem.problem import PlanningProblem
    from planners.problem.terms import Terms


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """The plan in the form of `plan --json`: strings, numbers, lists and dictionaries only."""
    problem = plan.problem
    assignment = []
    for demand, shed in zip(problem.demands, plan.shed, strict=True):
        mine = problem.candidates_of(demand.model)
        for w, name in enumerate(demand.type_names):
            shares = {problem.candidates[c].name: plan.assignment[c][w] for c in mine if plan.assignment[c][w] > 0}
            row = {"model": demand.model, "type": name, "share_by_replica": shares, "shed_share": shed[w]}
            assignment.append(row)
    return {
        "planner": plan.planner,
        "options": dict(plan.options),
        "status": plan.status.value,
        "termination": plan.termination.value,
        "objective_name": plan.objective_name.value,
        "objective": plan.objective,
        "latency": None if plan.objective_name is not Objective.LATENCY else _latency(problem),
        "bound": plan.bound,
        "gap": plan.gap,
        "solve_s": plan.solve_s,
        "usd_per_h": plan.usd_per_h,
        "drain_usd_per_h": problem.spent_usd_per_h(plan.counts) - plan.usd_per_h,
        "gpus": problem.gpus(plan.counts),
        "offers": offers_to_dicts(problem.offers, problem.gpus(plan.counts)),
        "fleet": [
            {
                "name": row.candidate.name,
                "model": row.candidate.model,
                "gpus": dict(row.candidate.gpus),
                "count": row.count,
                "usd_per_h": row.usd_per_h,
            }
            for row in plan.fleet
        ],
        "promised_rps": plan.promised_rps,
        "types": [row for demand in problem.demands for row in _types(demand)],
        "types_error": {d.model: d.types_error for d in problem.demands if d.types_error is not None},
        "too_long": {d.model: d.too_long._asdict() for d in problem.demands if d.too_long is not None},
        "assignment": assignment,
        "corrected_capacity_rps": {
            candidate.name: list(rps)
            for candidate, rps in zip(problem.candidates, plan.capacities or (), strict=plan.capacities is not None)
            if rps != candidate.capacity_rps
        },
        "diagnostics": list(plan.diagnostics),
    }


def offers_to_dicts(offers: Sequence[Terms], taken: Mapping[str, int]) -> list[dict[str, Any]]:
    """What is rented or paid for of each offer; nothing where GPU types are rented one by one.

    Args:
        offers: What is offered.
        taken: GPUs that replicas take, by offer.
    """
    idle = idle_gpus(offers, taken)
    rows = []
    for terms in offers:
        n_used, n_idle = taken.get(terms.name, 0), idle.get(terms.name, 0)
        n_gpus = n_used + n_idle
        if n_gpus > 0:
            row = {
                "name": terms.name,
                "nodes": n_gpus // terms.gpus_per_node,
                "gpus_per_node": terms.gpus_per_node,
                "gpus": n_gpus,
                "idle": n_idle,
                "usd_per_h": n_gpus * terms.usd_per_h + terms.committed_usd_per_h,
            }
            rows.append(row)
    return rows


def _types(demand: Demand) -> list[dict[str, Any]]:
    """The workload types that have requests, with their lengths; nothing where capacities are given."""
    mix = demand.mix
    if mix is None:
        return []
    rows = zip(demand.type_names, mix.share, mix.mean_prompt_tokens, mix.mean_output_tokens, mix.largest, strict=True)
    return [
        {
            "model": demand.model,
            "type": name,
            "share": share,
            "mean_prompt_tokens": prompt_tokens,
            "mean_output_tokens": output_tokens,
            "largest_prompt_tokens": largest.prompt_tokens,
            "largest_output_tokens": largest.output_tokens,
            "largest_tokens": largest.tokens,
        }
        for name, share, prompt_tokens, output_tokens, largest in rows
        if share > 0
    ]


def _latency(problem: PlanningProblem) -> dict[str, Any] | None:
    """Which latency was made least."""
    return None if problem.latency is None else asdict(problem.latency)


def plan_from_dict(data: Mapping[str, Any], problem: PlanningProblem, where: str) -> Plan:
    """A plan from the form of `plan --json`, for the problem that it was made for.

    Args:
        data: The plan.
        problem: The problem; it may have other candidates, too.
        where: The file, for messages.

    Raises:
        PlannerError: It names a replica or a workload type that the problem does not have, or is no plan.
    """
    try:
        counts = {entry["name"]: int(entry["count"]) for entry in data["fleet"]}
        shares = {
            (name, entry["model"], entry["type"]): float(share)
            for entry in data["assignment"]
            for name, share in entry["share_by_replica"].items()
        }
        corrected = {name: tuple(rps) for name, rps in data.get("corrected_capacity_rps", {}).items()}
        capacities = tuple(corrected.get(one.name, one.capacity_rps) for one in problem.candidates)
        plan = Plan(
            problem=problem,
            planner=data["planner"],
            status=PlanStatus(data["status"]),
            termination=Termination(data["termination"]),
            objective_name=Objective(data["objective_name"]),
            objective=data["objective"],
            bound=data["bound"],
            gap=data["gap"],
            solve_s=data["solve_s"],
            counts=tuple(counts.get(candidate.name, 0) for candidate in problem.candidates),
            assignment=tuple(
                tuple(
                    shares.get((candidate.name, candidate.model, name), 0.0)
                    for name in problem.demand(candidate.model).type_names
                )
                for candidate in problem.candidates
            ),
            options=tuple(sorted(data["options"].items())),
            diagnostics=tuple(data["diagnostics"]),
            capacities=capacities if corrected else None,
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        msg = f"{where} is not a plans.json that a run wrote: {error}"
        raise PlannerError(msg) from error
    names = [candidate.name for candidate in problem.candidates]
    for name in counts:
        if name not in names:
            msg = f"{where}: the plan rents {name!r}, which its scenario does not have: {nearest(name, names)}"
            raise PlannerError(msg)
    return plan
