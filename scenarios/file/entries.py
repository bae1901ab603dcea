"""Entries of files beside a scenario: GPU types and models of one's own, datasheets and coefficients, all located."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from scenarios.errors import Problem, ScenarioError
from scenarios.file.messages import by_line, dotted, located
from scenarios.file.schema.part import Part
from scenarios.file.yaml_lines import FieldPath, parse

_Entry = TypeVar("_Entry", bound=Part)


def read_entries(
    path: Path, kind: type[_Entry], check: Callable[[str, _Entry], Iterable[tuple[FieldPath, str]]] | None = None
) -> dict[str, _Entry]:
    """The entries of a YAML file by their names.

    Args:
        path: The file.
        kind: What an entry is like.
        check: What is wrong with an entry of a name beside that, as (field, message).

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
    problems = [
        Problem(document.where((name, *field)), dotted((name, *field)), message)
        for name, entry in found.items()
        for field, message in (check(name, entry) if check is not None else ())
    ]
    if problems:
        raise ScenarioError(by_line(problems))
    return found
