from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.file.yaml_lines import MAX_CHARACTERS, dump, parse, parse_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("off", "off"),
        ("true", True),
        ("010", 10),
        ("0o10", 8),
        ("14:00", "14:00"),
        ("1:30", "1:30"),
        ("2020-02-30", "2020-02-30"),
        ("2026-03-01T09:00+01:00", "2026-03-01T09:00+01:00"),
        ("1e3", 1000.0),
        ("~", None),
        ("[1, a]", [1, "a"]),
    ],
)
def test_values_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("a: 1\nb: \x07", "f:2", "not valid YAML: a control character, U+0007"),
        ("a: [1,\nb: {", "f:2", "not valid YAML: expected the node content, but found '<stream end>'"),
        ("a: &a [*a]", "f:1", "&a contains itself"),
        ("a: 1\nb: !!bool 0.2", "f:2", "the tag !!bool is not allowed; write the value alone"),
        ("a: 1\nb: !mine {}", "f:2", "the tag !mine is not allowed; write the value alone"),
        ("a: " + 500 * "[" + 500 * "]", "f:1", "not valid YAML: nested more than 40 deep"),
        ("a: 1\n? [b]\n: 2", "f:2", "a key must be a name; this one is a list or mapping"),
        ("a: 1\nb: 2\na: 3", "f:3", "this key stands in line 1 already"),
        ("b: " + 5000 * "9", "f:1", "99999999999999999999... (5000 characters) is not a value that can be read"),
        ("<<: 3", "f:1", "must name a mapping, or a list of them"),
        (MAX_CHARACTERS * "# ", "f", "has 2,000,000 characters; 1,000,000 at most are allowed"),
    ],
)
def test_what_cannot_be_read_is_a_problem_with_its_line(text: str, where: str, message: str) -> None:
    (problem,) = parse(text, "f").problems
    assert (problem.where, problem.message) == (where, message)


def test_aliases_are_counted_as_if_written_out() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (problem,) = parse("\n".join(lines), "f").problems
    assert problem.message == "has more than 100,000 keys and values, with its aliases written out"


def test_a_merged_mapping_stands_behind_what_is_written() -> None:
    document = parse("x: &a {p: 1, q: 2}\ny:\n  <<: *a\n  q: 3\nz:\n  <<: [{p: 4}, *a]\n", "f")
    assert document.problems == []
    assert document.data["y"] == {"p": 1, "q": 3}
    assert document.data["z"] == {"p": 4, "q": 2}
    assert document.where(("y", "q")) == "f:4"


words = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=10)  # no control characters
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | words,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(words, children, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_what_is_dumped_reads_back(data: Any) -> None:
    document = parse(dump(data), "f")
    assert (document.problems, document.data) == ([], data)
