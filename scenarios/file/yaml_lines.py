"""YAML 1.2 with line numbers: plain data, and where each key and item stands.

Only what a scenario needs is read: mappings with names as keys, lists, and scalars. Tags are refused, and so is what
is nested or repeated beyond any use.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from scenarios.errors import Problem

FieldPath = tuple[str | int, ...]

MAX_CHARACTERS = 1_000_000
"""Most characters of a file."""

MAX_DEPTH = 40
"""Most mappings and lists within one another."""

MAX_ITEMS = 100_000
"""Most keys, items and values of a file, with aliases written out."""


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
    >>> parse("a: 14:00\nb: 010\nc: no\n", "f.yaml").data
    {'a': '14:00', 'b': 10, 'c': 'no'}
    """
    document = Document(file)
    if len(text) > MAX_CHARACTERS:
        problem = f"has {len(text):,} characters; {MAX_CHARACTERS:,} at most are allowed"
        document.problems.append(Problem(file, "", problem))
        return document
    try:
        _Builder(document).build(text)
    except _Refusal as error:
        where = file if error.line is None else f"{file}:{error.line}"
        document.data = None
        document.problems.append(Problem(where, "", str(error)))
    return document


def parse_value(text: str) -> Any:
    """The value of a YAML text of one value, such as `--set` has.

    Raises:
        ValueError: It is not valid YAML.

    >>> parse_value("{available: 2}")
    {'available': 2}
    """
    document = parse(text, "")
    if document.problems:
        raise ValueError(document.problems[0].message)
    return document.data


class _Refusal(Exception):
    """What cannot be read at all."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.line = line


class _Builder:
    """Makes plain data of the nodes of a document, and notes where they stand."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._yaml = YAML(typ="safe", pure=True)
        self._yaml.max_depth = MAX_DEPTH
        self._n_items = 0
        self._open: list[int] = []  # the nodes around the one that is built

    def build(self, text: str) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of anchors that are used again, which YAML allows
                if "!" in text:
                    self._check_tags(text)
                node = self._yaml.compose(text)
        except ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            problem = f"not valid YAML: a control character, {_character(text, error.position)}"
            raise _Refusal(problem, line) from None
        except MarkedYAMLError as error:
            raise _Refusal(*_syntax_error(error)) from None
        except (YAMLError, RecursionError, ValueError) as error:
            msg = f"not valid YAML: {error}"
            raise _Refusal(msg) from None
        if node is not None:
            self._document.data = self._value(node, ())

    def _value(self, node: Node, path: FieldPath) -> Any:
        line = node.start_mark.line + 1
        self._n_items += 1
        if self._n_items > MAX_ITEMS:
            msg = f"has more than {MAX_ITEMS:,} keys and values, with its aliases written out"
            raise _Refusal(msg, line)
        if id(node) in self._open:
            msg = f"&{node.anchor} contains itself"
            raise _Refusal(msg, line)
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        self._open.append(id(node))
        assert isinstance(node, MappingNode | SequenceNode)
        value: Any = self._mapping(node, path) if isinstance(node, MappingNode) else self._list(node, path)
        self._open.pop()
        return value

    def _list(self, node: SequenceNode, path: FieldPath) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            self._document.lines[(*path, index)] = item.start_mark.line + 1
            items.append(self._value(item, (*path, index)))
        return items

    def _mapping(self, node: MappingNode, path: FieldPath) -> dict[str, Any]:
        mapping = self._merged(node, path)
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self._problem(line, path, "a key must be a name; this one is a list or mapping")
                continue
            key = str(key_node.value)
            if _is_merge(key_node):
                continue
            if key in first:
                self._problem(line, (*path, key), f"this key stands in line {first[key]} already")
            first.setdefault(key, line)
            self._document.lines[(*path, key)] = line
            mapping[key] = self._value(value_node, (*path, key))
        return mapping

    def _merged(self, node: MappingNode, path: FieldPath) -> dict[str, Any]:
        """What `<<` brings in: of several mappings the first one counts, and the keys that stand here before all."""
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if _is_merge(key_node):
                given = value_node.value if isinstance(value_node, SequenceNode) else [value_node]
                for one in given:
                    if isinstance(one, MappingNode):
                        merged = self._value(one, path) | merged
                    else:
                        line = one.start_mark.line + 1
                        self._problem(line, (*path, "<<"), "must name a mapping, or a list of them")
        return merged

    def _scalar(self, node: ScalarNode, path: FieldPath) -> Any:
        if str(node.tag).endswith(":timestamp"):
            return str(node.value)  # YAML 1.2 has none
        try:
            return self._yaml.constructor.construct_object(node)
        except (YAMLError, ValueError):
            shown = node.value if len(node.value) <= 20 else f"{node.value[:20]}... ({len(node.value)} characters)"
            self._problem(node.start_mark.line + 1, path, f"{shown} is not a value that can be read")
            return None

    def _check_tags(self, text: str) -> None:
        """Refuse tags: what they stand for depends on who reads them."""
        for event in self._yaml.parse(text):
            tag = getattr(event, "tag", None)
            if tag is not None:
                msg = f"the tag {str(tag).replace('tag:yaml.org,2002:', '!!')} is not allowed; write the value alone"
                raise _Refusal(msg, event.start_mark.line + 1)

    def _problem(self, line: int, path: FieldPath, message: str) -> None:
        where = f"{self._document.file}:{line}"
        self._document.problems.append(Problem(where, ".".join(map(str, path)), message))


def _is_merge(key_node: Node) -> bool:
    """Whether a key is `<<`, not quoted."""
    return isinstance(key_node, ScalarNode) and str(key_node.tag).endswith(":merge")


def _syntax_error(error: MarkedYAMLError) -> tuple[str, int | None]:
    mark = error.problem_mark or error.context_mark
    problem = str(error.problem or error.context).strip().split("\n")[0]
    if "max_depth" in str(error) or "depth" in problem:
        problem = f"nested more than {MAX_DEPTH} deep"
    return f"not valid YAML: {problem}", None if mark is None else mark.line + 1


def _character(text: str, position: int) -> str:
    return f"U+{ord(text[position]):04X}" if position < len(text) else "at the end"


def dump(data: Any, *, width: int = 120, flow: bool = False) -> str:
    """Plain data as YAML, keys in their order; `parse` gives the same data.

    >>> print(dump({"b": [1, "1"], "a": "no", "c": "1e3"}), end="")
    b:
    - 1
    - '1'
    a: no
    c: '1e3'
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = flow
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = width
    stream = StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()
