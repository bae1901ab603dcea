"""One run: plan, simulate, keep the result."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import yaml

from planners import Plan, PlanningProblem, PlanStatus, get_planner
from scenarios.build import make_gpu_types, make_models, make_problem, make_slo, make_trace
from scenarios.errors import RunError
from scenarios.loaded import LoadedScenario
from scenarios.markets import make_market
from scenarios.plan_file import deployment_to_dict, read_plan
from scenarios.schema import PlannerChoice
from sim import SLO, Clients, Deployment, Market, ServiceTimeModel, SimulationResult, compute_timeline, simulate
from sim.protocols import Replanner
from sim.result import MANIFEST
from traces import Trace

RESOLVED = "scenario.resolved.yaml"
"""File in a run's directory: the scenario, with all defaults and overrides."""

FORMAT = 2
"""Version of the result directories; a change that old readers would misread raises it."""


def read_result(directory: Path) -> SimulationResult:
    """Read a run that `Job.save` kept.

    Raises:
        ResultError: There is none, or it is damaged.
        RunError: Another version of hetserve kept it, in another form.
    """
    result = SimulationResult.load(directory)
    found = result.manifest.get("format")
    if found != FORMAT:
        by = result.manifest.get("hetserve", "an unknown version")
        msg = f"{directory} was kept in format {found} by hetserve {by}; this one reads format {FORMAT}: run it again"
        raise RunError(msg)
    return result


def run_directories(directory: Path) -> list[Path]:
    """All finished runs in a directory, or the directory itself if it is one.

    Planners come in the order of their scenario, of the one that has most; of one planner, scenarios and seeds by name.

    Raises:
        RunError: There are none.
    """
    manifests = sorted(directory.rglob(MANIFEST))
    if not manifests:
        msg = f"{directory} holds no finished run"
        raise RunError(msg)
    directories = [manifest.parent for manifest in manifests]
    scenarios = [(one / RESOLVED).read_text() for one in directories if (one / RESOLVED).exists()]
    order = max(map(_planners, scenarios), key=len, default=())
    places = {f"planner={label}": place for place, label in enumerate(order)}
    return sorted(directories, key=lambda one: places.get(one.parent.name, len(places)))


@cache
def _planners(resolved_yaml: str) -> tuple[str, ...]:
    return tuple(choice["label"] for choice in yaml.safe_load(resolved_yaml)["planners"])


def run_directory(out: Path, scenario: str, planner: str, seed: int) -> Path:
    """Where a run is kept: in the form that `polars.scan_parquet(..., hive_partitioning=True)` reads."""
    return out / f"scenario={scenario}" / f"planner={planner}" / f"seed={seed}"


class Watcher:
    """Told how a series of runs goes; this one says nothing."""

    def stage(self, description: str, n_requests: int | None = None) -> None:
        """Something begins, perhaps the simulation of so many requests."""

    def progress(self, simulated_s: float, n_arrived: int) -> None:
        """So many requests have arrived."""


class Step(NamedTuple):
    """What was to run from a time on, and the plan that it comes from."""

    t_s: float
    plan: dict[str, Any]
    deployment: Deployment


class Served(NamedTuple):
    """A run, and all that was to run in its course."""

    result: SimulationResult
    steps: tuple[Step, ...]


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
    def prepare(cls, loaded: LoadedScenario, seed: int, *, keep_dominated: bool = False) -> Job:
        """Make the trace and the planning problem of one seed, perhaps with candidates that no best plan needs.

        Raises:
            TraceError: A trace cannot be read.
            PlannerError: A model fits on no GPU type of the market.
        """
        trace = make_trace(loaded, seed) if loaded.scenario.workload else None
        problem = make_problem(loaded, trace, seed, keep_dominated=keep_dominated)
        service_time = problem.trial.service_time if problem.trial is not None else None
        return cls(loaded, seed, trace, problem, service_time, make_market(loaded, seed), make_slo(loaded.scenario))

    @property
    def n_requests(self) -> int:
        """Number of requests to serve."""
        return 0 if self.trace is None else len(self.trace)

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

    def plan(self, choice: PlannerChoice) -> Plan:
        """What a planner says."""
        return replace(get_planner(choice.name, choice.options).plan(self.problem), planner=choice.label)

    def deployment(self, plan: Plan) -> Deployment | None:
        """What a plan wants to run; None if there is none."""
        if plan.status is PlanStatus.OK and self.trace is None:
            msg = f"{self.loaded.label} gives capacities instead of models: it can be planned, but not simulated"
            raise RunError(msg)
        return plan.deployment(self.problem)

    def read_plan(self, path: Path) -> tuple[Deployment, dict[str, Any]]:
        """The deployment and plan of an earlier run, on this scenario's models and GPU types."""
        scenario = self.loaded.scenario
        return read_plan(path, make_models(scenario), make_gpu_types(self.loaded))

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
        """
        scenario = self.loaded.scenario
        settings = scenario.sim
        trace = self.trace if trace is None else trace
        if trace is None or self.service_time is None:
            msg = "there are no requests to simulate"
            raise RunError(msg)
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
            replanner=replanner,
            progress=progress,
            n_jobs=n_jobs,
        )
        manifest = result.manifest | {
            "format": FORMAT,
            "hetserve": version("hetserve"),
            "python": platform.python_version(),
            "scenario": self.loaded.label,
            "planner": planner,
            "seed": self.seed,
            "slo": asdict(self.slo),
            "warmup_s": settings.warmup_s,
            "cooldown_s": settings.cooldown_s,
            "offered_rps": trace.rate_rps if trace.duration_s > 0 else None,
            "changes": list(self.loaded.changes),
            "plan": plan,
        }
        return replace(result, manifest=manifest)

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
            "plans.json": json.dumps(plans, indent=2) + "\n",
            RESOLVED: self.loaded.resolved_yaml(),
            "timeline.parquet": compute_timeline(result),
        }
        result.save(directory, files, force=force)
        return directory
