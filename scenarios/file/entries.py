"""Entries of files beside a scenario: GPU types and models of one's own, datasheets and coefficients, all located."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from scenarios.errors import Problem, ScenarioError
from scenarios.file.messages import by_line, located
from scenarios.file.schema.part import Part
from scenarios.file.yaml_lines import parse

_Entry = TypeVar("_Entry", bound=Part)


def read_entries(path: Path, kind: type[_Entry]) -> dict[str, _Entry]:
    """The entries of a YAML file by their names.

    Args:
        path: The file.
        kind: What an entry is like.

    Raises:
        ScenarioError: The file cannot be read, or something in it is wrong; all of it, with lines.
    """
    try:
        document = parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError([Problem(str(path), "", f"cannot be read: {error}")]) from error
    if document.problems:
        raise ScenarioError(document.problems)
    if not isinstance(document.data, dict) or not document.data:
        raise ScenarioError([Problem(str(path), "", "must have an entry at least: a name, and below it what it is")])
    entries = dict[str, kind]  # type: ignore[valid-type]
    try:
        found: dict[str, _Entry] = TypeAdapter(entries).validate_python(document.data)
    except ValidationError as error:
        problems = [located(detail, document.data, document.where, entries) for detail in error.errors()]
        raise ScenarioError(by_line(problems)) from None
    return found
