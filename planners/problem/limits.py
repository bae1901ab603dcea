"""Limits on fleets beside budget and availability, each stated once: what it allows, its words, its check, its rows.

A limit is a field of the planning problem and an object in `LIMITS`; those on risks are in
`planners.problem.risk_limits`. The formulations of `planners.milp` state it for
themselves, as a family of constraints: two solvers that must agree share no code. What else there is of it is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from planners.problem.limited import Limit, Limited, Milp
from planners.problem.risk_limits import MaxSpotShare, MinReplicas, Survive

GPU_SHARE_TOLERANCE = 1e-6
"""By which a share of GPUs may be exceeded: it is a quotient."""


class MaxConfigurations:
    """Most candidates of which replicas may be rented."""

    name = "max_configurations"
    rule = "configurations"
    nothing = None
    family = "configurations"
    spares_dominated = False

    def problems(self, value: int) -> Iterator[str]:
        """It must be 1 or more."""
        if value < 1:
            yield f"{self.name} is {value!r}; it must be 1 or more"

    def words(self, value: int) -> str:
        """How many."""
        return f"{value} configurations"

    def broken(self, problem: Limited, counts: Sequence[int]) -> Iterator[str]:
        """Too many are rented."""
        most = problem.max_configurations
        n_configurations = sum(count > 0 for count in counts)
        if most is not None and n_configurations > most:
            yield f"{n_configurations} configurations are rented, {most} are allowed"

    def add_rows(self, rows: Milp, problem: Limited, index: Mapping[int, int]) -> None:
        """A candidate of which replicas are rented is used, and no more than so many are used."""
        most = problem.max_configurations
        if most is None:
            return
        uses = {i: rows.add_column(1.0, is_whole=True) for i in index.values()}
        for c, i in index.items():
            rows.add({i: 1.0, uses[i]: -float(problem.max_count(c, within_budget=False))}, upper=0.0)
        rows.add(dict.fromkeys(uses.values(), 1.0), upper=most)


class MaxGpuShare:
    """Largest share of the fleet's GPUs that may be of one type."""

    name = "max_gpu_share"
    rule = "gpu_share"
    nothing = 1.0
    family = "share"
    spares_dominated = True

    def problems(self, value: float) -> Iterator[str]:
        """It must be a share, and not 0."""
        if not 0 < value <= 1:
            yield f"{self.name} is {value!r}; it must be more than 0, and 1 at most"

    def words(self, value: float) -> str:
        """Which share."""
        return f"a share of {value:g} of the GPUs for one type"

    def broken(self, problem: Limited, counts: Sequence[int]) -> Iterator[str]:
        """Too many GPUs are of one type."""
        taken = problem.gpus(counts)
        total = sum(taken.values())
        most = problem.max_gpu_share * total * (1 + GPU_SHARE_TOLERANCE)
        for gpu, n in taken.items():
            if n > most:
                yield f"{n} of {total} GPUs are of type {gpu}, a share of {problem.max_gpu_share:g} is allowed"

    def add_rows(self, rows: Milp, problem: Limited, index: Mapping[int, int]) -> None:
        """For each type: its GPUs, less the share of all."""
        for gpu, _ in problem.available:
            surplus = {i: -problem.max_gpu_share * problem.candidates[c].n_gpus for c, i in index.items()}
            for c, i in index.items():
                surplus[i] += dict(problem.candidates[c].gpus).get(gpu, 0)
            rows.add(surplus, upper=0.0)


_Problem = TypeVar("_Problem", bound=Limited)

LIMITS: tuple[Limit, ...] = (MaxConfigurations(), MaxGpuShare(), MinReplicas(), MaxSpotShare(), Survive())
"""All limits, in the order in which they are checked and told."""


def limits_of(problem: Limited) -> list[Limit]:
    """The limits that a problem has."""
    return [limit for limit in LIMITS if getattr(problem, limit.name) != limit.nothing]


def limits_in_words(problem: Limited) -> str:
    """The limits of a problem for the user; nothing if there are none."""
    return " and ".join(limit.words(getattr(problem, limit.name)) for limit in limits_of(problem))


def without_limits(problem: _Problem) -> _Problem:
    """The problem with budget and availability alone."""
    nothing: dict[str, Any] = {limit.name: limit.nothing for limit in LIMITS}
    return replace(problem, **nothing)  # type: ignore[type-var]
