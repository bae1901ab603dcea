"""A kept run simulated again, to look at what its directory does not keep."""

from __future__ import annotations

import platform
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from scenarios.errors import RunError
from scenarios.file.load import load
from scenarios.runs.directory import PLANS, RESOLVED, read_result
from scenarios.runs.job import Job, Scheduled
from scenarios.runs.watcher import Watcher
from sim import Observer, SimulationResult
from sim.protocols import Decision, Situation

_SUMS_TOLERANCE = 1e-9  # relative: processors add up in different orders


class Seen(NamedTuple):
    """A kept run, and what was seen when it was simulated again.

    Attributes:
        result: The run.
        plans: All that was to run in its course.
        observer: What its replicas did, step by step.
    """

    result: SimulationResult
    plans: tuple[Scheduled, ...]
    observer: Observer


class KeptPlans:
    """The plans that took effect in a run, each when it did: a `sim.protocols.Replanner`.

    Args:
        decisions: When the question was asked, and the answer; by time.
        delay_s: From the question until the answer took effect.
    """

    def __init__(self, decisions: Iterable[tuple[float, Decision]], delay_s: float) -> None:
        self._decisions = deque(decisions)
        self.delay_s = delay_s

    def next_check_s(self, now_s: float) -> float | None:
        """When the next question was asked."""
        return next((t_s for t_s, _ in self._decisions if t_s > now_s), None)

    def replan(self, situation: Situation) -> Decision | None:
        """What was answered then."""
        if self._decisions and self._decisions[0][0] == situation.now_s:
            return self._decisions.popleft()[1]
        return None


def see_again(directory: Path, watcher: Watcher | None = None) -> Seen:
    """Simulate a kept run again, with its scenario, seed and plans, and note what its replicas do.

    Args:
        directory: Where it is kept.
        watcher: Told how it goes.

    Raises:
        RunError: It is no run of this format, or it comes out differently today: its traces, or hetserve, have changed.
        ResultError, ScenarioError, TraceError, PlannerError, SimError: A part of it is missing or wrong.
    """
    watcher = Watcher() if watcher is None else watcher
    kept = read_result(directory)
    watcher.stage("requests")
    job = Job.prepare(load(str(directory / RESOLVED)), kept.manifest["seed"])
    plans = job.read_plans(directory / PLANS)
    delay_s = job.loaded.scenario.planning.replanning.delay_s
    observer = Observer()
    watcher.stage("simulating the run again", job.n_requests)
    again = job.simulate(
        kept.manifest["planner"],
        plans[0].deployment,
        plans[0].plan,
        watcher.progress,
        replanner=kept_plans(kept.manifest["replans"], plans, delay_s, directory),
        observer=observer,
    )
    _check_is_the_same(kept, again, directory)
    return Seen(kept, plans, observer)


def kept_plans(
    replans: Sequence[Mapping[str, Any]], plans: Sequence[Scheduled], delay_s: float, directory: Path
) -> KeptPlans | None:
    """What changed the deployment in the course of a run; None if nothing did.

    Args:
        replans: The changes, as the run's manifest tells them.
        plans: All that was to run.
        delay_s: From the question until the answer took effect.
        directory: Where the run is kept.

    Raises:
        RunError: A plan is missing.
    """
    if not replans:
        return None
    later = list(plans[1:])
    decisions = []
    for replan in replans:
        plan = next((plan for plan in later if plan.t_s == replan["t_s"]), None)
        if plan is None:
            msg = f"{directory / PLANS} lacks the plan that was made at {replan['t_s']} s"
            raise RunError(msg)
        later.remove(plan)
        decisions.append((plan.t_s, Decision(plan.deployment, replan["trigger"], replan["cause_s"])))
    is_at_once = all(replan["applied_s"] == replan["t_s"] for replan in replans)
    return KeptPlans(decisions, 0.0 if is_at_once else delay_s)


def _check_is_the_same(kept: SimulationResult, again: SimulationResult, directory: Path) -> None:
    """Make sure that the run came out as it was kept.

    Raises:
        RunError: It did not.
    """
    what = _difference(kept.requests, again.requests, 0.0, "requests.parquet")
    what = what or _difference(kept.replicas, again.replicas, _SUMS_TOLERANCE, "replicas.parquet")
    if what is None:
        return
    made, now = (
        f"hetserve {hetserve} on Python {python}"
        for hetserve, python in (
            (kept.manifest["hetserve"], kept.manifest["python"]),
            (version("hetserve"), platform.python_version()),
        )
    )
    msg = f"{directory}: simulated again it comes out differently: {what}. It was kept by {made}, this is {now}; if "
    msg += "that is not why, its traces or profiles have changed: make the run again"
    raise RunError(msg)


def _difference(kept: pl.DataFrame, again: pl.DataFrame, tolerance: float, name: str) -> str | None:
    """Where two frames differ, in words; None if they do not."""
    if kept.schema != again.schema or kept.height != again.height:
        return f"{name} would have {again.height} rows of {again.width} columns, not {kept.height} of {kept.width}"
    for column in kept.columns:
        is_same = kept[column].eq_missing(again[column])
        if kept.schema[column] == pl.Float64:
            is_same |= ((kept[column] - again[column]).abs() <= tolerance * kept[column].abs()).fill_null(False)
        if not is_same.all():
            row = int(is_same.arg_min() or 0)
            values = f"{again[column][row]} instead of {kept[column][row]}"
            return f"{column} in {(~is_same).sum()} rows of {name}, first in row {row}: {values}"
    return None
