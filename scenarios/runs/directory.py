"""Where runs are kept, and how they are found and read again."""

from __future__ import annotations

import json
from pathlib import Path

from scenarios.errors import RunError, ScenarioError
from scenarios.runs.asked import planners_of
from sim import ResultError, SimulationResult
from sim.results.result import MANIFEST, read_manifest
from sim.results.storage import is_hidden

RESOLVED = "scenario.resolved.yaml"
"""File in a run's directory: the scenario, with all defaults and overrides."""

PLANS = "plans.json"
"""File in a run's directory: all that was to run in its course."""

FORMAT = 3
"""Version of the result directories; a change that old readers would misread raises it."""


def read_result(directory: Path) -> SimulationResult:
    """Read a run that `Job.save` kept.

    Raises:
        ResultError: There is none, or it is damaged.
        RunError: Another version of hetserve kept it, in another form.
    """
    _check_format(directory)
    return SimulationResult.load(directory)


def check_run(directory: Path) -> None:
    """Make sure that a run is there, and is what was written.

    Raises:
        ResultError, RunError: As `read_result` does.
    """
    _check_format(directory)
    read_manifest(directory)


def is_whole(directory: Path) -> bool:
    """Whether a run is there, and is what was written."""
    try:
        check_run(directory)
    except (ResultError, RunError):
        return False
    return True


def _check_format(directory: Path) -> None:
    try:
        manifest = json.loads((directory / MANIFEST).read_text())
        found, by = manifest.get("format"), manifest.get("hetserve", "an unknown version")
    except (OSError, ValueError, AttributeError, RecursionError):
        return  # whoever reads it says what is wrong
    if found is not None and found != FORMAT:
        msg = f"{directory} was kept in format {found} by hetserve {by}; this one reads format {FORMAT}: run it again"
        raise RunError(msg)


def run_directories(directory: Path) -> list[Path]:
    """All finished runs in a directory, or the directory itself if it is one.

    Planners come in the order of their scenario, of the one that has most; of one planner, scenarios and seeds by name.

    Raises:
        RunError: There are none.
    """
    manifests = sorted(path for path in directory.rglob(MANIFEST) if not is_hidden(path, directory))
    if not manifests:
        msg = f"{directory} holds no finished run"
        raise RunError(msg)
    directories = [manifest.parent for manifest in manifests]
    order = max(map(_planners, directories), key=len, default=())
    places = {f"planner={label}": place for place, label in enumerate(order)}
    return sorted(directories, key=lambda one: places.get(one.parent.name, len(places)))


def _planners(directory: Path) -> tuple[str, ...]:
    """The planners of a run's scenario; none if that cannot be read: whoever reads the run says why."""
    try:
        return planners_of((directory / RESOLVED).read_text())
    except (OSError, ScenarioError, ValueError, LookupError, TypeError):
        return ()


def run_directory(out: Path, scenario: str, planner: str, seed: int) -> Path:
    """Where a run is kept: in the form that `polars.scan_parquet(..., hive_partitioning=True)` reads."""
    return out / f"scenario={scenario}" / f"planner={planner}" / f"seed={seed}"
