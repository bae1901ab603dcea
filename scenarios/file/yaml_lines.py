"""YAML with line numbers: plain data, and where each key and item stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from scenarios.errors import Problem

FieldPath = tuple[str | int, ...]


@dataclass(slots=True)
class Document:
    """A parsed file.

    Attributes:
        file: Its name, for messages.
        data: Dictionaries, lists and scalars.
        lines: Line, from 1, of each key and list item.
        problems: What is wrong with the YAML itself.
    """

    file: str
    data: Any = None
    lines: dict[FieldPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def where(self, path: FieldPath) -> str:
        """`file:line` of a field, or of the nearest field around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.file}:{self.lines[path]}" if path in self.lines else self.file


def parse(text: str, file: str) -> Document:
    r"""Parse YAML; syntax errors and keys that stand twice end up in `problems`.

    >>> document = parse("a: 1\nb:\n  - x\n", "f.yaml")
    >>> document.data, document.where(("b", 0))
    ({'a': 1, 'b': ['x']}, 'f.yaml:3')
    """
    document = Document(file)
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is not None:
            document.data = _build(loader, node, (), document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}" if mark else file
        document.problems.append(Problem(where, "", f"not valid YAML: {error.problem or error.context}"))
    except yaml.YAMLError as error:
        document.problems.append(Problem(file, "", f"not valid YAML: {error}"))
    finally:
        loader.dispose()
    return document


def _build(loader: yaml.SafeLoader, node: yaml.Node, path: FieldPath, document: Document) -> Any:
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            document.lines[(*path, index)] = item.start_mark.line + 1
            items.append(_build(loader, item, (*path, index), document))
        return items
    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in mapping:
                first = document.lines[(*path, key)]
                problem = f"this key stands in line {first} already"
                document.problems.append(Problem(f"{document.file}:{line}", ".".join(map(str, (*path, key))), problem))
            document.lines[(*path, key)] = line
            mapping[key] = _build(loader, value_node, (*path, key), document)
        return mapping
    return loader.construct_object(node, deep=True)
