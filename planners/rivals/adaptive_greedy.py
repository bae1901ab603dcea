"""The planner `adaptive_greedy`: cheapest coverage first, from many starts, then repaired."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from planners.fleets.assignment import best_assignment
from planners.fleets.bounds import pace_bound, value_bound
from planners.fleets.drafting import Drafting
from planners.fleets.exact import cheapest_fleet
from planners.problem.plan import Plan, Termination
from planners.problem.problem import Feature, Objective, PlanningProblem
from planners.randomness import ADAPTIVE_GREEDY_STREAM, generator

if TYPE_CHECKING:
    from planners.problem.candidate import Candidate

_SMALL = 1e-9  # parts of a replica, or of what is asked of a type, that are rounding
_N_HALVINGS = 20  # of the pace, in search of one that can be kept
_N_PASSES = 3  # of relocation and consolidation
_OVERSPENDING = 1.25  # times the budget that a fleet may cost before it is consolidated


class AdaptiveGreedyOptions(BaseModel):
    """Options of the planner `adaptive_greedy`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    n_starts: int = Field(default=16, ge=1)
    """Orders in which workload types are covered: six by what they ask for, the others drawn by lot."""
    n_paces: int = Field(default=50, ge=1)
    """Paces that are tried for each start."""


class AdaptiveGreedyPlanner:
    """Covers one workload type after another at the least price, from many starts, and consolidates what it rented.

    The adaptive greedy heuristic of Cheng and Nguyen (arXiv:2604.07472). Its parts, as they are here:

    - Selection: of each model, workload type and set of GPU types, the cheapest configuration that can serve the type.
    - Ranking: what covers the type next costs least per request/s that it covers, up to what is still asked for.
      Replicas with time to spare come first.
    - Upgrade: a replica may be exchanged for a larger one of the same GPU types. There it saves a type's latency; here
      it is taken whenever it ranks best, since memory makes large replicas more than proportionally better.
    - Each type first gets somebody who can serve it; then types are covered in an order. Many orders are tried.
    - Relocation moves work to replicas where it costs less, consolidation gives back replicas whose work others have
      time for.

    The paper looks for the cheapest fleet that serves given rates, as is done here for the objective `cost`. For the
    others the rates are multiplied by a pace, and the largest pace whose fleet keeps to the budget is sought. Requests
    are then assigned anew, as well as possible.
    """

    name = "adaptive_greedy"
    features: frozenset[str] = frozenset({Feature.MAKESPAN, Feature.THROUGHPUT, Feature.COST, Feature.SEVERAL_MODELS})
    Options: type[BaseModel] = AdaptiveGreedyOptions

    def __init__(self, options: AdaptiveGreedyOptions | None = None) -> None:
        self.options = options if options is not None else AdaptiveGreedyOptions()

    def plan(self, problem: PlanningProblem) -> Plan:
        """Choose a fleet for the problem."""
        drafting = Drafting(problem, self.name, self.options)
        if value_bound(problem, range(len(problem.candidates))) == math.inf:
            return drafting.none(Termination.INFEASIBLE)
        market = _Market(problem)
        counts = self._best(market, (0,) * len(problem.candidates))
        if counts is None:
            start = cheapest_fleet(problem)
            counts = None if start is None else self._best(market, start)
        if counts is None:
            return drafting.none(Termination.INFEASIBLE)
        return drafting.plan(counts, Termination.HEURISTIC)

    def _best(self, market: _Market, start: Sequence[int]) -> tuple[int, ...] | None:
        """The fleet with the least value of all orders; None if the heuristic finds none."""
        orders = list(self._orders(market))
        if market.problem.objective is not Objective.COST:
            return self._fastest(market, start, orders)
        fleets = [_fleet_at(market, 1.0, order, start) for order in orders]
        return min((fleet for fleet in fleets if fleet is not None), key=market.problem.usd_per_h, default=None)

    def _fastest(self, market: _Market, start: Sequence[int], orders: Sequence[list[int]]) -> tuple[int, ...] | None:
        """The fastest fleet of all orders; None if no order keeps any pace.

        A first pace that can be kept is found by halving the bound. Then, for each order, the paces between the best
        one known and the bound are tried from above: the heuristic may fail at a pace and succeed at a larger one.
        """
        most_pace = pace_bound(market.problem, range(len(market.problem.candidates)))
        halves = [most_pace / 2**k for k in range(_N_HALVINGS)]
        found = _first(market, start, [(pace, order) for order in orders for pace in halves])
        if found is None:
            return None
        pace, best = found
        for order in orders:
            ratio = (most_pace / pace) ** (1 / self.options.n_paces)
            paces = [pace * ratio**k for k in range(self.options.n_paces, 0, -1)]
            found = _first(market, start, [(tried, order) for tried in paces])
            if found is not None:
                pace, best = found
        return best

    def _orders(self, market: _Market) -> Iterable[list[int]]:
        """Orders of the types: by requests, by the least price of one, by the product of both; then by lot."""
        types = range(len(market.types))
        asked = [kind.amount for kind in market.types]
        price = [min(market.usd_per_rps(c, t) for c in market.able[t]) for t in types]
        money = [amount * usd for amount, usd in zip(asked, price, strict=True)]
        orders = [sorted(types, key=lambda t: sign * key[t]) for key in (money, asked, price) for sign in (-1, 1)]
        rng = generator(market.problem.seed, ADAPTIVE_GREEDY_STREAM)
        while len(orders) < self.options.n_starts:
            orders.append([int(t) for t in rng.permutation(len(market.types))])
        return orders[: self.options.n_starts]


_Tier = tuple[str, tuple[str, ...]]
"""A model and the GPU types that serve it, without their numbers."""


class _Type(NamedTuple):
    """A workload type that is demanded of a model."""

    model: str
    w: int
    amount: float


class _Market:
    """What does not change: types, who can serve them, and which candidates use the same GPU types."""

    def __init__(self, problem: PlanningProblem) -> None:
        self.problem = problem
        self.types = [_Type(d.model, w, f) for d in problem.demands for w, f in enumerate(d.amounts) if f > 0]
        self.rates = [[self._rate(candidate, kind) for kind in self.types] for candidate in problem.candidates]
        rentable = [c for c in range(len(problem.candidates)) if problem.max_count(c) > 0]
        self.able = [[c for c in rentable if self.rates[c][t] > 0] for t in range(len(self.types))]
        self.tier = [(one.model, tuple(gpu for gpu, _ in one.gpus)) for one in problem.candidates]
        self.usd = [one.usd_per_h for one in problem.candidates]
        self.gpus = [one.gpus for one in problem.candidates]
        self.tiers = [self._by_tier(able, t) for t, able in enumerate(self.able)]

    def _by_tier(self, able: Sequence[int], t: int) -> dict[_Tier, list[int]]:
        """Those who can serve a type, by model and set of GPU types, the cheapest first."""
        tiers: dict[_Tier, list[int]] = {}
        for c in sorted(able, key=lambda c: (self.usd[c], -self.rates[c][t])):
            tiers.setdefault(self.tier[c], []).append(c)
        return tiers

    @staticmethod
    def _rate(candidate: Candidate, kind: _Type) -> float:
        return candidate.capacity_rps[kind.w] if candidate.model == kind.model else 0.0

    def usd_per_rps(self, c: int, t: int) -> float:
        """Price of a unit of capacity for a type."""
        return self.usd[c] / self.rates[c][t]


class _Purchase(NamedTuple):
    """Renting a replica, or exchanging one; it is better the smaller it is."""

    usd_per_rps: float
    minus_covered_rps: float
    new: int
    old: int
    """-1 if nothing is given back."""


class _Fleet:
    """A fleet under construction, and what its replicas do.

    Attributes:
        counts: Replicas rented of each candidate.
        work: Requests/s of each type that the replicas of a candidate serve, by candidate and type.
        busy: Replicas of each candidate that this keeps busy.
        usd_per_h: Price of the replicas.
    """

    def __init__(self, market: _Market, counts: Sequence[int]) -> None:
        self.market = market
        self.counts = list(counts)
        self.work: dict[int, dict[int, float]] = {c: {} for c, count in enumerate(counts) if count > 0}
        self.busy = [0.0] * len(counts)
        self.usd_per_h = market.problem.usd_per_h(counts)
        taken = market.problem.gpus(counts)
        self.left = {gpu: count - taken.get(gpu, 0) for gpu, count in market.problem.available}

    def copy(self) -> _Fleet:
        """A fleet of its own with the same replicas and work."""
        other = _Fleet.__new__(_Fleet)
        other.market, other.counts, other.left = self.market, list(self.counts), dict(self.left)
        other.work = {c: dict(of_candidate) for c, of_candidate in self.work.items()}
        other.busy = list(self.busy)
        other.usd_per_h = self.usd_per_h
        return other

    def change(self, c: int, n: int) -> None:
        """Rent n replicas more; fewer if negative."""
        self.counts[c] += n
        self.usd_per_h += n * self.market.usd[c]
        for gpu, count in self.market.gpus[c]:
            self.left[gpu] -= n * count
        if self.counts[c] > 0:
            self.work.setdefault(c, {})
        else:
            self.work.pop(c)

    def fits(self, new: int, old: int) -> bool:
        """Whether there are GPUs for a replica if one on the same GPU types is given back (-1: none is)."""
        if old < 0:
            return all(n <= self.left[gpu] for gpu, n in self.market.gpus[new])
        both = zip(self.market.gpus[new], self.market.gpus[old], strict=True)  # in the same order: the same GPU types
        return all(n <= self.left[gpu] + back for (gpu, n), (_, back) in both)

    def add(self, c: int, t: int, rps: float) -> None:
        """Give a candidate's replicas work; take it away if negative."""
        self.work[c][t] = self.work[c].get(t, 0.0) + rps
        self.busy[c] += rps / self.market.rates[c][t]

    def serve(self, t: int, rps: float, without: int = -1) -> float:
        """Give work to replicas with time to spare, the cheapest per request first; returns what is left."""
        able = [c for c in self.work if self.market.rates[c][t] > 0 and c != without]
        for c in sorted(able, key=lambda c: (self.market.usd_per_rps(c, t), c)):
            part = min(rps, (self.counts[c] - self.busy[c]) * self.market.rates[c][t])
            if part > 0:
                self.add(c, t, part)
                rps -= part
        return rps

    def best_step(self, t: int, rps: float) -> _Purchase | None:
        """What covers the type next at the least price; None if nothing fits."""
        steps = [*self._rentals(t, rps), *self._upgrades(t, rps)]
        return min(steps, default=None)

    def _rentals(self, t: int, rps: float) -> Iterable[_Purchase]:
        """Of each set of GPU types the cheapest configuration that can serve the type."""
        for tier in self.market.tiers[t].values():
            c = next((c for c in tier if self.fits(c, -1)), None)
            if c is not None:
                covered = min(rps, self.market.rates[c][t])
                yield _Purchase(self.market.usd[c] / covered, -covered, c, -1)

    def _upgrades(self, t: int, rps: float) -> Iterable[_Purchase]:
        market = self.market
        for old in self.work:
            for new in market.tiers[t].get(market.tier[old], ()):
                usd = market.usd[new] - market.usd[old]
                if usd > 0 and self.fits(new, old):
                    covered = min(rps, (1 - self._taken_over(old, new)) * market.rates[new][t])
                    if covered > _SMALL * rps:
                        yield _Purchase(usd / covered, -covered, new, old)

    def _taken_over(self, old: int, new: int) -> float:
        """Part of a new replica that one of the old ones keeps busy."""
        rates = self.market.rates[new]
        work = [(t, rps / self.counts[old]) for t, rps in self.work[old].items() if rps > 0]
        return math.fsum(rps / rates[t] if rates[t] > 0 else math.inf for t, rps in work)

    def take(self, step: _Purchase) -> None:
        """Rent, and give back what is exchanged, with its work."""
        self.change(step.new, 1)
        if step.old >= 0:
            moved = {t: rps / self.counts[step.old] for t, rps in self.work[step.old].items() if rps > 0}
            for t, rps in moved.items():
                self.add(step.old, t, -rps)
                self.add(step.new, t, rps)
            self.change(step.old, -1)

    def relocate(self) -> None:
        """Move work to replicas that have time and do it cheaper."""
        market = self.market
        for c in sorted(self.work):
            for t, rps in sorted(self.work[c].items()):
                for other in sorted(self.work):
                    if market.rates[other][t] > 0 and market.usd_per_rps(other, t) < market.usd_per_rps(c, t):
                        part = min(self.work[c][t], (self.counts[other] - self.busy[other]) * market.rates[other][t])
                        if part > _SMALL * rps:
                            self.add(c, t, -part)
                            self.add(other, t, part)

    def consolidated(self) -> _Fleet:
        """The fleet without replicas for whose work others have time, those least busy looked at first."""
        fleet = self
        for c in sorted(fleet.work, key=lambda c: (fleet.busy[c] / fleet.counts[c], c)):
            while c in fleet.work:
                smaller = fleet.copy()
                if not smaller._gives_back(c):
                    break
                fleet = smaller
        return fleet

    def _gives_back(self, c: int) -> bool:
        """Give back a replica; whether others have time for its work."""
        over = self.busy[c] - (self.counts[c] - 1)
        moved = {t: rps * over / self.busy[c] for t, rps in self.work[c].items()} if over > _SMALL else {}
        for t, rps in moved.items():
            self.add(c, t, -rps)
            if self.serve(t, rps, without=c) > _SMALL * rps:
                return False
        self.change(c, -1)
        return True


def _first(
    market: _Market, start: Sequence[int], tries: Iterable[tuple[float, list[int]]]
) -> tuple[float, tuple[int, ...]] | None:
    """The first fleet that the heuristic finds for some paces and orders, and the pace that it really has."""
    for pace, order in tries:
        counts = _fleet_at(market, pace, order, start)
        if counts is not None:
            return max(pace, 1 / best_assignment(market.problem, counts).makespan), counts
    return None


def _fleet_at(market: _Market, pace: float, order: Sequence[int], start: Sequence[int]) -> tuple[int, ...] | None:
    """A fleet that serves all types at a pace, within the budget; None if the heuristic finds none."""
    fleet = _Fleet(market, start)
    asked = [pace * kind.amount for kind in market.types]
    for t in order:
        if not any(market.rates[c][t] > 0 for c in fleet.work):
            step = fleet.best_step(t, asked[t])
            if step is None:
                return None
            fleet.take(step)
    for t in order:
        left = fleet.serve(t, asked[t])
        while left > _SMALL * asked[t]:
            step = fleet.best_step(t, left)
            if step is None or not market.problem.is_affordable(fleet.usd_per_h / _OVERSPENDING):
                return None
            fleet.take(step)
            left = fleet.serve(t, left)
    for _ in range(_N_PASSES):
        before = sum(fleet.counts)
        fleet.relocate()
        fleet = fleet.consolidated()
        if sum(fleet.counts) == before:
            break
    counts = tuple(fleet.counts)
    return counts if market.problem.is_affordable(market.problem.usd_per_h(counts)) else None
