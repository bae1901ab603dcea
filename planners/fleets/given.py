"""The GPUs that planners are given which do not choose any: those of a fleet that somebody else chose."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

from planners.fleets.exact import best_fleet
from planners.fleets.renting import fill, in_proportion

if TYPE_CHECKING:
    from planners.problem.problem import PlanningProblem

Composition = Literal["proportional", "best"]
"""`proportional`: as `uniform` rents them, in proportion to what is available. `best`: those of the best fleet."""


class Given(NamedTuple):
    """A fleet whose GPUs are given, and what to tell the user."""

    counts: tuple[int, ...]
    diagnostics: tuple[str, ...]


def given_fleet(problem: PlanningProblem, composition: Composition) -> Given | None:
    """A fleet with the composition asked for, within budget and availability; None if nobody can serve everything."""
    if composition == "best":
        search = best_fleet(problem, range(len(problem.candidates)))
        return Given(search.counts, ()) if search.value < math.inf else None
    filled = fill(problem, in_proportion)
    return None if filled is None else Given(*filled)
