"""Kept runs simulated again in worlds where service times are other than the model says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scenarios.file.load import load
from scenarios.inputs.settings import make_service_time
from scenarios.runs.again import kept_plans
from scenarios.runs.directory import PLANS, RESOLVED, read_result
from scenarios.runs.job import Job, Scheduled
from scenarios.runs.row import Row
from scenarios.runs.watcher import Watcher
from sim.parallel import process_pool
from sim.timing.worlds import World

Figures = Mapping[str, float | None]
"""Metrics of a run by name, and `kept_promise`."""

_LOTS_PER_PROCESS = 4  # so that nobody waits long for the last lot


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A kept run, to be simulated again.

    Attributes:
        directory: Where it is kept.
        planner: Who planned.
        plans: All that was to run in its course.
        replans: What changed it, as its manifest tells.
    """

    directory: Path
    planner: str
    plans: tuple[Scheduled, ...]
    replans: tuple[Mapping[str, Any], ...]

    @classmethod
    def read(cls, directory: Path, job: Job) -> KeptRun:
        """Read it; the job is of its scenario and seed.

        Raises:
            RunError, ResultError: A part of it is missing or wrong.
        """
        manifest = read_result(directory).manifest
        plans = job.read_plans(directory / PLANS)
        return cls(directory, manifest["planner"], plans, tuple(manifest["replans"]))

    @property
    def gpu_types(self) -> set[str]:
        """The GPU types that are rented in its course."""
        return {gpu for step in self.plans for gpu in step.deployment.gpus}

    def is_like(self, other: KeptRun) -> bool:
        """Whether the same runs in the course of both, so that both come out the same."""
        mine, theirs = ([(step.t_s, step.deployment) for step in run.plans] for run in (self, other))
        return mine == theirs and self.replans == other.replans

    def figures(self, job: Job, world: World) -> Figures:
        """What its plans deliver in a world."""
        delay_s = job.loaded.scenario.planning.replanning.delay_s
        first = self.plans[0]
        result = replace(job, service_time=make_service_time(job.loaded, world)).simulate(
            self.planner,
            first.deployment,
            first.plan,
            replanner=kept_plans(self.replans, self.plans, delay_s, self.directory),
        )
        row = Row.from_result(result)
        return {**row.metrics, "kept_promise": row.kept_promise}


def job_of(directory: Path, watcher: Watcher) -> Job:
    """The scenario and the requests of a kept run.

    Raises:
        RunError, ScenarioError, TraceError, PlannerError, SimError: A part of it is missing or wrong.
    """
    kept = read_result(directory)
    watcher.stage(f"{kept.manifest['scenario']}, seed {kept.manifest['seed']}: requests")
    return Job.of_plan(load(str(directory / RESOLVED)), kept.manifest["seed"])


def figures_in_worlds(
    job: Job, runs: Sequence[KeptRun], worlds: Sequence[World], n_jobs: int, watcher: Watcher
) -> list[list[Figures]]:
    """What each run delivers in each world; runs that are alike are simulated once.

    Args:
        job: The scenario and the requests of the runs.
        runs: The runs.
        worlds: The worlds.
        n_jobs: Processes.
        watcher: Told how it goes.
    """
    different: list[KeptRun] = []
    for run in runs:
        if not any(run.is_like(other) for other in different):
            different.append(run)
    watcher.stage(f"{job.loaded.label}, seed {job.seed}: {len(different)} plans in {len(worlds)} worlds")
    by_world: list[list[Figures]] = [[] for _ in worlds]
    for k, figures in _simulated(job, different, worlds, n_jobs):
        by_world[k] = figures
    like = [next(i for i, other in enumerate(different) if run.is_like(other)) for run in runs]
    return [[figures[i] for figures in by_world] for i in like]


def _simulated(
    job: Job, runs: Sequence[KeptRun], worlds: Sequence[World], n_jobs: int
) -> Iterator[tuple[int, list[Figures]]]:
    """Number of a world, and the figures of all runs in it, in any order."""
    if n_jobs == 1:
        for k, world in enumerate(worlds):
            yield k, [run.figures(job, world) for run in runs]
        return
    n_lots = min(len(worlds), _LOTS_PER_PROCESS * n_jobs)
    lots = [dict(list(enumerate(worlds))[lot::n_lots]) for lot in range(n_lots)]
    with process_pool(n_jobs) as pool:
        futures = [pool.submit(_figures_of_lot, job, runs, lot) for lot in lots]
        for future in as_completed(futures):
            yield from future.result().items()


def _figures_of_lot(job: Job, runs: Sequence[KeptRun], worlds: Mapping[int, World]) -> dict[int, list[Figures]]:
    return {k: [run.figures(job, world) for run in runs] for k, world in worlds.items()}
