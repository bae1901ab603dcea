"""Several runs side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from planners import Plan, PlanningProblem
from scenarios.errors import RunError
from scenarios.loaded import LoadedScenario
from scenarios.policies import serve
from scenarios.run import RESOLVED, Job, Watcher, read_result, run_directories, run_directory
from scenarios.schema import PlannerChoice
from sim import SLO, SimulationResult, compute_metrics
from sim.result import MANIFEST
from traces import nearest


@dataclass(frozen=True, slots=True)
class Row:
    """One run, or the reason why there is none.

    Attributes:
        scenario: Label of the scenario.
        planner: Name of the planner.
        seed: Seed of the requests.
        status: `ok`, `infeasible` or `failed`.
        plan: The plan, as `plan --json` prints it.
        metrics: Metrics by the names of the reference; empty without a run.
        offered_rps: Requests/s that arrive; None if they arrive all at once.
        attainment_goal: Share of requests that should meet the SLO; None without a run.
        n_requests: Requests of the trace, outside the window too; None without a run.
        directory: Where the run is kept; None if that is not known.
    """

    scenario: str
    planner: str
    seed: int
    status: str
    plan: dict[str, Any]
    metrics: dict[str, float | None] = field(default_factory=dict)
    offered_rps: float | None = None
    attainment_goal: float | None = None
    n_requests: int | None = None
    directory: Path | None = None

    @classmethod
    def from_result(cls, result: SimulationResult, directory: Path | None = None) -> Row:
        """The row of a run."""
        m = result.manifest
        slo = SLO.from_dict(m["slo"])
        metrics = compute_metrics(result, slo, m["warmup_s"], m["cooldown_s"])
        return cls(
            m["scenario"],
            m["planner"],
            m["seed"],
            "ok",
            m["plan"],
            metrics,
            m["offered_rps"],
            slo.attainment,
            len(result.requests),
            directory,
        )

    @classmethod
    def without_run(cls, scenario: str, seed: int, plan: Plan, problem: PlanningProblem) -> Row:
        """The row of a planner that found no plan."""
        return cls(scenario, plan.planner, seed, plan.status.value, plan.to_dict(problem))

    @property
    def key(self) -> tuple[str, str, int]:
        """Scenario, planner and seed: one run each, unless it was made again elsewhere."""
        return self.scenario, self.planner, self.seed

    @property
    def kept_in(self) -> str:
        """The `--out` of the run, or its own directory if somebody moved it; empty if that is not known."""
        if self.directory is None:
            return ""
        below = run_directory(Path(), *self.key)
        return str(self.directory).removesuffix(str(below)).rstrip("/") or "."

    @property
    def promised_rps(self) -> float | None:
        """Requests/s of all models that the planner says its fleet can serve, if it says so."""
        promises = self.plan.get("promised_rps")
        return sum(promises.values()) if promises else None

    @property
    def kept_promise(self) -> float | None:
        """Goodput / what was promised or, if fewer requests came, offered: promises are within the SLO."""
        goodput, promised = self.metrics.get("goodput_rps"), self.promised_rps
        if goodput is None or promised is None:
            return None
        return goodput / (promised if self.offered_rps is None else min(promised, self.offered_rps))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows, and the planner that the others are compared with."""

    rows: tuple[Row, ...]
    baseline: str

    @classmethod
    def of(cls, rows: Sequence[Row], baseline: str | None = None) -> Comparison:
        """Compare with a planner; if none is named with the first, in the order of the rows, that has a run.

        Raises:
            RunError: No row is of that planner.
        """
        planners = list(dict.fromkeys(row.planner for row in rows))
        if baseline is None:
            ran = {row.planner for row in rows if row.status == "ok"}
            baseline = next((planner for planner in planners if planner in ran), planners[0])
        if baseline not in planners:
            msg = f"unknown baseline {baseline!r}: {nearest(baseline, planners)}"
            raise RunError(msg)
        return cls(tuple(rows), baseline)

    def change(self, row: Row, metric: str) -> float | None:
        """Relative change of a metric against the baseline's run of the same scenario and seed.

        None if there is none, or if it served other requests.
        """
        for other in self.rows:
            if other.key == (row.scenario, self.baseline, row.seed):
                if (other.offered_rps, other.n_requests) != (row.offered_rps, row.n_requests):
                    return None
                old, new = other.metrics.get(metric), row.metrics.get(metric)
                return None if not old or new is None else new / old - 1
        return None

    def to_dict(self) -> dict[str, Any]:
        """As `compare --format json` prints it."""
        return {
            "baseline": self.baseline,
            "rows": [
                {
                    "scenario": row.scenario,
                    "planner": row.planner,
                    "seed": row.seed,
                    "status": row.status,
                    "metrics": row.metrics,
                    "plan": row.plan,
                }
                for row in self.rows
            ],
        }


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
    data = yaml.safe_load(resolved)
    choice = next((choice for choice in data["planners"] if choice["label"] == label), None)
    return {key: part for key, part in data.items() if key not in {"planners", "seeds", "description"}}, choice


def read_rows(directories: Iterable[Path]) -> list[Row]:
    """The rows of all finished runs in some directories, in the order of `run_directories`.

    Raises:
        RunError: A directory holds none, or one in another format.
    """
    runs = [run for directory in directories for run in run_directories(directory)]
    return [Row.from_result(read_result(run), run) for run in runs]
