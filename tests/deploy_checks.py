"""Checks of exported plans against what the tools accept: schemas in `tests/data/deploy`, each with its source."""

from __future__ import annotations

import json
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

KUBERNETES_VERSION = "1.36"


@cache
def schemas(name: str) -> dict[str, Any]:
    path = Path(__file__).parent / "data" / "deploy" / f"{name}.json"
    data: dict[str, Any] = json.loads(path.read_text())
    assert data["source"]
    assert data["date"]
    return data


def documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a file, as a reader of YAML 1.1 sees them."""
    return list(yaml.safe_load_all(path.read_text()))


def check_kubernetes(document: dict[str, Any]) -> None:
    """What Kubernetes has itself by its own schemas; else by an excerpt, with the pods by their own schema."""
    kind = document["kind"]
    if kind in ("Deployment", "Service"):
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)
    elif kind != "DynamoGraphDeployment":
        jsonschema.Draft202012Validator(schemas("kubernetes")[kind]).validate(document)
    for template in templates(document):
        metadata = {"name": "pod"} | template.get("metadata", {})
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        kubernetes_validate.validate(pod, KUBERNETES_VERSION, strict=True)


def templates(document: dict[str, Any]) -> list[dict[str, Any]]:
    """All templates of pods in a document."""
    spec = document["spec"]
    match document["kind"]:
        case "Deployment":
            return [spec["template"]]
        case "LeaderWorkerSet":
            whole = spec["leaderWorkerTemplate"]
            return [whole["leaderTemplate"], whole["workerTemplate"]]
        case "DynamoGraphDeployment":
            return [component["podTemplate"] for component in spec["components"]]
        case _:
            return []


def check_compose(document: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(schemas("compose")["schema"]).validate(document)


def check_skypilot(task: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schemas("skypilot")["task"]).validate(task)
    jsonschema.Draft202012Validator(schemas("skypilot")["resources"]).validate(task["resources"])
    jsonschema.Draft202012Validator(schemas("skypilot")["service"]).validate(task["service"])


def flags_of(arguments: list[str]) -> dict[str, str | None]:
    """The flags among the words of a command of `vllm serve`; each is one that it has, with a value it accepts."""
    known = schemas("vllm")
    flags: dict[str, str | None] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            continue
        if word in known["serve_switches"] or word.replace("--no-", "--", 1) in known["serve_switches"]:
            flags[word] = None
            continue
        assert word in known["serve"], word
        value = rest.pop(0)
        assert value in known["choices"].get(word, [value]), (word, value)
        flags[word] = value
    return flags


def script_flags(path: Path) -> dict[str, str | None]:
    """The flags of a script that ends in `vllm serve`."""
    command = path.read_text().split("exec vllm serve ")[1].replace("$headless", "")
    return flags_of(shlex.split(command)[1:])


def check_bench_command(command: str) -> None:
    """Each option is one that `vllm bench serve` has."""
    options = {word for word in shlex.split(command) if word.startswith("--")}
    assert options <= set(schemas("vllm")["bench_serve"]), options
