"""The runs of one scenario: made one after the other, or read again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from scenarios.errors import RunError
from scenarios.file.loaded import LoadedScenario
from scenarios.file.schema import PlannerChoice
from scenarios.runs.asked import asked_fields, changed_fields
from scenarios.runs.attempts import Attempts, Failure, attempt, failure_file, keep_failure
from scenarios.runs.directory import RESOLVED, check_run, is_whole, read_result, run_directories, run_directory
from scenarios.runs.job import Job
from scenarios.runs.policies import serve
from scenarios.runs.row import Row
from scenarios.runs.watcher import Watcher
from sim import ResultError
from sim.results.storage import clear_leftovers


def run_rows(
    loaded: LoadedScenario,
    out: Path,
    *,
    planners: Sequence[PlannerChoice] | None = None,
    seeds: Sequence[int] | None = None,
    force: bool = False,
    resume: bool = False,
    attempts: Attempts | None = None,
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
        resume: Read runs that are there, instead of making them; those that are damaged are made again.
        attempts: How often each run is tried; one that fails all the same becomes a row that says so, with its
            traceback in a file beside its directory. None: what a run raises is raised.
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
        for choice in planners:
            clear_leftovers(run_directory(out, loaded.label, choice.label, seed))
        done = _finished(loaded, out, planners, seed, watcher) if resume else {}
        if len(done) == len(planners):
            rows += read_rows(done.values())
            continue
        watcher.stage(f"{loaded.label}, seed {seed}: requests and capacities")
        are_given = all(choice.is_fleet for choice in planners)
        job = Job.of_plan(loaded, seed) if are_given else Job.prepare(loaded, seed)
        if not rows:
            job.say_notes(watcher)
        if not force and not resume:
            job.check_is_new(out, planners)
        for choice in planners:
            if choice.label in done:
                rows += read_rows([done[choice.label]])
            else:
                make = partial(_make, job, choice, out, force=force, resume=resume, n_jobs=n_jobs, watcher=watcher)
                rows.append(make() if attempts is None else _tried(job, choice, out, make, attempts))
    return rows


def _make(
    job: Job, choice: PlannerChoice, out: Path, *, force: bool, resume: bool, n_jobs: int, watcher: Watcher
) -> Row:
    """Plan, simulate and keep one run."""
    about = f"{job.loaded.label}, seed {job.seed}"
    directory = job.directory(out, choice.label)
    failure_file(directory).unlink(missing_ok=True)
    watcher.stage(f"{about}: planning with {choice.label}")
    plan = job.plan(choice)
    deployment = job.deployment(plan)
    if deployment is None:
        return Row.without_run(job.loaded.label, job.seed, plan, job.problem)
    watcher.stage(f"{about}: simulating the fleet of {choice.label}", job.n_requests)
    served = serve(job, choice, plan, deployment, watcher.progress, n_jobs=n_jobs)
    try:
        job.save(served, out, force=force or (resume and not is_whole(directory)))
    except ResultError:
        if not resume or not is_whole(directory):
            raise
        return Row.from_result(read_result(directory), directory)  # another process was the first to publish it
    return Row.from_result(served.result, directory)


def _tried(job: Job, choice: PlannerChoice, out: Path, make: Callable[[], Row], attempts: Attempts) -> Row:
    """A run, or if it fails the row that says so."""
    try:
        return attempt(make, attempts)
    except Failure as failure:
        return failed_row(job.loaded, choice.label, job.seed, out, failure)


def failed_row(loaded: LoadedScenario, planner: str, seed: int, out: Path, failure: Failure) -> Row:
    """The row of a run that failed; its traceback is kept beside the directory that it was to have."""
    keep_failure(run_directory(out, loaded.label, planner, seed), failure)
    return Row(loaded.label, planner, seed, "failed", {"planner": planner, "diagnostics": [failure.reason]})


def kept_row(loaded: LoadedScenario, planner: str, seed: int, out: Path) -> Row | None:
    """The row of a run that is there and whole; None if it is not."""
    directory = run_directory(out, loaded.label, planner, seed)
    return Row.from_result(read_result(directory), directory) if is_whole(directory) else None


def _finished(
    loaded: LoadedScenario, out: Path, planners: Sequence[PlannerChoice], seed: int, watcher: Watcher
) -> dict[str, Path]:
    """Directories of the planners' runs that are there and whole.

    Raises:
        RunError: One was made from another version of the scenario, or by another version of hetserve.
    """
    now = loaded.resolved_yaml()
    finished = {}
    for choice in planners:
        directory = run_directory(out, loaded.label, choice.label, seed)
        if not directory.exists():
            continue
        try:
            check_run(directory)
        except ResultError as error:
            watcher.note(f"{error}; it is made again")
            continue
        before = asked_fields((directory / RESOLVED).read_text(), choice.label)
        changed = changed_fields(before, asked_fields(now, choice.label))
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            what = f"another version of the scenario ({changed[0]}{more})"
            msg = f"{directory} was made from {what}; choose another --out, or use --force"
            raise RunError(msg)
        finished[choice.label] = directory
    return finished


def read_rows(directories: Iterable[Path]) -> list[Row]:
    """The rows of all finished runs in some directories, in the order of `run_directories`.

    Raises:
        RunError: A directory holds none, or one in another format.
    """
    runs = [run for directory in directories for run in run_directories(directory)]
    return [Row.from_result(read_result(run), run) for run in runs]
