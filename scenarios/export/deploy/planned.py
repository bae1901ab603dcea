"""What is to be deployed: a plan, and what its servers are to be told."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scenarios.errors import RunError
from scenarios.file.load import load
from scenarios.inputs.settings import make_gpu_types, make_models
from scenarios.runs.directory import PLANS, RESOLVED, check_run, run_directories
from scenarios.runs.plan_file import read_deployments, read_plans
from scenarios.runs.plan_schema import PlanEntry
from scenarios.runs.serving import Serving, serving_of
from traces import nearest

ENGINES = ("vllm", "ideal")
"""Engines whose simulated limits are flags of vLLM; `ideal` takes them from vLLM, and no time of its own."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and what its servers are to be told.

    Attributes:
        source: Where it was read.
        plan: The plan, in the form of `plan --json`.
        serving: Its servers.
        notes: What the reader should know of it.
    """

    source: Path
    plan: dict[str, Any]
    serving: Serving
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The plan and its servers, in a form that can be exported again."""
        plan = {name: self.plan[name] for name in PlanEntry.model_fields}
        return json.dumps(plan | {"serving": self.serving.model_dump()}, indent=2) + "\n"


def read_planned(path: Path) -> Planned:
    """Read what `hetserve plan --json` wrote, or the plan that a finished run began with.

    Args:
        path: The file, or the run's directory.

    Raises:
        RunError: It is neither, rents nothing, or names no server that can be told anything.
        ResultError, ScenarioError: The run is damaged.
    """
    planned = _of_run(path) if path.is_dir() else _of_file(path)
    engine = planned.serving.engine
    if engine not in ENGINES:
        msg = f"{path}: was planned for {engine}, and the limits of its servers are no flags of vLLM: "
        msg += "plan with sim.engine.name=vllm"
        raise RunError(msg)
    return planned


def _of_file(path: Path) -> Planned:
    if path.suffix in (".yaml", ".yml"):
        msg = f"{path} is a scenario, not a plan: hetserve plan {path} --json > plan.json"
        raise RunError(msg)
    (_, plan), *_ = read_plans(path)
    if path.name == PLANS and (path.parent / RESOLVED).is_file():
        return _of_run(path.parent)
    if plan["status"] != "ok" or not plan["fleet"]:
        reasons = "it rents nothing" if plan["status"] == "ok" else "; ".join(plan["diagnostics"])
        msg = f"{path}: there is nothing to deploy: {reasons}"
        raise RunError(msg)
    if plan.get("serving") is None:
        msg = f"{path}: has no `serving`, the limits of its servers: write it again with hetserve plan FILE --json"
        raise RunError(msg)
    serving = _serving(plan["serving"], path)
    _check_agreement(plan, serving, path)
    return Planned(path, plan, serving)


def _of_run(path: Path) -> Planned:
    directories = run_directories(path)
    if len(directories) > 1:
        msg = f"{path} holds {len(directories)} runs; name one of them, such as {directories[0]}"
        raise RunError(msg)
    directory = directories[0]
    check_run(directory)
    loaded = load(str(directory / RESOLVED))
    steps = read_deployments(directory / PLANS, make_models(loaded), make_gpu_types(loaded))
    _, deployment, plan = steps[0]
    later = len(steps) - 1
    notes = (f"the run planned {later} times again: this is the fleet that it began with",) if later else ()
    return Planned(path, plan, serving_of(loaded, deployment), notes)


def _serving(data: dict[str, Any], path: Path) -> Serving:
    try:
        return Serving.model_validate(data)
    except ValidationError as error:
        lines = [f"{path} serving.{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:10]]
        raise RunError("\n".join(lines)) from None


def _check_agreement(plan: dict[str, Any], serving: Serving, path: Path) -> None:
    """Make sure that a plan and the servers beside it are of one fleet.

    Raises:
        RunError: They are not.
    """
    for model in {replica.model: None for replica in serving.replicas}:
        if model not in serving.slo:
            msg = f"{path} serving.slo: has no {model!r}, which is served"
            raise RunError(msg)
    served: Counter[str] = Counter()
    for replica in serving.replicas:
        served[fleet_name(plan, replica.model, replica.name)] += replica.count
    for index, row in enumerate(plan["fleet"]):
        field = f"{path} fleet.{index}"
        if row["name"] not in served:
            msg = f"{field}.name: `serving` has no replica {row['name']!r}: {nearest(row['name'], served)}"
            raise RunError(msg)
        if row["count"] != served[row["name"]]:
            msg = f"{field}.count: is {row['count']}, `serving` has {served[row['name']]}; make them agree"
            raise RunError(msg)


def fleet_name(plan: dict[str, Any], model: str, name: str) -> str:
    """What a plan calls a replica: with its model before it, where there are several."""
    whole = f"{model} on {name}"
    return whole if any(row["name"] == whole for row in plan["fleet"]) else name
