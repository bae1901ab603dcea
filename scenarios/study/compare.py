"""Several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenarios.errors import RunError
from scenarios.file.loaded import LoadedScenario
from scenarios.runs.plan import loaded_of, planner_choice
from scenarios.runs.row import Row
from scenarios.runs.series import run_rows
from sim.notebook import html_table
from traces import nearest


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
