"""What a run was asked, as the scenario beside it says."""

from __future__ import annotations

from functools import cache
from typing import Any

from scenarios.file.messages import shortened
from scenarios.file.yaml_lines import parse_value

_NOT_ASKED = frozenset({"planners", "seeds", "description"})
"""Parts of a scenario that no single run depends on, but for the options of its planner."""


@cache
def planners_of(resolved_yaml: str) -> tuple[str, ...]:
    """Labels of a scenario's planners, in its order."""
    return tuple(choice["label"] for choice in parse_value(resolved_yaml)["planners"])


def asked_fields(resolved_yaml: str, planner: str | None = None) -> dict[str, Any]:
    """The fields of a scenario by their dotted paths, without planners, seeds and words; with a planner's options."""
    data = parse_value(resolved_yaml)
    fields = dict(_flat({key: part for key, part in data.items() if key not in _NOT_ASKED}, ""))
    if planner is not None:
        for choice in data["planners"]:
            if choice["label"] == planner:
                fields |= _flat(choice, f"planners.{planner}")
    return fields


def changed_fields(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Which fields differ, as `field: old -> new`."""
    names = [*before, *(name for name in after if name not in before)]
    differing = [name for name in names if before.get(name) != after.get(name)]
    return [f"{name}: {shortened(before.get(name))} -> {shortened(after.get(name))}" for name in differing]


def _flat(part: Any, path: str) -> list[tuple[str, Any]]:
    if not isinstance(part, dict):
        return [(path, part)]
    return [item for key, value in part.items() for item in _flat(value, f"{path}.{key}" if path else str(key))]
