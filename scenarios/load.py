"""From a file to a `Scenario`: overrides applied, everything checked, all problems reported together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import product
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from scenarios.check import check_references
from scenarios.errors import Problem, ScenarioError
from scenarios.loaded import LoadedScenario
from scenarios.schema import Scenario
from scenarios.yaml_lines import Document, FieldPath, parse
from traces.errors import nearest


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


def read_document(source: str) -> tuple[Document, Path]:
    """Parse a file, or a scenario of the library by its name; (document, folder of relative paths).

    Raises:
        ScenarioError: There is neither, or the file cannot be read.
    """
    if source in library_names() and not Path(source).is_file():
        return parse(library_text(source), f"{source}.yaml"), Path.cwd()
    path = Path(source)
    if path.is_dir():
        files_in_it = [*sorted(path.glob("*.yaml")), *sorted(path.rglob("*/scenario.resolved.yaml"))]
        hint = f"name a file in it, such as {files_in_it[0]}" if files_in_it else "there is no scenario in it"
        raise ScenarioError([Problem(source, "", f"is a directory; {hint}")])
    if not path.is_file():
        hint = nearest(source, (*library_names(), *suite_names()))
        raise ScenarioError([Problem(source, "", f"no such file, and no scenario of the library: {hint}")])
    try:
        return parse(path.read_text(encoding="utf-8"), source), path.parent
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError([Problem(source, "", f"cannot be read: {error}")]) from error


def load(source: str, scenario: str | None = None, sets: Sequence[str] = ()) -> LoadedScenario:
    """Load one scenario.

    Args:
        source: A file, or the name of a scenario of the library.
        scenario: One of the file's `scenarios`; None for the file as it stands.
        sets: Last changes, as `path=value`, the value in YAML.

    Raises:
        ScenarioError: Whatever is wrong, all of it.
    """
    document, folder = read_document(source)
    patches, problems = _patches(document, scenario)
    set_patches, set_problems = _parse_sets(sets)
    return _load(document, folder, scenario, [*patches, *set_patches], [*problems, *set_problems])


def load_all(source: str) -> list[LoadedScenario]:
    """Load the file as it stands and all its scenarios.

    Raises:
        ScenarioError: Whatever is wrong with any of them.
    """
    document, folder = read_document(source)
    names: list[str | None] = [None, *_scenarios(document)]
    loaded: list[LoadedScenario] = []
    problems: dict[Problem, None] = {}
    for name in names:
        try:
            loaded.append(_load(document, folder, name, *_patches(document, name)))
        except ScenarioError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise ScenarioError(problems)
    return loaded


@dataclass(frozen=True, slots=True)
class _Patch:
    """A new value for a field, and where it was written."""

    path: FieldPath
    value: Any
    where: str


def _load(
    document: Document, folder: Path, name: str | None, patches: Iterable[_Patch], problems: Iterable[Problem]
) -> LoadedScenario:
    problems = [*document.problems, *problems]
    if not document.problems and not isinstance(document.data, dict):
        problems.append(Problem(document.file, "", "a scenario is a mapping of keys to values; this file is not"))
    if problems:
        raise ScenarioError(problems)
    data = copy.deepcopy(document.data)
    changes: list[str] = []
    written: dict[FieldPath, str] = {}
    for patch in patches:
        problem = _apply(data, patch, changes)
        if problem is not None:
            problems.append(problem)
        written[patch.path] = patch.where

    def where(path: FieldPath) -> str:
        """The patch that wrote a field or, where the file does not have it, something in it; else the file."""
        for patch, place in written.items():
            if path[: len(patch)] == patch or (path not in document.lines and _overlap(patch, path)):
                return place
        return document.where(path)

    scenario = _checked(data, folder, where, problems)
    cases = [(case, _case(document, folder, data, case, where)) for case in scenario.planning.cases]
    label = scenario.name if name is None else f"{scenario.name}+{name}"
    return LoadedScenario(scenario, name, label, folder, tuple(changes), tuple(cases))


def _checked(
    data: dict[str, Any], folder: Path, where: Callable[[FieldPath], str], problems: Iterable[Problem] = ()
) -> Scenario:
    """The scenario of some data, if there are no problems."""
    problems = list(problems)
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        details = error.errors()
        # A list whose items are wrong has too few of them for pydantic.
        short = [d for d in details if d["type"] == "too_short" and any(_is_below(o["loc"], d["loc"]) for o in details)]
        problems += [_problem(detail, data, where) for detail in details if detail not in short]
        raise ScenarioError(_by_line(problems)) from None
    problems += [Problem(where(path), _dotted(path), message) for path, message in check_references(scenario, folder)]
    if problems:
        raise ScenarioError(_by_line(problems))
    return scenario


def _case(
    document: Document, folder: Path, data: dict[str, Any], override: str, where: Callable[[FieldPath], str]
) -> Scenario:
    """The scenario of some data in the circumstances that an override makes."""
    data = copy.deepcopy(data)
    places: dict[FieldPath, str] = {}
    for field, value in data["overrides"][override].items():
        patch = _Patch(tuple(field.split(".")), value, document.where(("overrides", override, field)))
        problem = _apply(data, patch, [])
        if problem is not None:
            raise ScenarioError([problem])
        places[patch.path] = patch.where
    return _checked(
        data, folder, lambda path: next((at for patch, at in places.items() if _overlap(patch, path)), where(path))
    )


# Overrides -----------------------------------------------------------------------------------------------------------


def matrix_names(source: str) -> tuple[str, ...]:
    """Names of the scenarios in a file's `matrix`.

    Raises:
        ScenarioError: The file cannot be read.
    """
    return tuple(_combinations(_readable(source)))


def all_names(source: str) -> tuple[str | None, ...]:
    """Names of all scenarios of a file: those of its matrix or, without one, itself (None) and those that it lists.

    Raises:
        ScenarioError: The file cannot be read.
    """
    document = _readable(source)
    return tuple(_combinations(document)) or (None, *_scenarios(document))


def _readable(source: str) -> Document:
    document, _ = read_document(source)
    if document.problems:
        raise ScenarioError(document.problems)
    return document


def _mapping(document: Document, key: str) -> dict[str, Any]:
    """What stands under a key; nothing if it is no mapping, which the schema reports."""
    data = document.data if isinstance(document.data, dict) else {}
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _combinations(document: Document) -> dict[str, list[FieldPath]]:
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


def _scenarios(document: Document) -> dict[str, list[FieldPath]]:
    """All scenarios of a file: where the overrides of each are named."""
    listed: dict[str, list[FieldPath]] = {
        name: [("scenarios", name, index) for index in range(len(overrides))] if isinstance(overrides, list) else []
        for name, overrides in _mapping(document, "scenarios").items()
    }
    return listed | _combinations(document)


def _patches(document: Document, name: str | None) -> tuple[list[_Patch], list[Problem]]:
    """The patches of one of the file's scenarios; two overrides of one field are a problem."""
    if name is None or document.problems:
        return [], []
    scenarios = _scenarios(document)
    if name not in scenarios:
        message = f"unknown scenario {name!r}: {nearest(name, scenarios) if scenarios else 'the file has none'}"
        return [], [Problem(document.file, "scenarios", message)]
    overrides = _mapping(document, "overrides")
    patches: list[_Patch] = []
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
            rival = next((p for p in patches if _overlap(p.path, path)), None)
            here = document.where(("overrides", override, field))
            if rival is not None:
                message = f"{name!r} sets {_dotted(path)} here and {_dotted(rival.path)} at {rival.where}"
                problems.append(Problem(here, f"overrides.{override}", message))
            patches.append(_Patch(path, value, here))
    return patches, problems


def _overlap(a: FieldPath, b: FieldPath) -> bool:
    n = min(len(a), len(b))
    return a[:n] == b[:n]


def _parse_sets(sets: Sequence[str]) -> tuple[list[_Patch], list[Problem]]:
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
        patches.append(_Patch(tuple(path.split(".")), parsed, f"--set {text}"))
    return patches, problems


def _apply(data: dict[str, Any], patch: _Patch, changes: list[str]) -> Problem | None:
    """Set the field of a patch; a path through something that is not a mapping is a problem."""
    target: Any = data
    for depth, key in enumerate(patch.path[:-1]):
        target = target.setdefault(key, {})
        if not isinstance(target, dict):
            message = f"{_dotted(patch.path[: depth + 1])} is a value, it has no fields to set"
            return Problem(patch.where, _dotted(patch.path), message)
    old = target.get(patch.path[-1], "(default)")
    changes.append(f"{_dotted(patch.path)}: {old} -> {patch.value}")
    target[patch.path[-1]] = patch.value
    return None


# Messages ------------------------------------------------------------------------------------------------------------


def _problem(detail: Mapping[str, Any], data: Any, where: Callable[[FieldPath], str]) -> Problem:
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
    return Problem(where(path), _dotted(path), message)


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


def _is_below(location: FieldPath, other: FieldPath) -> bool:
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


def _dotted(path: FieldPath) -> str:
    return ".".join(map(str, path))


def _by_line(problems: list[Problem]) -> list[Problem]:
    def key(problem: Problem) -> tuple[str, int, str]:
        file, _, line = problem.where.rpartition(":")
        return (file, int(line), problem.field) if line.isdigit() else (problem.where, 0, problem.field)

    return sorted(problems, key=key)
