"""From a file to a `Scenario`: overrides applied, everything checked, all problems reported together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from scenarios.errors import Problem, ScenarioError
from scenarios.file.check import check_references
from scenarios.file.library import library_names, library_text, suite_names
from scenarios.file.loaded import LoadedScenario
from scenarios.file.messages import by_line, dotted, is_below, located, mend, without_start
from scenarios.file.overrides import (
    OF_FILES,
    Patch,
    apply_patch,
    field_path,
    matrix_paths,
    overlap,
    parse_sets,
    patches_of,
    scenario_paths,
)
from scenarios.file.schema import Scenario
from scenarios.file.schema.moment import start_of
from scenarios.file.yaml_lines import Document, FieldPath, parse
from traces.errors import nearest

_MOST_ROUNDS = 8  # in which fields that are wrong are taken out


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
    patches, problems = patches_of(document, scenario)
    set_patches, set_problems = parse_sets(sets, document.data)
    if any(problem.field in OF_FILES for problem in set_problems):
        problems = [problem for problem in problems if problem.field != "scenarios"]  # one that --set was to add
    return _load(document, folder, scenario, [*patches, *set_patches], [*problems, *set_problems])


def load_text(text: str, name: str, sets: Sequence[str] = ()) -> LoadedScenario:
    """Load a scenario that stands in no file; relative paths start in the working directory.

    Args:
        text: The scenario in YAML.
        name: What to call it in messages.
        sets: Last changes, as for `load`.

    Raises:
        ScenarioError: Whatever is wrong, all of it.
    """
    document = parse(text, name)
    return _load(document, Path.cwd(), None, *parse_sets(sets, document.data))


def load_all(source: str) -> list[LoadedScenario]:
    """Load the file as it stands and all its scenarios.

    Raises:
        ScenarioError: Whatever is wrong with any of them.
    """
    document, folder = read_document(source)
    names: list[str | None] = [None, *scenario_paths(document)]
    loaded: list[LoadedScenario] = []
    problems: dict[Problem, None] = {}
    for name in names:
        try:
            loaded.append(_load(document, folder, name, *patches_of(document, name)))
        except ScenarioError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise ScenarioError(problems)
    return loaded


def _load(
    document: Document, folder: Path, name: str | None, patches: Iterable[Patch], problems: Iterable[Problem]
) -> LoadedScenario:
    problems = [*document.problems, *problems]
    if not isinstance(document.data, dict):
        if not document.problems:
            problems.append(Problem(document.file, "", "a scenario is a mapping of keys to values; this file is not"))
        raise ScenarioError(problems)
    data = copy.deepcopy(document.data)
    changes: list[str] = []
    written: dict[FieldPath, str] = {}
    for patch in patches:
        problem = apply_patch(data, patch, changes)
        if problem is not None:
            problems.append(problem)
        written[patch.path] = patch.where

    def where(path: FieldPath) -> str:
        """The patch that wrote a field or, where the file does not have it, something in it; else the file."""
        for patch, place in written.items():
            if path[: len(patch)] == patch or (path not in document.lines and overlap(patch, path)):
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
        scenario = Scenario.model_validate(data, context={"start": start_of(data)})
    except ValidationError as error:
        details = error.errors()
        # A list whose items are wrong has too few of them for pydantic.
        short = [d for d in details if d["type"] == "too_short" and any(is_below(o["loc"], d["loc"]) for o in details)]
        found = [located(detail, data, where) for detail in details if detail not in [*short, *without_start(details)]]
        problems += [*found, *_problems_of_the_rest(data, details, folder, where)]
        raise ScenarioError(by_line(problems)) from None
    try:
        references = check_references(scenario, folder)
    except ScenarioError as error:  # in a file beside the scenario
        raise ScenarioError([*by_line(problems), *error.problems]) from None
    problems += [Problem(where(path), dotted(path), message) for path, message in references]
    if problems:
        raise ScenarioError(by_line(problems))
    return scenario


def _problems_of_the_rest(
    data: dict[str, Any], details: Sequence[ErrorDetails], folder: Path, where: Callable[[FieldPath], str]
) -> list[Problem]:
    """What else is wrong with a scenario of which some fields are: it is checked without them, if it can be."""
    rest = copy.deepcopy(data)
    gone: list[FieldPath] = []
    for _ in range(_MOST_ROUNDS):
        is_first = not gone
        for detail in details:
            gone += mend(rest, detail, gone, is_first=is_first)
        try:
            scenario = Scenario.model_validate(rest, context={"start": start_of(rest)})
        except ValidationError as error:
            details = error.errors()
            continue
        try:
            references = check_references(scenario, folder)
        except ScenarioError as error:  # in a file beside the scenario
            return list(error.problems)
        return [
            Problem(where(path), dotted(path), message)
            for path, message in references
            # What is said of what was taken out is our own doing.
            if not any(
                repr(lost[-1]) in message or dotted(lost) in message or lost[: len(path)] == path for lost in gone
            )
        ]
    return []


def _case(
    document: Document, folder: Path, data: dict[str, Any], override: str, where: Callable[[FieldPath], str]
) -> Scenario:
    """The scenario of some data in the circumstances that an override makes."""
    data = copy.deepcopy(data)
    places: dict[FieldPath, str] = {}
    for field, value in data["overrides"][override].items():
        patch = Patch(field_path(field, data), value, document.where(("overrides", override, field)))
        problem = apply_patch(data, patch, [])
        if problem is not None:
            raise ScenarioError([problem])
        places[patch.path] = patch.where
    return _checked(
        data, folder, lambda path: next((at for patch, at in places.items() if overlap(patch, path)), where(path))
    )


def matrix_names(source: str) -> tuple[str, ...]:
    """Names of the scenarios in a file's `matrix`.

    Raises:
        ScenarioError: The file cannot be read.
    """
    return tuple(matrix_paths(_readable(source)))


def all_names(source: str) -> tuple[str | None, ...]:
    """Names of all scenarios of a file: those of its matrix or, without one, itself (None) and those that it lists.

    Raises:
        ScenarioError: The file cannot be read.
    """
    document = _readable(source)
    return tuple(matrix_paths(document)) or (None, *scenario_paths(document))


def _readable(source: str) -> Document:
    document, _ = read_document(source)
    if document.problems:
        raise ScenarioError(document.problems)
    return document
