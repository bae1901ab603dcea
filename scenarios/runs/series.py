"""The runs of one scenario: made one after the other, or read again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from scenarios.errors import RunError
from scenarios.file.loaded import LoadedScenario
from scenarios.file.schema import PlannerChoice
from scenarios.file.yaml_lines import parse_value
from scenarios.runs.directory import RESOLVED, read_result, run_directories, run_directory
from scenarios.runs.job import Job
from scenarios.runs.policies import serve
from scenarios.runs.row import Row
from scenarios.runs.watcher import Watcher
from sim.results.result import MANIFEST


def run_rows(
    loaded: LoadedScenario,
    out: Path,
    *,
    planners: Sequence[PlannerChoice] | None = None,
    seeds: Sequence[int] | None = None,
    force: bool = False,
    resume: bool = False,
    n_jobs: int = 1,
    watcher: Watcher | None = None,
) -> list[Row]:
    """Plan, simulate and keep a run for each seed and planner of a scenario.

    Args:
        loaded: The scenario.
        out: Where runs are kept.
        planners: Instead of the scenario's.
        seeds: Instead of the scenario's.
        force: Replace runs that are there.
        resume: Read runs that are there, instead of making them.
        n_jobs: Processes to split each simulation over.
        watcher: Told how it goes.

    Raises:
        RunError: A run is there already; nothing has been run then.
        ScenarioError, TraceError, PlannerError, SimError: See `Job`.
    """
    watcher = Watcher() if watcher is None else watcher
    planners = loaded.scenario.planners if planners is None else planners
    rows = []
    for seed in loaded.scenario.seeds if seeds is None else seeds:
        done = _finished(loaded, out, planners, seed) if resume else {}
        if len(done) == len(planners):
            rows += read_rows(done.values())
            continue
        watcher.stage(f"{loaded.label}, seed {seed}: requests and capacities")
        job = Job.prepare(loaded, seed)
        if not rows:
            job.say_notes(watcher)
        if not force and not resume:
            job.check_is_new(out, planners)
        for choice in planners:
            if choice.label in done:
                rows += read_rows([done[choice.label]])
                continue
            watcher.stage(f"{loaded.label}, seed {seed}: planning with {choice.label}")
            plan = job.plan(choice)
            deployment = job.deployment(plan)
            if deployment is None:
                rows.append(Row.without_run(loaded.label, seed, plan, job.problem))
                continue
            watcher.stage(f"{loaded.label}, seed {seed}: simulating the fleet of {choice.label}", job.n_requests)
            served = serve(job, choice, plan, deployment, watcher.progress, n_jobs=n_jobs)
            directory = job.save(served, out, force=force or resume)
            rows.append(Row.from_result(served.result, directory))
    return rows


def _finished(loaded: LoadedScenario, out: Path, planners: Sequence[PlannerChoice], seed: int) -> dict[str, Path]:
    """Directories of the planners' runs that are there.

    Raises:
        RunError: One was made from another version of the scenario.
    """
    directories = {choice.label: run_directory(out, loaded.label, choice.label, seed) for choice in planners}
    finished = {label: directory for label, directory in directories.items() if (directory / MANIFEST).exists()}
    now = loaded.resolved_yaml()
    for label, directory in finished.items():
        if _asked((directory / RESOLVED).read_text(), label) != _asked(now, label):
            msg = f"{directory} was made from another version of the scenario; choose another --out, or use --force"
            raise RunError(msg)
    return finished


def _asked(resolved: str, label: str) -> tuple[dict[str, Any], Any]:
    """What a planner's run depends on: its options, and a scenario without other planners, seeds and words."""
    data = parse_value(resolved)
    choice = next((choice for choice in data["planners"] if choice["label"] == label), None)
    return {key: part for key, part in data.items() if key not in {"planners", "seeds", "description"}}, choice


def read_rows(directories: Iterable[Path]) -> list[Row]:
    """The rows of all finished runs in some directories, in the order of `run_directories`.

    Raises:
        RunError: A directory holds none, or one in another format.
    """
    runs = [run for directory in directories for run in run_directories(directory)]
    return [Row.from_result(read_result(run), run) for run in runs]
