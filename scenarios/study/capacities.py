"""How far the closed form of the capacity is from the simulator, for the candidates of a scenario."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from planners import Kind, Plan, capacity_of_mix_rps, get_planner
from planners.capacity.candidates import kinds_of
from scenarios.errors import RunError
from scenarios.file.schema import PlannerChoice
from scenarios.inputs.settings import make_service_time, make_simulated_capacity
from scenarios.runs.job import Job
from scenarios.runs.watcher import Watcher

MIX = "the mix"
PLANNED = "the plan's mix"


@dataclass(frozen=True, slots=True)
class CapacityRow:
    """Both capacities of a candidate for one workload type alone, for the mix in demand, or for the mix of a plan.

    Attributes:
        candidate: Its name.
        gpus: Its GPU types.
        tp: Largest tensor-parallel degree of its stages.
        pp: Pipeline stages.
        workload: The workload type, `MIX`, or `PLANNED`.
        closed_form_rps: Requests/s by the closed form.
        simulated_rps: Requests/s in the simulator.
    """

    candidate: str
    gpus: tuple[str, ...]
    tp: int
    pp: int
    workload: str
    closed_form_rps: float
    simulated_rps: float

    @property
    def error(self) -> float:
        """Of the closed form, relative."""
        return self.closed_form_rps / self.simulated_rps - 1


@dataclass(frozen=True, slots=True)
class ErrorSummary:
    """Relative errors of a group of capacities.

    Attributes:
        group: What they have in common.
        n: How many there are.
        mean: Mean error.
        mean_abs: Mean absolute error.
        p95_abs: 95 % quantile of the absolute error.
        max_abs: The largest.
    """

    group: str
    n: int
    mean: float
    mean_abs: float
    p95_abs: float
    max_abs: float


def compare_capacities(job: Job, watcher: Watcher | None = None) -> list[CapacityRow]:
    """Both capacities of all candidates, without goals, for what they can serve.

    That is each workload type, the mix in demand, and for the candidates that the planner `milp` rents the mix that it
    gives them. Of a scenario with a fleet of its own, the candidates are its replicas, each with the mix that it gets.

    Args:
        job: The scenario and its candidates.
        watcher: Told how it goes.

    Raises:
        RunError: The scenario gives capacities instead of models.
    """
    if job.trace is None:
        msg = f"{job.loaded.label} gives capacities instead of models: there is nothing to compare them with"
        raise RunError(msg)
    watcher = Watcher() if watcher is None else watcher
    service_time = make_service_time(job.loaded)
    simulated = make_simulated_capacity(job.loaded)
    plan = _plan(job)
    candidates = plan.problem.candidates
    planned = _planned(plan)
    watcher.stage("measuring capacities", len(candidates))
    rows = []
    for n_done, candidate in enumerate(candidates):
        watcher.progress(0.0, n_done)
        demand = job.problem.demand(candidate.model)
        kinds = kinds_of(demand)
        mixes = [(name, [kind._replace(share=1.0)]) for name, kind in zip(demand.type_names, kinds, strict=True)]
        mixes.append((MIX, kinds))
        if candidate.name in planned:
            mixes.append((PLANNED, planned[candidate.name]))
        spec = candidate.spec
        if spec is None:
            continue
        for workload, served in mixes:
            closed_form_rps = capacity_of_mix_rps(spec, service_time, served)
            if closed_form_rps > 0:
                tp = max(stage.tp for stage in spec.stages)
                rates = (closed_form_rps, simulated.rps(spec, served))
                rows.append(CapacityRow(candidate.name, tuple(spec.gpus), tp, spec.pp, workload, *rates))
    return rows


def _plan(job: Job) -> Plan:
    scenario = job.loaded.scenario
    if scenario.fleets:
        return job.plan(PlannerChoice(name=scenario.default_planner))
    return get_planner("milp").plan(job.problem)


def _planned(plan: Plan) -> dict[str, list[Kind]]:
    """The mix that a plan gives each candidate that serves something, by its name."""
    problem = plan.problem
    mixes = {}
    for candidate, count, shares in zip(problem.candidates, plan.counts, plan.assignment, strict=True):
        demand = problem.demand(candidate.model)
        served = [share * amount for share, amount in zip(shares, demand.amounts, strict=True)]
        total = math.fsum(served)
        if count > 0 and total > 0:
            kinds = zip(kinds_of(demand), served, strict=True)
            mixes[candidate.name] = [kind._replace(share=amount / total) for kind, amount in kinds]
    return mixes


def summarise(rows: Sequence[CapacityRow]) -> list[ErrorSummary]:
    """Errors of all rows, by what replicas and requests are like, and of the mixes of the plan by stages."""
    summaries = []
    for family in (_everything, _tp, _pp, _n_gpu_types, _workload, _planned_pp):
        members: dict[str, list[CapacityRow]] = {}
        for row in rows:
            if group := family(row):
                members.setdefault(group, []).append(row)
        names = list(members) if family is _workload else sorted(members)
        summaries += [_summary(name, members[name]) for name in names]
    return summaries


def _everything(_: CapacityRow) -> str:
    return "all"


def _tp(row: CapacityRow) -> str:
    return f"tp {row.tp}"


def _pp(row: CapacityRow) -> str:
    return f"pp {row.pp}"


def _n_gpu_types(row: CapacityRow) -> str:
    return "one GPU type" if len(row.gpus) == 1 else "two GPU types"


def _workload(row: CapacityRow) -> str:
    return row.workload


def _planned_pp(row: CapacityRow) -> str:
    return f"{PLANNED}, pp {row.pp}" if row.workload == PLANNED else ""


def _summary(group: str, rows: Iterable[CapacityRow]) -> ErrorSummary:
    errors = np.array([row.error for row in rows])
    sizes = np.abs(errors)
    p95 = np.quantile(sizes, 0.95)
    return ErrorSummary(group, len(errors), float(errors.mean()), float(sizes.mean()), float(p95), float(sizes.max()))


def to_dict(rows: Sequence[CapacityRow]) -> dict[str, Any]:
    """As `hetserve capacity --json` prints it."""
    return {
        "summary": [asdict(summary) for summary in summarise(rows)],
        "capacities": [asdict(row) | {"error": row.error} for row in rows],
    }
