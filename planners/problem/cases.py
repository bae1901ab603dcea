"""Other circumstances in which a fleet that is rented now must do its work."""

from __future__ import annotations

from dataclasses import dataclass

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
