"""Deployments and plans in JSON: what a run keeps, so that it can be run again on other requests, or explained."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from planners.problem.plan_json import offers_to_dicts
from planners.problem.terms import Terms, replica_usd_per_h, usd_per_h_beside_replicas
from scenarios.errors import RunError
from scenarios.file.messages import shortened
from scenarios.runs.plan_schema import PLANS, PRINTED_PLAN, PlanEntry, ReplicaEntry, RoutingEntry, StepEntry
from sim import Deployment, GpuType, ModelSpec, ReplicaLimits, ReplicaSpec, RoutingTable, Stage
from sim.errors import SimError
from traces import WorkloadGrid, WorkloadMix, nearest

_MOST_SAID = 10

Entry = TypeVar("Entry")


def deployment_to_dict(deployment: Deployment) -> dict[str, Any]:
    """A deployment as strings, numbers, lists and dictionaries; GPU types and models by name."""
    return {
        "replicas": [
            {
                "model": spec.model.name,
                "precision": spec.model.precision.name,
                "count": count,
                "stages": [
                    {
                        "gpu_type": stage.gpu_type.pool,
                        "tp": stage.tp,
                        "n_layers": stage.n_layers,
                        "dp": stage.dp,
                        "expert_parallel": stage.expert_parallel,
                    }
                    for stage in spec.stages
                ],
                "limits": asdict(spec.limits),
            }
            for spec, count in deployment.replicas
        ],
        "routing": {
            model: {
                "prompt_tokens": table.mix.grid.prompt_tokens,
                "output_tokens": table.mix.grid.output_tokens,
                "prompt_borders": table.mix.grid.prompt_borders,
                "output_borders": table.mix.grid.output_borders,
                "share": table.mix.share,
                "mean_prompt_tokens": table.mix.mean_prompt_tokens,
                "mean_output_tokens": table.mix.mean_output_tokens,
                "fractions": table.fractions,
            }
            for model, table in deployment.routing
        },
        "router": deployment.router,
    }


def read_plan(
    path: Path, models: Mapping[str, ModelSpec], gpus: Mapping[str, GpuType], offers: Sequence[Terms] = ()
) -> tuple[Deployment, dict[str, Any]]:
    """The first deployment, and the plan that it comes from, at today's prices.

    Args:
        path: A `plans.json` that a run wrote, or what `hetserve plan --json` prints.
        models: The models that it may name.
        gpus: The GPU types that it may name, at today's prices.
        offers: On which terms they can be had; by default each is rented alone.

    Raises:
        RunError: The file is missing or not such a file, names what there is not, or contradicts itself: which field,
            and what is allowed.
    """
    if isinstance(_read_json(path), dict):
        printed = _validated(PRINTED_PLAN, path)
        if printed.deployment is None:
            msg = f"{path} deployment: is missing; print the plan again with hetserve plan --json"
            raise RunError(msg)
        plan = PlanEntry(**printed.model_dump(include=set(PlanEntry.model_fields)))
        entry, where = StepEntry(plan=plan, deployment=printed.deployment), str(path)
    else:
        entry, where = _read(path)[0], f"{path} 0"
    deployment, of_plan = _deployment(entry, models, gpus, where)
    return deployment, of_plan | _rented(deployment, of_plan["fleet"], offers)


def _rented(deployment: Deployment, named: Iterable[Mapping[str, Any]], offers: Sequence[Terms]) -> dict[str, Any]:
    """The part of a plan that says what is rented, as it runs; replicas are called as in the plan."""
    called = {row["name"] for row in named}
    fleet = []
    for spec, count in deployment.replicas:
        with_model = f"{spec.model.name} on {spec.name}"
        fleet.append(
            {
                "name": with_model if with_model in called else spec.name,
                "model": spec.model.name,
                "gpus": spec.gpus,
                "count": count,
                "usd_per_h": replica_usd_per_h(spec) * count,
            }
        )
    taken = deployment.gpus
    of_replicas = math.fsum(replica_usd_per_h(spec) * count for spec, count in deployment.replicas)
    usd_per_h = of_replicas + usd_per_h_beside_replicas(offers, taken)
    return {"fleet": fleet, "gpus": taken, "offers": offers_to_dicts(offers, taken), "usd_per_h": usd_per_h}


def read_deployments(
    path: Path, models: Mapping[str, ModelSpec], gpus: Mapping[str, GpuType]
) -> list[tuple[float, Deployment, dict[str, Any]]]:
    """All that was to run in the course of a run: from when on, the deployment and its plan (see `read_plan`)."""
    return [
        (entry.t_s, *_deployment(entry, models, gpus, f"{path} {index}")) for index, entry in enumerate(_read(path))
    ]


def _deployment(
    entry: StepEntry, models: Mapping[str, ModelSpec], gpus: Mapping[str, GpuType], where: str
) -> tuple[Deployment, dict[str, Any]]:
    """The deployment of an entry, and its plan."""
    try:
        replicas = tuple(
            (_replica(item, models, gpus, f"{where}.deployment.replicas.{index}"), item.count)
            for index, item in enumerate(entry.deployment.replicas)
        )
        routing = tuple((model, _table(item)) for model, item in entry.deployment.routing.items())
        deployment = Deployment(replicas, routing, entry.deployment.router)
    except (SimError, ValueError) as error:
        msg = f"{where}.deployment: {error}"
        raise RunError(msg) from error
    _check_agreement(entry.plan, deployment, where)
    return deployment, entry.plan.model_dump()


def read_plans(path: Path) -> list[tuple[float, dict[str, Any]]]:
    """The plans in a file, each with the time in s from which on it holds.

    Args:
        path: A `plans.json` that a run wrote, or what `hetserve plan --json` prints.

    Raises:
        RunError: The file is missing, or neither of the two: which field, and what is allowed.
    """
    if isinstance(_read_json(path), dict):
        return [(0.0, _validated(PRINTED_PLAN, path).model_dump())]
    return [(step.t_s, step.plan.model_dump()) for step in _read(path)]


def _read(path: Path) -> list[StepEntry]:
    """What the file says, if it says what a plans.json does."""
    return _validated(PLANS, path)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        msg = f"{path} cannot be read: {error}"
        raise RunError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path} is not a plans.json that a run wrote: {error}"
        raise RunError(msg) from error


def _validated(schema: TypeAdapter[Entry], path: Path) -> Entry:
    data = _read_json(path)
    try:
        return schema.validate_python(data)
    except ValidationError as error:
        found = [f"{path} {'.'.join(map(str, detail['loc']))}: {_in_words(detail)}" for detail in error.errors()]
        more = f"\n... and {len(found) - _MOST_SAID} more" if len(found) > _MOST_SAID else ""
        raise RunError("\n".join(found[:_MOST_SAID]) + more) from None
    except RecursionError as error:
        msg = f"{path} is not a plans.json that a run wrote: {error}"
        raise RunError(msg) from error


def _in_words(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "unknown key"
        case "value_error":
            return detail["msg"].removeprefix("Value error, ")
        case _:
            return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, not {shortened(detail['input'])}"


def _replica(
    entry: ReplicaEntry, models: Mapping[str, ModelSpec], gpus: Mapping[str, GpuType], where: str
) -> ReplicaSpec:
    if entry.model not in models:
        msg = f"{where}.model: unknown model {entry.model!r}: {nearest(entry.model, models)}"
        raise RunError(msg)
    for index, stage in enumerate(entry.stages):
        if stage.gpu_type not in gpus:
            hint = nearest(stage.gpu_type, gpus)
            msg = f"{where}.stages.{index}.gpu_type: the scenario's market has no {stage.gpu_type!r}: {hint}"
            raise RunError(msg)
    stages = tuple(
        Stage(gpus[stage.gpu_type], stage.tp, stage.n_layers, stage.dp, stage.expert_parallel) for stage in entry.stages
    )
    model = _variant(models[entry.model], entry.precision, where)
    return ReplicaSpec(model, stages, ReplicaLimits(**entry.limits.model_dump()))


def _variant(model: ModelSpec, precision: str | None, where: str) -> ModelSpec:
    """The model in a precision, by default its own."""
    if precision is None:
        return replace(model, variants=())
    variants = {variant.precision.name: variant for variant in model.in_variants()}
    if precision not in variants:
        hint = nearest(precision, variants)
        msg = f"{where}.precision: the scenario does not have {model.name} in {precision!r}: {hint}"
        raise RunError(msg)
    return variants[precision]


def _check_agreement(plan: PlanEntry, deployment: Deployment, where: str) -> None:
    """Make sure that the plan and the deployment beside it are of one fleet."""
    runs: Counter[str] = Counter()
    for spec, count in deployment.replicas:
        runs[spec.name] += count
    wanted: Counter[str] = Counter()
    for index, row in enumerate(plan.fleet):
        name = next((name for name in runs if row.name in (name, f"{row.model} on {name}")), None)
        if name is None:
            field, hint = f"{where}.plan.fleet.{index}.name", nearest(row.name, runs)
            msg = f"{field}: the deployment has no replica {row.name!r}: {hint}"
            raise RunError(msg)
        wanted[name] += row.count
    if wanted != runs:
        fleets = (", ".join(f"{n} x {name}" for name, n in sorted(fleet.items())) for fleet in (wanted, runs))
        msg = "{}: the plan's fleet is {}, the deployment beside it has {}; make them agree".format(where, *fleets)
        raise RunError(msg)


def _table(entry: RoutingEntry) -> RoutingTable:
    lengths = (entry.prompt_tokens, entry.output_tokens, entry.prompt_borders, entry.output_borders)
    grid = WorkloadGrid(*map(tuple, lengths))
    mix = WorkloadMix(grid, tuple(entry.share), tuple(entry.mean_prompt_tokens), tuple(entry.mean_output_tokens))
    return RoutingTable(mix, tuple(map(tuple, entry.fractions)))
