"""Other circumstances in which a fleet that is rented now must do its work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from planners.errors import PlannerError

if TYPE_CHECKING:
    from planners.base import PlanningProblem

NOW = "now"
"""Name of the problem itself beside its cases."""


@dataclass(frozen=True, slots=True)
class Case:
    """Another market, another mix of requests, or both; candidates, prices and capacities are those of the problem.

    Attributes:
        name: Unique in a problem.
        available: Pairs of a GPU type and how many there are then, sorted by name. Of a fleet that takes more GPUs than
            there are, some replicas survive.
        amounts: For each demand of the problem, the amount of each of its types.
    """

    name: str
    available: tuple[tuple[str, int], ...]
    amounts: tuple[tuple[float, ...], ...]

    def problem(self, problem: PlanningProblem) -> PlanningProblem:
        """The planning problem that the case would be if it were now.

        Raises:
            PlannerError: The case does not fit the problem.
        """
        if len(self.amounts) != len(problem.demands):
            msg = f"amounts for {len(self.amounts)} models; {len(problem.demands)} are demanded"
            raise PlannerError(msg)
        demands = tuple(
            replace(demand, amounts=amounts) for demand, amounts in zip(problem.demands, self.amounts, strict=True)
        )
        return replace(problem, demands=demands, available=self.available, cases=())


def problems_of(cases: Iterable[Case], problem: PlanningProblem) -> Iterable[str]:
    """What is wrong with the cases of a problem."""
    seen = {NOW}
    for case in cases:
        if case.name in seen:
            yield f"two cases are called {case.name!r}; {NOW!r} is the problem itself"
        seen.add(case.name)
        try:
            case.problem(problem)
        except PlannerError as error:
            yield f"case {case.name!r}: {error}"
