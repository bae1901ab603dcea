"""The scenarios and suites that come with hetserve."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from scenarios.file.yaml_lines import parse_value


def library_names() -> tuple[str, ...]:
    """Names of the scenarios that come with hetserve."""
    entries = files("scenarios").joinpath("library").iterdir()
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml")))


def library_text(name: str) -> str:
    """The file of a scenario that comes with hetserve."""
    return files("scenarios").joinpath("library", f"{name}.yaml").read_text()


def suite_names() -> tuple[str, ...]:
    """Names of the suites that come with hetserve: lists of scenarios."""
    entries = files("scenarios").joinpath("library", "suites").iterdir()
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml")))


def members(source: str) -> tuple[str, ...]:
    """The scenarios of a suite of the library; a file or a scenario is its own only member."""
    return tuple(_suite(source)["suite"]) if _is_suite(source) else (source,)


def suite_minutes(source: str) -> float | None:
    """How long a suite of the library takes on one core; None if it is none."""
    return float(_suite(source)["minutes"]) if _is_suite(source) else None


def _is_suite(source: str) -> bool:
    return source in suite_names() and source not in library_names() and not Path(source).exists()


def _suite(name: str) -> dict[str, Any]:
    text = files("scenarios").joinpath("library", "suites", f"{name}.yaml").read_text()
    return dict(parse_value(text))
