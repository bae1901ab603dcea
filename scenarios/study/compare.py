"""Several runs side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Any, NamedTuple

from scenarios.errors import RunError
from scenarios.file.loaded import LoadedScenario
from scenarios.runs.plan import loaded_of, planner_choice
from scenarios.runs.row import Row
from scenarios.runs.series import run_rows
from scenarios.study.intervals import half_width
from sim.notebook import html_table
from traces import nearest


class Estimate(NamedTuple):
    """A mean over seeds, and half the width of its 95 % interval; None with one seed, or if all gave the same."""

    mean: float
    half_width: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate | None:
        """That of some values; None without any."""
        if not values:
            return None
        are_copies = len(values) < 2 or all(value == values[0] for value in values)
        return cls(fsum(values) / len(values), None if are_copies else half_width(values))


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one planner on one scenario, one for each seed.

    Attributes:
        rows: One at least.
        name: The planner, and what else tells the group from others.
    """

    rows: tuple[Row, ...]
    name: str

    @property
    def scenario(self) -> str:
        """Label of the scenario."""
        return self.rows[0].scenario

    @property
    def planner(self) -> str:
        """Name of the planner."""
        return self.rows[0].planner

    @property
    def goal(self) -> float | None:
        """Share of requests that should meet the SLO; None without a run."""
        return next((row.attainment_goal for row in self.rows if row.attainment_goal is not None), None)

    def mean(self, value: Callable[[Row], float | None]) -> Estimate | None:
        """Mean of a figure over the rows that have it."""
        return Estimate.of([found for row in self.rows if (found := value(row)) is not None])

    def metric(self, name: str) -> Estimate | None:
        """Mean of a metric."""
        return self.mean(lambda row: row.metrics.get(name))

    @property
    def misses_goal(self) -> bool:
        """Whether fewer requests meet the SLO than should, in the mean over seeds."""
        attainment = self.metric("slo_attainment")
        return attainment is not None and self.goal is not None and attainment.mean < self.goal


@dataclass(frozen=True, slots=True, repr=False)
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

    def groups(self) -> list[Group]:
        """Rows of one planner on one scenario together, in the order of their first rows."""
        kept: dict[tuple[str, str, str], list[Row]] = {}
        n_of_key = Counter(row.key for row in self.rows)
        for row in self.rows:
            place = row.kept_in if n_of_key[row.key] > 1 else ""
            kept.setdefault((row.scenario, row.planner, place), []).append(row)
        return [
            Group(tuple(rows), f"{planner}, {place}" if place else planner)
            for (_, planner, place), rows in kept.items()
        ]

    def mean_change(self, group: Group, metric: str) -> Estimate | None:
        """Mean over seeds of the relative change of a metric; None if no seed has one."""
        return group.mean(lambda row: self.change(row, metric))

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

    def __repr__(self) -> str:
        return f"Comparison({self._in_words()})"

    def _repr_html_(self) -> str:
        """In a notebook: what each run promised and delivered, and what it cost."""
        rows = [
            (
                row.scenario,
                row.planner,
                row.seed,
                row.status,
                *("-" if value is None else f"{value:,.2f}" for value in (
                    row.plan.get("usd_per_h"), row.promised_rps, row.metrics.get("throughput_rps"),
                    row.metrics.get("goodput_rps"), row.metrics.get("ttft_s_p99"), row.metrics.get("e2e_s_p99"),
                )),
            )
            for row in self.rows
        ]  # fmt: skip
        headers = (
            "scenario", "planner", "seed", "status", "$/h", "promised req/s", "throughput req/s", "goodput req/s",
            "TTFT p99 s", "whole time p99 s",
        )  # fmt: skip
        return html_table(self._in_words(), headers, rows)

    def _in_words(self) -> str:
        scenarios = dict.fromkeys(row.scenario for row in self.rows)
        return f"{len(self.rows)} runs of {', '.join(scenarios)}, compared with {self.baseline}"

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
                    "n_extrapolated": row.n_extrapolated,
                }
                for row in self.rows
            ],
        }


def compare(
    scenario: str | Path | LoadedScenario,
    out: str | Path,
    planners: Sequence[str] | None = None,
    *,
    baseline: str | None = None,
    seeds: Sequence[int] | None = None,
    force: bool = False,
    resume: bool = False,
) -> Comparison:
    """Plan and simulate a scenario with several planners, and keep the runs.

    Args:
        scenario: A file, the name of a scenario of the library, or one that `load` gave.
        out: Directory where runs are kept.
        planners: Names of planners, instead of the scenario's.
        baseline: Whom to compare with; by default the first that has a run.
        seeds: Seeds of the requests, instead of the scenario's.
        force: Replace runs that are there.
        resume: Read runs that are there, instead of making them.

    Raises:
        ScenarioError: The file is wrong.
        RunError: A run is there already, or no planner is called as the baseline.
        TraceError, PlannerError, SimError: See `run_rows`.
    """
    loaded = loaded_of(scenario)
    choices = None if planners is None else [planner_choice(loaded, name) for name in planners]
    rows = run_rows(loaded, Path(out), planners=choices, seeds=seeds, force=force, resume=resume)
    return Comparison.of(rows, baseline)
