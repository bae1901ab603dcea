"""What may be lost at once, and whether what is left of a fleet still carries the rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from planners.problem.candidate import Candidate, Demand
    from planners.problem.limited import Limited

Unit = Literal["node", "offer", "zone"]
"""What may be lost: all of an offer, all of a zone, or a node."""

UNITS: tuple[str, ...] = get_args(Unit)

_TOLERANCE = 1e-6
_NEGLIGIBLE = 1e-5  # more than what `planners.questions.what_if` adds for somebody to be there


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that is lost.

    Attributes:
        name: What: an offer or a zone.
        most: Replicas of each candidate that go with it at most; infinite for all.
    """

    name: str
    most: tuple[float, ...]

    def left(self, counts: Sequence[int]) -> tuple[int, ...]:
        """Replicas of each candidate that are left at least."""
        return tuple(max(0, count - int(min(count, most))) for count, most in zip(counts, self.most, strict=True))


def losses(problem: Limited) -> tuple[Loss, ...]:
    """What a fleet must survive, one at a time.

    A node takes as many replicas of every configuration with it as it can hold: which of them share one is not known
    when a fleet is planned, so that more may be counted as lost than can be. Where GPUs are rented one by one, it is a
    replica of each. Offers of which no zone is known are zones of their own.
    """
    zones = {terms.name: terms.zone or terms.name for terms in problem.offers}
    offers = [gpu for gpu, _ in problem.available]
    if problem.survive == "node":
        found = [_node_of(problem, offer) for offer in offers]
    else:
        place = {offer: zones.get(offer, offer) if problem.survive == "zone" else offer for offer in offers}
        found = []
        for name in dict.fromkeys(place.values()):
            lost = {offer for offer in offers if place[offer] == name}
            found.append(Loss(name, tuple(_all_within(one, lost) for one in problem.candidates)))
    return tuple(loss for loss in found if any(loss.most))


def _all_within(candidate: Candidate, offers: set[str]) -> float:
    """All replicas of a candidate if it has GPUs of one of these offers, or else none."""
    return math.inf if any(offer in offers for offer, _ in candidate.gpus) else 0.0


def _node_of(problem: Limited, offer: str) -> Loss:
    size = next((terms.gpus_per_node for terms in problem.offers if terms.name == offer), 1)
    most = [0.0] * len(problem.candidates)
    for c, candidate in enumerate(problem.candidates):
        taken = dict(candidate.gpus).get(offer, 0)
        if taken > 0:
            most[c] = float(max(1, size // _group(candidate, offer, taken)))
    return Loss(f"a node of {offer}", tuple(most))


def _group(candidate: Candidate, offer: str, taken: int) -> int:
    """GPUs of the smallest group of a replica on an offer, without which it stops."""
    if candidate.spec is None:
        return taken
    return min(stage.n_taken for stage in candidate.spec.stages if stage.gpu_type.pool == offer)


def carries(problem: Limited, counts: Sequence[int]) -> bool:
    """Whether a fleet carries the rates of all types that must be served, each model by itself."""
    return all(_least_load(problem, demand, counts) <= 1 + _TOLERANCE for demand in problem.demands)


def must_serve(demand: Demand) -> list[int]:
    """The types with a demand that may not be shed; of those with hardly any, nothing is asked after a loss."""
    least = _NEGLIGIBLE * demand.total
    return [w for w, amount in enumerate(demand.amounts) if amount > least and not demand.can_shed(w)]


def _least_load(problem: Limited, demand: Demand, counts: Sequence[int]) -> float:
    r"""The least utilisation of the busiest replicas of a model; infinite if somebody has nobody.

    .. math:: \min T \quad \sum_c h_{c,w} u_{c,w} = f_w, \quad \sum_w u_{c,w} \le T y_c
    """
    from scipy.optimize import linprog

    asked = must_serve(demand)
    rented = [c for c in problem.candidates_of(demand.model) if counts[c] > 0]
    pairs = [(c, w) for c in rented for w in asked if problem.candidates[c].capacity_rps[w] > 0]
    if not asked:
        return 0.0
    if {w for _, w in pairs} != set(asked):
        return math.inf
    # A variable is the share of the type.
    served = [[float(v == w) for _, v in pairs] + [0.0] for w in asked]
    busy = [
        [demand.amounts[w] / problem.candidates[c].capacity_rps[w] / counts[c] if c == d else 0.0 for c, w in pairs]
        + [-1.0]
        for d in rented
    ]
    cost = [0.0] * len(pairs) + [1.0]
    found = linprog(cost, A_ub=busy, b_ub=[0.0] * len(busy), A_eq=served, b_eq=[1.0] * len(served), method="highs")
    return math.inf if found.fun is None else float(found.fun)
