"""A scenario ready for use, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scenarios.file.catalog import catalog_directory, make_catalog
from scenarios.file.paths import change_paths
from scenarios.file.schema import Scenario
from scenarios.file.timeline import make_timeline
from scenarios.file.yaml_lines import dump
from sim import Catalog
from traces import AvailabilityTimeline


@dataclass(frozen=True)
class LoadedScenario:
    """A scenario ready for use.

    Attributes:
        scenario: What the file says, overrides applied.
        name: Which of the file's scenarios; None for the file as it stands.
        label: Name of the file's scenario, and after a plus sign which of its scenarios.
        folder: Where relative paths start.
        changes: What overrides and `--set` changed, as `path: old -> new`.
        cases: The scenario in other circumstances, by the name of the override that makes them.
    """

    scenario: Scenario
    name: str | None
    label: str
    folder: Path
    changes: tuple[str, ...]
    cases: tuple[tuple[str, Scenario], ...] = ()

    @cached_property
    def timeline(self) -> AvailabilityTimeline | None:
        """What can be rented over time; None if that does not change.

        Raises:
            TraceError: See `make_timeline`.
        """
        return make_timeline(self.scenario, self.folder)

    @cached_property
    def catalog(self) -> Catalog:
        """GPU types and models that the scenario can name."""
        return make_catalog(self.scenario, self.folder)

    def resolved_yaml(self) -> str:
        """The scenario as YAML, with everything that defaults and overrides gave; it can be run again."""
        data = self.scenario.model_dump(mode="json", exclude={"scenarios", "matrix"})
        overrides = {name: data["overrides"][name] for name, _ in self.cases}
        data["overrides"] = overrides
        if "latency" not in self.scenario.objectives:
            del data["planning"]["latency"]
        change_paths(data, self._absolute)
        directory = catalog_directory(self.scenario, self.folder)
        data["catalog"] = None if directory is None else str(directory.resolve())
        return dump(data)

    def _absolute(self, path: str) -> str:
        return str((self.folder / path).resolve())
