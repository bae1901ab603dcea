"""The largest load that a fleet carries within the SLO, in simulation.

A load is a multiple of the requests that a scenario offers: the same requests in the same order, of which all times of
arrival are divided by it, so that each seed has the same chance at all loads. Where users of a closed loop send them,
it is the number of users; other requests come as they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from planners import PlanStatus
from planners.problem.plan_json import plan_to_dict
from scenarios.errors import RunError
from scenarios.file.loaded import LoadedScenario
from scenarios.file.schema import PlannerChoice
from scenarios.runs.job import Job
from scenarios.runs.watcher import Watcher
from scenarios.study.compare import Estimate
from scenarios.study.load_search import LoadSearch, Tried
from sim import SLO, Deployment, compute_metrics
from traces import ClosedLoop, Trace

LATENCIES = ("ttft_s_p50", "ttft_s_p99", "tpot_s_p50", "tpot_s_p99")


@dataclass(frozen=True, slots=True)
class GivenFleet:
    """A fleet whose load is looked for.

    Attributes:
        name: What it is called: the planner, or `given`.
        deployment: What runs.
        plan: Where it comes from, in the form of `plan --json`.
    """

    name: str
    deployment: Deployment
    plan: dict[str, Any]

    @classmethod
    def of_planner(cls, loaded: LoadedScenario, choice: PlannerChoice, seed: int) -> GivenFleet | tuple[str, ...]:
        """What a planner rents for the requests of a seed, or why it rents nothing.

        Raises:
            RunError: The planner would plan again in the course of a run.
        """
        if choice.policy != "static":
            msg = f"{choice.label}: the largest load is that of a fleet that stays as it is; name another --planner"
            raise RunError(msg)
        job = Job.of_plan(loaded, seed) if choice.is_fleet else Job.prepare(loaded, seed)
        plan = job.plan(choice)
        deployment = job.deployment(plan)
        if plan.status is not PlanStatus.OK or deployment is None:
            return plan.diagnostics
        return cls(choice.label, deployment, plan_to_dict(plan))

    @classmethod
    def of_file(cls, loaded: LoadedScenario, path: Path, seed: int) -> GivenFleet:
        """The fleet of a plan, from the plans.json of a run or `plan --json`.

        Raises:
            RunError: See `Job.read_plan`.
        """
        deployment, plan = Job.of_plan(loaded, seed).read_plan(path)
        return cls("given", deployment, plan)


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """A load, and what it was served like with each seed.

    Attributes:
        load: A multiple of the offered requests, or a number of users.
        offered_rps: Requests/s that came, by seed; None where users send them.
        duration_s: From the first request to the last, by seed; of users, until the last request has ended.
        metrics: Attainment, throughput and latencies by seed.
    """

    load: float
    offered_rps: tuple[float | None, ...]
    duration_s: tuple[float, ...]
    metrics: tuple[dict[str, float | None], ...]

    def mean(self, name: str) -> Estimate | None:
        """Mean of a metric over the seeds that have it."""
        return Estimate.of([value for of_seed in self.metrics if (value := of_seed[name]) is not None])

    @property
    def attainments(self) -> tuple[float, ...]:
        """Share of requests within the SLO, by seed."""
        return tuple(of_seed["slo_attainment"] or 0.0 for of_seed in self.metrics)


@dataclass(frozen=True, slots=True)
class MaxRate:
    """The largest load of a fleet.

    Attributes:
        scenario: Label of the scenario.
        fleet: The fleet.
        seeds: The seeds.
        search: What was looked for.
        points: The loads that were tried, in order of load.
        offered_rps: Requests/s of the scenario itself, by seed; None where users send them.
    """

    scenario: str
    fleet: GivenFleet
    seeds: tuple[int, ...]
    search: LoadSearch
    points: tuple[LoadPoint, ...]
    offered_rps: tuple[float | None, ...]

    @property
    def tried(self) -> list[Tried]:
        """The loads and attainments."""
        return [Tried(point.load, point.attainments) for point in self.points]

    @property
    def largest(self) -> tuple[float | None, ...]:
        """The largest load by seed; 0 if none was carried, None if all that were tried were."""
        found = (self.search.bracket(self.tried, i).largest(self.search.goal) for i in range(len(self.seeds)))
        return tuple(int(one) if one is not None and self.search.is_whole else one for one in found)

    @property
    def mean(self) -> Estimate | None:
        """The mean over seeds and its interval; None if one seed carried all loads."""
        return Estimate.of([one for one in self.largest if one is not None]) if None not in self.largest else None

    @property
    def mean_rps(self) -> Estimate | None:
        """The same in requests/s; None for users."""
        pairs = zip(self.largest, self.offered_rps, strict=True)
        rates = [None if load is None or rps is None else load * rps for load, rps in pairs]
        return Estimate.of([rate for rate in rates if rate is not None]) if None not in rates else None

    @property
    def uneven_seeds(self) -> tuple[int, ...]:
        """Seeds that met the goal at a larger load than one at which they missed it."""
        return tuple(seed for i, seed in enumerate(self.seeds) if self.search.is_uneven(self.tried, i))

    def to_dict(self) -> dict[str, Any]:
        """As `max-rate --json` prints it."""
        return {
            "scenario": self.scenario,
            "fleet": self.fleet.name,
            "plan": self.fleet.plan,
            "unit": "users" if self.search.is_whole else "x the offered requests",
            "goal": self.search.goal,
            "seeds": list(self.seeds),
            "largest_by_seed": list(self.largest),
            "largest": None if self.mean is None else self.mean._asdict(),
            "largest_rps": None if self.mean_rps is None else self.mean_rps._asdict(),
            "uneven_seeds": list(self.uneven_seeds),
            "loads": [
                {
                    "load": point.load,
                    "offered_rps": list(point.offered_rps),
                    "duration_s": list(point.duration_s),
                    "metrics": list(point.metrics),
                }
                for point in self.points
            ],
        }


def max_rate(
    loaded: LoadedScenario,
    fleet: GivenFleet,
    seeds: Sequence[int] | None = None,
    *,
    n_jobs: int = 1,
    watcher: Watcher | None = None,
) -> MaxRate:
    """The largest load that a fleet carries within the SLO of a scenario.

    Args:
        loaded: The scenario.
        fleet: The fleet, which is the same for all seeds.
        seeds: Instead of the scenario's.
        n_jobs: Processes to split each simulation over.
        watcher: Told how it goes.

    Raises:
        RunError: There is no SLO, no load to scale, or nothing that the fleet serves.
        TraceError: A trace cannot be read.
    """
    watcher = Watcher() if watcher is None else watcher
    jobs = [Job.of_plan(loaded, seed) for seed in (loaded.scenario.seeds if seeds is None else seeds)]
    slo = jobs[0].slo
    if slo.asks_for_nothing:
        msg = f"{loaded.label}: slo has no limit, so that any load is carried; give slo.ttft_s, tpot_s or e2e_s"
        raise RunError(msg)
    traces = [_trace_of(job) for job in jobs]
    search = _search(traces, fleet, slo)
    points: dict[float, LoadPoint] = {}
    while (load := search.next_load([Tried(one.load, one.attainments) for one in points.values()])) is not None:
        what = f"{load:g} users" if search.is_whole else f"{load:g} x the offered requests"
        watcher.stage(f"{loaded.label}, {fleet.name}: {what}", len(traces[0]))
        points[load] = _tried(jobs, traces, fleet, load, n_jobs, watcher)
    in_order = tuple(points[load] for load in sorted(points))
    offered = tuple(None if search.is_whole else trace.rate_rps for trace in traces)
    return MaxRate(loaded.label, fleet, tuple(job.seed for job in jobs), search, in_order, offered)


def at_load(trace: Trace, load: float) -> Trace:
    """The requests of a trace at a load: so many times as fast or, where users send them, from so many users."""
    n_users = _n_users(trace)
    if n_users == 0:
        return trace if load == 1 else trace.scale_rate(load)
    return replace(trace, loops=tuple(_with_users(loop, load / n_users) for loop in trace.loops))


def _with_users(loop: Any, factor: float) -> Any:
    return replace(loop, users=max(1, round(loop.users * factor))) if isinstance(loop, ClosedLoop) else loop


def _n_users(trace: Trace) -> int:
    return sum(loop.users for loop in trace.loops if isinstance(loop, ClosedLoop))


def _trace_of(job: Job) -> Trace:
    trace = job.trace
    if trace is None:
        msg = f"{job.loaded.label} gives capacities instead of models: nothing can be simulated"
        raise RunError(msg)
    if _n_users(trace) == 0 and trace.duration_s == 0:
        msg = f"{job.loaded.label}: all requests arrive at once: there is no rate that could be larger"
        raise RunError(msg)
    return trace


def _search(traces: Sequence[Trace], fleet: GivenFleet, slo: SLO) -> LoadSearch:
    """Begins with what the plan promises, if it does, or else with what is offered."""
    n_users = _n_users(traces[0])
    if n_users > 0:
        return LoadSearch(slo.attainment, n_users, most=len(traces[0]), is_whole=True)
    promised_rps = sum(fleet.plan.get("promised_rps", {}).values())
    return LoadSearch(slo.attainment, promised_rps / traces[0].rate_rps if promised_rps > 0 else 1.0)


def _tried(
    jobs: Sequence[Job], traces: Sequence[Trace], fleet: GivenFleet, load: float, n_jobs: int, watcher: Watcher
) -> LoadPoint:
    offered: list[float | None] = []
    durations, metrics = [], []
    for job, trace in zip(jobs, traces, strict=True):
        sent = at_load(trace, load)
        result = job.simulate(fleet.name, fleet.deployment, fleet.plan, watcher.progress, trace=sent, n_jobs=n_jobs)
        sim = job.loaded.scenario.sim
        found = compute_metrics(result, job.slo, sim.warmup_s, sim.cooldown_s)
        has_users = _n_users(trace) > 0
        offered.append(None if has_users else sent.rate_rps)
        durations.append(float(result.manifest["end_s"]) if has_users else sent.duration_s)
        metrics.append({name: found[name] for name in ("slo_attainment", "throughput_rps", *LATENCIES)})
    return LoadPoint(load, tuple(offered), tuple(durations), tuple(metrics))
