"""What a limit on fleets is, and what it sees of a planning problem."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from planners.problem.candidate import Candidate, Demand
from planners.problem.terms import Terms


class Limited(Protocol):
    """What a limit sees of a planning problem, which is built on this module."""

    @property
    def demands(self) -> tuple[Demand, ...]: ...  # noqa: D102
    @property
    def candidates(self) -> tuple[Candidate, ...]: ...  # noqa: D102
    @property
    def available(self) -> tuple[tuple[str, int], ...]: ...  # noqa: D102
    @property
    def offers(self) -> tuple[Terms, ...]: ...  # noqa: D102
    @property
    def max_configurations(self) -> int | None: ...  # noqa: D102
    @property
    def max_gpu_share(self) -> float: ...  # noqa: D102
    @property
    def min_replicas(self) -> int | None: ...  # noqa: D102
    @property
    def max_spot_share(self) -> float: ...  # noqa: D102
    @property
    def survive(self) -> str | None: ...  # noqa: D102
    def gpus(self, counts: Iterable[int]) -> dict[str, int]: ...  # noqa: D102
    def candidates_of(self, model: str) -> tuple[int, ...]: ...  # noqa: D102
    def max_count(self, c: int, *, within_budget: bool = True) -> int: ...  # noqa: D102


class Milp(Protocol):
    """What a limit does with a small MILP."""

    def add_column(self, upper: float = ..., *, is_whole: bool = ...) -> int: ...  # noqa: D102
    def add(self, row: dict[int, float], lower: float = ..., upper: float = ...) -> None: ...  # noqa: D102


class Limit(Protocol):
    """What a fleet must keep to.

    Attributes:
        name: The field of the planning problem that holds its value, and of `planning` in scenarios.
        rule: What a plan that breaks it violates, for `check_plan`.
        nothing: The value that limits nothing.
        family: The constraints of `planners.milp.formulation` that state it.
        spares_dominated: Whether a candidate that another one dominates may be needed to keep to it.
    """

    name: str
    rule: str
    nothing: Any
    family: str
    spares_dominated: bool

    def problems(self, value: Any) -> Iterator[str]:
        """What is wrong with a value."""
        ...

    def words(self, value: Any) -> str:
        """A value, for the user."""
        ...

    def broken(self, problem: Limited, counts: Sequence[int]) -> Iterator[str]:
        """In what a fleet does not keep to it."""
        ...

    def add_rows(self, rows: Milp, problem: Limited, index: Mapping[int, int]) -> None:
        """Keep a small MILP to it; `index` has the column of each candidate's count."""
        ...
