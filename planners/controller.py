"""Planning again while a fleet runs: when, for which requests, and whether the new fleet is worth the change."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from planners.fleets.linearise import linearised
from planners.fleets.shedding import servable
from planners.problem.arrivals import bursts_within
from planners.problem.candidate import Candidate, Demand
from planners.problem.plan import Plan, Planner
from planners.problem.previous import Previous
from planners.problem.problem import Objective, PlanningProblem
from planners.problem.terms import Terms, usd_per_h_of_use
from sim.protocols import Decision, Situation

if TYPE_CHECKING:
    from sim.deployment import Deployment
    from sim.slo import SLO
    from traces.bursts import Bursts
    from traces.trace import Trace

SLO_CHECK_S = 30.0
"""How often the SLO is looked at, if a breach makes planners plan again."""

MIN_JUDGED = 20
"""Fewer requests say nothing of the SLO."""

PRIOR_REQUESTS = 20.0
"""So many requests of the mix that was planned for first are added to those seen: a few of them are no new mix."""


@dataclass(frozen=True, slots=True)
class ReplanRules:
    """When to plan again, and with what.

    Attributes:
        triggers: What makes it necessary: `change` of the market, `period`, `slo`.
        delay_s: From the trigger until the new plan takes effect.
        period_s: Time between two plans, for `period`.
        window_s: The requests of so much time are what the next plan is for, and whose SLO is looked at.
        min_gap_s: Shortest time between two plans for `slo`.
        min_gain: A fleet that can stay is changed only if that makes the objective so much better.
        hold_s: How long a plan is expected to stay; None: changes are taken to cost nothing.
        drain_backlog_s: Time within which the requests that wait are to be worked off, beside those that come; None:
            `period_s`.
        stabilization_s: A fleet gets smaller only once less has been asked for in all windows that ended within so
            long: the plan is for the one of them in which most requests came. Until then the first demand counts, too.
            Where the objective depends on the mix alone, it is for the last window.
    """

    triggers: tuple[str, ...] = ("change",)
    delay_s: float = 30.0
    period_s: float = 900.0
    window_s: float = 600.0
    min_gap_s: float = 300.0
    min_gain: float = 0.02
    hold_s: float | None = None
    drain_backlog_s: float | None = None
    stabilization_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Adopted:
    """A plan, when it was made, and the deployment that it wants."""

    t_s: float
    plan: Plan
    deployment: Deployment


class Controller:
    """A planner that plans again while its fleet runs: a `sim.protocols.Replanner`.

    It knows what there was when the run began, what the market offers now, and what has come and ended so far: not what
    will be. Lengths of the workload types, and the capacities that follow from them, stay those of the first problem.

    Args:
        planner: Makes the plans.
        problem: The problem of the first plan; its candidates are those of all later ones.
        plan: The first plan.
        deployment: What that wants to run.
        trace: The requests; those that have not arrived yet are not looked at.
        rules: When, and with what.
        slo: What requests should meet.
        start_s: Time from renting a replica until it serves.

    Attributes:
        steps: All plans that took effect so far, the first included, and perhaps one that is going to.
    """

    def __init__(
        self,
        planner: Planner,
        problem: PlanningProblem,
        plan: Plan,
        deployment: Deployment,
        trace: Trace,
        rules: ReplanRules,
        *,
        slo: SLO,
        start_s: Callable[[Candidate], float],
    ) -> None:
        self._planner = planner
        self._problem = problem
        self._rules = rules
        self._slo = slo
        self._start_s = start_s
        self._requests = _Seen(trace, problem, slo)
        self._last_s = 0.0
        self.steps = [Adopted(0.0, plan, deployment)]
        self.delay_s = rules.delay_s
        waits = {"period": rules.period_s, "slo": SLO_CHECK_S}
        self._check_s = min((wait for trigger, wait in waits.items() if trigger in rules.triggers), default=None)

    def next_check_s(self, now_s: float) -> float | None:
        """When a period may have ended, or the SLO is looked at."""
        return None if self._check_s is None else now_s + self._check_s

    def replan(self, situation: Situation) -> Decision | None:
        """Plan again, if there is a reason; None if the fleet that runs is to stay."""
        trigger = self._trigger(situation)
        if trigger is None:
            return None
        self._last_s = situation.now_s
        while self.steps[-1].deployment is not situation.deployment:
            self.steps.pop()  # the market has changed before it took effect
        problem = self._problem_now(situation)
        plan = self._planner.plan(problem)
        if plan.objective is None or not self._is_worth_it(problem, plan):
            return None
        deployment = plan.deployment()
        if deployment is None:
            return None
        self.steps.append(Adopted(situation.now_s, plan, deployment))
        cause_s = situation.now_s if trigger != "slo" else self._requests.first_miss_s(situation, self._rules)
        return Decision(deployment, trigger, cause_s)

    def _trigger(self, situation: Situation) -> str | None:
        rules, waited_s = self._rules, situation.now_s - self._last_s
        if situation.cause == "change":
            return "change" if "change" in rules.triggers else None
        if "period" in rules.triggers and waited_s >= rules.period_s:
            return "period"
        if "slo" in rules.triggers and waited_s >= rules.min_gap_s:
            share = self._requests.attainment(situation, rules)
            if share is not None and share < self._slo.attainment:
                return "slo"
        return None

    def _problem_now(self, situation: Situation) -> PlanningProblem:
        """What there is to plan now: the market's offers, and the requests seen of late."""
        problem, offers = self._problem, situation.offers
        available = tuple((gpu, offers[gpu].n_gpus if gpu in offers else n) for gpu, n in problem.available)
        candidates = tuple(_at_prices(candidate, situation) for candidate in problem.candidates)
        terms = tuple(_terms_at_prices(one, situation) for one in problem.offers)
        demands = problem.demands
        if problem.objective is not Objective.MAKESPAN:
            is_mix_alone = problem.objective is Objective.THROUGHPUT
            rules = replace(self._rules, stabilization_s=0.0) if is_mix_alone else self._rules
            demands = self._requests.demands(situation, rules)
        previous = None
        if self._rules.hold_s is not None:
            names = {candidate.spec: candidate.name for candidate in candidates}
            running = tuple(sorted((names[spec], n) for spec, n in situation.running if n > 0))
            drain_s = self._requests.mean_e2e_s(situation, self._rules.window_s)
            previous = Previous(running, self._start_s, drain_s, self._rules.hold_s)
        trial = None if problem.trial is None else replace(problem.trial, knows_arrivals=False)
        return replace(
            problem,
            available=available,
            candidates=candidates,
            demands=demands,
            previous=previous,
            trial=trial,
            offers=terms,
        )

    def _is_worth_it(self, problem: PlanningProblem, plan: Plan) -> bool:
        """Whether the new plan is so much better than the one that runs, or that one cannot stay."""
        running = self.steps[-1].plan
        offered = dict(problem.available)
        fits = all(n <= offered[gpu] for gpu, n in problem.gpus(running.counts).items())
        if not fits or not problem.is_affordable(problem.usd_per_h(running.counts)):
            return plan.counts != running.counts
        problem = servable(problem)
        # Each at its own mixes, as far as the problem knows what these take.
        old, new = (linearised(problem, p.counts, p.assignment).value for p in (running, plan))
        return old > new * (1 + self._rules.min_gain)


def _at_prices(candidate: Candidate, situation: Situation) -> Candidate:
    """A candidate at the prices of the moment."""
    own = {} if candidate.spec is None else {stage.gpu_type.pool: stage.gpu_type for stage in candidate.spec.stages}
    usd_per_h = 0.0
    for gpu, n in candidate.gpus:
        offer = situation.offers.get(gpu)
        price = None if offer is None else offer.usd_per_h
        is_free_to_use = gpu in own and usd_per_h_of_use(own[gpu]) == 0
        if not is_free_to_use:
            usd_per_h += n * (own[gpu].usd_per_h if price is None else price)
    return replace(candidate, usd_per_h=usd_per_h)


def _terms_at_prices(terms: Terms, situation: Situation) -> Terms:
    """The terms of an offer at the price of the moment; what is paid in any case stays."""
    offer = situation.offers.get(terms.name)
    is_paid_by_use = terms.usd_per_h > 0
    if offer is None or offer.usd_per_h is None or not is_paid_by_use:
        return terms
    return replace(terms, usd_per_h=offer.usd_per_h)


def _with_amounts(demand: Demand, amounts: tuple[float, ...]) -> Demand:
    rate, mix = math.fsum(amounts), demand.mix
    if mix is not None and rate > 0:
        mix = replace(mix, share=tuple(amount / rate for amount in amounts))
    return replace(demand, mix=mix, amounts=amounts)


def _busiest_end_s(arrival_s: npt.NDArray[np.float64], now_s: float, rules: ReplanRules) -> float:
    """When the window ended in which most of these requests came, ascending; the last of equal ones.

    Of the windows that ended within `stabilization_s` and are as long as they can be by now.
    """
    first_s = max(now_s - rules.stabilization_s, min(rules.window_s, now_s))
    ends_s = np.concatenate([[first_s], arrival_s[arrival_s > first_s], [now_s]])
    n_came = np.searchsorted(arrival_s, ends_s, "right") - np.searchsorted(arrival_s, ends_s - rules.window_s)
    return float(ends_s[::-1][n_came[::-1].argmax()])


class _Seen:
    """The requests that have come, as far as they are known at a moment."""

    def __init__(self, trace: Trace, problem: PlanningProblem, slo: SLO) -> None:
        self._demands, self._slo = problem.demands, slo
        self._arrival_s = trace.requests["arrival_s"].to_numpy()
        self._output_tokens = trace.requests["output_tokens"].to_numpy()
        self._rows: list[npt.NDArray[np.int64]] = []
        self._types: list[npt.NDArray[np.int64]] = []
        models, tokens = trace.requests["model"], trace.requests["prompt_tokens"] + trace.requests["output_tokens"]
        # The limits of each request: time to first token, per output token, to the end.
        limits = {model: slo.of_model(model) for model in trace.models}
        self._most_s = [
            models.replace_strict({m: math.inf if most is None else float(most) for m, most in of.items()}).to_numpy()
            for of in (
                {m: own.ttft_s for m, own in limits.items()},
                {m: own.tpot_s for m, own in limits.items()},
                {m: own.e2e_s for m, own in limits.items()},
            )
        ]
        for demand in problem.demands:
            is_asked = models == demand.model
            if demand.too_long is not None:
                is_asked &= tokens <= demand.too_long.held_tokens
            rows = is_asked.arg_true().to_numpy().astype(np.int64)
            kinds = None if demand.mix is None else demand.mix.grid.classify(trace).to_numpy()
            self._rows.append(rows)
            self._types.append(np.zeros(len(rows), np.int64) if kinds is None else kinds[rows].astype(np.int64))

    def _window(self, situation: Situation, window_s: float) -> npt.NDArray[np.int64]:
        """Rows of the requests that have come of late."""
        sent_s, since_s = situation.log.sent_s, situation.now_s - window_s
        if len(sent_s):  # some wait for others
            self._arrival_s = sent_s
            return np.flatnonzero((sent_s >= since_s) & (sent_s <= situation.now_s))
        start = int(np.searchsorted(self._arrival_s[: situation.n_arrived], since_s))
        return np.arange(start, situation.n_arrived)

    def demands(self, situation: Situation, rules: ReplanRules) -> tuple[Demand, ...]:
        """What the next plan is for, by type.

        These are the rates of the requests of a window, with some of the first demands added, raised where they came
        in bursts; and those at which the backlog is worked off in time.
        """
        late, waiting = self._window(situation, rules.window_s + rules.stabilization_s), self._waiting(situation)
        drain_s = rules.period_s if rules.drain_backlog_s is None else rules.drain_backlog_s
        total_rps = math.fsum(demand.total / demand.margin for demand in self._demands)
        if total_rps == 0:
            return self._demands
        demands = []
        for demand, rows, types in zip(self._demands, self._rows, self._types, strict=True):
            is_late, is_waiting = (np.isin(rows, some, assume_unique=True) for some in (late, waiting))
            seen = self._seen(demand, rows[is_late], types[is_late], situation.now_s, rules, PRIOR_REQUESTS / total_rps)
            if situation.now_s <= rules.stabilization_s and seen.total < demand.total:
                seen = demand
            backlog = np.bincount(types[is_waiting], minlength=len(demand.amounts)).tolist()
            added = (amount + n / drain_s for amount, n in zip(seen.amounts, backlog, strict=True))
            demands.append(_with_amounts(seen, tuple(added)))
        return tuple(demands)

    def _seen(
        self,
        first: Demand,
        rows: npt.NDArray[np.int64],
        types: npt.NDArray[np.int64],
        now_s: float,
        rules: ReplanRules,
        prior_s: float,
    ) -> Demand:
        """What was asked of a model in the busiest window of these requests, and for so long before all in the mean."""
        arrival_s = self._arrival_s[rows]
        end_s = _busiest_end_s(np.sort(arrival_s), now_s, rules)
        is_within = (arrival_s >= end_s - rules.window_s) & (arrival_s <= end_s)
        counts = np.bincount(types[is_within], minlength=len(first.amounts)).tolist()
        seen_s = min(rules.window_s, end_s) + prior_s
        amounts = (
            (n + prior_s * amount / first.margin) / seen_s for n, amount in zip(counts, first.amounts, strict=True)
        )
        seen = replace(first, amounts=tuple(amounts), bursts=None, margin=1.0)
        bursts = self._bursts(first.model, rows[is_within])
        return seen if bursts is None else seen.with_bursts(bursts)

    def _waiting(self, situation: Situation) -> npt.NDArray[np.int64]:
        """Rows of the requests that have come and wait to be begun: the backlog.

        Those that run are left out: what they still need is done by the time a new plan takes effect, or nearly so.
        """
        log = situation.log
        is_waiting = np.isnan(np.frombuffer(log.first_scheduled_s)) & np.isnan(np.frombuffer(log.finish_s))
        is_waiting[list(log.reason)] = False  # rejected or dropped
        if len(log.sent_s):
            return np.flatnonzero(is_waiting & (log.sent_s <= situation.now_s))
        return np.flatnonzero(is_waiting[: situation.n_arrived])

    def _bursts(self, model: str, rows: npt.NDArray[np.int64]) -> Bursts | None:
        if self._slo.asks_for_nothing or len(rows) == 0:
            return None
        return bursts_within(
            self._slo.of_model(model), np.sort(self._arrival_s[rows]), float(self._output_tokens[rows].mean())
        )

    def mean_e2e_s(self, situation: Situation, window_s: float) -> float:
        """Mean time of the last requests from arrival to end; 0 if none has ended."""
        window = self._window(situation, window_s)
        e2e_s = np.frombuffer(situation.log.finish_s)[window] - self._arrival_s[window]
        ended = e2e_s[~np.isnan(e2e_s)]
        return float(ended.mean()) if len(ended) else 0.0

    def _misses(self, situation: Situation, rules: ReplanRules) -> tuple[npt.NDArray[np.float64], int]:
        """When those of the last requests came that have missed the SLO, and how many are known to have met it or not.

        A request that has ended is judged, and one that has no first token though its time is up.
        """
        window = self._window(situation, rules.window_s)
        arrival_s = self._arrival_s[window]
        first_s = np.frombuffer(situation.log.first_token_s)[window]
        finish_s = np.frombuffer(situation.log.finish_s)[window]
        ttft_s = np.where(np.isnan(first_s), situation.now_s, first_s) - arrival_s
        is_judged = ~np.isnan(finish_s)
        n_gaps = np.maximum(self._output_tokens[window] - 1, 1)
        e2e_s = np.where(is_judged, finish_s, situation.now_s) - arrival_s
        most_ttft_s, most_tpot_s, most_e2e_s = (most[window] for most in self._most_s)
        with np.errstate(invalid="ignore"):
            is_slow = (finish_s - first_s) / n_gaps > most_tpot_s
        is_missed = (ttft_s > most_ttft_s) | is_slow | (e2e_s > most_e2e_s)
        return arrival_s[is_missed], int((is_judged | is_missed).sum())

    def attainment(self, situation: Situation, rules: ReplanRules) -> float | None:
        """The share of the last requests that have met the SLO; None if too few are known to have or not."""
        missed_s, n_judged = self._misses(situation, rules)
        return None if n_judged < MIN_JUDGED else 1 - len(missed_s) / n_judged

    def first_miss_s(self, situation: Situation, rules: ReplanRules) -> float:
        """When the first of the last requests came that has missed the SLO."""
        missed_s, _ = self._misses(situation, rules)
        return float(missed_s.min()) if len(missed_s) else situation.now_s
