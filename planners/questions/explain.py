"""Why this plan: what limits it, what more of anything would be worth, and why not another configuration.

Everything is answered by solving changed problems (`planners.questions.what_if`) again with the same planner. Prices of
the linear relaxation would be quicker, but replicas are whole: one more GPU is often worth nothing, and four are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from planners.errors import PlannerError
from planners.fleets.assignment import best_assignment, objective_of
from planners.fleets.exact import PROVED_GAP
from planners.fleets.mix import mix_capacity_rps
from planners.fleets.shedding import fleet_value, servable
from planners.problem.limits import limits_of
from planners.problem.plan import Plan, Termination
from planners.problem.problem import Feature, Objective, PlanningProblem
from planners.questions.explanation import (
    BUDGET,
    Configuration,
    Effect,
    Explanation,
    Fate,
    FurtherLimit,
    Limit,
    MoreDemand,
    Spare,
    Variant,
    WhatIf,
)
from planners.questions.what_if import (
    most_rentable,
    replaced_by,
    with_demand,
    with_gpus,
    with_rates,
    with_replica,
    without_precision,
)

if TYPE_CHECKING:
    from planners.problem.candidate import Candidate
    from planners.problem.plan import Planner

MORE_USD_PER_H = 1.0
"""Of the budget, when asking what more is worth."""

MORE_RPS = 1.0
"""Of a workload type, when asking what more costs."""

BETTER = 1e-3
"""By which a fleet must be better to count as the next better one."""

N_CONFIGURATIONS = 10
"""How many configurations are forced into the plan if the caller does not say; each is a re-solve."""


def explain_plan(
    problem: PlanningProblem,
    planner: Planner,
    plan: Plan | None = None,
    *,
    names: Sequence[str] = (),
    n_configurations: int = N_CONFIGURATIONS,
    why_unable: Callable[[Candidate], str] | None = None,
    watch: Callable[[str], None] | None = None,
) -> Explanation:
    """Explain a plan by solving changed problems with the same planner.

    Where the answer follows, nothing is solved: a plan without a GPU type is its own best plan without it; and with a
    planner that proves its plans, what does not help without limit does not help by one. A plan stays possible if a
    limit is raised, so where the planner then finds a worse one, nothing changes.

    Args:
        problem: The problem. Candidates that its limits exclude are welcome: they count where a limit is raised.
        planner: The planner.
        plan: The plan; made by the planner if not given.
        names: Candidates to ask about, all that the plan does not rent if there are none. These are forced into the
            plan where that is possible.
        n_configurations: How many are forced into the plan if no names are given: those with the most capacity per
            dollar that the plan does not rent and that are not dominated.
        why_unable: Why a candidate can serve nothing that is demanded, in words.
        watch: Told what is solved next.

    Raises:
        PlannerError: One of the names is not that of a candidate.

    >>> from planners.problem.candidate import Candidate, Demand
    >>> from planners.milp import MilpPlanner
    >>> demand = Demand("m", None, ("chat",), (100.0,))
    >>> two = Candidate("a", "m", (("L40", 2),), 2.0, (4.0,)), Candidate("b", "m", (("L4", 1),), 1.0, (1.0,))
    >>> found = explain_plan(PlanningProblem((demand,), two, (("L4", 1), ("L40", 3)), 3.0), MilpPlanner())
    >>> found.plan.objective, [(limit.name, limit.left, limit.binds) for limit in found.limits]
    (20.0, [('budget', 0.0, False), ('L4', 0, False), ('L40', 1, False)])
    """
    if problem.objective is Objective.LATENCY:
        msg = "plans for the objective 'latency' are not explained: what a GPU or a dollar more is worth is not known"
        raise PlannerError(msg)
    unknown = [name for name in names if name not in {candidate.name for candidate in problem.candidates}]
    if unknown:
        from traces.errors import nearest

        known = [candidate.name for candidate in problem.candidates]
        msg = f"unknown configuration {unknown[0]!r}: {nearest(unknown[0], known)}"
        raise PlannerError(msg)
    explainer = _Explainer(problem, planner, plan, watch)
    limits, further = explainer.limits(), explainer.further()
    if explainer.plan.objective is None:
        return Explanation(explainer.plan, limits, (), (), None, (), explainer.n_solves, further)
    demands = explainer.demands()
    variants = explainer.variants()
    budget_binds = any(limit.name == BUDGET and limit.binds for limit in limits)
    spare = explainer.spare(budget_binds)
    configurations = explainer.configurations(names, n_configurations, why_unable)
    return Explanation(explainer.plan, limits, demands, variants, spare, configurations, explainer.n_solves, further)


class _Explainer:
    """Solves changed problems, and counts them."""

    def __init__(
        self, problem: PlanningProblem, planner: Planner, plan: Plan | None, watch: Callable[[str], None] | None
    ) -> None:
        self.problem = problem
        self.n_solves = 0
        self._planner = planner
        self._watch = watch
        if plan is None and watch is not None:
            watch("the plan")
        self.plan = planner.plan(problem) if plan is None else plan
        is_open = self.plan.termination in {Termination.TIME_LIMIT, Termination.HEURISTIC}
        self._is_exact = Feature.BOUND in planner.features and not is_open
        # What the plan promises is by these capacities.
        self._promised = problem if self.plan.capacities is None else problem.with_capacities(self.plan.capacities)
        self._same = WhatIf(
            self.plan.objective,
            None if self.plan.objective is None else 0.0,
            Effect.NO_PLAN if self.plan.objective is None else Effect.SAME,
            self.plan.termination,
        )

    def limits(self) -> tuple[Limit, ...]:
        """The budget and the GPU types."""
        problem, has_plan = self.problem, self.plan.objective is not None
        limits = []
        budget = problem.budget_usd_per_h
        if budget < math.inf:
            if problem.objective is Objective.COST and has_plan:
                one_more = unlimited = self._same  # what is cheapest within the budget is cheapest
            else:
                unlimited = self._relaxed(replace(problem, budget_usd_per_h=math.inf), "no budget")
                richer = replace(problem, budget_usd_per_h=budget + MORE_USD_PER_H)
                one_more = self._step(unlimited, richer, f"{MORE_USD_PER_H:g} $/h more")
            price = self.plan.usd_per_h if has_plan else None
            limits.append(Limit(BUDGET, price, budget, one_more, unlimited, None))
        taken = problem.gpus(self.plan.counts)
        sizes = {node.name: node.gpus_per_node for node in problem.nodes}
        for gpu, count in problem.available:
            most, size = most_rentable(problem, gpu), sizes.get(gpu, 1)
            without = unbounded = None
            if most is not None and most <= count:
                unbounded = self._same
            elif most is not None:
                unbounded = self._relaxed(with_gpus(problem, gpu, most), f"any number of {gpu}")
            more = with_gpus(problem, gpu, count + size)
            one_more = self._step(unbounded, more, f"one more {'node of ' * (size > 1)}{gpu}")
            if has_plan:
                used = gpu in taken
                without = self._changed(with_gpus(problem, gpu, 0), f"no {gpu}") if used else self._same
            used_of = taken.get(gpu, 0) if has_plan else None
            limits.append(Limit(gpu, used_of, count, one_more, unbounded, without, size))
        return tuple(limits)

    def further(self) -> tuple[FurtherLimit, ...]:
        """The limits beside budget and availability, each taken away alone."""
        found = []
        for limit in limits_of(self.problem):
            nothing: dict[str, Any] = {limit.name: limit.nothing}
            without = self._relaxed(replace(self.problem, **nothing), f"without {limit.name}")
            found.append(FurtherLimit(limit.name, limit.words(getattr(self.problem, limit.name)), without))
        return tuple(found)

    def demands(self) -> tuple[MoreDemand, ...]:
        """The workload types of which something is demanded."""
        step = MORE_RPS
        if self.problem.objective is Objective.MAKESPAN and self.plan.objective is not None:
            step *= self.plan.objective
        found = []
        for demand in self.problem.demands:
            for w, (name, amount) in enumerate(zip(demand.type_names, demand.amounts, strict=True)):
                if amount > 0:
                    more = with_demand(self.problem, demand.model, w, amount + step)
                    what_if = self._changed(more, f"more {name} for {demand.model}")
                    found.append(MoreDemand(demand.model, name, amount, step, what_if))
        return tuple(found)

    def variants(self) -> tuple[Variant, ...]:
        """The precisions of models that can be had in several."""
        problem, counts = self.problem, self.plan.counts
        replicas: dict[tuple[str, str], int] = {}
        for candidate, count in zip(problem.candidates, counts, strict=True):
            if candidate.spec is not None:
                key = candidate.model, candidate.spec.model.precision.name
                replicas[key] = replicas.get(key, 0) + count
        several = Counter(model for model, _ in replicas)
        found = []
        for (model, precision), n in sorted(replicas.items()):
            if several[model] == 1:
                continue
            without, fleet = self._same, ""
            if n > 0:
                plan = self._solve(without_precision(problem, model, precision), f"no {model} in {precision}")
                without = self._what_if(plan)
                fleet = " + ".join(f"{row.count} x {row.candidate.name}" for row in plan.fleet)
            found.append(Variant(model, precision, n, without, fleet))
        return tuple(found)

    def spare(self, budget_binds: bool) -> Spare:
        """What is left, and what the smallest step beyond would be."""
        problem, plan = self.problem, self.plan
        taken = problem.gpus(plan.counts)
        left = {gpu: count - taken.get(gpu, 0) for gpu, count in problem.available}
        useful = [c for c in self._able() if all(n <= left[gpu] for gpu, n in problem.candidates[c].gpus)]
        price = plan.usd_per_h
        affordable = [c for c in useful if problem.is_affordable(problem.usd_per_h(self._one_more(c)))]
        added = {c: self._with_added(c) for c in affordable}
        best = min(added, key=lambda c: added[c][0]) if added else None
        if best is None:
            best = min(useful, key=lambda c: problem.candidates[c].usd_per_h, default=None)
        carried = None
        if problem.objective is Objective.COST:
            carried = 1 / best_assignment(self._promised, plan.counts).makespan
        return Spare(
            usd_per_h=problem.budget_usd_per_h - price if problem.budget_usd_per_h < math.inf else None,
            gpus=tuple(left.items()),
            replica=None if best is None else problem.candidates[best].name,
            replica_usd_per_h=None if best is None else problem.candidates[best].usd_per_h,
            with_replica=added[best][1] if best in added else None,
            better_usd_per_h=self._better_usd_per_h() if budget_binds else None,
            carried=carried,
        )

    def configurations(
        self, names: Sequence[str], n_configurations: int, why_unable: Callable[[Candidate], str] | None
    ) -> tuple[Configuration, ...]:
        """See `explain_plan`."""
        candidates = self.problem.candidates
        asked = [c for c in range(len(candidates)) if not names or candidates[c].name in names]
        found = {c: self._why_not(c, why_unable) for c in asked}
        if not names:
            found = {c: why_not for c, why_not in found.items() if why_not.fate is not Fate.CHOSEN}
        possible = {Fate.NOT_EXAMINED, Fate.DOMINATED} if names else {Fate.NOT_EXAMINED}
        forced = [c for c, why_not in found.items() if why_not.fate in possible]
        if not names:
            forced = self._by_price(forced)[:n_configurations]
        for c in forced:
            fate = Fate.FORCED if found[c].fate is Fate.NOT_EXAMINED else found[c].fate
            what_if = self._changed(with_replica(self._promised, c), f"with {candidates[c].name}")
            found[c] = replace(found[c], fate=fate, what_if=what_if)
        return tuple(found.values())

    # One question each -----------------------------------------------------------------------------------------------

    def _solve(self, problem: PlanningProblem, what: str) -> Plan:
        if self._watch is not None:
            self._watch(what)
        self.n_solves += 1
        return self._planner.plan(self._ended_with(problem))

    def _ended_with(self, problem: PlanningProblem) -> PlanningProblem:
        """A changed problem with the capacities that the plan was proved for; itself if the planner proves nothing.

        Linearised anew, it would be another problem, and its plan no answer to what the change is worth.
        """
        if self.plan.capacities is None or Feature.BOUND not in self._planner.features:
            return problem
        names = [candidate.name for candidate in self.problem.candidates]
        promised = dict(zip(names, self.plan.capacities, strict=True))
        rows = (
            (*promised[one.name], *one.capacity_rps[len(promised[one.name]) :])
            if one.name in promised
            else one.capacity_rps
            for one in problem.candidates
        )
        return replace(problem.with_capacities(tuple(rows)), mixes=None)

    def _changed(self, problem: PlanningProblem, what: str) -> WhatIf:
        return self._what_if(self._solve(problem, what))

    def _relaxed(self, problem: PlanningProblem, what: str) -> WhatIf:
        """Of a problem in which the plan is still possible."""
        found = self._changed(problem, what)
        return found if found.effect is Effect.BETTER else self._same

    def _step(self, unlimited: WhatIf | None, problem: PlanningProblem, what: str) -> WhatIf:
        """Of a problem between this one and one with the limit lifted."""
        if self._is_exact and unlimited is not None and unlimited.effect is not Effect.BETTER:
            return self._same
        return self._relaxed(problem, what)

    def _what_if(self, plan: Plan) -> WhatIf:
        old, new = self.plan.objective, plan.objective
        if new is None:
            return WhatIf(None, None, Effect.NO_PLAN, plan.termination)
        if old is None:
            return WhatIf(new, None, Effect.BETTER, plan.termination)
        open_ = max(PROVED_GAP, (self.plan.gap or 0.0) + (plan.gap or 0.0))
        return WhatIf(new, new - old, self._effect(new, open_), plan.termination)

    def _effect(self, objective: float, gap: float) -> Effect:
        old = self.plan.objective or 0.0
        if abs(objective - old) <= gap * max(old, objective):
            return Effect.SAME
        is_more = objective > old
        return Effect.BETTER if is_more == (self.problem.objective is Objective.THROUGHPUT) else Effect.WORSE

    def _with_added(self, c: int) -> tuple[float, WhatIf]:
        """Value, and what it means, of the plan with one more replica."""
        value = fleet_value(servable(self._promised), self._one_more(c))
        objective = objective_of(self.problem.objective, value)
        change = objective - (self.plan.objective or 0.0)
        return value, WhatIf(objective, change, self._effect(objective, PROVED_GAP), Termination.HEURISTIC)

    def _one_more(self, c: int) -> tuple[int, ...]:
        """The fleet with one more replica of candidate `c`."""
        return tuple(count + (i == c) for i, count in enumerate(self.plan.counts))

    def _better_usd_per_h(self) -> float | None:
        problem, objective = self.problem, self.plan.objective
        if objective is None or Feature.COST not in self._planner.features:
            return None
        pace = objective if problem.objective is Objective.THROUGHPUT else 1 / objective
        return self._solve(with_rates(problem, pace * (1 + BETTER)), "the next better fleet").objective

    def _why_not(self, c: int, why_unable: Callable[[Candidate], str] | None) -> Configuration:
        """Why candidate `c` is not rented, as far as nothing needs to be solved."""
        problem, candidate = self.problem, self.problem.candidates[c]
        available = dict(problem.available)
        missing = [(gpu, n) for gpu, n in candidate.gpus if n > available[gpu]]
        fate, detail, dominated_by = Fate.NOT_EXAMINED, "", None
        alone_usd_per_h = problem.usd_per_h(int(i == c) for i in range(len(problem.candidates)))
        if self.plan.counts[c] > 0:
            fate, detail = Fate.CHOSEN, f"the plan rents {self.plan.counts[c]} of it"
        elif c not in self._able():
            fate, detail = Fate.NO_CAPACITY, "" if why_unable is None else why_unable(candidate)
        elif missing:
            gpu, n = missing[0]
            fate, detail = Fate.UNAVAILABLE, f"needs {n} {gpu}, there are {available[gpu]}"
        elif not problem.is_affordable(alone_usd_per_h):
            fate, detail = Fate.TOO_EXPENSIVE, f"costs {alone_usd_per_h:g} $/h, more than the budget"
        else:
            better = (i for i in self._dominating(c) if not self._dominating(i))  # one of them is not dominated itself
            best = next(better, None)
            if best is not None:
                other = problem.candidates[best]
                fate, dominated_by = Fate.DOMINATED, (other.name, replaced_by(other, candidate))
        return Configuration(candidate.name, candidate.usd_per_h, fate, detail, dominated_by, None)

    def _dominating(self, c: int) -> list[int]:
        """Candidates that make a candidate superfluous; of equals a rented one or the first stays."""
        candidates, counts = self.problem.candidates, self.plan.counts
        better = (i for i in range(len(candidates)) if i != c and replaced_by(candidates[i], candidates[c]) > 0)
        return [
            i
            for i in better
            if replaced_by(candidates[c], candidates[i]) == 0 or (counts[i] == 0, i) < (counts[c] == 0, c)
        ]

    def _able(self) -> list[int]:
        """Candidates that can serve something that is demanded."""
        return [c for c in range(len(self.problem.candidates)) if mix_capacity_rps(self.problem, c) > 0]

    def _by_price(self, candidates: Sequence[int]) -> list[int]:
        """Candidates by their price per request/s, relative to the least of their model."""
        price = {c: self.problem.candidates[c].usd_per_h / mix_capacity_rps(self.problem, c) for c in self._able()}
        least: dict[str, float] = {}
        for c, usd_per_rps in price.items():
            model = self.problem.candidates[c].model
            least[model] = min(usd_per_rps, least.get(model, math.inf))

        def relative(c: int) -> float:
            unit = least[self.problem.candidates[c].model]
            return price[c] / unit if unit > 0 else price[c]

        return sorted(candidates, key=relative)
