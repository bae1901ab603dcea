"""Named changes of a scenario: overrides, lists of them, their combinations, and `--set`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from scenarios.errors import Problem
from scenarios.file.messages import dotted
from scenarios.file.yaml_lines import Document, FieldPath, parse_value
from sim.catalog.read import Catalog
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
        hint = nearest(name, scenarios) if scenarios else "the file has none"
        if name in _mapping(document, "overrides"):
            hint = f"that is an override; it is a scenario with scenarios: {{{name}: [{name}]}}"
        message = f"unknown scenario {name!r}: {hint}"
        return [], [Problem(document.file, "scenarios", message)]
    overrides = _mapping(document, "overrides")
    patches: list[Patch] = []
    problems: list[Problem] = []
    for path_of_name in scenarios[name]:
        section, key, index = path_of_name
        override = document.data[section][key][index]
        if not isinstance(override, str):
            problems.append(
                Problem(document.where(path_of_name), f"{section}.{key}", "must be the name of an override")
            )
            continue
        if override not in overrides:
            hint = nearest(override, overrides)
            where = document.where(path_of_name)
            problems.append(Problem(where, f"{section}.{key}", f"unknown override {override!r}: {hint}"))
            continue
        patch = overrides[override]
        for field, value in (patch if isinstance(patch, dict) else {}).items():
            path = field_path(field, document.data)
            rival = next((p for p in patches if overlap(p.path, path)), None)
            here = document.where(("overrides", override, field))
            if rival is not None:
                message = f"{name!r} sets {dotted(path)} here and {dotted(rival.path)} at {rival.where}"
                problems.append(Problem(here, f"overrides.{override}", message))
            patches.append(Patch(path, value, here))
    return patches, problems


def field_path(field: str, data: Any) -> FieldPath:
    """The keys of a field, which are joined with dots.

    A key may have dots itself where it stands in the data, or is the name of a model or GPU type; or in quotes.

    >>> field_path("slo.by_model.Llama-3.1-8B.ttft_s", {})
    ('slo', 'by_model', 'Llama-3.1-8B', 'ttft_s')
    >>> field_path("workload.a.b.model", {"workload": {"a.b": {}}})
    ('workload', 'a.b', 'model')
    >>> field_path('models."my.model".n_layers', {})
    ('models', 'my.model', 'n_layers')
    """
    names = _names_with_dots(data)
    keys: list[str | int] = []
    here, rest = data, field
    while True:
        if rest.startswith('"') and '"' in rest[1:]:
            key, _, rest = rest[1:].partition('"')
        else:
            there = [str(name) for name in here] if isinstance(here, dict) else []
            found = [name for name in (*there, *names) if rest == name or rest.startswith(f"{name}.")]
            key = max(found, key=len, default=rest.partition(".")[0])
            rest = rest[len(key) :]
        keys.append(key)
        here = here.get(key) if isinstance(here, dict) else None
        if not rest:
            return tuple(keys)
        rest = rest.removeprefix(".")


def _names_with_dots(data: Any) -> list[str]:
    """Names of models and GPU types, of the catalog and of some data, that have a dot."""
    catalog = Catalog.default()
    own = data.get("models") if isinstance(data, dict) else None
    names = [*catalog.models, *catalog.gpus, *(own if isinstance(own, dict) else ())]
    return [name for name in names if "." in str(name)]


def overlap(a: FieldPath, b: FieldPath) -> bool:
    """Whether one of two fields is or holds the other."""
    n = min(len(a), len(b))
    return a[:n] == b[:n]


OF_FILES = ("matrix", "scenarios")
"""Keys that say which scenarios a file has: they are read before `--set` changes one of them."""

_ONLY_IN_FILES = (
    "which scenarios there are is read from the file, --set then changes each of them: write it there "
    "(hetserve new DIR copies one of the library), or run once for each with the fields of its overrides as --set"
)


def parse_sets(sets: Sequence[str], data: Any) -> tuple[list[Patch], list[Problem]]:
    """The patches of `path=value` for some data, and what cannot be read as that."""
    patches, problems = [], []
    for text in sets:
        path, equals, value = text.partition("=")
        try:
            parsed = parse_value(value)
        except ValueError:
            equals = ""
        if not equals or not path:
            problems.append(
                Problem(f"--set {text}", "", "write path=value, the value in YAML: --set sim.horizon_s=600")
            )
            continue
        patch = Patch(field_path(path, data), parsed, f"--set {text}")
        if patch.path[0] in OF_FILES:
            problems.append(Problem(patch.where, str(patch.path[0]), _ONLY_IN_FILES))
        else:
            patches.append(patch)
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
