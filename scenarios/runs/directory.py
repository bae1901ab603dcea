"""Where runs are kept, and how they are found and read again."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from scenarios.errors import RunError
from scenarios.file.yaml_lines import parse_value
from sim import SimulationResult
from sim.results.result import MANIFEST

RESOLVED = "scenario.resolved.yaml"
"""File in a run's directory: the scenario, with all defaults and overrides."""

PLANS = "plans.json"
"""File in a run's directory: all that was to run in its course."""

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
    return tuple(choice["label"] for choice in parse_value(resolved_yaml)["planners"])


def run_directory(out: Path, scenario: str, planner: str, seed: int) -> Path:
    """Where a run is kept: in the form that `polars.scan_parquet(..., hive_partitioning=True)` reads."""
    return out / f"scenario={scenario}" / f"planner={planner}" / f"seed={seed}"
