r"""Solving the MILP on the few candidates that matter first: those that the linear relaxation likes.

Let m be what the solver minimises (-z / Z, or the price), and m* its least value in the linear relaxation. By duality,
m >= m* + r[c] for every fleet that has a replica of c, where r[c] is the reduced cost of y[c]. Where shares are
variables, their reduced costs s[c,w] can be turned into some of it: time on a replica of c is worth at most as much as
its best use, so that the price of its capacity row can fall by min_w s[c,w] h[c,w] / (Z f[w]), which adds as much to
r[c]: a share of 1 - l[c] of it where replicas must be started first, and candidates that run already count with 0.

So the MILP is solved in two steps. First for the core, the candidates of least r, which gives a fleet of a value v that
is mostly the best already. Then it is asked whether a fleet with at least one other candidate is better than v by more
than the gap; only candidates with r[c] < m(v) - m* need to be looked at. Cores are known from knapsack problems (Balas
and Zemel, Operations Research 28, 1980).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

import highspy
import pulp

from planners.milp.extract import Finding, extract
from planners.milp.formulated import Formulation
from planners.milp.work import Work
from planners.quiet import no_output

CORE_SIZE = 40
"""Candidates in the core; problems with fewer are solved in one step."""

_TOLERANCE = 1e-9  # a thousandth of HiGHS's default, so that its error is far below the gap


class Effort(NamedTuple):
    """How hard HiGHS tries.

    Attributes:
        gap: Relative gap at which it stops.
        time_limit_s: The work that it may do, in seconds (`planners.milp.work`).
        seed: For its random numbers.
        threads: How many it may use.
    """

    gap: float
    time_limit_s: float
    seed: int = 0
    threads: int = 1


class Look(NamedTuple):
    """What one step shows of the fleets that it looks at.

    Attributes:
        counts: A fleet, if any was found.
        bound: None of them has a lower value (see `planners.fleets.assignment`).
        finding: Whether that is all that there is to know.
        solver_status: HiGHS's own word.
    """

    counts: tuple[int, ...] | None
    bound: float
    finding: Finding
    solver_status: str

    @property
    def is_decided(self) -> bool:
        """Whether the solver came to its end."""
        return self.finding in {Finding.OPTIMAL, Finding.INFEASIBLE}


class Search:
    """A MILP that is solved in steps.

    Args:
        formulation: The MILP.
        effort: For each step.
        work: For all steps together.
    """

    def __init__(self, formulation: Formulation, effort: Effort, work: Work) -> None:
        self._formulation = formulation
        self._effort = effort
        self._work = work
        self._most = {c: variable.upBound for c, variable in formulation.counts.items()}
        self._least = -math.inf
        self._excess: dict[int, float] = dict.fromkeys(formulation.counts, 0.0)
        if len(self._excess) > CORE_SIZE:
            self._relax()

    def _relax(self) -> None:
        """Solve the linear relaxation, which says how much a replica of each candidate costs at least."""
        f = self._formulation
        # A bound of z that is reached would take all of the dual solution, and leave none for the candidates.
        most, f.pace.upBound = f.pace.upBound, None if f.pace.lowBound == 0 else f.pace.upBound
        self._run(is_relaxed=True)
        f.pace.upBound = most
        if f.lp.sol_status != pulp.LpSolutionOptimal:
            return
        self._least = f.lp.solverModel.getObjectiveValue()
        use: dict[int, float] = {}
        for (c, w), share in f.shares.items():
            use[c] = min(use.get(c, math.inf), share.dj * f.unit(c, w) / f.load(c, w))
        for c, count in f.counts.items():
            gained = (1 - f.start_share(c)) * max(0.0, use.get(c, 0.0))
            # Of what runs already, the reduced cost of a replica that is started says nothing.
            self._excess[c] = 0.0 if c in f.kept else max(0.0, count.dj + gained)

    def core(self) -> set[int]:
        """The candidates that a fleet costs least with, according to the relaxation."""
        return set(sorted(self._excess, key=lambda c: self._excess[c])[:CORE_SIZE])

    def others(self, core: Collection[int], value: float) -> set[int]:
        """The other candidates that a fleet could have which is better than `value` by more than the gap."""
        most = self._cutoff(value) - self._least
        return {c for c, excess in self._excess.items() if c not in core and excess < most}

    def bound_without(self, looked_at: Collection[int]) -> float:
        """A bound of the value of fleets with some candidate that was not looked at; infinite if all were."""
        left_out = [excess for c, excess in self._excess.items() if c not in looked_at]
        return self._formulation.value(self._least + min(left_out)) if left_out else math.inf

    def step(self, allowed: Collection[int], one_of: Collection[int] = (), better_than: float = math.inf) -> Look:
        """Look at the fleets of some candidates.

        Args:
            allowed: The candidates.
            one_of: If given, only fleets with at least one of these are looked at.
            better_than: Only fleets better than this value, by more than the gap, are looked for.
        """
        f = self._formulation
        for c, count in f.counts.items():
            count.upBound = self._most[c] if c in allowed else 0
        if one_of:
            lp = f.lp
            lp += (pulp.lpSum(f.counts[c] for c in sorted(one_of)) >= 1, "one_of")
        cutoff = self._cutoff(better_than)
        self._run(cutoff=cutoff)
        found = extract(f)
        bound = f.value(cutoff) if found.finding is Finding.INFEASIBLE else min(found.value_bound, f.value(cutoff))
        return Look(found.counts, bound, found.finding, found.solver_status)

    def _cutoff(self, value: float) -> float:
        return self._formulation.loss(value * (1 - self._effort.gap))

    def _run(self, *, is_relaxed: bool = False, cutoff: float = math.inf) -> None:
        run_highs(self._formulation.lp, self._effort, self._work, cutoff=cutoff, is_relaxed=is_relaxed)


def run_highs(
    lp: pulp.LpProblem,
    effort: Effort,
    work: Work | None = None,
    *,
    cutoff: float = math.inf,
    is_relaxed: bool = False,
) -> None:
    """One call of HiGHS, silent.

    Args:
        lp: The MILP.
        effort: How hard it tries.
        work: What it may do, if that is not all of the effort's limit.
        cutoff: Only solutions are looked for in which the function that HiGHS minimises is less. It goes into the
            option `objective_bound`, from which HiGHS's branch and bound starts.
        is_relaxed: Whether variables need not be whole numbers.
    """
    work = Work(effort.time_limit_s) if work is None else work
    solver = pulp.HiGHS(
        callbackTuple=work.meter(sum(len(row) for row in lp.constraints())),
        callbacksToActivate=[highspy.cb.HighsCallbackType.kCallbackMipInterrupt],
        mip=not is_relaxed,
        msg=False,
        threads=effort.threads,
        gapRel=effort.gap,
        timeLimit=work.clock_limit_s,
        random_seed=effort.seed % 2**31,
        primal_feasibility_tolerance=_TOLERANCE,
        mip_feasibility_tolerance=_TOLERANCE,
        objective_bound=cutoff,
    )
    with no_output():
        # HiGHS starts its threads once for the process, and refuses to solve with another number of them.
        highspy.Highs.resetGlobalScheduler(True)
        lp.solve(solver)
    work.ended(lp.solverModel)
