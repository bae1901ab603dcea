"""The tables of the page on planners name every field, and its package is one that can be installed."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

from planners import Candidate, Demand, PlanningProblem
from planners.fleets.renting import Filling
from planners.registry import GROUP

PAGE = (Path(__file__).parents[2] / "docs/howto/write-a-planner.md").read_text()
ROWS = re.findall(r"^\| (?:`(\w+)`)? ?\| `(\w+)[`(]", PAGE, re.MULTILINE)


def names_of(owner: str) -> list[str]:
    """The names in the rows of a class: only the first row says whose they are."""
    names, last = [], ""
    for of, name in ROWS:
        last = of or last
        names += [name] if last == owner else []
    return names


def test_every_field_has_a_row() -> None:
    for owner in (Candidate, Demand, PlanningProblem):
        assert names_of(owner.__name__) == [field.name for field in fields(owner)]
    public = [name for name in vars(Filling) if not name.startswith("_")]
    assert sorted(names_of("Filling")) == sorted(["problem", "counts", "mix_rps", *public])


def test_the_package_is_whole() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    package = tomllib.loads(text)
    assert package["project"]["entry-points"][GROUP] == {"dense": "my_package.dense:DensePlanner"}
    assert package["build-system"]["build-backend"] == "setuptools.build_meta"
