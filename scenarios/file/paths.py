"""The paths that a scenario names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_FIELDS_OF_FILES = (".path", ".config", ".coefficients")


def change_paths(data: dict[str, Any], change: Callable[[str], str]) -> None:
    """Change each path in the data of a scenario that is valid; `data` may be as it stands in a file.

    >>> data = {"workload": {"chat": {"kind": "trace", "path": "a.csv"}}, "models": {"M": {"config": "m.json"}}}
    >>> change_paths(data, lambda path: f"../{path}")
    >>> data
    {'workload': {'chat': {'kind': 'trace', 'path': '../a.csv'}}, 'models': {'M': {'config': '../m.json'}}}
    """

    def at(holder: Any, key: str) -> None:
        if isinstance(holder, dict) and holder.get(key) is not None:
            holder[key] = change(str(holder[key]))

    cluster = data.get("cluster") or {}
    sim = data.get("sim") or {}
    for part in (*(data.get("workload") or {}).values(), sim.get("service_time"), cluster.get("availability")):
        at(part, "path")
        at((part or {}).get("options"), "capacity")
    for model in (data.get("models") or {}).values():
        if isinstance(model.get("config"), str):
            at(model, "config")
    for gpu in (cluster.get("gpus") or {}).values():
        at(gpu, "coefficients")
    for override in (data.get("overrides") or {}).values():
        for field in override:
            if str(field).endswith(_FIELDS_OF_FILES) and isinstance(override[field], str):
                at(override, field)
    at(data, "catalog")
