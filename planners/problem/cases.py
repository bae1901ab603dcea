"""Other circumstances in which a fleet that is rented now must do its work."""

from __future__ import annotations

from dataclasses import dataclass

NOW = "now"
"""Name of the problem itself beside its cases."""


@dataclass(frozen=True, slots=True)
class Case:
    """Another market, another mix of requests, other capacities, or all of it; candidates and prices are the problem's.

    Attributes:
        name: Unique in a problem.
        available: Pairs of a GPU type and how many there are then, sorted by name. Of a fleet that takes more GPUs than
            there are, some replicas survive.
        amounts: For each demand of the problem, the amount of each of its types.
        capacities: Pairs of a candidate's name and its capacities then. Candidates that are not named have those of the
            problem, and so have types beyond those that are given.
    """

    name: str
    available: tuple[tuple[str, int], ...]
    amounts: tuple[tuple[float, ...], ...]
    capacities: tuple[tuple[str, tuple[float, ...]], ...] = ()
