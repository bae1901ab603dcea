"""Limits on what a fleet risks: how many replicas there are, how much is on spot, and what may be lost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from planners.problem.limited import Limited, Milp
from planners.problem.losses import UNITS, Loss, carries, losses, must_serve

SPOT_SHARE_TOLERANCE = 1e-6
"""By which a share of capacity may be exceeded: it is a quotient."""


class MinReplicas:
    """Least replicas of each model of which something is demanded."""

    name = "min_replicas"
    rule = "min_replicas"
    nothing = None
    family = "replicas"
    spares_dominated = False

    def problems(self, value: int) -> Iterator[str]:
        """It must be 1 or more."""
        if value < 1:
            yield f"{self.name} is {value!r}; it must be 1 or more"

    def words(self, value: int) -> str:
        """How many."""
        return f"{value} replicas or more of each model"

    def broken(self, problem: Limited, counts: Sequence[int]) -> Iterator[str]:
        """A model has too few."""
        least = problem.min_replicas or 0
        for demand in problem.demands:
            n = sum(counts[c] for c in problem.candidates_of(demand.model))
            if demand.total > 0 and n < least:
                yield f"{demand.model} has {n} replicas, {least} are asked for"

    def add_rows(self, rows: Milp, problem: Limited, index: Mapping[int, int]) -> None:
        """For each model: its replicas."""
        for demand in problem.demands:
            mine = [index[c] for c in problem.candidates_of(demand.model) if c in index]
            if demand.total > 0 and problem.min_replicas is not None:
                rows.add(dict.fromkeys(mine, 1.0), lower=problem.min_replicas)


class MaxSpotShare:
    """Largest share of each model's capacity that may be on spot offers.

    Capacity is that on the mix demanded of the model, of all its replicas; a replica with any GPU on spot counts.
    """

    name = "max_spot_share"
    rule = "spot_share"
    nothing = 1.0
    family = "spot"
    spares_dominated = True

    def problems(self, value: float) -> Iterator[str]:
        """It must be a share."""
        if not 0 <= value <= 1:
            yield f"{self.name} is {value!r}; it must be 0 or more, and 1 at most"

    def words(self, value: float) -> str:
        """Which share."""
        return f"a share of {value:g} of each model's capacity on spot"

    def broken(self, problem: Limited, counts: Sequence[int]) -> Iterator[str]:
        """A model has too much of its capacity on spot."""
        on_spot = {terms.name for terms in problem.offers if terms.is_spot}
        for demand in problem.demands:
            capacity = {c: counts[c] * mix_rps for c, mix_rps in _mix_rps(problem, demand.model)}
            spot = math.fsum(
                rps for c, rps in capacity.items() if any(gpu in on_spot for gpu, _ in problem.candidates[c].gpus)
            )
            total = math.fsum(capacity.values())
            if spot > problem.max_spot_share * total * (1 + SPOT_SHARE_TOLERANCE):
                share = f"a share of {problem.max_spot_share:g} is allowed"
                yield f"{spot:g} of {total:g} requests/s of {demand.model} are on spot, {share}"

    def add_rows(self, rows: Milp, problem: Limited, index: Mapping[int, int]) -> None:
        """For each model: its capacity on spot, less the share of all."""
        on_spot = {terms.name for terms in problem.offers if terms.is_spot}
        for demand in problem.demands:
            surplus = {}
            mine = [(c, rps) for c, rps in _mix_rps(problem, demand.model) if c in index]
            most = max((rps for _, rps in mine), default=0.0) or 1.0
            for c, rps in mine:
                is_spot = any(gpu in on_spot for gpu, _ in problem.candidates[c].gpus)
                surplus[index[c]] = rps / most * (float(is_spot) - problem.max_spot_share)
            rows.add(surplus, upper=0.0)


class Survive:
    """What may be lost, one at a time, so that the rates offered are still carried by what is left.

    All types that must be served count; what may be shed need not be carried then. Capacity is that of replicas that
    run, whenever they were started.
    """

    name = "survive"
    rule = "survive"
    nothing = None
    family = "losses"
    spares_dominated = True

    def problems(self, value: str) -> Iterator[str]:
        """It must be something that can be lost."""
        if value not in UNITS:
            yield f"{self.name} is {value!r}; it must be one of {', '.join(UNITS)}"

    def words(self, value: str) -> str:
        """What."""
        return f"carrying the rates without any one {value}"

    def broken(self, problem: Limited, counts: Sequence[int]) -> Iterator[str]:
        """What is left is too little."""
        for loss in losses(problem):
            if not carries(problem, loss.left(counts)):
                yield f"without {loss.name} the fleet does not carry the rates"

    def add_rows(self, rows: Milp, problem: Limited, index: Mapping[int, int]) -> None:
        """For each loss: what is left of each candidate, and shares of its own that keep to that."""
        for loss in losses(problem):
            left = {c: _add_left(rows, problem, index[c], c, loss) for c in index}
            for demand in problem.demands:
                mine = [c for c in problem.candidates_of(demand.model) if c in index]
                busy = {c: {left[c]: -1.0} for c in mine}
                for w in must_serve(demand):
                    served = {}
                    for c in mine:
                        rps = problem.candidates[c].capacity_rps[w]
                        if rps > 0:
                            share = rows.add_column()
                            served[share] = 1.0
                            busy[c][share] = demand.amounts[w] / rps
                    rows.add(served, lower=1.0, upper=1.0)
                for row in busy.values():
                    rows.add(row, upper=0.0)


def _add_left(rows: Milp, problem: Limited, count: int, c: int, loss: Loss) -> int:
    """The column of what is left of a candidate: no more than its count less what is lost, and than nothing."""
    most = problem.max_count(c, within_budget=False)
    lost = min(loss.most[c], most)
    if lost == 0:
        return count
    left = rows.add_column(most - lost)
    if lost < most:
        is_some = rows.add_column(1.0, is_whole=True)
        rows.add({left: 1.0, count: -1.0, is_some: lost}, upper=0.0)
        rows.add({left: 1.0, is_some: -float(most)}, upper=0.0)
    return left


def _mix_rps(problem: Limited, model: str) -> list[tuple[int, float]]:
    """The candidates of a model, and their capacity on the mix demanded of it."""
    demand = next(demand for demand in problem.demands if demand.model == model)
    return [(c, demand.mix_rps(problem.candidates[c].capacity_rps)) for c in problem.candidates_of(model)]
