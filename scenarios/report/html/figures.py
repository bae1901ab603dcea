"""The figures of the page, computed from the runs: frontiers, distributions, what belongs together."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from scenarios.file.yaml_lines import parse_value
from scenarios.report.plotting import colour_of, dash_of
from scenarios.runs.directory import RESOLVED, read_result
from scenarios.runs.row import Row
from scenarios.study.compare import Comparison
from scenarios.study.stress import StressRow, read_stress
from scenarios.study.summary import check_unique, seeds_are_copies
from sim import SLO, SimulationResult
from sim.results.result import MANIFEST
from sim.results.window import Window
from sim.slo import E2E_S, IS_COMPLETED, TPOT_S, TTFT_S

N_BINS = 90  # of a distribution
LATENCIES = {"ttft_s": TTFT_S, "tpot_s": TPOT_S, "e2e_s": E2E_S}


@dataclass(frozen=True)
class Question:
    """All runs of one scenario.

    Attributes:
        comparison: Its runs, and whom they are compared with.
        directories: Where each run is kept, in the same order.
    """

    comparison: Comparison
    directories: tuple[Path, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The runs."""
        return self.comparison.rows

    @property
    def label(self) -> str:
        """Name of the scenario."""
        return self.rows[0].scenario

    @cached_property
    def planners(self) -> tuple[str, ...]:
        """Whose runs they are, in the order of the scenario."""
        return tuple(dict.fromkeys(row.planner for row in self.rows))

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the runs."""
        return tuple(sorted({row.seed for row in self.rows}))

    def of_planner(self, planner: str) -> list[Row]:
        """Its runs, of all seeds."""
        return [row for row in self.rows if row.planner == planner]

    def of_seed(self, seed: int) -> dict[str, Path]:
        """Where the runs with a seed are, by planner."""
        pairs = zip(self.rows, self.directories, strict=True)
        return {row.planner: directory for row, directory in pairs if row.seed == seed}

    def results(self, seed: int) -> dict[str, SimulationResult]:
        """The runs with a seed, by planner."""
        return {planner: read_result(directory) for planner, directory in self.of_seed(seed).items()}

    def manifest_of(self, directory: Path) -> dict[str, Any]:
        """What a run says of itself."""
        return self._manifests[self.directories.index(directory)]

    @cached_property
    def _manifests(self) -> list[dict[str, Any]]:
        return [json.loads((directory / MANIFEST).read_text()) for directory in self.directories]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the baseline's first run says of itself."""
        pairs = zip(self.rows, self._manifests, strict=True)
        return next(manifest for row, manifest in pairs if row.planner == self.comparison.baseline)

    @cached_property
    def resolved_yaml(self) -> str:
        """The scenario, as the first run that kept it has it; empty if none did."""
        found = (directory / RESOLVED for directory in self.directories)
        return next((path.read_text() for path in found if path.exists()), "")

    @cached_property
    def scenario(self) -> Mapping[str, Any]:
        """The same as data."""
        data = parse_value(self.resolved_yaml) if self.resolved_yaml else {}
        return data if isinstance(data, dict) else {}

    @cached_property
    def stress(self) -> list[StressRow]:
        """Those runs that were on a market, if something happened to any."""
        rows = read_stress(self.directories)
        return rows if any(row.is_eventful for row in rows) else []

    @cached_property
    def are_copies(self) -> bool:
        """Whether all seeds gave the same runs."""
        return seeds_are_copies(self.rows)

    def index(self, planner: str) -> int:
        """Its place, which gives it its colour."""
        return self.planners.index(planner)

    def colour(self, planner: str) -> str:
        """Its colour."""
        return colour_of(self.index(planner))

    def dash(self, planner: str) -> tuple[int, ...]:
        """Its dashes."""
        return dash_of(self.index(planner))

    def mean(self, planner: str, metric: str) -> float | None:
        """A metric, mean over seeds; None if a seed has none."""
        values = [row.metrics.get(metric) for row in self.of_planner(planner)]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else None


def questions_of(rows: Sequence[Row], directories: Sequence[Path], baseline: str | None) -> list[Question]:
    """The runs by scenario, in the order of the first of each.

    Raises:
        RunError: No run is of the baseline, or a planner has two runs of one scenario with one seed.
    """
    check_unique(rows)
    named = None if baseline is None else Comparison.of(rows, baseline).baseline
    questions = []
    for scenario in dict.fromkeys(row.scenario for row in rows):
        mine = [(row, one) for row, one in zip(rows, directories, strict=True) if row.scenario == scenario]
        own = [row for row, _ in mine]
        known = named if any(row.planner == named for row in own) else None
        questions.append(Question(Comparison.of(own, known), tuple(one for _, one in mine)))
    return questions


class Point(NamedTuple):
    """A planner's cost and latency."""

    planner: str
    cost: float
    latency: float


def non_dominated(points: Sequence[Point]) -> list[Point]:
    """Those of which no other costs no more and takes no longer, and less of either; by cost.

    >>> [point.planner for point in non_dominated([Point("a", 1, 9), Point("b", 2, 3), Point("c", 3, 3)])]
    ['a', 'b']
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, point.latency)):
        is_better = not kept or point.latency < kept[-1].latency
        if is_better or (point.cost, point.latency) == (kept[-1].cost, kept[-1].latency):
            kept.append(point)
    return kept


def points_of(question: Question, cost: str, latency: str) -> list[Point]:
    """Cost and latency of all planners that have both, means over seeds."""
    pairs = {planner: (question.mean(planner, cost), question.mean(planner, latency)) for planner in question.planners}
    return [Point(planner, x, y) for planner, (x, y) in pairs.items() if x is not None and y is not None]


def latencies_of(result: SimulationResult, latency: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A latency of the requests that arrived in the window and completed, in ascending order: those of the metrics."""
    known = result.manifest
    window = Window.of(result, known["warmup_s"], known["cooldown_s"])
    inside = result.requests.filter(window.contains(pl.col("arrival_s")) & IS_COMPLETED)
    return np.sort(inside.select(LATENCIES[latency]).to_series().drop_nulls().to_numpy())


class Distribution(NamedTuple):
    """Of a latency: where bins end, in s, and for each planner the share of its requests that took no longer."""

    edges_s: list[float]
    shares: dict[str, list[float]]


def distribution_of(results: Mapping[str, SimulationResult], latency: str) -> Distribution | None:
    """Of all planners on the same bins, of equal width on a logarithmic axis; None if nothing completed."""
    values = {planner: latencies_of(result, latency) for planner, result in results.items()}
    values = {planner: found for planner, found in values.items() if len(found)}
    if not values:
        return None
    least = min(float(np.quantile(found, 0.005)) for found in values.values())
    most = max(float(found[-1]) for found in values.values())
    least = max(least, most / 1e5)  # a latency of 0 has no place on the axis
    if not most > 0:
        return None
    edges = np.geomspace(least / 1.01, most * 1.001, N_BINS)
    shares = {
        planner: [float(share) for share in np.searchsorted(found, edges, side="right") / len(found)]
        for planner, found in values.items()
    }
    return Distribution([float(edge) for edge in edges], shares)


def limits_of(slo: SLO, latency: str) -> list[tuple[str, float]]:
    """The limits of a latency, by model; of all of them if the model is empty."""
    limits = [("", slo), *slo.by_model]
    pairs = [(model, getattr(own, latency)) for model, own in limits]
    return [(model, float(limit)) for model, limit in pairs if limit is not None and math.isfinite(limit)]
