"""What can be wrong with a scenario, said with file, line and field."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: `file:line`, or the file alone, or `--set`.
        field: Dotted path of the field, perhaps empty.
        message: What is wrong, what is allowed, and the nearest match.
    """

    where: str
    field: str
    message: str

    def __str__(self) -> str:
        place = f"{self.where} {self.field}" if self.field else self.where
        return f"{place}: {self.message}"


class ScenarioError(Exception):
    """A scenario cannot be used. `problems` lists all that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RunError(Exception):
    """A run cannot be made or read back, for a reason outside the scenario."""
