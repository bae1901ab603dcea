"""Located problems from those that pydantic finds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from scenarios.errors import Problem
from scenarios.file.schema import Scenario
from scenarios.file.schema.model import kind_of_model
from scenarios.file.schema.moment import NO_START
from scenarios.file.yaml_lines import FieldPath
from traces.errors import nearest

_CLOCK_TIME = re.compile(r"\d{1,2}:\d\d(:\d\d)?")
_MOST_SHOWN = 60


def shortened(value: Any) -> str:
    """A value, or its beginning."""
    shown = repr(value)
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}..."


def located(detail: Mapping[str, Any], data: Any, where: Callable[[FieldPath], str], root: Any = Scenario) -> Problem:
    """A located problem from one of pydantic's, found in data of the type `root`."""
    path, siblings = _resolve(tuple(detail["loc"]), data, root)
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
        case "value_error":
            message = message.removeprefix("value error, ")
        case "timezone_aware":
            message = f"must name its zone, as in 2026-03-01T09:00+01:00 or 2026-03-01T08:00Z, not {detail['input']}"
        case "tuple_type":
            message = f"must be a list, not {shortened(detail['input'])}"
        case kind if kind in _NUMBERS and _CLOCK_TIME.fullmatch(str(detail["input"])):
            message = f"{detail['input']} is a clock time; write a number, for times that of seconds since the start"
        case _:
            message = f"{message}, not {shortened(detail['input'])}"
    return Problem(where(path), dotted(path), message)


def mend(data: Any, detail: Mapping[str, Any], gone: Iterable[FieldPath], *, is_first: bool) -> list[FieldPath]:
    """Take a field that is wrong out of some data, so that the rest can be looked at.

    At first a number gets another value instead, since the fields around it may need one. If the field is missing, what
    it is missing from goes. A list goes as a whole, so that its other items keep their places.

    Returns:
        What was taken out; nothing if a number got another value, or what it stands in is among those that are gone.
    """
    path, _ = _resolve(tuple(detail["loc"]), data)
    if any(is_below(path, lost) for lost in gone):
        return []
    parents = [data]
    for key in path[:-1]:
        inner = parents[-1]
        is_there = key in inner if isinstance(inner, dict) else isinstance(inner, list) and int(key) < len(inner)
        if not is_there:
            break
        parents.append(inner[key])
    if is_first and len(parents) == len(path) and detail["type"] in _NUMBERS:
        parents[-1][path[-1]] = _stand_in(detail.get("ctx", {}))
        return []
    for depth in range(min(len(parents), len(path)) - 1, -1, -1):
        if isinstance(parents[depth], dict) and path[depth] in parents[depth]:
            del parents[depth][path[depth]]
            return [path[: depth + 1]]
    return []


_NUMBERS = frozenset(
    f"{kind}_{what}" for kind in ("int", "float") for what in ("parsing", "type", "from_float", "parsing_size")
) | {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"}


def _stand_in(limits: Mapping[str, Any]) -> float:
    """A number within a limit of pydantic's."""
    for name, step in (("ge", 0), ("le", 0), ("gt", 1), ("lt", -1)):
        if name in limits:
            return float(limits[name] + step)
    return 1.0


def _resolve(location: FieldPath, data: Any, root: Any = Scenario) -> tuple[FieldPath, list[str]]:
    """(path in the file, keys allowed beside its end) of a location of pydantic's.

    pydantic puts the tag of a discriminated union into the location, as if it were a key.
    """
    path: list[str | int] = []
    siblings: list[str] = []
    annotation = root
    for key in location:
        members = _members(annotation)
        if isinstance(data, dict) and key not in data and len(members) > 1 and key == _kind(data, members):
            annotation = next(m for m in members if _tag(m) == key)
            continue
        path.append(key)
        annotation, siblings = _child(members[0] if members else None, key)
        if isinstance(data, dict):
            data = data.get(key)
        elif isinstance(data, list) and isinstance(key, int) and key < len(data):
            data = data[key]
    return tuple(path), siblings


def without_start(details: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of pydantic's problems, clock times that only lack a `start` because the one that is there is wrong itself."""
    details = list(details)
    if not any(detail["loc"] == ("start",) for detail in details):
        return []
    return [detail for detail in details if NO_START in detail["msg"]]


def is_below(location: FieldPath, other: FieldPath) -> bool:
    """Whether a field stands within another."""
    return len(location) > len(other) and location[: len(other)] == other


def _kind(data: Mapping[str, Any], members: Iterable[Any]) -> Any:
    """Which of the alternatives stands there; one of them may be meant where `kind` is left out."""
    kinds = [m.model_fields["kind"] for m in members if "kind" in m.model_fields]
    if not kinds:
        return kind_of_model(data)
    return data.get("kind", next((kind.default for kind in kinds if not kind.is_required()), None))


def _tag(member: Any) -> str:
    """What pydantic calls one of the alternatives."""
    kind = member.model_fields.get("kind")
    return str(kind.annotation.__args__[0] if kind is not None else member.__name__)


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
        fields = {field.alias or name: field for name, field in annotation.model_fields.items()}
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
