"""Located problems from those that pydantic finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from scenarios.errors import Problem
from scenarios.file.schema import Scenario
from scenarios.file.yaml_lines import FieldPath
from traces.errors import nearest


def located(detail: Mapping[str, Any], data: Any, where: Callable[[FieldPath], str]) -> Problem:
    """A located problem from one of pydantic's."""
    path, siblings = _resolve(tuple(detail["loc"]), data)
    context = detail.get("ctx", {})
    message = detail["msg"][0].lower() + detail["msg"][1:]
    match detail["type"]:
        case "extra_forbidden":
            message = f"unknown key: {nearest(str(path[-1]), siblings)}"
        case "union_tag_invalid":
            known = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
            path = (*path, "kind")
            message = f"unknown kind {context['tag']!r}: {nearest(str(context['tag']), known)}"
        case "union_tag_not_found":
            message = "needs a key 'kind'"
        case "missing":
            message = "is missing"
        case "tuple_type":
            message = f"must be a list, not {detail['input']!r}"
        case kind if kind != "value_error":
            message = f"{message}, not {detail['input']!r}"
    return Problem(where(path), dotted(path), message)


def _resolve(location: FieldPath, data: Any) -> tuple[FieldPath, list[str]]:
    """(path in the file, keys allowed beside its end) of a location of pydantic's.

    pydantic puts the tag of a discriminated union into the location, as if it were a key.
    """
    path: list[str | int] = []
    siblings: list[str] = []
    annotation: Any = Scenario
    for key in location:
        members = _members(annotation)
        if isinstance(data, dict) and key not in data and len(members) > 1 and key == _kind(data, members):
            annotation = next(m for m in members if m.model_fields["kind"].annotation.__args__ == (key,))
            continue
        path.append(key)
        annotation, siblings = _child(members[0] if members else None, key)
        if isinstance(data, dict):
            data = data.get(key)
        elif isinstance(data, list) and isinstance(key, int) and key < len(data):
            data = data[key]
    return tuple(path), siblings


def is_below(location: FieldPath, other: FieldPath) -> bool:
    """Whether a field stands within another."""
    return len(location) > len(other) and location[: len(other)] == other


def _kind(data: Mapping[str, Any], members: Iterable[Any]) -> Any:
    """Which of the alternatives stands there; one of them may be meant where `kind` is left out."""
    optional = (m.model_fields["kind"].default for m in members if not m.model_fields["kind"].is_required())
    return data.get("kind", next(optional, None))


def _members(annotation: Any) -> list[Any]:
    """The alternatives of an annotation, without None."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [m for a in get_args(annotation) if a is not type(None) for m in _members(a)]
    return [annotation]


def _child(annotation: Any, key: str | int) -> tuple[Any, list[str]]:
    """(type of what stands under a key, keys that may stand there)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        return (fields[str(key)].annotation if key in fields else None), sorted(fields)
    arguments = [a for a in get_args(annotation) if a is not Ellipsis]
    return (arguments[-1] if arguments else None), []


def dotted(path: FieldPath) -> str:
    """A path as people write it: `sim.horizon_s`."""
    return ".".join(map(str, path))


def by_line(problems: list[Problem]) -> list[Problem]:
    """Problems in the order of the lines that they are at."""

    def key(problem: Problem) -> tuple[str, int, str]:
        file, _, line = problem.where.rpartition(":")
        return (file, int(line), problem.field) if line.isdigit() else (problem.where, 0, problem.field)

    return sorted(problems, key=key)
