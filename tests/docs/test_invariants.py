"""The page of invariants: each has a number of its own and names tests that exist."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/invariants.md").read_text()
ENTRIES = re.findall(r"^\*\*([A-Z]\d+)\. (.*?)(?=^\*\*[A-Z]\d+\. |^## |\Z)", PAGE, flags=re.M | re.S)


def test_numbers_are_unique_and_in_order() -> None:
    numbers = [number for number, _ in ENTRIES]
    assert len(numbers) > 25
    assert [number for number, count in Counter(numbers).items() if count > 1] == []
    for letter in "EPR":
        mine = [int(number[1:]) for number in numbers if number[0] == letter]
        assert mine == list(range(1, len(mine) + 1))


def test_each_names_tests_that_exist() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^\s*(?:def|class) (test_\w+)|^(Test\w+) = ", code, flags=re.M))
    names = {name for pair in there for name in pair if name}
    for number, text in ENTRIES:
        tested = re.findall(r"`([Tt]est_?\w+)`", text)
        assert tested, f"{number} names no test"
        assert [name for name in tested if name not in names] == [], number
