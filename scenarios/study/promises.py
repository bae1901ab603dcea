"""What a plan promises where service times are off."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import fsum
from typing import Any

from planners import Objective, Plan
from planners.fleets.assignment import RATE_TOLERANCE, evaluate
from scenarios.errors import RunError
from scenarios.file import schema
from scenarios.inputs.settings import uncertainties_of
from scenarios.inputs.worlds import WorldCapacities
from scenarios.runs.job import Job
from scenarios.study.uncertainty import Interval
from sim.timing.worlds import draw_worlds


@dataclass(frozen=True, slots=True)
class Promises:
    """The makespan of a plan in each of some worlds, with its fleet and its assignment as they are.

    Attributes:
        plan: The plan.
        makespans: In seconds, or of a plan for rates the utilisation of its busiest replicas; infinite where something
            cannot be served.
    """

    plan: Plan
    makespans: tuple[float, ...]

    @property
    def paces(self) -> list[float]:
        """Multiples of the rates that are carried, or shares of the work that are done in a second."""
        return [1 / makespan for makespan in self.makespans]

    @property
    def interval(self) -> Interval:
        """Of the makespan, or for the other objectives of the multiple of the rates that is carried."""
        is_makespan = self.plan.objective_name is Objective.MAKESPAN
        low, median, high = Interval.of(self.paces) or Interval(0.0, 0.0, 0.0)
        return Interval(1 / high, 1 / median, 1 / low) if is_makespan and low > 0 else Interval(low, median, high)

    @property
    def carried_share(self) -> float | None:
        """Share of the worlds in which the offered rates are carried; None for a makespan."""
        if self.plan.objective_name is Objective.MAKESPAN:
            return None
        return fsum(makespan <= 1 + RATE_TOLERANCE for makespan in self.makespans) / len(self.makespans)

    def to_dict(self) -> dict[str, Any]:
        """As `plan --json` prints it."""
        return {"n_worlds": len(self.makespans), **self.interval._asdict(), "carries_rates": self.carried_share}

    def in_words(self) -> str:
        """In one line."""
        low, median, high = self.interval
        unit = "s" if self.carried_share is None else "x the offered requests"
        line = f"in {len(self.makespans)} worlds, as far as service times may be off: {median:.4g} {unit}, "
        line += f"[{low:.4g}, {high:.4g}] from 5 to 95 % of them"
        carried = "" if self.carried_share is None else f"; the offered rates in {100 * self.carried_share:.0f} %"
        return line + carried


def promises(job: Job, plan: Plan, n_worlds: int) -> Promises | None:
    """What a plan promises in worlds where service times are off; None without a plan.

    Args:
        job: Its scenario and requests.
        plan: The plan.
        n_worlds: How many worlds; they are those in which a run of this seed is weighed.

    Raises:
        RunError: Capacities are given, and depend on no service times.
    """
    if isinstance(job.loaded.scenario.planning.capacity, schema.GivenCapacity):
        msg = f"{job.loaded.label} gives capacities: they depend on no service times that could be off"
        raise RunError(msg)
    if plan.objective is None:
        return None
    problem = job.problem if plan.capacities is None else job.problem.with_capacities(plan.capacities)
    rented = [c for c, count in enumerate(plan.counts) if count > 0]
    capacities = WorldCapacities(job.loaded, [problem.candidates[c] for c in rented], problem.demands)
    makespans = []
    for world in draw_worlds(uncertainties_of(job.loaded), n_worlds, job.seed):
        there_rps = zip(rented, capacities.of(world), strict=True)
        of_rented = {c: _as_promised(job, plan, c, rps) for c, rps in there_rps}
        rows = (of_rented.get(c, candidate.capacity_rps) for c, candidate in enumerate(problem.candidates))
        there = replace(problem, cases=()).with_capacities(tuple(rows))
        makespans.append(evaluate(there, plan.counts, plan.assignment, may_shed=True))
    return Promises(plan, tuple(makespans))


def _as_promised(job: Job, plan: Plan, c: int, rps: tuple[float, ...]) -> tuple[float, ...]:
    """Capacities of a world, those beside the mix demanded, by what the plan's are of those of the problem."""
    if plan.capacities is None:
        return rps
    known = zip(rps, plan.capacities[c], job.problem.candidates[c].capacity_rps, strict=True)
    return tuple(h * promised / nominal if nominal > 0 else promised for h, promised, nominal in known)
