"""The scenarios and suites that come with hetserve."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import yaml


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
    if source in library_names() or source not in suite_names() or Path(source).exists():
        return (source,)
    text = files("scenarios").joinpath("library", "suites", f"{source}.yaml").read_text()
    return tuple(yaml.safe_load(text)["suite"])
