"""One run: plan, simulate, keep the result."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from planners import Objective, Plan, PlanningProblem, PlanStatus, get_planner
from planners.problem.plan import plan_by
from scenarios.errors import RunError
from scenarios.file.events import names_of
from scenarios.file.loaded import LoadedScenario
from scenarios.file.schema import PlannerChoice
from scenarios.inputs.fleet import fleet_plan
from scenarios.inputs.market import make_market
from scenarios.inputs.problem import bare_problem, make_problem
from scenarios.inputs.settings import (
    basis_of,
    engine_notes,
    make_engine,
    make_gpu_types,
    make_models,
    make_network,
    make_service_time,
    make_slo,
)
from scenarios.inputs.workload import make_trace
from scenarios.runs.directory import FORMAT, PLANS, RESOLVED, run_directory
from scenarios.runs.plan_file import deployment_to_dict, read_deployments, read_plan
from scenarios.runs.watcher import Watcher
from sim import (
    SLO,
    Clients,
    Deployment,
    Market,
    Observer,
    ServiceTimeModel,
    SimulationResult,
    compute_timeline,
    simulate,
)
from sim.protocols import Replanner
from traces import ClosedLoop, Trace


class Scheduled(NamedTuple):
    """What was to run from a time on, and the plan that it comes from."""

    t_s: float
    plan: dict[str, Any]
    deployment: Deployment


class Served(NamedTuple):
    """A run, and all that was to run in its course."""

    result: SimulationResult
    steps: tuple[Scheduled, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """A run to be made: a scenario, its requests for one seed, and the planning problem they pose."""

    loaded: LoadedScenario
    seed: int
    trace: Trace | None
    problem: PlanningProblem
    service_time: ServiceTimeModel | None
    market: Market | None
    slo: SLO

    @classmethod
    def prepare(
        cls, loaded: LoadedScenario, seed: int, *, keep_dominated: bool = False, any_number: bool = False
    ) -> Job:
        """Make the trace and the planning problem of one seed, perhaps with candidates that no best plan needs.

        Raises:
            TraceError: A trace cannot be read.
            PlannerError: A model fits on no GPU type of the market.
        """
        trace = make_trace(loaded, seed) if loaded.scenario.workload else None
        problem = make_problem(loaded, trace, seed, keep_dominated=keep_dominated, any_number=any_number)
        service_time = problem.trial.service_time if problem.trial is not None else None
        return cls(loaded, seed, trace, problem, service_time, make_market(loaded, seed), make_slo(loaded.scenario))

    @classmethod
    def of_plan(cls, loaded: LoadedScenario, seed: int) -> Job:
        """The requests of one seed, for a run whose plan is there: there are no candidates, so that nothing is planned.

        Raises:
            TraceError: A trace cannot be read.
            PlannerError: There is no rate where one is needed.
        """
        trace = make_trace(loaded, seed) if loaded.scenario.workload else None
        problem = bare_problem(loaded, trace, seed)
        service_time = None if trace is None else make_service_time(loaded)
        return cls(loaded, seed, trace, problem, service_time, make_market(loaded, seed), make_slo(loaded.scenario))

    @property
    def n_requests(self) -> int:
        """Number of requests to serve."""
        return 0 if self.trace is None else len(self.trace)

    def say_notes(self, watcher: Watcher) -> None:
        """Tell what readers left out, sorted or took for granted, and what is not known of the serving engine."""
        for note in () if self.trace is None else self.trace.notes:
            watcher.note(note)
        if self.trace is not None and any(isinstance(loop, ClosedLoop) for loop in self.trace.loops):
            is_at_once = self.problem.objective is Objective.MAKESPAN
            told = "all its requests at once" if is_at_once else "the mix of its requests only"
            watcher.note(f"a closed loop has no rate of its own: planners are told {told}")
        for note in engine_notes(self.loaded):
            watcher.note(note)

    @property
    def too_long(self) -> list[str]:
        """Which requests no replica can hold, in words: a line for each model that has some."""
        demands = self.problem.demands
        return [demand.too_long.in_words(demand.model) for demand in demands if demand.too_long is not None]

    def check_is_new(self, out: Path, choices: Iterable[PlannerChoice]) -> None:
        """Make sure that no run of these planners is there already.

        Raises:
            RunError: There is one.
        """
        for choice in choices:
            directory = self.directory(out, choice.label)
            if directory.exists():
                msg = f"{directory} exists already; choose another directory with --out or use --force"
                raise RunError(msg)

    def problem_of(self, choice: PlannerChoice) -> PlanningProblem:
        """The problem that a planner is given: with its own objective, if the scenario gives it one."""
        if choice.objective is None:
            return self.problem
        return replace(self.problem, objective=Objective(choice.objective))

    def plan(self, choice: PlannerChoice) -> Plan:
        """What a planner says, or the fleet that the scenario gives."""
        if choice.is_fleet:
            return replace(self._given_fleet(choice.name), planner=choice.label)
        planner = get_planner(choice.name, choice.options)
        return replace(plan_by(planner, self.problem_of(choice)), planner=choice.label)

    def _given_fleet(self, name: str) -> Plan:
        if self.service_time is None:
            msg = f"{self.loaded.label} gives capacities instead of models: nothing can run"
            raise RunError(msg)
        return fleet_plan(self.loaded, name, self.problem, self.service_time)

    def deployment(self, plan: Plan) -> Deployment | None:
        """What a plan wants to run; None if there is none."""
        if plan.status is PlanStatus.OK and self.trace is None:
            msg = f"{self.loaded.label} gives capacities instead of models: it can be planned, but not simulated"
            raise RunError(msg)
        return plan.deployment()

    def read_plan(self, path: Path) -> tuple[Deployment, dict[str, Any]]:
        """The deployment and plan of an earlier run, on this scenario's models and GPU types."""
        return read_plan(path, make_models(self.loaded), make_gpu_types(self.loaded), self.problem.offers)

    def read_plans(self, path: Path) -> tuple[Scheduled, ...]:
        """All that was to run in the course of an earlier run, on this scenario's models and GPU types."""
        steps = read_deployments(path, make_models(self.loaded), make_gpu_types(self.loaded))
        return tuple(Scheduled(t_s, plan, deployment) for t_s, deployment, plan in steps)

    def directory(self, out: Path, planner: str) -> Path:
        """Where the run of a planner is kept."""
        return run_directory(out, self.loaded.label, planner, self.seed)

    def simulate(
        self,
        planner: str,
        deployment: Deployment,
        plan: dict[str, Any],
        progress: Callable[[float, int], None] | None = None,
        trace: Trace | None = None,
        n_jobs: int = 1,
        replanner: Replanner | None = None,
        observer: Observer | None = None,
    ) -> SimulationResult:
        """Serve the trace; the manifest says how the run came about.

        Args:
            planner: Name for the run.
            deployment: What runs.
            plan: Where it comes from, for the manifest.
            progress: Called now and then with the simulated time and the number of requests arrived.
            trace: Requests to serve instead of those that were planned for.
            n_jobs: Processes to split the run over.
            replanner: What changes the deployment during the run.
            observer: Notes what replicas do, step by step.
        """
        scenario = self.loaded.scenario
        settings = scenario.sim
        trace = self.trace if trace is None else trace
        if trace is None or self.service_time is None:
            msg = "there are no requests to simulate"
            raise RunError(msg)
        _check_some_are_served(trace, deployment)
        result = simulate(
            deployment,
            trace,
            service_time=self.service_time,
            router=settings.router,
            length_predictor=settings.length_predictor,
            stepping=settings.stepping,
            horizon_s=settings.horizon_s,
            prefix_caching=settings.prefix_caching,
            prefix_segment_tokens=settings.prefix_segment_tokens,
            market=self.market,
            clients=None if settings.clients is None else Clients(**settings.clients.model_dump(), seed=self.seed),
            max_queued_requests=settings.max_queued_requests,
            engine=make_engine(self.loaded),
            replanner=replanner,
            progress=progress,
            n_jobs=n_jobs,
            observer=observer,
            network=make_network(scenario),
        )
        how = self._how_it_came_about(planner, plan, trace)
        return replace(result, manifest=result.manifest | how)

    def _how_it_came_about(self, planner: str, plan: dict[str, Any], trace: Trace) -> dict[str, Any]:
        """What the manifest says beside the simulator's own settings."""
        scenario = self.loaded.scenario
        return {
            "format": FORMAT,
            "hetserve": version("hetserve"),
            "python": platform.python_version(),
            "scenario": self.loaded.label,
            "planner": planner,
            "seed": self.seed,
            "start": None if scenario.start is None else scenario.start.isoformat(),
            "slo": asdict(self.slo),
            "budget_usd_per_h": scenario.planning.budget_usd_per_h,
            "warmup_s": scenario.sim.warmup_s,
            "cooldown_s": scenario.sim.cooldown_s,
            "offered_rps": trace.rate_rps if trace.duration_s > 0 and not trace.loops else None,
            "changes": list(self.loaded.changes),
            "events": names_of(scenario.events),
            "basis": basis_of(self.loaded),
            "plan": plan,
        }

    def save(self, served: Served, out: Path, *, force: bool = False) -> Path:
        """Keep a run; returns its directory.

        Raises:
            ResultError: The directory exists, or cannot be written.
        """
        result = served.result
        directory = self.directory(out, result.manifest["planner"])
        plans = [
            {"t_s": step.t_s, "plan": step.plan, "deployment": deployment_to_dict(step.deployment)}
            for step in served.steps
        ]
        files: dict[str, str | pl.DataFrame] = {
            PLANS: json.dumps(plans, indent=2) + "\n",
            RESOLVED: self.loaded.resolved_yaml(),
            "timeline.parquet": compute_timeline(result),
        }
        result.save(directory, files, force=force)
        return directory


def _check_some_are_served(trace: Trace, deployment: Deployment) -> None:
    """Make sure that a fleet serves a model that is asked for.

    Raises:
        RunError: It does not.
    """
    if not set(trace.models) & set(deployment.models):
        asked, served = ", ".join(trace.models), ", ".join(deployment.models)
        msg = f"the requests ask for {asked}; the fleet serves {served}: none of them can be served"
        raise RunError(msg)
