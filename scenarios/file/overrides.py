"""Named changes of a scenario: overrides, lists of them, their combinations, and `--set`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import yaml

from scenarios.errors import Problem
from scenarios.file.messages import dotted
from scenarios.file.yaml_lines import Document, FieldPath
from traces.errors import nearest


@dataclass(frozen=True, slots=True)
class Patch:
    """A new value for a field, and where it was written."""

    path: FieldPath
    value: Any
    where: str


def _mapping(document: Document, key: str) -> dict[str, Any]:
    """What stands under a key; nothing if it is no mapping, which the schema reports."""
    data = document.data if isinstance(document.data, dict) else {}
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def matrix_paths(document: Document) -> dict[str, list[FieldPath]]:
    """The scenarios of the matrix: where the overrides of each are named."""
    axes = [
        [(str(override), ("matrix", axis, index)) for index, override in enumerate(overrides)]
        for axis, overrides in _mapping(document, "matrix").items()
        if isinstance(overrides, list)
    ]
    if not axes:
        return {}
    return {
        "-".join(override for override, _ in combination): [path for _, path in combination]
        for combination in product(*axes)
    }


def scenario_paths(document: Document) -> dict[str, list[FieldPath]]:
    """All scenarios of a file: where the overrides of each are named."""
    listed: dict[str, list[FieldPath]] = {
        name: [("scenarios", name, index) for index in range(len(overrides))] if isinstance(overrides, list) else []
        for name, overrides in _mapping(document, "scenarios").items()
    }
    return listed | matrix_paths(document)


def patches_of(document: Document, name: str | None) -> tuple[list[Patch], list[Problem]]:
    """The patches of one of the file's scenarios; two overrides of one field are a problem."""
    if name is None or document.problems:
        return [], []
    scenarios = scenario_paths(document)
    if name not in scenarios:
        message = f"unknown scenario {name!r}: {nearest(name, scenarios) if scenarios else 'the file has none'}"
        return [], [Problem(document.file, "scenarios", message)]
    overrides = _mapping(document, "overrides")
    patches: list[Patch] = []
    problems: list[Problem] = []
    for path_of_name in scenarios[name]:
        section, key, index = path_of_name
        override = document.data[section][key][index]
        if override not in overrides:
            hint = nearest(str(override), overrides)
            where = document.where(path_of_name)
            problems.append(Problem(where, f"{section}.{key}", f"unknown override {override!r}: {hint}"))
            continue
        patch = overrides[override]
        for field, value in (patch if isinstance(patch, dict) else {}).items():
            path: FieldPath = tuple(field.split("."))
            rival = next((p for p in patches if overlap(p.path, path)), None)
            here = document.where(("overrides", override, field))
            if rival is not None:
                message = f"{name!r} sets {dotted(path)} here and {dotted(rival.path)} at {rival.where}"
                problems.append(Problem(here, f"overrides.{override}", message))
            patches.append(Patch(path, value, here))
    return patches, problems


def overlap(a: FieldPath, b: FieldPath) -> bool:
    """Whether one of two fields is or holds the other."""
    n = min(len(a), len(b))
    return a[:n] == b[:n]


def parse_sets(sets: Sequence[str]) -> tuple[list[Patch], list[Problem]]:
    """The patches of `path=value`, and what cannot be read as that."""
    patches, problems = [], []
    for text in sets:
        path, equals, value = text.partition("=")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not equals or not path:
            problems.append(
                Problem(f"--set {text}", "", "write path=value, the value in YAML: --set sim.horizon_s=600")
            )
            continue
        patches.append(Patch(tuple(path.split(".")), parsed, f"--set {text}"))
    return patches, problems


def apply_patch(data: dict[str, Any], patch: Patch, changes: list[str]) -> Problem | None:
    """Set the field of a patch; a path through something that is not a mapping is a problem."""
    target: Any = data
    for depth, key in enumerate(patch.path[:-1]):
        target = target.setdefault(key, {})
        if not isinstance(target, dict):
            message = f"{dotted(patch.path[: depth + 1])} is a value, it has no fields to set"
            return Problem(patch.where, dotted(patch.path), message)
    old = target.get(patch.path[-1], "(default)")
    changes.append(f"{dotted(patch.path)}: {old} -> {patch.value}")
    target[patch.path[-1]] = patch.value
    return None
