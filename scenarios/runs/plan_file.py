"""Deployments and plans in JSON: what a run keeps, so that it can be run again on other requests, or explained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scenarios.errors import RunError
from sim import Deployment, GpuType, ModelSpec, ReplicaLimits, ReplicaSpec, RoutingTable, Stage
from traces import WorkloadGrid, WorkloadMix


def deployment_to_dict(deployment: Deployment) -> dict[str, Any]:
    """A deployment as strings, numbers, lists and dictionaries; GPU types and models by name."""
    return {
        "replicas": [
            {
                "model": spec.model.name,
                "count": count,
                "stages": [
                    {"gpu_type": stage.gpu_type.name, "tp": stage.tp, "n_layers": stage.n_layers}
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
                "share": table.mix.share,
                "mean_prompt_tokens": table.mix.mean_prompt_tokens,
                "mean_output_tokens": table.mix.mean_output_tokens,
                "fractions": table.fractions,
            }
            for model, table in deployment.routing
        },
    }


def read_plan(
    path: Path, models: Mapping[str, ModelSpec], gpus: Mapping[str, GpuType]
) -> tuple[Deployment, dict[str, Any]]:
    """The deployment, and the plan that it comes from, in a `plans.json` that a run wrote.

    Args:
        path: The file.
        models: The models that it may name.
        gpus: The GPU types that it may name, at today's prices.

    Raises:
        RunError: The file is missing or not such a file, or names what there is not.
    """
    try:
        entry = json.loads(path.read_text())[0]
        data, plan = entry["deployment"], dict(entry["plan"])
        replicas = tuple((_replica(item, models, gpus), int(item["count"])) for item in data["replicas"])
        routing = tuple((model, _table(item)) for model, item in data["routing"].items())
    except OSError as error:
        msg = f"{path} cannot be read: {error}"
        raise RunError(msg) from error
    except KeyError as error:
        msg = f"{path}: {error.args[0]!r} is missing there, or is a GPU type or model that the scenario does not have"
        raise RunError(msg) from error
    except (ValueError, TypeError, IndexError) as error:
        msg = f"{path} is not a plans.json that a run wrote: {error}"
        raise RunError(msg) from error
    return Deployment(replicas, routing), plan


def _replica(entry: Mapping[str, Any], models: Mapping[str, ModelSpec], gpus: Mapping[str, GpuType]) -> ReplicaSpec:
    stages = tuple(Stage(gpus[s["gpu_type"]], s["tp"], s["n_layers"]) for s in entry["stages"])
    return ReplicaSpec(models[entry["model"]], stages, ReplicaLimits(**entry["limits"]))


def _table(entry: Mapping[str, Any]) -> RoutingTable:
    grid = WorkloadGrid(tuple(entry["prompt_tokens"]), tuple(entry["output_tokens"]))
    shares, prompts, outputs = (tuple(entry[k]) for k in ("share", "mean_prompt_tokens", "mean_output_tokens"))
    return RoutingTable(WorkloadMix(grid, shares, prompts, outputs), tuple(map(tuple, entry["fractions"])))
